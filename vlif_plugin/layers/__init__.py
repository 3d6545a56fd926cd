"""Layers without neuron state: normalisation, attention, rearrangement, padding."""

from torch import nn

from vlif_plugin.layers.attention import (
    ChannelAttention,
    MultiDimensionalAttention,
    SpatialAttention,
    TemporalAttention,
)
from vlif_plugin.layers.batch_statistics import AveragedStatistics, gathering, in_eval_mode
from vlif_plugin.layers.padding import crop, pad_to_multiple
from vlif_plugin.layers.patch_time import patch_steps, patch_to_time, time_to_channel, time_to_patch
from vlif_plugin.layers.sync_batchnorm import synchronise_batchnorm
from vlif_plugin.layers.tdbn import ConvBN, NormedConv, ThresholdDependentBatchNorm2d
from vlif_plugin.layers.time_batch import (
    enlarge,
    enlarge_apart,
    join_channels,
    mean_over_time,
    over_time,
    stack_time,
    upsample,
)

ATTENTION: dict[str, type[nn.Module]] = {
    "ChannelAttention": ChannelAttention,
    "MultiDimensionalAttention": MultiDimensionalAttention,
    "SpatialAttention": SpatialAttention,
    "TemporalAttention": TemporalAttention,
}
"""The one list of attention layers that hosts loop over."""

__all__ = [
    "ATTENTION",
    "AveragedStatistics",
    "ChannelAttention",
    "ConvBN",
    "MultiDimensionalAttention",
    "NormedConv",
    "SpatialAttention",
    "TemporalAttention",
    "ThresholdDependentBatchNorm2d",
    "crop",
    "enlarge",
    "enlarge_apart",
    "gathering",
    "in_eval_mode",
    "join_channels",
    "mean_over_time",
    "over_time",
    "pad_to_multiple",
    "patch_steps",
    "patch_to_time",
    "stack_time",
    "synchronise_batchnorm",
    "time_to_channel",
    "time_to_patch",
    "upsample",
]
