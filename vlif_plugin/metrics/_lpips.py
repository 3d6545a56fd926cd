"""LPIPS: how far two images are apart in the features of a network that recognises images.

R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, "The Unreasonable Effectiveness of Deep
Features as a Perceptual Metric", CVPR 2018, computed by the authors' package ``lpips``, version 0.1
of the metric. That package has the weights of its linear layers, and torchvision those of the
networks below them, which it fetches where nobody has put them in its cache.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vlif_plugin.errors import CheckpointError, DataError, OptionError, first_line, first_names
from vlif_plugin.metrics._mscn import Pixels

# torchvision's name of the weights, and the smallest side that the network's poolings leave a pixel of
_BACKBONES = {
    "alex": ("AlexNet_Weights", 31),
    "vgg": ("VGG16_Weights", 16),
    "squeeze": ("SqueezeNet1_1_Weights", 17),
}


def lpips(
    result: Pixels,
    target: Pixels,
    backbone: str = "alex",
    weights: str | os.PathLike[str] | None = None,
) -> float:
    """LPIPS of two images as they are saved; lower is better.

    Runs on the GPU where there is one. The network is built once in a process.

    Args:
        result: RGB, uint8, shape (H, W, 3).
        target: of the same form.
        backbone: the network, ``alex``, ``vgg`` or ``squeeze``.
        weights: a file of torchvision's weights for it; None takes them from torch hub's cache,
            or lets torchvision fetch them.

    Returns:
        0 for equal images, about 1 for unrelated ones.

    Raises:
        OptionError: an unknown network, or its weights cannot be had.
        CheckpointError: the file holds something else.
        DataError: the images are too small, or differ in size.
    """
    if backbone not in tuple(_BACKBONES):  # a tuple, as an option file may hand over a list
        raise OptionError(f"backbone must be {', '.join(_BACKBONES)}, got {backbone!r}")
    smallest = _BACKBONES[backbone][1]
    if result.shape != target.shape or min(result.shape[:2]) < smallest:
        raise DataError(
            f"lpips with {backbone} needs two images of one size, at least {smallest}x{smallest} "
            f"pixels, got {result.shape} and {target.shape}"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = _network(backbone, None if weights is None else os.fspath(weights), device)
    with torch.no_grad():
        return network(*(_tensor(image).to(device) for image in (result, target))).item()


def _tensor(image: Pixels) -> Tensor:
    """An image as the networks take it: shape (1, 3, H, W), values in [-1, 1]."""
    return torch.from_numpy(image / 127.5 - 1).float().permute(2, 0, 1)[None]


@cache
def _network(backbone: str, weights: str | None, device: str) -> nn.Module:
    from lpips import LPIPS

    path = _cached(backbone) if weights is None else weights
    state = _read(backbone, path)
    # random weights are drawn and then replaced, which must not change a training's draws; lpips
    # names torchvision's arguments as they were called of old
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = LPIPS(net=backbone, version="0.1", pnet_rand=True, verbose=False)
    own = network.net.state_dict()
    # lpips cuts torchvision's features into slices: slice2.3.weight was features.3.weight
    given: dict[str, Any] = {name: state.get(f"features.{name.partition('.')[2]}") for name in own}
    wrong = [
        name.partition(".")[2]
        for name, tensor in given.items()
        if not isinstance(tensor, Tensor) or tensor.shape != own[name].shape
    ]
    if wrong:
        raise CheckpointError(
            f"{path}: not torchvision's {_weights(backbone)}: missing or of another shape are "
            f"features {first_names(wrong)}"
        )
    network.net.load_state_dict(given)
    return network.eval().to(device)


def _weights(backbone: str) -> Any:
    """Torchvision's entry for the weights; its ``url`` says where they are."""
    from torchvision import models

    return getattr(models, _BACKBONES[backbone][0]).IMAGENET1K_V1


def _cached(backbone: str) -> str:
    """The file of weights in torch hub's cache, fetched from torchvision's server if need be."""
    entry = _weights(backbone)
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    name = os.path.basename(entry.url)
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        try:
            entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except Exception as error:  # no network, a damaged download, a full disk
            raise OptionError(
                f"lpips needs {name}, which {folder} does not have and which could not be fetched "
                f"from {entry.url} ({first_line(error)}); weights: can name a local copy"
            ) from error
    return path


def _read(backbone: str, path: str) -> Mapping[str, Any]:
    if not os.path.isfile(path):
        raise OptionError(
            f"weights: {path}: no such file; it can be had at {_weights(backbone).url}"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, because reading it would run code or it holds no weights"
        ) from error
    except Exception as error:  # torch raises many kinds on damaged files
        what = f"{type(error).__name__}: {first_line(error)}"
        raise CheckpointError(f"{path}: not readable as weights ({what})") from error
    return state if isinstance(state, Mapping) else {}
