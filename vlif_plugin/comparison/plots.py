"""Plots of a comparison: quality against cost, and learning curves; PNGs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from vlif_plugin.comparison import formatting, points
from vlif_plugin.comparison.labels import Box, crowded, leader, place, spread
from vlif_plugin.comparison.points import Against
from vlif_plugin.comparison.rows import Comparison

# Okabe and Ito's colours: told apart with any kind of colour vision
SPIKING, OTHER = "#0072b2", "#d55e00"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DASHES = ("-", "--", "-.", ":")
SHAPES = "osD^vP"
TEXT = 8
NEAR = 6  # points between a mark and its label that need no line


def draw_scatter(comparison: Comparison, against: Against) -> bytes | None:
    """Quality of the measured rows against what one image costs them; a PNG.

    Args:
        comparison: its published rows are not drawn.
        against: energy by the full count at the paper's prices, or median time.

    Returns:
        None where no measured row has both a score and a cost.
    """
    figure = scatter_figure(comparison, against)
    return None if figure is None else _png(figure)


def draw_curves(comparison: Comparison) -> bytes | None:
    """Validation quality against iterations of the rows that were trained; a PNG.

    Returns:
        None where no row has a curve.
    """
    figure = curves_figure(comparison)
    return None if figure is None else _png(figure)


def scatter_figure(comparison: Comparison, against: Against) -> Any | None:
    """The figure of :func:`draw_scatter`; texts that name points have the gid ``label``."""
    shown = points.scatter(comparison, against)
    if shown is None:
        return None
    names = [formatting.shortened(point.name) for point in shown.points]
    figure, axes = _scatter(shown, ())
    if not _label_points(figure, axes, shown.points, names):  # too full: numbers, and a key
        figure, axes = _scatter(shown, names)
        _label_points(figure, axes, shown.points, [str(i + 1) for i in range(len(names))])
    return figure


def _scatter(shown: points.Scatter, key: Sequence[str]) -> tuple[Any, Any]:
    """Axes and points; ``key`` is what their numbers stand for."""
    figure, axes = _figure(7.2 + (2.4 if key else 0), max(4.8, 0.19 * len(key) + 0.8))
    kinds = {True: (SPIKING, "o", "spiking"), False: (OTHER, "s", "not spiking")}
    for colour, shape, name in kinds.values():
        axes.plot([], [], shape, color=colour, label=name, markersize=7)
    for index, point in enumerate(shown.points):
        colour, shape, _ = kinds[point.spiking]
        axes.plot((point.low, point.high), (point.y, point.y), color=colour, lw=1, alpha=0.6)
        axes.plot(point.x, point.y, shape, color=colour, markersize=7)
        if key:
            axes.plot([], [], " ", label=f"{index + 1}  {key[index]}")
    axes.set_xscale("log")
    axes.set_xlim(
        points.log_limits(min(p.low for p in shown.points), max(p.high for p in shown.points))
    )
    qualities = [point.y for point in shown.points]
    axes.set_ylim(points.linear_limits(min(qualities), max(qualities)))
    ticks = points.log_ticks(*axes.get_xlim())
    axes.set_xticks(ticks, [formatting.significant(tick, 1) for tick in ticks])
    axes.minorticks_off()
    if shown.lower_is_better:
        axes.invert_yaxis()
    axes.set_xlabel(shown.x_label, fontsize=9, parse_math=False)
    axes.set_ylabel(shown.y_label, fontsize=9, parse_math=False)
    axes.set_title("measured rows only", loc="right", fontsize=TEXT, color="#555555")
    place_of_key = "outside right upper" if key else "outside lower center"
    legend = figure.legend(loc=place_of_key, ncols=1 if key else 2, fontsize=TEXT, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure, axes


def curves_figure(comparison: Comparison) -> Any | None:
    """The figure of :func:`draw_curves`; labels have the gid ``label``."""
    shown = points.curves(comparison)
    if shown is None:
        return None
    figure, axes = _figure(7.2, 4.4 + 0.14 * max(len(shown.curves) - 16, 0))
    styles = [_style(index) for index in range(len(shown.curves))]
    for curve, style in zip(shown.curves, styles, strict=True):
        axes.plot(curve.iterations, curve.values, **style, lw=1.5, markersize=4)
    axes.set_xlabel("iterations", fontsize=9)
    axes.set_ylabel(shown.y_label, fontsize=9, parse_math=False)
    figure.draw_without_rendering()
    scale = axes.transData.transform
    ends = [float(scale((curve.iterations[-1], curve.values[-1]))[1]) for curve in shown.curves]
    box = axes.get_window_extent()
    # 1.5 lines of text apart, in pixels
    places = spread(ends, box.y0, box.y1, 1.5 * TEXT * figure.dpi / 72)
    for curve, style, height in zip(shown.curves, styles, places, strict=True):
        axes.annotate(
            formatting.shortened(curve.name),
            (curve.iterations[-1], curve.values[-1]),
            (1.02, (height - box.y0) / box.height),
            textcoords="axes fraction",
            va="center",
            fontsize=TEXT,
            color=style["color"],
            annotation_clip=False,
            parse_math=False,
            gid="label",
            arrowprops={
                "arrowstyle": "-",
                "color": style["color"],
                "lw": 0.5,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )
    return figure


def _label_points(
    figure: Any, axes: Any, shown: Sequence[points.Point], names: Sequence[str]
) -> bool:
    """Write a name beside each point; False where there is too little room for them."""
    figure.draw_without_rendering()  # the layout is settled only then
    figure.set_layout_engine("none")
    texts = [
        axes.text(0, 0, name, fontsize=TEXT, gid="label", va="bottom", parse_math=False)
        for name in names
    ]
    renderer = figure.canvas.get_renderer()
    extents = [text.get_window_extent(renderer) for text in texts]
    area = axes.get_window_extent()
    pixel = figure.dpi / 72
    marks = [_mark(axes, point, 4.5 * pixel) for point in shown]
    boxes = place(
        marks,
        [(extent.width, extent.height) for extent in extents],
        Box(area.x0 + 2, area.y0 + 2, area.x1 - 2, area.y1 - 2),
    )
    for text, mark, box in zip(texts, marks, boxes, strict=True):
        if box is None:
            text.remove()
            continue
        text.set_transform(None)
        text.set_position((box.left, box.bottom))
        _leader(axes, mark, box, NEAR * pixel)
    return not crowded(marks, boxes, NEAR * pixel)


def _mark(axes: Any, point: points.Point, half: float) -> Box:
    """The pixels that a point and its range take."""
    low, y = map(float, axes.transData.transform((point.low, point.y)))
    high = float(axes.transData.transform((point.high, point.y))[0])
    x = float(axes.transData.transform((point.x, point.y))[0])
    return Box(min(low, x - half), y - half, max(high, x + half), y + half)


def _leader(axes: Any, mark: Box, box: Box, near: float) -> None:
    """A thin line from a point to a label that is not next to it."""
    line = leader(mark, box, near)
    if line is not None:
        (x, y), (to_x, to_y) = line
        axes.plot((x, to_x), (y, to_y), transform=None, color="#888888", lw=0.6, zorder=0)


def _style(index: int) -> dict[str, Any]:
    """Colour, dashes and marker of a line; the combination repeats after 84."""
    return {
        "color": LINES[index % len(LINES)],
        "linestyle": DASHES[index // len(LINES) % len(DASHES)],
        "marker": SHAPES[index % len(SHAPES)],
    }


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure that needs no display, and leaves pyplot's state alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.grid(color="#dddddd", lw=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TEXT)
    return figure, axes


def _png(figure: Any) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=figure.dpi)
    return content.getvalue()
