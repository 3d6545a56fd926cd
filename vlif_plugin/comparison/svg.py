"""Plots as SVG for the page: its style sheet gives the colours, so they follow light and dark."""

from __future__ import annotations

from markupsafe import Markup

from vlif_plugin.comparison import formatting, points
from vlif_plugin.comparison.labels import Box, crowded, leader, place, spread, text_width
from vlif_plugin.comparison.points import Against, Point
from vlif_plugin.comparison.rows import Comparison
from vlif_plugin.comparison.svg_parts import (
    Drawing,
    Scale,
    as_svg,
    grid,
    linear_scale,
    log_scale,
    segment,
    ticks_along,
)

TEXT = 12
NEAR = 8  # pixels between a mark and its label that need no line
TICK = 48  # pixels from tick to tick, at least
COLOURS = 7  # of the style sheet, c0 to c6
DASHES = ("", "6 3", "2 3", "8 3 2 3")


def scatter_svg(comparison: Comparison, against: Against, width: int) -> Drawing | None:
    """Quality against cost of the measured rows.

    Args:
        comparison: its published rows are not drawn.
        against: energy or time.
        width: of the drawing in pixels; 360 suits a phone.

    Returns:
        None where there is nothing to draw.
    """
    shown = points.scatter(comparison, against)
    if shown is None:
        return None
    height = min(400, round(width * 0.95))
    frame = Box(52, 14, width - 12, height - 34)
    limits = points.log_limits(min(p.low for p in shown.points), max(p.high for p in shown.points))
    qualities = [point.y for point in shown.points]
    vertical = points.linear_limits(min(qualities), max(qualities))
    across = log_scale(limits, frame)
    pixels = (frame.top, frame.bottom)  # y runs downwards
    down = linear_scale(vertical, (frame.bottom, frame.top) if shown.lower_is_better else pixels)
    ticks = points.log_ticks(*limits, int((frame.right - frame.left) // TICK))
    parts = [
        grid(
            frame,
            [(across(t), formatting.significant(t, 1)) for t in ticks],
            ticks_along(vertical, down),
        )
    ]
    marks = []
    for point in shown.points:
        x, y = across(point.x), down(point.y)
        ends = min(across(point.low), x - 6), max(across(point.high), x + 6)
        marks.append(Box(ends[0], y - 6, ends[1], y + 6))
    names = [formatting.shortened(point.name, 22 if width < 500 else 32) for point in shown.points]
    area = Box(frame.left + 3, 2, frame.right + 8, frame.top - 2)
    boxes = place(marks, [(text_width(name, TEXT), TEXT + 3.0) for name in names], area)
    key: tuple[str, ...] = ()
    if crowded(marks, boxes, NEAR):
        key = tuple(point.name for point in shown.points)
        names = [str(number + 1) for number in range(len(key))]
        boxes = place(marks, [(text_width(name, TEXT), TEXT + 3.0) for name in names], area)
    x_name = "energy, uJ" if against == "energy" else "time, s"
    for point, mark, name, box in zip(shown.points, marks, names, boxes, strict=True):
        hover = _hover(point, against, shown.y_label)
        parts.append(_mark(point, across, mark, name, box, hover))
    title = f"Measured: {shown.y_label} against {x_name}"
    return Drawing(as_svg(width, height, title, parts), key)


def curves_svg(comparison: Comparison, width: int) -> Drawing | None:
    """Validation quality against iterations of the trained rows.

    Args:
        comparison: whose trainings are drawn.
        width: of the drawing in pixels.

    Returns:
        None where no row has a curve.
    """
    shown = points.curves(comparison)
    if shown is None:
        return None
    names = [formatting.shortened(c.name, 16 if width < 500 else 32) for c in shown.curves]
    height = max(min(380, round(width * 0.95)), 60 + (TEXT + 4) * len(names))
    room = max(text_width(name, TEXT) for name in names) + 22
    frame = Box(52, 14, width - room, height - 34)
    last = max(curve.iterations[-1] for curve in shown.curves)
    values = [value for curve in shown.curves for value in curve.values]
    vertical = points.linear_limits(min(values), max(values))
    across = linear_scale((0, last or 1), (frame.left, frame.right))
    down = linear_scale(vertical, (frame.top, frame.bottom))
    ticks = points.linear_ticks(0, last or 1, min(int((frame.right - frame.left) // TICK), 8))
    parts = [
        grid(
            frame,
            [(across(tick), _iterations(tick)) for tick in ticks],
            ticks_along(vertical, down),
        )
    ]
    ends = [down(curve.values[-1]) for curve in shown.curves]
    heights = spread(ends, frame.bottom, frame.top, TEXT + 4)
    for index, (curve, name, y) in enumerate(zip(shown.curves, names, heights, strict=True)):
        places = [(across(i), down(v)) for i, v in zip(curve.iterations, curve.values, strict=True)]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        dash = DASHES[index // COLOURS % len(DASHES)]
        dots = Markup("").join(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3"><title>{}</title></circle>').format(
                a, b, f"{curve.name}, iteration {i}: {v:.4f}"
            )
            for (a, b), i, v in zip(places, curve.iterations, curve.values, strict=True)
        )
        tie = segment("leader", (places[-1][0] + 4, places[-1][1]), (frame.right + 12, y))
        parts.append(
            Markup(
                '<g class="curve c{}"><polyline points="{}" stroke-dasharray="{}"/>{}'
                '{}<text x="{:.1f}" y="{:.1f}">{}</text></g>'
            ).format(index % COLOURS, line, dash, dots, tie, frame.right + 14, y + 4, name)
        )
    title = f"Learning curves: {shown.y_label} against iterations"
    return Drawing(as_svg(width, height, title, parts))


def _mark(point: Point, across: Scale, mark: Box, name: str, box: Box | None, hover: str) -> Markup:
    """A point with its range, its name, and a line between them where they are apart."""
    x, y = across(point.x), mark.middle[1]
    parts = [Markup("<title>{}</title>").format(hover)]
    if point.low < point.high:
        parts.append(segment("range", (across(point.low), y), (across(point.high), y)))
    if box is not None:
        line = leader(mark, box, NEAR)
        parts += [] if line is None else [segment("leader", *line)]
        # set towards the point, so that a narrower font stays next to it
        at, side = box.middle[0], "middle"
        if box.left > x:
            at, side = box.left, "start"
        elif box.right < x:
            at, side = box.right, "end"
        parts.append(
            Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
                at, box.top - 4, side, name
            )
        )
    shape = '<circle cx="{0:.1f}" cy="{1:.1f}" r="5"/>'
    if not point.spiking:
        shape = '<rect x="{2:.1f}" y="{3:.1f}" width="9" height="9"/>'
    parts.append(Markup(shape).format(x, y, x - 4.5, y - 4.5))
    kind = "spiking" if point.spiking else "other"
    return Markup('<g class="point {}">{}</g>').format(kind, Markup("").join(parts))


def _hover(point: Point, against: Against, quality: str) -> str:
    if against == "energy":
        cost = f"{formatting.microjoules(point.x)} uJ"
    else:
        low, high = formatting.seconds(point.low), formatting.seconds(point.high)
        cost = f"{formatting.seconds(point.x)} s ({low} to {high})"
    return f"{point.name}: {formatting.score(point.y)}, {quality}; {cost}"


def _iterations(count: float) -> str:
    return f"{count / 1000:g} k" if count >= 1000 else f"{count:g}"
