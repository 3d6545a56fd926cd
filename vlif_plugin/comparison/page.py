"""A comparison as one HTML file that needs nothing else: no network, no folder beside it."""

from __future__ import annotations

import base64
import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

from vlif_plugin import __version__
from vlif_plugin.comparison import formatting, page_tables, points
from vlif_plugin.comparison.columns import fingerprints
from vlif_plugin.comparison.pictures import Pixels, all_panels
from vlif_plugin.comparison.points import Against
from vlif_plugin.comparison.rows import Comparison, MeasuredRow
from vlif_plugin.comparison.svg import Drawing, curves_svg, scatter_svg

LONGEST_SIDE = 1024
QUALITY = 86
WIDE, NARROW = 560, 340


def render(comparison: Comparison, folder: Path) -> str:
    """The page's text.

    Args:
        comparison: all that is shown.
        folder: that pictures' paths are relative to.

    Raises:
        DataError: an image cannot be read.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    pictures = _pictures(comparison, folder)
    measured = page_tables.measured_table(comparison)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"duration": formatting.duration, "compact": _compact}
    return environment.from_string(asset("page.html")).render(
        c=comparison,
        style=Markup(asset("page.css")),
        script=Markup(asset("page.js")),
        arrows=page_tables.ARROWS,
        missing=formatting.MISSING,
        measured=measured,
        emphasised=any(cell.best for line in measured.lines for cell in line.cells),
        seeds=page_tables.seeds_table(comparison),
        published=page_tables.published_table(comparison.published),
        plots=_plots(comparison),
        learning_label=_learning_label(comparison),
        longest=LONGEST_SIDE,
        version=__version__,
        learning=both(curves_svg(comparison, 2 * WIDE - 160), curves_svg(comparison, NARROW)),
        datasets=[_dataset(comparison, name, pictures) for name in comparison.datasets],
        pictures=pictures,
        trained=[row for row in comparison.measured if row.training],
        facts=[_facts(row) for row in comparison.measured],
        sizes=list(
            dict.fromkeys(formatting.size(r.cost.size) for r in comparison.measured if r.cost)
        ),
    )


def asset(name: str) -> str:
    """The text of a file that belongs to the page; ``page.css`` and ``page.js`` serve other pages too."""
    return resources.files("vlif_plugin.comparison").joinpath(name).read_text("utf-8")


def _plots(comparison: Comparison) -> list[dict[str, Any]]:
    """Heading, words below, and drawings of the scatter plots that there is something for."""
    found = []
    kinds: tuple[Against, ...] = ("energy", "time")
    for against in kinds:
        shown = points.scatter(comparison, against)
        if shown is not None:
            drawings = (scatter_svg(comparison, against, width) for width in (WIDE, NARROW))
            found.append(
                {
                    "title": f"Quality against {against}",
                    "x": shown.x_label,
                    "y": shown.y_label,
                    "drawings": both(*drawings),
                    "ranged": any(point.low < point.high for point in shown.points),
                }
            )
    return found


def _learning_label(comparison: Comparison) -> str:
    shown = points.curves(comparison)
    return "" if shown is None else shown.y_label


def both(wide: Drawing | None, narrow: Drawing | None) -> list[tuple[str, Drawing | None]]:
    """Drawings for broad and for narrow screens; the style sheet shows one of them."""
    return [] if wide is None else [("wide", wide), ("narrow", narrow)]


def _dataset(comparison: Comparison, name: str, pictures: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "images": comparison.datasets[name],
        "fingerprints": fingerprints(comparison, name),
        "table": page_tables.spread_table(comparison, name),
        "pictures": len(pictures.get(name, ())),
    }


def _facts(row: MeasuredRow) -> dict[str, Any]:
    """What a row rests on, by name; entries that say nothing are left out."""
    cost = row.cost
    facts: dict[str, Any] = {
        "network": row.network or "none: the degraded images themselves",
        "options": _compact(row.options) if row.options else "",
        "weights": row.weights or "",
        "SHA-256": row.weights_sha256 or "",
        "tiles": row.tile if row.network else "",
        "restoring": ", ".join(
            f"{scores.dataset} in {formatting.duration(scores.seconds)}" for scores in row.scores
        )
        if row.network
        else "",
    }
    if cost is not None:
        few = "" if cost.images == 1 else f", mean of {cost.images} images"
        facts["counted on"] = f"{formatting.size(cost.size)}{few}"
        facts["sign operations"] = formatting.short(cost.signs) if cost.signs else ""
        facts["element-wise operations"] = f"{formatting.short(cost.elementwise)}, not priced"
        facts["not counted"] = ", ".join(
            f"{name} ({calls} call{'s' if calls != 1 else ''})"
            for name, calls in cost.not_counted.items()
        )
        facts["notes"] = " ".join(cost.notes)
    return {"name": row.name, "facts": {key: text for key, text in facts.items() if text}}


def _compact(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _pictures(comparison: Comparison, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """By dataset, what the page's script needs of each picture; images as data URIs."""
    found: dict[str, list[dict[str, Any]]] = {}
    for picture, shown, detail in all_panels(comparison, folder):
        height, width = shown[0].image.shape[:2]
        found.setdefault(picture.dataset, []).append(
            {
                "image": picture.image,
                "width": width,
                "height": height,
                "detail": [
                    detail.x / width,
                    detail.y / height,
                    detail.width / width,
                    detail.height / height,
                ],
                "panels": [
                    {
                        "key": panel.key,
                        "name": panel.name,
                        "score": panel.score,
                        "src": data_uri(panel.image),
                    }
                    for panel in shown
                ],
            }
        )
    return found


def data_uri(image: Pixels) -> str:
    """An image as WebP in the page itself, no longer than ``LONGEST_SIDE``."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, format="webp", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
