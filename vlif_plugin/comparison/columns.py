"""The columns of all tables, said once: what stands in them, under which heading, and how it is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from vlif_plugin.comparison import formatting
from vlif_plugin.comparison.rows import (
    Comparison,
    Cost,
    MeasuredRow,
    MetricInfo,
    PublishedRow,
    Scores,
)

Better = Literal["higher", "lower", ""]

PRICE = "Energy, time and memory"
NEURONS = "Neurons; and element-wise work, which no energy prices"
COUNTER = "The paper's counter, run here: skips layers, no estimate of work or energy"
TRAINING = "Training"
PRINTED = "As printed"
KIND = "printed_kind"


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        group: the heading over it and its neighbours; nothing for the CSV file only.
        key: heading in the CSV file, where all stand in one table.
        title: heading for people.
        value: what stands in a row, unrounded; None where there is nothing.
        show: a value for people.
        about: a sentence for those who point at the heading.
        better: which direction is good; nothing where neither is.
        under: a second, smaller line for a row.
    """

    group: str
    key: str
    title: str
    value: Callable[[Any], Any]
    show: Callable[[Any], str] = str
    about: str = ""
    better: Better = ""
    under: Callable[[Any], str] | None = None

    def text(self, row: object) -> str:
        """The cell for people; the row is of the kind that ``value`` takes."""
        value = self.value(row)
        return formatting.MISSING if value is None else self.show(value)


def cost_columns(comparison: Comparison) -> list[Column]:
    """What one image takes the measured rows; none where no cost was measured."""
    costs = [row.cost for row in comparison.measured if row.cost is not None]
    if not costs:
        return []
    size = ", ".join(dict.fromkeys(formatting.size(cost.size) for cost in costs))
    return [
        *_work_columns(f"Work, full count, one image of {size}", costs),
        *_price_columns(costs),
        *_other_columns(),
    ]


def score_columns(comparison: Comparison) -> list[Column]:
    """Means of each dataset's metrics, where a measured row has them."""
    columns = []
    for dataset, images in comparison.datasets.items():
        group = f"{dataset}, mean of {images} image{'s' * (images != 1)}"
        for metric in comparison.metrics:
            found = [_mean(row, dataset, metric.name) for row in comparison.measured]
            if any(value is not None for value in found):
                columns.append(
                    Column(
                        group,
                        f"{dataset}:{metric.name}",
                        metric.titled(metric.name),
                        lambda row, d=dataset, m=metric.name: _mean(row, d, m),
                        metric.shown,
                        about=f"mean over the images; {metric.what}",
                        better="lower" if metric.lower_is_better else "higher",
                    )
                )
    return columns


def image_columns(comparison: Comparison) -> list[Column]:
    """What single images gain and lose, which means hide: by decibels, or where there are none by all."""
    columns = []
    for dataset, images in comparison.datasets.items():
        found = scored_metrics(comparison, dataset)
        group = f"{dataset}, image by image, of {images}"
        for metric in [m for m in found if m.unit == "dB"] or found:
            columns += [
                replace(
                    column,
                    group=group,
                    key=f"{dataset}:{metric.name}:{column.key}",
                    title=f"{metric.name}, {column.title}",
                )
                for column in single_columns(comparison, dataset, metric)
            ]
    return columns


def single_columns(comparison: Comparison, dataset: str, metric: MetricInfo) -> list[Column]:
    """The worst image, the smallest gain over a degraded one, and how many are worse than that.

    Images that were perfect before are in no gain, since nothing could be. A row that some images are
    missing of has none of this: it would be of others.
    """
    sign = -1 if metric.lower_is_better else 1

    def values(row: MeasuredRow) -> dict[str, float]:
        scores = whole_scores_of(comparison, row, dataset)
        return {} if scores is None else known_values(scores, metric)

    before = {i: v for r in comparison.measured if r.network is None for i, v in values(r).items()}

    def worst(row: MeasuredRow) -> float | None:
        return min(values(row).values(), key=lambda value: sign * value, default=None)

    def gains(row: MeasuredRow) -> list[float]:
        degraded = {} if row.network is None else before
        return [
            sign * (value - degraded[image])
            for image, value in values(row).items()
            if math.isfinite(degraded.get(image, math.inf))
        ]

    def harmed(row: MeasuredRow) -> int | None:
        found = gains(row)
        return sum(gain < 0 for gain in found) if found else None

    columns = [
        Column(
            metric.name, "worst", metric.titled("worst"), worst, metric.shown, "of one image",
            "lower" if metric.lower_is_better else "higher",
        ),
        Column(
            metric.name, "smallest_gain", metric.titled("smallest gain"),
            lambda row: min(gains(row), default=None), metric.shown,
            "over the degraded image, of one image; below 0 it came out worse", "higher",
        ),
        Column(
            metric.name, "made_worse", "made worse", harmed, _count,
            "how many images came out worse than they were", "lower",
        ),
    ]  # fmt: skip
    return [c for c in columns if any(c.value(row) is not None for row in comparison.measured)]


def known_values(scores: Scores, metric: MetricInfo) -> dict[str, float]:
    """A metric's values by image, without those that it passed over or has no number for."""
    found = {entry.image: entry.values.get(metric.name) for entry in scores.per_image}
    return {i: value for i, value in found.items() if value is not None and not math.isnan(value)}


def scored_metrics(comparison: Comparison, dataset: str) -> list[MetricInfo]:
    """Metrics that some row has on a dataset."""
    scored = [s for s in (scores_of(row, dataset) for row in comparison.measured) if s is not None]
    return [m for m in comparison.metrics if any(m.name in s.means for s in scored)]


def training_columns(comparison: Comparison) -> list[Column]:
    """How weights came about; none where nothing was trained."""
    if not any(row.training for row in comparison.measured):
        return []

    def of(name: str) -> Callable[[MeasuredRow], Any]:
        return lambda row: None if row.training is None else getattr(row.training, name)

    duration = formatting.duration
    return [
        Column(TRAINING, "iterations", "iterations", of("iterations"), _count),
        Column(TRAINING, "training_seconds", "time", of("seconds"), duration),
        Column(TRAINING, "cpu_seconds", "processor time", of("cpu_seconds"), duration),
        Column(TRAINING, "seed", "seed", of("seed")),
    ]


def published_columns(rows: Iterable[PublishedRow]) -> list[Column]:
    """Columns of published rows, those of name and table left out; nothing in them is compared."""
    rows = list(rows)
    pairs = dict.fromkeys((d, m) for row in rows for d in row.scores for m in row.scores[d])
    datasets = list(dict.fromkeys(dataset for dataset, _ in pairs))
    by, micro = "by the table's own counter", formatting.microjoules
    columns = [
        Column(PRINTED, KIND, "kind", lambda row: row.kind),
        *(
            Column(
                dataset,
                f"printed:{dataset}:{metric}",
                f"{dataset} {metric}",
                lambda row, d=dataset, m=metric: row.scores.get(d, {}).get(m),
                _printed_score,
                about="protocol not stated",
            )
            # a dataset's columns stay together
            for dataset, metric in sorted(pairs, key=lambda pair: datasets.index(pair[0]))
        ),
        Column(PRINTED, "printed_parameters_m", "parameters, M", lambda r: r.parameters_m, _printed, by),
        Column(PRINTED, "printed_flops_g", "FLOPs, G", lambda r: r.flops_g, _printed, by),
        Column(PRINTED, "printed_energy_uj", "energy, uJ", lambda r: r.energy_uj, micro, "as printed"),
    ]  # fmt: skip
    return [column for column in columns if any(column.value(row) is not None for row in rows)]


def scores_of(row: MeasuredRow, dataset: str) -> Scores | None:
    """A row's scores on a dataset."""
    return next((scores for scores in row.scores if scores.dataset == dataset), None)


def whole_scores_of(comparison: Comparison, row: MeasuredRow, dataset: str) -> Scores | None:
    """A row's scores on a dataset if it has them of all images."""
    scores = scores_of(row, dataset)
    whole = scores is not None and len(scores.per_image) == comparison.datasets[dataset]
    return scores if whole else None


def fingerprints(comparison: Comparison, dataset: str) -> list[str]:
    """Of the pixels that rows were scored on: one, if all were scored on the same.

    What ended before the last image was not scored on other pixels, but on fewer.
    """
    found = [whole_scores_of(comparison, row, dataset) for row in comparison.measured]
    return list(dict.fromkeys(scores.fingerprint for scores in found if scores is not None))


def not_counted(cost: Cost) -> str:
    """What the counter did not understand, with the number of calls."""
    return ", ".join(f"{name} ({calls})" for name, calls in cost.not_counted.items()) or "nothing"


def _of(get: Callable[[Cost], Any]) -> Callable[[MeasuredRow], Any]:
    return lambda row: None if row.cost is None else get(row.cost)


def _work_columns(work: str, costs: Sequence[Cost]) -> list[Column]:
    giga = formatting.giga
    columns = [
        Column(
            work, "parameters", "parameters", _of(lambda c: c.parameters), formatting.millions,
            "all of them", "lower",
        ),
        Column(
            work, "macs_all", "MACs, all, G", _of(lambda c: c.dense_macs), giga,
            "all products, as if all were on real values", "lower",
        ),
    ]  # fmt: skip
    if any(cost.released_macs is not None for cost in costs):
        about = "the same in the authors' code, which takes more for the same result"
        value = _of(lambda c: c.released_macs)
        columns.append(Column(work, "macs_released", "in the released code, G", value, giga, about))
    return [
        *columns,
        Column(
            work, "macs_real", "MACs on real values, G", _of(lambda c: c.macs), giga,
            "products that spikes do not replace", "lower",
        ),
        Column(
            work, "sops", "SOPs, G", _of(lambda c: c.sops), giga,
            "synaptic operations: what spikes cause; neither way is good",
        ),
    ]  # fmt: skip


def _price_columns(costs: Sequence[Cost]) -> list[Column]:
    prices = dict.fromkeys(name for cost in costs for name in cost.energy_uj)
    return [
        *(
            Column(
                PRICE, f"energy_uj_{name}", f"energy ({name}), uJ",
                _of(lambda c, name=name: c.energy_uj.get(name)), formatting.microjoules,
                f"arithmetic at the prices {name}; memory traffic is not in it", "lower",
            )
            for name in prices
        ),
        Column(
            PRICE, "seconds", "time, s", _of(_median), formatting.seconds,
            "median of the timed passes", "lower", _range_of_times,
        ),
        Column(
            PRICE, "peak_bytes", "memory, MB", _of(lambda c: c.peak_memory), formatting.megabytes,
            "at the peak, above the loaded network", "lower",
        ),
    ]  # fmt: skip


def _other_columns() -> list[Column]:
    giga, seen = formatting.giga, "of the layers that the paper's counter sees"
    return [
        Column(
            NEURONS, "firing_rate", "firing rate", _of(lambda c: c.firing_rate), formatting.score,
            "share of neuron updates with a spike; neither way is good",
        ),
        Column(NEURONS, "signs", "sign operations, G", _of(lambda c: c.signs), giga),
        Column(NEURONS, "elementwise", "element-wise, G", _of(lambda c: c.elementwise), giga),
        Column(
            COUNTER, "counter_parameters", "parameters", _of(lambda c: c.paper_parameters),
            formatting.millions, seen,
        ),
        Column(COUNTER, "counter_macs", "MACs, G", _of(lambda c: c.paper_macs), giga, seen),
        Column(
            COUNTER, "counter_energy_uj", "energy, uJ", _of(lambda c: c.paper_energy_uj),
            formatting.microjoules, "its MACs at the paper's price; no estimate of energy",
        ),
        Column("", "not_counted", "not counted", _of(not_counted)),
        Column("", "size", "size", _of(lambda c: formatting.size(c.size))),
        Column("", "calibrated", "calibrated", _of(lambda c: c.calibrated)),
    ]  # fmt: skip


def _mean(row: MeasuredRow, dataset: str, metric: str) -> float | None:
    scores = scores_of(row, dataset)
    return None if scores is None else scores.means.get(metric)


def _median(cost: Cost) -> float | None:
    return cost.median_seconds if cost.seconds else None


def _range_of_times(row: MeasuredRow) -> str:
    if row.cost is None or not row.cost.seconds:
        return ""
    low, high = (formatting.seconds(pick(row.cost.seconds)) for pick in (min, max))
    return f"{low} to {high}"


def _count(value: int) -> str:
    return f"{value:,}"


def _printed(value: float) -> str:
    """A number of a paper, with the digits that it has."""
    return f"{value:.6g}"


def _printed_score(value: float) -> str:
    return f"{value:.2f}" if value >= 2 else _printed(value)
