"""What BasicSR 1.4.2 gets wrong, mended in memory: nothing on disk is changed.

Each mend replaces one function by one of ours; the list is :data:`MENDS`, which ``vlif doctor``
prints. (The missing torchvision module is mended by :mod:`vlif_plugin._torchvision_alias`.)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from basicsr.utils.registry import Registry

from vlif_plugin.basicsr_host.options import parse_options
from vlif_plugin.basicsr_host.resume import load_resume_state
from vlif_plugin.errors import OptionError, near_names


def registry_get(self: Registry, name: str, suffix: str = "basicsr") -> Any:
    """Look a name up; when it is unknown, name its neighbours instead of "name_basicsr".

    Raises:
        OptionError: no such name.
    """
    found = self._obj_map.get(name, self._obj_map.get(f"{name}_{suffix}"))
    if found is None:
        raise OptionError(
            f"no {self._name} is called {name!r}{near_names(str(name), self.keys())} "
            "(a class of your own must be imported and registered first)"
        )
    return found


MENDS: tuple[tuple[str, str, Callable[..., Any], str], ...] = (
    ("basicsr.utils.registry.Registry", "get", registry_get, "unknown names get a helpful message"),
    (
        "basicsr.utils.options",
        "parse_options",
        parse_options,
        "options are checked before anything is written",
    ),
    (
        "basicsr.train",
        "parse_options",
        parse_options,
        "the same, where the training script uses it",
    ),
    ("basicsr.test", "parse_options", parse_options, "the same, where the test script uses it"),
    (
        "basicsr.train",
        "load_resume_state",
        load_resume_state,
        "resume without a GPU, from the options' folder",
    ),
)
"""Module or class, attribute, replacement, why."""


def apply() -> None:
    """Apply all mends; again and again does no harm."""
    for owner, attribute, replacement, _ in MENDS:
        setattr(_resolve(owner), attribute, replacement)


def _resolve(dotted: str) -> Any:
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(module), name)
