"""Which activations of a network neurons replace."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from vlif_plugin.errors import OptionError, first_names, near_names
from vlif_plugin.neurons import SpikingNeuron
from vlif_plugin.spiking.activation import InTurn, SpikingActivation
from vlif_plugin.spiking.pending import PendingActivation

ACTIVATIONS: tuple[str, ...] = (
    "CELU", "ELU", "GELU", "GELUTanh", "HardSwish", "Hardswish", "LeakyReLU", "Mish", "PReLU",
    "QuickGELU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Softplus", "Swish",
)  # fmt: skip
"""Classes of activations that are replaced without being named: pointwise, and no gates such as
sigmoids. Classes that are derived from them are, too."""

GATES = ("SimpleGate", "GLU")
"""Classes that multiply two halves; one of them fires where they are named."""

Types = Sequence[str | type[nn.Module]]


def choose(
    holder: nn.Module,
    *,
    types: str | Types | None = None,
    names: str | Sequence[str] | None = None,
    positions: int | Sequence[int] | None = None,
) -> dict[str, nn.Module]:
    """The activations of ``holder.base`` by their path in it, in its order.

    One that stands at several paths is copied, so that each path has its own.

    Args:
        holder: a module whose child ``base`` is the network.
        types: classes, or their names; :data:`ACTIVATIONS` by default.
        names: patterns of paths, as :mod:`fnmatch` has them; those that begin with ! take away.
        positions: of those that are left, which; from 0, negative ones from the end.

    Raises:
        OptionError: nothing is left, or a pattern or a position is beside the network.
    """
    wanted = _names_of(ACTIVATIONS if types is None else types)
    modules = _modules(holder)
    found = {path: module for path, module in modules.items() if _is_one_of(module, wanted)}
    if not found:
        raise OptionError(f"nothing to replace: {_what_there_is(holder, wanted)}")
    if names is not None:
        kept = _matching(found, [names] if isinstance(names, str) else names, modules)
        found = {path: module for path, module in found.items() if path in kept}
    if positions is not None:
        chosen = [positions] if isinstance(positions, int) else list(positions)
        wrong = [n for n in chosen if not isinstance(n, int) or not -len(found) <= n < len(found)]
        if wrong:
            raise OptionError(
                f"positions: {wrong[0]} is not one of {len(found)} activations, 0 to {len(found) - 1}"
            )
        paths = list(found)
        found = {path: found[path] for path in sorted({paths[n] for n in chosen}, key=paths.index)}
    return _apart(holder, found)


def put(holder: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a path of ``holder.base``."""
    parent, _, name = f"base.{path}".removesuffix(".").rpartition(".")
    setattr(holder.get_submodule(parent), name, module)


def _modules(holder: nn.Module) -> dict[str, nn.Module]:
    """Every module by its path in ``base``; what is within neurons that are there already is left out.

    Blocks that stand at several paths are one, and so are their activations.
    """
    modules: dict[str, nn.Module] = {}
    seen: set[tuple[int, str]] = set()
    spiking: tuple[str, ...] = ()
    for path, module in holder.named_modules(remove_duplicate=False):
        parent, _, name = path.rpartition(".")
        place = id(holder.get_submodule(parent)), name
        if not path or place in seen or path.startswith(spiking):
            continue
        seen.add(place)
        modules[path.removeprefix("base").removeprefix(".")] = module
        if isinstance(module, (SpikingActivation, InTurn, SpikingNeuron)):
            spiking += (f"{path}.",)
    return modules


def _names_of(types: str | Types) -> set[str]:
    given = [types] if isinstance(types, (str, type)) else types
    return {t if isinstance(t, str) else t.__name__ for t in given}


def _is_one_of(module: nn.Module, wanted: set[str]) -> bool:
    if isinstance(module, PendingActivation):
        return True
    return any(kind.__name__ in wanted for kind in type(module).__mro__)


def _what_there_is(holder: nn.Module, wanted: set[str]) -> str:
    kinds = Counter(
        type(module).__name__ for module in _modules(holder).values() if not any(module.children())
    )
    there = first_names([f"{count} {kind}" for kind, count in kinds.most_common()], 12)
    gates = [kind for kind in GATES if kind in kinds and kind not in wanted]
    hint = (
        f"; {gates[0]} multiplies two halves, and types: [{gates[0]}] lets one of them fire"
        if gates
        else "; activations that are functions, such as F.relu, cannot be seen: make them modules"
    )
    name = type(holder.get_submodule("base")).__name__
    return f"{name} has no {first_names(sorted(wanted), 3)} (it has {there or 'no modules'}){hint}"


def _matching(
    found: dict[str, nn.Module], patterns: Sequence[str], modules: dict[str, nn.Module]
) -> set[str]:
    adding = [pattern for pattern in patterns if not pattern.startswith("!")]
    kept: set[str] = set() if adding else set(found)
    for pattern in adding:
        matched = {path for path in found if fnmatchcase(path, pattern)}
        if not matched:
            others = [p for p in modules if p and fnmatchcase(p, pattern)]
            shown = [f"{p} ({type(modules[p]).__name__})" for p in others]
            raise OptionError(
                f"names: {pattern!r} matches none of {len(found)} activations"
                + (
                    f", but {first_names(shown, 3)}; name the class too (types)"
                    if shown
                    else near_names(pattern, found) or f", which are {first_names(list(found), 4)}"
                )
            )
        kept |= matched
    taken = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    kept = {path for path in kept if not any(fnmatchcase(path, p) for p in taken)}
    if not kept:
        raise OptionError(f"names: {list(patterns)} leave none of {len(found)} activations")
    return kept


def _apart(holder: nn.Module, found: dict[str, nn.Module]) -> dict[str, nn.Module]:
    seen: set[int] = set()
    apart = {}
    for path, module in found.items():
        if id(module) in seen:
            module = copy.deepcopy(module)
            put(holder, path, module)
        seen.add(id(module))
        apart[path] = module
    return apart
