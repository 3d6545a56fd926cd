"""The machine that a result was obtained on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from vlif_plugin.records import versions


def describe_machine(device: str, threads: int | None = None) -> dict[str, str]:
    """Processor, threads, memory, device and versions, by name.

    Args:
        device: that networks ran on.
        threads: torch's; None for what torch chose.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = _memory()
    on_gpu = torch.device(device).type == "cuda"
    return {
        "processor": _processor(),
        "cores": str(cores),
        "threads": str(threads or torch.get_num_threads()),
        **({} if memory is None else {"memory": f"{memory / 2**30:.0f} GiB"}),
        "device": torch.cuda.get_device_name(torch.device(device)) if on_gpu else device,
        "system": f"{platform.system()} {platform.machine()}",
        **versions(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    """Bytes of memory that the machine has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
