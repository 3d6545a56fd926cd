"""Put the plugin's classes into BasicSR's registries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
    Registry,
)

from vlif_plugin.archs import ARCHS, BASES
from vlif_plugin.basicsr_host import mends
from vlif_plugin.losses import LOSSES
from vlif_plugin.scoring import METRICS


def register_all() -> None:
    """Mend BasicSR and register networks, losses, datasets, models and metrics under their names.

    May be called any number of times.

    Raises:
        RuntimeError: another package has taken one of the names; both are named.
    """
    mends.apply()
    # these import BasicSR's modules, which must be mended first
    from vlif_plugin.basicsr_host.datasets import DATASETS
    from vlif_plugin.basicsr_host.snn_restoration_model import SNNRestorationModel

    for registry, objects in (
        (ARCH_REGISTRY, ARCHS),
        (LOSS_REGISTRY, LOSSES),
        (DATASET_REGISTRY, DATASETS),
        (MODEL_REGISTRY, {"SNNRestorationModel": SNNRestorationModel}),
        (METRIC_REGISTRY, METRICS),
    ):
        _register(registry, objects)
    BASES["basicsr"] = ARCH_REGISTRY.get


def _register(registry: Registry, objects: Mapping[str, Any]) -> None:
    for name, thing in objects.items():
        present = registry._obj_map.get(name)
        if present is None:
            registry._do_register(name, thing)
        elif present is not thing:
            raise RuntimeError(
                f"BasicSR's {registry._name} registry has a {name} from {present.__module__}; "
                f"the one from {thing.__module__} cannot be added"
            )
