"""Other networks with neurons in place of their activations, out of one section of an option file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from vlif_plugin.building import build_from
from vlif_plugin.errors import OptionError, near_names
from vlif_plugin.spiking import Norm
from vlif_plugin.spiking import Spikified as SpikifiedModule
from vlif_plugin.spiking.spikified import SAMPLE

Lookup = Callable[[str], Callable[..., nn.Module] | None]

BASES: dict[str, Lookup] = {}
"""Where bases are looked up that are not in ``ARCHS``, by the toolbox's name: each gives the class of a name,
or None. A toolbox that the plugin runs in adds its registry."""


class Spikified(SpikifiedModule):
    """:func:`~vlif_plugin.spiking.spikify` of a network that is named: a base, a neuron, T timesteps.

    Args:
        base: ``{type: name, **arguments}`` of ``ARCHS``, or of the toolbox that this runs in.
        neuron: a name, or ``{type: name, **arguments}``.
        T: see :class:`vlif_plugin.spiking.Spikified`, as for all that follows.
        types: see there.
        names: see there.
        positions: see there.
        norm: see there.
        drive: see there.
        size_multiple: see there.
        sample: see there.

    Shape:
        That of the base.

    Raises:
        OptionError: there is no such base, nothing in it to replace, or a place that the neuron does not fit.
    """

    def __init__(
        self,
        *,
        base: Mapping[str, Any],
        neuron: str | Mapping[str, Any],
        T: int = 4,
        types: str | Sequence[str] | None = None,
        names: str | Sequence[str] | None = None,
        positions: int | Sequence[int] | None = None,
        norm: Norm = "auto",
        drive: float = 1.0,
        size_multiple: int | None = None,
        sample: Sequence[int] = SAMPLE,
    ) -> None:
        super().__init__(
            _build_base(base), neuron, T=T, types=types, names=names, positions=positions, norm=norm,
            drive=drive, size_multiple=size_multiple, sample=sample,
        )  # fmt: skip


def _build_base(options: Mapping[str, Any]) -> nn.Module:
    if not isinstance(options, Mapping) or not isinstance(options.get("type"), str):
        raise OptionError(f"base must be a section with a type, got {str(options)[:100]!r}")
    return build_from(_find(options["type"]), options, "base")


def _find(name: str) -> Callable[..., nn.Module]:
    from vlif_plugin.archs import ARCHS  # which this is an entry of

    if name in ARCHS:
        return ARCHS[name]
    refused = None
    for lookup in BASES.values():
        try:
            found = lookup(name)
        except OptionError as error:  # with names that are near
            refused = error
        else:
            if found is not None:
                return found
    if refused is not None:
        raise OptionError(f"base: {refused}") from refused
    raise OptionError(f"base: no network is called {name[:100]!r}{near_names(name[:100], ARCHS)}")
