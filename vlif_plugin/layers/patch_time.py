"""Patch-to-time reorganisation (paper, section "Vision-LIF"): space becomes time, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vlif_plugin.layers.time_batch import stack_time


def patch_to_time(x_seq: Tensor, r: int) -> Tensor:
    """Turn each r x r patch into r*r consecutive timesteps.

    Steps are ordered (t, p) with p varying fastest; p runs over the patch row by row, which is
    the channel order of :class:`torch.nn.PixelUnshuffle`.

    Args:
        x_seq: shape (T, B, C, H, W), H and W multiples of r.
        r: patch-to-time factor, >= 1.

    Returns:
        Shape (T*r*r, B, C, H/r, W/r).

    Raises:
        ValueError: H or W is not a multiple of r.
    """
    return stack_time(patch_steps(x_seq, r))


def patch_steps(x_seq: Tensor, r: int) -> list[Tensor]:
    """The T*r*r steps of :func:`patch_to_time` as views of ``x_seq``, for which nothing is copied.

    Args:
        x_seq: as there.
        r: as there.

    Returns:
        Steps of shape (B, C, H/r, W/r).

    Raises:
        ValueError: H or W is not a multiple of r.
    """
    check_patches(x_seq, r)
    # channels last, so that gradients, which are stacked where steps are unbound, lie so as well
    patches = x_seq.movedim(2, -1).unflatten(3, (-1, r)).unflatten(2, (-1, r))
    rows = [row for step in patches.unbind(0) for row in step.unbind(2)]
    return [x.movedim(-1, 1) for row in rows for x in row.unbind(3)]


def time_to_patch(steps: Sequence[Tensor], r: int) -> Tensor:
    """Put steps back where :func:`patch_steps` took them from: its inverse.

    Args:
        steps: T*r*r of shape (B, C, H/r, W/r), in its order.
        r: as there.

    Returns:
        Shape (T, B, C, H, W), channels last in memory.

    Raises:
        ValueError: the number of steps is not a multiple of r*r.
    """
    if len(steps) % (r * r):
        raise ValueError(
            f"time_to_patch with r={r} needs a multiple of {r * r} steps, got {len(steps)}"
        )
    last = [step.movedim(1, -1) for step in steps]
    rows = [torch.stack(last[i : i + r], 3) for i in range(0, len(last), r)]  # (B, H/r, W/r, r, C)
    patches = [torch.stack(rows[i : i + r], 2) for i in range(0, len(rows), r)]
    return torch.stack(patches).flatten(4, 5).flatten(2, 3).movedim(-1, 2)


def check_patches(x_seq: Tensor, r: int) -> None:
    """Refuse images that r x r patches do not cover.

    Raises:
        ValueError: H or W is not a multiple of r.
    """
    h, w = x_seq.shape[-2:]
    if h % r or w % r:
        raise ValueError(
            f"patch_to_time with r={r} needs a height and width that r divides, got {h}x{w}"
        )


def time_to_channel(s_seq: Tensor, r: int) -> Tensor:
    """Put the r*r steps of each patch side by side in the channels, as the released code has it.

    Args:
        s_seq: shape (T*r*r, B, C, H/r, W/r), as :func:`patch_to_time` returns it.
        r: patch-to-time factor.

    Returns:
        Shape (T, B, C*r*r, H/r, W/r); channel c*r*r + p holds channel c at patch position p.

    Raises:
        ValueError: the number of steps is not a multiple of r*r.
    """
    steps, b, c, h, w = s_seq.shape
    if steps % (r * r):
        raise ValueError(
            f"time_to_channel with r={r} needs a multiple of {r * r} steps, got {steps}"
        )
    grouped = s_seq.reshape(steps // (r * r), r * r, b, c, h, w)
    return grouped.permute(0, 2, 3, 1, 4, 5).reshape(steps // (r * r), b, c * r * r, h, w)
