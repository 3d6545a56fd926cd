"""The paper's figures 1, 2b, 3 and 6c of any network and image, as numbers and maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlif_plugin.analysis.activation import (
    Activation,
    When,
    activation,
    active,
    at_pixels,
    decay_matrix,
    equal_ranges,
    least_input,
    respond,
    studied_neurons,
)
from vlif_plugin.analysis.indication import Indication, indication
from vlif_plugin.analysis.observation import LayerActivity, Observation, neurons_of, observe
from vlif_plugin.analysis.repetition import Repetition, applications, repeat
from vlif_plugin.analysis.spectra import CUTOFF, high_frequency_share
from vlif_plugin.errors import DataError
from vlif_plugin.neurons import LIFNode, SpikingNeuron, VLIFPixelNode

IMAGE = "image"
"""What ``layer`` is called where the image itself takes the place of features."""
LEAST_SIDE = 16


@dataclass(frozen=True)
class Response:
    """A neuron that is shown the synthetic matrix (fig. 2b and 3).

    Attributes:
        neuron: with its constants.
        least_input: constant input from which it fires.
        spikes: (T, N, N).
        activations: by what counts as active, over eight equal ranges.
    """

    neuron: SpikingNeuron
    least_input: float
    spikes: Tensor
    activations: Mapping[When, Activation]


@dataclass(frozen=True)
class Panel:
    """A map of fig. 1 or 6c.

    Attributes:
        name: what it shows.
        maps: shape (C, h, w): an image's three channels, or one channel of features.
        high_share: of its energy, what is above the cut-off, over all channels and timesteps.
        is_image: RGB in [0, 1].
    """

    name: str
    maps: Tensor
    high_share: float
    is_image: bool = False


@dataclass(frozen=True)
class Analysis:
    """Everything that the figures show.

    Attributes:
        network: its class.
        size: height and width of the image.
        cutoff: from which frequencies are called high, in cycles for each pixel.
        layer: whose input is x in fig. 1 and 6c; ``image`` for the image itself.
        channel: of x that is shown: the one of which f(x) leaves most.
        repetitions: fig. 1 by neuron, the layer's own first.
        lif: which of these is of a LIF neuron of the network's kind: the layer's, if it is one.
        mark: what the spikes of that neuron mark of x.
        applied: x, then x * f^t(x), as panels.
        task: fig. 6c: input, features, spikes, features where spikes are, result, clean image.
        matrix: of fig. 2b.
        responses: to it, by neuron.
        layers: firing of all layers.
    """

    network: str
    size: tuple[int, int]
    cutoff: float
    layer: str
    channel: int
    repetitions: Mapping[str, Repetition]
    lif: str
    mark: Indication
    applied: tuple[Panel, ...]
    task: tuple[Panel, ...]
    matrix: Tensor
    responses: Mapping[str, Response]
    layers: tuple[LayerActivity, ...]

    def pooled(self, *, visual: bool) -> Activation | None:
        """Spikes by size of the input over all layers of VLIF, or of neurons that see a pixel."""
        found = [
            layer.activation for layer in self.layers
            if layer.activation is not None and layer.visual == visual
        ]  # fmt: skip
        return sum(found[1:], found[0]) if found else None


def analyse(
    net: nn.Module,
    image: Tensor,
    *,
    clean: Tensor | None = None,
    layer: str | None = None,
    times: int = 4,
    cutoff: float = CUTOFF,
) -> Analysis:
    """Everything about a network and an image.

    Args:
        net: in eval mode.
        image: shape (1, 3, H, W), RGB in [0, 1], at least 16x16.
        clean: the same without its degradation, if known.
        layer: of which neuron layer the input is x; None: of the first with LIF neurons, else of
            the first at all; ``image``, and of a network without neurons: the image itself.
        times: how often a neuron is applied.
        cutoff: in cycles for each pixel.

    Raises:
        OptionError: there is no such layer.
        DataError: the image is too small, the clean one of another size, or the network cannot be
            run on it.
    """
    _check(image, clean)
    matrix = decay_matrix()
    names = neurons_of(net)
    keep = _first_layer(names) if layer is None else None if layer == IMAGE else layer
    seen = observe(net, image, clean=clean, keep=keep, edges=equal_ranges(matrix), cutoff=cutoff)
    own = LIFNode(v_threshold=0.15, decay_input=False) if seen.kept is None else names[seen.kept]
    x = _as_features(image) if seen.features is None else seen.features
    spikes = list(applications(x, _keeping(own), times))
    channel = _loudest(x * spikes[0])
    neurons = _repeated(x, own, seen.kept)
    return Analysis(
        network=type(net).__name__,
        size=(image.shape[2], image.shape[3]),
        cutoff=cutoff,
        layer=seen.kept or IMAGE,
        channel=channel,
        repetitions={
            name: repeat(x, _keeping(neuron), times=times, cutoff=cutoff)
            for name, neuron in neurons.items()
        },
        lif=next(name for name, neuron in neurons.items() if isinstance(neuron, LIFNode)),
        mark=indication(x, spikes[0], cutoff=cutoff),
        applied=tuple(_applied(x, spikes, channel, cutoff)),
        task=tuple(_task(image, x, spikes[0], seen, clean, channel, cutoff)),
        matrix=matrix,
        responses=responses(matrix),
        layers=seen.layers,
    )


def responses(matrix: Tensor, T: int = 4) -> dict[str, Response]:
    """What the studied neurons make of a matrix that they are shown T times (fig. 2b and 3)."""
    edges, found = equal_ranges(matrix), {}
    for name, neuron in studied_neurons().items():
        spikes = respond(matrix, neuron, T)
        whens: tuple[When, ...] = ("first", "ever", "update")
        counted = {}
        for when in whens:
            on = active(spikes, when)
            counted[when] = activation(matrix.expand(on.shape), on, edges)
        found[name] = Response(neuron, least_input(neuron, T), spikes, counted)
    return found


def _check(image: Tensor, clean: Tensor | None) -> None:
    height, width = image.shape[-2:]
    if min(height, width) < LEAST_SIDE:
        raise DataError(
            f"an image of {width}x{height} pixels is too small for spectra; at least "
            f"{LEAST_SIDE}x{LEAST_SIDE} are needed"
        )
    if clean is not None and clean.shape != image.shape:
        raise DataError(
            f"the clean image has {clean.shape[3]}x{clean.shape[2]} pixels, the degraded one {width}x{height}"
        )


def _first_layer(names: Mapping[str, SpikingNeuron]) -> str | None:
    lif = (name for name, neuron in names.items() if isinstance(neuron, LIFNode))
    return next(lif, next(iter(names), None))


def _as_features(image: Tensor) -> Tensor:
    """The image four times, its sides even so that VLIF can see it; (4, 1, 3, H, W)."""
    height, width = (side - side % 2 for side in image.shape[-2:])
    return image[None, ..., :height, :width].repeat(4, 1, 1, 1, 1)


class _Keeping(nn.Module):
    """A neuron whose spikes are where its inputs are."""

    def __init__(self, neuron: SpikingNeuron) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, x_seq: Tensor) -> Tensor:
        """Fire."""
        with torch.no_grad():
            return at_pixels(self.neuron, self.neuron(x_seq), x_seq)


def _keeping(neuron: SpikingNeuron) -> _Keeping:
    return _Keeping(neuron)


def _loudest(masked: Tensor) -> int:
    """The channel with most energy."""
    return int(masked.double().square().sum((0, 1, 3, 4)).argmax())


def _repeated(x: Tensor, own: SpikingNeuron, name: str | None) -> dict[str, SpikingNeuron]:
    """The layer's own neuron, and others that are applied to the same features."""
    first = "LIF on the image" if name is None else f"{type(own).__name__} of {name}"
    neurons = {first: own}
    if not isinstance(own, LIFNode):
        neurons["LIF, threshold 0.15"] = LIFNode(v_threshold=0.15, decay_input=False)
    neurons["LIF, soft reset"] = LIFNode(v_threshold=0.15, decay_input=False, v_reset=None)
    neurons["LIF, threshold 1, input decays"] = LIFNode()
    if not any(side % 2 for side in x.shape[-2:]):
        neurons["VLIF, paper"] = VLIFPixelNode()
    return neurons


def _applied(x: Tensor, spikes: list[Tensor], channel: int, cutoff: float) -> list[Panel]:
    found = [_panel("x", x, channel, cutoff)]
    for t, mask in enumerate(spikes, 1):
        found.append(_panel(f"x · f{_power(t)}(x)", x * mask, channel, cutoff))
    return found


def _power(t: int) -> str:
    return "" if t == 1 else "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(t))


def _task(
    image: Tensor,
    x: Tensor,
    spikes: Tensor,
    seen: Observation,
    clean: Tensor | None,
    channel: int,
    cutoff: float,
) -> list[Panel]:
    found = [
        _image("input", image, cutoff),
        _panel("features before the neuron", x, channel, cutoff),
        _panel("its spikes", spikes, channel, cutoff),
        _panel("features where spikes are", x * spikes, channel, cutoff),
        _image("result", seen.restored, cutoff),
    ]
    return found if clean is None else [*found, _image("clean image", clean, cutoff)]


def _panel(name: str, x_seq: Tensor, channel: int, cutoff: float) -> Panel:
    """One channel, the mean over the timesteps."""
    shown = x_seq[:, 0, channel].mean(0)[None].cpu()
    return Panel(name, shown, high_frequency_share(x_seq, cutoff))


def _image(name: str, image: Tensor, cutoff: float) -> Panel:
    return Panel(name, image[0].clamp(0, 1).cpu(), high_frequency_share(image, cutoff), True)
