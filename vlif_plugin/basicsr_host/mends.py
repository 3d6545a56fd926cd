"""What BasicSR 1.4.2 gets wrong, mended in memory: nothing on disk is changed.

Each mend replaces one function by one of ours; the list is :data:`MENDS`, which ``vlif doctor``
prints. (The missing torchvision module is mended by :mod:`vlif_plugin._torchvision_alias`.)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from basicsr.data.prefetch_dataloader import PrefetchGenerator
from basicsr.utils.registry import Registry

from vlif_plugin.basicsr_host.loaders import create_train_val_dataloader
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


class _Failed:
    """What a prefetching thread hands over in place of an item that it could not make."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetch_run(self: PrefetchGenerator) -> None:
    """Fill the queue; an error goes to the consumer, who would wait for ever for a thread that died."""
    try:
        for item in self.generator:
            self.queue.put(item)
        self.queue.put(None)
    except BaseException as error:
        self.queue.put(_Failed(error))


def prefetch_next(self: PrefetchGenerator) -> Any:
    """The next item, or the error that the thread met."""
    item = self.queue.get()
    if isinstance(item, _Failed):
        raise item.error
    if item is None:
        raise StopIteration
    return item


_PREFETCH = "basicsr.data.prefetch_dataloader.PrefetchGenerator"
MENDS: tuple[tuple[str, str, Callable[..., Any], str], ...] = (
    (_PREFETCH, "run", prefetch_run, "an error in the prefetching thread ends the run"),
    (_PREFETCH, "__next__", prefetch_next, "the same, where its items are taken"),
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
        "resume without a GPU, from the options' folder, and only the same run",
    ),
    (
        "basicsr.train",
        "create_train_val_dataloader",
        create_train_val_dataloader,
        "a resumed run goes on with exactly the data that it would have had",
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
