"""Writing files so that the old one or the whole new one is there, never a part."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vlif_plugin.errors import DataError, OptionError

_PARTIAL = re.compile(r"\..+\.\d+\.tmp")


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that takes the name ``path`` when the block ends well, and leaves nothing otherwise.

    Raises:
        OSError: it could not be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def staged_folder(folder: Path, *, last: str = "") -> Iterator[Path]:
    """A folder whose files are moved into ``folder`` when the block ends well.

    Otherwise nothing is left of it, and ``folder`` is as it was. It lies beside ``folder``; in it where
    files cannot be moved from there, as into a mounted folder.

    Args:
        folder: made if missing; files of other names stay in it.
        last: name of the file that is moved when all others are there.

    Raises:
        DataError: it cannot be made, or files cannot be moved.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            made = tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=_near(folder))
            stage = Path(stack.enter_context(made))
        except OSError as error:
            raise DataError(f"{folder}: cannot be made ({error.strerror or error})") from error
        yield stage
        files = [path for path in stage.rglob("*") if path.is_file()]
        try:
            for path in sorted(files, key=lambda file: (file.name == last, file)):
                target = folder / path.relative_to(stage)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _near(folder: Path) -> Path:
    """Where files can be made that can be moved into a folder."""
    beside = folder.absolute().parent
    if not folder.is_dir():
        return beside
    on_one_disk = folder.stat().st_dev == beside.stat().st_dev
    return beside if on_one_disk and os.access(beside, os.W_OK) else folder


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk: until then, a power cut may give the old file back, or neither."""
    # Windows opens no folders, and some network file systems do not sync them
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_at_most(path: str | os.PathLike[str], limit: int) -> bytes:
    """A file's bytes.

    Args:
        path: of a file; a pipe or a device, which may have no end, is none.
        limit: bytes that it may have.

    Raises:
        OSError: there is no such file, it cannot be read, or it is larger; ``strerror`` says which.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is no file")
            if status.st_size > limit:
                raise OSError(errno.EFBIG, f"it is larger than {limit} bytes")
            return file.read()
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, "no file can have this name") from error


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a pipe without its other end, which may never come; files do not mind."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def remove_partial_files(folder: str | os.PathLike[str]) -> int:
    """Remove what :func:`written_whole` leaves where its process is killed.

    Args:
        folder: looked through with all that lies below it; nobody else may be writing there.

    Returns:
        How many files there were.
    """
    found = [path for path in Path(folder).rglob(".*.tmp") if _PARTIAL.fullmatch(path.name)]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def check_absent(path: str | os.PathLike[str]) -> None:
    """Refuse to write over what is there, dangling links among it.

    Raises:
        DataError: something of that name exists.
    """
    if os.path.lexists(path):
        raise DataError(f"{path}: exists already; remove it first or choose another name")


def check_folder(path: str | os.PathLike[str], section: str = "path") -> None:
    """Refuse a folder that cannot be made: the nearest that exists is none, or cannot be written.

    Args:
        path: of the folder.
        section: of the options that name it, for the message.

    Raises:
        OptionError: names both.
    """
    root = Path(path).absolute()
    present = next(folder for folder in (root, *root.parents) if folder.exists())
    if not present.is_dir() or not os.access(present, os.W_OK):
        raise OptionError(
            f"{section}: {root} cannot be made, because {present} is no folder that can be written"
        )


def file_hash(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file, which may be large.

    Raises:
        OSError: it could not be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
