"""Neurons in place of the activations of any network; see :func:`spikify`."""

from vlif_plugin.spiking.activation import InTurn, SpikingActivation
from vlif_plugin.spiking.choosing import ACTIVATIONS
from vlif_plugin.spiking.making import SHORT_NAMES, Neuron
from vlif_plugin.spiking.norms import Norm
from vlif_plugin.spiking.pending import PendingActivation, spiking_act
from vlif_plugin.spiking.spikified import Spikified, spikify

__all__ = [
    "ACTIVATIONS",
    "SHORT_NAMES",
    "InTurn",
    "Neuron",
    "Norm",
    "PendingActivation",
    "Spikified",
    "SpikingActivation",
    "spikify",
    "spiking_act",
]
