"""A comparison's images: read, captioned, and the detail that is worth enlarging."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vlif_plugin.comparison import points
from vlif_plugin.comparison.rows import Comparison, MetricInfo, Picture
from vlif_plugin.data import decode_colour
from vlif_plugin.errors import DataError

Pixels = NDArray[np.uint8]
DETAIL = 4  # a detail is a quarter of the image wide and high
LEAST_DETAIL = 24


@dataclass(frozen=True)
class Panel:
    """One version of an image.

    Attributes:
        key: ``input``, ``truth``, or ``row:`` and the row's name.
        name: to show.
        score: of this image, to show, with its unit; empty where it was not scored.
        image: shape (H, W, 3), RGB.
    """

    key: str
    name: str
    score: str
    image: Pixels


@dataclass(frozen=True)
class Detail:
    """A rectangle of an image in pixels."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        """Cut it out."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]


def panels(comparison: Comparison, picture: Picture, folder: Path) -> list[Panel]:
    """Read the versions of an image: input, networks in the order of the rows, ground truth.

    Args:
        comparison: whose scores stand beside the images.
        picture: one of its pictures.
        folder: that the picture's paths are relative to.

    Raises:
        DataError: a file is missing or no image.
    """
    metric = points.quality(comparison, picture.dataset)
    degraded = next((row.name for row in comparison.measured if row.network is None), None)
    scored = {
        row.name: metric.stated(value)
        for row in comparison.measured
        if metric is not None
        and (value := image_score(comparison, row.name, picture, metric)) is not None
    }
    networks = [row.name for row in comparison.measured if row.network is not None]
    names = [name for name in networks if name in picture.results]
    names += [name for name in picture.results if name not in names and name != degraded]
    found = [Panel("input", "input", scored.get(degraded or "", ""), _read(folder / picture.lq))]
    found += [
        Panel(f"row:{name}", name, scored.get(name, ""), _read(folder / picture.results[name]))
        for name in names
    ]
    if picture.gt is not None:
        found.append(Panel("truth", "ground truth", "", _read(folder / picture.gt)))
    return found


def image_score(
    comparison: Comparison, name: str, picture: Picture, metric: MetricInfo
) -> float | None:
    """A row's score of one image; None where it has none."""
    for row in comparison.measured:
        for scores in row.scores if row.name == name else ():
            for entry in scores.per_image if scores.dataset == picture.dataset else ():
                if entry.image == picture.image:
                    return entry.values.get(metric.name)
    return None


def truth(shown: list[Panel]) -> Pixels | None:
    """The ground truth among the versions of an image."""
    return next((panel.image for panel in shown if panel.key == "truth"), None)


def find_detail(shown: list[Panel]) -> Detail:
    """Where the input differs most from the ground truth; without one, where it has most edges."""
    image, target = shown[0].image, truth(shown)
    if target is not None and target.shape == image.shape:
        worth = error_map(image, target)
    else:
        grey = image.astype(np.float32).mean(2)
        down, across = np.gradient(grey) if min(grey.shape) > 1 else (grey * 0, grey * 0)
        worth = down**2 + across**2
    high, wide = worth.shape
    height, width = (min(max(side // DETAIL, LEAST_DETAIL), side) for side in (high, wide))
    sums = cv2.integral(worth.astype(np.float64))
    inside = (
        sums[height:, width:]
        - sums[:-height, width:]
        - sums[height:, :-width]
        + sums[:-height, :-width]
    )
    y, x = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return Detail(int(x), int(y), width, height)


def error_map(image: Pixels, target: Pixels) -> NDArray[np.float32]:
    """|image - target| as the mean of the channels, shape (H, W), in [0, 1]."""
    return np.abs(image.astype(np.float32) - target).mean(2, dtype=np.float32) / 255


def all_panels(
    comparison: Comparison, folder: Path
) -> Iterator[tuple[Picture, list[Panel], Detail]]:
    """Each picture with its versions and detail, one after the other."""
    for picture in comparison.pictures:
        shown = panels(comparison, picture, folder)
        yield picture, shown, find_detail(shown)


def _read(path: Path) -> Pixels:
    try:
        return decode_colour(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
