"""ESDNet: Learning a Spiking Neural Network for Efficient Image Deraining (Song et al., IJCAI 2024).

The network that VLIF grew out of, built of the same parts, as its released code has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from vlif_plugin.archs._released_keys import ESD_RULES, Rules
from vlif_plugin.archs._restorer import SpikingRestorer, check_sizes
from vlif_plugin.blocks import (
    DownSampling,
    SkipFusion,
    SpikingConfig,
    SpikingResidualBlock,
    UpSampling,
)
from vlif_plugin.layers import join_channels, mean_over_time


class FeatureRefinement(nn.Module):
    """Gated mix of features and their channel attention: (1 - s) * c + s * x; real-valued.

    Args:
        channels: C.
        reduction: hidden channels of both gates are C / reduction.

    Shape:
        (B, C, H, W) to the same.
    """

    def __init__(self, channels: int, *, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Mix."""
        gate = self.spatial(x)
        return (1 - gate) * self.channel(x) + gate * x


class ESDNet(SpikingRestorer):
    """Three-level encoder-decoder of spiking residual blocks that predicts a residual image.

    Args:
        inp_channels: channels of the image.
        out_channels: channels of the result; equal to ``inp_channels``.
        dim: width of level 1; levels 2 and 3 have twice and four times as many channels.
        en_num_blocks: blocks at encoder levels 1, 2 and 3.
        de_num_blocks: blocks at decoder levels 1, 2 and 3.
        T: number of timesteps.
        tau: membrane time constant of the LIF neurons, in timesteps.
        v_threshold: their threshold.
        alpha: steepness of the sigmoid surrogate.
        learn: constants that each neuron layer learns: ``tau``, ``v_threshold``.

    Shape:
        (B, inp_channels, H, W), RGB in [0, 1], any size, to the same; the result is not clamped.

    Raises:
        ValueError: a value that no network can be built with, by name.
    """

    released_rules: ClassVar[Rules] = ESD_RULES
    released_as: ClassVar[str] = "with the released code's constants, none of them learned"
    size_multiple = 4

    def __init__(
        self,
        *,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        en_num_blocks: Sequence[int] = (4, 4, 8),
        de_num_blocks: Sequence[int] = (2, 2, 2),
        T: int = 4,
        tau: float = 2.0,
        v_threshold: float = 0.15,
        alpha: float = 4.0,
        learn: Sequence[str] = (),
    ) -> None:
        super().__init__()
        config = SpikingConfig(
            T=T, tau=tau, v_threshold=v_threshold, alpha=alpha, neuron="lif", learn=learn
        )
        blocks = {"en_num_blocks": en_num_blocks, "de_num_blocks": de_num_blocks}
        check_sizes(inp_channels, out_channels, dim, blocks, levels=3)

        def stage(channels: int, count: int) -> nn.Sequential:
            return nn.Sequential(
                *(SpikingResidualBlock(channels, config, attention=True) for _ in range(count))
            )

        self.T = T
        # T is told by a file's shapes, the other constants leave no trace in it
        self.has_released_form = replace(config, T=4) == SpikingConfig(neuron="lif")
        self.patch_embed = nn.Conv2d(inp_channels, dim, 3, padding=1, bias=False)
        self.encoder1 = stage(dim, en_num_blocks[0])
        self.down1 = DownSampling(dim, config)
        self.encoder2 = stage(dim * 2, en_num_blocks[1])
        self.down2 = DownSampling(dim * 2, config)
        self.encoder3 = stage(dim * 4, en_num_blocks[2])
        self.decoder3 = stage(dim * 4, de_num_blocks[2])
        self.up2 = UpSampling(dim * 4, config)
        self.fuse2 = SkipFusion(dim * 2, config)
        self.decoder2 = stage(dim * 2, de_num_blocks[1])
        self.up1 = UpSampling(dim * 2, config)
        self.decoder1 = stage(dim * 2, de_num_blocks[0])
        self.refinement = FeatureRefinement(dim * 2)
        self.output = nn.Conv2d(dim * 2, out_channels, 3, padding=1)

    def forward_features(self, x_seq: Tensor) -> Tensor:
        """The spiking body: (T, B, dim, H, W) to (T, B, 2 dim, H, W)."""
        level1 = self.encoder1(x_seq)
        level2 = self.encoder2(self.down1(level1))
        level3 = self.decoder3(self.encoder3(self.down2(level2)))
        level2 = self.decoder2(self.fuse2(self.up2(level3), level2))
        return self.decoder1(join_channels(self.up1(level2), level1))

    def reconstruct(self, features: Tensor) -> Tensor:
        """(T, B, 2 dim, H, W) to the residual image: mean over time, refinement, convolution."""
        return self.output(self.refinement(mean_over_time(features)))
