"""Neuron dynamics as pure functions: one step, and the loop over time.

Nothing is kept between calls. A step takes the membrane potential and returns the next one; a
sequence starts at rest unless it is given a potential, and returns the last one so that a long
sequence can be cut in pieces.

Membranes are integrated in at least float32: under autocast a bfloat16 input is widened, and the
spikes, which bfloat16 holds exactly (k/D for D a power of two, and else rounded), are returned in the
input's dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vlif_plugin.errors import OptionError
from vlif_plugin.layers.time_batch import full_precision, stack_time
from vlif_plugin.neurons.surrogate import integer_spike, sigmoid_spike

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def lif_step(
    x: Tensor,
    v: Tensor,
    *,
    tau: float | Tensor = 2.0,
    v_threshold: float | Tensor = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
    detach_reset: bool = False,
    alpha: float = 4.0,
) -> tuple[Tensor, Tensor]:
    """One step of a leaky integrate-and-fire neuron: charge, fire, reset.

    With r = v_reset (0 for a soft reset)::

        charge   h = v + (x - (v - r)) / tau        (decay_input)
                 h = v - (v - r) / tau + x          (not decay_input; the paper's)
        fire     s = 1 where h >= v_threshold
        reset    v = r where s = 1                  (hard)
                 v = h - v_threshold * s            (soft: v_reset is None)

    The order of operations is SpikingJelly's, so outputs agree bit for bit. Where tau or the threshold
    is a tensor, gradients flow into it: through the surrogate, and through the reset unless that is
    detached (which detaches the spike; a soft reset subtracts the threshold itself in any case).

    Args:
        x: input current, any shape.
        v: membrane potential before the step, shape of ``x``.
        tau: membrane time constant in timesteps, > 1 or equal; a number, or a tensor that
            broadcasts to ``x``.
        v_threshold: firing threshold, likewise.
        v_reset: potential after a spike; None subtracts the threshold instead.
        decay_input: whether the input is divided by tau too.
        detach_reset: keep gradients from flowing through the reset.
        alpha: steepness of the sigmoid surrogate.

    Returns:
        The spike in {0, 1} and the membrane potential after the step, both of ``x``'s shape.
    """
    if v_reset is None or v_reset == 0.0:
        h = v + (x - v) / tau if decay_input else v * (1.0 - 1.0 / tau) + x
    else:
        h = v + (x - (v - v_reset)) / tau if decay_input else v - (v - v_reset) / tau + x
    spike = sigmoid_spike(h - v_threshold, alpha)
    fired = spike.detach() if detach_reset else spike
    if v_reset is None:
        return spike, h - fired * v_threshold
    return spike, (1.0 - fired) * h + fired * v_reset


def ilif_step(
    x: Tensor,
    v: Tensor,
    *,
    D: int = 4,
    beta: float | Tensor = 0.25,
    v_threshold: float | Tensor = 1.0,
    detach_reset: bool = True,
) -> tuple[Tensor, Tensor]:
    """One step of an integer-valued LIF neuron (I-LIF, Luo et al. 2024).

    ``U = H + X; S = clip(round(U / V_th), 0, D); H = beta * (U - V_th * S)``: the spike is a count,
    and the count is what is subtracted.

    Args:
        x: input current, any shape.
        v: membrane state H before the step, shape of ``x``.
        D: largest count, the number of virtual timesteps.
        beta: leak, the share of the potential that remains; a number, or a tensor that broadcasts.
        v_threshold: potential of one count (1 in the literature), likewise.
        detach_reset: keep gradients from flowing through the subtraction.

    Returns:
        The spike count in {0, ..., D} and the state after the step, both of ``x``'s shape.
    """
    u = v + x
    spike = _count(u, v_threshold, D)
    return spike, _leave(u, spike, v_threshold, beta, detach_reset)


def nilif_step(
    x: Tensor,
    v: Tensor,
    *,
    D: int = 4,
    beta: float | Tensor = 0.25,
    v_threshold: float | Tensor = 1.0,
    subtract_count: bool = True,
    detach_reset: bool = True,
) -> tuple[Tensor, Tensor]:
    """One step of a normalised integer LIF neuron (NI-LIF; paper, eq. 3 to 5).

    ``U = H + X; S = clip(round(U / V_th), 0, D) / D``, then ``H = beta * (U - V_th * S * D)`` as the
    paper has it, or ``H = beta * (U - V_th * S)`` as the released code has it; V_th is 1 in both.

    Args:
        x: input current, any shape.
        v: membrane state H before the step, shape of ``x``.
        D: number of virtual timesteps; the output has D + 1 levels.
        beta: leak, the share of the potential that remains; a number, or a tensor that broadcasts.
        v_threshold: potential of one count, likewise.
        subtract_count: subtract the count S * D (paper) or the normalised spike S (released code).
        detach_reset: keep gradients from flowing through the subtraction.

    Returns:
        The quantised spike in {0, 1/D, ..., 1} and the state after the step, of ``x``'s shape.
    """
    u = v + x
    count = _count(u, v_threshold, D)
    spike = count / D
    taken = count if subtract_count else spike
    return spike, _leave(u, taken, v_threshold, beta, detach_reset)


def _is_one(v_threshold: float | Tensor) -> bool:
    """Whether the threshold is the usual one, for which nothing has to be computed."""
    return not isinstance(v_threshold, Tensor) and v_threshold == 1


def _count(u: Tensor, v_threshold: float | Tensor, D: int) -> Tensor:
    return integer_spike(u if _is_one(v_threshold) else u / v_threshold, D)


def _leave(
    u: Tensor, taken: Tensor, v_threshold: float | Tensor, beta: float | Tensor, detach: bool
) -> Tensor:
    taken = taken.detach() if detach else taken
    return (u - (taken if _is_one(v_threshold) else taken * v_threshold)) * beta


def run_sequence(
    step: Step, x_seq: Tensor, v: Tensor | None = None, *, rest: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Run a neuron's step over time.

    Args:
        step: ``(x, v) -> (spike, v)``, with the neuron's parameters bound.
        x_seq: input, shape (T, ...), T >= 1.
        v: membrane potential to start from, shape of ``x_seq[0]``; None starts at rest.
        rest: the resting potential.

    Returns:
        Spikes of shape (T, ...) in ``x_seq``'s dtype, and the last membrane potential, in float32
        or wider.

    Raises:
        ValueError: ``x_seq`` has no time steps or is not floating-point.
    """
    check_sequence(x_seq)
    spikes, state = run_steps(step, x_seq.unbind(0), v, rest=rest)
    return stack_time(spikes), state


def run_steps(
    step: Step, steps: Sequence[Tensor], v: Tensor | None = None, *, rest: float = 0.0
) -> tuple[list[Tensor], Tensor]:
    """Run a neuron's step over timesteps that need not lie together; the only time loop.

    Args:
        step: as for :func:`run_sequence`.
        steps: inputs of one shape, at least one.
        v: as there.
        rest: as there.

    Returns:
        Spikes in the inputs' dtype, and the last membrane potential, in float32 or wider.

    Raises:
        OptionError: the step gives something else than a spike and a potential of its input's shape.
    """
    dtype = steps[0].dtype
    wide = torch.promote_types(dtype, torch.float32)
    spikes = []
    with full_precision(steps[0].device):
        state = torch.full_like(steps[0], rest, dtype=wide) if v is None else v.to(wide)
        for x in steps:
            given = step(x.to(wide), state)
            if not spikes:
                _check_step(step, x, given)
            spike, state = given
            spikes.append(spike.to(dtype))
    return spikes, state


def _check_step(step: Step, x: Tensor, given: object) -> None:
    if (
        isinstance(given, (tuple, list))
        and len(given) == 2
        and all(isinstance(t, Tensor) and t.shape == x.shape for t in given)
    ):
        return
    each = given if isinstance(given, (tuple, list)) else [given]
    got = [str(tuple(t.shape)) if isinstance(t, Tensor) else type(t).__name__ for t in each]
    raise OptionError(
        f"{getattr(step, '__qualname__', 'the step')} must return a spike and the next potential, both of its "
        f"input's shape {tuple(x.shape)}, got {' and '.join(got) or 'nothing'}"
    )


def check_sequence(x_seq: Tensor) -> None:
    """Refuse what no neuron can integrate.

    Raises:
        ValueError: it has no time steps or is not floating-point.
    """
    if x_seq.dim() == 0 or x_seq.shape[0] == 0:
        raise ValueError(f"a neuron needs (T, ...) with T >= 1, got {tuple(x_seq.shape)}")
    if not x_seq.is_floating_point():
        raise ValueError(f"a neuron needs floating-point input, got {x_seq.dtype}")


def lif_sequence(
    x_seq: Tensor,
    v: Tensor | None = None,
    *,
    tau: float | Tensor = 2.0,
    v_threshold: float | Tensor = 1.0,
    v_reset: float | None = 0.0,
    decay_input: bool = True,
    detach_reset: bool = False,
    alpha: float = 4.0,
) -> tuple[Tensor, Tensor]:
    """LIF over time; parameters of :func:`lif_step`, shapes of :func:`run_sequence`."""

    def step(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return lif_step(
            x, v, tau=tau, v_threshold=v_threshold, v_reset=v_reset,
            decay_input=decay_input, detach_reset=detach_reset, alpha=alpha,
        )  # fmt: skip

    return run_sequence(step, x_seq, v, rest=v_reset or 0.0)


def ilif_sequence(
    x_seq: Tensor,
    v: Tensor | None = None,
    *,
    D: int = 4,
    beta: float | Tensor = 0.25,
    v_threshold: float | Tensor = 1.0,
    detach_reset: bool = True,
) -> tuple[Tensor, Tensor]:
    """I-LIF over time; parameters of :func:`ilif_step`, shapes of :func:`run_sequence`."""

    def step(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return ilif_step(x, v, D=D, beta=beta, v_threshold=v_threshold, detach_reset=detach_reset)

    return run_sequence(step, x_seq, v)


def nilif_sequence(
    x_seq: Tensor,
    v: Tensor | None = None,
    *,
    D: int = 4,
    beta: float | Tensor = 0.25,
    v_threshold: float | Tensor = 1.0,
    subtract_count: bool = True,
    detach_reset: bool = True,
) -> tuple[Tensor, Tensor]:
    """NI-LIF over time; parameters of :func:`nilif_step`, shapes of :func:`run_sequence`."""

    def step(x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return nilif_step(
            x, v, D=D, beta=beta, v_threshold=v_threshold,
            subtract_count=subtract_count, detach_reset=detach_reset,
        )  # fmt: skip

    return run_sequence(step, x_seq, v)
