"""Blocks of plain LIF neurons: the Spiking Unit of the SMU, and a residual block."""

from __future__ import annotations

from torch import Tensor, nn

from vlif_plugin.blocks.config import SpikingConfig
from vlif_plugin.layers import ConvBN, MultiDimensionalAttention

DEFAULTS = SpikingConfig()


class SpikingUnit(nn.Module):
    """SU (paper, fig. 4c): LIF, convolution, tdBN, multi-dimensional attention.

    Its convolution is driven by binary spikes.

    Args:
        channels: C.
        config: the network's constants.

    Shape:
        (T, B, C, H, W) to the same.
    """

    def __init__(self, channels: int, config: SpikingConfig = DEFAULTS) -> None:
        super().__init__()
        self.neuron = config.lif()
        self.project = ConvBN(channels, channels, v_threshold=config.v_threshold)
        self.attention = MultiDimensionalAttention(
            config.T, channels, reduction_t=config.reduction_t, reduction_c=config.reduction_c
        )

    def forward(self, x: Tensor) -> Tensor:
        """Fire, convolve, attend."""
        return self.attention(self.project(self.neuron(x)))


class SpikingResidualBlock(nn.Module):
    """Two LIF-convolution-tdBN layers beside a convolved shortcut, as in ESDNet (Song et al. 2024).

    ``attention=True`` is ESDNet's block, out = ``MDA(body(x) + shortcut(x)) + x``. Without it, it is
    what stands in SDEM's place in the paper's ablation (table 2b, model a): a standard U-Net of
    vanilla LIF neurons, out = ``body(x) + shortcut(x)``.

    Args:
        channels: C.
        config: the network's constants.
        attention: with the multi-dimensional attention and the outer identity.

    Shape:
        (T, B, C, H, W) to the same.
    """

    def __init__(
        self, channels: int, config: SpikingConfig = DEFAULTS, *, attention: bool = False
    ) -> None:
        super().__init__()
        v_th = config.v_threshold
        self.body = nn.Sequential(
            config.lif(),
            ConvBN(channels, channels, v_threshold=v_th),
            config.lif(),
            ConvBN(channels, channels, v_threshold=v_th * config.residual_scale),
        )
        self.shortcut = ConvBN(channels, channels, v_threshold=v_th)
        self.attention = (
            MultiDimensionalAttention(
                config.T, channels, reduction_t=config.reduction_t, reduction_c=config.reduction_c
            )
            if attention
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add body and shortcut; attend where asked."""
        body = self.body(x)
        shortcut = self.shortcut(x)
        if self.attention is None:
            return body + shortcut
        return self.attention(body, shortcut, residual=x)
