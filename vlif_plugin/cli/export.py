"""`vlif export`: networks in formats that run without this package."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlif_plugin.cli import inputs, weights
from vlif_plugin.errors import OptionError, PluginError, near_names
from vlif_plugin.export import IMAGE_SUFFIXES, export_network, export_nir
from vlif_plugin.files import check_absent, check_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    weights.add_arguments(parser, required=False)
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="file to write: .onnx, .pt2 (torch.export.load), or .nir",
    )
    parser.add_argument(
        "--no-fuse", action="store_true", help="leave BatchNorm beside its convolution"
    )
    parser.add_argument(
        "--part", metavar="NAME", help=".nir: the part of the network, such as down1"
    )
    parser.add_argument(
        "--size", type=int, default=64, help=".nir: width and height of the image (default: 64)"
    )
    parser.add_argument(
        "--dt", type=float, default=1e-4, help=".nir: seconds of a timestep (default: 1e-4)"
    )


def run(args: argparse.Namespace) -> int:
    """Export one network; what is written has been compared with it."""
    suffix = Path(args.output).suffix
    if suffix not in (*IMAGE_SUFFIXES, ".nir"):
        raise OptionError(f"{args.output}: the name must end in .onnx, .pt2 or .nir")
    if suffix != ".nir" and args.part is not None:
        raise OptionError("--part is for .nir; other formats hold the whole network")
    check_absent(args.output)
    check_folder(Path(args.output).parent, "--output")
    net, options = inputs.network(args)
    if args.weights is None:
        print("a fresh network: no weights were named")
    began = time.monotonic()
    if suffix == ".nir":
        _export_part(net, args)
    else:
        print("tracing the network, which takes minutes at full size")
        agreement = export_network(net, args.output, network_g=options, fuse=not args.no_fuse)
        size = os.path.getsize(args.output) / 1e6
        print(
            f"{args.output}: {options['type']}, {size:.1f} MB, in {time.monotonic() - began:.0f} s"
        )
        print(f"compared with the network: {agreement}")
    return 0


def _export_part(net: nn.Module, args: argparse.Namespace) -> None:
    parts = {name: module for name, module in net.named_modules() if name}
    if args.part is None:
        raise OptionError(
            ".nir holds LIF neurons and the layers between them, no whole network of images: name a part "
            "with --part, as its weights are called without their ending (down1)"
        )
    if args.part not in parts:
        raise OptionError(f"--part: the network has no {args.part!r}{near_names(args.part, parts)}")
    shape = _shape_of_input(net, parts[args.part], args.part, args.size)
    try:
        graph = export_nir(parts[args.part], args.output, shape, dt=args.dt)
    except PluginError as error:
        raise type(error)(f"{args.part}: {error}") from error
    print(
        f"{args.output}: {args.part}, {len(graph.nodes)} nodes, for steps of "
        f"{'x'.join(map(str, shape))}, dt {args.dt:g} s"
    )


def _shape_of_input(net: nn.Module, part: nn.Module, name: str, size: int) -> tuple[int, ...]:
    """Of one step of the sequence that a part is given, while the network restores an image."""
    if size < 1:
        raise OptionError(f"--size must be at least 1, got {size}")
    given: list[list[torch.Size]] = []

    def keep(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        given.append([x.shape for x in inputs if isinstance(x, Tensor)])

    hook = part.register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            net(torch.rand(1, 3, size, size))
    finally:
        hook.remove()
    first = given[0] if given else []
    if any(shapes != first for shapes in given) or [len(shape) in (3, 5) for shape in first] != [
        True
    ]:
        raise OptionError(
            f"--part: {name} is not given one sequence (T, B, …), and always of one size"
        )
    return tuple(first[0][2:])
