"""The released code's order of operations on this project's networks: what speed is measured against.

The authors' code is not part of this project, so its stand-in is made of the same layers, operation by
operation as there: time steps stacked and copied, patches copied, VLIF-C's mixing behind the up-sampling,
BatchNorm apart, three attentions one after the other, memory in the order that PyTorch allocates it.
:func:`released_order` gives such a network; it computes the same, which every benchmark checks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vlif_plugin.archs._restorer import SpikingRestorer
from vlif_plugin.blocks import SDEM, SMU, DecompositionStage, SpikingResidualBlock
from vlif_plugin.layers import (
    ConvBN,
    MultiDimensionalAttention,
    patch_to_time,
    time_to_channel,
)
from vlif_plugin.neurons import VLIFC, VLIFT, SpikingNeuron, VLIFNode


def released_order(net: nn.Module) -> nn.Module:
    """A copy of an official VLIFNet or an ESDNet that runs as the released code does; eval or training."""
    net = copy.deepcopy(net)
    for module in net.modules():
        for kind, forward in _FORWARDS.items():
            if isinstance(module, kind):
                module.forward = MethodType(forward, module)
        if isinstance(module, SpikingRestorer):
            module.embed = MethodType(_embed, module)
    return net


def _embed(net: SpikingRestorer, image: Tensor) -> Tensor:
    steps = image.unsqueeze(0).repeat(net.T, 1, 1, 1, 1)
    return net.patch_embed(steps.flatten(0, 1)).unflatten(0, steps.shape[:2])


def _neuron(neuron: SpikingNeuron, x_seq: Tensor) -> Tensor:
    if isinstance(neuron, VLIFNode):
        x_seq = patch_to_time(x_seq, neuron.r).contiguous()
    v = torch.full_like(x_seq[0], neuron.rest)
    spikes = []
    for x in x_seq:
        spike, v = neuron.step(x, v)
        spikes.append(spike)
    return torch.stack(spikes)


def _enlarged(x_seq: Tensor, factor: int) -> Tensor:
    big = F.interpolate(
        x_seq.flatten(0, 1), scale_factor=factor, mode="bilinear", align_corners=False
    )
    return big.unflatten(0, x_seq.shape[:2])


def _vlif_c(visual: VLIFC, x_seq: Tensor) -> Tensor:
    assert isinstance(visual.mix, nn.Conv2d), "the official formulation only"
    patches = time_to_channel(visual.neuron(x_seq), visual.neuron.r).contiguous()
    big = _enlarged(patches, visual.neuron.r)
    return F.conv2d(big.flatten(0, 1), visual.mix.weight).unflatten(0, big.shape[:2])


def _vlif_t(visual: VLIFT, x_seq: Tensor) -> Tensor:
    spikes = visual.neuron(x_seq)
    spikes = spikes * visual.attention.gate(spikes)
    weight = visual.compress.weight
    out = F.conv3d(spikes.permute(1, 2, 0, 3, 4), weight, stride=visual.compress.stride)
    return visual.activation(out).permute(2, 0, 1, 3, 4)


def _conv_bn(layer: ConvBN, x_seq: Tensor) -> Tensor:
    return layer.bn(layer.conv(x_seq.flatten(0, 1))).unflatten(0, x_seq.shape[:2])


def _stage(stage: DecompositionStage, x: Tensor) -> Tensor:
    x_h = stage.neuron(x)
    return stage.project(stage.alpha * x_h + stage.beta * (x - x_h) + x * x_h)


def _sdem(block: SDEM, x: Tensor) -> Tensor:
    return block.attention(block.stage2(block.stage1(x)) + block.shortcut(x)) + x


def _smu(block: SMU, x: Tensor) -> Tensor:
    x = block.base(x)
    coarse = block.unit2(block.unit1(block.neuron(x)))
    return block.attention(_enlarged(coarse, x.shape[-1] // coarse.shape[-1]) + x)


def _residual(block: SpikingResidualBlock, x: Tensor) -> Tensor:
    out = block.body(x) + block.shortcut(x)
    return out if block.attention is None else block.attention(out) + x


def _attention(attention: MultiDimensionalAttention, x_seq: Tensor) -> Tensor:
    x_seq = x_seq * attention.temporal.gate(x_seq)
    return torch.relu(attention.spatial(attention.channel(x_seq)))


_FORWARDS: dict[type[nn.Module], Callable[..., Any]] = {
    SpikingNeuron: _neuron,
    VLIFC: _vlif_c,
    VLIFT: _vlif_t,
    ConvBN: _conv_bn,
    DecompositionStage: _stage,
    SDEM: _sdem,
    SMU: _smu,
    SpikingResidualBlock: _residual,
    MultiDimensionalAttention: _attention,
}
