"""What mmengine 0.10.7 gets wrong, mended in memory: nothing on disk is changed.

Each mend replaces one function by one of ours; the list is :data:`MENDS`, of the same form as
BasicSR's. Where there is a GPU, mmengine's own functions start processes, wrap models and scale losses.
"""

from __future__ import annotations

import inspect
import logging
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine._strategy import distributed as _strategy
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, convert_sync_batchnorm
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from vlif_plugin.distributed import init_distributed
from vlif_plugin.errors import CheckpointError, OptionError
from vlif_plugin.layers import synchronise_batchnorm
from vlif_plugin.mmengine_host.checkpoints import (
    instead_of,
    load_from_http,
    load_from_local,
    save_checkpoint,
)
from vlif_plugin.mmengine_host.loaders import build_dataloader, dataloader_iterator, loop_run
from vlif_plugin.mmengine_host.saving import save_best, save_with_step
from vlif_plugin.runs import be_deterministic

# mmengine's own, even if this module is executed again when its mends are in place
_init_dist = inspect.unwrap(_strategy.init_dist)
_ddp_init = inspect.unwrap(MMDistributedDataParallel.__init__)
_convert = inspect.unwrap(convert_sync_batchnorm)
_amp_init = inspect.unwrap(AmpOptimWrapper.__init__)
_set_randomness = inspect.unwrap(Runner.set_randomness)


def find_latest_checkpoint(path: str) -> str | None:
    """The checkpoint to resume from in a folder, or None; what is passed over is said.

    The one that ``last_checkpoint`` names comes first, or the file of that name in the folder itself
    if that was moved. If it is missing or damaged, the newest readable ``iter_*.pth`` or
    ``epoch_*.pth`` is taken, of the folder and of the one that ``last_checkpoint`` names.
    """
    folder = Path(path)
    try:
        named = (folder / "last_checkpoint").read_text(errors="replace").strip(" \t\r\n\0")
    except OSError:
        named = ""
    tried: set[Path] = set()
    folders = [folder]
    if "://" in named or os.path.isdir(named):
        return named  # another backend's, or DeepSpeed's: not ours to judge
    if named:
        file = Path(named) if os.path.isfile(named) else folder / Path(named).name
        if _iteration(file) is not None:
            return str(file)
        tried.add(file)
        folders.append(Path(named).parent)
    found = [
        newest
        for where in folders
        for kind in ("iter", "epoch")
        if (newest := _newest(where, kind, tried)) is not None
    ]
    if not found:
        print_log(f"no checkpoint to resume from in {folder}", logger="current")
        return None
    newest = str(max(found)[1])
    why = "names no usable file" if named else "is missing or empty"
    _warn(f"{folder / 'last_checkpoint'} {why}; taking {newest}")
    return newest


def _newest(folder: Path, kind: str, tried: set[Path]) -> tuple[int, Path] | None:
    """Iteration and path of the readable checkpoint with the highest number."""
    files = {
        int(number): file
        for file in folder.glob(f"{kind}_*.pth")
        if (number := file.stem.removeprefix(f"{kind}_")).isdecimal() and file not in tried
    }
    for number in sorted(files, reverse=True):
        tried.add(files[number])
        iteration = _iteration(files[number])
        if iteration is not None:
            return iteration, files[number]
    return None


def _iteration(path: Path) -> int | None:
    """The iteration of a checkpoint that can be resumed from; None, and why, for any other file."""
    try:
        meta = load_from_local(str(path), "cpu").get("meta")
    except CheckpointError as error:
        _warn(f"passing over {error}")
        return None
    if not isinstance(meta, dict) or not isinstance(meta.get("iter"), int):
        _warn(f"passing over {path}: it holds weights, but no state of a training")
        return None
    return meta["iter"]


@instead_of(_init_dist)
def init_dist(
    launcher: str, backend: str = "nccl", init_backend: str = "torch", **options: Any
) -> None:
    """Join gloo where there is no GPU, whatever backend the configuration names.

    Args:
        launcher: ``pytorch`` or ``slurm``; any other goes to mmengine's own.
        backend: used by mmengine's own.
        init_backend: ``torch``; any other goes to mmengine's own.
        options: ``port`` for slurm; the rest is used by mmengine's own.

    Raises:
        OptionError: the environment lacks what the launcher should have set.
    """
    if get_device() == "cpu" and launcher in ("pytorch", "slurm") and init_backend == "torch":
        init_distributed(launcher, use_cuda=False, port=options.get("port"))
    else:
        _init_dist(launcher, backend, init_backend, **options)


@instead_of(_ddp_init)
def ddp_init(
    self: MMDistributedDataParallel, module: nn.Module, *args: Any, **options: Any
) -> None:
    """Leave the GPU's number, which mmengine always gives, out for a module on the CPU."""
    if all(parameter.device.type == "cpu" for parameter in module.parameters()):
        options |= {"device_ids": None, "output_device": None}
    _ddp_init(self, module, *args, **options)


@instead_of(_convert)
def sync_batchnorm(module: nn.Module, implementation: str = "torch") -> nn.Module:
    """Synchronise BatchNorm on CPUs too, where torch's own refuses, and leave each layer its class.

    Args:
        module: the model.
        implementation: ``torch``; any other goes to mmengine's own.
    """
    if implementation == "torch":
        return synchronise_batchnorm(module)
    return _convert(module, implementation)


@instead_of(_amp_init)
def amp_init(
    self: AmpOptimWrapper,
    loss_scale: Any = "dynamic",
    dtype: str | torch.dtype | None = None,
    use_fsdp: bool = False,
    **options: Any,
) -> None:
    """Accept bfloat16 on a CPU, without scaling of the loss: its range is that of float32.

    Raises:
        OptionError: another type on a CPU.
    """
    if get_device() != "cpu":
        _amp_init(self, loss_scale, dtype, use_fsdp, **options)  # type: ignore[arg-type]
        return
    if dtype not in ("bfloat16", torch.bfloat16):
        raise OptionError(
            f"optim_wrapper: AmpOptimWrapper with dtype={dtype!r} needs a GPU, and there is none; "
            "give dtype='bfloat16', or take OptimWrapper"
        )
    super(AmpOptimWrapper, self).__init__(**options)
    self._scale_update_param = None
    self.loss_scaler = torch.amp.GradScaler("cpu", enabled=False)
    self.cast_dtype = torch.bfloat16


@instead_of(_set_randomness)
def set_randomness(
    self: Runner,
    seed: int | None = None,
    diff_rank_seed: bool = False,
    deterministic: bool = False,
) -> None:
    """Seed; ``deterministic`` alone will do, and reaches cuBLAS too.

    Args:
        self: the runner.
        seed: of the run; None draws one.
        diff_rank_seed: add the number of the process.
        deterministic: have torch take deterministic algorithms only.
    """
    if deterministic:
        be_deterministic()
    _set_randomness(self, seed, diff_rank_seed, deterministic)


_CHECKPOINT = "mmengine.runner.checkpoint"
_RUNNERS = ("mmengine.runner.runner", "mmengine.runner._flexible_runner")
_STRATEGY = "mmengine._strategy"
_SAFE = "checkpoints are read without running code, histories of logged values included"
_WHOLE = "checkpoints are written whole, of tensors and plain types"
_NEWEST = "a missing or damaged newest checkpoint falls back to the one before"
_GLOO = "distributed runs on CPUs"
_SAVING = "mmengine.hooks.CheckpointHook"
_OLD_LAST = "an old checkpoint goes when the new one is there; last_checkpoint is written whole"

MENDS: tuple[tuple[str, str, Callable[..., Any], str], ...] = (
    (_CHECKPOINT, "load_from_local", load_from_local, _SAFE),
    (_CHECKPOINT, "load_from_http", load_from_http, _SAFE),
    *(
        (owner, "save_checkpoint", save_checkpoint, _WHOLE)
        for owner in (
            _CHECKPOINT,
            "mmengine.runner",
            "mmengine.runner.runner",
            f"{_STRATEGY}.deepspeed",
            f"{_STRATEGY}.colossalai",
        )
    ),
    *(
        (owner, "find_latest_checkpoint", find_latest_checkpoint, _NEWEST)
        for owner in (_CHECKPOINT, "mmengine.runner", *_RUNNERS)
    ),
    *(
        (owner, "init_dist", init_dist, _GLOO)
        for owner in ("mmengine.dist", "mmengine.runner.runner", f"{_STRATEGY}.distributed")
    ),
    ("mmengine.model.MMDistributedDataParallel", "__init__", ddp_init, _GLOO),
    *(
        (owner, "convert_sync_batchnorm", sync_batchnorm, "sync_bn on CPUs, and of tdBN")
        for owner in (
            "mmengine.model",
            "mmengine.model.utils",
            "mmengine.runner.runner",
            f"{_STRATEGY}.distributed",
        )
    ),
    ("mmengine.optim.AmpOptimWrapper", "__init__", amp_init, "bfloat16 on CPUs"),
    (
        "mmengine.runner.Runner",
        "build_dataloader",
        build_dataloader,
        "which image comes when, and its patch, depend on seed and place alone",
    ),
    (
        "mmengine.runner.loops",
        "_InfiniteDataloaderIterator",
        dataloader_iterator,
        "a resumed run does not read again the data that it was trained on",
    ),
    (
        "mmengine.runner.IterBasedTrainLoop",
        "run",
        loop_run,
        "the same, where the number of batches is known",
    ),
    (_SAVING, "_save_checkpoint_with_step", save_with_step, _OLD_LAST),
    (_SAVING, "_save_best_checkpoint", save_best, _OLD_LAST),
    (
        "mmengine.runner.Runner",
        "set_randomness",
        set_randomness,
        "randomness=dict(deterministic=True) needs no seed, and reaches cuBLAS",
    ),
)
"""Module or class, attribute, replacement, why."""


def apply() -> None:
    """Apply all mends; again and again does no harm."""
    for owner, attribute, replacement, _ in MENDS:
        place = pkgutil.resolve_name(owner)
        static = isinstance(inspect.getattr_static(place, attribute), staticmethod)
        setattr(place, attribute, staticmethod(replacement) if static else replacement)
    CheckpointLoader.register_scheme("", load_from_local, force=True)
    CheckpointLoader.register_scheme(("http://", "https://"), load_from_http, force=True)


def _warn(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)
