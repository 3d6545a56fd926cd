"""What computes a neuron's sequence: plain PyTorch, a compiled form of it, or Triton kernels.

The plain path is complete, needs nothing, and is what the others are held against: same spikes, same
gradients. Which one a network takes is chosen by :func:`use_backend`, and can be changed at any time;
weights, names and results do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from vlif_plugin.errors import OptionError, first_line
from vlif_plugin.neurons.base import Sequence, SpikingNeuron, plain_sequence
from vlif_plugin.neurons.functional import check_sequence
from vlif_plugin.neurons.lif import ILIFNode, LIFNode, NILIFNode
from vlif_plugin.neurons.vlif import VLIFNode

Backend = Literal["torch", "compile", "triton"]
_FASTEST: dict[str, tuple[Backend, ...]] = {
    "cuda": ("triton", "compile", "torch"),
    "cpu": ("torch",),  # as for all others
}


def use_backend(net: nn.Module, choice: str = "auto", device: Any = None) -> Backend:
    """Let all neurons of a network compute their sequences by one backend.

    ``compile`` compiles each kind of neuron at its first call (seconds), again for a second size of
    image and then for no other, and needs a C++ compiler on CPUs; VLIF's patches gain nothing by it
    there. ``triton`` needs a GPU that Triton knows. A neuron that has no kernel, such as one's own,
    stays on the plain path under ``triton``.

    Args:
        net: the network; changed in place.
        choice: ``torch``, ``compile``, ``triton``, or ``auto``: the fastest that works on the device,
            found by trying: triton, then compile on a GPU; torch elsewhere.
        device: that the network will run on; where its weights are, by default.

    Returns:
        What was taken.

    Raises:
        OptionError: there is no such backend, or it does not work here; says why.
    """
    if device is None:
        device = next((p.device for p in net.parameters()), "cpu")
    kind = torch.device(device).type
    asked = _FASTEST.get(kind, _FASTEST["cpu"]) if choice == "auto" else _named(choice)
    for taken in asked:
        if why_not(taken, kind) is None:
            break
    else:
        raise OptionError(
            f"backend: {choice} does not work on {kind} here ({why_not(asked[0], kind)})"
        )
    for module in net.modules():
        if isinstance(module, SpikingNeuron):
            module.sequence = _SEQUENCES[taken]
    return taken


def _named(choice: str) -> tuple[Backend, ...]:
    if choice not in get_args(Backend):
        raise OptionError(
            f"backend must be one of auto, {', '.join(get_args(Backend))}, got {choice!r}"
        )
    return (cast("Backend", choice),)


@cache
def why_not(backend: Backend, device: str) -> str | None:
    """Why a backend does not work on a kind of device, found by running a small neuron both ways.

    Args:
        backend: to be tried; once in a process.
        device: such as ``cpu`` or ``cuda``.

    Returns:
        The reason in a line; None if it works.
    """
    if backend == "torch":
        return None
    if backend == "triton" and device == "cpu":
        return "Triton has no kernels for CPUs"
    try:
        neuron = LIFNode(v_threshold=0.15)
        x = torch.linspace(-1, 1, 96, device=device).view(4, 24)
        results = []
        for sequence in (_SEQUENCES[backend], plain_sequence):
            leaf = x.clone().requires_grad_()
            spikes = sequence(neuron, leaf)
            spikes.sum().backward()
            results.append((spikes.detach(), leaf.grad))
    except Exception as error:  # compilers fail in as many ways as there are machines
        return f"{type(error).__name__}: {first_line(error)}"
    same = all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))
    return None if same else "it gives other results than the plain path"


@contextmanager
def plain_neurons(net: nn.Module) -> Iterator[None]:
    """Let a network's neurons take the plain path for the block, whose every operator can be seen."""
    neurons = [m for m in net.modules() if isinstance(m, SpikingNeuron)]
    before = [neuron.sequence for neuron in neurons]
    for neuron in neurons:
        neuron.sequence = plain_sequence
    try:
        yield
    finally:
        for neuron, sequence in zip(neurons, before, strict=True):
            neuron.sequence = sequence


@cache
def _compiled() -> Sequence:
    return torch.compile(plain_sequence, fullgraph=True)


def _compile_sequence(neuron: SpikingNeuron, x_seq: Tensor) -> Tensor:
    return _compiled()(neuron, x_seq)


def _triton_sequence(neuron: SpikingNeuron, x_seq: Tensor) -> Tensor:
    check_sequence(x_seq)
    kernel = _kernel(neuron)
    return plain_sequence(neuron, x_seq) if kernel is None else kernel(x_seq)


def _kernel(neuron: SpikingNeuron) -> Callable[[Tensor], Tensor] | None:
    """The kernel that does what the neuron's own methods do; None if it has others."""
    from vlif_plugin.neurons import triton_kernels

    kind, r = type(neuron), 1
    if kind.arrange is VLIFNode.arrange and isinstance(neuron, VLIFNode):
        r = neuron.r
    elif kind.arrange is not SpikingNeuron.arrange:
        return None
    if kind.step is LIFNode.step and isinstance(neuron, LIFNode):
        return partial(
            triton_kernels.lif, tau=neuron.tau, v_threshold=neuron.v_threshold,
            v_reset=neuron.v_reset, decay_input=neuron.decay_input,
            detach_reset=neuron.detach_reset, alpha=neuron.alpha,
        )  # fmt: skip
    if kind.step is NILIFNode.step and isinstance(neuron, NILIFNode):
        levels, subtract_count = neuron.D, neuron.subtract_count
    elif kind.step is ILIFNode.step and isinstance(neuron, ILIFNode):
        levels, subtract_count = 1, True
    else:
        return None
    return partial(
        triton_kernels.integer, D=neuron.D, levels=levels, beta=neuron.beta,
        subtract_count=subtract_count, detach_reset=neuron.detach_reset, r=r,
    )  # fmt: skip


_SEQUENCES: dict[Backend, Sequence] = {
    "torch": plain_sequence,
    "compile": _compile_sequence,
    "triton": _triton_sequence,
}
