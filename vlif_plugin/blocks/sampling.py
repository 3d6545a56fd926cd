"""Changes of resolution and width between the levels of a spiking U-Net."""

from __future__ import annotations

from torch import Tensor, nn

from vlif_plugin.blocks.config import SpikingConfig
from vlif_plugin.layers import ConvBN, join_channels, upsample
from vlif_plugin.parts import Fusible

DEFAULTS = SpikingConfig()


class DownSampling(nn.Module):
    """LIF, 3x3 convolution of stride 2 to twice the channels, tdBN; the convolution reads spikes.

    Shape:
        (T, B, C, H, W) to (T, B, 2C, H/2, W/2).
    """

    def __init__(self, channels: int, config: SpikingConfig = DEFAULTS) -> None:
        super().__init__()
        self.neuron = config.lif()
        self.project = ConvBN(channels, channels * 2, stride=2, v_threshold=config.v_threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Fire, convolve."""
        return self.project(self.neuron(x))


class UpSampling(nn.Module):
    """Bilinear up-sampling, LIF, 3x3 convolution to half the channels, tdBN.

    Shape:
        (T, B, C, H, W) to (T, B, C/2, 2H, 2W).
    """

    def __init__(self, channels: int, config: SpikingConfig = DEFAULTS) -> None:
        super().__init__()
        self.neuron = config.lif()
        self.project = ConvBN(channels, channels // 2, v_threshold=config.v_threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge, fire, convolve."""
        return self.project(self.neuron(upsample(x, 2)))


class SkipFusion(Fusible):
    """Join a decoder's features with the encoder's: concatenate, LIF, 1x1 convolution, tdBN.

    Shape:
        twice (T, B, C, H, W) to (T, B, C, H, W).
    """

    def __init__(self, channels: int, config: SpikingConfig = DEFAULTS) -> None:
        super().__init__()
        self.neuron = config.lif()
        self.project = ConvBN(channels * 2, channels, kernel_size=1, v_threshold=config.v_threshold)

    def forward(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        """Concatenate, decoder first, and reduce."""
        return self.project(self.run(_join_and_fire, decoded, encoded))


def _join_and_fire(block: SkipFusion, decoded: Tensor, encoded: Tensor) -> Tensor:
    return block.neuron(join_channels(decoded, encoded))
