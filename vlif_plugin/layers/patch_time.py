"""Patch-to-time reorganisation (paper, section "Vision-LIF"): space becomes time, and back."""

from __future__ import annotations

from torch import Tensor


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
    check_patches(x_seq, r)
    t, b, c, h, w = x_seq.shape
    patches = x_seq.reshape(t, b, c, h // r, r, w // r, r)
    return patches.permute(0, 4, 6, 1, 2, 3, 5).reshape(t * r * r, b, c, h // r, w // r)


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
    """Put the r*r steps of each patch side by side in the channels.

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
