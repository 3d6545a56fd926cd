"""Apply a layer that knows no time to a sequence, by folding time into the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor


def over_time(layer: Callable[[Tensor], Tensor], x_seq: Tensor) -> Tensor:
    """Apply ``layer`` to all timesteps at once.

    Args:
        layer: maps (N, C, H, W) to (N, C', H', W'); statistics that it takes over N are taken
            over time and batch.
        x_seq: shape (T, B, C, H, W).

    Returns:
        Shape (T, B, C', H', W').
    """
    return layer(x_seq.flatten(0, 1)).unflatten(0, x_seq.shape[:2])


def upsample(x_seq: Tensor, factor: int) -> Tensor:
    """Bilinear up-sampling of a (T, B, C, H, W) sequence to (T, B, C, factor*H, factor*W)."""
    if factor == 1:
        return x_seq
    return over_time(
        lambda x: F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False), x_seq
    )
