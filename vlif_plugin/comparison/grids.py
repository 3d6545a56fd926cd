"""Grids of images: input, networks and ground truth, a detail of each, and maps of the error."""

from __future__ import annotations

import functools
import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vlif_plugin.comparison import points
from vlif_plugin.comparison.pictures import (
    Detail,
    Panel,
    Pixels,
    all_panels,
    error_map,
    truth,
)
from vlif_plugin.comparison.rows import Comparison, Picture
from vlif_plugin.data import write_atomically

COLUMNS = 5
WIDEST, NARROWEST = 360, 200
GAP, MARGIN, LINE = 8, 14, 18
FRAME = (255, 176, 0)
INK, PALE = (20, 20, 20), (110, 110, 110)


def write_grids(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``grids/DATASET/IMAGE.png`` for each picture.

    Args:
        comparison: with pictures, or without.
        folder: that pictures' paths are relative to, and that ``grids`` is made in.

    Returns:
        The files, in the pictures' order.

    Raises:
        DataError: an image cannot be read, or a grid cannot be written.
    """
    written: list[Path] = []
    for picture, shown, detail in all_panels(comparison, folder):
        content = io.BytesIO()
        draw_grid(comparison, picture, shown, detail).save(content, format="png")
        path = _unused(folder / "grids" / _safe(picture.dataset), _safe(picture.image), written)
        write_atomically(path, content.getvalue())
        written.append(path)
    return written


def draw_grid(
    comparison: Comparison, picture: Picture, shown: list[Panel], detail: Detail
) -> Image.Image:
    """One picture's grid.

    Args:
        comparison: names the metric.
        picture: named in the head.
        shown: its versions; those of another size than the input are fitted to it.
        detail: to enlarge, in the input's pixels.
    """
    width, height = panel_size(shown[0].image)
    target = truth(shown)
    errors = [
        None
        if target is None or target.shape != panel.image.shape
        else error_map(panel.image, target)
        for panel in shown
    ]
    top = _scale(errors)
    rows = math.ceil(len(shown) / COLUMNS)
    columns = math.ceil(len(shown) / rows)
    strips = 2 if target is None else 3  # whole, detail, and error
    cell = 2 * LINE + strips * (height + 4) + GAP
    foot = 0 if target is None else 3 * LINE
    sheet = Image.new(
        "RGB",
        (
            max(2 * MARGIN + columns * (width + GAP) - GAP, 2 * MARGIN + 300),
            2 * MARGIN + 2 * LINE + rows * cell + foot,
        ),
        "white",
    )
    pen = ImageDraw.Draw(sheet)
    inner = sheet.width - 2 * MARGIN
    _write(pen, (MARGIN, MARGIN), f"{picture.dataset}: {picture.image}", inner, bold=True)
    metric = points.quality(comparison, picture.dataset)
    if metric is not None:
        said = f"under the names: {points.describe(metric, picture.dataset)}, of this image"
        _write(pen, (MARGIN, MARGIN + LINE), said, inner, ink=PALE)
    for index, (panel, error) in enumerate(zip(shown, errors, strict=True)):
        x = MARGIN + index % columns * (width + GAP)
        y = MARGIN + 2 * LINE + GAP // 2 + index // columns * cell
        _write(pen, (x, y), panel.name, width, bold=True)
        _write(pen, (x, y + LINE), panel.score, width, ink=PALE)
        y += 2 * LINE
        image = _like(panel.image, shown[0].image)
        for strip in _strips(image, error, detail, (width, height), top)[:strips]:
            if strip is not None:
                sheet.paste(Image.fromarray(strip), (x, y))
            y += height + 4
    if target is not None:
        _legend(sheet, pen, top, sheet.height - MARGIN - 3 * LINE + GAP)
    return sheet


def panel_size(image: Pixels) -> tuple[int, int]:
    """Width and height at which an image is shown."""
    height, width = image.shape[:2]
    scale = min(WIDEST / width, WIDEST / height)
    if scale >= 1:  # small images are enlarged by a whole number, so that pixels stay square
        scale = max(min(math.floor(scale), math.ceil(NARROWEST / width)), 1)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _strips(
    image: Pixels,
    error: NDArray[np.float32] | None,
    detail: Detail,
    size: tuple[int, int],
    top: float,
) -> list[Pixels | None]:
    """The image with a frame around the detail, the detail, and the error in colours."""
    whole = _resized(image, size)
    _mark(whole, detail, size[0] / image.shape[1], size[1] / image.shape[0])
    close = cv2.resize(detail.of(image), size, interpolation=cv2.INTER_NEAREST)
    coloured = None if error is None else _resized(_coloured(error / top), size)
    return [whole, np.asarray(close, np.uint8), coloured]


def _mark(whole: Pixels, detail: Detail, across: float, down: float) -> None:
    """Draw a frame along the inside of a detail, with dark edges that show it on bright images."""
    left, right = round(detail.x * across), round((detail.x + detail.width) * across)
    top, bottom = round(detail.y * down), round((detail.y + detail.height) * down)
    for inset, colour in enumerate(((0, 0, 0), FRAME, FRAME, (0, 0, 0))):
        x, y = slice(left + inset, right - inset), slice(top + inset, bottom - inset)
        whole[y, left + inset] = whole[y, right - inset - 1] = colour
        whole[top + inset, x] = whole[bottom - inset - 1, x] = colour


def _scale(errors: list[NDArray[np.float32] | None]) -> float:
    """The error that has the last colour: what 99 % of the networks' pixels stay below.

    The input's own errors are far larger in heavy rain; on its scale those of networks were black.
    """
    maps = [error for error in errors[1:] if error is not None and error.any()]
    if not maps:
        maps = [error for error in errors[:1] if error is not None and error.any()]
    top = max((float(np.percentile(error, 99)) for error in maps), default=0.0)
    top = top or max((float(error.max()) for error in maps), default=0.0)
    return max(top, 1 / 255)


def _coloured(values: NDArray[Any]) -> Pixels:
    """Values in [0, 1] in the colours of inferno, RGB."""
    grey = (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8)


def _legend(sheet: Image.Image, pen: ImageDraw.ImageDraw, top: float, y: int) -> None:
    wide = min(260, sheet.width - 2 * MARGIN - 60)
    ramp = np.repeat(np.linspace(0, 1, wide)[None], 12, axis=0)
    sheet.paste(Image.fromarray(_coloured(ramp)), (MARGIN, y))
    _write(pen, (MARGIN, y + 13), "0", 60)
    _write(pen, (MARGIN + wide - 20, y + 13), f"{top:.3f} and above", 160)
    words = "error |result - ground truth|, mean of the channels; white against black is 1"
    _write(pen, (MARGIN, y + 13 + LINE), words, sheet.width - 2 * MARGIN, ink=PALE)


def _resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    smaller = size[0] < image.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST
    return np.array(cv2.resize(image, size, interpolation=way), np.uint8)


def _like(image: Pixels, first: Pixels) -> Pixels:
    """An image at the size of another."""
    high, wide = first.shape[:2]
    return image if image.shape == first.shape else _resized(image, (wide, high))


def _write(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    width: int,
    *,
    bold: bool = False,
    ink: tuple[int, int, int] = INK,
) -> None:
    """One line of text that is no wider than ``width``; what is left out is an ellipsis."""
    font = _font(bold)
    text = fitted(" ".join(text.split()), width, font.getlength)
    pen.text(at, text, fill=ink, font=font)


def fitted(text: str, width: float, measure: Callable[[str], float]) -> str:
    """A text cut in the middle until it is no wider than ``width``."""
    if measure(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        shorter = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if measure(shorter) <= width:
            return shorter
    return "…"


@functools.cache
def _font(bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings along."""
    from matplotlib import font_manager

    weight = "bold" if bold else "normal"
    prop = font_manager.FontProperties(family="DejaVu Sans", weight=weight)
    return ImageFont.truetype(font_manager.findfont(prop), 13)


def _safe(name: str) -> str:
    """A file name that every system takes, without its image suffix."""
    stem = re.sub(r"\.(png|jpe?g|bmp|tiff?|webp)$", "", name, flags=re.I)
    return re.sub(r"[^\w.-]+", "_", stem).strip("._")[:80] or "image"


def _unused(folder: Path, stem: str, taken: list[Path]) -> Path:
    """A path that no earlier picture has, on systems that do not tell case either."""
    known = {str(path).lower() for path in taken}
    path, number = folder / f"{stem}.png", 2
    while str(path).lower() in known:
        path, number = folder / f"{stem}_{number}.png", number + 1
    return path
