"""Images that are traps: refused by their headers, before anything is decoded."""

import io
import os
import struct
import warnings
import zlib
from functools import cache

import cv2
import lmdb
import pytest
from helpers import photograph
from hostile import guarded, megabytes
from PIL import Image

from vlif_plugin.data import (
    FolderSource,
    LmdbSource,
    PairedImages,
    decode_colour,
    load_image,
    write_lmdb,
)
from vlif_plugin.data.image_header import LARGEST_FILE, MAX_PIXELS, image_size
from vlif_plugin.errors import DataError


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *, before=b"", after=b"", pixels=None):
    """A PNG that declares a size; its pixels are black and may be few."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    black = bytes((3 * width + 1) * height) if width * height < 10**6 else bytes(1000)
    data = chunk(b"IDAT", zlib.compress(black) if pixels is None else pixels)
    return b"\x89PNG\r\n\x1a\n" + head + before + data + after + chunk(b"IEND", b"")


def jpeg(width, height):
    content = bytearray(cv2.imencode(".jpg", photograph(16, 16))[1].tobytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def bmp(width, height):
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head + bytes(100)


def tiff(width, height, end="<", twice=()):
    sizes = [*twice, (256, 4, width), (257, 4, height)]
    rest = [
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 300),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, 200),
    ]
    head = b"II*\0" if end == "<" else b"MM\0*"
    tags = b""
    for tag, kind, value in [*sizes, *rest]:
        packed = struct.pack(end + ("H" if kind == 3 else "I"), value).ljust(4, b"\0")
        tags += struct.pack(end + "HHI", tag, kind, 1) + packed
    body = head + struct.pack(end + "IH", 8, len(sizes) + len(rest)) + tags + bytes(4)
    return body.ljust(300, b"\0") + bytes(200)


def webp(width, height):
    picture = cv2.imencode(".webp", photograph(16, 16))[1].tobytes()[12:]
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<II", 10, 0) + canvas + picture
    return b"RIFF" + struct.pack("<I", len(body)) + body


FORMATS = {"png": png, "jpg": jpeg, "bmp": bmp, "tif": tiff, "webp": webp}
EXIF = b"II*\0" + struct.pack(
    "<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0
)  # the camera was held upright


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(60000, 60000), (30000, 30000), (16385, 16384)], ids=str)
def test_absurd_sizes_are_refused_before_they_are_decoded(kind, size, tmp_path):
    content = FORMATS[kind](*size)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    assert size[0] * size[1] > MAX_PIXELS
    readers = {
        "decode_colour": lambda: decode_colour(content, str(path)),
        "load_image": lambda: load_image(path),
        "FolderSource.size": lambda: FolderSource(tmp_path).size("a"),
        "FolderSource.read": lambda: FolderSource(tmp_path).read("a"),
    }
    for reader, read in readers.items():
        said = guarded(read)
        assert f"DataError: {path}: declares {size[0]}x{size[1]} pixels" in said, reader
        assert megabytes(said) < 50


@pytest.mark.parametrize("kind", FORMATS)
def test_a_size_within_the_bound_passes_the_header(kind):
    size = (16384, 16384) if kind != "webp" else (16383, 16383)
    assert size[0] * size[1] <= MAX_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's, of decompression bombs
        assert image_size(io.BytesIO(FORMATS[kind](*size)), "a") == size[::-1]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (37, 5), (64, 48)], ids=str)
def test_headers_say_what_is_decoded(suffix, shape):
    content = cv2.imencode(suffix, photograph(*shape))[1].tobytes()
    assert image_size(io.BytesIO(content), "a") == decode_colour(content, "a").shape[:2] == shape


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_has_the_size_that_is_read(kind, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind.lower()}"
    Image.fromarray(photograph(8, 20)).save(path, kind, exif=exif)
    source = FolderSource(tmp_path)
    assert (
        source.size("a") == source.read("a").shape[:2] == ((20, 8) if orientation > 4 else (8, 20))
    )


def test_of_a_size_that_stands_twice_the_one_that_is_decoded_counts():
    """libtiff takes the first tag; Pillow's headers would say the last."""
    small_first = tiff(60000, 60000, twice=[(256, 4, 10), (257, 4, 20)])
    assert image_size(io.BytesIO(small_first), "a") == (20, 10)
    large_first = tiff(10, 20, twice=[(256, 4, 60000), (257, 4, 60000)])
    with pytest.raises(DataError, match="60000x60000"):
        image_size(io.BytesIO(large_first), "a")
    with pytest.raises(DataError, match="60000x60000"):
        image_size(io.BytesIO(tiff(60000, 60000, end=">")), "a")


@pytest.mark.parametrize("kind", [b"tEXt", b"IDAT"])
def test_a_chunk_longer_than_its_file_is_not_waited_for(kind):
    """OpenCV 5 takes the 2 GB that 102 bytes declare, and 11 s to fill them."""
    content = png(64, 64, before=struct.pack(">I", 2**31 - 1) + kind + b"abc")
    said = guarded(lambda: decode_colour(content, "a"), more=2**32, seconds=5)
    assert said.startswith("DataError: a: not a readable image (")
    assert megabytes(said) < 50


@cache
def bomb():
    """256 MB of zeros, packed."""
    packer = zlib.compressobj(9)
    return b"".join([packer.compress(bytes(2**20)) for _ in range(2**8)]) + packer.flush()


@pytest.mark.parametrize(
    "extra",
    [
        lambda: {"before": chunk(b"zTXt", b"a\0\0" + bomb())},
        lambda: {"before": chunk(b"iTXt", b"a\0\1\0\0\0" + bomb())},
        lambda: {"before": chunk(b"iCCP", b"a\0\0" + bomb())},
        lambda: {"after": chunk(b"zTXt", b"a\0\0" + bomb())},
        lambda: {"pixels": bomb()},
        lambda: {"before": chunk(b"acTL", struct.pack(">II", 2**30, 0))},
    ],
    ids=["zTXt", "iTXt", "iCCP", "zTXt behind", "more pixels", "frames"],
)
def test_packed_chunks_take_no_absurd_memory(extra, tmp_path):
    content = png(64, 64, **extra())
    (tmp_path / "a.png").write_bytes(content)
    said = guarded(lambda: decode_colour(content, "a").shape)
    assert said.startswith("(64, 64, 3)")
    assert megabytes(said) < 50
    assert guarded(lambda: FolderSource(tmp_path).size("a")).startswith("(64, 64)")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"0 bytes"),
        (b"P6 60000 60000 255\n", "neither PNG"),
        (b"GIF89a" + bytes(20), "neither PNG"),
        (b"#?RADIANCE\n\n-Y 60000 +X 60000\n", "neither PNG"),
        (b"RIFF\0\0\0\0WAVEfmt ", "header is damaged"),
        (png(0, 5), "0x5 pixels"),
        (png(5, 5)[:20], "header is damaged"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"") + png(5, 5)[8:], "header is damaged"),
        (bmp(-5, 5), "-5x5 pixels"),
        (b"\xff\xd8\xff\xe0\0\x10" + b"\xff\xfe\0\2" * 5000 + jpeg(5, 5)[2:], "header is damaged"),
        (b"\xff\xd8\xff" + b"\0" * 70000 + jpeg(5, 5)[2:], "header is damaged"),
        (b"II*\0\xff\xff\xff\x7f", "header is damaged"),
        (b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(10**6), "header is damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:12]),
)
def test_what_is_no_image_is_named(content, message, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for read in (
        load_image,
        lambda p: FolderSource(p.parent).size("a"),
        lambda p: FolderSource(p.parent).read("a"),
    ):
        with pytest.raises(DataError, match=rf"a\.png: not a readable image \(.*{message}"):
            read(path)


def test_files_of_absurd_length_are_not_read(tmp_path):
    path = tmp_path / "a.png"
    with open(path, "wb") as file:
        file.write(png(5, 5))
        file.truncate(100 * 2**30)  # a hole, which takes no disk
    for read in (load_image, lambda p: FolderSource(p.parent).read("a")):
        said = guarded(lambda read=read: read(path))
        assert f"cannot be read (it is larger than {LARGEST_FILE} bytes)" in said


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    said = guarded(lambda: load_image(tmp_path / "a.png"), seconds=5)
    assert "a.png: cannot be read (it is no file)" in said
    cv2.imwrite(str(tmp_path / "b.png"), photograph(8, 8))
    assert FolderSource(tmp_path).keys() == ["b"]


def test_records_of_an_lmdb_are_as_large_as_its_list_says(tmp_path):
    root = tmp_path / "a.lmdb"
    write_lmdb([("a", photograph(8, 9))], root)
    with lmdb.open(str(root)) as env, env.begin(write=True) as transaction:
        transaction.put(b"b", png(60000, 60000))
    (root / "meta_info.txt").write_text("a.png (64,64,3) 1\nb.png (60000,60000,3) 1\n")
    source = LmdbSource(root)
    with pytest.raises(DataError, match="its size is not the one in meta_info"):
        source.read("a")
    said = guarded(lambda: source.read("b"))
    assert "declares 60000x60000" in said
    # by these sizes patches are cut
    with pytest.raises(DataError, match="its size is not"):
        PairedImages(root, None, patch_size=32)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a.png ({'9' * 5000},8,3) 1\n", "damaged"),
        ("a.png (0,8,3) 1\n", "damaged"),
        ("a.png (8,8,3) 1\na.png (8,9,3) 1\n", "comes twice"),
        ("\x1b[2J.png (8,8,3) 1\n", r"damaged \('\\x1b"),
        ("a.png (8,8,3) 1\n\n", "damaged"),
        ("x" * 10**6, "damaged"),
    ],
    ids=["digits", "no height", "twice", "control", "empty line", "long"],
)
def test_damaged_lists_are_refused_in_one_line(text, message, tmp_path):
    root = tmp_path / "a.lmdb"
    write_lmdb([("a", photograph(8, 8))], root)
    (root / "meta_info.txt").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        LmdbSource(root)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("key", ["a\x0bb", "a\u2028b", "a\x85b", "\x1b[2J", "\ud800", ""])
def test_a_key_that_could_not_be_read_back_is_not_written(key, tmp_path):
    with pytest.raises(DataError, match="cannot be a key"):
        write_lmdb([(key, photograph(8, 8))], tmp_path / "a.lmdb")


@pytest.mark.parametrize("root", ["a" * 5000, "a\0b", "/dev/null", "/dev/null/x.lmdb"])
def test_roots_that_cannot_be_are_dataerrors(root):
    for made in (FolderSource, LmdbSource):
        with pytest.raises(DataError):
            made(root)
