"""Whether spikes mark high frequencies: measures that a mask at random places cannot pass.

The paper calls a neuron a high-frequency indicator where ``x * f(x)`` has lost low frequencies. Any sparse mask does
that to any features, wherever its ones are: multiplication by a mask with edges spreads every spectrum. So two
more things are measured: what the same number of spikes at random places would do, and the *lift*, how much more of
the energy of HC[x] lies under the spikes than under such a mask. Above 1 spikes mark high frequencies; and
only where it is also above the lift of the low ones do they mark them rather than whatever is intense.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlif_plugin.analysis.spectra import CUTOFF, high_frequency_share, high_pass


@dataclass(frozen=True)
class Indication:
    """What the spikes of a layer mark of its input.

    Attributes:
        rate: share of the elements with a spike.
        high_share: of the energy of the input x, what is above the cut-off.
        high_share_masked: the same of ``x * f(x)``.
        high_share_random: the same with the spikes of each map moved to other pixels at random.
        lift_high: share of the energy of HC[x] that lies under spikes, divided by ``rate``; 1 for
            spikes that do not care, None where nothing fires or there is no such energy.
        lift_low: the same of ``x - HC[x]``, the mean included.
    """

    rate: float
    high_share: float
    high_share_masked: float
    high_share_random: float
    lift_high: float | None
    lift_low: float | None


def indication(x: Tensor, spikes: Tensor, *, cutoff: float = CUTOFF, seed: int = 0) -> Indication:
    """Measure what spikes mark.

    Args:
        x: what the neuron was given, (..., H, W).
        spikes: what it gave, the same shape; 0 is silence.
        cutoff: in cycles for each pixel.
        seed: of the random places, which are the same for all maps.

    Raises:
        ValueError: the shapes differ.
    """
    if x.shape != spikes.shape:
        raise ValueError(f"features are {tuple(x.shape)}, their spikes {tuple(spikes.shape)}")
    places = torch.randperm(
        x.shape[-1] * x.shape[-2], generator=torch.Generator().manual_seed(seed)
    ).to(x.device)
    moved = spikes.flatten(-2)[..., places].view(spikes.shape)
    high = high_pass(x, cutoff)
    fired = spikes != 0
    rate = fired.double().mean().item()
    return Indication(
        rate=rate,
        high_share=high_frequency_share(x, cutoff),
        high_share_masked=high_frequency_share(x * spikes, cutoff),
        high_share_random=high_frequency_share(x * moved, cutoff),
        lift_high=lift(high.square(), fired),
        lift_low=lift((x.double() - high).square(), fired),
    )


def lift(energy: Tensor, weight: Tensor) -> float | None:
    """How much more of an energy lies under a mask than the mask's mean would have it.

    Args:
        energy: at least 0, any shape.
        weight: of the same shape, in [0, 1]; a mask, or a rate.

    Returns:
        ``sum(energy * weight) / (sum(energy) * mean(weight))``; None where that is 0 / 0.
    """
    weight = weight.double()
    whole = energy.sum().item() * weight.mean().item()
    return (energy * weight).sum().item() / whole if whole > 0 else None
