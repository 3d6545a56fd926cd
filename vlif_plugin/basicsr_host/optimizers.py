"""Optimisers by name, through timm, and the learning-rate schedules that BasicSR has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from basicsr.models import lr_scheduler
from timm.optim import (  # pyright: ignore[reportPrivateImportUsage]
    get_optimizer_class,  # pyright: ignore[reportPrivateImportUsage]
    list_optimizers,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from torch.optim import Optimizer

from vlif_plugin.building import argument_names, build_from, check_known
from vlif_plugin.errors import OptionError, near_names

_SCHEDULERS = {
    "MultiStepLR": lr_scheduler.MultiStepRestartLR,
    "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
    "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
}


def build_optimizer(options: Mapping[str, Any], params: Iterable[Tensor]) -> Optimizer:
    """Build any optimiser that timm knows, PyTorch's among them.

    Args:
        options: ``type``, its class's or timm's name in any case, and its arguments. Defaults are
            the class's own.
        params: what to optimise.

    Raises:
        OptionError: an unknown name or argument (near names are shown), or a value that it refuses.
    """
    name = str(options.get("type")).lower()
    known = {str(found) for found in list_optimizers()}
    if name not in known:
        raise OptionError(
            f"train: optim_g: no optimiser is called {options.get('type')!r}{near_names(name, known)}"
        )
    optimizer = get_optimizer_class(name, bind_defaults=False)
    return build_from(optimizer, {**options, "params": params}, "train: optim_g")


def check_scheduler(options: Mapping[str, Any], total_iter: int) -> None:
    """Refuse a schedule that BasicSR does not have, or that ends before the training does.

    Raises:
        OptionError: an unknown name or argument, or periods that are too short.
    """
    name = options.get("type")
    if name not in _SCHEDULERS:
        raise OptionError(
            f"train: scheduler: no schedule is called {name!r}{near_names(str(name), _SCHEDULERS)}"
        )
    known = argument_names(_SCHEDULERS[name]) - {"optimizer", "last_epoch"}
    check_known(f"train: scheduler: {name}", [k for k in options if k != "type"], known)
    periods = options.get("periods")
    if periods is not None and not (
        isinstance(periods, list) and all(isinstance(p, (int, float)) for p in periods)
    ):
        raise OptionError(f"train: scheduler: periods must be a list of numbers, got {periods!r}")
    if periods is not None and sum(periods) < total_iter:
        raise OptionError(
            f"train: scheduler: the periods add up to {sum(periods)}, but total_iter is {total_iter}"
        )
