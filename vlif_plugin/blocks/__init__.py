"""Blocks made of neurons and layers, each the size of one figure of a paper."""

from torch import nn

from vlif_plugin.blocks.config import NeuronKind, SpikingConfig
from vlif_plugin.blocks.decomposition import SDEM, DecompositionStage
from vlif_plugin.blocks.initialisation import (
    GATE,
    Initialisation,
    check_initialisation,
    initialise_firing,
)
from vlif_plugin.blocks.multiscale import SMU
from vlif_plugin.blocks.residual import SpikingResidualBlock, SpikingUnit
from vlif_plugin.blocks.sampling import DownSampling, SkipFusion, UpSampling

BLOCKS: dict[str, type[nn.Module]] = {
    "SDEM": SDEM,
    "SMU": SMU,
    "SpikingUnit": SpikingUnit,
    "SpikingResidualBlock": SpikingResidualBlock,
    "DownSampling": DownSampling,
    "UpSampling": UpSampling,
    "SkipFusion": SkipFusion,
}
"""The one list of blocks that hosts loop over."""

__all__ = [
    "BLOCKS",
    "GATE",
    "SDEM",
    "SMU",
    "DecompositionStage",
    "DownSampling",
    "Initialisation",
    "NeuronKind",
    "SkipFusion",
    "SpikingConfig",
    "SpikingResidualBlock",
    "SpikingUnit",
    "UpSampling",
    "check_initialisation",
    "initialise_firing",
]
