"""What plots show: points of measured rows, curves of trainings, ticks of axes."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from vlif_plugin.comparison import formatting
from vlif_plugin.comparison.columns import scored_metrics
from vlif_plugin.comparison.rows import Comparison, MeasuredRow, MetricInfo

Against = Literal["energy", "time"]
PRICES = "paper"


@dataclass(frozen=True)
class Point:
    """A measured row in a scatter plot.

    Attributes:
        name: of the row.
        x: what it costs, above 0.
        y: its quality.
        low: smallest ``x`` that was measured; that of the fastest pass.
        high: largest.
        spiking: whether the network has spiking neurons.
    """

    name: str
    x: float
    y: float
    low: float
    high: float
    spiking: bool


@dataclass(frozen=True)
class Scatter:
    """Measured rows that have both a score and a cost, and what the axes say."""

    points: tuple[Point, ...]
    x_label: str
    y_label: str
    lower_is_better: bool


@dataclass(frozen=True)
class Curve:
    """Validations of one training: iterations and scores of the same length."""

    name: str
    iterations: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """Trainings that were validated on the same images by the same metric."""

    curves: tuple[Curve, ...]
    y_label: str


def quality(comparison: Comparison, dataset: str) -> MetricInfo | None:
    """The metric of a dataset's plots and captions: the first PSNR that it has, or the first of all."""
    metrics = scored_metrics(comparison, dataset)
    of_psnr = (metric for metric in metrics if metric.name.startswith("psnr"))
    return next(of_psnr, next(iter(metrics), None))


def _quality_axis(comparison: Comparison) -> tuple[str, MetricInfo] | None:
    """The dataset and the metric of plots: the first with a PSNR, which needs ground truth, or the first."""
    pairs = [(name, m) for name in comparison.datasets if (m := quality(comparison, name))]
    of_psnr = (pair for pair in pairs if pair[1].name.startswith("psnr"))
    return next(of_psnr, next(iter(pairs), None))


def spiking(row: MeasuredRow) -> bool | None:
    """Whether a row's network has spiking neurons; None where that was not measured."""
    return None if row.cost is None else row.cost.firing_rate is not None


def describe(metric: MetricInfo, dataset: str) -> str:
    """An axis' words: metric, protocol, dataset, unit, direction."""
    kind, _, protocol = metric.name.partition("_")
    known = kind in ("psnr", "ssim")
    words = f"{kind.upper()} (protocol {protocol})" if known and protocol else metric.name
    title = metric.titled(f"{words} on {formatting.shortened(dataset)}")
    return f"{title} ({'lower' if metric.lower_is_better else 'higher'} is better)"


def scatter(comparison: Comparison, against: Against) -> Scatter | None:
    """Quality of measured rows against what they cost.

    Args:
        comparison: its published rows are not looked at.
        against: energy by the full count, or the time of one image.

    Returns:
        None where no measured row has both.
    """
    axis = _quality_axis(comparison)
    if axis is None:
        return None
    dataset, metric = axis
    points = []
    rows = []
    for row in comparison.measured:
        y = _mean(row, dataset, metric.name)
        x = _cost(row, against)
        if x is not None and y is not None:
            points.append(Point(row.name, x[0], y, x[1], x[2], bool(spiking(row))))
            rows.append(row)
    if not points:
        return None
    label = _energy_label(rows) if against == "energy" else _time_label(rows, comparison.machine)
    return Scatter(tuple(points), label, describe(metric, dataset), metric.lower_is_better)


def curves(comparison: Comparison) -> Curves | None:
    """Validations of all trainings that share a dataset and a metric.

    The comparison's own first dataset and metric are taken where trainings were validated so, else what
    most of them have; of equals, what comes first in the comparison, and PSNR.
    """
    trainings = [(row.name, row.training) for row in comparison.measured if row.training]
    found: Counter[tuple[str, str]] = Counter()
    for _, training in trainings:
        for dataset, values in training.curve.items():
            finite = (n for p in values for n, value in p.values.items() if math.isfinite(value))
            found.update((dataset, name) for name in dict.fromkeys(finite))
    if not found:
        return None
    axis = _quality_axis(comparison)
    wanted = ("", "") if axis is None else (axis[0], axis[1].name)
    order = {name: -place for place, name in enumerate(comparison.datasets)}

    def rank(pair: tuple[str, str]) -> tuple[bool, bool, int, bool, int]:
        of_psnr, place = pair[1].startswith("psnr"), order.get(pair[0], -len(order))
        return (pair == wanted, pair[1] == wanted[1], found[pair], of_psnr, place)

    dataset, name = max(found, key=rank)
    drawn = []
    for row_name, training in trainings:
        points = [
            (point.iteration, point.values[name])
            for point in training.curve.get(dataset, ())
            if math.isfinite(point.values.get(name, math.nan))
        ]
        if points:
            iterations, values = zip(*sorted(points), strict=True)
            drawn.append(Curve(row_name, iterations, values))
    info = next((m for m in comparison.metrics if m.name == name), None)
    label = describe(info, dataset) if info else f"{name} on {formatting.shortened(dataset)}"
    return Curves(tuple(drawn), label)


def log_limits(low: float, high: float) -> tuple[float, float]:
    """Limits of a logarithmic axis around values, with room beside them; at least a factor of 4."""
    low, high = math.log10(low), math.log10(high)
    room = max(0.08 * (high - low), (0.6 - (high - low)) / 2, 0.05)
    return 10 ** (low - room), 10 ** (high + room)


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """At most ``most`` round numbers between the limits, whose first digits repeat.

    They are no nearer to each other than ``most`` of them, evenly laid out, would be: their labels
    fit.
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digits in (range(1, 10), (1, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**power for power in exponents for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        gaps = [math.log10(b / a) for a, b in itertools.pairwise(ticks)]
        if len(ticks) <= most and all(gap * most >= math.log10(high / low) for gap in gaps):
            return ticks
    return ticks[:: -(-len(ticks) // most)]


def linear_limits(low: float, high: float) -> tuple[float, float]:
    """Limits of a linear axis around values, with room beside them."""
    room = 0.12 * (high - low) or max(abs(high) * 0.02, 0.01)
    return low - room, high + room


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most ``most`` round numbers between the limits."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(
        power * digit for digit in (1, 2, 2.5, 5, 10, 20) if (high - low) / (power * digit) < most
    )
    return [step * index for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _mean(row: MeasuredRow, dataset: str, metric: str) -> float | None:
    for scores in row.scores:
        if scores.dataset == dataset:
            value = scores.means.get(metric, math.nan)
            return value if math.isfinite(value) else None
    return None


def _cost(row: MeasuredRow, against: Against) -> tuple[float, float, float] | None:
    """Value, smallest and largest; only what a logarithmic axis can show."""
    if row.cost is None:
        return None
    if against == "energy":
        energy = row.cost.energy_uj.get(PRICES, math.nan)
        values = (energy, energy, energy)
    elif row.cost.seconds:
        values = (row.cost.median_seconds, min(row.cost.seconds), max(row.cost.seconds))
    else:
        return None
    return values if all(0 < value < math.inf for value in values) else None


def _energy_label(rows: list[MeasuredRow]) -> str:
    return f"energy of one image of {_sizes(rows)}, uJ (full count, prices: {PRICES})"


def _time_label(rows: list[MeasuredRow], machine: dict[str, str]) -> str:
    known = {name.lower(): value for name, value in machine.items()}
    device = known.get("device", "cpu")
    if device.startswith("cpu"):
        device = known.get("processor", device)
    on = formatting.shortened(device, 36)
    return f"median seconds of one image of {_sizes(rows)} on {on}"


def _sizes(rows: list[MeasuredRow]) -> str:
    return ", ".join(dict.fromkeys(formatting.size(row.cost.size) for row in rows if row.cost))
