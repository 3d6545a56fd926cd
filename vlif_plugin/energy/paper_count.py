"""What the published tables of VLIF and ESDNet print: thop's count of the modules that it hooks.

thop knows modules by their exact type, and the released networks are built of subclasses: it sees
the attention's pooling and small layers, VLIF-T's compression, the SMU's up-sampling and the last
layers, and no spiking convolution. The rules below are thop 0.1.1's for these; they count what the
released code hands to thop, whatever our blocks make of it. For other networks the count is that
of thop on a network of plain modules: convolutions and linear layers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from math import prod
from typing import Any

from torch import Tensor, nn

from vlif_plugin.archs import ESDNet, VLIFNet
from vlif_plugin.archs.esdnet_arch import FeatureRefinement
from vlif_plugin.blocks import SMU
from vlif_plugin.energy.report import PaperCount
from vlif_plugin.layers import MultiDimensionalAttention, TemporalAttention
from vlif_plugin.layers.attention import Gate, SpatialAttention
from vlif_plugin.neurons import VLIFT

Rule = Callable[[Any, Any, Any], int]
_BILINEAR = 11  # operations for each output of nn.Upsample
_ATTENTION = (MultiDimensionalAttention, TemporalAttention)


def _product(module: Any, inputs: Any, out: Tensor) -> int:
    weight = module.weight
    sites = inputs[0] if isinstance(module, nn.modules.conv._ConvTransposeNd) else out
    if isinstance(module, nn.Linear):
        return out.numel() * module.in_features
    return sites.shape[0] * prod(sites.shape[2:]) * weight.numel()


def gate_operations(gate: Gate, batch: int, pooled: int) -> int:
    """Adaptive average pooling (a kernel and a division for each output), and two layers, used twice.

    Args:
        gate: of a temporal or a channel attention.
        batch: B.
        pooled: values that one descriptor is made of.
    """
    layers = gate.fc1.weight.numel() + gate.fc2.weight.numel()
    return batch * (gate.fc1.in_features * (pooled + 1) + 2 * layers)


def _attention(module: Any, inputs: Any, out: Tensor) -> int:
    batch = out.shape[-4]
    values = out.numel() // batch
    gates = (
        (module.temporal.mlp, module.channel.mlp)
        if isinstance(module, MultiDimensionalAttention)
        else (module.mlp,)
    )
    return sum(gate_operations(gate, batch, values // gate.fc1.in_features) for gate in gates)


def _pooling(module: Any, inputs: Any, out: Tensor) -> int:
    return out.numel() * (inputs[0].numel() // out.numel() + 1)


def _smu(module: Any, inputs: Any, out: Tensor) -> int:
    return _BILINEAR * out.numel()


class PaperCounter:
    """Counts as thop does while a network runs.

    Args:
        network: the network that will run.
    """

    def __init__(self, network: nn.Module) -> None:
        self.macs = 0
        self.modules = dict(_hooked(network))
        seen = {id(p): p.numel() for m in self.modules for p in m.parameters(recurse=False)}
        attention = (m for m in self.modules if isinstance(m, _ATTENTION))
        nested = (p for m in attention for p in m.parameters())
        seen |= {id(p): p.numel() for p in nested}
        self.parameters = sum(seen.values())

    def attach(self, hooks: ExitStack) -> None:
        """Hook the modules; ``hooks`` takes the hooks off again."""
        for module, rule in self.modules.items():

            def count(module: nn.Module, inputs: Any, out: Any, rule: Rule = rule) -> None:
                self.macs += rule(module, inputs, out)

            hooks.callback(module.register_forward_hook(count).remove)

    def result(self) -> PaperCount:
        """The count so far."""
        return PaperCount(self.macs, self.parameters)


def _hooked(network: nn.Module) -> list[tuple[nn.Module, Rule]]:
    plain = (nn.modules.conv._ConvNd, nn.Linear)
    if not isinstance(network, (VLIFNet, ESDNet)):
        return [(module, _product) for module in network.modules() if isinstance(module, plain)]
    hooked: list[tuple[nn.Module, Rule]] = [(network.output, _product)]
    for module in network.modules():
        if isinstance(module, _ATTENTION):
            hooked.append((module, _attention))
        elif isinstance(module, SpatialAttention):
            hooked.append((module.conv, _product))
        elif isinstance(module, VLIFT):
            hooked.append((module.compress, _product))
        elif isinstance(module, SMU):
            hooked.append((module, _smu))
        elif isinstance(module, FeatureRefinement):
            hooked += [(m, _product) for m in module.modules() if isinstance(m, nn.Conv2d)]
            hooked += [
                (m, _pooling) for m in module.modules() if isinstance(m, nn.AdaptiveAvgPool2d)
            ]
    return hooked
