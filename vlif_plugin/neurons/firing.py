"""Whether the layers of a spiking network fire: rates over any number of images, without keeping spikes.

A *spike* is an output that is not zero, whatever its level: k/D of an NI-LIF neuron is one spike
(and k events, which is what :mod:`vlif_plugin.energy` prices). An *update* is one element at one
timestep. A layer's firing rate is the share of its updates with a spike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from vlif_plugin.distributed import gathered
from vlif_plugin.errors import first_names
from vlif_plugin.neurons.base import SpikingNeuron

DEAD_BELOW = 0.001
"""Below one spike in a thousand updates a layer says next to nothing (0.01 bit an update)."""

SATURATED_ABOVE = 0.9
"""Above nine in ten it says less than half of what a spike can (0.47 bit), and costs as a dense one."""

Counts = dict[str, tuple[int, int]]
"""Spikes and updates of each neuron layer by its name: plain data, which processes can exchange."""


class FiringRates:
    """Counts spikes and updates of each neuron layer while the network runs, as often as it runs.

    A context manager; entered again it goes on counting. Between calls it holds one integer a layer
    on the network's device, which is read only by :meth:`counts`, so a GPU is not waited for. What
    the network is given is what is counted: padding and overlaps of tiles belong to it, and so
    does, where activation checkpointing runs a layer again in the backward pass, the second run,
    unless the context is left before. Compiled networks may go round the hooks: their layers then
    did not run, as far as one can see from here.

    Args:
        net: with :class:`~vlif_plugin.neurons.base.SpikingNeuron` modules; names are given as seen
            from it, so it should be taken out of a wrapper such as DistributedDataParallel.
    """

    def __init__(self, net: nn.Module) -> None:
        self._neurons = {n: m for n, m in net.named_modules() if isinstance(m, SpikingNeuron)}
        # DataParallel's replicas, a thread each, count apart: by device
        self._spikes: dict[tuple[str, torch.device], Tensor] = {}
        self._updates: dict[tuple[str, torch.device], int] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> FiringRates:
        """Begin, or go on, counting."""
        self.attach()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        self.detach()

    def attach(self) -> None:
        """Begin, or go on, counting; nothing where it is counting already."""
        if not self._hooks:
            self._hooks = [
                neuron.register_forward_hook(partial(self._count, name))
                for name, neuron in self._neurons.items()
            ]

    def detach(self) -> None:
        """Stop counting; nothing is left on the network."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def counts(self) -> Counts:
        """What was counted so far, in the order of the modules; (0, 0) of a layer that did not run."""
        spikes = {key: int(count) for key, count in self._spikes.items()}
        return {
            name: (
                sum(count for (layer, _), count in spikes.items() if layer == name),
                sum(count for (layer, _), count in self._updates.items() if layer == name),
            )
            for name in self._neurons
        }

    def _count(self, name: str, _: nn.Module, __: Any, out: Tensor) -> None:
        key = name, out.device
        # not in place: a tensor made in inference mode could not be changed outside of it
        self._spikes[key] = torch.count_nonzero(out.detach()) + self._spikes.get(key, 0)
        self._updates[key] = out.numel() + self._updates.get(key, 0)


def sum_counts(parts: Iterable[Mapping[str, tuple[int, int]]]) -> Counts:
    """The counts of several processes, datasets or halves as those of the whole."""
    total: Counts = {}
    for part in parts:
        for name, (spikes, updates) in part.items():
            before = total.get(name, (0, 0))
            total[name] = before[0] + spikes, before[1] + updates
    return total


def gather_counts(counts: Counts) -> Counts:
    """The counts of all processes together, on every process; the same where there is only one."""
    return sum_counts(gathered(counts))


@dataclass(frozen=True)
class FiringReport:
    """Firing rates, and what is wrong with them.

    Attributes:
        rates: of each layer that ran, in [0, 1].
        rate: of all updates of all layers together; None where no layer ran.
        not_run: layers of which nothing is known.
    """

    rates: Mapping[str, float]
    rate: float | None
    not_run: tuple[str, ...] = ()

    @classmethod
    def of(cls, counts: Mapping[str, tuple[int, int]]) -> FiringReport:
        """The report on what was counted."""
        rates = {name: spikes / updates for name, (spikes, updates) in counts.items() if updates}
        updates = sum(updates for _, updates in counts.values())
        return cls(
            rates=rates,
            rate=sum(spikes for spikes, _ in counts.values()) / updates if updates else None,
            not_run=tuple(name for name in counts if name not in rates),
        )

    @property
    def dead(self) -> tuple[str, ...]:
        """Layers that fire below :data:`DEAD_BELOW`."""
        return tuple(name for name, rate in self.rates.items() if rate < DEAD_BELOW)

    @property
    def saturated(self) -> tuple[str, ...]:
        """Layers that fire above :data:`SATURATED_ABOVE`."""
        return tuple(name for name, rate in self.rates.items() if rate > SATURATED_ABOVE)

    def summary(self) -> str:
        """One line for a log."""
        rates = list(self.rates.values())
        if not rates:
            return "no spiking layer ran" if self.not_run else "no spiking layers"
        if len(rates) == 1:
            return f"1 spiking layer fires at {_percent(rates[0])} %"
        return (
            f"{_layers(len(rates))} fire at {_percent(min(rates))} to {_percent(max(rates))} %, "
            f"median {_percent(median(rates))} %"
        )

    def warnings(self) -> list[str]:
        """A line for each thing that is wrong, with the layers' names; none where all is well."""
        whole = len(self.rates) + len(self.not_run)
        found = (
            (self.dead, f"dead (below {_percent(DEAD_BELOW)} % of updates with a spike)"),
            (self.saturated, f"saturated (above {_percent(SATURATED_ABOVE)} %)"),
            (self.not_run, "not seen to run"),
        )
        return [
            f"{len(names)} of {_layers(whole)} {'is' if len(names) == 1 else 'are'} {what}: "
            + first_names([self._shown(name) for name in names])
            for names, what in found
            if names
        ]

    def scalars(self, *, per_layer: bool = False) -> dict[str, float]:
        """For curves over training: the pooled rate, numbers of dead and saturated layers.

        Args:
            per_layer: also ``firing/layer/<name>``, the rate of each layer that ran.
        """
        if self.rate is None:
            return {}
        values = {
            "firing/rate": self.rate,
            "firing/dead": len(self.dead),
            "firing/saturated": len(self.saturated),
        }
        layers = {f"firing/layer/{name}": rate for name, rate in self.rates.items()}
        return values | (layers if per_layer else {})

    def _shown(self, name: str) -> str:
        return f"{name} {_percent(self.rates[name])} %" if name in self.rates else name


def _layers(count: int) -> str:
    return f"{count} spiking layer{'' if count == 1 else 's'}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g}"
