"""What was counted: layers, neurons, the rest, and what it costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from vlif_plugin.energy.costs import EnergyCosts


@dataclass
class LayerOps:
    """Products of one layer: a convolution, a linear layer or a matrix product.

    Attributes:
        name: path of the module that computes it.
        kind: the operator, and its kernel.
        parameters: of that module.
        calls: how often it ran.
        macs: multiplications with accumulation on real-valued input, padding included.
        macs_valid: those of ``macs`` that fall on the input, and not on padding.
        macs_nonzero: those that fall on values other than zero; earns no credit.
        sops: synaptic operations on spike input: events times the outputs that each reaches.
        dense_macs: what the calls on spikes would be on real values, padding included.
        events: binary events in the spike input.
        inputs: elements of the spike input.
        levels: largest number of events that one of them can stand for; 0 without spike input.
        value_only: input elements that were 0 and 1 by value, but come from no neuron.
        repeated: calls of which all images of the batch were one and the same.
    """

    name: str
    kind: str
    parameters: int = 0
    calls: int = 0
    macs: int = 0
    macs_valid: int = 0
    macs_nonzero: int = 0
    sops: int = 0
    dense_macs: int = 0
    events: int = 0
    inputs: int = 0
    levels: int = 0
    value_only: int = 0
    repeated: int = 0

    @property
    def event_rate(self) -> float | None:
        """Events for each element of the spike input, in [0, levels]; None without."""
        return self.events / self.inputs if self.inputs else None

    def energy_uj(self, costs: EnergyCosts) -> tuple[float, float]:
        """Energy in microjoule of its work on real values, and of that on spikes."""
        return self.macs * costs.mac_pj * 1e-6, self.sops * costs.sop_pj * 1e-6


@dataclass
class NeuronOps:
    """Activity of one neuron layer.

    Attributes:
        name: path of the module.
        levels: largest number of events of one spike.
        updates: element updates, each element at each step.
        events: binary events.
        spikes: values above zero.
        step_updates: updates at each timestep.
        step_events: events at each timestep.
    """

    name: str
    levels: int
    updates: int = 0
    events: int = 0
    spikes: int = 0
    step_updates: list[int] = field(default_factory=list)
    step_events: list[int] = field(default_factory=list)

    @property
    def firing_rate(self) -> float:
        """Share of updates with a spike, in [0, 1]."""
        return self.spikes / self.updates if self.updates else 0.0

    @property
    def event_rate(self) -> float:
        """Events for each update, in [0, levels]."""
        return self.events / self.updates if self.updates else 0.0

    @property
    def step_event_rates(self) -> list[float]:
        """The same at each timestep."""
        pairs = zip(self.step_events, self.step_updates, strict=True)
        return [events / updates for events, updates in pairs]


@dataclass(frozen=True)
class PaperCount:
    """What published tables print: it skips layers, and is no estimate of work or energy.

    Attributes:
        macs: of the modules that thop hooks.
        parameters: of these modules.
    """

    macs: int
    parameters: int


@dataclass
class EnergyReport:
    """Everything that one image takes a network.

    Attributes:
        network: its class.
        size: height and width of the image.
        parameters: all of them.
        layers: products by layer, in the order of their first call.
        neurons: activity by neuron layer.
        elementwise: element-wise operations by operator.
        foldable: those of BatchNorm, which can be folded into the convolutions.
        not_counted: operators that are not understood: name and number of calls.
        notes: what a reader must know.
        paper: the published count, beside it.
        released_macs: ``dense_macs`` of the authors' code, which takes more for the same result;
            None where ours does what theirs does, or there is none.
    """

    network: str
    size: tuple[int, int]
    parameters: int
    layers: list[LayerOps]
    neurons: list[NeuronOps]
    elementwise: Counter[str]
    foldable: int
    not_counted: Counter[str]
    notes: list[str]
    paper: PaperCount
    released_macs: int | None = None

    @property
    def macs(self) -> int:
        """Multiplications with accumulation on real values."""
        return sum(layer.macs for layer in self.layers)

    @property
    def sops(self) -> int:
        """Synaptic operations."""
        return sum(layer.sops for layer in self.layers)

    @property
    def dense_macs(self) -> int:
        """What all products would be on real values."""
        return self.macs + sum(layer.dense_macs for layer in self.layers)

    @property
    def updates(self) -> int:
        """Neuron updates."""
        return sum(neuron.updates for neuron in self.neurons)

    @property
    def events(self) -> int:
        """Events that the neurons emit."""
        return sum(neuron.events for neuron in self.neurons)

    @property
    def firing_rate(self) -> float:
        """Share of all neuron updates with a spike, in [0, 1]."""
        return sum(n.spikes for n in self.neurons) / self.updates if self.updates else 0.0

    @property
    def elementwise_total(self) -> int:
        """Element-wise operations of all operators, BatchNorm's among them."""
        return self.elementwise.total()

    def energy_uj(self, costs: EnergyCosts) -> dict[str, float]:
        """Energy in microjoule: ``macs``, ``sops``, ``signs``, ``elementwise`` and ``total``.

        Memory traffic is not in it.
        """
        signs = self.updates if costs.sign_per == "update" else self.events
        parts = {
            "macs": self.macs * costs.mac_pj,
            "sops": self.sops * costs.sop_pj,
            "signs": signs * costs.sign_pj,
            "elementwise": self.elementwise_total * costs.elementwise_pj,
        }
        in_uj = {name: value * 1e-6 for name, value in parts.items()}
        return in_uj | {"total": sum(in_uj.values())}

    def paper_energy_uj(self, costs: EnergyCosts) -> float:
        """The published count times the price of a MAC, in microjoule; no estimate of energy."""
        return self.paper.macs * costs.mac_pj * 1e-6

    def totals(self, costs: EnergyCosts) -> dict[str, Any]:
        """The numbers of a table, by name."""
        return {
            "parameters": self.parameters,
            "macs": self.macs,
            "sops": self.sops,
            "dense_macs": self.dense_macs,
            "signs": self.updates if costs.sign_per == "update" else self.events,
            "events": self.events,
            "firing_rate": self.firing_rate,
            "elementwise": self.elementwise_total,
            "energy_uj": self.energy_uj(costs)["total"],
        }
