"""Neuron dynamics as Triton kernels: all steps of a sequence in one pass over memory, and the same back.

The forward pass reads the input once and writes the spikes once. The backward pass keeps the input
alone: it runs the dynamics again, leaves what it needs of them where the gradients will stand, and
walks back through time. Patches become time by strides, not by a copy. Arithmetic is in float32
(float64 for float64), in the order of :mod:`vlif_plugin.neurons.functional` and without contraction,
so that spikes are those of the plain path.

Importing this module needs Triton; :mod:`vlif_plugin.speed` does it where it is asked to.
"""

# Triton reads the source of kernels and gives their arguments types of its own
# ruff: noqa: ANN001, ANN202, N803
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportIndexIssue=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlif_plugin.layers.patch_time import check_patches

_BLOCK = 512


@triton.jit
def _place(index, n1, n2, n3, x0, x1, x2, x3, DENSE: tl.constexpr):
    """Where the input of a neuron's first step lies, in elements; its spikes lie at its index."""
    if DENSE:
        place = index.to(tl.int64)
    else:
        i3 = index % n3
        i2 = index // n3 % n2
        i1 = index // (n3 * n2) % n1
        i0 = index // (n3 * n2 * n1)
        place = i0.to(tl.int64) * x0 + i1.to(tl.int64) * x1
        place += i2.to(tl.int64) * x2 + i3.to(tl.int64) * x3
    return place


@triton.jit
def _step_at(step, s_time, s_row, s_column, R: tl.constexpr):
    """Where a step lies beside the first: step = t * R * R + row in the patch * R + column."""
    part = step % (R * R)
    time = step // (R * R)
    return tl.cast(time, tl.int64) * s_time + (part // R) * s_row + (part % R) * s_column


@triton.jit
def _divided(x, BY: tl.constexpr):
    """Division as IEEE has it, which Triton's of float32 is not."""
    quotient = tl.div_rn(x, tl.full(x.shape, BY, x.dtype)) if x.dtype == tl.float32 else x / BY
    return quotient


@triton.jit
def _lif_charge(x, v, TAU: tl.constexpr, RESET: tl.constexpr, DECAY: tl.constexpr):
    if DECAY:
        h = v + _divided(x - (v - RESET), TAU)
    elif RESET == 0.0:
        h = v * (1.0 - 1.0 / TAU) + x
    else:
        h = v - _divided(v - RESET, TAU) + x
    return h


@triton.jit
def _lif_forward(
    x_ptr, s_ptr, count, steps,
    n1, n2, n3, x0, x1, x2, x3, x_time, x_row, x_column,
    TAU: tl.constexpr, THRESHOLD: tl.constexpr, RESET: tl.constexpr, SOFT: tl.constexpr,
    DECAY: tl.constexpr, DTYPE: tl.constexpr, R: tl.constexpr, DENSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = index < count
    x_at = x_ptr + _place(index, n1, n2, n3, x0, x1, x2, x3, DENSE)
    s_at = s_ptr + index
    v = tl.full((BLOCK,), RESET, DTYPE)
    for step in range(steps):
        x = tl.load(x_at + _step_at(step, x_time, x_row, x_column, R), mask=mask).to(DTYPE)
        h = _lif_charge(x, v, TAU, RESET, DECAY)
        fired = h - THRESHOLD >= 0
        v = tl.where(fired, h - THRESHOLD, h) if SOFT else tl.where(fired, RESET, h)
        spike = tl.where(fired, 1.0, 0.0).to(s_ptr.dtype.element_ty)
        tl.store(s_at + tl.cast(step, tl.int64) * count, spike, mask=mask)


@triton.jit
def _lif_backward(
    x_ptr, g_ptr, h_ptr, d_ptr, count, steps,
    n1, n2, n3, x0, x1, x2, x3, x_time, x_row, x_column,
    TAU: tl.constexpr, THRESHOLD: tl.constexpr, RESET: tl.constexpr, SOFT: tl.constexpr,
    DECAY: tl.constexpr, DETACH: tl.constexpr, ALPHA: tl.constexpr, DTYPE: tl.constexpr,
    R: tl.constexpr, DENSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = index < count
    x_place = _place(index, n1, n2, n3, x0, x1, x2, x3, DENSE)
    g_at = g_ptr + index
    v = tl.full((BLOCK,), RESET, DTYPE)
    for step in range(steps):
        place = x_place + _step_at(step, x_time, x_row, x_column, R)
        x = tl.load(x_ptr + place, mask=mask).to(DTYPE)
        h = _lif_charge(x, v, TAU, RESET, DECAY)
        tl.store(h_ptr + place, h, mask=mask)
        fired = h - THRESHOLD >= 0
        v = tl.where(fired, h - THRESHOLD, h) if SOFT else tl.where(fired, RESET, h)
    dv = tl.full((BLOCK,), 0.0, DTYPE)
    for back in range(steps):
        step = steps - 1 - back
        place = x_place + _step_at(step, x_time, x_row, x_column, R)
        h = tl.load(h_ptr + place, mask=mask)
        grad = tl.load(g_at + tl.cast(step, tl.int64) * count, mask=mask).to(DTYPE)
        fired = h - THRESHOLD >= 0
        if SOFT:
            through = dv
            if not DETACH:
                grad -= dv * THRESHOLD
        else:
            through = tl.where(fired, 0.0, dv)
            if not DETACH:
                grad += dv * (RESET - h)
        open_ = 1.0 / (1.0 + tl.exp(-ALPHA * (h - THRESHOLD)))
        dh = grad * (1.0 - open_) * open_ * ALPHA + through
        dv = dh * (1.0 - 1.0 / TAU)
        dx = dh * (1.0 / TAU) if DECAY else dh
        tl.store(d_ptr + place, dx.to(d_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _rounded(u, D: tl.constexpr):
    """``round(clip(u, 0, D))``, halves to even as in torch.round."""
    clipped = tl.minimum(tl.maximum(u, 0.0), D)
    below = tl.floor(clipped)
    rest = clipped - below
    odd = below - 2.0 * tl.floor(below * 0.5)
    return below + tl.where((rest > 0.5) | ((rest == 0.5) & (odd == 1.0)), 1.0, 0.0)


@triton.jit
def _integer_forward(
    x_ptr, s_ptr, count, steps,
    n1, n2, n3, x0, x1, x2, x3, x_time, x_row, x_column,
    D: tl.constexpr, LEVELS: tl.constexpr, BETA: tl.constexpr, TAKE_COUNT: tl.constexpr,
    DTYPE: tl.constexpr, R: tl.constexpr, DENSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = index < count
    x_at = x_ptr + _place(index, n1, n2, n3, x0, x1, x2, x3, DENSE)
    s_at = s_ptr + index
    v = tl.full((BLOCK,), 0.0, DTYPE)
    for step in range(steps):
        x = tl.load(x_at + _step_at(step, x_time, x_row, x_column, R), mask=mask).to(DTYPE)
        u = v + x
        events = _rounded(u, D)
        spike = _divided(events, LEVELS)
        v = (u - (events if TAKE_COUNT else spike)) * BETA
        tl.store(
            s_at + tl.cast(step, tl.int64) * count, spike.to(s_ptr.dtype.element_ty), mask=mask
        )


@triton.jit
def _integer_backward(
    x_ptr, g_ptr, h_ptr, d_ptr, count, steps,
    n1, n2, n3, x0, x1, x2, x3, x_time, x_row, x_column,
    D: tl.constexpr, LEVELS: tl.constexpr, BETA: tl.constexpr, TAKE_COUNT: tl.constexpr,
    DETACH: tl.constexpr, DTYPE: tl.constexpr, R: tl.constexpr, DENSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = index < count
    x_place = _place(index, n1, n2, n3, x0, x1, x2, x3, DENSE)
    g_at = g_ptr + index
    v = tl.full((BLOCK,), 0.0, DTYPE)
    for step in range(steps):
        place = x_place + _step_at(step, x_time, x_row, x_column, R)
        u = v + tl.load(x_ptr + place, mask=mask).to(DTYPE)
        tl.store(h_ptr + place, u, mask=mask)
        events = _rounded(u, D)
        spike = _divided(events, LEVELS)
        v = (u - (events if TAKE_COUNT else spike)) * BETA
    dv = tl.full((BLOCK,), 0.0, DTYPE)
    for back in range(steps):
        step = steps - 1 - back
        place = x_place + _step_at(step, x_time, x_row, x_column, R)
        u = tl.load(h_ptr + place, mask=mask)
        grad = tl.load(g_at + tl.cast(step, tl.int64) * count, mask=mask).to(DTYPE) / LEVELS
        if not DETACH:
            grad -= dv * BETA if TAKE_COUNT else dv * (BETA / LEVELS)
        dv = tl.where((u >= 0) & (u <= D), grad, 0.0) + dv * BETA
        tl.store(d_ptr + place, dv.to(d_ptr.dtype.element_ty), mask=mask)


@dataclass(frozen=True)
class Layout:
    """How the kernels walk over a sequence and its spikes, whatever the order of their memory.

    Attributes:
        out: shape of the spikes, (T*r*r, B, C, H/r, W/r).
        out_strides: their strides, in the order of the input's memory.
        arguments: sizes of the walk, and the input's strides, as the kernels take them.
        dense: whether the walk goes from each element of a step to the next in memory.
    """

    out: tuple[int, ...]
    out_strides: tuple[int, ...]
    arguments: tuple[int, ...]
    dense: bool


def layout_of(x: Tensor, r: int) -> Layout:
    """Plan the walk over (T, B, C, H, W), neurons in the order in which they lie in memory.

    Args:
        x: the sequence; any strides.
        r: patch-to-time factor; divides H and W.
    """
    t, b, c, h, w = x.shape
    sizes = (b, c, h // r, w // r)
    time, *inner = x.stride()
    strides = (inner[0], inner[1], inner[2] * r, inner[3] * r)
    # from the farthest apart to the nearest; what has one element may stand anywhere
    order = sorted(range(4), key=lambda i: (-strides[i] if sizes[i] > 1 else -math.inf, i))
    packed, step = [0] * 4, 1
    for i in reversed(order):
        packed[i] = step
        step *= sizes[i]
    walked = [sizes[i] for i in order][1:]
    dense = all(strides[i] == packed[i] or sizes[i] == 1 for i in range(4))
    arguments = (*walked, *(strides[i] for i in order), time, inner[2], inner[3])
    return Layout((t * r * r, *sizes), (step, *packed), arguments, dense)


class _Dynamics(NamedTuple):
    """A neuron's two kernels, the constants of both, and those of the second alone."""

    forward: Any
    backward: Any
    shared: dict[str, Any]
    backwards: dict[str, Any]


class _Sequence(torch.autograd.Function):
    """A neuron's dynamics over a sequence, by its two kernels."""

    @staticmethod
    def forward(x: Tensor, dynamics: _Dynamics, r: int) -> Tensor:
        """Spikes of ``x``, (T, B, C, H, W) to (T*r*r, B, C, H/r, W/r), in its dtype."""
        layout = layout_of(x, r)
        spikes = x.new_empty_strided(layout.out, layout.out_strides)
        _launch(dynamics.forward, layout, (x, spikes), r, dynamics.shared)
        return spikes

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the input."""
        x, ctx.dynamics, ctx.r = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of the input."""
        (x,) = ctx.saved_tensors
        dx = torch.empty_like(x)
        # an input with gaps, or whose steps are all the same memory
        if dx.stride() != x.stride():
            x = torch.empty_like(dx).copy_(x)
        layout = layout_of(x, ctx.r)
        grad = grad_outputs[0]
        if grad.stride() != layout.out_strides:
            grad = grad.new_empty_strided(layout.out, layout.out_strides).copy_(grad)
        # potentials stand where gradients will, if these are as wide
        wide = torch.promote_types(x.dtype, torch.float32)
        h = dx if x.dtype == wide else torch.empty_like(dx, dtype=wide)
        constants = ctx.dynamics.shared | ctx.dynamics.backwards
        _launch(ctx.dynamics.backward, layout, (x, grad, h, dx), ctx.r, constants)
        return dx, None, None


def _launch(
    kernel: Any, layout: Layout, tensors: tuple[Tensor, ...], r: int, constants: dict[str, Any]
) -> None:
    steps, *sizes = layout.out
    count = math.prod(sizes)
    if count == 0:
        return
    kind = tl.float64 if tensors[0].dtype == torch.float64 else tl.float32
    kernel[(triton.cdiv(count, _BLOCK),)](
        *tensors, count, steps, *layout.arguments,
        **constants, DTYPE=kind, R=r, DENSE=layout.dense, BLOCK=_BLOCK, enable_fp_fusion=False,
    )  # fmt: skip


def lif(
    x_seq: Tensor,
    *,
    tau: float,
    v_threshold: float,
    v_reset: float | None,
    decay_input: bool,
    detach_reset: bool,
    alpha: float,
) -> Tensor:
    """LIF over time from rest; see :func:`~vlif_plugin.neurons.functional.lif_step`.

    Args:
        x_seq: shape (T, ...), on a device that Triton knows.
        tau: see there, as the others.
        v_threshold: see there.
        v_reset: see there.
        decay_input: see there.
        detach_reset: see there.
        alpha: see there.

    Returns:
        Spikes of the same shape and dtype.
    """
    constants = {
        "TAU": float(tau), "THRESHOLD": float(v_threshold), "RESET": float(v_reset or 0.0),
        "SOFT": v_reset is None, "DECAY": decay_input,
    }  # fmt: skip
    backwards = {"DETACH": detach_reset, "ALPHA": float(alpha)}
    return _run(x_seq, _Dynamics(_lif_forward, _lif_backward, constants, backwards), 1)


def integer(
    x_seq: Tensor,
    *,
    D: int,
    levels: int,
    beta: float,
    subtract_count: bool,
    detach_reset: bool,
    r: int = 1,
) -> Tensor:
    """I-LIF (``levels=1``) and NI-LIF (``levels=D``) over time from rest, perhaps over patches.

    See :func:`~vlif_plugin.neurons.functional.nilif_step` and
    :func:`~vlif_plugin.layers.patch_time.patch_to_time`.

    Args:
        x_seq: shape (T, ...); for r > 1 (T, B, C, H, W), H and W multiples of r.
        D: largest count.
        levels: what a count is divided by.
        beta: leak.
        subtract_count: whether the count is subtracted, or what it is divided to.
        detach_reset: keep gradients from flowing through the subtraction.
        r: patch-to-time factor.

    Returns:
        Spikes, (T, ...), or (T*r*r, B, C, H/r, W/r).

    Raises:
        ValueError: r does not divide H and W.
    """
    constants = {
        "D": float(D), "LEVELS": float(levels), "BETA": float(beta), "TAKE_COUNT": subtract_count,
    }  # fmt: skip
    backwards = {"DETACH": detach_reset}
    return _run(x_seq, _Dynamics(_integer_forward, _integer_backward, constants, backwards), r)


def _run(x_seq: Tensor, dynamics: _Dynamics, r: int) -> Tensor:
    if r > 1:
        check_patches(x_seq, r)
    five = x_seq if x_seq.dim() == 5 else x_seq.reshape(x_seq.shape[0], 1, 1, 1, -1)
    spikes: Tensor = _Sequence.apply(five, dynamics, r)  # pyright: ignore[reportAssignmentType]
    return spikes if x_seq.dim() == 5 else spikes.view(x_seq.shape)
