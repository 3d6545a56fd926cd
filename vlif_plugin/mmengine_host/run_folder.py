"""The work_dir of a training: held by one at a time, and cleared of what comes again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlif_plugin.files import remove_partial_files
from vlif_plugin.runs import METRICS, clear_measured, hold_folder, put_aside, release_folder

_LEFT = ("last_checkpoint", METRICS, "manifest.json", "validation")
_CHECKPOINT = re.compile(r"(?P<best>best_.+_)?(?P<kind>iter|epoch)_(?P<number>\d+)\.pth")


@contextmanager
def held_folder(path: str, rank: int) -> Iterator[None]:
    """Make a folder and hold it for the block; processes but the main one leave that to it.

    Raises:
        OptionError: another training is at work there.
    """
    if rank == 0:
        os.makedirs(path, exist_ok=True)
        hold_folder(path)
    try:
        yield
    finally:
        release_folder(path)


def clear_what_comes_again(work_dir: Path, saved_in: Path, iteration: int, epoch: int) -> list[str]:
    """Take away what a run wrote behind the point that it goes on from, and half-written files.

    Args:
        work_dir: of the run.
        saved_in: where its checkpoints lie.
        iteration: that it goes on behind.
        epoch: the same in epochs.

    Returns:
        The checkpoints that were put aside: later ones, as there are when an older one was asked for.
    """
    clear_measured(work_dir, iteration)
    files = _checkpoints(saved_in)
    reached = {"iter": iteration, "epoch": epoch}
    later = {f for f, found in files.items() if int(found["number"]) > reached[found["kind"]]}
    if all(files[file]["best"] for file in later):
        return []  # the best weights of a validation that a killed run is about to make again
    return put_aside(saved_in, later)


def put_aside_another_run(work_dir: Path, saved_in: Path) -> list[str]:
    """Put aside what an earlier run left, so that nobody takes it for that of the one that begins.

    Args:
        work_dir: of the runs.
        saved_in: where their checkpoints lie.

    Returns:
        What was put aside.
    """
    remove_partial_files(work_dir)
    left = [work_dir / name for name in _LEFT if (work_dir / name).exists()]
    return put_aside(saved_in, _checkpoints(saved_in)) + put_aside(work_dir, left)


def _checkpoints(folder: Path) -> dict[Path, re.Match[str]]:
    found = {file: _CHECKPOINT.fullmatch(file.name) for file in folder.glob("*.pth")}
    return {file: match for file, match in found.items() if match is not None}
