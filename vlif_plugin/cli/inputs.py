"""Network and images that commands look at: their arguments, and what is made of them."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vlif_plugin.cli import weights
from vlif_plugin.data import (
    RAINY_PHOTOGRAPH,
    FolderSource,
    load_image,
    rainy_photograph,
    to_tensor,
)
from vlif_plugin.energy import calibrate_batchnorm, centre
from vlif_plugin.errors import DataError, OptionError


def add_arguments(parser: argparse.ArgumentParser, *, folders: bool) -> None:
    """Declare a network's arguments, ``--input``, ``--size`` and ``--calibrate``.

    Args:
        parser: of the command.
        folders: whether the input may be a folder.
    """
    weights.add_arguments(parser, required=False)
    what = "image or folder of images" if folders else "image"
    parser.add_argument(
        "--input", metavar="PATH", help=f"{what} (default: a photograph in the rain)"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=256,
        help=f"of the middle part of {'each' if folders else 'the'} image, 0 for all (default: 256)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="without weights: set BatchNorm statistics to those of the images, so that neurons fire",
    )


def network(args: argparse.Namespace) -> tuple[nn.Module, dict[str, Any]]:
    """The network that weights and option file name, in eval mode, and the options it was built with.

    Without weights it is freshly made from a seed, the same at each call.

    Raises:
        OptionError: neither is named, or they do not fit what is asked.
        CheckpointError: the weights do not.
    """
    if args.weights is not None:
        net, _, options = weights.load_network(args.weights, args.opt, args.param_key)
        return net, options
    if args.opt is None:
        raise OptionError("name an option file with --opt, or weights with --weights")
    from vlif_plugin.option_files import network_options

    options = network_options(args.opt)
    torch.manual_seed(0)
    return weights.build(options).eval(), options


def calibrate(args: argparse.Namespace, net: nn.Module, images: Collection[Tensor]) -> None:
    """Set BatchNorm statistics to those of the images where that was asked.

    Raises:
        OptionError: the network has weights, and so statistics.
    """
    if args.calibrate:
        if args.weights is not None:
            raise OptionError("--calibrate is for networks without weights")
        calibrate_batchnorm(net, tqdm(images, desc="calibrate", unit="image"))


def images(path: str | None, size: int) -> dict[str, Tensor]:
    """Images by name, or the photograph in the rain, as far as their middle parts are asked for.

    Args:
        path: image or folder; None for the photograph.
        size: height and width of the middle part; 0 for all.

    Returns:
        Shape (1, 3, H, W) each, RGB in [0, 1].

    Raises:
        OptionError: the size is negative.
        DataError: an image is missing, unreadable or smaller.
    """
    if path is None:
        return {RAINY_PHOTOGRAPH: middle(RAINY_PHOTOGRAPH, rainy_photograph(), size)}
    if Path(path).is_dir():
        source = FolderSource(path)
        found = {key: to_tensor(source.read(key))[None] for key in source.keys()}  # noqa: SIM118
    else:
        found = {Path(path).stem: load_image(path).rgb}
    return {name: middle(name, image, size) for name, image in found.items()}


def middle(name: str, image: Tensor, size: int) -> Tensor:
    """The middle part of an image; all of it for 0.

    Raises:
        OptionError: the size is negative.
        DataError: the image is smaller.
    """
    if size < 0:
        raise OptionError(f"--size must be at least 0, got {size}")
    if size == 0:
        return image
    height, width = image.shape[-2:]
    if min(height, width) < size:
        raise DataError(f"{name}: {width}x{height} pixels are less than --size {size}")
    return centre(image, size)
