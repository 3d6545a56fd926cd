"""The paper's argument as numbers: what spikes mark of features, and which neuron fires where."""

from vlif_plugin.analysis.activation import (
    PUBLISHED,
    Activation,
    activation,
    active,
    at_pixels,
    decay_matrix,
    equal_ranges,
    least_input,
    respond,
    studied_neurons,
)
from vlif_plugin.analysis.claims import Claim, claims
from vlif_plugin.analysis.figures import IMAGE, Analysis, Panel, Response, analyse, responses
from vlif_plugin.analysis.indication import Indication, indication, lift
from vlif_plugin.analysis.observation import LayerActivity, Observation, neurons_of, observe
from vlif_plugin.analysis.repetition import Application, Repetition, applications, repeat
from vlif_plugin.analysis.spectra import (
    CUTOFF,
    RadialSpectrum,
    high_frequency_share,
    high_pass,
    power_spectrum,
    radial_spectrum,
)

__all__ = [
    "CUTOFF",
    "IMAGE",
    "PUBLISHED",
    "Activation",
    "Analysis",
    "Application",
    "Claim",
    "Indication",
    "LayerActivity",
    "Observation",
    "Panel",
    "RadialSpectrum",
    "Repetition",
    "Response",
    "activation",
    "active",
    "analyse",
    "applications",
    "at_pixels",
    "claims",
    "decay_matrix",
    "equal_ranges",
    "high_frequency_share",
    "high_pass",
    "indication",
    "least_input",
    "lift",
    "neurons_of",
    "observe",
    "power_spectrum",
    "radial_spectrum",
    "repeat",
    "respond",
    "responses",
    "studied_neurons",
]
