"""Image files that nobody meant: an image comes out, of the size that its header says, or DataError."""

import io
import struct
import zlib

import cv2
import numpy as np
from hostile import check_line, fuzzed, mutated
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vlif_plugin.data import FolderSource, decode_colour, load_image
from vlif_plugin.data.image_header import image_size
from vlif_plugin.errors import DataError


def seeds():
    """Small images of every format, in the forms that differ in their headers."""
    picture = np.random.default_rng(0).integers(0, 255, (9, 14, 3), np.uint8)
    forms = [(".png", []), (".bmp", []), (".tif", []), (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101])]
    forms += [(".jpg", []), (".webp", []), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])]
    found = [cv2.imencode(suffix, picture, options)[1].tobytes() for suffix, options in forms]
    found += [
        cv2.imencode(suffix, picture[..., 0])[1].tobytes() for suffix in (".png", ".bmp", ".jpg")
    ]
    found.append(
        cv2.imencode(".png", np.dstack([picture, picture[..., 0]]).astype(np.uint16))[1].tobytes()
    )
    found.append(
        cv2.imencode(".tif", picture.astype(np.uint16), [cv2.IMWRITE_TIFF_COMPRESSION, 5])[
            1
        ].tobytes()
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind, exif=exif)
        found.append(file.getvalue())
    file = io.BytesIO()
    Image.fromarray(picture).convert("P").save(file, "PNG")
    return [*found, file.getvalue()]


def mended(content):
    """A PNG whose first chunk has the checksum that it should, so that a decoder believes it."""
    if content[:4] == b"\x89PNG" and len(content) > 33:
        checksum = struct.pack(">I", zlib.crc32(content[12:29]))
        return content[:29] + checksum + content[33:]
    return content


@fuzzed("images: bytes", 400, 25_000)
@given(mutated(st.sampled_from(seeds())), st.booleans())
def test_any_bytes_are_an_image_of_their_headers_size_or_refused(tmp_path_factory, content, mend):
    content = mended(content) if mend else content
    folder = tmp_path_factory.getbasetemp() / "fuzzed_images"
    folder.mkdir(exist_ok=True)
    path = folder / "a.png"
    path.write_bytes(content)
    for read in (load_image, lambda p: FolderSource(p.parent).size("a")):
        try:
            read(path)
        except DataError as error:
            check_line(error, path)
    try:
        image = decode_colour(content, "name")
    except DataError as error:
        check_line(error, "name: ")
        return
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    # a damaged EXIF block may be read in two ways; the number of pixels never
    assert sorted(image_size(io.BytesIO(content), "name")) == sorted(image.shape[:2])
