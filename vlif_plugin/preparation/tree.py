"""Every image file below a source, whether it lies in a folder or in an archive.

Nothing is ever unpacked under a name that an archive gives: members are read where they are.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from vlif_plugin.data import IMAGE_SUFFIXES
from vlif_plugin.errors import DataError, first_line, first_names

# what leads a file of each kind
IMAGE_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")
HEAD = 265  # bytes; a tar says so at 257
LARGEST_IMAGE = 2**29
LARGEST_EXPANSION = 50  # photographs hardly compress; only a trap expands so far
GZIP, BZIP2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"
ARCHIVES_NOT_READ = (b"Rar!", b"7z\xbc\xaf")
_BROKEN_ARCHIVE = (
    OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, tarfile.TarError, zlib.error,
    lzma.LZMAError,
)  # fmt: skip


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
        if self.size > LARGEST_IMAGE:
            raise DataError(f"{self.where}: {self.size} bytes are too many for an image")
        try:
            with self.opened() as file:
                content = file.read(LARGEST_IMAGE + 1)
        except _BROKEN_ARCHIVE as error:
            raise DataError(f"{self.where}: cannot be read ({first_line(error)})") from error
        if len(content) > LARGEST_IMAGE:  # the archive lies about it
            raise DataError(f"{self.where}: too large for an image")
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
        if not root.exists():
            raise DataError(f"{root}: no such folder or archive")
        found: list[SourceFile] = []
        self._not_read = []
        base = Path(os.path.abspath(root))  # "." has a name as well, and a link keeps its own
        self._above = base.parts[1:-1][-2:]
        for path in _walk(base, ()) if base.is_dir() else [base]:
            names = (base.name, *path.relative_to(base).parts)
            found.extend(self._of(path, names, alone=path == base))
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
        if head.startswith(ARCHIVES_NOT_READ):
            self._not_read.append(str(path))
        elif head.startswith(b"PK\x03\x04"):
            yield from self._zip(path, names)
        elif head[257:262] == b"ustar":
            plain = self._stack.enter_context(open(path, "rb"))  # noqa: SIM115 (closed with all)
            yield from self._tar(path, names, plain)
        elif head.startswith((GZIP, BZIP2, XZ)):
            yield from self._compressed(path, names)
        elif alone:
            raise DataError(f"{path}: neither a folder nor an archive (zip, tar, tar.gz)")
        elif _wanted(names, head):
            yield SourceFile(names, str(path), size, partial(path.open, "rb"), self._above)

    def _zip(self, path: Path, names: tuple[str, ...]) -> Iterator[SourceFile]:
        try:
            archive = self._stack.enter_context(zipfile.ZipFile(path))
            for info in archive.infolist():
                inside = _inside(names, info.filename)
                if info.is_dir() or _junk(inside):
                    continue
                with archive.open(info) as member:
                    head = member.read(HEAD)
                yield from self._member(
                    inside,
                    f"{path}!{info.filename}",
                    info.file_size,
                    head,
                    partial(archive.open, info),
                )
        except _BROKEN_ARCHIVE as error:
            raise DataError(f"{path}: {_damaged(error)}") from error

    def _compressed(self, path: Path, names: tuple[str, ...]) -> Iterator[SourceFile]:
        """A compressed tar; a compressed anything else is passed over."""
        limit = LARGEST_EXPANSION * path.stat().st_size + 2**20
        try:
            with _decompressed(path) as packed:
                head = packed.read(512)
                if head[257:262] != b"ustar":
                    self.notes.append(f"not an archive of images: {path}")
                    return
                plain = self._stack.enter_context(
                    tempfile.TemporaryFile(dir=self.scratch)  # noqa: SIM115 (closed with all)
                )
                plain.write(head)
                while block := packed.read(2**22):
                    plain.write(block)
                    if plain.tell() > limit:
                        raise DataError(
                            f"{path}: expands more than {LARGEST_EXPANSION}-fold, which images do not"
                        )
        except _BROKEN_ARCHIVE as error:
            free = shutil.disk_usage(self.scratch).free
            full = f"; {free // 2**20} MB are free in {self.scratch}" if free < 2**26 else ""
            raise DataError(f"{path}: {_damaged(error)}{full}") from error
        plain.seek(0)
        yield from self._tar(path, names, plain)

    def _tar(self, path: Path, names: tuple[str, ...], plain: IO[bytes]) -> Iterator[SourceFile]:
        try:
            archive: Any = tarfile.open(fileobj=plain, mode="r:")  # noqa: SIM115 (closed with all)
            self._stack.enter_context(archive)
            for member in archive:
                inside = _inside(names, member.name)
                if not (member.isreg() or member.islnk()) or _junk(inside):
                    continue
                size = (archive.getmember(member.linkname) if member.islnk() else member).size
                with archive.extractfile(member) as file:
                    head = file.read(HEAD)
                opened = partial(archive.extractfile, member)
                yield from self._member(inside, f"{path}!{member.name}", size, head, opened)
            plain.seek(archive.offset)  # tarfile stops at a bad header without a word
            if archive.offset > os.fstat(plain.fileno()).st_size or plain.read(512).strip(b"\0"):
                raise tarfile.ReadError(f"bad or missing data at byte {archive.offset}")
        except (*_BROKEN_ARCHIVE, KeyError) as error:
            raise DataError(f"{path}: {_damaged(error)}") from error

    def _member(
        self,
        names: tuple[str, ...],
        where: str,
        size: int,
        head: bytes,
        opened: Callable[[], IO[bytes]],
    ) -> Iterator[SourceFile]:
        """The member of an archive, if it can be wanted."""
        if head.startswith((b"PK\x03\x04", GZIP, BZIP2, XZ, *ARCHIVES_NOT_READ)):
            self._not_read.append(where)
        elif _wanted(names, head):
            yield SourceFile(names, where, size, opened, self._above)


def _walk(folder: Path, around: tuple[str, ...]) -> Iterator[Path]:
    """All files below a folder, sorted; links are followed, but not back into a folder around them."""
    real = os.path.realpath(folder)
    if real in around:
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from error
    yield from (entry for entry in entries if entry.is_file())
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry, (*around, real))


def _inside(names: tuple[str, ...], member: str) -> tuple[str, ...]:
    """An archive counts as a folder named like it, without suffixes."""
    folder = names[-1]
    while Path(folder).suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz"):
        folder = Path(folder).stem
    inside = [part for part in member.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return (*names[:-1], folder, *inside)


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


def _decompressed(path: Path) -> Any:
    """Open a gzip, bzip2 or xz file for reading what is in it."""
    with open(path, "rb") as file:
        head = file.read(6)
    return (gzip if head.startswith(GZIP) else bz2 if head.startswith(BZIP2) else lzma).open(path)


def _damaged(error: BaseException) -> str:
    if isinstance(error, RuntimeError) and "password" in str(error):
        return "is encrypted; unpack it first"
    if isinstance(error, NotImplementedError):
        return f"cannot be read ({first_line(error)}); unpack it first"
    return f"a damaged archive ({first_line(error)}); get it again"
