"""Gains and normalisations that suit the network around them, found by running it without neurons."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vlif_plugin.layers import ThresholdDependentBatchNorm2d
from vlif_plugin.spiking.activation import SpikingActivation
from vlif_plugin.spiking.norms import fit_norm


@torch.no_grad()
def fit_layer(layer: SpikingActivation, args: tuple[Any, ...], _: Any) -> Tensor:
    """A forward hook that sets a layer; what it gives in place of spikes is what stood there without neurons."""
    (x,) = args
    maps = layer.to_maps(layer.split(x)[1])
    given = fit_norm(layer.norm, maps)
    side = 8 * layer.multiple
    draws = torch.Generator().manual_seed(0)
    normal = torch.randn(1, 1, maps.shape[1], side, side, generator=draws).to(maps)
    typical = _rms(layer.neuron((given * normal).expand(layer.T, -1, -1, -1, -1).contiguous()))
    wanted = _rms(maps.relu())
    gain = wanted / typical if typical > 0 else 1.0
    layer.gain.fill_(gain if math.isfinite(gain) and gain > 0 else 1.0)
    return layer.rectified(x)


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Let BatchNorms that have seen no image yet normalise by what they are given, and forget it."""
    fresh = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and not isinstance(module, ThresholdDependentBatchNorm2d)  # those are set
        and module.num_batches_tracked is not None
        and not module.num_batches_tracked
    ]
    kept = [(module, module.running_mean, module.running_var) for module in fresh]
    for module in fresh:
        module.running_mean = module.running_var = None
    try:
        yield
    finally:
        for module, mean, variance in kept:
            module.running_mean, module.running_var = mean, variance


def _rms(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item()
