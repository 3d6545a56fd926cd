"""Sequences as batches: layers that know no time, and the order in which sequences lie in memory.

Convolutions are fastest where the channels of a pixel lie together (channels-last), and a sequence
stays so through everything here: what comes in so goes out so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
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
    # where memory has to be copied (an image that is the same at all steps), to channels-last
    folded = x_seq.movedim(2, -1).flatten(0, 1).movedim(-1, 1)
    return layer(folded).unflatten(0, x_seq.shape[:2])


def stack_time(steps: Sequence[Tensor]) -> Tensor:
    """Stack timesteps, (B, C, H, W) or of any other shape, in the order of their memory."""
    if steps[0].dim() == 4 and _is_one(steps[0].stride(1)):
        return torch.stack([step.movedim(1, -1) for step in steps]).movedim(-1, 2)
    return torch.stack(list(steps))


def _is_one(stride: int | torch.SymInt) -> bool:
    """Whether it is; of one that torch.export does not know yet, whether it is for all sizes."""
    if isinstance(stride, int):
        return stride == 1
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # imports sympy

    return statically_known_true(stride == 1)


def mean_over_time(x_seq: Tensor) -> Tensor:
    """(T, B, C, H, W) to (B, C, H, W), whose channels stay last in memory."""
    return x_seq.movedim(2, -1).mean(0).movedim(-1, 1)


def join_channels(*sequences: Tensor) -> Tensor:
    """Concatenate (T, B, C, H, W) sequences over their channels, which stay last in memory."""
    return torch.cat([x.movedim(2, -1) for x in sequences], dim=-1).movedim(-1, 2)


def upsample(x_seq: Tensor, factor: int) -> Tensor:
    """Bilinear up-sampling of a (T, B, C, H, W) sequence to (T, B, C, factor*H, factor*W)."""
    height, width = x_seq.shape[-2:]
    return _resize(x_seq, height * factor, width * factor)


def enlarge(x_seq: Tensor, like: Tensor) -> Tensor:
    """Up-sample a sequence to the height and width of another, whole multiples of its own."""
    return _resize(x_seq, *like.shape[-2:])


def enlarge_apart(x_seq: Tensor, like: Tensor) -> Tensor:
    """Enlarge a sequence now where no part should do it, because compilers do it badly.

    That is for training (the gradient becomes a scatter), and with halves on CPUs.
    """
    badly = x_seq.device.type == "cpu" and x_seq.dtype in (torch.bfloat16, torch.float16)
    return enlarge(x_seq, like) if badly or torch.is_grad_enabled() else x_seq


def _resize(x_seq: Tensor, height: int, width: int) -> Tensor:
    if (height, width) == x_seq.shape[-2:]:
        return x_seq
    with full_precision(x_seq.device):  # which would widen it
        return over_time(
            lambda x: F.interpolate(x, (height, width), mode="bilinear", align_corners=False), x_seq
        )


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which autocast narrows nothing; none where it is off, so that tracers see none."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
