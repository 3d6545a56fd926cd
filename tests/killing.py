"""Processes that are killed at a moment of somebody's choice, and what is left of them."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_WRITES = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True)
class Moment:
    """When a process is killed: before the n-th change to files of a folder, or after some seconds.

    ``half`` kills in the middle of writing: half of the n-th file that is saved is there by then.
    """

    kind: str  # "change", "half" or "seconds"
    at: float


@dataclass
class Survived:
    """What a job went through until it was done.

    ``moments`` holds those that came before the job was done; ``rounds`` is how often it was done.
    """

    moments: list[Moment]
    rounds: int


def random_moment(
    rng: random.Random, kinds: tuple[str, ...], longest: float, changes: int
) -> Moment:
    kind = rng.choice(kinds)
    if kind == "seconds":
        return Moment(kind, rng.uniform(0.02, longest))
    return Moment(kind, rng.randint(1, changes if kind == "change" else 8))


def killed(job: Callable[[], int], folder: Path, moment: Moment | None) -> bool:
    """Run a job in a copy of this process; whether it was killed before it ended.

    A job that fails of itself is an error.
    """
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            with open(folder / "output.txt", "ab") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            if moment is not None:
                _arm(moment, folder)
            status = job()
        finally:
            os._exit(status)
    _, result = os.waitpid(pid, 0)
    if os.WIFSIGNALED(result):
        assert os.WTERMSIG(result) == signal.SIGKILL, f"died of signal {os.WTERMSIG(result)}"
        assert moment is not None
        return True
    if os.WEXITSTATUS(result):
        tail = (folder / "output.txt").read_text(errors="replace")[-3000:]
        raise AssertionError(f"the job failed by itself after {moment}:\n{tail}")
    return False


def survive(
    job: Callable[[], int],
    folder: Path,
    *,
    kills: int,
    seed: int,
    longest: float,
    changes: int = 40,
    kinds: tuple[str, ...] = ("change", "half", "seconds"),
    done: Callable[[], None],
) -> Survived:
    """Kill a job again and again, and let it come to its end in between.

    Args:
        job: goes on where it was killed.
        folder: that it writes in.
        kills: at least so many.
        seed: of the moments.
        longest: of the moments in seconds.
        changes: to files that the latest moment comes before.
        kinds: of moments.
        done: looks at what a job that came to its end has made, and clears it away.
    """
    rng, survived = random.Random(seed), Survived([], 0)
    while True:
        enough = len(survived.moments) >= kills
        moment = None if enough else random_moment(rng, kinds, longest, changes)
        if killed(job, folder, moment):
            assert moment is not None
            survived.moments.append(moment)
            continue
        survived.rounds += 1
        done()
        if enough:
            return survived


def _arm(moment: Moment, folder: Path) -> None:
    if moment.kind == "seconds":
        threading.Thread(target=lambda: (time.sleep(moment.at), _die()), daemon=True).start()
    elif moment.kind == "change":
        _count_changes(moment.at, str(folder))
    else:
        _save_half(int(moment.at))


def _count_changes(at: float, folder: str) -> None:
    seen = [0]

    def watch(event: str, arguments: tuple) -> None:
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & _WRITES)
        else:
            changes = event in ("os.rename", "os.remove", "os.mkdir", "os.truncate")
        if changes and str(arguments[0]).startswith(folder):
            seen[0] += 1
            if seen[0] >= at:
                _die()

    sys.addaudithook(watch)


def _save_half(at: int) -> None:
    save, seen = torch.save, [0]

    def half(content: object, file: io.IOBase) -> None:
        seen[0] += 1
        if seen[0] < at:
            save(content, file)
            return
        whole = io.BytesIO()
        save(content, whole)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        _die()

    torch.save = half


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def report(survived: Survived, **more: object) -> None:
    """Print what :func:`script` gives."""
    kinds = [moment.kind for moment in survived.moments]
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    print(json.dumps({"kills": len(kinds), "kinds": counts, "rounds": survived.rounds} | more))


def script(file: Path, folder: Path, *words: object) -> dict[str, Any]:
    """Run a file of tests as a program, in a process that has done nothing else; what it reports."""
    done = subprocess.run(
        [sys.executable, str(file), str(folder), *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def children_of(pid: int) -> list[int]:
    """Processes that a process has begun; none of one that has ended."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def command_of(pid: int) -> bytes:
    """The words of a process; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_for(happened: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def largest_difference(a: Any, b: Any, where: str = "") -> float:
    """Of all numbers in two nested structures, which must be of one form."""
    if isinstance(a, torch.Tensor) or hasattr(a, "dtype"):
        assert a.dtype == b.dtype
        a, b = torch.as_tensor(a), torch.as_tensor(b)
        assert a.shape == b.shape, where
        return (a.double() - b.double()).abs().max().item() if a.numel() else 0.0
    if isinstance(a, dict):
        assert a.keys() == b.keys(), f"{where}: {a.keys() ^ b.keys()}"
        return max((largest_difference(a[k], b[k], f"{where}: {k}") for k in a), default=0.0)
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        pairs = enumerate(zip(a, b, strict=True))
        return max((largest_difference(x, y, f"{where}: {i}") for i, (x, y) in pairs), default=0.0)
    if isinstance(a, float):
        return abs(a - b)
    assert a == b, where
    return 0.0
