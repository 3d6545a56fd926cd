"""Threshold-dependent batch normalisation (tdBN; Zheng et al., AAAI 2021) after a convolution."""

from __future__ import annotations

import math

from torch import Tensor, nn

from vlif_plugin.layers.time_batch import over_time


class ThresholdDependentBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm whose scale starts at ``alpha * v_threshold``, so that its output suits a neuron.

    It is given (T*B, C, H, W), so statistics run over time and batch as tdBN asks, and
    :meth:`torch.nn.SyncBatchNorm.convert_sync_batchnorm` works on it.

    Args:
        num_features: C.
        v_threshold: threshold of the neuron that follows.
        alpha: 1 / sqrt(number of branches that add up); 1/sqrt(2) throughout the paper.
    """

    def __init__(
        self, num_features: int, *, v_threshold: float = 1.0, alpha: float = math.sqrt(0.5)
    ) -> None:
        self.initial_weight = alpha * v_threshold
        super().__init__(num_features)

    def reset_parameters(self) -> None:
        """Restore the statistics and the threshold-dependent scale."""
        super().reset_parameters()
        nn.init.constant_(self.weight, self.initial_weight)


class NormedConv(nn.Module):
    """A given convolution without bias, then tdBN; inference folds the two into one.

    Args:
        conv: maps (N, C, H, W) to (N, C', H', W').
        v_threshold: threshold of the neuron that follows.
        alpha: see :class:`ThresholdDependentBatchNorm2d`.

    Shape:
        (T, B, C, H, W) to (T, B, C', H', W').
    """

    def __init__(
        self, conv: nn.Conv2d, *, v_threshold: float = 1.0, alpha: float = math.sqrt(0.5)
    ) -> None:
        super().__init__()
        self.conv = conv
        self.bn = ThresholdDependentBatchNorm2d(
            conv.out_channels, v_threshold=v_threshold, alpha=alpha
        )

    def forward(self, x_seq: Tensor) -> Tensor:
        """Convolve and normalise all timesteps together."""
        return over_time(lambda x: self.bn(self.conv(x)), x_seq)


class ConvBN(NormedConv):
    """Convolution without bias, then tdBN; the pair that feeds a neuron.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd; the padding keeps the size.
        stride: of the convolution.
        groups: of the convolution.
        v_threshold: threshold of the neuron that follows.
        alpha: see :class:`ThresholdDependentBatchNorm2d`.

    Shape:
        (T, B, in_channels, H, W) to (T, B, out_channels, ceil(H/stride), ceil(W/stride)).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        v_threshold: float = 1.0,
        alpha: float = math.sqrt(0.5),
    ) -> None:
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        )
        super().__init__(conv, v_threshold=v_threshold, alpha=alpha)
