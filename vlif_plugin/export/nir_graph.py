"""LIF neurons and the connections between them as a NIR graph (Pedersen et al., Nature Communications 2024).

NIR describes a neuron by its differential equation, ``tau dv/dt = v_leak - v + R I``, whose Euler step
of length ``dt`` is :func:`~vlif_plugin.neurons.lif_step`; it fires where ``v > v_threshold`` and then stands at
``v_reset``. Nothing in NIR turns space into time, counts several spikes in one, looks over all
timesteps, or multiplies two signals, so VLIF neurons, attention and SDEM's mix stay outside.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx.node import map_arg

from vlif_plugin import __version__
from vlif_plugin.data import write_atomically
from vlif_plugin.errors import ExportError, OptionError
from vlif_plugin.export.tracing import inference_copy, layer_of, trace_sequence
from vlif_plugin.extras import extra_module
from vlif_plugin.layers import ATTENTION
from vlif_plugin.neurons import LIFNode, SpikingNeuron

T, B = 3, 2  # of the sequence that a part is traced with; a graph has one step of one image

_WHOLE_SEQUENCES = tuple(ATTENTION.values())
_REARRANGING = {
    "alias", "clone", "contiguous", "detach", "dropout", "flatten", "movedim", "permute", "reshape",
    "squeeze", "swapaxes", "t", "transpose", "unflatten", "unsqueeze", "view",
}  # fmt: skip


@torch.library.custom_op("vlif_plugin::lif", mutates_args=())
def _lif(x_seq: Tensor, name: str) -> Tensor:
    """Stands for a LIF neuron while a part is traced."""
    return x_seq.clone()


@_lif.register_fake
def _(x_seq: Tensor, name: str) -> Tensor:
    return torch.empty_like(x_seq)


class _Stand(LIFNode):
    """A LIF neuron that a tracer sees as one operator."""

    name = ""

    def forward(self, x_seq: Tensor) -> Tensor:
        """Nothing happens to it."""
        return torch.ops.vlif_plugin.lif(x_seq, self.name)


def export_nir(
    part: nn.Module, path: str | os.PathLike[str], shape: Sequence[int], *, dt: float = 1e-4
) -> Any:
    """Write a part of a network as a NIR graph, and read it back.

    Args:
        part: see :func:`nir_graph`.
        path: ending in ``.nir``.
        shape: see there.
        dt: see there.

    Returns:
        The graph that the file holds, a ``nir.NIRGraph``.

    Raises:
        OptionError: another suffix, or the extra ``export`` is not installed.
        ExportError: NIR cannot hold the part; nothing is written.
        DataError: the file cannot be written.
    """
    if Path(path).suffix != ".nir":
        raise OptionError(f"{path}: the name must end in .nir")
    nir = extra_module("nir", "export", "NIR")
    file = io.BytesIO()
    nir.write(file, nir_graph(part, shape, dt=dt))
    graph = nir.read(file)
    write_atomically(path, file.getvalue())
    return graph


def nir_graph(part: nn.Module, shape: Sequence[int], *, dt: float = 1e-4) -> Any:
    """A part of a network as a NIR graph: LIF, convolutions, linear layers, average pooling, sums.

    Args:
        part: maps a sequence (T, B, *shape) to another. BatchNorm of
            :class:`~vlif_plugin.layers.NormedConv` becomes part of the convolution. It is left as it is.
        shape: of one step, (C, H, W) or (N,); a NIR graph has one size.
        dt: length of a timestep in seconds, which a simulator has to be given, too.

    Returns:
        A ``nir.NIRGraph``. A NIR neuron fires above its threshold and ours at it, so thresholds are
        those before ours in float32.

    Raises:
        ExportError: NIR cannot hold the part; names layer and operator.
        OptionError: the extra ``export`` is not installed, or a dt that is no length of time.
    """
    if not (math.isfinite(dt) and dt > 0):
        raise OptionError(f"dt must be a length of time in seconds, got {dt}")
    nir = extra_module("nir", "export", "NIR")
    copied = inference_copy(part, fuse=True)
    copied, neurons = _stands(copied)
    program = trace_sequence(copied, torch.rand(T, B, *shape))
    builder = _Builder(nir, program, neurons, dt)
    builder.build()
    return nir.NIRGraph(
        builder.nodes, builder.edges, metadata={"vlif_plugin": __version__, "dt": dt}
    )


def _stands(part: nn.Module) -> tuple[nn.Module, dict[str, LIFNode]]:
    """Put a stand-in in the place of each LIF neuron, and refuse other neurons."""
    neurons = {}
    whole = nn.Sequential(part)  # the part may be a neuron itself
    for name, module in part.named_modules():
        spiking = isinstance(module, SpikingNeuron)
        if (spiking and type(module) is not LIFNode) or isinstance(module, _WHOLE_SEQUENCES):
            raise ExportError(f"{name or 'the part'}: NIR has no {type(module).__name__}")
        if type(module) is not LIFNode:
            continue
        if module.v_reset is None:
            raise ExportError(
                f"{name or 'the part'}: NIR has no soft reset (LIFNode with v_reset=None)"
            )
        stand = _Stand()
        stand.name = name
        neurons[name] = module
        parent, _, child = f"0.{name}".rstrip(".").rpartition(".")
        setattr(whole.get_submodule(parent), child, stand)
    return whole[0], neurons


@dataclass(frozen=True)
class _Signal:
    """A tensor of the traced part: whose output it is, and which element of it stands where.

    Attributes:
        sources: nodes whose outputs add up to it.
        shape: of one step of them.
        index: for each element, its number in (T, B, *shape).
    """

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    index: Tensor

    def lies_as(self, *shape: int) -> bool:
        """Whether it is (T, B, *shape) of the sources in another, equivalent shape."""
        count = T * B * math.prod(self.shape)
        plain = torch.arange(count)
        return self.index.shape[-len(shape) :] == shape and torch.equal(self.index.flatten(), plain)


class _Builder:
    """Walks a traced part and collects the nodes and edges of its graph."""

    def __init__(
        self, nir: Any, program: ExportedProgram, neurons: dict[str, LIFNode], dt: float
    ) -> None:
        self.nir, self.program, self.neurons, self.dt = nir, program, neurons, dt
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []

    def build(self) -> None:
        """Fill ``nodes`` and ``edges``."""
        signature = self.program.graph_signature
        held = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        tensors = {**self.program.constants, **self.program.state_dict}
        values: dict[torch.fx.Node, Any] = {}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                if node.name in held:
                    values[node] = tensors[held[node.name]]
                else:
                    shape = tuple(node.meta["val"].shape[2:])
                    self.nodes["input"] = self.nir.Input(np.array(shape))
                    values[node] = _signal("input", shape, node)
            elif node.op == "output":
                (result,) = node.args[0]
                self._finish(node, values.get(result, result))
            else:
                values[node] = self._call(node, values)

    def _finish(self, node: torch.fx.Node, result: Any) -> None:
        if not isinstance(result, _Signal) or not result.lies_as(*result.shape):
            raise ExportError("the part's output is no sequence (T, B, …) of signals")
        self.nodes["output"] = self.nir.Output(np.array(result.shape))
        self._connect(node, result, "output")

    def _call(self, node: torch.fx.Node, values: dict[torch.fx.Node, Any]) -> Any:
        args = map_arg(node.args, values.__getitem__)
        name = str(node.target).split(".")[1]
        read = [values[given] for given in node.all_input_nodes]
        signals = [value for value in read if isinstance(value, _Signal)]
        if not signals:  # of weights alone
            return node.target(*args, **node.kwargs)  # pyright: ignore[reportCallIssue]
        if name in _REARRANGING and len(signals) == 1:
            index = node.target(signals[0].index, *args[1:])  # pyright: ignore[reportCallIssue]
            return replace(signals[0], index=index)
        handle = _OPERATORS.get(name)
        if handle is None or node.kwargs:
            hint = "; only that of a NormedConv is folded" if name == "batch_norm" else ""
            raise self._refuse(node, f"NIR has no {name}{hint}")
        return handle(self, node, *args)

    def _refuse(self, node: torch.fx.Node, why: str) -> ExportError:
        return ExportError(f"{layer_of(node)}: {why}")

    def _connect(self, node: torch.fx.Node, signal: _Signal, target: str) -> None:
        if len(set(signal.sources)) < len(signal.sources):
            raise self._refuse(node, "NIR cannot add a signal to itself")
        self.edges += [(source, target) for source in signal.sources]

    def _append(
        self, node: torch.fx.Node, signal: _Signal, made: Any, shape: tuple[int, ...], kind: str
    ) -> _Signal:
        """Append what an operator is; ``shape`` is that of one step of its output."""
        return _signal(self._add_node(node, signal, made, kind), shape, node)

    def _add_node(self, node: torch.fx.Node, signal: _Signal, made: Any, kind: str) -> str:
        """Append a node to what it reads; gives its name."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        base = (stack[-1][0] if stack else "").replace(".", "_") or kind
        name = next(
            n for n in (base, *(f"{base}_{kind}{i}" for i in range(len(self.nodes) + 1)))
            if n not in self.nodes
        )  # fmt: skip
        self.nodes[name] = made
        self._connect(node, signal, name)
        return name

    def _arranged(self, node: torch.fx.Node, x: Any, shape: tuple[int, ...]) -> _Signal:
        """What a layer reads, as steps of ``shape``; flattened where it asks for that.

        Raises:
            ExportError: pixels, channels or timesteps have changed places.
        """
        if not isinstance(x, _Signal) or not x.lies_as(*shape):
            raise self._refuse(node, "what it reads is rearranged, which NIR cannot do")
        if x.shape == shape:
            return x
        if shape != (math.prod(x.shape),):
            raise self._refuse(node, f"it reads {shape} of steps of shape {x.shape}")
        made = self.nir.Flatten({"input": np.array(x.shape)}, 0, -1)
        flat = self._add_node(node, x, made, "flatten")
        return _Signal((flat,), shape, x.index)

    def neuron(self, node: torch.fx.Node, x: Any, name: str) -> _Signal:
        """A LIF neuron."""
        lif = self.neurons[name]
        shape = tuple(node.meta["val"].shape[2:])
        x = self._arranged(node, x, shape)
        tau, rest = float(lif.tau), float(lif.rest)
        threshold = np.nextafter(np.float32(lif.v_threshold), np.float32(-np.inf))
        made = self.nir.LIF(
            tau=np.full(shape, tau * self.dt),
            r=np.full(shape, 1.0 if lif.decay_input else tau),
            v_leak=np.full(shape, rest),
            v_threshold=np.full(shape, float(threshold)),
            v_reset=np.full(shape, rest),
        )
        return self._append(node, x, made, shape, "lif")

    def convolution(
        self, node: torch.fx.Node, x: Any, weight: Tensor, bias: Tensor | None = None,
        stride: Any = (1, 1), padding: Any = (0, 0), dilation: Any = (1, 1), groups: int = 1,
    ) -> _Signal:  # fmt: skip
        """A convolution over height and width."""
        shape = tuple(node.args[0].meta["val"].shape[-3:])  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        x = self._arranged(node, x, shape)
        if groups != 1 or weight.shape[2] != weight.shape[3]:
            why = "grouped convolutions and kernels that are not square have wrong sizes in NIR's library"
            raise self._refuse(node, why)
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        made = self.nir.Conv2d(
            input_shape=shape[1:], weight=weight.numpy(), stride=_pair(stride), bias=bias.numpy(),
            padding=padding if isinstance(padding, str) else _pair(padding),
            dilation=_pair(dilation), groups=groups,
        )  # fmt: skip
        return self._append(node, x, made, tuple(node.meta["val"].shape[-3:]), "conv")

    def linear(
        self, node: torch.fx.Node, x: Any, weight: Tensor, bias: Tensor | None = None
    ) -> _Signal:
        """A linear layer over all of a step."""
        x = self._arranged(node, x, (weight.shape[1],))
        made = (
            self.nir.Linear(weight.numpy())
            if bias is None
            else self.nir.Affine(weight.numpy(), bias.numpy())
        )
        return self._append(node, x, made, (len(weight),), "linear")

    def pooling(
        self, node: torch.fx.Node, x: Any, kernel: Any, stride: Any = (), padding: Any = 0,
        ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> _Signal:  # fmt: skip
        """Average pooling over height and width."""
        shape = tuple(node.args[0].meta["val"].shape[-3:])  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        x = self._arranged(node, x, shape)
        # where nothing is padded, count_include_pad makes no difference
        if ceil_mode or any(_pair(padding)) or divisor_override is not None:
            why = (
                "average pooling with padding, ceil_mode or divisor_override is not the same in NIR"
            )
            raise self._refuse(node, why)
        sizes = _pair(kernel), _pair(stride or kernel), (0, 0)
        made = self.nir.AvgPool2d(*map(np.array, sizes))
        return self._append(node, x, made, tuple(node.meta["val"].shape[-3:]), "pool")

    def addition(self, node: torch.fx.Node, x: Any, y: Any) -> _Signal:
        """Two signals, which add up where they arrive."""
        if not (isinstance(x, _Signal) and isinstance(y, _Signal)):
            raise self._refuse(node, "NIR adds signals only, no constants")
        if x.shape != y.shape or not torch.equal(x.index, y.index):
            raise self._refuse(node, "NIR adds only what lies alike")
        return replace(x, sources=x.sources + y.sources)


_OPERATORS: dict[str, Any] = {
    "lif": _Builder.neuron,
    "conv2d": _Builder.convolution,
    "linear": _Builder.linear,
    "avg_pool2d": _Builder.pooling,
    "add": _Builder.addition,
    "add_": _Builder.addition,
}


def _signal(name: str, shape: tuple[int, ...], node: torch.fx.Node) -> _Signal:
    """The output of a node, as the traced tensor lies."""
    index = torch.arange(T * B * math.prod(shape))
    return _Signal((name,), shape, index.view(node.meta["val"].shape))


def _pair(value: Any) -> tuple[int, int]:
    """A size of height and width that may be given as one."""
    sizes = (value,) if isinstance(value, int) else tuple(value)
    return (sizes[0], sizes[-1])
