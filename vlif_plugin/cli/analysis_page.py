"""An analysis as one HTML file that needs nothing else; style and script are those of comparisons."""

from __future__ import annotations

import itertools
from importlib import resources
from typing import Any

from markupsafe import Markup

from vlif_plugin import __version__
from vlif_plugin.analysis import PUBLISHED, Activation, Analysis, Panel, claims
from vlif_plugin.cli import analysis_pictures as pictures
from vlif_plugin.cli.analysis_tables import MISSING, Subject, pooled
from vlif_plugin.cli.pictures import Pixels, resized
from vlif_plugin.comparison import formatting, points
from vlif_plugin.comparison.labels import Box, spread
from vlif_plugin.comparison.page import asset, both, data_uri
from vlif_plugin.comparison.svg_parts import (
    Drawing,
    as_svg,
    grid,
    linear_scale,
    log_scale,
    segment,
    ticks_along,
)

WIDE, NARROW = 620, 340
COLOURS = (0, 2, 6, 1, 3)  # of the style sheet: unlike each other in both of its themes
SMALLEST = 160  # pixels of a panel, so that browsers need not blur it


def page(found: Analysis, subject: Subject) -> str:
    """The page's text.

    Args:
        found: what it shows.
        subject: what that is of.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files("vlif_plugin.cli").joinpath("analysis.html").read_text("utf-8")
    return environment.from_string(template).render(
        a=found,
        subject=subject,
        style=Markup(asset("page.css")),
        script=Markup(asset("page.js")),
        version=__version__,
        missing=MISSING,
        published=PUBLISHED,
        size=formatting.size(found.size),
        claims=claims(found),
        applied=[_panel(panel) for panel in found.applied],
        task=[_panel(panel) for panel in found.task],
        spectra=both(spectra_svg(found, WIDE), spectra_svg(found, NARROW)),
        responses=[(name, data_uri(_large(p))) for name, p in pictures.response_pixels(found)],
        bars=both(bars_svg(found, WIDE), bars_svg(found, NARROW)),
        colours=COLOURS,
        shares={name: _row(r.activations["ever"]) for name, r in found.responses.items()},
        pooled={name: _row(counted) for name, counted in pooled(found).items()},
        layers=[(layer, data_uri(pictures.strip(layer, 64))) for layer in found.layers],
        number=_number,
    )


def spectra_svg(found: Analysis, width: int) -> Drawing:
    """Radial power of x and of what is left after applications of the layer's own neuron."""
    own = next(iter(found.repetitions.values())).applications
    shown = [(entry, _name(entry.times)) for entry in own if entry.norm > 0]
    curves = [
        [(f, p) for f, p in zip(entry.spectrum.frequencies, entry.spectrum.power, strict=True) if p]
        for entry, _ in shown
    ]
    values = [power for curve in curves for _, power in curve] or [1.0]
    height, room = min(360, round(width * 0.95)), 66
    frame = Box(52, 14, width - room, height - 34)
    limits = points.log_limits(max(min(values), max(values) * 1e-9), max(values))
    across = linear_scale((0, 0.5), (frame.left, frame.right))
    turned = Box(frame.top, 0, frame.bottom, 0)  # a logarithmic scale that runs upwards
    down = log_scale(limits, turned)
    ticks = points.log_ticks(*limits, 6)
    parts = [
        grid(
            frame,
            [(across(tick), f"{tick:g}") for tick in (0, 0.1, 0.2, 0.3, 0.4, 0.5)],
            [(down(tick), formatting.significant(tick, 1)) for tick in ticks],
        ),
        segment("leader", (across(found.cutoff), frame.bottom), (across(found.cutoff), frame.top)),
    ]
    ends = [down(max(curve[-1][1], limits[0])) if curve else frame.top for curve in curves]
    heights = spread(ends, frame.bottom, frame.top, 16)
    for index, ((_, name), curve, end, y) in enumerate(
        zip(shown, curves, ends, heights, strict=True)
    ):
        line = " ".join(f"{across(f):.1f},{down(max(p, limits[0])):.1f}" for f, p in curve)
        tie = segment("leader", (frame.right, end), (frame.right + 10, y))
        dash = "" if index < 2 else f"{2 * index} {3 + index}"
        parts.append(
            Markup(
                '<g class="curve c{}"><polyline points="{}" stroke-dasharray="{}"/>{}'
                '<text x="{:.1f}" y="{:.1f}">{}</text></g>'
            ).format(index % 7, line, dash, tie, frame.right + 12, y + 4, name)
        )
    return Drawing(as_svg(width, height, "Power by frequency", parts))


def bars_svg(found: Analysis, width: int) -> Drawing:
    """Share of active inputs by range and neuron; what is published as a line."""
    responses = list(found.responses.items())
    height = min(320, round(width * 0.8))
    frame = Box(40, 10, width - 6, height - 34)
    edges = responses[0][1].activations["ever"].edges
    ranges = list(itertools.pairwise(edges))
    across = linear_scale((0, len(ranges)), (frame.left, frame.right))
    down = linear_scale((0, 1), (frame.top, frame.bottom))
    labels = [(across(place + 0.5), f"{low:.2f}") for place, (low, _) in enumerate(ranges)]
    percents = [(y, f"{round(100 * float(text))}") for y, text in ticks_along((0, 1), down)]
    parts = [grid(frame, labels, percents)]
    step = (across(1) - across(0)) * 0.84 / len(responses)
    for index, (name, response) in enumerate(responses):
        counted = response.activations["ever"]
        for place, share in enumerate(counted.shares):
            top = down(share or 0)
            parts.append(
                Markup(
                    '<rect class="bar c{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                    "<title>{}</title></rect>"
                ).format(
                    COLOURS[index], across(place + 0.08) + index * step, top, max(step - 1, 1),
                    frame.top - top,
                    f"{name}, {edges[place]:.3f} to {edges[place + 1]:.3f}: {share or 0:.2%}",
                )
            )  # fmt: skip
    level = down(PUBLISHED["vlif_lowest"])
    parts.append(segment("published", (across(0.02), level), (across(0.98), level)))
    names = tuple(f"{name}: {r.activations['ever'].share:.2%} of all" for name, r in responses)
    return Drawing(as_svg(width, height, "Active inputs by range, per cent", parts), names)


def _name(times: int) -> str:
    return "x" if times == 0 else f"t = {times}"


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "name": panel.name,
        "share": f"{panel.high_share:.4f}",
        "map": data_uri(_large(pictures.panel_pixels(panel))),
        "spectrum": data_uri(_large(pictures.spectrum_pixels(panel))),
    }


def _large(image: Pixels) -> Pixels:
    return image if max(image.shape[:2]) >= SMALLEST else resized(image, SMALLEST)


def _row(counted: Activation) -> dict[str, Any]:
    return {
        "all": f"{counted.share:.2%}",
        "ranges": [MISSING if share is None else f"{share:.1%}" for share in counted.shares],
        "edges": counted.edges,
    }


def _number(value: float | None, digits: int = 3) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"
