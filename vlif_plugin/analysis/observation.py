"""What the neurons of a network do with one image: maps of firing, and what their spikes mark.

The network runs once. Each layer is measured when it has fired, and what is kept of it is numbers and maps of a
limited size, so a full-size network needs no more memory than it does to run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from numpy.typing import NDArray
from torch import Tensor, nn

from vlif_plugin.analysis.activation import Activation, activation, at_pixels
from vlif_plugin.analysis.indication import Indication, indication, lift
from vlif_plugin.analysis.spectra import CUTOFF
from vlif_plugin.errors import DataError, OptionError, first_line, near_names
from vlif_plugin.neurons import SpikingNeuron, VLIFNode

LONGEST_MAP = 128


@dataclass(frozen=True)
class LayerActivity:
    """One neuron layer, while the network restored an image.

    Attributes:
        name: path of its module; ``name#2`` for a second call of it.
        kind: its class.
        visual: whether its neurons see patches (VLIF), and so have r*r steps for each of T.
        shape: of its spikes, (T', C, H', W').
        rates: share of neurons that fire, at each of the T' steps.
        maps: the same at each place, the mean over the channels, (T', h, w) in [0, 1]; where H' or
            W' is above ``longest``, the mean over areas.
        indication: what its spikes mark; None where they have no place among its inputs.
        activation: spikes by size of the input, in the neuron's units; None likewise.
        lift_degradation: how much more of the degradation (degraded minus clean image) lies where
            the layer fires than if it fired everywhere alike; None without a clean image.
    """

    name: str
    kind: str
    visual: bool
    shape: tuple[int, ...]
    rates: tuple[float, ...]
    maps: NDArray[np.float32]
    indication: Indication | None
    activation: Activation | None
    lift_degradation: float | None

    @property
    def rate(self) -> float:
        """Over all steps."""
        return sum(self.rates) / len(self.rates)


@dataclass(frozen=True)
class Observation:
    """All of a pass.

    Attributes:
        restored: what the network gave, (1, 3, H, W).
        layers: in the order in which they ran.
        kept: name of the layer whose input was kept; None where there was none.
        features: its input, (T, 1, C, H', W').
    """

    restored: Tensor
    layers: tuple[LayerActivity, ...]
    kept: str | None = None
    features: Tensor | None = None


def neurons_of(net: nn.Module) -> dict[str, SpikingNeuron]:
    """The neuron layers of a network by name."""
    return {n: m for n, m in net.named_modules() if isinstance(m, SpikingNeuron)}


def observe(
    net: nn.Module,
    image: Tensor,
    *,
    clean: Tensor | None = None,
    keep: str | None = None,
    edges: Sequence[float] | None = None,
    cutoff: float = CUTOFF,
    longest: int = LONGEST_MAP,
) -> Observation:
    """Run a network once, and look at its neurons.

    Args:
        net: in eval mode, as a rule; it may have no neurons.
        image: shape (1, 3, H, W), RGB in [0, 1].
        clean: the same without its degradation, if known.
        keep: the layer whose input is kept.
        edges: of the ranges of inputs; None counts no activation.
        cutoff: in cycles for each pixel.
        longest: side of a map that is kept.

    Raises:
        OptionError: there is no layer ``keep``.
        DataError: the network cannot be run on such an image, or a layer cannot be looked at.
    """
    names = neurons_of(net)
    if keep is not None and keep not in names:
        raise OptionError(
            f"{type(net).__name__} has no neuron layer {keep!r}{near_names(keep, names)}"
        )
    multiple = getattr(net, "size_multiple", 1)  # to which our networks pad, right and below
    watch = _Watch(image, multiple, clean, keep, edges, cutoff, longest)
    with watch.on(names), torch.no_grad():
        try:
            restored = net(image)
        except (DataError, OptionError):
            raise
        except Exception as error:  # networks fail in as many ways as there are networks
            raise DataError(
                f"{type(net).__name__} cannot be run on an image of {image.shape[3]}x{image.shape[2]} "
                f"({type(error).__name__}: {first_line(error)})"
            ) from error
    kept = None if watch.features is None else keep
    return Observation(restored, tuple(watch.layers), kept, watch.features)


class _Watch:
    """Hooks that measure each layer when it has fired."""

    def __init__(
        self,
        image: Tensor,
        multiple: int,
        clean: Tensor | None,
        keep: str | None,
        edges: Sequence[float] | None,
        cutoff: float,
        longest: int,
    ) -> None:
        self.degradation = None if clean is None else (image - clean).double().square().sum(1)[0]
        self.size = height, width = image.shape[-2:]
        self.padded = height + -height % multiple, width + -width % multiple
        self.keep, self.edges, self.cutoff, self.longest = keep, edges, cutoff, longest
        self.layers: list[LayerActivity] = []
        self.features: Tensor | None = None
        self._calls: dict[str, int] = {}

    @contextlib.contextmanager
    def on(self, neurons: dict[str, SpikingNeuron]) -> Iterator[None]:
        """Measure as long as the block lasts."""
        hooks = [
            n.register_forward_hook(partial(self._measure, name)) for name, n in neurons.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _measure(self, name: str, neuron: nn.Module, inputs: Any, out: Tensor) -> None:
        assert isinstance(neuron, SpikingNeuron)
        x: Tensor = inputs[0]
        if out.dim() != 5:  # neurons behind linear layers have no maps
            return
        call = self._calls[name] = self._calls.get(name, 0) + 1
        if name == self.keep and call == 1:
            self.features = x.detach().clone()
        fired = (out != 0).float().mean((1, 2))  # (T', H', W')
        try:
            placed = at_pixels(neuron, out, x)
        except ValueError:
            placed = None
        marks = counted = None
        if placed is not None:
            marks = indication(x, placed, cutoff=self.cutoff)
            counted = None if self.edges is None else activation(x, placed, self.edges)
        self.layers.append(
            LayerActivity(
                name=name if call == 1 else f"{name}#{call}",
                kind=type(neuron).__name__,
                visual=isinstance(neuron, VLIFNode),
                shape=(out.shape[0], *out.shape[2:]),
                rates=tuple(fired.mean((1, 2)).tolist()),
                maps=_reduced(fired, self.longest).cpu().numpy(),
                indication=marks,
                activation=counted,
                lift_degradation=self._lift(fired.mean(0)),
            )
        )

    def _lift(self, rates: Tensor) -> float | None:
        """Of the degradation where a layer fires; its map is enlarged to what it covers of the image."""
        if self.degradation is None:
            return None
        (height, width), (padded_height, padded_width) = self.size, self.padded
        down, across = -(-padded_height // rates.shape[0]), -(-padded_width // rates.shape[1])
        wide = rates.repeat_interleave(down, 0).repeat_interleave(across, 1)
        return lift(self.degradation, wide[:height, :width])


def _reduced(maps: Tensor, longest: int) -> Tensor:
    """(T', H, W) to at most ``longest`` high and wide, by means over areas."""
    height, width = maps.shape[-2:]
    scale = longest / max(height, width)
    if scale >= 1:
        return maps
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return F.adaptive_avg_pool2d(maps[None], size)[0]
