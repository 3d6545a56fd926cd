"""Blocks made of neurons and layers, each the size of one figure of a paper."""

from vlif_plugin.blocks.config import NeuronKind, SpikingConfig
from vlif_plugin.blocks.decomposition import SDEM, DecompositionStage
from vlif_plugin.blocks.multiscale import SMU
from vlif_plugin.blocks.residual import SpikingResidualBlock, SpikingUnit
from vlif_plugin.blocks.sampling import DownSampling, SkipFusion, UpSampling

__all__ = [
    "SDEM",
    "SMU",
    "DecompositionStage",
    "DownSampling",
    "NeuronKind",
    "SkipFusion",
    "SpikingConfig",
    "SpikingResidualBlock",
    "SpikingUnit",
    "UpSampling",
]
