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

from vlif_plugin.data.image_header import image_size
from vlif_plugin.data.image_io import IMAGE_SUFFIXES, decode_colour, read_image_file
from vlif_plugin.data.lmdb_writer import KEY
from vlif_plugin.errors import DataError, first_names
from vlif_plugin.files import read_at_most

_LMDB_LOCK = threading.Lock()
# a worker that is forked while another thread holds the lock must not wait for it for ever
os.register_at_fork(after_in_child=_LMDB_LOCK._at_fork_reinit)  # pyright: ignore[reportAttributeAccessIssue]
_META_LINE = re.compile(rf"({KEY})\.png \(([1-9][0-9]{{0,8}}),([1-9][0-9]{{0,8}}),[0-9]+\) [0-9]+")
_LARGEST_META = 2**28  # bytes; a line has some thirty


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
        if not os.path.isdir(root):
            raise DataError(f"{root}: no such folder")
        try:
            entries = sorted(self.root.iterdir())
        except OSError as error:
            raise DataError(f"{root}: cannot be read ({error.strerror or error})") from error
        files = [f for f in entries if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()]
        if not files:
            raise DataError(f"{root}: holds no images ({', '.join(IMAGE_SUFFIXES)})")
        # by key and not by file name, as an LMDB of the same images: rain is seeded by the place
        files.sort(key=lambda file: file.stem)
        self._files = {f.stem: f for f in files}
        if len(self._files) != len(files):
            twice = sorted({f.name for f in files if self._files[f.stem] != f})
            raise DataError(
                f"{root}: two files of one name but for the suffix: {first_names(twice)}"
            )

    def keys(self) -> list[str]:
        """File names without suffix, sorted."""
        return list(self._files)

    def size(self, key: str) -> tuple[int, int]:
        """Height and width, from the file's header."""
        path = self._files[key]
        try:
            with open(path, "rb") as file:
                return image_size(file, str(path))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error

    def path(self, key: str) -> str:
        """The file."""
        return str(self._files[key])

    def read(self, key: str) -> NDArray[np.uint8]:
        """Read and decode the file."""
        path = self._files[key]
        return decode_colour(read_image_file(path), str(path))


class LmdbSource:
    """An LMDB in BasicSR's layout: PNG bytes by key, and ``meta_info.txt`` with keys and sizes.

    The environment is opened for each read (40 microseconds): LMDB allows one handle to a file in
    a process, and none across a fork, and so sources can be shared, sent to workers and copied.

    Raises:
        DataError: no such LMDB, it is damaged, or records that ``meta_info.txt`` lists are missing.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        if not os.path.isfile(self.root / "data.mdb"):
            raise DataError(f"{root}: no LMDB there (data.mdb is missing)")
        self._sizes = _read_sizes(self.root)
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
        """Keys listed in ``meta_info.txt``, sorted."""
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
        image = decode_colour(content, self.path(key))
        if image.shape[:2] != self._sizes.get(key):  # by which it was paired, and patches are cut
            raise DataError(
                f"{self.path(key)}: its size is not the one in meta_info.txt; build the LMDB again"
            )
        return image


def _read_sizes(root: Path) -> dict[str, tuple[int, int]]:
    """Keys and sizes in an LMDB's ``meta_info.txt``."""
    try:
        text = read_at_most(root / "meta_info.txt", _LARGEST_META).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{root}: meta_info.txt cannot be read; build the LMDB again") from error
    sizes: dict[str, tuple[int, int]] = {}
    for line in text.splitlines() or ["it is empty"]:
        match = _META_LINE.fullmatch(line)
        if match is None or match[1] in sizes:
            shown = repr(line if len(line) < 200 else line[:200] + "…")
            what = shown if match is None else f"{shown} comes twice"
            raise DataError(f"{root}: meta_info.txt is damaged ({what}); build the LMDB again")
        sizes[match[1]] = int(match[2]), int(match[3])
    return sizes


class KeptSource:
    """A source whose images are read once and kept: small sets are decoded no more than that.

    Args:
        source: of the images.
    """

    def __init__(self, source: ImageSource) -> None:
        self.source = source
        self.root = source.root
        self._kept: dict[str, NDArray[np.uint8]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}

    def keys(self) -> list[str]:
        """The source's."""
        return self.source.keys()

    def size(self, key: str) -> tuple[int, int]:
        """The source's."""
        if key not in self._sizes:
            self._sizes[key] = self.source.size(key)
        return self._sizes[key]

    def path(self, key: str) -> str:
        """The source's."""
        return self.source.path(key)

    def read(self, key: str) -> NDArray[np.uint8]:
        """The image, read-only; one that cannot be read is tried anew each time."""
        if key not in self._kept:
            image = self.source.read(key)
            image.flags.writeable = False
            self._kept[key] = image
        return self._kept[key]


def open_source(root: str | os.PathLike[str]) -> ImageSource:
    """Open an LMDB (a folder whose name ends in ``.lmdb``) or a folder of images; ``~`` is the user's.

    Raises:
        DataError: see the classes.
    """
    root = os.path.expanduser(root)
    return LmdbSource(root) if Path(root).suffix == ".lmdb" else FolderSource(root)
