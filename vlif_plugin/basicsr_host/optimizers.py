"""Optimisers by name, through timm, and the learning-rate schedules that BasicSR has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from basicsr.models import lr_scheduler
from timm.optim import (  # pyright: ignore[reportPrivateImportUsage]
    get_optimizer_class,  # pyright: ignore[reportPrivateImportUsage]
    list_optimizers,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from torch.optim import Optimizer

from vlif_plugin.building import argument_names, build_from, call_for, check_known
from vlif_plugin.errors import OptionError, near_names

_SCHEDULERS = {
    "MultiStepLR": lr_scheduler.MultiStepRestartLR,
    "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
    "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
}


def build_optimizer(options: Mapping[str, Any], params: Iterable[Tensor]) -> Optimizer:
    """Build an optimiser of PyTorch, by its class's name, or any that timm knows, by timm's name.

    Args:
        options: ``type`` and the optimiser's arguments. Defaults are the class's own; for timm's
            names, those that timm gives them (its ``sgd`` is Nesterov's, PyTorch's ``SGD`` is not).
        params: what to optimise.

    Raises:
        OptionError: an unknown name or argument (near names are shown), or a value that it refuses.
    """
    name = str(options.get("type"))
    own = getattr(torch.optim, name, None)
    if isinstance(own, type) and issubclass(own, Optimizer):
        return build_from(own, {**options, "params": params}, "train: optim_g")
    name = name.lower()
    known = {str(found) for found in list_optimizers()}
    if name not in known:
        raise OptionError(
            f"train: optim_g: no optimiser is called {options.get('type')!r}{near_names(name, known)}"
        )
    # the bound defaults are what makes cadamw of AdamW, and nesterov of SGD
    optimizer = get_optimizer_class(name, bind_defaults=True)
    return build_from(optimizer, {**options, "params": params}, "train: optim_g")


def check_scheduler(options: Mapping[str, Any], optimizer: Optimizer, total_iter: int) -> None:
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
    if name == "CosineAnnealingRestartLR" and not (
        isinstance(periods, list) and periods and all(isinstance(p, (int, float)) for p in periods)
    ):
        raise OptionError(f"train: scheduler: periods must be a list of numbers, got {periods!r}")
    schedule = call_for(
        "train: scheduler",
        _SCHEDULERS[name],
        optimizer,
        **{k: v for k, v in options.items() if k != "type"},
    )
    call_for("train: scheduler", schedule.get_lr)
    if periods is not None and sum(periods) < total_iter:
        raise OptionError(
            f"train: scheduler: the periods add up to {sum(periods)}, but total_iter is {total_iter}"
        )
