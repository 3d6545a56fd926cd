"""Padding to a size that a network can take; the one helper that every network uses."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad the right and the bottom so that ``multiple`` divides height and width.

    Reflects as far as the image reaches (size - 1) and repeats the last row or column beyond, so
    that images of any size work, one pixel included.

    Args:
        x: shape (B, C, H, W).
        multiple: of which the new height and width are multiples.

    Returns:
        Shape (B, C, H', W'); ``x`` itself when nothing is to do. Crop with ``[..., :H, :W]``.
    """
    bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    if not (bottom or right):
        return x
    reflect_bottom, reflect_right = min(bottom, x.shape[-2] - 1), min(right, x.shape[-1] - 1)
    x = F.pad(x, (0, reflect_right, 0, reflect_bottom), mode="reflect")
    return F.pad(x, (0, right - reflect_right, 0, bottom - reflect_bottom), mode="replicate")
