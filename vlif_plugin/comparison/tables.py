"""The tables of a comparison: columns are said once, and shown in a terminal, in Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from vlif_plugin.comparison import formatting
from vlif_plugin.comparison.rows import Comparison, Cost, MeasuredRow, PublishedRow

WORK = "Work, full count"
PRICE = "Energy, time and memory"
NEURONS = "Neurons; and element-wise work, which no energy prices"
COUNTER = "Published count: skips layers, no estimate of work or energy"
TRAINING = "Training"
PAPER = "paper"


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        group: the table that it stands in, for people; nothing for the CSV file only.
        key: heading in the CSV file, where all stand in one table.
        title: heading for people.
        value: what stands in a row, unrounded; None where there is nothing.
        show: a value for people.
    """

    group: str
    key: str
    title: str
    value: Callable[[Any], Any]
    show: Callable[[Any], str] = str

    def text(self, row: MeasuredRow | PublishedRow) -> str:
        """The cell for people."""
        value = self.value(row)
        return formatting.MISSING if value is None else self.show(value)


def measured_columns(comparison: Comparison) -> list[Column]:
    """Columns of the measured rows, that of the names left out."""
    return [
        *_cost_columns(comparison),
        *_score_columns(comparison),
        *_training_columns(comparison),
    ]


def _cost_columns(comparison: Comparison) -> list[Column]:
    def of(get: Callable[[Cost], Any]) -> Callable[[MeasuredRow], Any]:
        return lambda row: None if row.cost is None else get(row.cost)

    costs = [row.cost for row in comparison.measured if row.cost is not None]
    prices = dict.fromkeys(name for cost in costs for name in cost.energy_uj)
    if not costs:
        return []
    size = ", ".join(dict.fromkeys(formatting.size(cost.size) for cost in costs))
    work = f"{WORK}, one image of {size}"
    short, micro = formatting.short, formatting.microjoules
    released = [
        Column(work, "macs_released", "in the released code", of(lambda c: c.released_macs), short)
    ]
    released = released if any(cost.released_macs is not None for cost in costs) else []
    energies = [
        Column(
            PRICE,
            f"energy_uj_{name}",
            f"energy ({name}), uJ",
            of(lambda c, name=name: c.energy_uj.get(name)),
            micro,
        )
        for name in prices
    ]
    return [
        Column(work, "parameters", "parameters", of(lambda c: c.parameters), formatting.millions),
        Column(work, "macs_all", "MACs, all", of(lambda c: c.dense_macs), short),
        *released,
        Column(work, "macs_real", "MACs on real values", of(lambda c: c.macs), short),
        Column(work, "sops", "SOPs", of(lambda c: c.sops), short),
        *energies,
        Column(PRICE, "seconds", "time, s", of(_median), formatting.seconds),
        Column(
            PRICE, "peak_bytes", "memory, MB", of(lambda c: c.peak_memory), formatting.megabytes
        ),
        Column(
            NEURONS, "firing_rate", "firing rate", of(lambda c: c.firing_rate), formatting.score
        ),
        Column(NEURONS, "signs", "sign operations", of(lambda c: c.signs), short),
        Column(NEURONS, "elementwise", "element-wise", of(lambda c: c.elementwise), short),
        Column(
            COUNTER, "published_parameters", "parameters", of(lambda c: c.paper_parameters), _count
        ),
        Column(COUNTER, "published_macs", "MACs", of(lambda c: c.paper_macs), short),
        Column(
            COUNTER, "published_energy_uj", "energy, uJ", of(lambda c: c.paper_energy_uj), micro
        ),
        Column("", "not_counted", "not counted", of(_not_counted)),
        Column("", "size", "size", of(lambda c: formatting.size(c.size))),
        Column("", "calibrated", "calibrated", of(lambda c: c.calibrated)),
    ]


def _score_columns(comparison: Comparison) -> list[Column]:
    columns = []
    for dataset, images in comparison.datasets.items():
        group = f"{dataset}, mean of {images} image{'s' * (images != 1)}"
        for metric in comparison.metrics:
            found = [_mean(row, dataset, metric.name) for row in comparison.measured]
            if any(value is not None for value in found):
                unit = f", {metric.unit}" if metric.unit else ""
                columns.append(
                    Column(
                        group,
                        f"{dataset}:{metric.name}",
                        f"{metric.name}{unit}{' ↓' * metric.lower_is_better}",
                        lambda row, d=dataset, m=metric.name: _mean(row, d, m),
                        lambda value, unit=metric.unit: formatting.score(value, unit),
                    )
                )
    return columns


def _training_columns(comparison: Comparison) -> list[Column]:
    if not any(row.training for row in comparison.measured):
        return []

    def of(name: str) -> Callable[[MeasuredRow], Any]:
        return lambda row: None if row.training is None else getattr(row.training, name)

    return [
        Column(TRAINING, "iterations", "iterations", of("iterations"), _count),
        Column(TRAINING, "training_seconds", "time", of("seconds"), formatting.duration),
        Column(TRAINING, "cpu_seconds", "processor time", of("cpu_seconds"), formatting.duration),
        Column(TRAINING, "seed", "seed", of("seed")),
    ]


def published_columns(rows: Sequence[PublishedRow]) -> list[Column]:
    """Columns of published rows, those of name and table left out."""
    pairs = dict.fromkeys((d, m) for row in rows for d in row.scores for m in row.scores[d])
    micro = formatting.microjoules
    columns = [
        Column(PAPER, "printed_kind", "kind", lambda row: row.kind),
        Column(PAPER, "printed_parameters_m", "params, M", lambda r: r.parameters_m, _printed),
        Column(PAPER, "printed_flops_g", "FLOPs, G", lambda r: r.flops_g, _printed),
        Column(PAPER, "printed_energy_uj", "energy, uJ", lambda r: r.energy_uj, micro),
    ]
    columns += [
        Column(
            PAPER,
            f"printed:{dataset}:{metric}",
            f"{dataset} {metric}",
            lambda row, d=dataset, m=metric: row.scores.get(d, {}).get(m),
            _printed,
        )
        for dataset, metric in pairs
    ]
    return [column for column in columns if any(column.value(row) is not None for row in rows)]


def as_csv(comparison: Comparison) -> str:
    """One table: measured rows, then those of papers, in columns of their own; values unrounded."""
    measured = measured_columns(comparison)
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
        names = [_first(columns), *(column.title for column in columns)]
        texts = [[row.name, *(column.text(row) for column in columns)] for row in rows]
        right = ["---", *("---" if _is_words(column) else "---:" for column in columns)]
        lines += [_line(names), _line(right), *map(_line, texts), ""]
    lines += [f"- {_cell(text)}" for text in remarks(comparison)]
    lines += ["", "Scores:", ""] if comparison.metrics else []
    lines += [f"- `{metric.name}`: {metric.what}" for metric in comparison.metrics]
    machine = ", ".join(f"{name} {value}" for name, value in comparison.machine.items())
    lines += ["", f"Cost was measured on {', '.join(comparison.cost_images)}. {machine}."]
    return "\n".join(lines) + "\n"


def as_rich(comparison: Comparison) -> list[Text | Table]:
    """The same for a terminal: headings and tables."""
    shown: list[Text | Table] = []
    for group, columns, rows in _groups(comparison):
        # a table's own title would be broken to its width
        shown.append(Text(group, style="bold"))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(_first(columns), overflow="fold")
        for column in columns:
            # a word a line: values are narrow, and terminals too
            head = Text(column.title.replace(" ", "\n"))
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
            found.append(f"not counted: {row.name}: {_not_counted(row.cost)}")
    found += [f"{row.name}, {row.source}: {row.note}" for row in comparison.published if row.note]
    return [*found, *comparison.notes]


Rows = Sequence[MeasuredRow] | Sequence[PublishedRow]


def _groups(comparison: Comparison) -> list[tuple[str, list[Column], Rows]]:
    """Tables for people: heading, columns, and the rows that have something in them."""
    groups: dict[str, list[Column]] = {}
    for column in measured_columns(comparison):
        if column.group:
            groups.setdefault(column.group, []).append(column)
    found: list[tuple[str, list[Column], Rows]] = [
        (group, columns, [row for row in comparison.measured if _has_some(row, columns)])
        for group, columns in groups.items()
    ]
    for source in dict.fromkeys(row.source for row in comparison.published):
        rows = [row for row in comparison.published if row.source == source]
        title = f"Paper: {source}; nothing of this was measured here"
        found.append((title, published_columns(rows), rows))
    return found


def _first(columns: Sequence[Column]) -> str:
    """Heading of the names."""
    return PAPER if columns[0].group == PAPER else "network"


def _has_some(row: MeasuredRow, columns: Sequence[Column]) -> bool:
    """Whether a row belongs in a table; what failed belongs in all that it is of."""
    return bool(row.failures) or any(column.value(row) is not None for column in columns)


def _is_words(column: Column) -> bool:
    return column.key == "printed_kind"


def _mean(row: MeasuredRow, dataset: str, metric: str) -> float | None:
    means = next((scores.means for scores in row.scores if scores.dataset == dataset), {})
    return means.get(metric)


def _median(cost: Cost) -> float | None:
    return cost.median_seconds if cost.seconds else None


def _not_counted(cost: Cost) -> str:
    return ", ".join(f"{name} ({calls})" for name, calls in cost.not_counted.items()) or "nothing"


def _count(value: int) -> str:
    return f"{value:,}"


def _printed(value: float) -> str:
    """A number of a paper, with the digits that it has."""
    return f"{value:.6g}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"
