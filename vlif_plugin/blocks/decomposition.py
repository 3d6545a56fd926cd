"""SDEM: Spiking Decomposition and Enhancement Module (paper, fig. 4b, eq. 8 to 14)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from vlif_plugin.blocks.config import SpikingConfig
from vlif_plugin.layers import ConvBN, MultiDimensionalAttention, enlarge, enlarge_apart
from vlif_plugin.neurons import SpikingNeuron
from vlif_plugin.parts import Fusible

DEFAULTS = SpikingConfig()


class DecompositionStage(Fusible):
    """Split features by a neuron into high and low frequencies, weigh, mix, convolve.

    ``paper`` (eq. 8 to 10): ``x_h = a N(x)``, mix ``x_h x + b (x - x_h) + x``.
    ``official``: ``x_h = N(x)``, mix ``a x_h + b (x - x_h) + x x_h``.
    The mix is real-valued, so its convolution multiplies; only the neuron inside spikes.

    Args:
        channels: C.
        neuron: maps (T, B, C, H, W) to the same shape, or to H and W smaller by a whole factor, by
            which its output is enlarged.
        v_threshold: of the tdBN behind the convolution.
        config: the network's constants.

    Shape:
        (T, B, C, H, W) to the same.
    """

    def __init__(
        self, channels: int, neuron: nn.Module, v_threshold: float, config: SpikingConfig = DEFAULTS
    ) -> None:
        super().__init__()
        self.official = config.official
        self.neuron = neuron
        self.alpha = nn.Parameter(torch.ones(1))
        self.beta = nn.Parameter(torch.ones(1))
        self.project = ConvBN(channels, channels, v_threshold=v_threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Decompose, enhance, refine."""
        if isinstance(self.neuron, SpikingNeuron):
            mixed = self.run(fire_and_mix, x)
        else:
            mixed = self.run(mix, x, enlarge_apart(self.neuron(x), x))
        return self.project(mixed)


class Decomposing(Protocol):
    """What has a neuron, the weights of both frequencies, and a formulation."""

    official: bool
    neuron: nn.Module
    alpha: nn.Parameter
    beta: nn.Parameter


def fire_and_mix(stage: Decomposing, x: Tensor) -> Tensor:
    """The part of a stage whose neuron keeps height and width."""
    return mix(stage, x, stage.neuron(x))


def mix(stage: Decomposing, x: Tensor, x_h: Tensor) -> Tensor:
    """The part behind a neuron's output, which is enlarged to the size of ``x`` (eq. 8 to 10)."""
    x_h = enlarge(x_h, x)
    if stage.official:
        mixed = stage.alpha * x_h + stage.beta * (x - x_h) + x * x_h
    else:
        x_h = stage.alpha * x_h
        mixed = x_h * x + stage.beta * (x - x_h) + x
    return mixed.to(x.dtype)


class SDEM(nn.Module):
    """Spiking Decomposition and Enhancement Module: a LIF stage, then a VLIF stage, then attention.

    ``paper`` (eq. 11 to 14): ``x' = stages(x) + shortcut(x)``, out = ``x' + shortcut(x) + MDA(x')``.
    ``official``: out = ``MDA(stages(x) + shortcut(x)) + x``.

    Args:
        channels: C.
        config: the network's constants.

    Shape:
        (T, B, C, H, W) to the same, T as in the config, H and W multiples of r.
    """

    def __init__(self, channels: int, config: SpikingConfig = DEFAULTS) -> None:
        super().__init__()
        self.official = config.official
        v_th = config.v_threshold
        self.stage1 = DecompositionStage(channels, config.lif(), v_th, config)
        self.stage2 = DecompositionStage(
            channels, config.visual_neuron(channels, "sdem"), v_th * config.residual_scale, config
        )
        self.shortcut = ConvBN(channels, channels, v_threshold=v_th)
        self.attention = MultiDimensionalAttention(
            config.T, channels, reduction_t=config.reduction_t, reduction_c=config.reduction_c
        )

    def forward(self, x: Tensor) -> Tensor:
        """Refine in two stages and fuse with the shortcut."""
        refined = self.stage2(self.stage1(x))
        shortcut = self.shortcut(x)
        if self.official:
            return self.attention(refined, shortcut, residual=x)
        return self.attention(refined, shortcut, residual=shortcut, identity=True)
