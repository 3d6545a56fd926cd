"""Whether the neurons of a network fire, in training and over a validation's images."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from vlif_plugin.mmengine_host.hooks._common import flag, iteration_of, network_of, whole
from vlif_plugin.neurons import FiringRates, FiringReport, gather_counts


class FiringRateHook(Hook):
    """Watches whether neurons fire: a network that fell silent still restores something.

    In training, at each measured iteration, ``train/firing_rate`` (share of the updates of all
    neurons with a spike) and ``train/silent_neurons`` (neuron layers without a single one) go to the
    message hub, from where LoggerHook prints them and hands them to TensorBoard, until the next
    measurement. In distributed training each process measures its own share of the batch, and what
    is logged is that of the main process.

    In a validation or test all images count, on all processes: a line with the layers' rates is
    logged, and a warning for dead, saturated and unseen layers; ``val/firing/rate``,
    ``val/firing/dead`` and ``val/firing/saturated`` (or ``test/…``) go to the visualizer. See
    :mod:`vlif_plugin.neurons.firing`.

    Args:
        interval: iterations from one measurement in training to the next.
        per_layer: also ``train/firing_rate/<name>`` and ``val/firing/layer/<name>`` of each neuron
            layer.

    Raises:
        OptionError: a value is of the wrong kind.
    """

    def __init__(self, *, interval: int = 100, per_layer: bool = False) -> None:
        self.interval = whole("interval", interval, least=1)
        self.per_layer = flag("per_layer", per_layer)
        self._spiking = False
        self._trained: FiringRates | None = None
        self._waiting: tuple[nn.Module, Any] | None = None
        self._validated: FiringRates | None = None
        self._validation = ExitStack()

    def before_run(self, runner: Runner) -> None:
        """Undo what an iteration or a validation may have left that failed on its way."""
        self._stop_waiting()
        self._validation.close()

    def before_train(self, runner: Runner) -> None:
        """Look for neurons."""
        self._spiking = bool(FiringRates(network_of(runner)).counts())
        if not self._spiking:
            runner.logger.warning("FiringRateHook: the network has no spiking neurons to watch")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Have the forward pass of this iteration measured, if it is its turn."""
        self._stop_waiting()
        self._trained = None
        if self._spiking and self.every_n_train_iters(runner, self.interval):
            self._measure_next_pass(network_of(runner))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Hand over what was measured, before LoggerHook's turn comes."""
        if self._waiting is not None:  # a compiled step goes round the module
            self._stop_waiting()
            self._spiking = False
            runner.logger.warning("FiringRateHook: training does not call the network as a module")
        report = FiringReport.of(self._trained.counts() if self._trained else {})
        if report.rate is None:
            return
        values = {
            "train/firing_rate": report.rate,
            "train/silent_neurons": sum(not rate for rate in report.rates.values()),
        }
        if self.per_layer:
            values |= {f"train/firing_rate/{name}": rate for name, rate in report.rates.items()}
        for name, value in values.items():
            # without a past: LogProcessor averages whatever has "time" or "loss" in its name
            runner.message_hub.log_scalars.pop(name, None)
            runner.message_hub.update_scalar(name, value)

    def before_val_epoch(self, runner: Runner) -> None:
        """Have what the model does with the images counted."""
        self._count_predictions(runner)

    def before_test_epoch(self, runner: Runner) -> None:
        """The same."""
        self._count_predictions(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report."""
        self._report(runner, "val")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report."""
        self._report(runner, "test")

    def _measure_next_pass(self, net: nn.Module) -> None:
        """Measure one call of the network.

        The runner calls nothing after a step that raises, so the hooks live within the call. Nor do
        they outlast it otherwise: activation checkpointing runs neurons again in the backward pass.
        """
        forward = net.forward
        self._waiting = net, vars(net).get("forward")
        firing = FiringRates(net)

        def measured(*args: Any, **kwargs: Any) -> Any:
            self._stop_waiting()
            with firing:
                result = forward(*args, **kwargs)
            self._trained = firing
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

    def _count_predictions(self, runner: Runner) -> None:
        """Count while the model predicts, and not while a metric or a hook runs the network too."""
        self._validation.close()
        self._validated = firing = FiringRates(network_of(runner))
        model: Any = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._validation.callback(firing.detach)
        before = model.register_forward_pre_hook(lambda *_: firing.attach())
        self._validation.callback(before.remove)
        after = model.register_forward_hook(lambda *_: firing.detach(), always_call=True)
        self._validation.callback(after.remove)

    def _report(self, runner: Runner, mode: str) -> None:
        self._validation.close()
        if self._validated is None:
            return
        counts = gather_counts(self._validated.counts())
        self._validated = None
        if not counts or not is_main_process():
            return
        report = FiringReport.of(counts)
        runner.logger.info(f"Firing in {mode}: {report.summary()}")
        for line in report.warnings():
            runner.logger.warning(f"Firing in {mode}: {line}")
        scalars = report.scalars(per_layer=self.per_layer)
        scalars = {f"{mode}/{name}": value for name, value in scalars.items()}
        if scalars:
            runner.visualizer.add_scalars(scalars, step=iteration_of(runner))
