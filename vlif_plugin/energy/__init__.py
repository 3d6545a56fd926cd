"""An honest count of what a network does with an image: parameters, operations, energy."""

from vlif_plugin.energy.binary import (
    BinaryInference,
    BinaryLayer,
    binary_inference,
    check_binary,
)
from vlif_plugin.energy.calibration import calibrate_batchnorm
from vlif_plugin.energy.costs import PRESETS, EnergyCosts, costs_of
from vlif_plugin.energy.counting import centre, count_ops
from vlif_plugin.energy.marks import Spikes
from vlif_plugin.energy.meter import EnergyMeter, Spread
from vlif_plugin.energy.report import EnergyReport, LayerOps, NeuronOps, PaperCount

__all__ = [
    "PRESETS",
    "BinaryInference",
    "BinaryLayer",
    "EnergyCosts",
    "EnergyMeter",
    "EnergyReport",
    "LayerOps",
    "NeuronOps",
    "PaperCount",
    "Spikes",
    "Spread",
    "binary_inference",
    "calibrate_batchnorm",
    "centre",
    "check_binary",
    "costs_of",
    "count_ops",
]
