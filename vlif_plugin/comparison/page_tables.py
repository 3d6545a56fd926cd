"""The page's tables: what stands in each cell, how it sorts, and which value is the best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby

from vlif_plugin.comparison import formatting
from vlif_plugin.comparison.rows import (
    Comparison,
    Cost,
    MeasuredRow,
    MetricInfo,
    PublishedRow,
    Scores,
)


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        group: heading over neighbouring columns.
        title: heading.
        about: a sentence for those who point at it.
        better: which direction is good; nothing where neither is.
    """

    group: str
    title: str
    about: str = ""
    better: str = ""


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
    groups: tuple[tuple[str, int], ...] = field(default=())


Getter = Callable[[MeasuredRow], Cell]
ARROWS = {"higher": "↑", "lower": "↓", "": ""}


def measured_table(comparison: Comparison) -> Table:
    """Scores of each dataset, then cost, of the measured rows."""
    sources = [*_score_columns(comparison), *_cost_columns(comparison)]
    columns = tuple(column for column, _ in sources)
    grid = [[get(row) for row in comparison.measured] for _, get in sources]
    marked = [_mark_best(cells, column) for cells, column in zip(grid, columns, strict=True)]
    lines = [
        Line(row.name, _tags(row), tuple(cells[index] for cells in marked), row.failures)
        for index, row in enumerate(comparison.measured)
    ]
    return _table(columns, lines)


def published_table(rows: Iterable[PublishedRow]) -> Table:
    """Numbers as papers print them; nothing in it is compared or emphasised."""
    rows = list(rows)
    pairs = list(dict.fromkeys((d, m) for row in rows for d in row.scores for m in row.scores[d]))
    datasets = [dataset for dataset, _ in pairs]
    pairs.sort(key=lambda pair: datasets.index(pair[0]))  # a dataset's columns stay together
    columns = [Column(dataset, metric, "protocol not stated") for dataset, metric in pairs]
    columns += [
        Column("As printed", "parameters, M", "by the table's own counter"),
        Column("As printed", "FLOPs, G", "by the table's own counter"),
        Column("As printed", "energy, uJ", "as printed"),
    ]
    lines = []
    for row in rows:
        cells = [_printed(row.scores.get(d, {}).get(m)) for d, m in pairs]
        cells += [
            _cell(row.parameters_m, lambda v: f"{v:.6g}"),
            _cell(row.flops_g, lambda v: f"{v:.6g}"),
            _cell(row.energy_uj, formatting.microjoules),
        ]
        kind = {"C": "convolutional", "T": "Transformer", "S": "spiking"}.get(row.kind or "", "")
        words = (f"From {row.source}.", row.note) if row.note else (f"From {row.source}.",)
        lines.append(Line(row.name, (kind,) if kind else (), tuple(cells), words=words))
    return _table(tuple(columns), lines)


def spread_table(comparison: Comparison, dataset: str) -> Table:
    """Mean and range over the images of one dataset, of each row that was scored on it."""
    columns, lines = [], []
    for metric in comparison.metrics:
        better = "lower" if metric.lower_is_better else "higher"
        columns += [
            Column(metric.name, "mean", metric.what, better),
            Column(metric.name, "range over images", "smallest to largest of one image"),
        ]
    for row in comparison.measured:
        scores = scores_of(row, dataset)
        if scores is not None:
            cells = [c for m in comparison.metrics for c in _spread_cells(scores, m)]
            lines.append(Line(row.name, (), tuple(cells)))
    return _table(tuple(columns), lines)


def scores_of(row: MeasuredRow, dataset: str) -> Scores | None:
    """A row's scores on a dataset."""
    return next((scores for scores in row.scores if scores.dataset == dataset), None)


def _score_columns(comparison: Comparison) -> list[tuple[Column, Getter]]:
    found: list[tuple[Column, Getter]] = []
    for dataset, images in comparison.datasets.items():
        for metric in comparison.metrics:

            def mean(row: MeasuredRow, dataset: str = dataset, metric: MetricInfo = metric) -> Cell:
                scores = scores_of(row, dataset)
                if scores is None or metric.name not in scores.means:
                    return Cell(title="not scored")
                return _score(scores.means[metric.name], metric)

            unit = f", {metric.unit}" if metric.unit else ""
            better = "lower" if metric.lower_is_better else "higher"
            about = f"mean over the images; {metric.what}"
            group = f"{dataset} ({images} image{'s' if images != 1 else ''})"
            found.append((Column(group, metric.name + unit, about, better), mean))
    return found


def _cost_columns(comparison: Comparison) -> list[tuple[Column, Getter]]:
    costs = [row.cost for row in comparison.measured if row.cost]
    prices = list(dict.fromkeys(name for cost in costs for name in cost.energy_uj))
    full, published = "Full count, one image", "Published count (skips layers)"

    def of(get: Callable[[Cost], float | None], show: Callable[[float], str]) -> Getter:
        return lambda row: _cell(get(row.cost), show) if row.cost else Cell(title="not measured")

    released: list[tuple[Column, Getter]] = []
    if any(cost.released_macs is not None for cost in costs):
        about = "the same in the authors' code, which takes more for the same result"
        column = Column(full, "in the released code, G", about)
        released = [(column, of(lambda c: c.released_macs, formatting.giga))]
    found: list[tuple[Column, Getter]] = [
        (
            Column(full, "parameters", "all of them", "lower"),
            of(lambda c: c.parameters, lambda v: formatting.millions(int(v))),
        ),
        (
            Column(full, "MACs all, G", "all products, as if all were on real values", "lower"),
            of(lambda c: c.dense_macs, formatting.giga),
        ),
        *released,
        (
            Column(full, "MACs on real values, G", "products that spikes do not replace", "lower"),
            of(lambda c: c.macs, formatting.giga),
        ),
        (
            Column(full, "SOPs, G", "synaptic operations: what spikes cause; neither way is good"),
            of(lambda c: c.sops, formatting.giga),
        ),
    ]
    for name in prices:
        about = f"arithmetic at the prices {name}; memory traffic is not in it"
        found.append(
            (
                Column(full, f"energy ({name}), uJ", about, "lower"),
                of(lambda c, name=name: c.energy_uj.get(name), formatting.microjoules),
            )
        )
    rate = "share of neuron updates with a spike; neither way is good"
    found.append((Column(full, "firing rate", rate), of(lambda c: c.firing_rate, _rate)))
    found += [
        (Column("Speed and memory", "time, s", "median of the timed passes", "lower"), _time),
        (
            Column("Speed and memory", "peak memory, MB", "above the loaded network", "lower"),
            of(lambda c: c.peak_memory, lambda v: formatting.megabytes(int(v))),
        ),
        (
            Column(published, "parameters", "of the layers that the published count sees"),
            of(lambda c: c.paper_parameters, lambda v: formatting.millions(int(v))),
        ),
        (
            Column(published, "MACs, G", "of the layers that the published count sees"),
            of(lambda c: c.paper_macs, formatting.giga),
        ),
        (
            Column(published, "energy, uJ", "its MACs at the paper's price; no estimate of energy"),
            of(lambda c: c.paper_energy_uj, formatting.microjoules),
        ),
    ]
    return found


def _time(row: MeasuredRow) -> Cell:
    if row.cost is None or not row.cost.seconds:
        return Cell(title="not measured")
    median, passes = row.cost.median_seconds, row.cost.seconds
    low, high = formatting.seconds(min(passes)), formatting.seconds(max(passes))
    count = f"{len(passes)} timed pass{'es' if len(passes) != 1 else ''}"
    return Cell(formatting.seconds(median), median, count, f"{low} to {high}")


def _rate(value: float) -> str:
    return f"{value:.3f}"


def _cell(value: float | None, show: Callable[[float], str]) -> Cell:
    if value is None:
        return Cell(title="none")
    if not math.isfinite(value):
        return Cell(formatting.unusual(value), None if math.isnan(value) else value)
    exact = f"{value:,}"
    return Cell(show(value), value, exact)


def _score(value: float, metric: MetricInfo) -> Cell:
    if math.isnan(value):
        return Cell(formatting.unusual(value))
    title = f"{value:.6f}" if math.isfinite(value) else "identical images"
    return Cell(formatting.score(value, metric.unit), value, title)


def _printed(value: float | None) -> Cell:
    """A score as a table prints it; digits are not made up."""
    return _cell(value, lambda v: f"{v:.2f}" if v >= 2 else f"{v:.6g}")


def _spread_cells(scores: Scores, metric: MetricInfo) -> tuple[Cell, Cell]:
    values = [entry.values.get(metric.name) for entry in scores.per_image]
    known = [value for value in values if value is not None and not math.isnan(value)]
    mean = scores.means.get(metric.name)
    first = Cell(title="not scored") if mean is None else _score(mean, metric)
    if not known:
        return first, Cell()
    low, high = (formatting.score(pick(known), metric.unit) for pick in (min, max))
    few = f"{len(known)} of {len(values)} images" if len(known) < len(values) else ""
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


def _table(columns: tuple[Column, ...], lines: list[Line]) -> Table:
    groups = tuple((name, len(list(g))) for name, g in groupby(columns, lambda c: c.group))
    return Table(columns, tuple(lines), groups)
