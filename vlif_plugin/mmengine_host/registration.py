"""Put the plugin's classes into its registries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from vlif_plugin import registry
from vlif_plugin.archs import ARCHS, BASES
from vlif_plugin.blocks import BLOCKS, SpikingConfig
from vlif_plugin.building import build_from
from vlif_plugin.data import DATASETS
from vlif_plugin.layers import ATTENTION
from vlif_plugin.losses import LOSSES
from vlif_plugin.mmengine_host import mends
from vlif_plugin.mmengine_host.hooks import HOOKS
from vlif_plugin.mmengine_host.metrics import METRICS
from vlif_plugin.mmengine_host.preprocessor import RestorationPreprocessor
from vlif_plugin.mmengine_host.restoration_hook import RestorationHook
from vlif_plugin.mmengine_host.restoration_model import SNNRestorationModel
from vlif_plugin.neurons import NEURONS, path_of


def _build_block(name: str, **arguments: Any) -> nn.Module:
    """A block; ``config``, which its blocks share, is a section in a config file."""
    config = arguments.get("config")
    if isinstance(config, Mapping):
        arguments["config"] = build_from(SpikingConfig, config, f"{name}: config")
    return build_from(BLOCKS[name], arguments, name)


_BLOCKS = {name: functools.partial(_build_block, name) for name in BLOCKS}


def register_all() -> None:
    """Mend mmengine and register everything under its name, in the scope ``vlif_plugin``.

    May be called any number of times. What is added to a list later (``ARCHS["MyNet"] = MyNet``) is
    found too: registries look the lists through again.

    Raises:
        RuntimeError: something else has taken one of the names; both are named.
    """
    mends.apply()
    _fill()
    if _fill not in registry.PluginRegistry.fillers:
        registry.PluginRegistry.fillers.append(_fill)


def _fill() -> None:
    models = {
        "SNNRestorationModel": SNNRestorationModel,
        "RestorationPreprocessor": RestorationPreprocessor,
    }
    for objects in (ARCHS, _BLOCKS, NEURONS, ATTENTION, LOSSES, models):
        _register(registry.MODELS, objects)
    for kind, objects in (
        (registry.DATASETS, DATASETS),
        (registry.METRICS, METRICS),
        (registry.HOOKS, {**HOOKS, "RestorationHook": RestorationHook}),
    ):
        _register(kind, objects)
    BASES["mmengine"] = registry.MODELS.get


def _register(kind: registry.PluginRegistry, objects: Mapping[str, Callable[..., Any]]) -> None:
    for name, thing in objects.items():
        present = kind.module_dict.get(name)
        again = (
            isinstance(thing, type)
            and isinstance(present, type)
            and path_of(present) == path_of(thing)
        )
        if present is None or (present is not thing and again):
            kind.register_module(name=name, module=thing, force=again)  # pyright: ignore[reportArgumentType]
        elif present is not thing:
            raise RuntimeError(
                f"the {kind.name} registry of vlif_plugin has a {name} from {present.__module__}; "
                f"the one from {thing.__module__} cannot be added"
            )
