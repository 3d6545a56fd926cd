"""Writing files so that the old one or the whole new one is there, never a part."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vlif_plugin.errors import OptionError


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
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


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
