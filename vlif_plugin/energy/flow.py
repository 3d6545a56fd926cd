"""Following spikes through a network while it runs: which module is at work, and what its input is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from vlif_plugin.energy.marks import Marks, Spikes
from vlif_plugin.energy.operators import elementwise_operations
from vlif_plugin.errors import OptionError
from vlif_plugin.neurons import SpikingNeuron

Neurons = Mapping[type[nn.Module], Spikes]

CONVOLUTIONS = frozenset(("convolution", "_convolution"))
# where the two operands stand
MATRIX_PRODUCTS = {
    "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "addbmm": (1, 2),
    "addmv": (1, 2),
}  # fmt: skip
ATTENTION = frozenset((
    "_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
))  # fmt: skip
PRODUCTS = CONVOLUTIONS | ATTENTION | MATRIX_PRODUCTS.keys()


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


class SpikeFlow(TorchDispatchMode):
    """Sees every operator; hooks tell it which module it is in, and mark what neurons give.

    Subclasses say what they do with spikes and operators in :meth:`fired` and :meth:`operate`.

    Args:
        declared: neurons by type, and what their spikes are.
    """

    def __init__(self, declared: Neurons) -> None:
        super().__init__()
        self.declared = declared
        self.marks = Marks()
        self.modules: list[tuple[str, nn.Module]] = []
        self.inside_neuron = 0

    def fired(self, name: str, spikes: Spikes, step: Tensor, events: Tensor) -> None:
        """Take notice of what a neuron gave at a timestep.

        Args:
            name: path of its module.
            spikes: what they are.
            step: the spikes.
            events: the number of events in each.
        """

    def operate(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What an operator outside of neurons gives; its arguments have their marks."""
        return func(*args, **kwargs)

    def attach(self, network: nn.Module, hooks: ExitStack) -> None:
        """Follow the modules that run; ``hooks`` takes the hooks off again."""
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
            if spikes is None or self.inside_neuron or out is None:  # None: it failed
                return
            # spikes, and perhaps the state behind them
            given = out if isinstance(out, (tuple, list)) else [out]
            tensor = next((each for each in given if isinstance(each, Tensor)), None)
            if tensor is None:
                raise OptionError(
                    f"{name}: {type(module).__name__} is a neuron and gave a {type(out).__name__}; it must give "
                    "its spikes, alone or before its state"
                )
            self._neuron(name, module, spikes, tensor)

        return enter, leave

    def _neuron(self, name: str, module: nn.Module, spikes: Spikes, out: Tensor) -> None:
        single = getattr(module, "step_mode", "m") == "s"  # SpikingJelly: a call is a timestep
        with _disable_current_modes():
            for step in [out] if single else out:
                events = spikes.events(step)
                if events is None:
                    raise OptionError(
                        f"{name}: {type(module).__name__} gave values that are not k * {spikes.unit:g} with whole k "
                        f"from 0 to {spikes.levels}; declare its levels and unit"
                    )
                self.fired(name, spikes, step, events)
        self.marks.set(out, spikes)

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operator and follow its arguments' marks."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        name = name[:-1] if name.endswith("_") and not name.startswith("__") else name
        if name not in PRODUCTS and elementwise_operations(name, 0, 0) is None:
            with self:  # composite operators say what they are made of
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        plain = self.inside_neuron > 0
        out = func(*args, **kwargs) if plain else self.operate(name, func, args, kwargs)
        self.marks.follow(name, args, kwargs, out)
        return out
