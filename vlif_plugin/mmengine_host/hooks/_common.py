"""What the hooks ask of their options, the runner and its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmengine.structures import BaseDataElement
from numpy.typing import NDArray
from torch import Tensor, nn

from vlif_plugin.errors import OptionError


def whole(name: str, value: object, *, least: int) -> int:
    """An option that is a whole number.

    Raises:
        OptionError: it is none of at least ``least``.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value


def flag(name: str, value: object) -> bool:
    """An option that is on or off.

    Raises:
        OptionError: it is something else.
    """
    if not isinstance(value, bool):
        raise OptionError(f"{name} must be True or False, got {value!r}")
    return value


def network_of(runner: Runner) -> nn.Module:
    """The network inside the model, which DistributedDataParallel may wrap.

    Raises:
        OptionError: the model has none.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    net = getattr(model, "net_g", None)
    if not isinstance(net, nn.Module):
        raise OptionError(
            f"the hook needs a model with a network net_g, {type(model).__name__} has none"
        )
    return net


def iteration_of(runner: Runner) -> int:
    """How many iterations are done; 0 in a run that does not train."""
    # asked for its iteration, a runner builds the loop that it has not needed yet, dataset and all
    return runner.iter if isinstance(runner._train_loop, BaseLoop) else 0


def dataset_name(dataset: Any, otherwise: str) -> str:
    """What a dataset calls itself."""
    metainfo = getattr(dataset, "metainfo", None)
    return str(metainfo.get("name", otherwise)) if isinstance(metainfo, Mapping) else otherwise


def image_of(sample: BaseDataElement, name: str) -> Tensor:
    """An image of a sample by its name, shape (3, H, W), RGB in [0, 1]."""
    return getattr(sample, name)


def bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB to BGR, for OpenCV."""
    return np.ascontiguousarray(image[..., ::-1])
