"""Training what is compared: BasicSR's own runs, one after the other, that can be stopped and go on.

As a program it is one training that ends with the process that started it: ``python -m
vlif_plugin.comparison.study -opt FILE --auto_resume``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vlif_plugin.basicsr_host.options import parse_arguments
from vlif_plugin.comparison.networks import NetworkEntry
from vlif_plugin.comparison.rows import CurvePoint, Training
from vlif_plugin.data import write_atomically
from vlif_plugin.errors import DataError, OptionError, TrainingError
from vlif_plugin.option_files import read_forced
from vlif_plugin.records import strict_json

RECORD = "study.json"
_LOOK_EVERY = 1.0
_WRITE_EVERY = 10.0
_LATEST = Path("models") / "net_g_latest.pth"


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Attributes:
        name: of the network's row.
        iteration: the last that was logged.
        total: iterations.
        seconds: of wall clock, over all parts so far.
    """

    name: str
    iteration: int
    total: int
    seconds: float


def check_training(entry: NetworkEntry) -> None:
    """Check a training's option file as the run does before it begins.

    Raises:
        PluginError: what is wrong, in one line.
    """
    if is_complete(entry):
        check_trained(entry)
        return
    parse_arguments(_flags(entry), os.getcwd())


def check_trained(entry: NetworkEntry) -> None:
    """Refuse weights that are not what the option file trains as it is now.

    Raises:
        OptionError: the training is not complete, or was of other options; names the key.
    """
    folder = _folder(entry)
    if not is_complete(entry):
        raise OptionError(
            f"{folder}: holds no complete training of {entry.opt}; --train goes on with it"
        )
    kept = folder / Path(str(entry.opt)).name  # BasicSR's copy of what the run was started with
    if not kept.is_file():
        return
    before = [str(item) for item in _read_record(folder).get("force_yml", ())]
    then = _what_trains(read_forced(kept, before))
    now = _what_trains(_options(entry))
    for key in then | now:
        if then.get(key) != now.get(key):
            raise OptionError(
                f"{entry.opt}: {key} is not what {kept} says, with which the weights were trained; "
                "give the run another name, or remove its folder to train anew"
            )


def _what_trains(options: dict[str, Any]) -> dict[str, Any]:
    """The sections of an option file that decide what weights come out; data may have moved."""
    train = (options.get("datasets") or {}).get("train") or {}
    data = {k: v for k, v in train.items() if not str(k).startswith("dataroot_")}
    kept = {key: options.get(key) for key in ("network_g", "train", "manual_seed")}
    return kept | {"datasets: train": data}


def is_complete(entry: NetworkEntry) -> bool:
    """Whether the weights of the last iteration are there.

    BasicSR writes the latest weights at the end of a run only; which iterations that end was at is
    told by the weights of that iteration, or by the record that is kept here.
    """
    folder, total = _folder(entry), _total(entry)
    numbered = folder / "models" / f"net_g_{total}.pth"
    recorded = _read_record(folder).get("iterations")
    return (folder / _LATEST).is_file() and (numbered.is_file() or recorded == total)


def train(entry: NetworkEntry, tell: Callable[[Progress], None]) -> None:
    """Train a network, or go on where its training was stopped; nothing if it is complete.

    Args:
        entry: with the option file and the run's folder.
        tell: is told how far it is, about once a second.

    Raises:
        TrainingError: the run failed; its own error in one line.
    """
    if is_complete(entry):
        return
    command = [sys.executable, "-m", __name__, *_flags(entry)]
    clock = _Clock(_folder(entry), entry.force)
    with tempfile.TemporaryFile() as output:
        # the run holds the other end of its input: where this process ends, however, so does the run
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                _wait(process)
                seconds = clock.write(cpu=cpu_seconds(process.pid))
                tell(Progress(entry.name, _iteration(output), _total(entry), seconds))
        finally:
            _end(process)
            clock.write(at_once=True)
        if process.returncode != 0:
            text = _error(output, process.returncode)
            raise TrainingError(text if str(entry.opt) in text else f"{entry.opt}: {text}")
    clock.write(at_once=True, iterations=_total(entry))


def read_training(entry: NetworkEntry) -> Training:
    """How a finished training went.

    Args:
        entry: with the option file and the run's folder.

    Raises:
        DataError: a record of a validation cannot be read.
    """
    options, run_folder = _options(entry), _folder(entry)
    record = _read_record(run_folder)
    curve: dict[str, list[CurvePoint]] = {}
    for path in sorted((run_folder / "validation").glob("*.json")):
        dataset, point = _read_validation(path)
        curve.setdefault(dataset, []).append(point)
    return Training(
        opt=" ".join([str(entry.opt), *entry.force]),
        iterations=int(options["train"]["total_iter"]),
        seconds=record.get("seconds"),
        cpu_seconds=record.get("cpu_seconds"),
        seed=options.get("manual_seed"),
        curve={k: tuple(sorted(v, key=lambda p: p.iteration)) for k, v in curve.items()},
    )


def _read_validation(path: Path) -> tuple[str, CurvePoint]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        values = {name: float(metric["mean"]) for name, metric in record["metrics"].items()}
        return str(record["dataset"]), CurvePoint(int(record["iteration"]), values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no record of a validation ({error})") from error


def _folder(entry: NetworkEntry) -> Path:
    if entry.run_folder is None:
        raise OptionError(f"networks: {entry.name}: has no training")
    return entry.run_folder


def _total(entry: NetworkEntry) -> int:
    return int(_options(entry)["train"]["total_iter"])


def _options(entry: NetworkEntry) -> dict[str, Any]:
    return read_forced(str(entry.opt), entry.force)


def _flags(entry: NetworkEntry) -> list[str]:
    force = ["--force_yml", *entry.force] if entry.force else []
    return ["-opt", str(entry.opt), "--auto_resume", *force]


class _Clock:
    """Adds up the time of all parts of a run in its folder: of the wall clock, and of processors.

    Where there is no state to go on from, BasicSR moves the folder aside and begins in a new one; the
    seconds of what was moved away do not count then.
    """

    def __init__(self, folder: Path, force: Sequence[str] = ()) -> None:
        self.folder = folder
        self.force = list(force)
        self.start = time.monotonic()
        self.written = self.start
        self.first = self.last = _identity(folder)
        self.before = _read_record(folder)
        self.cpu: float | None = None

    def write(
        self, *, cpu: float | None = None, at_once: bool = False, iterations: int | None = None
    ) -> float:
        """Write the record where it is due, and return the seconds of wall clock.

        Args:
            cpu: processor seconds of this part; None for those that were told last.
            at_once: whether it is due now.
            iterations: where the run is complete.
        """
        now, identity = time.monotonic(), _identity(self.folder)
        before = self.before if identity == self.first else {}
        seconds = before.get("seconds", 0.0) + now - self.start
        self.cpu = self.cpu if cpu is None else cpu
        due = at_once or now - self.written >= _WRITE_EVERY or identity != self.last
        if due and identity is not None:  # else BasicSR is yet to make it
            self.last = identity
            earlier: float | None = before.get("cpu_seconds", None if before else 0.0)
            processor = None if earlier is None or self.cpu is None else earlier + self.cpu
            record = {
                "seconds": seconds,
                "cpu_seconds": processor,
                "iterations": iterations,
                "force_yml": self.force,
            }
            write_atomically(self.folder / RECORD, strict_json(record))
            self.written = now
        return seconds


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


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_LOOK_EVERY)
    except subprocess.TimeoutExpired:
        return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that the run has ended: close its input, and end it if it does not follow."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(output: IO[bytes], size: int = 20_000) -> str:
    """The last part of what a run has printed; it shares our file, but not our place in it."""
    end = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), size, max(0, end - size)).decode(errors="replace")


def _iteration(output: IO[bytes]) -> int:
    found = re.findall(r"iter:\s*([\d,]+)", _tail(output))
    return int(found[-1].replace(",", "")) if found else 0


def _error(output: IO[bytes], status: int) -> str:
    """A run's own error, or the last line that it printed."""
    lines = [line.strip() for line in _tail(output).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    last = f" ({lines[-1]})" if lines else ""
    return f"the training ended with status {status}{last}"


def _end_with_parent() -> None:
    """Wait until the parent, which holds the other end of the standard input, is gone."""
    while os.read(0, 1):  # not sys.stdin, whose lock Python wants at its end
        pass
    os._exit(1)


def main() -> int:
    """One training, as a process of its own."""
    from vlif_plugin.basicsr_host.run import train as run_training

    threading.Thread(target=_end_with_parent, daemon=True).start()
    return run_training()


if __name__ == "__main__":
    sys.exit(main())
