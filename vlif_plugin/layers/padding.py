"""Padding to a size that a network can take; the one helper that every network uses."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad the right and the bottom so that ``multiple`` divides height and width.

    Reflects as far as the image reaches (size - 1) and repeats the last row or column beyond, so
    that images of any size work, one pixel included.

    Args:
        x: shape (B, C, H, W).
        multiple: of which the new height and width are multiples.

    Returns:
        Shape (B, C, H', W'). :func:`crop` undoes it.
    """
    if multiple == 1:
        return x
    rows, columns = (_reflected(size, multiple, x.device) for size in x.shape[-2:])
    return x.index_select(-2, rows).index_select(-1, columns)


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """The upper left ``height`` x ``width`` pixels of (B, C, H, W)."""
    return x.narrow(-2, 0, height).narrow(-1, 0, width)


def _reflected(size: int, multiple: int, device: torch.device) -> Tensor:
    """Which of ``size`` rows stands at each place of the padded image."""
    last = size - 1
    places = torch.arange(_blocks(size, multiple) * multiple, device=device)
    return (last - (places - last).abs()).clamp(min=0)


def _blocks(size: int, multiple: int) -> int:
    """How many times ``multiple`` covers ``size``."""
    count = (size + multiple - 1) // multiple  # of nothing negative: ONNX divides towards zero
    if torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling():
        # torch.export: a number of its own, of which all sizes inside are whole multiples. Derived from
        # the image's sizes, which may be any, not even a convolution's output could be told to fit
        count = cast("int", torch.scalar_tensor(count, dtype=torch.int64).item())
        torch._check(count >= 1)
    return count
