"""Starting torch.distributed under the launchers that toolboxes know, on GPUs (NCCL) and CPUs (gloo)."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from vlif_plugin.commands import exit_status
from vlif_plugin.errors import OptionError

Choice = TypeVar("Choice")

_NEEDED = {
    "pytorch": ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NODELIST"),
}


def init_distributed(launcher: str, *, use_cuda: bool, port: int | None = None) -> None:
    """Join the process group that the launcher describes in the environment.

    Args:
        launcher: ``pytorch`` (torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT)
            or ``slurm`` (srun's variables are translated to those).
        use_cuda: NCCL with one GPU for each process; else gloo on the CPU.
        port: for slurm; MASTER_PORT or 29500 otherwise.

    Raises:
        OptionError: the environment lacks what the launcher should have set.
    """
    check_environment(launcher)
    if launcher == "slurm":
        _translate_slurm(port)
    if mp.get_start_method(allow_none=True) is None:
        mp.set_start_method("spawn")  # workers forked from a process with NCCL threads can hang
    if use_cuda:
        local_rank = (
            int(os.environ.get("LOCAL_RANK", os.environ["RANK"])) % torch.cuda.device_count()
        )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if use_cuda else "gloo")


def exit_status_of_all(command: Callable[[], None]) -> int:
    """Run a command that may join a process group, which is left at the end.

    Returns:
        See :func:`~vlif_plugin.commands.exit_status`.
    """
    status = 1
    try:
        status = exit_status(command)
    finally:
        if dist.is_available() and dist.is_initialized():
            # wrapped models that outlive their group, and a group that one process leaves while
            # another still uses it, may abort at the end; but a process that failed must not wait
            gc.collect()
            if status == 0:
                dist.barrier()
            dist.destroy_process_group()
    return status


def agreed(choice: Choice) -> Choice:
    """The main process's choice, in all processes of the group; without a group, one's own."""
    if not dist.is_available() or not dist.is_initialized():
        return choice
    choices = [choice]
    dist.broadcast_object_list(choices, src=0)
    return choices[0]


def gathered(value: Choice) -> list[Choice]:
    """What each process of the group hands over, in the order of their ranks; without a group, one's own.

    Every process must ask.
    """
    if not dist.is_available() or not dist.is_initialized():
        return [value]
    values = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def check_environment(launcher: str) -> None:
    """Refuse a launcher that did not start this process.

    Args:
        launcher: ``pytorch`` or ``slurm``; any other needs nothing.

    Raises:
        OptionError: names what it should have set.
    """
    missing = [name for name in _NEEDED.get(launcher, ()) if name not in os.environ]
    if missing:
        how = {
            "pytorch": "torchrun --nproc_per_node N -m vlif_plugin.train (or mm_train) …, or leave "
            "--launcher out",
            "slurm": "srun",
        }[launcher]
        raise OptionError(f"--launcher {launcher}: {', '.join(missing)} not set; start with {how}")


def _translate_slurm(port: int | None) -> None:
    environment = {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": os.environ["SLURM_NTASKS"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
    }
    command = ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]]
    try:
        first = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[
            0
        ]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise OptionError(
            f"--launcher slurm: {' '.join(command)} gave no host name ({error})"
        ) from error
    environment["MASTER_ADDR"] = first
    environment["MASTER_PORT"] = str(port or os.environ.get("MASTER_PORT", 29500))
    os.environ.update(environment)
