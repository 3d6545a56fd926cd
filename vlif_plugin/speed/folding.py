"""BatchNorm into the convolution before it: what inference runs."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from vlif_plugin.layers import NormedConv

Network = TypeVar("Network", bound=nn.Module)


def folded(net: Network) -> Network:
    """A copy of a network for inference, in which BatchNorm is part of the convolution before it.

    The weights are computed in float64, so what changes is one rounding of each. Spikes at a
    threshold may still come out otherwise, as with any other order of operations.

    Args:
        net: any network; only pairs of :class:`~vlif_plugin.layers.NormedConv` are folded, and a network
            without them is just copied. It is left as it is.

    Returns:
        In eval mode, without gradients. Its state dict has other names than the network's.
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, NormedConv) and isinstance(module.bn, nn.BatchNorm2d):
            _fold(module, module.bn)
    return net


def _fold(layer: NormedConv, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    wide = (t.double() for t in (layer.conv.weight, mean, variance, norm.weight, norm.bias))
    weight, mean, variance, scale, shift = wide
    weight, bias = fuse_conv_bn_weights(weight, None, mean, variance, norm.eps, scale, shift)
    dtype = layer.conv.weight.dtype
    conv = copy.copy(layer.conv)
    conv._parameters = {
        "weight": nn.Parameter(weight.to(dtype), requires_grad=False),
        "bias": nn.Parameter(bias.to(dtype), requires_grad=False),
    }
    layer.conv = conv
    setattr(layer, "bn", nn.Identity())  # noqa: B010 (of another type than declared)
