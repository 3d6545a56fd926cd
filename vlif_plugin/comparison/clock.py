"""How long the trainings of a study took: seconds of the wall clock and of processors, over all parts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from vlif_plugin.data import write_atomically
from vlif_plugin.records import strict_json

RECORD = "study.json"
_WRITE_EVERY = 10.0


class Clock:
    """Adds up the time of all parts of a run in its folder: of the wall clock, and of processors.

    Where there is no state to go on from, BasicSR moves the folder aside and begins in a new one; the
    seconds of what was moved away do not count then.
    """

    def __init__(self, folder: Path, *, known: bool = True) -> None:
        """Begin to count.

        Args:
            folder: of the run.
            known: whether a folder without a record has no part yet; else the seconds stay unknown.
        """
        self.folder = folder
        self.start = time.monotonic()
        self.written = self.start
        self.first = self.last = _identity(folder)
        record = read_record(folder)
        nothing = 0.0 if known and not record else None
        self.before: dict[str, float | None] = {
            key: record.get(key, nothing) for key in ("seconds", "cpu_seconds")
        }
        self.cpu: float | None = None

    def write(
        self, *, cpu: float | None = None, at_once: bool = False, iterations: int | None = None
    ) -> float:
        """Write the record where it is due.

        Args:
            cpu: processor seconds of this part; None for those that were told last.
            at_once: whether it is due now.
            iterations: where the run is complete.

        Returns:
            Seconds of the wall clock, over all parts that are known.
        """
        now, identity = time.monotonic(), _identity(self.folder)
        before = self.before if identity == self.first else dict.fromkeys(self.before, 0.0)
        here = {"seconds": now - self.start, "cpu_seconds": self.cpu if cpu is None else cpu}
        self.cpu = here["cpu_seconds"]
        due = at_once or now - self.written >= _WRITE_EVERY or identity != self.last
        if due and identity is not None:  # else BasicSR is yet to make it
            self.last = identity
            record: dict[str, Any] = {key: _added(before[key], here[key]) for key in here}
            record["iterations"] = iterations
            write_atomically(self.folder / RECORD, strict_json(record))
            self.written = now
        return (before["seconds"] or 0.0) + now - self.start


def _added(earlier: float | None, here: float | None) -> float | None:
    return None if earlier is None or here is None else earlier + here


def cpu_seconds(pid: int) -> float | None:
    """Processor seconds of a process so far, and of its children that have ended; None off Linux."""
    try:
        # the name, which comes second, is in brackets and may hold anything
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def _identity(folder: Path) -> tuple[int, int] | None:
    """What a folder keeps when it is renamed, and a new one of its name has not."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def read_record(folder: Path) -> dict[str, Any]:
    """``seconds``, ``cpu_seconds`` and ``iterations`` (None before the end) of a run; empty without."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
