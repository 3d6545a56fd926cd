"""Spiking neurons in plain PyTorch: time first, no state between calls."""

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
from vlif_plugin.neurons.learnable import (
    Learnable,
    check_learn,
    learnable_of,
    learned_constants,
    positive,
    share,
    time_constant,
)
from vlif_plugin.neurons.lif import ILIFNode, LIFNode, NILIFNode
from vlif_plugin.neurons.listing import (
    NEURONS,
    NeuronList,
    build_activation,
    build_neuron,
    neuron_class,
    path_of,
)
from vlif_plugin.neurons.surrogate import integer_spike, sigmoid_spike
from vlif_plugin.neurons.unrolling import from_binary, to_binary, whole_events
from vlif_plugin.neurons.vlif import VLIFC, VLIFT, Formulation, VLIFNode, VLIFPixelNode

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
    "Learnable",
    "NILIFNode",
    "NeuronList",
    "SpikingNeuron",
    "VLIFNode",
    "VLIFPixelNode",
    "build_activation",
    "build_neuron",
    "check_learn",
    "from_binary",
    "gather_counts",
    "ilif_sequence",
    "ilif_step",
    "integer_spike",
    "learnable_of",
    "learned_constants",
    "lif_sequence",
    "lif_step",
    "neuron_class",
    "nilif_sequence",
    "nilif_step",
    "path_of",
    "positive",
    "share",
    "sigmoid_spike",
    "sum_counts",
    "time_constant",
    "to_binary",
    "whole_events",
]
