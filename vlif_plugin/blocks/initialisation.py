"""An initialisation with which a fresh network fires.

tdBN (Zheng et al., AAAI 2021) starts with scale ``V_th / sqrt(2)``, so that what reaches a neuron is
of the size of its threshold. The released design takes the LIF neurons' threshold for all of them,
as if they stood right behind their tdBN, and three kinds do not:

- NI-LIF neurons round, so they fire from 0.5 and not from 0.15;
- behind an attention arrives what its gates leave: sigmoid(0) = 1/2 each over time, channels and
  space, an eighth in all; and an SMU ends with one, so nothing normalises what it hands on;
- behind VLIF in the SMU, whose own convolution is not normalised, arrives less than a tenth of the
  threshold.

``firing`` is tdBN's rule for the threshold of the neuron that follows, divided by what the gates
between leave. Normally distributed inputs of that size that stay the same over time make LIF neurons
fire at 14 % and NI-LIF neurons at 9 % (the paper's reset) or 12 % (the released one).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vlif_plugin.blocks.decomposition import SDEM
from vlif_plugin.blocks.multiscale import SMU
from vlif_plugin.blocks.residual import SpikingResidualBlock
from vlif_plugin.layers import ChannelAttention, ConvBN, SpatialAttention, TemporalAttention
from vlif_plugin.neurons import VLIFC, VLIFT, ILIFNode, LIFNode, SpikingNeuron

Initialisation = Literal["released", "firing"]

GATE = 0.5
"""What an attention gate lets through at first: sigmoid(0)."""

_ATTENTION = GATE**3  # over time, channels and space
_ALPHA = math.sqrt(0.5)  # tdBN's, as throughout the paper
_ROUNDS_UP = 0.5  # from here an integer neuron counts 1


def check_initialisation(init: str) -> None:
    """Refuse an initialisation that does not exist.

    Raises:
        ValueError: it is neither ``released`` nor ``firing``.
    """
    if init not in get_args(Initialisation):
        raise ValueError(f"init must be one of {', '.join(get_args(Initialisation))}, got {init!r}")


def initialise_firing(net: nn.Module) -> None:
    """Make the neurons of fresh SDEMs and SMUs fire, without any data.

    Scales of tdBN follow the module's text. The gates' last layers become zero, so that the gates
    are a half for any input (they learn from the first step on); otherwise inputs of that size
    would close some of them. The convolution behind VLIF in an SMU is scaled to what the next
    neuron needs. Nothing random is drawn, and directions of weights stay.

    It is meant for training mode: in eval mode BatchNorm's initial statistics, which are those of
    no image, keep the network nearly silent whatever the scales.

    Args:
        net: with SDEMs and SMUs in it, freshly made; changed in place.
    """
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (TemporalAttention, ChannelAttention)):
                nn.init.zeros_(module.mlp.fc2.weight)
            elif isinstance(module, SpatialAttention):
                nn.init.zeros_(module.conv.weight)
            elif isinstance(module, SDEM):
                _drive(module.stage1.project, _threshold(module.stage2.neuron))
            elif isinstance(module, SMU):
                _initialise_smu(module)


def _initialise_smu(smu: SMU) -> None:
    # the SMU's own attention takes its share of what the base hands on beside the detour
    behind_attention = _threshold(smu.unit1.neuron) / _ATTENTION
    base = max(_threshold(smu.neuron), behind_attention)
    if isinstance(smu.base, (SDEM, SpikingResidualBlock)):
        _drive(smu.base.shortcut, base / _gain_of_shortcut(smu.base))
    _drive(smu.unit1.project, behind_attention)
    _drive(smu.unit2.project, behind_attention)
    if isinstance(smu.neuron, (VLIFC, VLIFT)):
        spikes = _spikes_of(smu.neuron, _ALPHA * base, smu.attention.temporal.T)
        _scale_compression(smu.neuron, spikes, _ALPHA * _threshold(smu.unit1.neuron))


def _gain_of_shortcut(block: SDEM | SpikingResidualBlock) -> float:
    """How large a block's shortcut is in its output."""
    if isinstance(block, SpikingResidualBlock):
        return 1.0 if block.attention is None else _ATTENTION
    return _ATTENTION if block.official else 2.0  # eq. 11 and 14 add it twice


def _drive(layer: ConvBN, threshold: float) -> None:
    layer.bn.initial_weight = _ALPHA * threshold
    layer.bn.reset_parameters()


def _threshold(module: nn.Module) -> float:
    """Input from which the neuron in ``module`` fires at rest."""
    neuron = next(m for m in module.modules() if isinstance(m, SpikingNeuron))
    if isinstance(neuron, LIFNode):
        return float(neuron.v_threshold)
    return _ROUNDS_UP * float(neuron.v_threshold) if isinstance(neuron, ILIFNode) else _ROUNDS_UP


def _spikes_of(visual: VLIFC | VLIFT, scale: float, timesteps: int) -> Tensor:
    """Spikes for normally distributed inputs of deviation ``scale`` that do not change in time."""
    quantiles = (torch.arange(1000) + 0.5) / 1000
    inputs = scale * math.sqrt(2) * torch.erfinv(2 * quantiles - 1)
    r = visual.neuron.r
    return visual.neuron(inputs[None, None, :, None, None].expand(timesteps, 1, -1, r, r))


def _scale_compression(visual: VLIFC | VLIFT, spikes: Tensor, wanted: float) -> None:
    """Scale the last convolution so that the root mean square behind it is as wanted."""
    gate = GATE if isinstance(visual.attention, TemporalAttention) else 1.0
    moment = (gate * spikes).square().mean()
    last = None
    for layer in (visual.mix if isinstance(visual, VLIFC) else visual.compress).modules():
        if isinstance(layer, nn.ReLU):
            moment = moment / 2
        elif isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            # of weights without a direction: the sum of their squares for each output channel
            moment = moment * layer.weight.square().flatten(1).sum(1).mean()
            last = layer
    assert last is not None
    last.weight.mul_(wanted / moment.sqrt())
