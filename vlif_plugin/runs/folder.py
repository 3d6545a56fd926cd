"""A run's folder, held by one training at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os

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


def _let_go() -> None:
    # a data worker outlives a killed training by seconds, in which the run can be resumed already
    for handle in RunFolder._open:
        with contextlib.suppress(OSError):
            os.close(handle)
    RunFolder._open = set()


os.register_at_fork(after_in_child=_let_go)
