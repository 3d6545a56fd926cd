"""The `vlif` command. Each subcommand is a module with ``add_arguments`` and ``run``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from vlif_plugin import __version__
from vlif_plugin.commands import exit_status, let_threads_sleep

COMMANDS = {
    "prepare": "turn a dataset as published, or images of your own, into checked LMDBs",
    "derain": "restore images, folders or globs with given weights",
    "energy": "count what a network does with an image: operations, spikes, energy",
    "analyse": "redraw the paper's figures on a network and an image, and say which claims hold",
    "compare": "measure networks side by side: cost, scores, pictures; tables and a page",
    "convert": "turn a released checkpoint into the plugin's format, or back",
    "export": "write a network as ONNX, as an exported program of PyTorch, or a part of it as NIR",
    "doctor": "print versions, devices and repairs, and try a forward and a backward pass",
    "demo": "train a small network on synthetic rain and show the result",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments; None takes the process's.

    Returns:
        Exit status: 0; 1 after an error that was printed in one line; 2 for a wrong command line.
    """
    let_threads_sleep()
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog="vlif", description="Spiking networks for image restoration."
    )
    parser.add_argument("--version", action="version", version=f"vlif_plugin {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=summary, description=summary, allow_abbrev=False
        )
        if name in argv[:1]:  # importing every command would make `vlif --help` wait for torch
            module = importlib.import_module(f"vlif_plugin.cli.{name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    return exit_status(lambda: args.run(args))
