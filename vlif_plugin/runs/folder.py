"""A run's folder, held by one training at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path

from vlif_plugin.errors import OptionError


class RunFolder:
    """The hold on a run's folder; the system lets go of it however the process ends.

    Args:
        path: the folder, which must exist.

    Raises:
        OptionError: another training is at work there.
    """

    _open: set[int] = set()  # noqa: RUF012 (of the process: see _let_go)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._handle: int | None = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            self._handle = None
            raise OptionError(
                f"{path}: another training is at work in this folder; wait for it, or give this run "
                "another name"
            ) from error
        RunFolder._open.add(self._handle)

    def release(self) -> None:
        """Let go of the folder; again and again does no harm."""
        if self._handle is not None:
            RunFolder._open.discard(self._handle)
            os.close(self._handle)
            self._handle = None


_held: dict[str, RunFolder] = {}


def hold_folder(path: str | os.PathLike[str]) -> None:
    """Keep trainings of other processes out of a folder until it is let go or this process ends.

    Raises:
        OptionError: one is at work there.
    """
    name = os.path.realpath(path)
    if name not in _held:
        _held[name] = RunFolder(path)


def release_folder(path: str | os.PathLike[str]) -> None:
    """Let other processes into the folder again."""
    folder = _held.pop(os.path.realpath(path), None)
    if folder is not None:
        folder.release()


def release_folders() -> None:
    """Let other processes into all folders that this one holds."""
    for path in list(_held):
        release_folder(path)


def put_aside(folder: Path, files: Iterable[Path]) -> list[str]:
    """Move files of a run into a folder ``aside_…`` of their own.

    Args:
        folder: that the new one is made in.
        files: perhaps none.

    Returns:
        Where they are now.
    """
    files = sorted(files)
    if not files:
        return []
    aside = folder / f"aside_{time.strftime('%Y%m%d_%H%M%S')}"
    aside.mkdir(exist_ok=True)
    for file in files:
        file.rename(aside / file.name)
    return [str(aside / file.name) for file in files]


def _let_go() -> None:
    # a data worker outlives a killed training by seconds, in which the run can be resumed already
    for handle in RunFolder._open:
        with contextlib.suppress(OSError):
            os.close(handle)
    RunFolder._open = set()


os.register_at_fork(after_in_child=_let_go)
