"""Neurons by name, by section of an option file, by example or by function."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from vlif_plugin.building import argument_names, build_from
from vlif_plugin.errors import OptionError
from vlif_plugin.neurons import neuron_class

Neuron = str | Mapping[str, Any] | nn.Module | Callable[..., nn.Module]
"""A name, ``{type: name, **arguments}``, a neuron to copy, or a class or function that makes one."""

SHORT_NAMES = {
    "LIF": "LIFNode",
    "ILIF": "ILIFNode",
    "NILIF": "NILIFNode",
    "VLIF": "VLIFPixelNode",  # VLIFNode does not keep the shape
}
"""What papers call neurons, and which of ``NEURONS`` it is where an activation stood."""


def make_neuron(neuron: Neuron, *, channels: int, T: int) -> nn.Module:
    """A neuron of its own for one place.

    A class or function that has arguments ``channels`` or ``T`` is given them where they are not
    given already, and ``full_size=True`` likewise: VLIF-C and VLIF-T keep the shape only so.

    Args:
        neuron: see :data:`Neuron`; names are looked up now, so that a user's own are found.
        channels: C of the place.
        T: timesteps.

    Raises:
        OptionError: there is no such neuron, or it refuses its arguments.
    """
    if isinstance(neuron, nn.Module):
        return copy.deepcopy(neuron)
    made, options = neuron, {}
    if isinstance(neuron, (str, Mapping)):
        made = neuron_class(neuron, aliases=SHORT_NAMES)
        options = dict(neuron) if isinstance(neuron, Mapping) else {}
    if not callable(made):
        raise OptionError(
            f"neuron must be a name, a section with a type, or what makes a neuron, got {neuron!r}"
        )
    fitting = {"channels": channels, "T": T, "full_size": True}
    known = argument_names(made)
    built = build_from(made, {k: v for k, v in fitting.items() if k in known} | options, "neuron")
    if not isinstance(built, nn.Module):
        raise OptionError(f"neuron: {neuron!r} makes {type(built).__name__}, which is no module")
    return built


def event_of(neuron: nn.Module) -> float:
    """The potential that one event takes: a LIF neuron's threshold, 1 of neurons that count."""
    for module in neuron.modules():
        threshold = getattr(module, "v_threshold", None)
        if threshold is not None:
            return float(threshold)
    return 1.0


def patch_of(neuron: nn.Module) -> int:
    """What must divide the height and width of a neuron's maps: r of VLIF, 1 of others."""
    return max(r for m in neuron.modules() if isinstance(r := getattr(m, "r", 1), int))
