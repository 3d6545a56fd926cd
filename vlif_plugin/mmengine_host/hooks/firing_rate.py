"""Whether the neurons of a network in training fire."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from vlif_plugin.mmengine_host.hooks._common import flag, network_of, whole
from vlif_plugin.neurons import SpikingNeuron


@dataclass
class _Activity:
    """What a neuron layer did in one forward pass."""

    spikes: int | Tensor = 0  # a tensor as long as the GPU need not be waited for
    updates: int = 0


class FiringRateHook(Hook):
    """Watches in training whether neurons fire: a network that fell silent still restores something.

    At each measured iteration ``train/firing_rate`` (share of the updates of all neurons with a
    spike) and ``train/silent_neurons`` (neuron layers without a single one) go to the message hub,
    from where LoggerHook prints them and hands them to TensorBoard, until the next measurement. In
    distributed training each process measures its own share of the batch, and what is logged is
    that of the main process.

    Args:
        interval: iterations from one measurement to the next.
        per_layer: also ``train/firing_rate/<name>`` of each neuron layer.

    Raises:
        OptionError: a value is of the wrong kind.
    """

    def __init__(self, *, interval: int = 100, per_layer: bool = False) -> None:
        self.interval = whole("interval", interval, least=1)
        self.per_layer = flag("per_layer", per_layer)
        self._neurons: dict[str, SpikingNeuron] = {}
        self._measured: dict[str, _Activity] = {}
        self._waiting: tuple[nn.Module, Any] | None = None

    def before_run(self, runner: Runner) -> None:
        """Undo what an iteration may have left that failed before it called the network."""
        self._stop_waiting()

    def before_train(self, runner: Runner) -> None:
        """Find the neurons."""
        modules = network_of(runner).named_modules()
        self._neurons = {name: m for name, m in modules if isinstance(m, SpikingNeuron)}
        if not self._neurons:
            runner.logger.warning("FiringRateHook: the network has no spiking neurons to watch")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Have the forward pass of this iteration measured, if it is its turn."""
        self._stop_waiting()
        self._measured = {}
        if self._neurons and self.every_n_train_iters(runner, self.interval):
            self._measure_next_pass(network_of(runner))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Hand over what was measured, before LoggerHook's turn comes."""
        if self._waiting is not None:  # a compiled step goes round the module
            self._stop_waiting()
            self._neurons = {}
            runner.logger.warning("FiringRateHook: training does not call the network as a module")
        if not self._measured:
            return
        spikes = {name: int(activity.spikes) for name, activity in self._measured.items()}
        updates = {name: activity.updates for name, activity in self._measured.items()}
        values = {
            "train/firing_rate": sum(spikes.values()) / sum(updates.values()),
            "train/silent_neurons": sum(not count for count in spikes.values()),
        }
        if self.per_layer:
            values |= {f"train/firing_rate/{name}": spikes[name] / updates[name] for name in spikes}
        for name, value in values.items():
            # without a past: LogProcessor averages whatever has "time" or "loss" in its name
            runner.message_hub.log_scalars.pop(name, None)
            runner.message_hub.update_scalar(name, value)

    def _measure_next_pass(self, net: nn.Module) -> None:
        """Measure one call of the network.

        The runner calls nothing after a step that raises, so the hooks live within the call. Nor do
        they outlast it otherwise: activation checkpointing runs neurons again in the backward pass.
        """
        forward = net.forward
        self._waiting = net, vars(net).get("forward")

        def measured(*args: Any, **kwargs: Any) -> Any:
            self._stop_waiting()
            activities: dict[str, _Activity] = {}
            with ExitStack() as hooks:
                for name, neuron in self._neurons.items():
                    hook = partial(_count_spikes, activities, name)
                    hooks.callback(neuron.register_forward_hook(hook).remove)
                result = forward(*args, **kwargs)
            self._measured = activities
            return result

        net.forward = measured

    def _stop_waiting(self) -> None:
        if self._waiting is None:
            return
        net, own = self._waiting
        self._waiting = None
        del net.forward  # the class's is seen again
        if own is not None:  # mmengine's activation checkpointing gave the network one
            net.forward = own


def _count_spikes(
    activities: dict[str, _Activity], name: str, _: nn.Module, __: Any, out: Tensor
) -> None:
    activity = activities.setdefault(name, _Activity())
    activity.spikes = activity.spikes + torch.count_nonzero(out.detach())
    activity.updates += out.numel()
