"""The list of neurons, which takes neurons of one's own."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from vlif_plugin.building import build_from, call_for
from vlif_plugin.errors import OptionError, near_names
from vlif_plugin.neurons.base import SpikingNeuron
from vlif_plugin.neurons.lif import ILIFNode, LIFNode, NILIFNode
from vlif_plugin.neurons.vlif import VLIFC, VLIFT, VLIFNode, VLIFPixelNode


class NeuronList(UserDict[str, type[nn.Module]]):
    """Classes of neurons by name: a dictionary that refuses what would be found out late.

    A name stays with its class. A class that was defined again (a cell of a notebook that was run
    again) takes its own place.
    """

    def __setitem__(self, name: str, neuron: Any) -> None:
        """Add a neuron.

        Raises:
            OptionError: it is no class of modules, a SpikingNeuron without a step of its own, or the
                name is taken.
        """
        if not (isinstance(neuron, type) and issubclass(neuron, nn.Module)):
            shown = neuron.__name__ if isinstance(neuron, type) else f"a {type(neuron).__name__}"
            raise OptionError(f"NEURONS[{name!r}]: a class of modules is needed, got {shown}")
        if issubclass(neuron, SpikingNeuron) and neuron.step is SpikingNeuron.step:
            raise OptionError(f"NEURONS[{name!r}]: {neuron.__name__} defines no step")
        present = self.data.get(name, neuron)
        if path_of(present) != path_of(neuron):
            raise OptionError(
                f"NEURONS[{name!r}]: the name is taken by {path_of(present)}; {path_of(neuron)} needs another"
            )
        self.data[name] = neuron


def path_of(kind: type) -> str:
    """Where a class was defined."""
    return f"{kind.__module__}.{kind.__qualname__}"


NEURONS = NeuronList(
    {
        "LIFNode": LIFNode,
        "ILIFNode": ILIFNode,
        "NILIFNode": NILIFNode,
        "VLIFNode": VLIFNode,
        "VLIFPixelNode": VLIFPixelNode,
        "VLIFC": VLIFC,
        "VLIFT": VLIFT,
    }
)
"""The one list of neurons that hosts loop over; ``NEURONS["MyNode"] = MyNode`` adds one."""


def neuron_class(
    options: str | Mapping[str, Any],
    section: str = "neuron",
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> type[nn.Module]:
    """The class that a section of an option file asks for.

    Args:
        options: ``{'type': name, **arguments}``, or a name alone.
        section: what to call it in an error.
        aliases: other names for some of ``NEURONS``.

    Raises:
        OptionError: an unknown name; near names are shown.
    """
    name = options.get("type") if isinstance(options, Mapping) else options
    found = NEURONS.get(aliases.get(name, name)) if isinstance(name, str) else None
    if found is None:
        shown = str(name)[:100]
        near = near_names(shown, {*NEURONS, *aliases})
        raise OptionError(f"{section}: no neuron is called {shown!r}{near}")
    return found


def build_neuron(options: str | Mapping[str, Any], section: str = "neuron") -> nn.Module:
    """Build a neuron of ``NEURONS`` from a section of an option file.

    Args:
        options: ``{'type': name, **arguments}``, or a name alone.
        section: what to call it in an error.

    Raises:
        OptionError: an unknown name or argument (near names are shown), or a value that it refuses.
    """
    arguments = options if isinstance(options, Mapping) else {}
    return build_from(neuron_class(options, section), arguments, section)


def build_activation(
    options: str | Mapping[str, Any], section: str = "neuron", kinds: Sequence[str] = ()
) -> SpikingNeuron:
    """Build a neuron of ``NEURONS`` that can stand where an activation does: it keeps the shape.

    Args:
        options: as for :func:`build_neuron`.
        section: what to call it in an error.
        kinds: other names that the section may have, for the error.

    Raises:
        OptionError: as for :func:`build_neuron`, or it is no SpikingNeuron, does not keep the shape,
            or cannot be run.
    """
    name = options.get("type") if isinstance(options, Mapping) else options
    if kinds and (not isinstance(name, str) or name not in NEURONS):
        shown = str(name)[:100]
        raise OptionError(
            f"{section} must be one of {', '.join(kinds)}, or the name of a neuron in NEURONS, got {shown!r}"
            f"{near_names(shown, {*kinds, *NEURONS})}"
        )
    neuron = build_neuron(options, section)
    if not isinstance(neuron, SpikingNeuron):
        raise OptionError(f"{section}: {name} is no SpikingNeuron")
    x_seq = torch.zeros(2, 1, 1, 2 * neuron.r, 2 * neuron.r)
    with torch.no_grad():
        shape = call_for(section, neuron, x_seq).shape
    if shape != x_seq.shape:
        raise OptionError(
            f"{section}: a neuron is needed that keeps the shape, {name} makes {tuple(shape)} "
            f"of {tuple(x_seq.shape)}"
        )
    return neuron
