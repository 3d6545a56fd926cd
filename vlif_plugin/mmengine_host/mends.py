"""What mmengine 0.10.7 gets wrong, mended in memory: nothing on disk is changed.

Each mend replaces one function by one of ours; the list is :data:`MENDS`, of the same form as
BasicSR's. Where there is a GPU, mmengine's own functions start processes, wrap models and scale losses.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import os
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine._strategy import distributed as _strategy
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import IterBasedTrainLoop, loops
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn
from torch.utils.data import BatchSampler, DataLoader

from vlif_plugin.distributed import init_distributed
from vlif_plugin.errors import CheckpointError, OptionError
from vlif_plugin.mmengine_host.checkpoints import (
    instead_of,
    load_from_http,
    load_from_local,
    save_checkpoint,
)

# mmengine's own, even if this module is executed again when its mends are in place
_init_dist = inspect.unwrap(_strategy.init_dist)
_ddp_init = inspect.unwrap(MMDistributedDataParallel.__init__)
_amp_init = inspect.unwrap(AmpOptimWrapper.__init__)
_loop_run = inspect.unwrap(IterBasedTrainLoop.run)
_Iterator: Any = inspect.unwrap(loops._InfiniteDataloaderIterator)


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


class _LaterStart:
    """Stands in a batch sampler for its sampler until it is asked, and leaves first indices out."""

    def __init__(self, batch_sampler: BatchSampler, indices: int) -> None:
        self.batch_sampler = batch_sampler
        self.sampler = batch_sampler.sampler
        self.indices = indices

    def __iter__(self) -> Iterator[int]:
        self.batch_sampler.sampler = self.sampler
        return itertools.islice(self.sampler, self.indices, None)


class PassingIterator(_Iterator):
    """The batches of a data loader for ever, of which the first can be passed over unread.

    It starts at the first batch that is read: when mmengine starts its own, workers begin to read
    before it is known that a run is resumed.

    Args:
        dataloader: one whose sampler's order is known beforehand.
    """

    def __init__(self, dataloader: DataLoader) -> None:
        self._dataloader = dataloader
        self._iterator: Any = None
        self._epoch = 0
        self._passed = self._free = 0
        # a start takes one random number: it is taken here, as by mmengine's own, and again then
        self._random = dataloader.generator or torch.default_generator
        self._state = self._random.get_state()
        torch.empty((), dtype=torch.int64).random_(generator=self._random)

    def pass_over(self, batches: int) -> None:
        """Let the next ``batches`` steps cost nothing; without effect once a batch was read."""
        if self._iterator is None:
            self._passed = self._free = batches

    def __next__(self) -> Sequence[dict[str, Any]]:
        """The next batch; an empty one for each that is passed over."""
        if self._free:
            self._free -= 1
            return ()
        if self._iterator is None:
            self._start()
        return super().__next__()

    def _start(self) -> None:
        batch_sampler: Any = self._dataloader.batch_sampler
        if self._passed:
            batches = self._passed
            if isinstance(batch_sampler.sampler, DefaultSampler):  # another order in each epoch
                self._epoch, batches = divmod(batches, len(batch_sampler))
                batch_sampler.sampler.set_epoch(self._epoch)
            indices = batches * batch_sampler.batch_size
            batch_sampler.sampler = _LaterStart(batch_sampler, indices)
        now = self._random.get_state()
        self._random.set_state(self._state)
        self._iterator = iter(self._dataloader)
        self._random.set_state(now)


@instead_of(_Iterator)
def dataloader_iterator(dataloader: DataLoader) -> Any:
    """A :class:`PassingIterator` where mmengine's samplers give the order; else mmengine's own."""
    batch_sampler = dataloader.batch_sampler
    known = (
        type(batch_sampler) is BatchSampler
        and type(batch_sampler.sampler) in (DefaultSampler, InfiniteSampler)
    )  # fmt: skip
    return (PassingIterator if known else _Iterator)(dataloader)


@instead_of(_loop_run)
def loop_run(self: IterBasedTrainLoop) -> Any:
    """Train; when resumed, go on in the data's order without reading again what was trained on."""
    if self._iter and isinstance(self.dataloader_iterator, PassingIterator):
        self.dataloader_iterator.pass_over(self._iter)
    return _loop_run(self)


_CHECKPOINT = "mmengine.runner.checkpoint"
_RUNNERS = ("mmengine.runner.runner", "mmengine.runner._flexible_runner")
_STRATEGY = "mmengine._strategy"
_SAFE = "checkpoints are read without running code, histories of logged values included"
_WHOLE = "checkpoints are written whole, of tensors and plain types"
_NEWEST = "a missing or damaged newest checkpoint falls back to the one before"
_GLOO = "distributed runs on CPUs"

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
    ("mmengine.optim.AmpOptimWrapper", "__init__", amp_init, "bfloat16 on CPUs"),
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
)
"""Module or class, attribute, replacement, why."""


def apply() -> None:
    """Apply all mends; again and again does no harm."""
    for owner, attribute, replacement, _ in MENDS:
        setattr(pkgutil.resolve_name(owner), attribute, replacement)
    CheckpointLoader.register_scheme("", load_from_local, force=True)
    CheckpointLoader.register_scheme(("http://", "https://"), load_from_http, force=True)


def _warn(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)
