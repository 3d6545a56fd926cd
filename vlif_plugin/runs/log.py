"""All that a training measures, as a file that programs read: one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vlif_plugin.errors import TrainingError
from vlif_plugin.files import remove_partial_files, written_whole
from vlif_plugin.records import strict

METRICS = "metrics.jsonl"
"""The log's name in a run's folder."""


class MetricLog:
    """A file of JSON lines, each with ``iter``, in the order in which things were measured.

    Numbers that JSON cannot say are the strings ``inf``, ``-inf`` and ``nan``.

    Args:
        path: of the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def write(self, iteration: int, values: Mapping[str, Any]) -> None:
        """Append a line; in one piece, so a reader sees it whole.

        Args:
            iteration: of the training.
            values: numbers, strings, and lists and mappings of such.

        Raises:
            TrainingError: the file cannot be written.
        """
        line = json.dumps({"iter": iteration} | strict(values), allow_nan=False) + "\n"
        try:
            with open(self.path, "ab", buffering=0) as file:
                file.write(line.encode())
        except OSError as error:
            raise TrainingError(
                f"{self.path}: cannot be written ({error.strerror or error})"
            ) from error

    def read(self) -> list[dict[str, Any]]:
        """All lines that are whole; none where there is no file."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [record for line in lines if (record := _parsed(line)) is not None]

    def cut(self, iteration: int) -> None:
        """Drop what lies behind an iteration, and a line that a killed process left half-written."""
        self.drop(lambda record: record["iter"] > iteration)

    def drop(self, unwanted: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the lines that are unwanted, and what is no whole line."""
        if not self.path.exists():
            return
        kept = [record for record in self.read() if not unwanted(record)]
        with written_whole(self.path) as file:
            file.writelines(f"{json.dumps(record)}\n".encode() for record in kept)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("iter"), int) else None


def clear_measured(folder: Path, iteration: int) -> None:
    """Take away what a run measured behind the iteration that it goes on from, and half-written files.

    Args:
        folder: of the run; tables of validations lie in ``validation``, ``NAME_ITERATION.*``.
        iteration: the last that counts.
    """
    remove_partial_files(folder)
    MetricLog(folder / METRICS).cut(iteration)
    for file in (folder / "validation").glob("*_*.*"):
        at = file.stem.rpartition("_")[2]
        if at.isdecimal() and int(at) > iteration:
            file.unlink()
