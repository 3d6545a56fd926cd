"""Seeing every operator of a network while it runs, and what its input is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from vlif_plugin.energy.connections import Convolution
from vlif_plugin.energy.marks import Marks, Spikes
from vlif_plugin.energy.operators import BATCH_NORM, elementwise_operations
from vlif_plugin.energy.report import LayerOps, NeuronOps
from vlif_plugin.errors import OptionError
from vlif_plugin.neurons import SpikingNeuron

Neurons = Mapping[type[nn.Module], Spikes]
# values of an input that are looked at together, so that the extra memory stays small
_CHUNK = 2**22
_ATTENTION = frozenset(
    (
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_fused_attention_overrideable",
    )
)


def spikes_of(module: nn.Module, declared: Neurons) -> Spikes | None:
    """What a module's spikes are, if it is a neuron.

    Args:
        module: any module.
        declared: neurons by type; subclasses count.
    """
    for kind, spikes in declared.items():
        if isinstance(module, kind):
            return spikes
    if isinstance(module, SpikingNeuron):
        return Spikes(module.levels, module.unit)
    bases = {f"{kind.__module__}.{kind.__name__}" for kind in type(module).__mro__}
    jelly = "spikingjelly.activation_based"
    if bases & {f"{jelly}.neuron.BaseNode", f"{jelly}.neuron.base_node.BaseNode"}:
        return Spikes()
    return None


class OperatorCounter(TorchDispatchMode):
    """Sees every operator; hooks tell it which module it is in."""

    def __init__(self, declared: Neurons) -> None:
        super().__init__()
        self.declared = declared
        self.marks = Marks()
        self.layers: dict[tuple[str, str], LayerOps] = {}
        self.neurons: dict[str, NeuronOps] = {}
        self.elementwise: Counter[str] = Counter()
        self.foldable = 0
        self.not_counted: Counter[str] = Counter()
        self.modules: list[tuple[str, nn.Module]] = []
        self.inside_neuron = 0

    def attach(self, network: nn.Module, hooks: ExitStack) -> None:
        """Follow the modules that run, and mark what neurons give."""
        for name, module in network.named_modules():
            spikes = spikes_of(module, self.declared)
            enter, leave = self._hooks(name, spikes)
            handle = module.register_forward_pre_hook(enter)
            hooks.callback(handle.remove)
            hooks.callback(module.register_forward_hook(leave, always_call=True).remove)

    def _hooks(
        self, name: str, spikes: Spikes | None
    ) -> tuple[Callable[..., None], Callable[..., None]]:
        def enter(module: nn.Module, args: object) -> None:
            self.modules.append((name, module))
            self.inside_neuron += spikes is not None

        def leave(module: nn.Module, args: object, out: object) -> None:
            self.modules.pop()
            self.inside_neuron -= spikes is not None
            if spikes is not None and not self.inside_neuron and isinstance(out, Tensor):
                self._neuron(name, module, spikes, out)

        return enter, leave

    def _neuron(self, name: str, module: nn.Module, spikes: Spikes, out: Tensor) -> None:
        ops = self.neurons.setdefault(name, NeuronOps(name, spikes.levels))
        single = getattr(module, "step_mode", "m") == "s"  # SpikingJelly: a call is a timestep
        with _disable_current_modes():
            for step in [out] if single else out:
                events = spikes.events(step)
                if events is None:
                    raise OptionError(
                        f"{name}: {type(module).__name__} gave values that are not k * {spikes.unit:g} with whole k "
                        f"from 0 to {spikes.levels}; declare its levels and unit"
                    )
                emitted = int(events.sum(dtype=torch.float64))
                ops.step_events.append(emitted)
                ops.step_updates.append(step.numel())
                ops.events += emitted
                ops.spikes += int(torch.count_nonzero(step))
                ops.updates += step.numel()
        self.marks.set(out, spikes)

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operator and count it."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        name = name[:-1] if name.endswith("_") and not name.startswith("__") else name
        if name not in _PRODUCTS and elementwise_operations(name, 0, 0) is None:
            with self:  # composite operators say what they are made of
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if not self.inside_neuron:
            self._count(name, args, out)
        self.marks.follow(name, args, kwargs, out)
        return out

    def _count(self, name: str, args: tuple[Any, ...], out: Any) -> None:
        if name in _CONVOLUTIONS:
            self.convolution(args, out)
        elif name in _MATRIX_PRODUCTS:
            self.matrix_product(*(args[place] for place in _MATRIX_PRODUCTS[name]))
        elif name in _ATTENTION:
            query, key, value = args[:3]
            batch = prod(query.shape[:-1])
            layer = self._layer("attention")
            macs = batch * key.shape[-2] * (query.shape[-1] + value.shape[-1])
            layer.macs += macs
            layer.macs_valid += macs
            layer.macs_nonzero += macs
        else:
            first = out[0] if isinstance(out, (list, tuple)) and out else out
            given = args[0] if args and isinstance(args[0], Tensor) else None
            sizes = [x.numel() if isinstance(x, Tensor) else 0 for x in (given, first)]
            operations = elementwise_operations(name, sizes[0], sizes[1])
            if operations is None:
                self.not_counted[name] += 1
            elif operations:
                self.elementwise[name] += operations
                self.foldable += operations if name in BATCH_NORM else 0

    def _layer(self, kind: str) -> LayerOps:
        name, module = self.modules[-1] if self.modules else ("", None)
        own = 0 if module is None else sum(p.numel() for p in module.parameters(recurse=False))
        layer = self.layers.setdefault((name, kind), LayerOps(name or "(network)", kind, own))
        layer.calls += 1
        return layer

    def convolution(self, args: tuple[Any, ...], out: Tensor) -> None:
        """Count a convolution."""
        x = args[0]
        geometry = Convolution.of_call(args, out)
        kind = "transposed conv" if geometry.transposed else "conv"
        layer = self._layer(f"{kind} {'x'.join(map(str, geometry.kernel))}")
        layer.repeated += _repeats(x)
        spikes = self.marks.get(x)
        chunks = list(x.split(max(1, _CHUNK // max(1, x[0].numel()))))
        events = _events_of(spikes, chunks, geometry.synaptic_operations)
        if spikes is not None and events is not None:
            layer.sops += sum(events)
            layer.dense_macs += geometry.macs
            self._spike_input(layer, spikes, x)
            return
        layer.macs += geometry.macs
        layer.macs_valid += geometry.macs_valid
        layer.macs_nonzero += sum(geometry.synaptic_operations((c != 0).float()) for c in chunks)
        layer.value_only += x.numel() if _zeros_and_ones(x) else 0

    def matrix_product(self, left: Tensor, right: Tensor) -> None:
        """Count a (batched) matrix product: (…, n, k) times (…, k, m); a vector is a row or a column."""
        layer = self._layer("matmul")
        marks = self.marks.get(left), self.marks.get(right)
        left = left[None] if left.ndim == 1 else left
        right = right[:, None] if right.ndim == 1 else right
        macs = left.numel() * right.shape[-1]
        counts = [
            None if mark is None else mark.events(x)
            for mark, x in zip(marks, (left, right), strict=True)
        ]
        if counts[0] is not None and counts[1] is not None:
            # coincidences of events on both sides
            layer.sops += round(float((counts[0].double() @ counts[1].double()).sum()))
        elif counts[0] is not None:
            layer.sops += int(counts[0].sum(dtype=torch.float64)) * right.shape[-1]
        elif counts[1] is not None:
            layer.sops += int(counts[1].sum(dtype=torch.float64)) * left.shape[-2]
        else:
            layer.macs += macs
            layer.macs_valid += macs
            layer.macs_nonzero += int(torch.count_nonzero(left)) * right.shape[-1]
            layer.value_only += left.numel() if _zeros_and_ones(left) else 0
            return
        layer.dense_macs += macs
        for mark, events, x in zip(marks, counts, (left, right), strict=True):
            if mark is not None and events is not None:
                self._spike_input(layer, mark, x)

    @staticmethod
    def _spike_input(layer: LayerOps, spikes: Spikes, x: Tensor) -> None:
        layer.events += round(float(x.sum(dtype=torch.float64)) / spikes.unit)
        layer.inputs += x.numel()
        layer.levels = max(layer.levels, spikes.levels)


def _events_of(
    spikes: Spikes | None, chunks: list[Tensor], count: Callable[[Tensor], int]
) -> list[int] | None:
    """Synaptic operations of each chunk; None where the input is not what its mark says."""
    if spikes is None:
        return None
    counted = []
    for chunk in chunks:
        events = spikes.events(chunk)
        if events is None:
            return None
        counted.append(count(events))
    return counted


def _zeros_and_ones(x: Tensor) -> bool:
    """Whether all values are 0 or 1; most inputs show early that they are not."""
    start = x.reshape(-1)[:4096] if x.is_contiguous() else x[:1]
    return all(bool(((part == 0) | (part == 1)).all()) for part in (start, x))


def _repeats(x: Tensor) -> bool:
    """Whether a batch of several images holds one and the same."""
    if x.shape[0] < 2 or not torch.equal(x[0, :1], x[1, :1]):
        return False
    return all(torch.equal(x[0], other) for other in x[1:])


# where the two operands stand
_MATRIX_PRODUCTS = {
    "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "addbmm": (1, 2),
    "addmv": (1, 2),
}  # fmt: skip
_CONVOLUTIONS = frozenset(("convolution", "_convolution"))
_PRODUCTS = _CONVOLUTIONS | _ATTENTION | _MATRIX_PRODUCTS.keys()
