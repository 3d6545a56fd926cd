"""An honest count of what a network does with an image: parameters, operations, energy."""

from vlif_plugin.energy.costs import PRESETS, EnergyCosts, costs_of
from vlif_plugin.energy.counting import count_ops
from vlif_plugin.energy.marks import Spikes
from vlif_plugin.energy.report import EnergyReport, LayerOps, NeuronOps, PaperCount

__all__ = [
    "PRESETS",
    "EnergyCosts",
    "EnergyReport",
    "LayerOps",
    "NeuronOps",
    "PaperCount",
    "Spikes",
    "costs_of",
    "count_ops",
]
