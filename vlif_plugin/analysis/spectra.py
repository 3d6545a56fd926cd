"""Spectra of feature maps: how much of their energy changes slowly in space, and how much fast.

Frequencies are in cycles for each pixel: 0.5 is the fastest along an axis. Maps are taken as they are, without a
window, so a border whose two ends differ counts as an edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CUTOFF = 0.25
"""Half of what an axis can show: from here on a frequency is called high. The paper names no value."""

_AT_ONCE = (
    64  # maps, so that a sequence of a full-size network needs no second one of complex numbers
)


@dataclass(frozen=True)
class RadialSpectrum:
    """Power by frequency, whatever the direction.

    Attributes:
        frequencies: middle of each ring, in cycles for each pixel.
        power: mean over the ring's frequencies; see :func:`power_spectrum`.
    """

    frequencies: tuple[float, ...]
    power: tuple[float, ...]


def frequencies(height: int, width: int) -> Tensor:
    """Distance of each frequency from zero, (H, W) in the order of ``torch.fft.fft2``; float64."""
    down = torch.fft.fftfreq(height, dtype=torch.float64)
    across = torch.fft.fftfreq(width, dtype=torch.float64)
    return torch.hypot(down[:, None], across[None])


def power_spectrum(x: Tensor) -> Tensor:
    """Energy by frequency, the mean over all maps.

    Args:
        x: shape (..., H, W), real.

    Returns:
        Shape (H, W), float64, in the order of ``torch.fft.fft2``. It sums to the mean over the maps
        of the sum of their squares (Parseval).

    Raises:
        ValueError: there is no map.
    """
    maps = _maps(x)
    total = torch.zeros(x.shape[-2:], dtype=torch.float64, device=x.device)
    for part in maps.split(_AT_ONCE):
        total += torch.fft.fft2(part.double()).abs().square().sum(0)
    return total / (len(maps) * x.shape[-1] * x.shape[-2])


def radial_spectrum(power: Tensor, rings: int = 32) -> RadialSpectrum:
    """Mean power over rings of equal width from 0 to 0.5 cycles for each pixel.

    The corners beyond belong to no ring, and the mean of a map (frequency zero) to the first.

    Args:
        power: of :func:`power_spectrum`.
        rings: how many; those that hold no frequency are left out.
    """
    height, width = power.shape
    ring = (frequencies(height, width) * 2 * rings).floor().long().flatten()
    ring[ring > rings] = rings + 1
    ring[ring == rings] = rings - 1  # 0.5 itself
    sums = torch.zeros(rings + 2, dtype=torch.float64).index_add_(0, ring, power.cpu().flatten())
    counts = torch.bincount(ring, minlength=rings + 2)
    known = [index for index in range(rings) if counts[index]]
    return RadialSpectrum(
        frequencies=tuple((index + 0.5) / (2 * rings) for index in known),
        power=tuple((sums[index] / counts[index]).item() for index in known),
    )


def high_pass(x: Tensor, cutoff: float = CUTOFF) -> Tensor:
    """What of each map is at frequencies above ``cutoff``: HC[x] of eq. 1 as we read it.

    An orthogonal projection: ``x`` is the sum of this and of the rest, and so are their energies.

    Args:
        x: shape (..., H, W), real.
        cutoff: in cycles for each pixel.

    Returns:
        The same shape, float64.
    """
    height, width = x.shape[-2:]
    kept = (frequencies(height, width) > cutoff).to(x.device)
    parts = [torch.fft.ifft2(torch.fft.fft2(part.double()) * kept).real for part in _split(x)]
    return torch.cat(parts).view(x.shape)


def high_frequency_share(x: Tensor, cutoff: float = CUTOFF) -> float:
    """Share of the energy of all maps together that is above ``cutoff``: ``|HC[x]|^2 / |x|^2``.

    The mean of a map belongs to the low frequencies.

    Args:
        x: shape (..., H, W), real.
        cutoff: in cycles for each pixel.

    Returns:
        A number in [0, 1]; 0 where there is no energy.
    """
    return high_share_of(power_spectrum(x), cutoff)


def high_share_of(power: Tensor, cutoff: float = CUTOFF) -> float:
    """The same of a spectrum that is there already."""
    height, width = power.shape
    total = power.sum().item()
    if total == 0 or not math.isfinite(total):
        return 0.0
    return power.cpu()[frequencies(height, width) > cutoff].sum().item() / total


def _maps(x: Tensor) -> Tensor:
    """(..., H, W) to (N, H, W)."""
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(f"spectra need maps of (..., H, W), got {tuple(x.shape)}")
    return x.reshape(-1, *x.shape[-2:])


def _split(x: Tensor) -> tuple[Tensor, ...]:
    return _maps(x).split(_AT_ONCE)
