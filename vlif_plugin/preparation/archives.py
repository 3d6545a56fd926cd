"""What lies in an archive. Nothing is unpacked: members are read where they are, no name is followed.

Python's zipfile and tarfile trust what they read, early releases of 3.11 and 3.12 more than later ones:
a header may send them back to where they were, keep them for hours, or fill the memory.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import posixpath
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from vlif_plugin.errors import UNFIT, DataError, first_line

GZIP, BZIP2, XZ, ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"PK\x03\x04"
TAR_AT = 257
TAR = b"ustar"
LARGEST_EXPANSION = 50  # photographs hardly compress; only a trap expands so far
MOST_MEMBERS = 2**20
DEEPEST = 64  # folders
_LONGEST_NAME = 4000  # characters; systems stop at 4096 bytes, Python's numbers at 4300 digits
_LARGEST_HEADER = 2**20
# a name can hold what garbles a terminal, or cannot be written at all
_UNFIT = re.compile(f"[{UNFIT}]")


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: as the archive has it.
        size: in bytes, as the archive says.
        opened: gives it for reading.
    """

    name: str
    size: int
    opened: Callable[[], Any]


def zip_members(path: Path, stack: ExitStack, links: list[str]) -> Iterator[Member]:
    """The files of a zip archive.

    Args:
        path: the archive.
        stack: closes it; members can be read until then.
        links: gets the names of symbolic links, which are left out.

    Raises:
        DataError: it is damaged, encrypted, packed in a way that is not read, or a trap.
    """
    with naming(path):
        archive = stack.enter_context(zipfile.ZipFile(path))
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if len(infos) > MOST_MEMBERS:
            raise DataError(f"{shown(path)}: has {len(infos)} files, more than any dataset")
        if sum(info.file_size for info in infos) > _expanded_at_most(path):
            raise _expands(path)
        for info in infos:
            _check_name(info.filename, path)
            if stat.S_ISLNK(info.external_attr >> 16):
                links.append(f"{path}!{info.filename}")
                continue
            # of bzip2 and xz, zipfile expands all that it has read, whatever was asked for
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise NotImplementedError(f"method {info.compress_type} of packing")
            yield Member(info.filename, info.file_size, partial(archive.open, info))


def tar_members(
    path: Path, plain: BinaryIO, stack: ExitStack, links: list[str]
) -> Iterator[Member]:
    """The files of a tar archive.

    Args:
        path: the archive, for messages.
        plain: its content, uncompressed; must stay open while members are read.
        stack: closes what is opened.
        links: gets the names of links to what is no file further up in the archive; they are left
            out, as are devices and pipes.

    Raises:
        DataError: it is damaged or a trap.
    """
    files: dict[str, tuple[int, int]] = {}
    length = os.fstat(plain.fileno()).st_size
    with naming(path):
        archive: Any = tarfile.open(fileobj=cast(Any, _Headers(plain)), mode="r:")  # noqa: SIM115
        stack.enter_context(archive)
        reached, count = -1, 0
        while (member := archive.next()) is not None:
            archive.members.clear()
            archive.pax_headers.clear()  # each further member would get a copy
            if archive.offset <= reached:
                raise tarfile.ReadError(f"byte {archive.offset} comes after byte {reached}")
            reached, count = archive.offset, count + 1
            if count > MOST_MEMBERS:
                raise DataError(f"{shown(path)}: has more files than any dataset")
            _check_name(member.name, path)
            if member.issparse():
                raise NotImplementedError(f"{member.name!r} is a sparse file")
            if member.isreg():
                place = files[_plain_name(member.name)] = member.offset_data, member.size
            elif member.islnk() and _plain_name(member.linkname) in files:
                place = files[_plain_name(member.linkname)]
            else:
                links.extend([f"{path}!{member.name}"] if member.islnk() or member.issym() else [])
                continue
            yield Member(member.name, place[1], partial(_Piece, plain, *place))
        plain.seek(archive.offset)  # tarfile stops at a bad header without a word
        if archive.offset > length or plain.read(512).strip(b"\0"):
            raise tarfile.ReadError(f"bad or missing data at byte {archive.offset}")


def expanded(path: Path, scratch: Path, stack: ExitStack) -> BinaryIO | None:
    """A compressed tar, expanded into a nameless temporary file; None where it is no tar.

    Args:
        path: of a gzip, bzip2 or xz file.
        scratch: existing folder for the temporary file.
        stack: closes it.

    Raises:
        DataError: it is damaged, expands beyond bounds, or the disk is full.
    """
    limit = _expanded_at_most(path)
    try:
        with naming(path), _decompressed(path) as packed:
            head = packed.read(512)
            if head[TAR_AT : TAR_AT + len(TAR)] != TAR:
                return None
            plain: Any = stack.enter_context(
                tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (closed with all)
            )
            plain.write(head)
            while block := packed.read(2**22):
                plain.write(block)
                if plain.tell() > limit:
                    raise _expands(path)
            plain.seek(0)
            return plain
    except DataError as error:
        free = shutil.disk_usage(scratch).free
        full = f"; {free // 2**20} MB are free in {scratch}" if free < 2**26 else ""
        raise DataError(f"{error}{full}") from error


def shown(name: str | Path) -> str:
    """A file's name as it can be printed and stored; nearly always as it is."""
    return _UNFIT.sub(lambda found: ascii(found[0])[1:-1], str(name))


def _expanded_at_most(path: Path) -> int:
    return LARGEST_EXPANSION * path.stat().st_size + 2**20


def _expands(path: Path) -> DataError:
    return DataError(
        f"{shown(path)}: expands more than {LARGEST_EXPANSION}-fold, which images do not"
    )


def _check_name(name: str, path: Path) -> None:
    if len(name) > _LONGEST_NAME or len(name.replace("\\", "/").split("/")) > DEEPEST:
        raise DataError(
            f"{shown(path)}: the name {name[:60]!r}… in it is too long or too deep for a file"
        )


def _plain_name(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def _decompressed(path: Path) -> Any:
    """Open a gzip, bzip2 or xz file for reading what is in it."""
    with open(path, "rb") as file:
        head = file.read(6)
    return (gzip if head.startswith(GZIP) else bz2 if head.startswith(BZIP2) else lzma).open(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what a damaged archive raises name the archive."""
    try:
        yield
    except DataError:
        raise
    except NotImplementedError as error:
        raise DataError(
            f"{shown(path)}: cannot be read ({first_line(error)}); unpack it first"
        ) from error
    except Exception as error:  # of a hostile archive, each of the modules raises many kinds
        if isinstance(error, RuntimeError) and "password" in str(error):
            raise DataError(f"{shown(path)}: is encrypted; unpack it first") from error
        raise DataError(
            f"{shown(path)}: a damaged archive ({first_line(error)}); get it again"
        ) from error


class _Headers:
    """A tar as tarfile reads its headers: those that it cannot cope with are refused."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._extended = False
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        content = self._file.read(size)
        if self._extended:
            _check_extended(content)
        # what follows a header of these kinds holds fields for the next one
        self._extended = (
            not self._extended and size == 512 and content[156:157] in (b"x", b"g", b"X")
        )
        return content


def _check_extended(content: bytes) -> None:
    """Refuse fields that are not "length key=value", one a line.

    tarfile goes on with whatever it finds there: 1 MB can make it copy 100 GB. And where it looks
    for one key, the time grows with the square of what resembles that key.
    """
    at = 0
    length = len(content.rstrip(b"\0"))
    while at < length:
        digits = content[at : at + 8].partition(b" ")[0]
        end = at + int(digits)
        if end <= at or content[end - 1 : end] != b"\n" or b"=" not in content[at:end]:
            raise tarfile.ReadError("bad fields in a header")
        at = end
    if re.search(rb"[0-9]{100}", content) or content.count(b"hdrcharset=") > 1:
        raise tarfile.ReadError("odd fields in a header")


class _Piece(io.RawIOBase):
    """A part of a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self._at = start
        self._left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        content = os.pread(self._file.fileno(), wanted, self._at)
        if len(content) < wanted:
            raise EOFError("the archive is cut short")
        self._at += wanted
        self._left -= wanted
        return content
