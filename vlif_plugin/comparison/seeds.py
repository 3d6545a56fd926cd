"""Rows that differ in nothing but their seed, taken together: their mean, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from vlif_plugin.comparison.columns import Column, scored_metrics, scores_of
from vlif_plugin.comparison.rows import Comparison, MeasuredRow, MetricInfo, Scores


@dataclass(frozen=True)
class SeededRow:
    """A network with more than one seed.

    Attributes:
        name: as the option file calls it.
        seeds: a measured row for each.
    """

    name: str
    seeds: tuple[MeasuredRow, ...]

    def scored(self, dataset: str) -> list[Scores]:
        """Of each seed that has means over a dataset's images."""
        found = [scores_of(row, dataset) for row in self.seeds]
        return [scores for scores in found if scores is not None and scores.means]


def seeded_rows(comparison: Comparison) -> list[SeededRow]:
    """Networks of which more than one seed was measured, in the order of their first rows."""
    groups: dict[str, list[MeasuredRow]] = {}
    for row in comparison.measured:
        if row.seeds_of is not None:
            groups.setdefault(row.seeds_of, []).append(row)
    return [SeededRow(name, tuple(rows)) for name, rows in groups.items() if len(rows) > 1]


def seed_columns(comparison: Comparison) -> list[Column]:
    """For each dataset the number of seeds, and mean, lowest and highest of each metric."""
    rows = seeded_rows(comparison)
    columns = []
    for dataset in comparison.datasets:
        group = f"{dataset}, over seeds"
        found = [
            Column(
                group, f"{dataset}:seeds", "seeds", lambda row, d=dataset: len(row.scored(d)), str,
                "that were scored",
            ),
        ]  # fmt: skip
        for metric in scored_metrics(comparison, dataset):
            found += _metric_columns(group, dataset, metric)
        if any(row.scored(dataset) for row in rows):
            columns += found
    return columns


def _metric_columns(group: str, dataset: str, metric: MetricInfo) -> list[Column]:
    def of(pick: Callable[[list[float]], float]) -> Callable[[SeededRow], float | None]:
        def value(row: SeededRow) -> float | None:
            means = [s.means[metric.name] for s in row.scored(dataset) if metric.name in s.means]
            return pick(means) if means else None

        return value

    name = f"{dataset}:{metric.name}"
    return [
        Column(
            group, f"{name}:mean", metric.titled(metric.name), of(fmean), metric.shown,
            f"mean over seeds of the mean over images; {metric.what}",
            "lower" if metric.lower_is_better else "higher",
        ),
        Column(group, f"{name}:lowest", "lowest", of(min), metric.shown, f"{metric.name} of one seed"),
        Column(group, f"{name}:highest", "highest", of(max), metric.shown, f"{metric.name} of one seed"),
    ]  # fmt: skip
