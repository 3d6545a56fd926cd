"""Attention over time, channels and space (Yao et al., Attention Spiking Neural Networks, 2023).

Each of the three gates its input: descriptors are the mean and the maximum over all the other
dimensions, both go through one small network, the sum through a sigmoid.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from vlif_plugin.layers.time_batch import enlarge, enlarge_apart, full_precision
from vlif_plugin.parts import Fusible


class Gate(nn.Module):
    """Shared two-layer network on two descriptors: means and maxima."""

    def __init__(self, size: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, size // reduction)  # T = 1 and narrow networks keep one hidden unit
        self.fc1 = nn.Linear(size, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, size, bias=False)

    def forward(self, mean: Tensor, peak: Tensor) -> Tensor:
        """Twice (N, size) to a gate of shape (N, size) in (0, 1).

        Descriptors of a network in 16 bits may be wider than its weights; so is the gate then.
        """
        wide, own = mean.dtype, self.fc1.weight.dtype
        mean, peak = _in_dtype(mean, own), _in_dtype(peak, own)
        mean = self.fc2(torch.relu(self.fc1(mean)))
        peak = self.fc2(torch.relu(self.fc1(peak)))
        total = mean + peak
        # where autocast narrows, dtypes agree before, and what it gives is left alone
        return torch.sigmoid(total if wide == own else total.to(wide))


def _in_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast where needed only, so that tracers see no operator else."""
    return x if x.dtype == dtype else x.to(dtype)


def _peak(x: Tensor, dim: int) -> Tensor:
    """Maximum over a dimension.

    On ties the gradient goes to the first element. What spikes are convolved to ties often.
    """
    return x.max(dim).values if torch.is_grad_enabled() else x.amax(dim)


class TemporalAttention(nn.Module):
    """Weight of each timestep, from all channels and pixels of it.

    Args:
        T: number of timesteps.
        reduction: T / reduction hidden units, at least 1.

    Shape:
        (T, B, C, H, W) to the same, or (T', T'', B, C, H, W) with T = T' * T''; :meth:`gate` gives
        ones for C, H and W.
    """

    def __init__(self, T: int, *, reduction: int = 4) -> None:
        super().__init__()
        self.T = T
        self.mlp = Gate(T, reduction)

    def check(self, steps: int) -> None:
        """Raise ValueError when a sequence has another number of timesteps."""
        if steps != self.T:
            raise ValueError(
                f"temporal attention was built for T={self.T} timesteps, got a sequence of {steps}"
            )

    def gate(self, x_seq: Tensor) -> Tensor:
        """Weights in (0, 1); raises ValueError when ``x_seq`` has another number of timesteps."""
        time = x_seq.shape[:-4]
        self.check(prod(time))
        wide = x_seq.to(torch.promote_types(x_seq.dtype, torch.float32)).flatten(-2)
        descriptors = wide.mean((-1, -2)), _peak(_peak(wide, -1), -1)
        gate = self.mlp(*(d.flatten(0, -2).t() for d in descriptors)).t()
        return gate.unflatten(0, time)[..., None, None, None]

    def forward(self, x_seq: Tensor) -> Tensor:
        """Scale each timestep by its gate."""
        with full_precision(x_seq.device):
            return (x_seq * self.gate(x_seq)).to(x_seq.dtype)


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
        self.mlp = Gate(channels, reduction)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Scale each channel by its gate."""
        flat = x_seq.permute(1, 2, 0, 3, 4).flatten(2)
        return x_seq * self.mlp(flat.mean(2), _peak(flat, 2))[None, :, :, None, None]


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
        flat = x_seq.transpose(0, 1).flatten(1, 2)
        maps = torch.stack([flat.mean(1), _peak(flat, 1)], dim=1)
        return x_seq * torch.sigmoid(self.conv(maps))[None]


class MultiDimensionalAttention(Fusible):
    """MDA: temporal, then channel, then spatial attention, then ReLU.

    The three in turn read and write the sequence ten times. The gates are positive, so a maximum
    passes through them: the means and maxima of each timestep's channels give both the temporal and
    the channel gate, and one product applies them.

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

    def forward(
        self,
        x_seq: Tensor,
        branch: Tensor | None = None,
        *,
        residual: Tensor | None = None,
        identity: bool = False,
    ) -> Tensor:
        """Attend to ``x_seq + branch``, and add what goes past the attention.

        Args:
            x_seq: shape (T, B, C, H, W).
            branch: added before; the same shape, or H and W smaller by a whole factor, by which it is
                enlarged.
            residual: added behind; the same shape.
            identity: whether the attention's own input is added behind, too.

        Raises:
            ValueError: ``x_seq`` has another number of timesteps.
        """
        self.temporal.check(x_seq.shape[0])
        if branch is not None:
            branch = enlarge_apart(branch, x_seq)
        x_seq, mean, peak = self.run(_describe, x_seq, branch)
        gate = self._gate(mean, peak)
        conv = self.spatial.conv
        spatial = conv(_in_dtype(self.run(_survey, x_seq, gate), conv.weight.dtype))
        return self.run(_attend, x_seq, gate, spatial, residual, identity)

    def _gate(self, mean: Tensor, peak: Tensor) -> Tensor:
        """Gates of time and channel in one, (T, B, C), from what :func:`_describe` gives."""
        with full_precision(mean.device):
            temporal = self.temporal.mlp(mean.mean(2).t(), _peak(peak, 2).t()).t()[:, :, None]
            return temporal * self.channel.mlp((temporal * mean).mean(0), _peak(temporal * peak, 0))


def _describe(
    attention: MultiDimensionalAttention, x_seq: Tensor, branch: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of the branches, and mean and maximum of each timestep's channels, (T, B, C)."""
    if branch is not None:
        x_seq = x_seq + enlarge(branch, x_seq)
    wide = x_seq.to(torch.promote_types(x_seq.dtype, torch.float32)).flatten(3)
    return x_seq, wide.mean(3), _peak(wide, 3)


def _survey(attention: MultiDimensionalAttention, x_seq: Tensor, gate: Tensor) -> Tensor:
    """The descriptors of space, (B, 2, H, W), behind the gates of time and channel."""
    gated = x_seq * gate[..., None, None]
    return torch.stack([gated.mean((0, 2)), _peak(_peak(gated, 2), 0)], dim=1)


def _attend(
    attention: MultiDimensionalAttention,
    x_seq: Tensor,
    gate: Tensor,
    spatial: Tensor,
    residual: Tensor | None,
    identity: bool,
) -> Tensor:
    """``relu(x * gates)``, plus what goes past them."""
    out = torch.relu(x_seq * gate[..., None, None] * torch.sigmoid(spatial.to(gate.dtype)))
    if identity:
        out = out + x_seq
    if residual is not None:
        out = out + residual
    return out.to(x_seq.dtype)
