"""A neuron applied once, twice, ... to the same features (paper, fig. 1 and eq. 1).

The paper writes f^t(x) for t applications, and compares ``x * f^t(x)``, the features where spikes are. What it
leaves open, and how it is read here: f^2(x) is f(f(x)), the spike sequence presented to the neuron again;
x * f^0(x) is x; HC[x] is what is above a cut-off (:func:`~vlif_plugin.analysis.spectra.high_pass`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from vlif_plugin.analysis.spectra import (
    CUTOFF,
    RadialSpectrum,
    high_pass,
    high_share_of,
    power_spectrum,
    radial_spectrum,
)

Neuron = Callable[[Tensor], Tensor]
"""A neuron that keeps the shape: (T, B, C, H, W) to the same."""

_EQUAL = 1e-9
"""Relative difference of norms, computed in float64, up to which they are the same."""


@dataclass(frozen=True)
class Application:
    """Features after t applications of a neuron, ``x * f^t(x)``; for t = 0 the features themselves.

    Attributes:
        times: t.
        rate: share of the elements of f^t(x) that are not zero; 1 for t = 0.
        mean: of ``x * f^t(x)``.
        norm: L2 norm of ``x * f^t(x)``: the left side of eq. 1.
        ratio: of that norm to the one before; None for t = 0.
        changed: share of the elements in which f^t(x) differs from the application before; None
            for t = 0 and 1.
        high_share: of the energy of ``x * f^t(x)``, what is above the cut-off.
        high_share_spikes: the same of f^t(x) alone; None for t = 0.
        spectrum: of ``x * f^t(x)``.
    """

    times: int
    rate: float
    mean: float
    norm: float
    ratio: float | None
    changed: float | None
    high_share: float
    high_share_spikes: float | None
    spectrum: RadialSpectrum


@dataclass(frozen=True)
class Repetition:
    """All applications, and what eq. 1 compares them with.

    Attributes:
        applications: t = 0, 1, ..., in order.
        cutoff: in cycles for each pixel.
        high_norm: L2 norm of HC[x], the right side of eq. 1 for t = 1.
        alignment: cosine between ``x * f(x)`` and HC[x]; equal norms alone do not make them alike.
    """

    applications: tuple[Application, ...]
    cutoff: float
    high_norm: float
    alignment: float

    @property
    def saturated(self) -> bool:
        """Whether all applications after the first give the same norm, and there is any (eq. 1, t > 1)."""
        norms = [entry.norm for entry in self.applications[1:]]
        return norms[0] > 0 and all(
            math.isclose(norm, norms[0], rel_tol=_EQUAL) for norm in norms[1:]
        )

    @property
    def highlights(self) -> bool:
        """Whether one application leaves a larger share of high frequencies than there was."""
        before, after = self.applications[:2]
        return after.high_share > before.high_share


def applications(x_seq: Tensor, neuron: Neuron, times: int) -> Iterator[Tensor]:
    """f(x), f(f(x)), ...: the spikes after 1 to ``times`` applications."""
    spikes = x_seq
    for _ in range(times):
        spikes = neuron(spikes)
        if spikes.shape != x_seq.shape:
            raise ValueError(
                f"a neuron can be repeated if it keeps the shape; this one makes {tuple(spikes.shape)} "
                f"of {tuple(x_seq.shape)}"
            )
        yield spikes


def repeat(x_seq: Tensor, neuron: Neuron, *, times: int = 4, cutoff: float = CUTOFF) -> Repetition:
    """Apply a neuron again and again, and measure what is left of the features.

    Args:
        x_seq: features, (T, B, C, H, W).
        neuron: keeps the shape.
        times: the largest t, >= 1.
        cutoff: in cycles for each pixel.

    Raises:
        ValueError: the neuron changes the shape, or ``times`` is below 1.
    """
    if times < 1:
        raise ValueError(f"times must be at least 1, got {times}")
    x = x_seq.double()
    high = high_pass(x, cutoff)
    found = [_measure(0, x, None, None, None, cutoff)]
    alignment, before = 0.0, None
    for t, spikes in enumerate(applications(x_seq, neuron, times), 1):
        wide = spikes.double()
        found.append(_measure(t, x, wide, before, found[-1].norm, cutoff))
        if t == 1:
            both = found[-1].norm * high.norm().item()
            alignment = ((x * wide * high).sum().item() / both) if both else 0.0
        before = wide
    return Repetition(tuple(found), cutoff, high.norm().item(), alignment)


def _measure(
    t: int,
    x: Tensor,
    spikes: Tensor | None,
    before: Tensor | None,
    norm_before: float | None,
    cutoff: float,
) -> Application:
    masked = x if spikes is None else x * spikes
    power = power_spectrum(masked)
    norm = masked.norm().item()
    return Application(
        times=t,
        rate=1.0 if spikes is None else (spikes != 0).double().mean().item(),
        mean=masked.mean().item(),
        norm=norm,
        ratio=None if norm_before is None else norm / norm_before if norm_before else 0.0,
        changed=None
        if spikes is None or before is None
        else (spikes != before).double().mean().item(),
        high_share=high_share_of(power, cutoff),
        high_share_spikes=None if spikes is None else high_share_of(power_spectrum(spikes), cutoff),
        spectrum=radial_spectrum(power),
    )
