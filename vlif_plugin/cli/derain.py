"""`vlif derain`: restore images on disk."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections import Counter
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from vlif_plugin.cli import weights
from vlif_plugin.data import IMAGE_SUFFIXES, load_image, save_image
from vlif_plugin.errors import DataError, OptionError, first_line, first_names
from vlif_plugin.inference import TileChoice, choose_device, parse_tile, restore_image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="image, folder of images, or glob"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="folder for the results"
    )
    weights.add_arguments(parser)
    parser.add_argument(
        "--tile",
        default="auto",
        help="auto (whole image if memory allows), none, official80, or a size in pixels (default: auto)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)"
    )
    parser.add_argument("--suffix", default="", help="added to file names, before the extension")
    parser.add_argument(
        "--format",
        choices=[s[1:] for s in IMAGE_SUFFIXES],
        help="of the results (default: the input's)",
    )
    parser.add_argument(
        "--skip-existing", action="store_true", help="leave results alone that are there"
    )


def run(args: argparse.Namespace) -> int:
    """Restore every input; a file that fails is named at the end and sets the exit status."""
    tile = parse_tile(args.tile)
    device = choose_device(args.device)
    jobs = plan(args.inputs, Path(args.output), args.suffix, args.format)
    if args.skip_existing:
        jobs = {source: target for source, target in jobs.items() if not target.exists()}
    net, _, _ = weights.load_network(args.weights, args.opt, args.param_key)
    net.to(device)
    failed = {}
    progress = tqdm(jobs.items(), unit="image", dynamic_ncols=True)
    for source, target in progress:
        progress.set_postfix_str(source.name)
        try:
            restore_file(net, source, target, tile, device)
        except (DataError, RuntimeError, MemoryError) as error:  # out of memory is a RuntimeError
            failed[source] = first_line(error)
    print(f"{len(jobs) - len(failed)} of {len(jobs)} images written to {args.output}")
    for source, reason in failed.items():
        print(
            f"failed: {reason if str(source) in reason else f'{source}: {reason}'}", file=sys.stderr
        )
    return 1 if failed else 0


def restore_file(
    net: nn.Module, source: Path, target: Path, tile: TileChoice, device: torch.device
) -> None:
    """Restore one file; grey, alpha and 16-bit images are written as they came."""
    image = load_image(source)
    result = restore_image(net, image.rgb, tile=tile, device=device)
    if not result.isfinite().all():
        raise DataError(f"{source}: the network's result is not finite; are the weights whole?")
    save_image(image.restore(result), target)


def plan(inputs: list[str], output: Path, suffix: str, extension: str | None) -> dict[Path, Path]:
    """Where each image goes, in order.

    Args:
        inputs: files, folders (their images, not those of their subfolders) and globs.
        output: folder of the results.
        suffix: added to the names.
        extension: of the results, without dot; None keeps each input's.

    Raises:
        DataError: an input is missing or empty, two results would have one name, or a result would
            overwrite an input.
    """
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: is a file; -o names a folder")
    if os.sep in suffix:
        raise OptionError(f"--suffix {suffix}: must be part of a file name")
    sources: dict[Path, None] = {}
    for item in inputs:
        found = _images_of(item)
        if not found:
            raise DataError(f"{item}: no such image, folder with images, or match")
        sources |= dict.fromkeys(found)
    jobs = {
        source: output / f"{source.stem}{suffix}{f'.{extension}' if extension else source.suffix}"
        for source in sources
    }
    counts = Counter(jobs.values())
    clashing = [str(source) for source, target in jobs.items() if counts[target] > 1]
    if clashing:
        raise DataError(f"several inputs would be written to one file: {first_names(clashing)}")
    own = {os.path.realpath(source) for source in sources}
    overwritten = [str(target) for target in jobs.values() if os.path.realpath(target) in own]
    if overwritten:
        raise DataError(
            f"results would overwrite inputs: {first_names(overwritten)}; use another -o or --suffix"
        )
    return jobs


def _images_of(item: str) -> list[Path]:
    try:
        return _find_images(item)
    except OSError as error:
        raise DataError(f"{item}: cannot be read ({error.strerror or error})") from error


def _find_images(item: str) -> list[Path]:
    path = Path(item)
    if path.is_dir():
        return sorted(
            f for f in path.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()
        )
    if path.is_file():
        return [path]
    found = sorted(f for f in map(Path, glob.glob(item, recursive=True)) if f.is_file())
    return [f for f in found if f.suffix.lower() in IMAGE_SUFFIXES] or found
