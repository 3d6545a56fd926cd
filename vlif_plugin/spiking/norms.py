"""What stands between a layer and the neuron that takes the place of its activation."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vlif_plugin.errors import OptionError
from vlif_plugin.layers import ThresholdDependentBatchNorm2d

Norm = Literal["auto", "tdbn", "affine", "none"]
"""``tdbn``: BatchNorm over time and batch with the neuron's scale. ``affine``: a learnable scale and
shift of each channel, set by a picture, without statistics. ``none``: nothing. ``auto``: none where
a normalisation stands there already, else tdbn."""

_EPS = 1e-10
"""Restoration networks begin with activations down to 1e-4, whose variance BatchNorm's usual 1e-5 would hide."""

_NORMALISATIONS = (
    nn.modules.batchnorm._NormBase,  # BatchNorm and InstanceNorm
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
)


class ChannelAffine(nn.Module):
    """A scale and a shift for each channel; there is nothing that training and inference see differently.

    Args:
        channels: C.
        deviation: that :meth:`fit` gives the output.

    Shape:
        (N, C, H, W) to the same.
    """

    def __init__(self, channels: int, *, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation
        self.weight = nn.Parameter(torch.full((channels, 1, 1), deviation))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift."""
        return x * self.weight + self.bias

    @torch.no_grad()
    def fit(self, mean: Tensor, variance: Tensor) -> None:
        """Set both so that an input of such channels, (C,), comes out with mean 0 and the deviation wanted."""
        # channels that hardly vary would be blown up
        floor = 0.1 * variance.mean().sqrt()
        scale = self.deviation / torch.maximum(variance.sqrt(), floor).clamp_min(1e-12)
        self.weight.copy_(scale[:, None, None])
        self.bias.copy_((-mean * scale)[:, None, None])


def check_norm(norm: str) -> None:
    """Refuse a normalisation that does not exist.

    Raises:
        OptionError: it is none of :data:`Norm`.
    """
    if norm not in get_args(Norm):
        raise OptionError(f"norm must be one of {', '.join(get_args(Norm))}, got {norm!r}")


def is_normalisation(module: nn.Module) -> bool:
    """Whether a module normalises what it is given."""
    return isinstance(module, _NORMALISATIONS)


def make_norm(norm: Norm, channels: int, *, deviation: float, normed: bool) -> nn.Module:
    """The normalisation before a neuron.

    Args:
        norm: which.
        channels: C.
        deviation: of its output at first.
        normed: whether the layer before is a normalisation.
    """
    if norm == "none" or (norm == "auto" and normed):
        return nn.Identity()
    if norm == "affine":
        return ChannelAffine(channels, deviation=deviation)
    made = ThresholdDependentBatchNorm2d(channels, v_threshold=deviation, alpha=1.0)
    made.eps = _EPS
    return made


@torch.no_grad()
def fit_norm(norm: nn.Module, x: Tensor) -> float:
    """Set a normalisation of ours to what it is given; returns the deviation of what it gives, or hands on.

    Args:
        norm: of :func:`make_norm`.
        x: shape (N, C, H, W).
    """
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    if isinstance(norm, ThresholdDependentBatchNorm2d):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        return norm.initial_weight
    if isinstance(norm, ChannelAffine):
        norm.fit(mean, variance)
        return norm.deviation
    return variance.mean().sqrt().item()
