"""`vlif analyse`: the paper's figures of one's own network and image, and which of its claims hold there."""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import Tensor

from vlif_plugin.analysis import CUTOFF, IMAGE, Analysis, analyse
from vlif_plugin.cli import inputs
from vlif_plugin.cli.analysis_tables import Subject, csv_files, record, render
from vlif_plugin.data import RAINY_PHOTOGRAPH, load_image, photograph, write_atomically
from vlif_plugin.errors import DataError, OptionError
from vlif_plugin.files import check_folder, staged_folder

PAGE = "index.html"
DRAWN = ("repetition.png", "spectra.png", "response.png", "activation.png", "task.png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    inputs.add_arguments(parser, folders=False)
    parser.add_argument(
        "--gt", metavar="FILE", help="the image without its degradation, of the same size"
    )
    parser.add_argument(
        "--layer",
        metavar="NAME",
        help="neuron layer whose input is looked at (default: the first of LIF), or "
        f"'{IMAGE}' for the image itself",
    )
    parser.add_argument(
        "--times", type=int, default=4, help="how often a neuron is applied (default: 4)"
    )
    parser.add_argument(
        "--cutoff",
        type=float,
        default=CUTOFF,
        help="from which frequencies are high, in cycles for each pixel, below 0.7 (default: %(default)s)",
    )
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", help="for the page, pictures, CSV and analysis.json"
    )


def run(args: argparse.Namespace) -> int:
    """Analyse, print what was found, and write files where asked."""
    _check(args)
    name, image, clean = _images(args)
    net, _ = inputs.network(args)
    inputs.calibrate(args, net, [image])
    found = analyse(net, image, clean=clean, layer=args.layer, times=args.times, cutoff=args.cutoff)
    weights = str(args.weights) if args.weights else "not trained"
    if args.calibrate:
        weights += ", BatchNorm statistics set to the image"
    subject = Subject(name, None if clean is None else args.gt or "the photograph", weights)
    print(render(found, subject))
    if args.output:
        write(Path(args.output), found, subject)
    return 0


def _check(args: argparse.Namespace) -> None:
    if not 1 <= args.times <= 20:
        raise OptionError(f"--times must be from 1 to 20, got {args.times}")
    if not 0 < args.cutoff < 0.7:  # the fastest of all is the square root of a half
        raise OptionError(f"--cutoff must be between 0 and 0.7, got {args.cutoff:g}")
    if args.output:
        check_folder(args.output, "--output")
    if args.input is not None and Path(args.input).is_dir():
        raise DataError(f"{args.input}: is a folder; one image is analysed at a time")


def _images(args: argparse.Namespace) -> tuple[str, Tensor, Tensor | None]:
    """Name, middle part, and the same part of the clean image, which the photograph in the rain has."""
    ((name, image),) = inputs.images(args.input, 0).items()
    clean = None
    if args.gt is not None:
        clean = load_image(args.gt).rgb
        if clean.shape != image.shape:
            raise DataError(
                f"{args.gt}: {clean.shape[3]}x{clean.shape[2]} pixels, but {name} has "
                f"{image.shape[3]}x{image.shape[2]}"
            )
        clean = inputs.middle(args.gt, clean, args.size)
    elif name == RAINY_PHOTOGRAPH:
        clean = inputs.middle(name, photograph(), args.size)
    return name, inputs.middle(name, image, args.size), clean


def write(folder: Path, found: Analysis, subject: Subject) -> None:
    """Write the page, pictures, tables and the record; all of them or none.

    Args:
        folder: made if missing.
        found: what is written.
        subject: what it is of.

    Raises:
        DataError: it cannot be written.
    """
    from vlif_plugin.cli import analysis_pictures as pictures
    from vlif_plugin.cli.analysis_page import page

    drawings = (
        pictures.draw_panels(found.applied, "repeated applications (fig. 1)"),
        pictures.draw_spectra(found),
        pictures.draw_response(found),
        pictures.draw_activation(found),
        pictures.draw_panels(found.task, "what the neuron hands on (fig. 6c)"),
    )
    contents = dict(zip(DRAWN, drawings, strict=True)) | csv_files(found)
    if found.layers:
        contents["rates.png"] = pictures.draw_rates(found.layers)
    contents["analysis.json"] = record(found, subject)
    contents[PAGE] = page(found, subject).encode("utf-8", "replace")
    with staged_folder(folder, last=PAGE) as stage:
        for name, content in contents.items():
            write_atomically(stage / name, content)
    print(f"written to {folder}: {', '.join(sorted(contents))}")
