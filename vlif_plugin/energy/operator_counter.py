"""Counting every operator of a network while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from vlif_plugin.energy.connections import Convolution
from vlif_plugin.energy.flow import ATTENTION, CONVOLUTIONS, MATRIX_PRODUCTS, Neurons, SpikeFlow
from vlif_plugin.energy.marks import Spikes
from vlif_plugin.energy.operators import BATCH_NORM, elementwise_operations
from vlif_plugin.energy.report import LayerOps, NeuronOps

# values of an input that are looked at together, so that the extra memory stays small
_CHUNK = 2**22


class OperatorCounter(SpikeFlow):
    """Counts operators by the module that they are in."""

    def __init__(self, declared: Neurons) -> None:
        super().__init__(declared)
        self.layers: dict[tuple[str, str], LayerOps] = {}
        self.neurons: dict[str, NeuronOps] = {}
        self.elementwise: Counter[str] = Counter()
        self.foldable = 0
        self.not_counted: Counter[str] = Counter()

    def fired(self, name: str, spikes: Spikes, step: Tensor, events: Tensor) -> None:
        """Count a neuron's spikes and events."""
        ops = self.neurons.setdefault(name, NeuronOps(name, spikes.levels))
        emitted = _total(events)
        ops.step_events.append(emitted)
        ops.step_updates.append(step.numel())
        ops.events += emitted
        ops.spikes += int(torch.count_nonzero(step))
        ops.updates += step.numel()

    def operate(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator and count it."""
        out = func(*args, **kwargs)
        self._count(name, args, out)
        return out

    def _count(self, name: str, args: tuple[Any, ...], out: Any) -> None:
        if name in CONVOLUTIONS:
            self.convolution(args, out)
        elif name in MATRIX_PRODUCTS:
            self.matrix_product(*(args[place] for place in MATRIX_PRODUCTS[name]))
        elif name in ATTENTION:
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
        counted = _events_of(spikes, chunks, geometry.synaptic_operations)
        if spikes is not None and counted is not None:
            layer.sops += sum(sops for sops, _ in counted)
            layer.dense_macs += geometry.macs
            self._spike_input(layer, spikes, sum(events for _, events in counted), x.numel())
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
            layer.sops += _total(counts[0]) * right.shape[-1]
        elif counts[1] is not None:
            layer.sops += _total(counts[1]) * left.shape[-2]
        else:
            layer.macs += macs
            layer.macs_valid += macs
            layer.macs_nonzero += int(torch.count_nonzero(left)) * right.shape[-1]
            layer.value_only += left.numel() if _zeros_and_ones(left) else 0
            return
        layer.dense_macs += macs
        for mark, events, x in zip(marks, counts, (left, right), strict=True):
            if mark is not None and events is not None:
                self._spike_input(layer, mark, _total(events), x.numel())

    @staticmethod
    def _spike_input(layer: LayerOps, spikes: Spikes, events: int, inputs: int) -> None:
        layer.events += events
        layer.inputs += inputs
        layer.levels = max(layer.levels, spikes.levels)


def _events_of(
    spikes: Spikes | None, chunks: list[Tensor], count: Callable[[Tensor], int]
) -> list[tuple[int, int]] | None:
    """Synaptic operations and events of each chunk; None where the input is not what its mark says."""
    if spikes is None:
        return None
    counted = []
    for chunk in chunks:
        events = spikes.events(chunk)
        if events is None:
            return None
        counted.append((count(events), _total(events)))
    return counted


def _total(events: Tensor) -> int:
    return int(events.sum(dtype=torch.float64))


def _zeros_and_ones(x: Tensor) -> bool:
    """Whether all values are 0 or 1; most inputs show early that they are not."""
    start = x.reshape(-1)[:4096] if x.is_contiguous() else x[:1]
    return all(bool(((part == 0) | (part == 1)).all()) for part in (start, x))


def _repeats(x: Tensor) -> bool:
    """Whether a batch of several images holds one and the same."""
    if x.shape[0] < 2 or not torch.equal(x[0, :1], x[1, :1]):
        return False
    return all(torch.equal(x[0], other) for other in x[1:])
