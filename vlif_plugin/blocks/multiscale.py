"""SMU: Spiking Multi-scale Unit (paper, fig. 4c)."""

from __future__ import annotations

from torch import Tensor, nn

from vlif_plugin.blocks.config import SpikingConfig
from vlif_plugin.blocks.decomposition import SDEM
from vlif_plugin.blocks.residual import SpikingUnit
from vlif_plugin.layers import MultiDimensionalAttention

DEFAULTS = SpikingConfig()


class SMU(nn.Module):
    """SDEM, then a detour at 1/r of the resolution: VLIF-T, two Spiking Units, up-sampling.

    Args:
        channels: C.
        config: the network's constants.
        base: the block that comes first; an :class:`SDEM` of its own when None.

    Shape:
        (T, B, C, H, W) to the same, T as in the config, H and W multiples of r.
    """

    def __init__(
        self, channels: int, config: SpikingConfig = DEFAULTS, *, base: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.base = SDEM(channels, config) if base is None else base
        self.neuron = config.visual_neuron(channels, "smu")
        self.unit1 = SpikingUnit(channels, config)
        self.unit2 = SpikingUnit(channels, config)
        self.attention = MultiDimensionalAttention(
            config.T, channels, reduction_t=config.reduction_t, reduction_c=config.reduction_c
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the low-resolution detour to the SDEM's output and attend."""
        x = self.base(x)
        coarse = self.unit2(self.unit1(self.neuron(x)))
        return self.attention(x, coarse)
