"""Every image file below a source, whether it lies in a folder or in an archive.

Nothing is ever unpacked under a name that an archive gives: members are read where they are.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO

from vlif_plugin.data import IMAGE_SUFFIXES
from vlif_plugin.data.image_header import LARGEST_FILE
from vlif_plugin.errors import DataError, first_line, first_names
from vlif_plugin.preparation.archives import (
    BZIP2,
    DEEPEST,
    GZIP,
    TAR,
    TAR_AT,
    XZ,
    ZIP,
    Member,
    expanded,
    naming,
    shown,
    tar_members,
    zip_members,
)

# what leads a file of each kind
IMAGE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
HEAD = TAR_AT + 8  # bytes
ARCHIVES_NOT_READ = (b"Rar!", b"7z\xbc\xaf")
_MOST_WAYS = 16


@dataclass(frozen=True)
class SourceFile:
    """A file of a source.

    Attributes:
        parts: the folders that lead to it and its name, beginning with the source's own name; an
            archive counts as a folder.
        above: the two folders that the source lies in, which may name the dataset.
        where: what to call it in messages: its path, or ``archive!member``.
        size: in bytes.
        opened: gives the file for reading.
    """

    parts: tuple[str, ...]
    where: str
    size: int
    opened: Callable[[], IO[bytes]] = field(repr=False, compare=False)
    above: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The name without suffix."""
        return Path(self.parts[-1]).stem

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            DataError: it cannot be read, or is of an absurd size.
        """
        if self.size > LARGEST_FILE:
            raise DataError(f"{self.where}: {self.size} bytes are too many for an image")
        try:
            with self.opened() as file:
                content = file.read(self.size + 1)
        except Exception as error:  # of a hostile archive, each kind raises many
            raise DataError(f"{self.where}: cannot be read ({first_line(error)})") from error
        if len(content) != self.size:
            raise DataError(f"{self.where}: has not the {self.size} bytes that it should have")
        return content


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    return hashlib.sha256(content).hexdigest()


class Sources:
    """The image files below folders and archives; a context, which closes the archives.

    Archives inside a folder are entered as well (zip, tar, and tar under gzip, bzip2 or xz);
    archives inside archives are not. Members of a compressed tar can only be read in order, so it
    is expanded once into a nameless temporary file.

    Args:
        roots: folders or archives.
        scratch: existing folder for the temporary files.

    Attributes:
        notes: what was passed over, for the user.

    Raises:
        DataError: a root is missing, or an archive is damaged, encrypted or of another kind.
    """

    def __init__(self, roots: list[str], scratch: Path) -> None:
        self.roots = [Path(root).expanduser() for root in roots]
        self.scratch = scratch
        self.notes: list[str] = []
        self._stack = ExitStack()
        self._not_read: list[str] = []
        self._above: tuple[str, ...] = ()

    def __enter__(self) -> Sources:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def files(self) -> list[SourceFile]:
        """Images of all roots, and files that only have an image's name; junk is left out."""
        return [file for root in self.roots for file in self.files_of(root)]

    def files_of(self, root: Path) -> list[SourceFile]:
        """Those of one root."""
        if not os.path.isdir(root) and not os.path.isfile(root):
            raise DataError(f"{root}: no such folder or archive")
        found: list[SourceFile] = []
        self._not_read = []
        base = Path(os.path.abspath(root))  # "." has a name as well, and a link keeps its own
        self._above = base.parts[1:-1][-2:]
        for path in _walk(base, (), Counter()) if base.is_dir() else [base]:
            names = (base.name, *path.relative_to(base).parts)
            found.extend(self._of(path, tuple(map(shown, names)), alone=path == base))
        if not found:
            reason = "; unpack first: " + first_names(self._not_read) if self._not_read else ""
            raise DataError(f"{root}: no images there{reason}")
        if self._not_read:
            self.notes.append(f"not read, unpack them first: {first_names(self._not_read)}")
        return found

    def _of(self, path: Path, names: tuple[str, ...], *, alone: bool) -> Iterator[SourceFile]:
        try:
            with open(path, "rb") as file:
                head = file.read(HEAD)
            size = path.stat().st_size
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        where = shown(path)
        links: list[str] = []
        if head.startswith(ARCHIVES_NOT_READ):
            self._not_read.append(where)
        elif head.startswith(ZIP):
            yield from self._members(path, names, zip_members(path, self._stack, links))
        elif head[TAR_AT:].startswith(TAR):
            plain = self._stack.enter_context(open(path, "rb"))  # noqa: SIM115 (closed with all)
            yield from self._members(path, names, tar_members(path, plain, self._stack, links))
        elif head.startswith((GZIP, BZIP2, XZ)):
            plain = expanded(path, self.scratch, self._stack)
            if plain is None:
                self.notes.append(f"not an archive of images: {where}")
            else:
                yield from self._members(path, names, tar_members(path, plain, self._stack, links))
        elif alone:
            raise DataError(f"{where}: neither a folder nor an archive (zip, tar, tar.gz)")
        elif _wanted(names, head):
            yield SourceFile(names, where, size, partial(path.open, "rb"), self._above)
        if links:
            what = first_names([shown(link) for link in links])
            self.notes.append(f"left out, links in archives are not followed: {what}")

    def _members(
        self, path: Path, names: tuple[str, ...], members: Iterable[Member]
    ) -> Iterator[SourceFile]:
        """Those of an archive that can be wanted."""
        for member in members:
            inside = _inside(names, member.name)
            if _junk(inside):
                continue
            where = shown(f"{path}!{member.name}")
            with naming(path), member.opened() as file:
                head = file.read(HEAD)
            if head.startswith((ZIP, GZIP, BZIP2, XZ, *ARCHIVES_NOT_READ)):
                self._not_read.append(where)
            elif _wanted(inside, head):
                yield SourceFile(inside, where, member.size, member.opened, self._above)


def _walk(folder: Path, around: tuple[str, ...], ways: Counter[str]) -> Iterator[Path]:
    """All files below a folder, sorted; links are followed, but not back into a folder around them.

    Args:
        folder: where to look.
        around: the folders that lead there.
        ways: how often each folder was come to. Links between some folders can make more ways than
            anyone can go.
    """
    real = os.path.realpath(folder)
    if real in around:
        return
    ways[real] += 1
    if ways[real] > _MOST_WAYS or len(around) > DEEPEST:
        raise DataError(
            f"{shown(folder)}: more than {_MOST_WAYS} ways of links lead here, or {DEEPEST} folders"
        )
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{shown(folder)}: cannot be read ({error.strerror or error})") from error
    # pipes and devices are neither
    yield from (entry for entry in entries if os.path.isfile(entry))
    for entry in entries:
        if os.path.isdir(entry):
            yield from _walk(entry, (*around, real), ways)


def _inside(names: tuple[str, ...], member: str) -> tuple[str, ...]:
    """An archive counts as a folder named like it, without suffixes."""
    folder = names[-1]
    while Path(folder).suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz"):
        folder = Path(folder).stem
    inside = [part for part in member.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return (*names[:-1], folder, *map(shown, inside))


def _wanted(names: tuple[str, ...], head: bytes) -> bool:
    named_image = Path(names[-1]).suffix.lower() in IMAGE_SUFFIXES
    return not _junk(names) and (named_image or _is_image(head))


def _junk(names: tuple[str, ...]) -> bool:
    """What systems and programs leave between the images."""
    return (
        names[-1].startswith(".")
        or "__MACOSX" in names
        or names[-1].lower() in ("thumbs.db", "desktop.ini")
    )


def _is_image(head: bytes) -> bool:
    return head.startswith(IMAGE_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
