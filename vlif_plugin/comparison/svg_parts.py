"""Parts of SVG plots: scales, axes, lines; a page's style sheet gives the colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log10

from markupsafe import Markup, escape

from vlif_plugin.comparison import points
from vlif_plugin.comparison.labels import Box

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Drawing:
    """A plot, and what its numbers stand for where names found no room."""

    svg: Markup
    key: tuple[str, ...] = ()


def linear_scale(limits: tuple[float, float], pixels: tuple[float, float]) -> Scale:
    """From values between limits to pixels."""
    slope = (pixels[1] - pixels[0]) / (limits[1] - limits[0])
    return lambda value: pixels[0] + (value - limits[0]) * slope


def log_scale(limits: tuple[float, float], frame: Box) -> Scale:
    """From values to pixels across a frame, logarithmically."""
    inner = linear_scale((log10(limits[0]), log10(limits[1])), (frame.left, frame.right))
    return lambda value: inner(log10(value))


def ticks_along(limits: tuple[float, float], scale: Scale) -> list[tuple[float, str]]:
    """Round numbers between limits: where they lie, and their texts."""
    ticks = points.linear_ticks(*limits)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    digits = next((d for d in range(6) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 6)
    return [(scale(tick), f"{tick:.{digits}f}") for tick in ticks]


def grid(frame: Box, across: list[tuple[float, str]], down: list[tuple[float, str]]) -> Markup:
    """Grid lines and tick labels."""
    parts = []
    for x, text in across:
        parts.append(
            Markup(
                '<line class="grid" x1="{0:.1f}" y1="{1}" x2="{0:.1f}" y2="{2}"/>'
                '<text class="tick" x="{0:.1f}" y="{3}" text-anchor="middle">{4}</text>'
            ).format(x, frame.bottom, frame.top, frame.top + 18, text)
        )
    for y, text in down:
        parts.append(
            Markup(
                '<line class="grid" x1="{1}" y1="{0:.1f}" x2="{2}" y2="{0:.1f}"/>'
                '<text class="tick" x="{3}" y="{4:.1f}" text-anchor="end">{5}</text>'
            ).format(y, frame.left, frame.right, frame.left - 8, y + 4, text)
        )
    return Markup("").join(parts)


def segment(kind: str, start: tuple[float, float], end: tuple[float, float]) -> Markup:
    """A line from a point to another."""
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        kind, *start, *end
    )


def as_svg(width: int, height: int, title: str, parts: list[Markup]) -> Markup:
    """A drawing with a title for those who do not see it."""
    return Markup(
        '<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">{}</svg>'
    ).format(width, height, width, height, escape(title), Markup("").join(parts))
