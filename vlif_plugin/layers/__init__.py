"""Layers without neuron state: normalisation, attention, rearrangement, padding."""

from vlif_plugin.layers.attention import (
    ChannelAttention,
    MultiDimensionalAttention,
    SpatialAttention,
    TemporalAttention,
)
from vlif_plugin.layers.padding import pad_to_multiple
from vlif_plugin.layers.patch_time import patch_to_time, time_to_channel
from vlif_plugin.layers.tdbn import ConvBN, ThresholdDependentBatchNorm2d
from vlif_plugin.layers.time_batch import over_time, upsample

__all__ = [
    "ChannelAttention",
    "ConvBN",
    "MultiDimensionalAttention",
    "SpatialAttention",
    "TemporalAttention",
    "ThresholdDependentBatchNorm2d",
    "over_time",
    "pad_to_multiple",
    "patch_to_time",
    "time_to_channel",
    "upsample",
]
