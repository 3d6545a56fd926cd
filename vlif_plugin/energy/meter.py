"""Reports of many images as a stream: means and spreads, and no spike is kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlif_plugin.energy.costs import EnergyCosts
from vlif_plugin.energy.report import EnergyReport


@dataclass
class Spread:
    """Mean and spread of values that come one after the other (Welford's recurrence).

    Attributes:
        count: how many values.
        mean: their mean.
        least: the smallest.
        most: the largest.
    """

    count: int = 0
    mean: float = 0.0
    least: float = math.inf
    most: float = -math.inf
    _squares: float = 0.0

    def add(self, value: float) -> None:
        """Take one more value."""
        self.count += 1
        distance = value - self.mean
        self.mean += distance / self.count
        self._squares += distance * (value - self.mean)
        self.least, self.most = min(self.least, value), max(self.most, value)

    @property
    def std(self) -> float:
        """Standard deviation of the sample, N - 1; 0 for one value."""
        return math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else 0.0

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return {"mean": self.mean, "std": self.std, "least": self.least, "most": self.most}


class EnergyMeter:
    """Adds up reports of one network over images.

    Args:
        costs: prices of operations.

    Attributes:
        totals: by quantity of :meth:`EnergyReport.totals`.
        layers: synaptic operations, energy in uJ and event rate of each layer.
        neurons: firing and event rate of each neuron layer.
        steps: event rate of each neuron layer at each timestep.
    """

    def __init__(self, costs: EnergyCosts) -> None:
        self.costs = costs
        self.totals: dict[str, Spread] = {}
        self.layers: dict[str, dict[str, Spread]] = {}
        self.neurons: dict[str, dict[str, Spread]] = {}
        self.steps: dict[str, list[Spread]] = {}

    def add(self, report: EnergyReport) -> None:
        """Take the report of one more image."""
        _add(self.totals, report.totals(self.costs))
        for layer in report.layers:
            energy = sum(layer.energy_uj(self.costs))
            values = {"sops": layer.sops, "energy_uj": energy, "event_rate": layer.event_rate}
            known = {name: value for name, value in values.items() if value is not None}
            _add(self.layers.setdefault(f"{layer.name} {layer.kind}", {}), known)
        for neuron in report.neurons:
            rates = {"firing_rate": neuron.firing_rate, "event_rate": neuron.event_rate}
            _add(self.neurons.setdefault(neuron.name, {}), rates)
            steps = self.steps.setdefault(neuron.name, [])
            steps += [Spread() for _ in neuron.step_events[len(steps) :]]
            for spread, rate in zip(steps, neuron.step_event_rates, strict=False):
                spread.add(rate)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: means and spreads."""
        return {
            "images": next(iter(self.totals.values())).count if self.totals else 0,
            "totals": {name: spread.as_dict() for name, spread in self.totals.items()},
            "layers": _nested(self.layers),
            "neurons": _nested(self.neurons),
            "timesteps": {name: [s.mean for s in steps] for name, steps in self.steps.items()},
        }

    def record(self, last: EnergyReport, images: Sequence[str]) -> dict[str, Any]:
        """All that is known of the count, for JSON, with the published count beside it.

        Args:
            last: the report of the last image.
            images: names of all.
        """
        return {
            "network": last.network,
            "size": last.size,
            "costs": dataclasses.asdict(self.costs),
            "full": {"parameters": last.parameters, **self.as_dict()},
            "paper": {
                "parameters": last.paper.parameters,
                "macs": last.paper.macs,
                "energy_uj": last.paper_energy_uj(self.costs),
                "label": "skips the spiking convolutions; not an energy estimate",
            },
            "names": list(images),
            "elementwise": dict(last.elementwise),
            "not_counted": dict(last.not_counted),
            "notes": last.notes,
        }


def _add(spreads: dict[str, Spread], values: dict[str, Any]) -> None:
    for name, value in values.items():
        spreads.setdefault(name, Spread()).add(float(value))


def _nested(spreads: dict[str, dict[str, Spread]]) -> dict[str, dict[str, dict[str, float]]]:
    return {name: {k: s.as_dict() for k, s in inner.items()} for name, inner in spreads.items()}
