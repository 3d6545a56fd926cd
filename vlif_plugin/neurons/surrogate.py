"""Surrogate gradients: spikes in the forward pass, a smooth stand-in in the backward pass.

Two are provided, the two that VLIF uses. ``SigmoidSpike`` is the binary firing function of LIF
neurons (paper, supplement, eq. 1 and 2); ``IntegerSpike`` is the multi-level one of I-LIF and
NI-LIF (paper, eq. 4).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class SigmoidSpike(torch.autograd.Function):
    """Heaviside step with the derivative of ``sigmoid(alpha * x)``."""

    @staticmethod
    def forward(x: Tensor, alpha: float) -> Tensor:
        """Fire where ``x >= 0``; the same dtype as ``x``, values in {0, 1}."""
        return (x >= 0).to(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the backward pass needs."""
        x, ctx.alpha = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        """``grad * alpha * s * (1 - s)`` with ``s = sigmoid(alpha * x)``."""
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x * ctx.alpha)
        return grad_outputs[0] * (1.0 - s) * s * ctx.alpha, None


class IntegerSpike(torch.autograd.Function):
    """``round(clip(u, 0, D))`` with a straight-through gradient inside ``[0, D]``."""

    @staticmethod
    def forward(u: Tensor, levels: int) -> Tensor:
        """Return the spike count in {0, ..., levels}; ``torch.round``, so 0.5 -> 0 and 1.5 -> 2."""
        return torch.round(torch.clamp(u, 0, levels))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep where the gradient passes: both ends of the range belong to it."""
        u, levels = inputs
        ctx.save_for_backward((u >= 0) & (u <= levels))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        """Pass the gradient inside the range, nothing outside."""
        (inside,) = ctx.saved_tensors
        return grad_outputs[0] * inside, None


def sigmoid_spike(x: Tensor, alpha: float = 4.0) -> Tensor:
    """Binary spike of ``x`` (membrane potential minus threshold), any shape.

    Args:
        x: distance to the threshold; fires where it is at least 0.
        alpha: steepness of the sigmoid whose derivative replaces the step's (4 in the paper).
    """
    if not torch.is_grad_enabled():  # nothing to keep, and for torch.export plain operators
        return SigmoidSpike.forward(x, alpha)
    result: Tensor = SigmoidSpike.apply(x, alpha)  # pyright: ignore[reportAssignmentType]
    return result


def integer_spike(u: Tensor, levels: int = 4) -> Tensor:
    """Spike count of the membrane potential ``u``, an integer in [0, levels], any shape.

    Args:
        u: membrane potential in units of one spike.
        levels: D, the number of virtual timesteps that one step stands for.
    """
    if not torch.is_grad_enabled():
        return IntegerSpike.forward(u, levels)
    result: Tensor = IntegerSpike.apply(u, levels)  # pyright: ignore[reportAssignmentType]
    return result
