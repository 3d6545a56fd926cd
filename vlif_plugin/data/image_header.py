"""What a file says of its image before anything is decoded, so that no absurd one ever is."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from vlif_plugin.errors import DataError

MAX_PIXELS = 2**28
"""More than any camera's 200 million; three bytes for each make 0.8 GB, and 16 bits twice that."""
LARGEST_FILE = 2**30
"""Bytes of an image file: ``MAX_PIXELS`` of three bytes, uncompressed, and room to spare."""

_ORIENTATION = 0x0112
_WIDTH, _HEIGHT, _PHOTOMETRIC, _CHANNELS, _PLANES, _EXTRA_SAMPLES = 256, 257, 262, 277, 284, 338
_WHITE_IS_ZERO, _INKS = 0, 5  # of photometric interpretations
_APART = 2  # of planes: one for each channel
_FREE_ALPHA = 2  # of extra samples: alpha that colours are not multiplied by
_TIFF_TAGS = {_WIDTH, _HEIGHT, _ORIENTATION, _PHOTOMETRIC, _CHANNELS, _PLANES, _EXTRA_SAMPLES}
_GREY_ALPHA = 4  # PNG's colour type
_MOST = 4096  # segments, chunks or tags; libtiff's own bound
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}
# frames of JPEG; the codes between them are tables
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset((0x01, *range(0xD0, 0xD8)))
# what struct and indexing say of a file that ends too early
_NOT_READABLE = (struct.error, ValueError, LookupError, OverflowError)


@dataclass(frozen=True)
class ImageHeader:
    """What a file declares of its image.

    Attributes:
        height: of the image as it is stored, in pixels.
        width: of the image as it is stored, in pixels.
        orientation: EXIF's, 1 to 8: how the stored image is to be turned and mirrored; 1 leaves it.
        grey_alpha: whether it is grey with alpha, which OpenCV decodes as colours with alpha.
        free_alpha: of a TIFF whose colours are not multiplied by alpha, which byte of the file says
            so (of a pair, the one that is not zero); else None.
        only_8_bits: what OpenCV passes over where samples have 16 bits, so that the image comes out
            wrong; empty where it does not.
    """

    height: int
    width: int
    orientation: int = 1
    grey_alpha: bool = False
    free_alpha: int | None = None
    only_8_bits: str = ""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the image turned upright."""
        return (self.width, self.height) if self.orientation > 4 else (self.height, self.width)


def image_size(file: BinaryIO, name: str) -> tuple[int, int]:
    """Height and width as OpenCV decodes the image, EXIF rotation applied.

    Args:
        file: see :func:`read_header`.
        name: what to call it in an error.

    Raises:
        DataError: see :func:`read_header`.
    """
    return read_header(file, name).upright_size


def read_header(file: BinaryIO, name: str) -> ImageHeader:
    """What the file says of its image.

    Reads the header as OpenCV's decoders do, so that what passes here is not larger there.

    Args:
        file: of PNG, JPEG, BMP, TIFF or WebP, whatever its name; at its beginning.
        name: what to call it in an error.

    Raises:
        DataError: it is none of these, has no good header, declares more than ``MAX_PIXELS``, or is
            a TIFF in CMYK.
    """
    head = file.read(16)
    read = next((found for magic, found in _FORMATS.items() if head.startswith(magic)), None)
    if read is None:
        why = "neither PNG, JPEG, BMP, TIFF nor WebP" if head else "0 bytes"
        raise DataError(f"{name}: not a readable image ({why})")
    try:
        header = read(file)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except _NOT_READABLE as error:
        raise DataError(f"{name}: not a readable image (its header is damaged)") from error
    size = f"{header.width}x{header.height} pixels"
    if header.height < 1 or header.width < 1:
        raise DataError(f"{name}: not a readable image ({size})")
    if header.height * header.width > MAX_PIXELS:
        raise DataError(f"{name}: declares {size}; no more than {MAX_PIXELS} are decoded")
    return header


def check_before_decoding(content: bytes, name: str) -> ImageHeader:
    """Refuse what would take absurd memory to decode.

    Args:
        content: of an image file.
        name: what to call it in an error.

    Raises:
        DataError: see :func:`read_header`; or a chunk of a PNG is longer than the file.
    """
    if len(content) > LARGEST_FILE:
        raise DataError(f"{name}: {len(content)} bytes are too many for an image")
    header = read_header(io.BytesIO(content), name)
    if content[:4] != b"\x89PNG":
        return header
    # OpenCV 5 makes room for the length that a chunk declares, and fills it: 11 s and 2 GB
    place = 8
    while place + 8 <= len(content) and content[place + 4 : place + 8] != b"IEND":
        place += 12 + int.from_bytes(content[place : place + 4])
        if place > len(content):
            raise DataError(f"{name}: not a readable image ({len(content)} bytes, cut short)")
    return header


def _png(file: BinaryIO) -> ImageHeader:
    file.seek(8)
    length, kind, width, height, colours = struct.unpack(">I4sIIxB", file.read(18))
    if (length, kind) != (13, b"IHDR"):
        raise ValueError("no IHDR")
    orientation, place = 1, 33
    # beyond the pixels nobody writes an eXIf, and a search there would read all of the file
    for _ in range(_MOST):
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"eXIf":
            orientation = _orientation(file.read(min(length, 2**16)))
        if kind in (b"eXIf", b"IDAT", b"IEND"):
            break
        place += 12 + length
    return ImageHeader(height, width, orientation, colours == _GREY_ALPHA)


def _jpeg(file: BinaryIO) -> ImageHeader:
    file.seek(2)
    height = width = 0
    orientation: int | None = None
    for _ in range(_MOST):
        marker = _next_marker(file)
        if marker == 0xDA:
            return ImageHeader(height, width, orientation or 1)
        if marker in _JPEG_BARE:
            continue
        length = max(0, int.from_bytes(file.read(2)) - 2)  # libjpeg minds no length below 2
        if marker in _JPEG_FRAMES and width == 0:
            _, height, width = struct.unpack(">BHH", file.read(5))
            length -= 5
        elif marker == 0xE1 and orientation is None:
            body, length = file.read(length), 0
            orientation = _orientation(body[6:]) if body.startswith(b"Exif\0\0") else None
        file.seek(length, io.SEEK_CUR)
    raise ValueError("no data")


def _next_marker(file: BinaryIO) -> int:
    """The code of the next marker; bytes before it are passed over, as libjpeg does."""
    last = b""
    for _ in range(2**16):
        byte = file.read(1)
        if last == b"\xff" and byte not in (b"\xff", b"\0"):
            return byte[0]
        last = byte
    raise ValueError("no marker")


def _bmp(file: BinaryIO) -> ImageHeader:
    file.seek(14)
    header = file.read(12)
    old = int.from_bytes(header[:4], "little") == 12
    width, height = struct.unpack("<HH" if old else "<ii", header[4:8] if old else header[4:])
    return ImageHeader(abs(height), width)  # below zero: the first row comes first


def _tiff(file: BinaryIO) -> ImageHeader:
    file.seek(0)
    head = file.read(16)
    end, big = ("<" if head[:1] == b"I" else ">"), b"\x2b" in head[2:4]
    (place,) = struct.unpack(end + "Q" if big else end + "I", head[8:] if big else head[4:8])
    file.seek(place)
    (count,) = struct.unpack(end + "Q" if big else end + "H", file.read(8 if big else 2))
    if count > _MOST:
        raise ValueError("too many tags")
    entry = struct.Struct(end + ("HHQ8s" if big else "HHI4s"))
    found: dict[int, int] = {}
    free_alpha = None
    tags = file.tell()
    for index, (tag, kind, number, value) in enumerate(
        entry.iter_unpack(file.read(count * entry.size))
    ):
        if tag in found or number != 1 or kind not in _TIFF_INTEGERS:
            continue  # of two, libtiff takes the first
        if tag in _TIFF_TAGS:
            found[tag] = struct.unpack_from(end + _TIFF_INTEGERS[kind], value)[0]
            if (tag, found[tag]) == (_EXTRA_SAMPLES, _FREE_ALPHA):
                start = tags + (index + 1) * entry.size - len(value)
                free_alpha = start + value.index(_FREE_ALPHA)
    if found.get(_PHOTOMETRIC) == _INKS:
        raise DataError(
            "its colours are CMYK, which would be read as red, green, blue and alpha; convert it to RGB"
        )
    only_8_bits = ""
    if found.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        only_8_bits = "zero is white"
    elif found.get(_PLANES) == _APART and found.get(_CHANNELS, 1) > 1:
        only_8_bits = "each channel is stored apart"
    orientation = _known(found.get(_ORIENTATION, 1))
    height, width = found[_HEIGHT], found[_WIDTH]
    return ImageHeader(height, width, orientation, free_alpha=free_alpha, only_8_bits=only_8_bits)


def _webp(file: BinaryIO) -> ImageHeader:
    file.seek(8)
    if file.read(4) != b"WEBP":
        raise ValueError("another RIFF")
    kind, length = struct.unpack("<4sI", file.read(8))
    head = file.read(10)
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (4, 7))
        turned = head[0] & 8  # the flag of an EXIF block
        return ImageHeader(height, width, _webp_orientation(file, 20 + length) if turned else 1)
    if kind == b"VP8L" and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        return ImageHeader(1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF))
    if kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[6:])
        return ImageHeader(height & 0x3FFF, width & 0x3FFF)
    raise ValueError("no picture")


def _webp_orientation(file: BinaryIO, place: int) -> int:
    for _ in range(_MOST):
        file.seek(place)
        kind, length = file.read(4), int.from_bytes(file.read(4), "little")
        if kind in (b"EXIF", b""):
            return _orientation(file.read(min(length, 2**16)))
        place += 8 + length + length % 2
    return 1


def _orientation(exif: bytes) -> int:
    """What an EXIF block says of it; a damaged one says nothing."""
    end = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if end is None:
        return 1
    try:
        (place,) = struct.unpack_from(end + "I", exif, 4)
        (count,) = struct.unpack_from(end + "H", exif, place)
        for at in range(place + 2, place + 2 + 12 * min(count, _MOST), 12):
            tag, value = struct.unpack_from(end + "H6xH2x", exif, at)
            if tag == _ORIENTATION:
                return _known(value)
    except struct.error:
        pass
    return 1


def _known(orientation: int) -> int:
    return orientation if orientation in range(1, 9) else 1


_FORMATS: dict[bytes, Callable[[BinaryIO], ImageHeader]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"BM": _bmp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"II+\0": _tiff,
    b"MM\0+": _tiff,
    b"RIFF": _webp,
}
