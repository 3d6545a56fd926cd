"""CheckpointHook's saving: no checkpoint goes before its successor is on the disk."""

from __future__ import annotations

import inspect
from collections import deque
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook

from vlif_plugin.errors import TrainingError
from vlif_plugin.files import written_whole
from vlif_plugin.mmengine_host.checkpoints import instead_of

# mmengine's own, even if this module is executed again when its mends are in place
_with_step = inspect.unwrap(CheckpointHook._save_checkpoint_with_step)
_best = inspect.unwrap(CheckpointHook._save_best_checkpoint)
OUTDATED = "outdated_ckpts"


class _Later:
    """A file backend that puts off removing."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._waiting: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._waiting.append(("remove", path))

    def rmtree(self, path: str) -> None:
        self._waiting.append(("rmtree", path))

    def remove_now(self, but: set[str | None]) -> None:
        """Remove what waits for it, but what was written anew in the meantime."""
        while self._waiting:
            how, path = self._waiting.pop()
            if path not in but:
                getattr(self._backend, how)(path)


@instead_of(_best)
def save_best(self: CheckpointHook, runner: Any, metrics: dict[str, Any]) -> None:
    """Save weights that are the best, and then remove those that were.

    Args:
        self: the hook.
        runner: of the training.
        metrics: scores by name.

    Raises:
        TrainingError: they cannot be written.
    """
    backend, good = self.file_backend, self.last_ckpt
    self.file_backend = later = _Later(backend)
    try:
        _best(self, runner, metrics)
    except TrainingError as error:
        raise _with_good(error, good) from error
    finally:
        self.file_backend = backend
    later.remove_now(_best_paths(self))


@instead_of(_with_step)
def save_with_step(
    self: CheckpointHook, runner: Any, step: int, meta: dict[str, Any] | None
) -> None:
    """Save a checkpoint, and then remove those that are too many.

    ``last_checkpoint`` is written first: whoever finds it naming a file that is not there takes the
    newest that is, which a name that is too old would hide.

    Args:
        self: the hook.
        runner: of the training; its hooks may have a method ``gather_state``, which all processes
            call before the main one saves.
        step: that gives the file its name.
        meta: of the checkpoint.

    Raises:
        TrainingError: it cannot be written; names the last that could.
    """
    if isinstance(self.file_backend, _Later):  # of the best weights, which are saved by now
        self.file_backend.remove_now(_best_paths(self))
    good, name = self.last_ckpt, self.filename_tmpl.format(step)
    path = self.file_backend.join_path(self.out_dir, name)
    outdated = _outdated(self, runner, step)
    self.last_ckpt = path
    runner.message_hub.update_info("last_ckpt", path)
    runner.call_hook("gather_state")
    try:
        if is_main_process():
            _write_name(Path(runner.work_dir) / "last_checkpoint", str(path))
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
    except TrainingError as error:
        self.last_ckpt = good
        raise _with_good(error, good) from error
    remove_checkpoints(self, outdated)


def remove_checkpoints(hook: CheckpointHook, steps: list[int]) -> None:
    """Remove checkpoints that are there, in the main process.

    Args:
        hook: whose they are.
        steps: that give the files their names.
    """
    backend: Any = hook.file_backend
    for step in steps if is_main_process() else ():
        path = backend.join_path(hook.out_dir, hook.filename_tmpl.format(step))
        if backend.isfile(path):
            backend.remove(path)
        elif backend.isdir(path):  # DeepSpeed's
            backend.rmtree(path)


def _outdated(hook: CheckpointHook, runner: Any, step: int) -> list[int]:
    """The checkpoints that are one too many with a new one, which says so itself."""
    if hook.max_keep_ckpts <= 0:
        return []
    kept = [*hook.keep_ckpt_ids]
    if not kept or kept[-1] != step:
        kept.append(step)
    outdated, kept = kept[: -hook.max_keep_ckpts], kept[-hook.max_keep_ckpts :]
    hook.keep_ckpt_ids = deque(kept, hook.max_keep_ckpts)
    runner.message_hub.update_info("keep_ckpt_ids", kept)
    runner.message_hub.update_info(OUTDATED, outdated)  # to be removed by whoever resumes from it
    return outdated


def _best_paths(hook: CheckpointHook) -> set[str | None]:
    paths = getattr(hook, "best_ckpt_path_dict", {}).values()
    return {getattr(hook, "best_ckpt_path", None), *paths}


def _write_name(path: Path, name: str) -> None:
    try:
        with written_whole(path) as file:
            file.write(name.encode())
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written ({error.strerror or error})") from error


def _with_good(error: TrainingError, good: Any) -> TrainingError:
    if "last good checkpoint" in str(error):
        return error
    return TrainingError(f"{error}; last good checkpoint: {good or 'none'}")
