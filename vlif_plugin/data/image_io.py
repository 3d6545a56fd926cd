"""Decoding and encoding of images, so that files come back as they came."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlif_plugin.data.image_header import LARGEST_FILE, ImageHeader, check_before_decoding
from vlif_plugin.errors import DataError
from vlif_plugin.files import read_at_most, written_whole

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
Pixels = NDArray[Any]


@dataclass(frozen=True)
class LoadedImage:
    """An image as three float channels, and what is needed to write it back in its own form.

    Attributes:
        rgb: shape (1, 3, H, W), float32 in [0, 1].
        dtype: of the file's samples, uint8 or uint16.
        grey: whether the file has a single colour channel.
        alpha: the file's alpha channel, shape (H, W), or None.
    """

    rgb: Tensor
    dtype: np.dtype[Any]
    grey: bool
    alpha: Pixels | None

    def restore(self, rgb: Tensor) -> Pixels:
        """Bring a result of ``rgb``'s shape to the file's depth, colours and alpha, for OpenCV.

        A grey result is the mean of the three channels.

        Returns:
            See :func:`save_image`.
        """
        limit = np.iinfo(self.dtype).max
        image = (rgb[0].clamp(0, 1).permute(1, 2, 0).double() * limit).round().cpu().numpy()
        if self.grey:
            image = image.mean(2).round()
        image = image.astype(self.dtype)
        if not self.grey:
            image = image[..., ::-1]
        if self.alpha is not None:
            image = np.dstack([image, self.alpha])
        return np.ascontiguousarray(image)


def decode_colour(content: bytes, name: str) -> NDArray[np.uint8]:
    """Decode an image file for training or scoring.

    Args:
        content: the file's bytes.
        name: what to call it in an error.

    Returns:
        Shape (H, W, 3), RGB, uint8; 16 bits are rounded to 8.

    Raises:
        DataError: the bytes are no complete image, or of an absurd one, or of a depth other than 8
            or 16 bits, or a TIFF that OpenCV reads wrongly.
    """
    header = check_before_decoding(content, name)
    found = _for_opencv(content, header)
    # asked for colours alone, OpenCV cuts 16 bits off where the file is PNG, and rounds where it is TIFF
    image = _decode(found, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise DataError(f"{name}: not a readable image ({len(content)} bytes)")
    if _depth(image, header, name) == np.uint16:
        image = _to_eight_bits(image)
    return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8, copy=False)


def to_tensor(image: Pixels) -> Tensor:
    """(H, W, 3) integers to (3, H, W) float32 in [0, 1]."""
    scale = float(np.iinfo(image.dtype).max)
    return torch.from_numpy(
        np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / scale
    )


def to_bytes(image: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] to (H, W, 3) bytes, rounded as files are: the inverse of :func:`to_tensor`."""
    scaled = (image.detach().float().clamp(0, 1) * 255).round()
    return scaled.byte().permute(1, 2, 0).cpu().numpy()


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an image file.

    Raises:
        DataError: missing, unreadable, no file, or of an absurd size.
    """
    try:
        content = read_at_most(path, LARGEST_FILE)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return content


def load_image(path: str | os.PathLike[str]) -> LoadedImage:
    """Read a PNG, JPEG, BMP, TIFF or WebP file, whatever its depth and channels.

    EXIF rotation is applied, because the result is written without EXIF.

    Raises:
        DataError: missing, unreadable, of an absurd size, of a depth other than 8 or 16 bits, or a
            TIFF that OpenCV reads wrongly.
    """
    encoded = read_image_file(path)
    header = check_before_decoding(encoded, str(path))
    content = _for_opencv(encoded, header)
    raw = _decode(content, cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise DataError(f"{path}: not a readable image ({content.size} bytes)")
    alpha = None
    if raw.ndim == 3 and raw.shape[2] == 4:
        if not encoded.startswith((b"II", b"MM")):  # of TIFF, libtiff has turned it
            raw = _upright(raw, header.orientation)
        raw, alpha = raw[..., 0] if header.grey_alpha else raw[..., :3], raw[..., 3]
    else:  # IMREAD_UNCHANGED ignores EXIF rotation
        raw = _decode(content, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if raw is None:
        raise DataError(f"{path}: not a readable image ({content.size} bytes)")
    depth = _depth(raw, header, str(path))
    grey = raw.ndim == 2
    rgb = np.repeat(raw[..., None], 3, axis=2) if grey else raw[..., ::-1]
    return LoadedImage(to_tensor(rgb)[None], depth, grey, alpha)


def save_image(image: Pixels, path: str | os.PathLike[str], *, quality: int = 95) -> None:
    """Write an image in the format of ``path``'s suffix; whole or not at all.

    What the format cannot hold is reduced: 16 bits to 8 in all but PNG and TIFF, and transparency
    is left out of JPEG and BMP. Grey with alpha is colours with alpha in WebP and TIFF.

    Args:
        image: shape (H, W), (H, W, 2) grey and alpha, (H, W, 3) BGR or (H, W, 4) BGRA; uint8 or
            uint16.
        path: where to; missing folders are made.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        DataError: the format cannot hold the image, or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if image.dtype == np.uint16 and suffix not in (".png", ".tif", ".tiff"):
        image = _to_eight_bits(image)
    channels = 1 if image.ndim == 2 else image.shape[2]
    if suffix in (".jpg", ".jpeg", ".bmp") and channels in (2, 4):
        image = np.ascontiguousarray(image[..., 0] if channels == 2 else image[..., :3])
    elif channels == 2 and suffix == ".png":
        write_atomically(path, _grey_alpha_png(image))
        return
    elif channels == 2:
        image = image[..., [0, 0, 0, 1]]
    options = {
        ".jpg": cv2.IMWRITE_JPEG_QUALITY,
        ".jpeg": cv2.IMWRITE_JPEG_QUALITY,
        ".webp": cv2.IMWRITE_WEBP_QUALITY,
    }
    flag = options.get(suffix)
    try:
        good, encoded = cv2.imencode(path.suffix, image, [] if flag is None else [flag, quality])
    except cv2.error as error:
        raise DataError(
            f"{path}: cannot be written as {path.suffix or 'an image without a suffix'}"
        ) from error
    if not good:
        raise DataError(f"{path}: cannot be written as {path.suffix}")
    write_atomically(path, encoded.tobytes())


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all; missing folders are made.

    Raises:
        DataError: it could not be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            file.write(content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def _for_opencv(content: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    """The bytes of a file as its decoder leaves colours alone.

    libtiff multiplies colours by alpha where the file says that they are not multiplied yet.
    """
    if header.free_alpha is None:
        return np.frombuffer(content, np.uint8)
    changed = np.frombuffer(bytearray(content), np.uint8)
    changed[header.free_alpha] = 1
    return changed


def _decode(content: Pixels, flags: int) -> Pixels | None:
    """OpenCV's decoder, with None for every kind of failure."""
    try:
        return cv2.imdecode(content, flags) if content.size else None
    except cv2.error:  # a header of absurd size
        return None


def _depth(image: Pixels, header: ImageHeader, name: str) -> np.dtype[Any]:
    """The type of an image's samples, uint8 or uint16, or a ``DataError``."""
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{name}: only images of 8 or 16 bits are supported, this has {image.dtype}"
        )
    if image.dtype == np.uint16 and header.only_8_bits:
        raise DataError(
            f"{name}: a TIFF of 16 bits in which {header.only_8_bits}, which OpenCV reads wrongly; "
            "save it as PNG"
        )
    return image.dtype


def _to_eight_bits(image: Pixels) -> Pixels:
    """The nearest of 8 bits to each value of 16; in one pass, which takes no more than the result."""
    return cv2.convertScaleAbs(image, alpha=1 / 257)


def _upright(image: Pixels, orientation: int) -> Pixels:
    """Turn and mirror an image (H, W, C) as EXIF's orientation asks."""
    if orientation > 4:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image[:, ::-1] if orientation in (2, 3, 6, 7) else image


def _grey_alpha_png(image: Pixels) -> bytes:
    """Encode (H, W, 2), which OpenCV cannot: each row as its differences from the one above."""
    height, width, _ = image.shape
    rows = image.astype(image.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    filtered = np.full((height, 1 + rows.shape[1]), 2, np.uint8)
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    head = struct.pack(">IIBBBBB", width, height, 8 * image.itemsize, 4, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
