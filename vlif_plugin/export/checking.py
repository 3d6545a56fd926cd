"""Whether an exported network is the network: both are given the same images, of many sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlif_plugin.data import rainy_photograph
from vlif_plugin.errors import ExportError
from vlif_plugin.neurons import FiringRates, SpikingNeuron

TOLERANCE = 1e-4
SHAPES = ((1, 16, 24), (3, 21, 34), (1, 9, 50), (2, 40, 32))
"""Images, height and width of each comparison; none of them is what a network is traced with."""
TRIES = 8


@dataclass(frozen=True)
class Agreement:
    """What a comparison found.

    Attributes:
        largest: the largest difference where no spike was moved by rounding.
        shapes: how many shapes were compared.
        moved: how many images had to be passed over, because a membrane stood so near its threshold that
            rounding decided about a spike.
        neurons: how many neuron layers the network has.
        silent: how many of them never fired, of which the comparison proves nothing.
    """

    largest: float
    shapes: int
    moved: int
    neurons: int
    silent: int

    def __str__(self) -> str:
        text = f"{self.shapes} shapes, largest difference {self.largest:.2g}"
        if self.moved:
            text += f"; {self.moved} images passed over, where rounding moved a spike"
        if self.silent:
            text += (
                f"; {self.silent} of {self.neurons} neuron layers did not fire, so nothing is known "
                "about what they would do"
            )
        return text


def compare(
    net: nn.Module,
    exported: Callable[[Tensor], Tensor],
    shapes: Sequence[tuple[int, int, int]] = SHAPES,
    tolerance: float = TOLERANCE,
) -> Agreement:
    """Hold an exported network against the network.

    Two programs round differently, and where a membrane stands within rounding of its threshold, one of
    them fires and the other does not: results then differ as much as spikes matter, here as between
    any two machines. On most small images this happens nowhere. So each shape is tried with up
    to ``TRIES`` images, and one must come out the same to ``tolerance`` at every pixel; a network without
    spikes has one try. Another network than this one, live, comes out the same on none.

    Args:
        net: in eval mode; float32.
        exported: what should do the same.
        shapes: images, height and width.
        tolerance: largest difference of a value; images are in [0, 1].

    Raises:
        ExportError: they differ, or the exported one fails.
    """
    photograph = rainy_photograph()
    spiking = any(isinstance(module, SpikingNeuron) for module in net.modules())
    rates = FiringRates(net)
    largest, moved = 0.0, 0
    for number, shape in enumerate(shapes):
        found = []
        for attempt in range(TRIES if spiking else 1):
            images = _parts(photograph, shape, seed=TRIES * number + attempt)
            with torch.no_grad(), rates:
                expected = net(images)
            found.append(_difference(exported(images), expected))
            if found[-1] <= tolerance:
                break
            moved += shape[0]
        else:
            count, height, width = shape
            raise ExportError(
                f"the exported network gives another result than the network, on {count} images of "
                f"{width}x{height} pixels: {min(found):.2g} apart, more than {tolerance:g}"
            )
        largest = max(largest, found[-1])
    counts = rates.counts()
    silent = sum(spikes == 0 for spikes, _ in counts.values())
    return Agreement(largest, len(shapes), moved, len(counts), silent)


def _difference(actual: Tensor, expected: Tensor) -> float:
    """The largest; infinite where shapes differ or a value is none."""
    if actual.shape != expected.shape:
        return float("inf")
    return (actual - expected).abs().nan_to_num(nan=float("inf")).max().item()


def _parts(photograph: Tensor, shape: tuple[int, int, int], seed: int) -> Tensor:
    """Details of a photograph, (B, 3, H, W)."""
    count, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    limits = photograph.shape[-2] - height, photograph.shape[-1] - width
    corners = [
        [int(torch.randint(n, (), generator=generator)) for n in limits] for _ in range(count)
    ]
    parts = [photograph[..., y : y + height, x : x + width] for y, x in corners]
    return torch.cat(parts)
