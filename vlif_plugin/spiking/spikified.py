"""Spiking forms of other networks: neurons take the place of activations, and time is added."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from vlif_plugin.errors import OptionError, first_names
from vlif_plugin.layers import crop, in_eval_mode, pad_to_multiple
from vlif_plugin.spiking.activation import InTurn, SpikingActivation
from vlif_plugin.spiking.choosing import Types, choose, put
from vlif_plugin.spiking.fitting import batch_statistics, fit_layer
from vlif_plugin.spiking.making import Neuron, event_of, make_neuron, patch_of
from vlif_plugin.spiking.norms import Norm, check_norm, make_norm
from vlif_plugin.spiking.pending import PendingActivation
from vlif_plugin.spiking.trial import Picture, Use, picture, run, uses_of

SAMPLE = (3, 64, 64)
_FROM_REST = (
    "take a neuron of NEURONS, or a module that resets this one and runs it over all timesteps"
)


class Spikified(nn.Module):
    """A network whose activations are neurons: the image is presented T times, the results averaged.

    Layers see all timesteps as one batch of T*B images, T outermost; neurons unfold it. The network
    is tried once on a picture, which tells the channels, sizes and order of the activations.

    Args:
        base: the network; it is changed. :func:`spikify` leaves it alone.
        neuron: what takes the activations' place; see :data:`~vlif_plugin.spiking.Neuron`. None where
            all of them are :func:`~vlif_plugin.spiking.spiking_act` already.
        T: timesteps.
        types: see :func:`~vlif_plugin.spiking.choosing.choose`.
        names: see there.
        positions: see there.
        norm: before each neuron; see :data:`~vlif_plugin.spiking.Norm`.
        drive: deviation of what a normalisation of ours gives a neuron at first, in units of one event.
        size_multiple: images are padded to multiples of it; None takes what the neurons need.
        sample: channels, height and width of the picture that the network is tried on.

    Attributes:
        spiking: the neurons' layers by their path in ``base``, in its order.

    Shape:
        (B, C, H, W) to what ``base`` makes of it, a tensor or a nest of them, averaged over time. Images of
        the padded size, or a multiple of it, are cropped.

    Raises:
        OptionError: there is nothing to replace, or a place that the neuron does not fit; names it.
    """

    def __init__(
        self,
        base: nn.Module,
        neuron: Neuron | None = None,
        *,
        T: int = 4,
        types: str | Types | None = None,
        names: str | Sequence[str] | None = None,
        positions: int | Sequence[int] | None = None,
        norm: Norm = "auto",
        drive: float = 1.0,
        size_multiple: int | None = None,
        sample: Picture = SAMPLE,
    ) -> None:
        super().__init__()
        _check_numbers(T, drive, size_multiple)
        check_norm(norm)
        self.base = base
        self.T = T
        self.sample = tuple(sample)
        if hasattr(base, "live_tensors"):  # what tiles are planned by
            self.live_tensors = base.live_tensors
        found = choose(self, types=types, names=names, positions=positions)
        wanted = {path: _wanted(module, neuron, path) for path, module in found.items()}
        before = base.state_dict().keys()
        self.replaced = self._replace(found, wanted, norm, drive)
        after = self.base.state_dict().keys()
        self._gone, self._new = before - after, after - before
        if size_multiple is not None:
            self.size_multiple = size_multiple
        self.fit()

    def _replace(
        self, found: Mapping[str, nn.Module], wanted: Mapping[str, Neuron], norm: Norm, drive: float
    ) -> tuple[str, ...]:
        """Put neurons where activations run; returns the paths."""
        for path, module in found.items():
            if isinstance(module, PendingActivation):
                put(self, path, nn.ReLU())
        standing = {path: self.get_submodule(f"base.{path}".rstrip(".")) for path in found}
        image = picture(self.sample, self.base)
        uses, out = uses_of(self.base, standing, image)
        uses = {path: calls for path, calls in uses.items() if calls}
        if not uses:
            raise OptionError(
                f"nothing to replace: {first_names(list(found), 3)} did not run when the network was tried"
            )
        multiples = [1]
        for path, calls in uses.items():
            layers = []
            for turn, use in enumerate(calls):
                name = path or "the network"
                name += f", use {turn + 1} of {len(calls)}" if len(calls) > 1 else ""
                layers.append(self._layer(use, wanted[path], norm, drive, name))
                multiples.append(_multiple(use, layers[-1].multiple, image))
            put(self, path, layers[0] if len(layers) == 1 else InTurn(layers))
        self.size_multiple = math.lcm(*multiples)
        self.scale = _scale(out, image)
        return tuple(uses)

    def _layer(
        self, use: Use, wanted: Neuron, norm: Norm, drive: float, name: str
    ) -> SpikingActivation:
        if use.shape != use.out_shape and not use.gate:
            raise OptionError(
                f"{name}: is no activation: it makes {use.out_shape} of {use.shape}, and neurons keep the shape"
            )
        if len(use.shape) > 4:
            raise OptionError(f"{name}: gets {use.shape}; neurons take images, tokens and vectors")
        channels = use.channels // 2 if use.gate else use.channels
        neuron = make_neuron(wanted, channels=channels, T=self.T)
        made = SpikingActivation(
            neuron,
            make_norm(norm, channels, deviation=drive * event_of(neuron), normed=use.normed),
            T=self.T,
            channels_last=use.channels_last,
            gate=use.gate,
            multiple=patch_of(neuron),
            name=name,
        )
        weight = next(self.base.parameters(), torch.zeros(()))
        made.to(weight.device, weight.dtype if weight.is_floating_point() else None)
        _check_fits(made, use, channels)
        return made

    @property
    def spiking(self) -> dict[str, SpikingActivation | InTurn]:
        """The neurons' layers by their path in ``base``."""
        return {path: self.get_submodule(f"base.{path}".rstrip(".")) for path in self.replaced}  # pyright: ignore[reportReturnType]

    def fit(self) -> None:
        """Set gains and normalisations to what the base's weights make of a picture.

        The network runs with ReLUs in place of its neurons; each gain becomes what makes the spikes of a
        normally distributed input as large, in root mean square, as ReLU's output is there.
        """
        hooks = [
            layer.register_forward_hook(fit_layer)
            for layer in self.base.modules()
            if isinstance(layer, SpikingActivation)
        ]
        try:
            self._take_turns(0)
            images = pad_to_multiple(picture(self.sample, self.base, 2), self.size_multiple)
            with batch_statistics(self.base):
                out = run(self.base, images.repeat(self.T, 1, 1, 1))
        finally:
            self._take_turns(None)
            for hook in hooks:
                hook.remove()
        tree_map(partial(_mean_over_time, T=self.T), out)

    def forward(self, x: Tensor) -> Any:
        """Run the network T times, and average; see the class for shapes."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.size_multiple)
        folded = padded.expand(self.T, *padded.shape).flatten(0, 1)
        self._take_turns(0)
        try:
            out = tree_map(partial(_mean_over_time, T=self.T), self.base(folded))
        finally:
            self._take_turns(None)
        if self.scale is None:
            return out
        return crop(out, height * self.scale, width * self.scale)

    def _take_turns(self, turn: int | None) -> None:
        for module in self.base.modules():
            if isinstance(module, InTurn):
                module.turn = turn

    def checkpoint_filter(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of ours as they are; those of the base without neurons under our names.

        The neurons' layers then are what they would have been, had they been made of these weights.
        """
        ours = self.state_dict()
        if not state.keys().isdisjoint(ours):
            return dict(state)
        base = getattr(self.base, "checkpoint_filter", dict)(state)
        given = {f"base.{key}": value for key, value in base.items() if key not in self._gone}
        given |= {f"base.{key}": ours[f"base.{key}"] for key in self._new}
        if given.keys() != ours.keys() or any(given[k].shape != v.shape for k, v in ours.items()):
            return given  # whoever loads it says what does not fit
        twin = copy.deepcopy(self)
        twin.load_state_dict(given)
        twin.fit()
        return twin.state_dict()

    def extra_repr(self) -> str:
        """Show T, and what images are padded to."""
        return f"T={self.T}, size_multiple={self.size_multiple}"


def spikify(
    net: nn.Module,
    neuron: Neuron | None = None,
    *,
    T: int = 4,
    types: str | Types | None = None,
    names: str | Sequence[str] | None = None,
    positions: int | Sequence[int] | None = None,
    norm: Norm = "auto",
    drive: float = 1.0,
    size_multiple: int | None = None,
    sample: Picture = SAMPLE,
) -> Spikified:
    """A spiking form of any network: neurons take the place of its activations.

    Args:
        net: the network; it is copied.
        neuron: such as ``"LIFNode"`` or ``{"type": "VLIFPixelNode", "r": 2, "D": 4}``.
        T: timesteps.
        types: classes of activations, or their names; the usual ones by default.
        names: patterns of paths, such as ``body.*.relu``; those that begin with ! take away.
        positions: which of them, counted from 0.
        norm: ``auto``, ``tdbn``, ``affine`` or ``none``, before each neuron.
        drive: deviation of what the neurons are given at first, in events.
        size_multiple: images are padded to multiples of it; by default to what the neurons need.
        sample: channels, height and width of the picture that the network is tried on.

    Raises:
        OptionError: there is nothing to replace, or a place that the neuron does not fit; names it.
    """
    return Spikified(
        copy.deepcopy(net), neuron, T=T, types=types, names=names, positions=positions, norm=norm,
        drive=drive, size_multiple=size_multiple, sample=sample,
    )  # fmt: skip


def _check_numbers(T: int, drive: float, size_multiple: int | None) -> None:
    for name, value in (("T", T), ("size_multiple", size_multiple)):
        if value is None and name == "size_multiple":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise OptionError(f"{name} must be a whole number of at least 1, got {value!r}")
    if isinstance(drive, (str, bool)) or not math.isfinite(drive) or drive <= 0:
        raise OptionError(f"drive must be a number above 0, got {drive!r}")


def _wanted(module: nn.Module, neuron: Neuron | None, path: str) -> Neuron:
    if isinstance(module, PendingActivation):
        return module.wanted[0]
    if neuron is None:
        raise OptionError(f"neuron is missing: it takes the place of {path or 'the network'}")
    return neuron


def _check_fits(layer: SpikingActivation, use: Use, channels: int) -> None:
    """Refuse a neuron that is none of whole sequences from rest or changes the shape, and maps without patches."""
    kind, r = type(layer.neuron).__name__, layer.multiple
    height, width = use.size
    if r > 1 and 1 in (height, width):
        what = "tokens" if len(use.shape) == 3 else f"maps of {height}x{width}"
        raise OptionError(
            f"{layer.name}: gets {what}, and {kind} with r={r} needs maps whose height and width r divides; take a "
            "neuron that sees one pixel, such as LIFNode or NILIFNode, or leave this layer out (names)"
        )
    if getattr(layer.neuron, "step_mode", "m") == "s":  # SpikingJelly's
        raise OptionError(
            f"{layer.name}: {kind} takes one timestep a call (step_mode='s'), and is given all at once; "
            f"{_FROM_REST}"
        )
    at = next(layer.parameters(), layer.gain)
    steady = torch.linspace(0.1, 2, 8, device=at.device, dtype=at.dtype) * event_of(layer.neuron)
    given = steady[:, None, None, None].expand(layer.T, -1, channels, r, r).contiguous()
    with torch.no_grad(), in_eval_mode(layer.neuron):
        out = layer.neuron(given)
        again = layer.neuron(given)
    if not isinstance(out, Tensor) or out.shape != given.shape:
        made = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        hint = "VLIFPixelNode" if kind == "VLIFNode" else "another neuron"
        raise OptionError(
            f"{layer.name}: {kind} makes {made} of {tuple(given.shape)}, and an activation keeps the shape; "
            f"take {hint}"
        )
    if not torch.equal(out, again):
        raise OptionError(
            f"{layer.name}: {kind} keeps state between calls, so that an image's result hangs on the image before; "
            f"{_FROM_REST}"
        )


def _multiple(use: Use, patch: int, image: Tensor) -> int:
    """Of which an image's sides must be multiples for a layer's maps to be multiples of ``patch``."""
    if patch == 1:
        return 1
    factors = [
        Fraction(side * patch, reached)
        for side, reached in zip(image.shape[-2:], use.size, strict=True)
    ]
    return math.lcm(*(f.numerator for f in factors))


def _scale(out: Any, image: Tensor) -> int | None:
    """How much larger than the image the result is; None if it is none."""
    if not isinstance(out, Tensor) or out.dim() != 4:
        return None
    height, width = image.shape[-2:]
    scale = out.shape[-2] // height
    return scale if scale > 0 and out.shape[-2:] == (height * scale, width * scale) else None


def _mean_over_time(y: Any, *, T: int) -> Any:
    if not isinstance(y, Tensor):
        return y
    if y.dim() == 0 or y.shape[0] % T:
        raise OptionError(
            f"the network makes {tuple(y.shape)} of a batch, which has no image of each of T={T} timesteps"
        )
    return y.unflatten(0, (T, -1)).mean(0)
