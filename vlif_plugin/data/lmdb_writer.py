"""Writing LMDBs in BasicSR's layout: PNG bytes by key, and ``meta_info.txt`` with keys and sizes."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import lmdb
import numpy as np
from numpy.typing import NDArray

from vlif_plugin.errors import UNFIT, DataError

KEY = f"[^{UNFIT}]+"
"""Of a key: one line of text, as ``meta_info.txt`` holds them, that messages can show."""

# a bound on the address space, not what is written: the file grows as needed
_MAP_SIZE = 2**40


def encode_record(image: NDArray[np.uint8]) -> bytes:
    """An (H, W, 3) RGB uint8 image as BasicSR's LMDBs hold it: PNG, compression level 1.

    Raises:
        DataError: the array is no such image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"must be (H, W, 3) uint8, is {image.shape} {image.dtype}")
    return cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def meta_line(key: str, size: tuple[int, int]) -> str:
    """A key's line in ``meta_info.txt``; BasicSR reads sizes from no other place."""
    return f"{key}.png ({size[0]},{size[1]},3) 1\n"


class LmdbWriter:
    """Records of an LMDB under construction; a context. What is committed survives a kill.

    Args:
        folder: made if it is not there; records in it stay.

    Raises:
        OSError, lmdb.Error: the disk is full, or no LMDB can be there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._env = lmdb.open(str(folder), map_size=_MAP_SIZE)

    def __enter__(self) -> LmdbWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._env.close()

    def put(self, records: Mapping[str, bytes], *, overwrite: bool = False) -> None:
        """Write some records, all or none.

        Raises:
            DataError: a key cannot be one, or is there already and ``overwrite`` is not set.
        """
        with self._env.begin(write=True) as transaction:
            for key, record in records.items():
                if not re.fullmatch(KEY, key):
                    raise DataError(f"{key!r} cannot be a key: it must be one line of text")
                if not transaction.put(key.encode(), record, overwrite=overwrite):
                    raise DataError(f"the key {key!r} comes twice")

    def keep_only(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Delete all other records, and write ``meta_info.txt`` for keys with their (height, width)."""
        kept = {key.encode() for key in sizes}
        with self._env.begin(write=True) as transaction:
            with transaction.cursor() as cursor:
                stale = [key for key in cursor.iternext(values=False) if key not in kept]
            for key in stale:
                transaction.delete(key)
        lines = [meta_line(key, size) for key, size in sizes.items()]
        (self.folder / "meta_info.txt").write_text("".join(lines), encoding="utf-8")


def write_lmdb(
    images: Iterable[tuple[str, NDArray[np.uint8]]], root: str | os.PathLike[str]
) -> None:
    """Write an LMDB in BasicSR's layout; it appears under its name only when it is complete.

    Args:
        images: keys and (H, W, 3) RGB uint8 images, drawn one at a time.
        root: folder to make, ending in ``.lmdb``.

    Raises:
        DataError: the name does not end in ``.lmdb``, something is there already, a key comes
            twice, or the disk is full.
    """
    root = Path(root)
    if root.suffix != ".lmdb":
        raise DataError(f"{root}: an LMDB's name must end in .lmdb")
    if root.exists():
        raise DataError(f"{root}: exists already; remove it first")
    partial = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    sizes: dict[str, tuple[int, int]] = {}
    try:
        with LmdbWriter(partial) as writer:
            for key, image in images:
                try:
                    writer.put({key: encode_record(image)})
                except DataError as error:
                    raise DataError(f"{root}: image {key!r}: {error}") from error
                sizes[key] = image.shape[0], image.shape[1]
            if not sizes:
                raise DataError(f"{root}: no images were given")
            writer.keep_only(sizes)
        os.replace(partial, root)
    except (OSError, lmdb.Error) as error:
        raise DataError(f"{root}: {why_not_written(error, root.parent)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def why_not_written(error: Exception, folder: Path) -> str:
    """Say why writing failed; a full disk with what is free there."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
    # LMDB calls a write that was cut short an input/output error
    if full or (free < 2**23 and "Input/output" in str(error)):
        return f"cannot be written: the disk is full ({free // 2**20} MB free)"
    return f"cannot be written ({error})"
