"""What runs the parts of a network: plain PyTorch, a compiled form of it, or Triton kernels.

The plain path is complete, needs nothing, and is what the others are held against: same spikes, same
gradients. Which one a network takes is chosen by :func:`use_backend`, and can be changed at any time;
weights, names and results do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from vlif_plugin.errors import OptionError, first_line
from vlif_plugin.neurons import ILIFNode, LIFNode, NILIFNode, SpikingNeuron, VLIFNode
from vlif_plugin.neurons.base import fire
from vlif_plugin.neurons.functional import check_sequence
from vlif_plugin.parts import Fusible, Part, Runner, run_plain

Backend = Literal["torch", "compile", "triton"]
_FASTEST: dict[str, tuple[Backend, ...]] = {
    "cuda": ("compile", "triton", "torch"),
    "cpu": ("compile", "torch"),  # as for all others
}
_DYNAMO = {
    "specialize_float": True,  # a threshold is a constant of the graph; only sizes are free
    "recompile_limit": 64,  # forms of one part: kinds of neurons, dtypes, with and without gradients
}
_COMPILER = "inductor"
_FUNCTORCH = {"activation_memory_budget": 0.0}
"""The backward pass keeps a part's inputs alone and computes the rest again: less memory, and less time,
since passes over memory are what a part costs."""


def use_backend(net: nn.Module, choice: str = "auto", device: Any = None) -> Backend:
    """Let one backend run the parts of a network.

    ``compile`` makes one pass over memory of each part (a neuron's whole sequence and the mix behind
    it, for instance). It compiles at the first call, a minute or two in all for VLIF on a CPU, for
    images of any size, and keeps what it compiled on disk; it needs a C++ compiler on CPUs. ``triton``
    has kernels for neurons and needs a GPU that Triton knows; other parts, and neurons of one's own,
    are run plainly. While a part's modules have hooks, it is run plainly, so that they see everything.

    Args:
        net: the network; changed in place. One without parts stays as it is.
        choice: ``torch``, ``compile``, ``triton``, or ``auto``: the first that works on the device, found
            by trying: compile, then triton on a GPU, then torch.
        device: that the network will run on; where its weights are, by default.

    Returns:
        What was taken; ``torch`` for a network without parts.

    Raises:
        OptionError: there is no such backend, or it does not work here; says why.
    """
    taken = pick_backend(net, choice, device)
    for module in _parts(net):
        module.runner = _RUNNERS[taken]
    return taken


def pick_backend(net: nn.Module, choice: str = "auto", device: Any = None) -> Backend:
    """What :func:`use_backend` would take, with the network left as it is.

    Raises:
        OptionError: there is no such backend, or it does not work here; says why.
    """
    asked = named_backend(choice)
    if not _parts(net):
        return "torch"
    if device is None:
        device = next((p.device for p in net.parameters()), "cpu")
    kind = torch.device(device).type
    candidates = _FASTEST.get(kind, _FASTEST["cpu"]) if asked is None else (asked,)
    for candidate in candidates:
        if why_not(candidate, kind) is None:
            return candidate
    raise OptionError(
        f"backend: {choice} does not work on {kind} here ({why_not(candidates[0], kind)})"
    )


def _parts(net: nn.Module) -> list[Fusible]:
    return [module for module in net.modules() if isinstance(module, Fusible)]


def named_backend(choice: object) -> Backend | None:
    """The backend of a name; None for ``auto``.

    Raises:
        OptionError: it is the name of none.
    """
    if choice == "auto":
        return None
    if choice not in get_args(Backend):
        raise OptionError(
            f"backend must be one of auto, {', '.join(get_args(Backend))}, got {choice!r}"
        )
    return cast("Backend", choice)


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
        results = []
        with torch.inference_mode(False), torch.enable_grad():
            for runner in (_RUNNERS[backend], run_plain):
                x = torch.linspace(-1, 1, 96, device=device).view(4, 24).requires_grad_()
                spikes = runner(fire, neuron, x)
                spikes.sum().backward()
                results.append((spikes.detach(), x.grad))
    except Exception as error:  # compilers fail in as many ways as there are machines
        return f"{type(error).__name__}: {first_line(error)}"
    same = all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))
    return None if same else "it gives other results than the plain path"


def _hooked(module: nn.Module) -> bool:
    return any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def run_compiled(part: Part, module: nn.Module, *tensors: Any) -> Any:
    """Compile the part, once for all modules that have it, and call it."""
    if _hooked(module):
        return part(module, *tensors)
    last = tuple(isinstance(t, Tensor) and t.dim() == 5 and t.stride(2) == 1 for t in tensors)
    given = [
        _InMemoryOrder.apply(t) if moved else t for t, moved in zip(tensors, last, strict=True)
    ]
    import torch._dynamo.config  # takes seconds, and only this needs it
    import torch._functorch.config

    with (
        torch._dynamo.config.patch(_DYNAMO),
        torch._functorch.config.patch(_FUNCTORCH),
    ):
        out = _compiled(part, last)(module, *given)
    return _moved(out, -1, 2) if any(last) else out


@cache
def _compiled(part: Part, last: tuple[bool, ...]) -> Part:
    """The part, compiled for sequences that come and go in the order of their memory, channels last.

    A compiler keeps the strides of what a graph is given and gives, but those of gradients it chooses
    for itself: the plain order, in which the convolution behind would have to copy them.
    """

    def in_memory_order(module: nn.Module, *given: Any) -> Any:
        tensors = [t.movedim(-1, 2) if moved else t for t, moved in zip(given, last, strict=True)]
        out = part(module, *tensors)
        return _moved(out, 2, -1) if any(last) else out

    # what is compiled is found by the code object, of which each part needs its own
    name = f"{part.__name__}_in_memory_order"
    in_memory_order.__code__ = in_memory_order.__code__.replace(co_name=name)
    return torch.compile(in_memory_order, fullgraph=True, dynamic=True, backend=_COMPILER)


class _InMemoryOrder(torch.autograd.Function):
    """(T, B, C, H, W) to (T, B, H, W, C) in the same memory, but no view: compilers guard a view's base."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Another tensor on the same memory, that counts the same changes in place: autograd asks for them."""
        return x.movedim(2, -1).detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        """Back to (T, B, C, H, W)."""
        return grad_outputs[0].movedim(-1, 2)


def _moved(out: Any, source: int, destination: int) -> Any:
    if isinstance(out, tuple):
        return tuple(_moved(each, source, destination) for each in out)
    return out.movedim(source, destination) if out.dim() == 5 else out


def run_kernels(part: Part, module: nn.Module, *tensors: Any) -> Any:
    """Call a neuron's kernel, if there is one, and other parts plainly."""
    if part is fire and isinstance(module, SpikingNeuron) and not _hooked(module):
        kernel = _kernel(module)
        if kernel is not None:
            check_sequence(*tensors)
            return kernel(*tensors)
    return part(module, *tensors)


def _kernel(neuron: SpikingNeuron) -> Callable[[Tensor], Tensor] | None:
    """The kernel that does what the neuron's own methods do; None if it has others."""
    from vlif_plugin.neurons import triton_kernels

    kind, r = type(neuron), 1
    if next(neuron.parameters(), None) is not None:  # what it learns has no gradient there
        return None
    if kind.gather is not SpikingNeuron.gather:
        return None
    if kind.arrange is VLIFNode.arrange and isinstance(neuron, VLIFNode):
        r = neuron.r
    elif kind.arrange is not SpikingNeuron.arrange:
        return None
    if kind.step is LIFNode.step and isinstance(neuron, LIFNode):
        return partial(
            triton_kernels.lif, tau=float(neuron.tau), v_threshold=float(neuron.v_threshold),
            v_reset=neuron.v_reset, decay_input=neuron.decay_input,
            detach_reset=neuron.detach_reset, alpha=neuron.alpha,
        )  # fmt: skip
    if kind.step is NILIFNode.step and isinstance(neuron, NILIFNode):
        levels, subtract_count = neuron.D, neuron.subtract_count
    elif kind.step is ILIFNode.step and isinstance(neuron, ILIFNode):
        levels, subtract_count = 1, True
    else:
        return None
    if neuron.v_threshold != 1:
        return None
    return partial(
        triton_kernels.integer, D=neuron.D, levels=levels, beta=float(neuron.beta),
        subtract_count=subtract_count, detach_reset=neuron.detach_reset, r=r,
    )  # fmt: skip


_RUNNERS: dict[Backend, Runner] = {
    "torch": run_plain,
    "compile": run_compiled,
    "triton": run_kernels,
}
