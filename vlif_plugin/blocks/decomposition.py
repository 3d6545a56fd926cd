"""SDEM: Spiking Decomposition and Enhancement Module (paper, fig. 4b, eq. 8 to 14)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlif_plugin.blocks.config import SpikingConfig
from vlif_plugin.layers import ConvBN, MultiDimensionalAttention

DEFAULTS = SpikingConfig()


class DecompositionStage(nn.Module):
    """Split features by a neuron into high and low frequencies, weigh, mix, convolve.

    ``paper`` (eq. 8 to 10): ``x_h = a N(x)``, mix ``x_h x + b (x - x_h) + x``.
    ``official``: ``x_h = N(x)``, mix ``a x_h + b (x - x_h) + x x_h``.
    The mix is real-valued, so its convolution multiplies; only the neuron inside spikes.

    Args:
        channels: C.
        neuron: maps (T, B, C, H, W) to the same shape.
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
        x_h = self.neuron(x)
        if self.official:
            return self.project(self.alpha * x_h + self.beta * (x - x_h) + x * x_h)
        x_h = self.alpha * x_h
        return self.project(x_h * x + self.beta * (x - x_h) + x)


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
        shortcut = self.shortcut(x)
        fused = self.stage2(self.stage1(x)) + shortcut
        if self.official:
            return self.attention(fused) + x
        return fused + shortcut + self.attention(fused)
