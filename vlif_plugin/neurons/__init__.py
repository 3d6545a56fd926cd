"""Spiking neurons in plain PyTorch: time first, no state between calls."""

from torch import nn

from vlif_plugin.neurons.base import SpikingNeuron
from vlif_plugin.neurons.firing import Counts, FiringRates, FiringReport, gather_counts, sum_counts
from vlif_plugin.neurons.functional import (
    ilif_sequence,
    ilif_step,
    lif_sequence,
    lif_step,
    nilif_sequence,
    nilif_step,
)
from vlif_plugin.neurons.lif import ILIFNode, LIFNode, NILIFNode
from vlif_plugin.neurons.surrogate import integer_spike, sigmoid_spike
from vlif_plugin.neurons.vlif import VLIFC, VLIFT, Formulation, VLIFNode, VLIFPixelNode

NEURONS: dict[str, type[nn.Module]] = {
    "LIFNode": LIFNode,
    "ILIFNode": ILIFNode,
    "NILIFNode": NILIFNode,
    "VLIFNode": VLIFNode,
    "VLIFPixelNode": VLIFPixelNode,
    "VLIFC": VLIFC,
    "VLIFT": VLIFT,
}
"""The one list of neurons that hosts loop over."""

__all__ = [
    "NEURONS",
    "VLIFC",
    "VLIFT",
    "Counts",
    "FiringRates",
    "FiringReport",
    "Formulation",
    "ILIFNode",
    "LIFNode",
    "NILIFNode",
    "SpikingNeuron",
    "VLIFNode",
    "VLIFPixelNode",
    "gather_counts",
    "ilif_sequence",
    "ilif_step",
    "integer_spike",
    "lif_sequence",
    "lif_step",
    "nilif_sequence",
    "nilif_step",
    "sigmoid_spike",
    "sum_counts",
]
