"""`vlif compare`: networks side by side: what they cost here, what they score, what papers print."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shlex
import signal
from pathlib import Path
from typing import NoReturn

from vlif_plugin.errors import DataError, OptionError, first_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("options", nargs="?", metavar="OPTIONS.yml", help="what to compare")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="for the results (default: results/NAME)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), help="in place of the file's num_gpu"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these networks of the file only"
    )
    parser.add_argument(
        "--train",
        action="store_true",
        help="first train what has weights: trained; stopped and started again, it goes on",
    )
    parser.add_argument(
        "--from",
        dest="record",
        metavar="FILE",
        help="a comparison.json: make its tables, plots and page again, and measure nothing",
    )


def run(args: argparse.Namespace) -> int:
    """Train where asked, measure, write, and print the tables.

    Returns:
        0; 1 if a row could not be measured whole.
    """
    if (args.options is None) == (args.record is None):
        raise OptionError("name an option file, or a comparison.json with --from")
    if args.record is not None:
        if args.train or args.only or args.device:
            raise OptionError(
                "--from measures nothing: --train, --only and --device do not go with it"
            )
        from vlif_plugin.comparison.checking import RECORD

        record = Path(args.record)
        return _redraw(record / RECORD if record.is_dir() else record, args.output)
    with contextlib.suppress(ValueError):  # outside the main thread
        signal.signal(signal.SIGTERM, _ended)  # so that processes and unfinished files go, too
    return _compare(args)


def _ended(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)


def _compare(args: argparse.Namespace) -> int:
    from vlif_plugin.basicsr_host import register_all
    from vlif_plugin.cli.compare_display import Display
    from vlif_plugin.comparison.checking import RECORD, check_request
    from vlif_plugin.comparison.request import read_request
    from vlif_plugin.comparison.runner import run_comparison
    from vlif_plugin.comparison.study import check_training, train
    from vlif_plugin.comparison.writing import draw_comparison, staged, write_comparison

    register_all()
    request = read_request(args.options, output=args.output, only=args.only, device=args.device)
    if args.only and args.output is None and (request.folder / RECORD).exists():
        raise OptionError(
            f"--only: {request.folder} holds a comparison already, which may be of more networks; "
            "name another folder with -o"
        )
    with Display() as display:
        if args.train:
            trained = [entry for entry in request.networks if entry.run_folder is not None]
            if not trained:
                raise OptionError(f"{args.options}: --train: no network has weights: trained")
            check_request(request, before_training=True)
            for entry in trained:
                check_training(entry)
            for entry in trained:
                train(entry, display.trains)
        plan = check_request(request)
        with staged(request.folder) as folder:
            comparison = run_comparison(plan, folder, _command(args), display)
            files = write_comparison(comparison, folder)
            try:
                files += draw_comparison(comparison, folder)
                trouble = None
            except Exception as error:  # hours of measuring must not be lost to a drawing
                trouble = f"plots and page could not be made ({type(error).__name__}: {first_line(error)})"
    display.show(comparison, request.folder, files)
    if trouble is not None:
        record = request.folder / RECORD
        raise DataError(f"{trouble}; all that was measured is in {record}, see --from")
    return 1 if any(row.failures for row in comparison.measured) else 0


def _redraw(record: Path, output: str | None) -> int:
    from vlif_plugin.cli.compare_display import Display
    from vlif_plugin.comparison.checking import check_results_folder
    from vlif_plugin.comparison.writing import (
        copy_pictures,
        draw_comparison,
        has_pictures,
        read_comparison,
        staged,
        write_comparison,
    )

    comparison = read_comparison(record)
    target = record.parent if output is None else Path(output)
    check_results_folder(target)
    alone = bool(comparison.pictures) and not has_pictures(comparison, record.parent)
    if alone and target.resolve() == record.parent.resolve():
        raise DataError(
            f"{record}: its pictures are not beside it; all but them is drawn with -o and another folder"
        )
    if alone:
        comparison = dataclasses.replace(comparison, pictures=())
    with staged(target) as folder:
        copy_pictures(comparison, record.parent, folder)
        files = write_comparison(comparison, folder) + draw_comparison(comparison, folder)
    display = Display()
    display.show(comparison, target, files)
    if alone:
        display.say(f"without pictures, which are not in {record.parent}")
    return 0


def _command(args: argparse.Namespace) -> str:
    """The command line that makes this comparison again."""
    words = ["vlif", "compare", args.options]
    for flag, values in (("-o", args.output), ("--device", args.device), ("--only", args.only)):
        if values:
            words += [flag, *([values] if isinstance(values, str) else values)]
    return shlex.join([*words, "--train"] if args.train else words)
