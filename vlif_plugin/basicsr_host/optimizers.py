"""Optimisers by name, PyTorch's and timm's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from timm.optim import (  # pyright: ignore[reportPrivateImportUsage]
    get_optimizer_class,  # pyright: ignore[reportPrivateImportUsage]
    list_optimizers,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor
from torch.optim import Optimizer

from vlif_plugin.building import build_from
from vlif_plugin.errors import OptionError, near_names


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
