"""A network as a graph of plain operators, for images of any size and any number of them."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from vlif_plugin.errors import ExportError, first_line
from vlif_plugin.speed import folded

EXAMPLE = (2, 3, 37, 53)
"""Shape of the images that a network is traced with; nothing of it stays in the graph but the channels."""

FREE = {0: "batch", 2: "height", 3: "width"}
"""Dimensions of the images that stay free."""


def trace(net: nn.Module, *, fuse: bool = True) -> ExportedProgram:
    """Trace a network with free batch, height and width.

    Args:
        net: maps images (B, 3, H, W) to such. It is left as it is.
        fuse: make BatchNorm part of the convolution before it.

    Returns:
        The program, in float32 for CPUs, of what ``net`` computes in eval mode.

    Raises:
        ExportError: something in the network cannot be traced, or only for some sizes; names the layer.
    """
    sizes = {place: Dim(name) for place, name in FREE.items()}
    return trace_sequence(inference_copy(net, fuse=fuse), torch.rand(EXAMPLE), sizes)


def inference_copy(net: nn.Module, *, fuse: bool) -> nn.Module:
    """A copy in eval mode, without gradients, in float32 on the CPU, perhaps with BatchNorm folded."""
    copied = folded(net) if fuse else copy.deepcopy(net).eval().requires_grad_(False)
    return copied.float().cpu()


def trace_sequence(
    net: nn.Module, example: Tensor, sizes: dict[int, Any] | None = None
) -> ExportedProgram:
    """Trace a module in eval mode.

    Args:
        net: maps a tensor to a tensor.
        example: what it is traced with.
        sizes: dimensions of the example that are free, and what they are called.

    Raises:
        ExportError: names the layer that cannot be traced.
    """
    place = _Place(net)
    traced = _Held(net).eval() if _hides_a_graph(net) else net
    try:
        with torch.no_grad(), quiet(), place:
            program = export(traced, (example,), dynamic_shapes=(sizes,) if sizes else None)
    except Exception as error:  # of what a network runs, as much as of PyTorch's own
        raise ExportError(f"{place}: cannot be exported ({_why(error)})") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where things lie on this machine
    return program


class _Held(nn.Module):
    """A network as the child of another module."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def _hides_a_graph(net: nn.Module) -> bool:
    """Whether a child's name is what a program as a module has for itself, such as ``code``."""
    own = set(dir(torch.fx.GraphModule)) - set(dir(nn.Module))
    return any(name in own and child.state_dict() for name, child in net.named_children())


def _why(error: Exception) -> str:
    text = first_line(error)
    if "data-dependent" in text:
        return "it decides by a tensor's values, which a graph cannot do"
    if "Constraints violated" in text:
        return "it fixes the number of images, their height or their width"
    return text


def layer_of(node: torch.fx.Node) -> str:
    """The layer that a node of a traced graph comes from: its name and class."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return "the network"
    name, kind = stack[-1]
    kind = kind if isinstance(kind, str) else kind.__name__
    return _shown(name, kind.rpartition(".")[2])


def _shown(name: str, kind: str) -> str:
    return f"{name} ({kind})" if name else kind


class _Place:
    """The innermost layer that runs, for messages; a context manager."""

    def __init__(self, net: nn.Module) -> None:
        self._layers = dict(net.named_modules())
        self._running: list[str] = []
        self._hooks: list[Any] = []
        self._kinds = {name: type(layer).__name__ for name, layer in self._layers.items()}

    def __enter__(self) -> None:
        for name, layer in self._layers.items():
            self._hooks += [
                layer.register_forward_pre_hook(partial(self._enter, name)),
                layer.register_forward_hook(self._leave),
            ]

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self, name: str, *_: Any) -> None:
        self._running.append(name)

    def _leave(self, *_: Any) -> None:
        self._running.pop()

    def __str__(self) -> str:
        name = self._running[-1] if self._running else ""
        return _shown(name, self._kinds[name])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leave what exporters say to their developers unsaid; what goes wrong is raised."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    out = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
