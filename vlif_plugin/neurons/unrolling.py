"""Integer spikes as trains of binary ones: what integer-valued training stands for.

A spike of value ``k * unit``, 0 <= k <= D, is D virtual timesteps of which the first k hold a binary
spike of weight ``unit`` (I-LIF: Luo et al., ECCV 2024). A layer that is linear in its input gives for
the spike what it gives for the virtual timesteps together, its bias taken once.
"""

from __future__ import annotations

import torch
from torch import Tensor

# float16 and bfloat16 hold k * unit to less than this part of a unit, for any k that is used
_TOLERANCE = 0.05


def whole_events(spikes: Tensor, levels: int, unit: float) -> Tensor | None:
    """The number of events in each value, same shape and dtype; None where a value is no such number.

    Args:
        spikes: values k * unit, 0 <= k <= levels.
        levels: D.
        unit: value of one event, > 0.
    """
    if spikes.numel() == 0:
        return spikes
    k = (spikes / unit).round()
    good = (k - spikes / unit).abs().amax() < _TOLERANCE and k.amin() >= 0
    return k if good and k.amax() <= levels else None


def to_binary(spikes: Tensor, levels: int, unit: float = 1.0) -> Tensor:
    """Integer spikes to the binary train that they stand for.

    Args:
        spikes: shape (T, ...), values k * unit, k in {0, ..., levels}.
        levels: D; ``neuron.levels``.
        unit: value of one event; ``neuron.unit``.

    Returns:
        Shape (T*D, ...), values in {0, 1}, in the dtype of ``spikes``. T is outermost: step t*D + d is
        virtual timestep d of timestep t, and holds 1 where k > d, so a spike's ones come first.

    Raises:
        ValueError: a value is no whole number of units from 0 to D.
    """
    k = whole_events(spikes, levels, unit)
    if k is None:
        raise ValueError(
            f"spikes must be k * {unit:g} with whole k from 0 to {levels}, got values from "
            f"{float(spikes.min()):g} to {float(spikes.max()):g}"
        )
    return torch.stack([(k > d).to(spikes.dtype) for d in range(levels)], 1).flatten(0, 1)


def from_binary(train: Tensor, levels: int, unit: float = 1.0) -> Tensor:
    """A binary train to the integer spikes that it stands for, in whatever order its ones come.

    Args:
        train: shape (T*D, ...), values in {0, 1}.
        levels: D.
        unit: value of one event.

    Returns:
        Shape (T, ...), values in {0, unit, ..., D * unit}; gradients flow.

    Raises:
        ValueError: the number of steps is no multiple of D.
    """
    if levels < 1 or train.shape[0] % levels:
        raise ValueError(
            f"a train of {levels} virtual timesteps a step needs a multiple of them, got {len(train)}"
        )
    return train.unflatten(0, (-1, levels)).sum(1) * unit
