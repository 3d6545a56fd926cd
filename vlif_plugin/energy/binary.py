"""Binary inference: a network trained on integer spikes, run on the binary trains that they stand for.

Where a convolution, a linear layer or a matrix product reads spikes of D levels, it is evaluated on D
inputs of zeros and ones, one virtual timestep after the other, and the results are added; the bias is
taken once. That is the same function, up to rounding, because such a layer is linear in its input.
What is not linear in the spikes (attention over them, the SDEM's mix) has no binary form: it stays
real-valued, and is named.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vlif_plugin.energy.connections import Convolution
from vlif_plugin.energy.flow import ATTENTION, CONVOLUTIONS, MATRIX_PRODUCTS, Neurons, SpikeFlow
from vlif_plugin.energy.marks import JOINING, Spikes
from vlif_plugin.energy.operators import elementwise_operations
from vlif_plugin.energy.rest import at_rest
from vlif_plugin.errors import first_names


@dataclass
class BinaryLayer:
    """A layer that was evaluated on binary inputs.

    Attributes:
        name: path of its module.
        kind: the operator.
        levels: D, the largest number of virtual timesteps of one timestep.
        calls: how often it ran.
        events: ones in its binary inputs.
        sops: synaptic operations: ones times the outputs that each reaches.
    """

    name: str
    kind: str
    levels: int = 0
    calls: int = 0
    events: int = 0
    sops: int = 0


class BinaryInference(SpikeFlow):
    """Evaluates what reads spikes on binary inputs, and says what does not; see :func:`binary_inference`.

    Attributes:
        driven: layers on binary inputs, by name and operator.
        real: layers on real values, likewise: how often they ran.
        ends: modules in which spikes become real values, and the operators that do it.
    """

    def __init__(self, declared: Neurons) -> None:
        super().__init__(declared)
        self.driven: dict[tuple[str, str], BinaryLayer] = {}
        self.real: dict[tuple[str, str], int] = {}
        self.ends: dict[str, set[str]] = {}

    @property
    def events(self) -> int:
        """Ones in all binary inputs."""
        return sum(layer.events for layer in self.driven.values())

    @property
    def sops(self) -> int:
        """Synaptic operations of all of them."""
        return sum(layer.sops for layer in self.driven.values())

    def summary(self) -> str:
        """Three lines: what reads binary spikes, what reads real values, where spikes end."""
        levels = max((layer.levels for layer in self.driven.values()), default=0)
        real = first_names([name for name, _ in self.real])
        ends = [f"{name} ({', '.join(sorted(names))})" for name, names in self.ends.items()]
        return "\n".join([
            f"driven by binary spikes: {len(self.driven)} layers, at most {levels} binary spikes for one "
            f"spike, {self.events:,} events, {self.sops:,} synaptic operations",
            f"on real values: {len(self.real)} layer{'s' * (len(self.real) != 1)}{': ' * bool(real)}{real}",
            f"spikes become real values in {len(ends)} modules{': ' * bool(ends)}{first_names(ends)}",
        ])  # fmt: skip

    def operate(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator, on binary inputs where it is a product that reads spikes."""
        if name in CONVOLUTIONS:
            return self._convolution(name, func, args, kwargs)
        if name in MATRIX_PRODUCTS:
            return self._matrix_product(name, func, args, kwargs)
        out = func(*args, **kwargs)
        if name in ATTENTION:
            self._note_real(name)
        elif name in JOINING or elementwise_operations(name, 1, 1):
            self._note_end(name, args, kwargs, out)
        return out

    def _convolution(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
        x, weight, bias, *geometry = args
        trains = _Trains.of(self.marks.get(x), x)
        if trains is None:
            self._note_real(name)
            return func(*args, **kwargs)
        layer = self._layer(name, trains.levels)

        def virtual_timestep(ones: Tensor) -> Tensor:
            out = func(ones, weight, None, *geometry, **kwargs)
            layer.events += int(ones.sum(dtype=torch.float64))
            layer.sops += Convolution.of_call(args, out).synaptic_operations(ones)
            return out

        total = trains.summed(virtual_timestep)
        return total if bias is None else total + bias.view(-1, *[1] * (total.ndim - 2))

    def _matrix_product(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Any) -> Tensor:
        left, right = (args[place] for place in MATRIX_PRODUCTS[name])
        lefts, rights = (_Trains.of(self.marks.get(x), x) for x in (left, right))
        given = [trains for trains in (lefts, rights) if trains is not None]
        if not given:
            self._note_real(name)
            return func(*args, **kwargs)
        layer = self._layer(name, max(trains.levels for trains in given))
        layer.events += sum(int(trains.counts.sum(dtype=torch.float64)) for trains in given)

        def virtual_timestep(a: Tensor, b: Tensor) -> Tensor:
            layer.sops += _meetings(
                a if lefts is not None else torch.ones_like(a),
                b if rights is not None else torch.ones_like(b),
            )
            return a @ b

        def over_right(a: Tensor) -> Tensor:
            return _each(rights, right, lambda b: virtual_timestep(a, b))

        product = _each(lefts, left, over_right)
        if MATRIX_PRODUCTS[name] == (0, 1):
            return product
        product = product.sum(0) if name == "addbmm" else product
        return kwargs.get("beta", 1) * args[0] + kwargs.get("alpha", 1) * product

    def _layer(self, kind: str, levels: int) -> BinaryLayer:
        name = self._here()
        layer = self.driven.setdefault((name, kind), BinaryLayer(name, kind))
        layer.calls += 1
        layer.levels = max(layer.levels, levels)
        return layer

    def _note_real(self, kind: str) -> None:
        key = self._here(), kind
        self.real[key] = self.real.get(key, 0) + 1

    def _note_end(self, name: str, args: tuple[Any, ...], kwargs: Any, out: Any) -> None:
        given = args[0] if name in JOINING else args
        if (
            any(self.marks.get(x) is not None for x in given)
            and self.marks.result(name, args, kwargs) is None
            and isinstance(out, Tensor)
            and out.is_floating_point()
        ):
            self.ends.setdefault(self._here(), set()).add(name)

    def _here(self) -> str:
        return (self.modules[-1][0] if self.modules else "") or "(network)"


@dataclass(frozen=True)
class _Trains:
    """Spikes as the inputs of their virtual timesteps."""

    counts: Tensor
    levels: int
    unit: float
    dtype: torch.dtype

    @classmethod
    def of(cls, spikes: Spikes | None, x: Tensor) -> _Trains | None:
        """None where ``x`` is not spikes."""
        counts = None if spikes is None else spikes.events(x)
        if spikes is None or counts is None:
            return None
        return cls(counts, spikes.levels, spikes.unit, x.dtype)

    def summed(self, layer: Callable[[Tensor], Tensor]) -> Tensor:
        """What a linear layer gives for the virtual timesteps, one after the other, together."""
        total = layer((self.counts > 0).to(self.dtype))
        most = int(self.counts.amax()) if self.counts.numel() else 0
        for d in range(1, most):  # behind the largest count no input has a one
            total += layer((self.counts > d).to(self.dtype))
        return total * self.unit


def _each(trains: _Trains | None, x: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
    return layer(x) if trains is None else trains.summed(layer)


def _meetings(a: Tensor, b: Tensor) -> int:
    """Sum of all values of ``a @ b``, a vector being a row or a column."""
    rows = a.sum(-2, dtype=torch.float64) if a.ndim > 1 else a.double()
    columns = b.sum(-1, dtype=torch.float64) if b.ndim > 1 else b.double()
    return round(float((rows * columns).sum()))


@contextmanager
def binary_inference(
    network: nn.Module, *, neurons: Neurons | None = None
) -> Iterator[BinaryInference]:
    """Run a network on binary spikes while the context lasts.

    Its outputs are those of the integer spikes up to the rounding of sums in another order; in
    float32 that may move a potential that lies on a threshold to its other side. Compiled networks,
    and compiled parts, run as they were before. A layer takes up to D times as long.

    Args:
        network: with neurons of this package, SpikingJelly's, or declared ones.
        neurons: further neuron modules by type, and what their spikes are.

    Yields:
        What tells afterwards which layers were driven by binary spikes, and which were not.

    Raises:
        OptionError: a neuron gives something else than whole numbers of its unit.
    """
    run = BinaryInference(neurons or {})
    fused = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as hooks:
        hooks.callback(torch.backends.mha.set_fastpath_enabled, fused)
        torch.backends.mha.set_fastpath_enabled(False)  # one operator that hides what it is made of
        run.attach(getattr(network, "_orig_mod", network), hooks)
        with run:
            yield run


def check_binary(network: nn.Module, image: Tensor) -> tuple[float, BinaryInference]:
    """Hold binary inference against the integer spikes' result, in float64, where both agree to 1e-9.

    Args:
        network: is copied, and left as it is.
        image: shape (B, C, H, W).

    Returns:
        The largest difference of the results, and what ran on what.
    """
    network = getattr(network, "_orig_mod", network)
    with at_rest(network, {}):  # what is kept of a graph could not be copied
        network = copy.deepcopy(network).eval().double()
    with torch.no_grad():
        with at_rest(network, {}):
            expected = network(image.double())
        with at_rest(network, {}), binary_inference(network) as run:
            given = network(image.double())
    return float((given - expected).abs().max()), run
