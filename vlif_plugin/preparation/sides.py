"""Pairs that lie side by side in one file: which half is the degraded one, told by the pixels."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray

from vlif_plugin.data import decode_colour
from vlif_plugin.data.image_header import image_size
from vlif_plugin.errors import DataError, first_names
from vlif_plugin.preparation.plan import Half, Side
from vlif_plugin.preparation.tree import SourceFile

SAMPLE = 48
# grey levels: JPEG leaves some between the halves of a doubled photograph, and more along the seam
EQUAL_BELOW = 8.0
ALIKE_ABOVE = 0.5
FLAT_BELOW = 5.0


def halves_of(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Left and right half of an image of even width."""
    middle = image.shape[1] // 2
    return image[:, :middle], image[:, middle:]


def thumb(image: NDArray[np.uint8], cells: int) -> NDArray[np.uint8]:
    """Mean grey levels on a grid; shape (cells, cells)."""
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (cells, cells), interpolation=cv2.INTER_AREA).astype(np.uint8)


def likeness(a: NDArray[np.uint8], b: NDArray[np.uint8], flat_below: float) -> float | None:
    """Correlation of the coarse brightness of two images, in [-1, 1].

    Args:
        a: shape (H, W, 3), RGB.
        b: another, of any size.
        flat_below: deviation in grey levels below which an image is of one brightness.

    Returns:
        None where an image is of one brightness, and nothing can be told.
    """
    coarse = [thumb(image, 16).astype(np.float64).ravel() for image in (a, b)]
    if min(float(levels.std()) for levels in coarse) < flat_below:
        return None
    return float(np.corrcoef(coarse[0], coarse[1]).item(1))


def header_size(half: Half) -> tuple[int, int] | None:
    """Height and width of an image, from its file's header; None where there is no good header."""
    try:
        height, width = image_size(io.BytesIO(half.file.read()), half.file.where)
    except DataError:  # named when its turn comes
        return None
    return height, width if half.side == "whole" else width // 2


def equal_halves(image: NDArray[np.uint8]) -> bool:
    """Whether both halves show the same picture but for compression, as doubled photographs do."""
    if image.shape[1] % 2:
        return False
    left, right = (half.astype(np.float32) for half in halves_of(image))
    if left.std() < FLAT_BELOW:  # a dark or empty picture is no copy of itself
        return False
    return float(np.quantile(np.abs(left - right), 0.99)) < EQUAL_BELOW


def vote(files: list[SourceFile], what: str, layouts: str) -> Side:
    """The side of the degraded half: rain only adds light.

    Args:
        files: the files; some are looked at, spread evenly.
        what: their split, for messages.
        layouts: folders of other layouts, for messages.

    Raises:
        DataError: these are not two halves of one scene, the halves are equal, or the files
            disagree.
    """
    step = max(1, len(files) // SAMPLE)
    brighter: dict[Side, list[str]] = {"left": [], "right": []}
    for file in files[::step]:
        try:
            image = decode_colour(file.read(), file.where)
        except DataError:  # named when its turn comes
            continue
        alike = None if image.shape[1] % 2 else likeness(*halves_of(image), flat_below=1e-6)
        if alike is None or alike <= ALIKE_ABOVE:
            raise DataError(
                f"{what}: {file.where} is neither in a folder that tells its side ({layouts}) nor a pair side by side"
            )
        if equal_halves(image):
            raise DataError(f"{what}: both halves of {file.where} are equal; this is no pair")
        left, right = halves_of(image)
        brighter["left" if left.mean() > right.mean() else "right"].append(file.where)
    if brighter["left"] and brighter["right"]:
        odd = min(brighter.values(), key=len)
        raise DataError(
            f"{what}: in {len(odd)} files of {sum(map(len, brighter.values()))} the brighter half is on the other "
            f"side than in the rest: {first_names(odd)}"
        )
    if not (brighter["left"] or brighter["right"]):
        raise DataError(f"{what}: none of the images can be read ({files[0].where}, …)")
    return "left" if brighter["left"] else "right"
