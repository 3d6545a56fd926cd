"""Places for labels beside points, so that none covers another or leaves the plot."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageFont


@dataclass(frozen=True)
class Box:
    """A rectangle; ``bottom`` is the smaller y, whichever way y runs."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box, gap: float = 0.0) -> bool:
        """Whether two rectangles come nearer than ``gap``."""
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.bottom < other.top + gap
            and other.bottom < self.top + gap
        )

    def within(self, other: Box) -> bool:
        """Whether it lies inside another."""
        return (
            other.left <= self.left
            and other.bottom <= self.bottom
            and self.right <= other.right
            and self.top <= other.top
        )

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2


def place(
    marks: Sequence[Box], sizes: Sequence[tuple[float, float]], area: Box
) -> list[Box | None]:
    """Find each label a free place near its mark.

    Args:
        marks: what stands at the points; labels keep off all of them.
        sizes: width and height of each label.
        area: labels stay inside.

    Returns:
        A rectangle for each label, or None where the area is too full for it.
    """
    placed: list[Box | None] = [None] * len(marks)
    # those with near neighbours choose first: they have the fewest free places
    for index in sorted(range(len(marks)), key=lambda index: _loneliness(index, marks)):
        taken = [*marks, *(box for box in placed if box)]
        for box in _candidates(marks[index], sizes[index]):
            if box.within(area) and not any(box.overlaps(other, 1.0) for other in taken):
                placed[index] = box
                break
    return placed


def leader(
    mark: Box, label: Box, near: float
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """A line from a mark's nearest point to its label; None where the label is next to it."""
    start = _nearest(mark, label.middle)
    end = _nearest(label, start)
    return (start, end) if math.dist(start, end) > near else None


def crowded(marks: Sequence[Box], boxes: Sequence[Box | None], near: float) -> bool:
    """Whether labels are missing, or so many stand far off that numbers and a key read better."""
    far = sum(
        box is None or leader(m, box, near) is not None for m, box in zip(marks, boxes, strict=True)
    )
    return None in boxes or far > max(2, len(boxes) // 5)


def spread(heights: Sequence[float], low: float, high: float, distance: float) -> list[float]:
    """Move values apart by at least ``distance`` where the range allows it, in their order.

    Args:
        heights: where each wants to be.
        low: smallest allowed.
        high: largest allowed.
        distance: between neighbours; smaller where there are too many for the range.
    """
    if not heights:
        return []
    if len(heights) > 1:
        distance = min(distance, (high - low) / (len(heights) - 1))
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    result = [0.0] * len(heights)
    floor = low
    for index in order:
        floor = result[index] = max(heights[index], floor)
        floor += distance
    ceiling = high
    for index in reversed(order):
        ceiling = result[index] = min(result[index], ceiling)
        ceiling -= distance
    return result


@functools.cache
def _font(points: float) -> ImageFont.FreeTypeFont:
    from matplotlib import font_manager

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), points)


def text_width(text: str, points: float) -> float:
    """Width of a text in pixels in DejaVu Sans, which runs wider than most."""
    return _font(points).getlength(text)


def _nearest(box: Box, to: tuple[float, float]) -> tuple[float, float]:
    return min(max(to[0], box.left), box.right), min(max(to[1], box.bottom), box.top)


def _loneliness(index: int, marks: Sequence[Box]) -> float:
    own = marks[index].middle
    others = (math.dist(own, mark.middle) for i, mark in enumerate(marks) if i != index)
    return min(others, default=math.inf)


def _candidates(mark: Box, size: tuple[float, float]) -> list[Box]:
    """Rectangles around a mark, near ones first; beside it before above it before slanted."""
    (x, y), (width, height) = mark.middle, size
    boxes = []
    for step in range(24):
        reach = 3 + step * max(height, 8) / 2
        right, left = mark.right + reach, mark.left - reach - width
        above, below = mark.top + reach, mark.bottom - reach - height
        boxes += [
            Box(at, low, at + width, low + height)
            for at, low in (
                (right, y - height / 2),
                (left, y - height / 2),
                (x - width / 2, above),
                (x - width / 2, below),
                (right, above),
                (right, below),
                (left, above),
                (left, below),
            )
        ]
    return boxes
