"""How much memory a network takes at its peak, and how running out of it looks."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_WORDS = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "failed to allocate",
    "insufficient memory",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, says that memory did not suffice."""
    while error is not None:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        if isinstance(error, Exception) and any(word in str(error).lower() for word in _WORDS):
            return True
        error = error.__cause__
    return False


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a call takes at its peak above what is held before.

    On the CPU this is the process's resident memory; what was freed before is given back first, where
    the C library can.

    Args:
        run: the call.
        device: it works on.

    Returns:
        None where the system does not tell; ``run`` is called all the same.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)
    before = _begin_peak() if device.type == "cpu" else None
    run()
    return None if before is None else max(0, _resident("VmHWM") - before)


def be_killed_first() -> None:
    """Let Linux, where memory runs out, end this process and not its parent."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")


def _begin_peak() -> int | None:
    """Set the peak back to what is resident now, and return that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _resident("VmRSS")
    except (OSError, LookupError):
        return None


def _resident(key: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[key].split()[0]) * 1024
