"""How many inputs make a neuron fire, by their size (paper, fig. 2b and 3).

Fig. 2b shows a synthetic matrix, "where diagonal elements have the intensity of 0.9 and off-diagonal elements decay
exponentially"; size and decay are not given. Fig. 3 gives activations over input ranges, the lowest of which is
[0.002, 0.114]: an eighth of [0.002, 0.9], so the matrix of fig. 2b in eight ranges. A 64 x 64 matrix that decays
by exp(-0.1) for each step from the diagonal has such ranges, and 16.46 % of it, 674 elements, are its middle 11
diagonals; of all sizes up to 128 only this one has so many in whole diagonals.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from vlif_plugin.layers.patch_time import time_to_patch
from vlif_plugin.neurons import ILIFNode, LIFNode, SpikingNeuron, VLIFNode, VLIFPixelNode

PUBLISHED = {"lif": 0.1646, "vlif": 0.5894, "vlif_lowest": 0.254, "lif_lowest": 0.0}
"""What the text and fig. 3 give: shares of all inputs, and of those in [0.002, 0.114]."""

When = Literal["ever", "update", "first"]
"""What counts as active: at least one spike over all steps, each step for itself, or the first step."""


def decay_matrix(size: int = 64, decay: float = 0.1, peak: float = 0.9) -> Tensor:
    """The synthetic matrix of fig. 2b, ``peak * exp(-decay * |i - j|)``; (size, size).

    Args:
        size: of its side.
        decay: for each step from the diagonal.
        peak: on the diagonal.
    """
    place = torch.arange(size, dtype=torch.float64)
    return (peak * torch.exp(-decay * (place[:, None] - place[None]).abs())).float()


def equal_ranges(x: Tensor, count: int = 8) -> tuple[float, ...]:
    """Edges of ranges of equal width from the smallest to the largest value; ``count`` + 1."""
    low, high = x.min().item(), x.max().item()
    return tuple(low + (high - low) * index / count for index in range(count + 1))


@dataclass(frozen=True)
class Activation:
    """How many of the inputs in each range are active.

    Attributes:
        edges: of the ranges; a value at an edge belongs to the range above, the largest to the last.
        inputs: how many inputs lie in each range.
        active: how many of these are active.
        all_inputs: how many there are, those outside of all ranges included.
        all_active: how many of these are active.
    """

    edges: tuple[float, ...]
    inputs: tuple[int, ...]
    active: tuple[int, ...]
    all_inputs: int
    all_active: int

    @property
    def share(self) -> float:
        """Of all inputs, in [0, 1]."""
        return self.all_active / self.all_inputs if self.all_inputs else 0.0

    @property
    def shares(self) -> tuple[float | None, ...]:
        """Of each range; None where it has no inputs."""
        pairs = zip(self.active, self.inputs, strict=True)
        return tuple(active / inputs if inputs else None for active, inputs in pairs)

    def __add__(self, other: Activation) -> Activation:
        """Of the inputs of both."""
        if self.edges != other.edges:
            raise ValueError("activations over different ranges cannot be added")
        sums = [
            tuple(a + b for a, b in zip(mine, theirs, strict=True))
            for mine, theirs in ((self.inputs, other.inputs), (self.active, other.active))
        ]
        return Activation(
            self.edges, sums[0], sums[1],
            self.all_inputs + other.all_inputs, self.all_active + other.all_active,
        )  # fmt: skip


def activation(x: Tensor, active: Tensor, edges: Sequence[float]) -> Activation:
    """Count by range.

    Args:
        x: inputs, any shape.
        active: which of them are active, the same shape; anything but 0 is.
        edges: ascending, at least two.

    Raises:
        ValueError: shapes differ, or edges do not ascend.
    """
    if x.shape != active.shape:
        raise ValueError(f"inputs are {tuple(x.shape)}, their activity {tuple(active.shape)}")
    if len(edges) < 2 or any(a >= b for a, b in itertools.pairwise(edges)):
        raise ValueError(f"edges of ranges must ascend, got {tuple(edges)}")
    bounds = torch.tensor(edges, dtype=torch.float64, device=x.device)
    bounds = bounds.to(x.dtype)  # as the values themselves are rounded
    values, on = x.flatten(), active.flatten() != 0
    place = torch.bucketize(values, bounds, right=True)
    place[values == bounds[-1]] = len(edges) - 1
    length = len(edges) + 1
    inputs = torch.bincount(place, minlength=length)[1:-1]
    fired = torch.bincount(place[on], minlength=length)[1:-1]
    return Activation(
        tuple(edges), tuple(inputs.tolist()), tuple(fired.tolist()), len(values), int(on.sum())
    )


def respond(matrix: Tensor, neuron: SpikingNeuron, T: int = 4) -> Tensor:
    """Spikes of a neuron that is shown a matrix T times, each at its place.

    Args:
        matrix: (H, W), in the neuron's own units; r divides its sides.
        neuron: one that sees pixels, or VLIF.
        T: how often.

    Returns:
        (T, H, W). Where VLIF has made r*r steps of each patch, each spike is at the pixel that was
        looked at.
    """
    x = matrix.expand(T, 1, 1, *matrix.shape)
    with torch.no_grad():
        return at_pixels(neuron, neuron(x), x)[:, 0, 0]


def at_pixels(neuron: SpikingNeuron, spikes: Tensor, x_seq: Tensor) -> Tensor:
    """Spikes where their inputs are: those of VLIF return to the pixels of their patches.

    Args:
        neuron: that fired.
        spikes: what it gave.
        x_seq: what it was given, (T, B, C, H, W).

    Returns:
        The shape of ``x_seq``.

    Raises:
        ValueError: spikes and inputs belong together in no way that is known.
    """
    if spikes.shape == x_seq.shape:
        return spikes
    if isinstance(neuron, VLIFNode) and len(spikes) == len(x_seq) * neuron.r**2:
        return time_to_patch(spikes.unbind(0), neuron.r)
    raise ValueError(
        f"{type(neuron).__name__} makes {tuple(spikes.shape)} of {tuple(x_seq.shape)}: "
        "its spikes have no place among its inputs"
    )


def active(spikes: Tensor, when: When = "ever") -> Tensor:
    """Which inputs are active.

    Args:
        spikes: (T, ...).
        when: ``ever`` (at least one spike over the steps), ``update`` (each step for itself) or
            ``first`` (the first step).

    Returns:
        (...) for ``ever`` and ``first``, (T, ...) for ``update``; bool.

    Raises:
        ValueError: it is none of these.
    """
    if when not in get_args(When):
        raise ValueError(f"when must be one of {', '.join(get_args(When))}, got {when!r}")
    fired = spikes != 0
    return fired.any(0) if when == "ever" else fired[0] if when == "first" else fired


def least_input(neuron: SpikingNeuron, T: int = 4) -> float:
    """The constant input from which a neuron fires within T presentations, in closed form.

    LIF fires at it, I-LIF, NI-LIF and VLIF above it (a half rounds to 0). VLIF is shown a constant
    patch, so it has T*r*r steps.

    Args:
        neuron: LIF, I-LIF, NI-LIF or VLIF.
        T: number of presentations.

    Raises:
        ValueError: another neuron.
    """
    if isinstance(neuron, LIFNode) and not neuron.rest:
        left = 1 - 1 / float(neuron.tau)
        gain = 1 - left**T if neuron.decay_input else _geometric(left, T)
        return float(neuron.v_threshold) / gain
    if isinstance(neuron, ILIFNode):
        steps = T * neuron.r**2 if isinstance(neuron, VLIFNode) else T
        return 0.5 * float(neuron.v_threshold) / _geometric(float(neuron.beta), steps)
    raise ValueError(f"no closed form is known for {neuron}")


def _geometric(ratio: float, count: int) -> float:
    return float(sum(ratio**k for k in range(count)))


def studied_neurons() -> dict[str, SpikingNeuron]:
    """The neurons whose responses are set side by side, with the constants that they have anywhere.

    The paper's supplement and its released code give the LIF neuron of the network a threshold of 0.15;
    fig. 2b and 3 do not say theirs.
    """
    return {
        "LIF of the network (threshold 0.15)": LIFNode(v_threshold=0.15, decay_input=False),
        "LIF, threshold 1": LIFNode(decay_input=False),
        "LIF, threshold 1, input decays": LIFNode(),
        "VLIF of the network, paper": VLIFPixelNode(),
        "VLIF of the network, official": VLIFPixelNode(subtract_count=False),
    }
