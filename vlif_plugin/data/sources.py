"""Where images come from: a folder of files, or an LMDB in BasicSR's layout."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import lmdb
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlif_plugin.data.image_io import IMAGE_SUFFIXES, decode_colour
from vlif_plugin.errors import DataError, first_names

_LMDB_LOCK = threading.Lock()
# a worker that is forked while another thread holds the lock must not wait for it for ever
os.register_at_fork(after_in_child=_LMDB_LOCK._at_fork_reinit)  # pyright: ignore[reportAttributeAccessIssue]
_META_LINE = re.compile(r"(.+)\.png \((\d+),(\d+),\d+\) \d+")


class ImageSource(Protocol):
    """A named collection of images."""

    root: Path

    def keys(self) -> list[str]:
        """Names of the images, sorted; a file's name without its suffix."""
        ...

    def size(self, key: str) -> tuple[int, int]:
        """Height and width, without decoding the image."""
        ...

    def path(self, key: str) -> str:
        """What to call the image in messages and results."""
        ...

    def read(self, key: str) -> NDArray[np.uint8]:
        """The image, shape (H, W, 3), RGB, uint8."""
        ...


class FolderSource:
    """The image files of one folder.

    Raises:
        DataError: the folder is missing or holds no images, or two files differ in suffix only.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(f"{root}: no such folder")
        files = sorted(
            f for f in self.root.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()
        )
        if not files:
            raise DataError(f"{root}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
        self._files = {f.stem: f for f in files}
        if len(self._files) != len(files):
            twice = sorted({f.name for f in files if self._files[f.stem] != f})
            raise DataError(
                f"{root}: two files of one name but for the suffix: {first_names(twice)}"
            )

    def keys(self) -> list[str]:
        """File names without suffix."""
        return list(self._files)

    def size(self, key: str) -> tuple[int, int]:
        """Height and width, from the file's header."""
        try:
            with Image.open(self._files[key]) as image:
                # OpenCV turns photographs upright; looking for EXIF in a PNG would decode all of it
                turned = image.format != "PNG" and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                return (image.width, image.height) if turned else (image.height, image.width)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{self._files[key]}: not a readable image ({error})") from error

    def path(self, key: str) -> str:
        """The file."""
        return str(self._files[key])

    def read(self, key: str) -> NDArray[np.uint8]:
        """Read and decode the file."""
        try:
            content = self._files[key].read_bytes()
        except OSError as error:
            raise DataError(
                f"{self._files[key]}: cannot be read ({error.strerror or error})"
            ) from error
        return decode_colour(content, str(self._files[key]))


class LmdbSource:
    """An LMDB in BasicSR's layout: PNG bytes by key, and ``meta_info.txt`` with keys and sizes.

    The environment is opened for each read (40 microseconds): LMDB allows one handle to a file in
    a process, and none across a fork, and so sources can be shared, sent to workers and copied.

    Raises:
        DataError: no such LMDB, it is damaged, or records that ``meta_info.txt`` lists are missing.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        if not (self.root / "data.mdb").is_file():
            raise DataError(f"{root}: no LMDB there (data.mdb is missing)")
        try:
            lines = (self.root / "meta_info.txt").read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{root}: meta_info.txt cannot be read; build the LMDB again"
            ) from error
        matches = [_META_LINE.fullmatch(line) for line in lines]
        if not lines or None in matches:
            bad = lines[matches.index(None)] if lines else "it is empty"
            raise DataError(f"{root}: meta_info.txt is damaged ({bad!r}); build the LMDB again")
        self._sizes = {m[1]: (int(m[2]), int(m[3])) for m in matches if m is not None}
        with self._records() as records:
            missing = [key for key in self._sizes if records.get(key.encode()) is None]
        if missing:
            raise DataError(
                f"{root}: has no record for {len(missing)} keys that meta_info.txt lists: {first_names(missing)}"
            )

    @contextmanager
    def _records(self) -> Iterator[lmdb.Transaction]:
        """A read transaction; one at a time in a process, as LMDB asks."""
        try:
            with (
                _LMDB_LOCK,
                lmdb.open(str(self.root), readonly=True, lock=False, readahead=False) as env,
            ):
                self._check_length(env)
                with env.begin(buffers=True) as transaction:
                    yield transaction
        except lmdb.Error as error:
            raise DataError(f"{self.root}: not a readable LMDB ({error})") from error

    def _check_length(self, env: lmdb.Environment) -> None:
        """Refuse a file that ends too early: LMDB maps it, and reading beyond kills the process."""
        needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        length = (self.root / "data.mdb").stat().st_size
        if length < needed:
            raise DataError(
                f"{self.root}: data.mdb is cut short ({length} of {needed} bytes); copy or build it again"
            )

    def keys(self) -> list[str]:
        """Keys listed in ``meta_info.txt``."""
        return sorted(self._sizes)

    def size(self, key: str) -> tuple[int, int]:
        """Height and width listed in ``meta_info.txt``."""
        return self._sizes[key]

    def path(self, key: str) -> str:
        """LMDB and key."""
        return str(self.root / key)

    def read(self, key: str) -> NDArray[np.uint8]:
        """Look up and decode the record."""
        with self._records() as records:
            record = records.get(key.encode())
            if record is not None and len(record) > (self.root / "data.mdb").stat().st_size:
                raise DataError(f"{self.path(key)}: damaged, its length cannot be; build it again")
            content = None if record is None else bytes(record)
        if content is None:
            raise DataError(f"{self.root}: has no record {key!r}, though meta_info.txt lists it")
        return decode_colour(content, self.path(key))


def open_source(root: str | os.PathLike[str]) -> ImageSource:
    """Open an LMDB (a folder whose name ends in ``.lmdb``) or a folder of images.

    Raises:
        DataError: see the classes.
    """
    return LmdbSource(root) if Path(root).suffix == ".lmdb" else FolderSource(root)
