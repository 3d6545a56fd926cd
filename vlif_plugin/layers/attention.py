"""Attention over time, channels and space (Yao et al., Attention Spiking Neural Networks, 2023).

Each of the three gates its input: descriptors are the mean and the maximum over all the other
dimensions, both go through one small network, the sum through a sigmoid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Gate(nn.Module):
    """Shared two-layer network on the mean and the maximum of a (N, size, rest) view."""

    def __init__(self, size: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, size // reduction)  # T = 1 and narrow networks keep one hidden unit
        self.fc1 = nn.Linear(size, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, size, rest) to a gate of shape (N, size) in (0, 1)."""
        mean = self.fc2(torch.relu(self.fc1(x.mean(2))))
        # max, not amax: on ties (spikes tie often) the gradient goes to one element
        peak = self.fc2(torch.relu(self.fc1(x.max(2).values)))
        return torch.sigmoid(mean + peak)


class TemporalAttention(nn.Module):
    """Weight of each timestep, from all channels and pixels of it.

    Args:
        T: number of timesteps.
        reduction: T / reduction hidden units, at least 1.

    Shape:
        (T, B, C, H, W) to the same; :meth:`gate` gives (T, B, 1, 1, 1).
    """

    def __init__(self, T: int, *, reduction: int = 4) -> None:
        super().__init__()
        self.T = T
        self.mlp = _Gate(T, reduction)

    def gate(self, x_seq: Tensor) -> Tensor:
        """Weights in (0, 1); raises ValueError when ``x_seq`` has another number of timesteps."""
        if x_seq.shape[0] != self.T:
            raise ValueError(
                f"temporal attention was built for T={self.T} timesteps, got a sequence of {x_seq.shape[0]}"
            )
        return self.mlp(x_seq.transpose(0, 1).flatten(2)).t()[:, :, None, None, None]

    def forward(self, x_seq: Tensor) -> Tensor:
        """Scale each timestep by its gate."""
        return x_seq * self.gate(x_seq)


class ChannelAttention(nn.Module):
    """Weight of each channel, shared by all timesteps.

    Args:
        channels: C.
        reduction: C / reduction hidden units, at least 1.

    Shape:
        (T, B, C, H, W) to the same.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.mlp = _Gate(channels, reduction)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Scale each channel by its gate."""
        gate = self.mlp(x_seq.permute(1, 2, 0, 3, 4).flatten(2))
        return x_seq * gate[None, :, :, None, None]


class SpatialAttention(nn.Module):
    """Weight of each pixel, shared by all timesteps and channels.

    Args:
        kernel_size: odd, of the convolution over the two descriptor maps.

    Shape:
        (T, B, C, H, W) to the same.
    """

    def __init__(self, *, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Scale each pixel by its gate."""
        x = x_seq.transpose(0, 1).flatten(1, 2)
        maps = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], dim=1)
        return x_seq * torch.sigmoid(self.conv(maps))[None]


class MultiDimensionalAttention(nn.Module):
    """MDA: temporal, then channel, then spatial attention, then ReLU.

    Args:
        T: number of timesteps.
        channels: C.
        reduction_t: hidden units of the temporal gate are T / reduction_t.
        reduction_c: hidden units of the channel gate are C / reduction_c.
        kernel_size: of the spatial gate.

    Shape:
        (T, B, C, H, W) to the same, values >= 0.
    """

    def __init__(
        self,
        T: int,
        channels: int,
        *,
        reduction_t: int = 4,
        reduction_c: int = 16,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        self.temporal = TemporalAttention(T, reduction=reduction_t)
        self.channel = ChannelAttention(channels, reduction=reduction_c)
        self.spatial = SpatialAttention(kernel_size=kernel_size)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Apply the three gates in turn."""
        return torch.relu(self.spatial(self.channel(self.temporal(x_seq))))
