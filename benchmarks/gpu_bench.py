"""What all sections of ``gpu.py`` share: what is measured where, how long, in which precision."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from common import OFFICIAL, Result, in_turns, live_network
from torch import nn

from vlif_plugin.errors import first_line
from vlif_plugin.speed import use_backend

COMPILING = 60
"""Seconds that must be left before a network is compiled; nothing can stop it on the way."""
TINY: dict[str, Any] = {
    "dim": 8, "en_num_blocks": (1, 1), "de_num_blocks": (1, 1), "num_refinement_blocks": 1,
}  # fmt: skip
ORDER = ("torch", "triton", "compile")
"""Of backends: what takes long to get ready comes last."""
AMP = {"float32": torch.float32, "TF32": torch.float32, "bf16": torch.bfloat16}
"""Precisions by name; TF32 is torch's default for convolutions, and float32 here is without it."""


class OutOfTimeError(Exception):
    """The time that was given is used up."""


@dataclass(frozen=True)
class Bench:
    """What is measured, where, and how long.

    Attributes:
        device: ``cuda`` or ``cpu``.
        quick: a tiny network and small images, to try the script.
        backends: those that are asked for, in :data:`ORDER`.
        rounds: of timing.
        out: folder of the tables.
        until: on :func:`time.monotonic`'s clock.
    """

    device: str
    quick: bool
    backends: Sequence[str]
    rounds: int
    out: Path
    until: float

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device == "cuda"

    @property
    def precisions(self) -> tuple[str, ...]:
        """Names in :data:`AMP`; CPUs have no TF32."""
        return ("float32", "TF32", "bf16") if self.cuda else ("float32", "bf16")

    def pick(self, full: int, quick: int) -> int:
        """A size, by whether this is a trial."""
        return quick if self.quick else full

    def network(self) -> nn.Module:
        """The official network with refinement, live, in eval mode, on the CPU."""
        return copy.deepcopy(_network(self.quick))

    def check_time(self, needs: float = 0) -> None:
        """Stop a section when fewer seconds than it needs are left; it keeps what it has."""
        if time.monotonic() + needs > self.until:
            raise OutOfTimeError


@cache
def _network(quick: bool) -> nn.Module:
    return live_network(**(OFFICIAL | (TINY if quick else {})))


def add(result: Result, *cells: str) -> None:
    """Add a row, and show it at once: a machine may be taken away before the table is written."""
    result.rows.append(cells)
    print(" | ".join(cells), flush=True)


@contextmanager
def trying(result: Result, what: str) -> Iterator[None]:
    """Make a failure a line of the table's notes."""
    try:
        yield
    except OutOfTimeError:
        raise
    except Exception as error:  # whatever fails on a machine that was never seen before
        line = f"FAILED: {what}: {type(error).__name__}: {first_line(error)}"
        result.notes.append(line)
        print(line, flush=True)


@contextmanager
def tf32(used: bool) -> Iterator[None]:
    """Whether float32 convolutions are done in TF32."""
    # the switch of convolutions alone: compiled parts look at that of products, and would be made anew
    kept = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = used
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = kept


@contextmanager
def computing_in(precision: str, device: str) -> Iterator[None]:
    """In one of :data:`AMP`."""
    bf16 = torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")
    with tf32(precision == "TF32"), bf16:
        yield


class Memory:
    """Most memory of a GPU that was taken since this was made, above what was held; '' on CPUs."""

    def __init__(self) -> None:
        self.held = 0
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.held = torch.cuda.memory_allocated()

    def __str__(self) -> str:
        """MB."""
        if not torch.cuda.is_initialized():
            return ""
        return f"{(torch.cuda.max_memory_allocated() - self.held) / 2**20:.0f}"


def with_backend(net: nn.Module, backend: str, device: str) -> nn.Module:
    """The same network, its parts run by a backend."""
    use_backend(net, backend, device)
    return net


def bandwidth(bench: Bench) -> float:
    """Bytes a second of a large copy, read and written."""
    source = torch.empty(bench.pick(2**28, 2**22), device=bench.device)  # floats
    target = torch.empty_like(source)
    seconds = in_turns({"copy": lambda: target.copy_(source)}, 5)["copy"]
    return 2 * source.numel() * source.element_size() / seconds


def seconds_of(act: Callable[[], Any], bench: Bench) -> float:
    """Seconds of one call, of several in a row on a GPU."""
    times = 10 if bench.cuda else 1

    def acts() -> None:
        for _ in range(times):
            act()

    return in_turns({"": acts}, bench.rounds)[""] / times
