"""The page's tables: what stands in each cell, how it sorts, and which value is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from vlif_plugin.comparison import formatting
from vlif_plugin.comparison.columns import (
    KIND,
    Better,
    Column,
    cost_columns,
    known_values,
    published_columns,
    score_columns,
    scored_metrics,
    scores_of,
    single_columns,
)
from vlif_plugin.comparison.rows import Comparison, MeasuredRow, MetricInfo, PublishedRow, Scores
from vlif_plugin.comparison.seeds import SeededRow, seed_columns, seeded_rows


@dataclass(frozen=True)
class Cell:
    """A number in a table.

    Attributes:
        text: as shown.
        value: to sort by; None where it is missing.
        title: for those who point at it.
        under: a second, smaller line.
        best: of its column.
    """

    text: str = formatting.MISSING
    value: float | None = None
    title: str = ""
    under: str = ""
    best: bool = False

    @property
    def order(self) -> str:
        """The value as a script reads it; empty where it is missing."""
        if self.value is None:
            return ""
        return repr(self.value).replace("inf", "Infinity")


@dataclass(frozen=True)
class Line:
    """A row of a table: a name with remarks, numbers, and sentences that take the whole width."""

    name: str
    tags: tuple[str, ...]
    cells: tuple[Cell, ...]
    failures: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Columns, their groups with widths, and rows."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    groups: tuple[tuple[str, int], ...] = ()


ARROWS = {"higher": "↑", "lower": "↓", "": ""}


def measured_table(comparison: Comparison) -> Table:
    """Scores of each dataset, then cost, of the measured rows."""
    columns = [c for c in [*score_columns(comparison), *cost_columns(comparison)] if c.group]
    grid = [_mark_best([_cell(c, row) for row in comparison.measured], c) for c in columns]
    lines = [
        Line(row.name, _tags(row), tuple(cells[index] for cells in grid), row.failures)
        for index, row in enumerate(comparison.measured)
    ]
    return _table(columns, lines)


def seeds_table(comparison: Comparison) -> Table:
    """Mean and range over the seeds of each network that has several; without lines where none has."""
    columns, rows = seed_columns(comparison), seeded_rows(comparison)
    grid = [_mark_best([_cell(c, row) for row in rows], c) for c in columns]
    lines = [Line(row.name, (), tuple(cells[i] for cells in grid)) for i, row in enumerate(rows)]
    return _table(columns, lines)


def published_table(rows: Iterable[PublishedRow]) -> Table:
    """Numbers as papers print them; nothing in it is compared or emphasised."""
    rows = list(rows)
    columns = [column for column in published_columns(rows) if column.key != KIND]
    lines = []
    for row in rows:
        kind = {"C": "convolutional", "T": "Transformer", "S": "spiking"}.get(row.kind or "", "")
        words = (f"From {row.source}.", row.note) if row.note else (f"From {row.source}.",)
        cells = tuple(_cell(column, row) for column in columns)
        lines.append(Line(row.name, (kind,) if kind else (), cells, words=words))
    return _table(columns, lines)


def spread_table(comparison: Comparison, dataset: str) -> Table:
    """Mean and range over the images of one dataset, of each row that was scored on it."""
    columns, lines = [], []
    metrics = scored_metrics(comparison, dataset)
    gains = {
        metric.name: [c for c in single_columns(comparison, dataset, metric) if c.key != "worst"]
        for metric in metrics
    }
    for metric in metrics:
        better: Better = "lower" if metric.lower_is_better else "higher"
        columns += [
            _heading(metric.name, "mean", metric.what, better),
            _heading(metric.name, "range over images", "smallest to largest of one image"),
            *gains[metric.name],
        ]
    for row in comparison.measured:
        scores = scores_of(row, dataset)
        if scores is not None:
            cells: list[Cell] = []
            for metric in metrics:
                cells += _spread_cells(scores, metric, comparison.datasets[dataset])
                cells += [_cell(column, row) for column in gains[metric.name]]
            lines.append(Line(row.name, (), tuple(cells)))
    return _table(columns, lines)


def _cell(column: Column, row: MeasuredRow | SeededRow | PublishedRow) -> Cell:
    value = column.value(row)
    under = "" if column.under is None else column.under(row)
    if value is None:
        return Cell(title="none", under=under)
    if not math.isfinite(value):
        return Cell(formatting.unusual(value), None if math.isnan(value) else value)
    return Cell(column.show(value), value, f"{value:,}", under)


def _heading(group: str, title: str, about: str, better: Better = "") -> Column:
    """A column whose cells are made elsewhere."""
    return Column(group, "", title, lambda row: None, about=about, better=better)


def _score(value: float, metric: MetricInfo) -> Cell:
    if math.isnan(value):
        return Cell(formatting.unusual(value))
    title = f"{value:.6f}" if math.isfinite(value) else "identical images"
    return Cell(metric.shown(value), value, title)


def _spread_cells(scores: Scores, metric: MetricInfo, images: int) -> tuple[Cell, Cell]:
    known = known_values(scores, metric).values()
    mean = scores.means.get(metric.name)
    first = Cell(title="not scored") if mean is None else _score(mean, metric)
    if not known:
        return first, Cell()
    low, high = (metric.shown(pick(known)) for pick in (min, max))
    few = f"{len(known)} of {images} images" if len(known) < images else ""
    return first, Cell(f"{low} to {high}", min(known), under=few)


def _mark_best(cells: list[Cell], column: Column) -> list[Cell]:
    """Emphasise the best value and those that read the same, where there is one to compare with."""
    known = [cell for cell in cells if cell.value is not None]
    if not column.better or len(known) < 2:
        return cells
    pick = min if column.better == "lower" else max
    best = pick(known, key=lambda cell: cell.value or 0.0).text
    if all(cell.text == best for cell in known):
        return cells
    return [replace(cell, best=cell.value is not None and cell.text == best) for cell in cells]


def _tags(row: MeasuredRow) -> tuple[str, ...]:
    if row.network is None:
        return ("degraded images as they are",)
    tags = []
    if row.cost is not None:
        tags.append("spiking" if row.cost.firing_rate is not None else "not spiking")
        if row.cost.calibrated:
            tags.append("calibrated, not trained")
    if row.training is not None:
        tags.append("trained here")
    elif row.weights is None and not (row.cost and row.cost.calibrated):
        tags.append("without weights")
    return tuple(tags)


def _table(columns: list[Column], lines: list[Line]) -> Table:
    groups = tuple((name, len(list(g))) for name, g in groupby(columns, lambda c: c.group))
    return Table(tuple(columns), tuple(lines), groups)
