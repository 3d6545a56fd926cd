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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vlif_plugin.basicsr_host.options import parse_arguments
from vlif_plugin.basicsr_host.resume import states_by_age
from vlif_plugin.comparison.clock import Clock, cpu_seconds, read_record
from vlif_plugin.comparison.networks import NetworkEntry
from vlif_plugin.comparison.rows import CurvePoint, Training
from vlif_plugin.errors import DataError, OptionError, TrainingError
from vlif_plugin.records import strict
from vlif_plugin.runs import changed_options, starts

_LOOK_EVERY = 1.0
_LATEST = Path("models") / "net_g_latest.pth"
_DECIDING = ("model_type", "network_g", "train", "manual_seed", "deterministic", "backend")
_BEGINNING = ("pretrain_network_g", "param_key_g", "strict_load_g")
_ADDED = ("phase", "scale")  # by BasicSR, to the section of a dataset


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
        PluginError: what is wrong, in one line; also where the run would go on from weights that were
            trained with other options.
    """
    if is_complete(entry):
        check_trained(entry)
        return
    parse_arguments(_flags(entry), os.getcwd())
    if _has_states(_folder(entry)):
        _refuse_other_options(entry)


def check_trained(entry: NetworkEntry) -> None:
    """Refuse weights that are not what the option file trains as it is now.

    Raises:
        OptionError: the training is not complete, or a part of it was of other options; names the key.
    """
    folder = _folder(entry)
    if not is_complete(entry):
        raise OptionError(
            f"{folder}: holds no complete training of {entry.opt}; --train goes on with it"
        )
    _refuse_other_options(entry)


def _refuse_other_options(entry: NetworkEntry) -> None:
    """Compare the options with those of each start, because what was killed may have gone on with others."""
    now = _what_trains(entry.options)
    for start in starts(_folder(entry)):
        then = _what_trains(start.get("options") or {})
        if start.get("resumed_from") is not None:  # BasicSR has named the state's weights by then
            then["path"] = now["path"]
        if now["manual_seed"] is None:  # then each start draws one
            then["manual_seed"] = None
        for key, (was, here) in changed_options(then, now).items():
            raise OptionError(
                f"{entry.opt}: {key} is {here}, but {_folder(entry)} was trained with {was}; "
                "give the run another name, or remove its folder to train anew"
            )


def _what_trains(options: dict[str, Any]) -> dict[str, Any]:
    """The options that decide what weights come out, as JSON has them; data may have moved."""
    train = (options.get("datasets") or {}).get("train") or {}
    path = options.get("path") or {}
    kept = {key: options.get(key) for key in _DECIDING}
    kept["datasets: train"] = {
        key: value
        for key, value in train.items()
        if key not in _ADDED and not key.startswith("dataroot_")
    }
    kept["path"] = {key: path.get(key) for key in _BEGINNING}
    if isinstance(path.get("pretrain_network_g"), str):
        kept["path"]["pretrain_network_g"] = os.path.expanduser(path["pretrain_network_g"])
    return strict(kept)


def _has_states(folder: Path) -> bool:
    return bool(states_by_age(folder / "training_states"))


def is_complete(entry: NetworkEntry) -> bool:
    """Whether the weights of the last iteration are there.

    BasicSR writes the latest weights at the end of a run only; which iterations that end was at is
    told by the weights of that iteration, or by the record that is kept here.
    """
    folder, total = _folder(entry), _total(entry)
    numbered = folder / "models" / f"net_g_{total}.pth"
    recorded = read_record(folder).get("iterations")
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
    clock = Clock(_folder(entry), known=not _has_states(_folder(entry)))
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
    run_folder, total = _folder(entry), _total(entry)
    record = read_record(run_folder)
    if record.get("iterations") != total:  # its last part was not this command's
        record = {}
    curve: dict[str, list[CurvePoint]] = {}
    for path in sorted((run_folder / "validation").glob("*.json")):
        dataset, point = _read_validation(path)
        curve.setdefault(dataset, []).append(point)
    return Training(
        opt=" ".join([str(entry.opt), *entry.force]),
        iterations=total,
        seconds=record.get("seconds"),
        cpu_seconds=record.get("cpu_seconds"),
        seed=entry.options.get("manual_seed"),
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
    return int(entry.options["train"]["total_iter"])


def _flags(entry: NetworkEntry) -> list[str]:
    force = ["--force_yml", *entry.force] if entry.force else []
    return ["-opt", str(entry.opt), "--auto_resume", *force]


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
