"""The tables of a comparison in a terminal, in Markdown and as CSV."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from vlif_plugin.comparison.columns import (
    KIND,
    Column,
    cost_columns,
    fingerprints,
    image_columns,
    not_counted,
    published_columns,
    score_columns,
    training_columns,
)
from vlif_plugin.comparison.rows import Comparison, MeasuredRow, PublishedRow
from vlif_plugin.comparison.seeds import SeededRow, seed_columns, seeded_rows

PAPER = "paper"
ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}


def as_csv(comparison: Comparison) -> str:
    """One table: measured rows, then those of papers, in columns of their own; values unrounded."""
    measured = _measured_columns(comparison)
    published = published_columns(comparison.published) if comparison.published else []
    heads = ["row", "origin", "source", "network", "weights", "tile", "failures", "note"]
    text = io.StringIO()
    writer = csv.DictWriter(
        text, [*heads, *(column.key for column in [*measured, *published])], lineterminator="\n"
    )
    writer.writeheader()
    for row in comparison.measured:
        own = {"row": row.name, "origin": "measured", "network": row.network}
        own |= {"weights": row.weights, "tile": row.tile, "failures": "; ".join(row.failures)}
        writer.writerow(own | {column.key: column.value(row) for column in measured})
    for row in comparison.published:
        own = {"row": row.name, "origin": PAPER, "source": row.source, "note": row.note}
        writer.writerow(own | {column.key: column.value(row) for column in published})
    return text.getvalue()


def as_markdown(comparison: Comparison) -> str:
    """A section for each group of columns, then failures, notes, and what it was measured with."""
    lines = [f"# {_cell(comparison.name)}", "", f"{comparison.date}, `{comparison.command}`", ""]
    for group, columns, rows in _groups(comparison):
        lines += [f"## {_cell(group)}", ""]
        names = [_first(rows), *map(_title, columns)]
        texts = [[row.name, *(column.text(row) for column in columns)] for row in rows]
        right = ["---", *("---" if _is_words(column) else "---:" for column in columns)]
        lines += [_line(names), _line(right), *map(_line, texts), ""]
    lines += [f"- {_cell(text)}" for text in remarks(comparison)]
    lines += ["", "Scores:", ""] if comparison.metrics else []
    lines += [f"- `{metric.name}`: {metric.what}" for metric in comparison.metrics]
    lines += ["", *_fingerprints(comparison)] if comparison.datasets else []
    machine = ", ".join(f"{name} {value}" for name, value in comparison.machine.items())
    lines += ["", f"Cost was measured on {', '.join(comparison.cost_images)}. {machine}."]
    return "\n".join(lines) + "\n"


def _fingerprints(comparison: Comparison) -> list[str]:
    """What was scored, by dataset; rows that were scored on other pixels show."""
    lines = []
    for name, images in comparison.datasets.items():
        marks = fingerprints(comparison, name)
        shown = f", fingerprint {' and '.join(marks)}" if marks else ""
        lines.append(f"- {_cell(name)}: {images} image{'s' * (images != 1)}{shown}")
    return lines


def as_rich(comparison: Comparison) -> list[Text | Table]:
    """The same for a terminal: headings and tables."""
    shown: list[Text | Table] = []
    for group, columns, rows in _groups(comparison):
        # a table's own title would be broken to its width
        shown.append(Text(group, style="bold"))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(_first(rows), overflow="fold")
        for column in columns:
            # a word a line: values are narrow, and terminals too
            head = Text(_title(column).replace(" ", "\n"))
            table.add_column(head, justify="left" if _is_words(column) else "right", no_wrap=True)
        for row in rows:
            table.add_row(Text(row.name), *(Text(column.text(row)) for column in columns))
        shown.append(table)
    return shown


def remarks(comparison: Comparison) -> list[str]:
    """What could not be measured or counted, where a paper contradicts itself, and what all rests on."""
    found = [
        f"not measured: {row.name}: {text}" for row in comparison.measured for text in row.failures
    ]
    for row in comparison.measured:
        if row.cost is not None and row.cost.not_counted:
            found.append(f"not counted: {row.name}: {not_counted(row.cost)}")
    for row in comparison.measured:
        notes = () if row.cost is None else row.cost.notes
        found += [f"{row.name}: {note}" for note in notes if note not in comparison.notes]
    found += [f"{row.name}, {row.source}: {row.note}" for row in comparison.published if row.note]
    return [*found, *comparison.notes]


Rows = Sequence[MeasuredRow] | Sequence[SeededRow] | Sequence[PublishedRow]


def _groups(comparison: Comparison) -> list[tuple[str, list[Column], Rows]]:
    """Tables for people: heading, columns, and the rows that have something in them."""
    found: list[tuple[str, list[Column], Rows]] = [
        (group, columns, [row for row in comparison.measured if _has_some(row, columns)])
        for group, columns in _by_group(_measured_columns(comparison))
    ]
    found += [
        (group, columns, seeded_rows(comparison))
        for group, columns in _by_group(seed_columns(comparison))
    ]
    for source in dict.fromkeys(row.source for row in comparison.published):
        rows = [row for row in comparison.published if row.source == source]
        title = f"Paper: {source}; nothing of this was measured here"
        found.append((title, published_columns(rows), rows))
    return found


def _by_group(columns: Sequence[Column]) -> list[tuple[str, list[Column]]]:
    groups: dict[str, list[Column]] = {}
    for column in columns:
        if column.group:
            groups.setdefault(column.group, []).append(column)
    return list(groups.items())


def _measured_columns(comparison: Comparison) -> list[Column]:
    return [
        *cost_columns(comparison),
        *score_columns(comparison),
        *image_columns(comparison),
        *training_columns(comparison),
    ]


def _first(rows: Rows) -> str:
    """Heading of the names."""
    return PAPER if isinstance(rows[0], PublishedRow) else "network"


def _title(column: Column) -> str:
    return column.title + ARROWS[column.better] if ":" in column.key else column.title


def _has_some(row: MeasuredRow, columns: Sequence[Column]) -> bool:
    """Whether a row belongs in a table; what failed belongs in all that it is of."""
    return bool(row.failures) or any(column.value(row) is not None for column in columns)


def _is_words(column: Column) -> bool:
    return column.key == KIND


def _cell(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"
