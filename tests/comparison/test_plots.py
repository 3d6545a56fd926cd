"""Plots: what is drawn, that labels can be read, and when there is nothing to draw."""

import math
from dataclasses import replace
from itertools import combinations, pairwise

import comparison_example as example
import cv2
import numpy as np
import pytest
from matplotlib.text import Text

from vlif_plugin.comparison import points
from vlif_plugin.comparison.labels import Box, place, spread
from vlif_plugin.comparison.plots import (
    curves_figure,
    draw_curves,
    draw_scatter,
    scatter_figure,
)
from vlif_plugin.comparison.svg import curves_svg, scatter_svg


def crowd(count):
    """Rows whose points lie in a few heaps, with long names."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        near = float(rng.choice([1, 1.02, 10]))
        cost = example.cost(energy_uj={"paper": 2e5 * near}, seconds=(near, near * 1.2, near))
        scores = (example.scores("Rain200H", 28 + 0.02 * float(rng.integers(5)), 0.9, 0.1),)
        curve = example.curve(20 + index / 50, 28 + index / 500)
        rows.append(
            replace(
                example.measured()[1],
                name=f"VLIF, official, with refinement and a long name, number {index} $a^2$",
                cost=cost,
                scores=scores,
                training=replace(example.measured()[1].training, curve=curve),
            )
        )
    return example.comparison(measured=tuple(rows))


def label_boxes(figure):
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    texts = [text for axes in figure.axes for text in axes.texts if text.get_gid() == "label"]
    # an annotation's own extent includes its line
    return [Text.get_window_extent(text, renderer) for text in texts]


def picture_of(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("against", ["energy", "time"])
@pytest.mark.parametrize("count", [None, 1, 6, 14, 40])
def test_names_of_points_neither_overlap_nor_leave_the_figure(against, count):
    figure = scatter_figure(example.comparison() if count is None else crowd(count), against)
    boxes = label_boxes(figure)
    assert len(boxes) == (3 if count is None else count)
    inside = figure.bbox
    for box in boxes:
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("count", [None, 1, 14, 40])
def test_names_of_curves_neither_overlap_nor_leave_the_figure(count):
    figure = curves_figure(example.comparison() if count is None else crowd(count))
    boxes = label_boxes(figure)
    assert len(boxes) == (2 if count is None else count)
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_points_too_many_for_names_get_numbers_and_a_key():
    figure = scatter_figure(crowd(40), "energy")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == [str(number) for number in range(1, 41)]
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key[2].startswith("1  VLIF")
    assert len(key) == 42
    drawing = scatter_svg(crowd(40), "energy", 560)
    assert len(drawing.key) == 40


@pytest.mark.parametrize("against", ["energy", "time"])
def test_a_scatter_shows_measured_rows_that_have_both_numbers(against):
    shown = points.scatter(example.comparison(), against)
    assert {point.name: point.spiking for point in shown.points} == {
        "VLIF, official, with refinement": True,
        "NAFNet, width 32": False,
        "Restormer": False,
    }
    first = shown.points[0]
    assert (first.x, first.y) == (4_716_000.0 if against == "energy" else 9.98, 28.4412)
    assert (first.low, first.high) == ((first.x,) * 2 if against == "energy" else (9.71, 10.61))


def test_axes_say_what_is_on_them():
    energy = points.scatter(example.comparison(), "energy")
    assert energy.y_label == "PSNR (protocol y) on Rain200H, dB (higher is better)"
    assert energy.x_label == "energy of one image of 256x256, uJ (full count, prices: paper)"
    time = points.scatter(example.comparison(), "time")
    assert time.x_label == ("median seconds of one image of 256x256 on AMD EPYC 7763, 2 threads")
    on_gpu = example.comparison(machine={"processor": "a", "device": "NVIDIA H100"})
    assert points.scatter(on_gpu, "time").x_label.endswith("on NVIDIA H100")


def test_without_psnr_the_first_metric_is_taken_and_its_direction_shown():
    lpips = example.comparison(metrics=example.METRICS[::-1][:2])
    figure = scatter_figure(lpips, "energy")
    assert figure.axes[0].get_ylabel() == "lpips on Rain200H (lower is better)"
    assert figure.axes[0].yaxis_inverted()
    heights = {p.name: p.y for p in points.scatter(lpips, "energy").points}
    assert heights == {"VLIF, official, with refinement": 0.1162, "Restormer": 0.0987}


def test_there_is_no_picture_of_nothing():
    no_cost = tuple(replace(row, cost=None, training=None) for row in example.measured())
    no_scores = tuple(replace(row, scores=()) for row in example.measured())
    infinite = tuple(
        replace(row, scores=(example.scores("Rain200H", float("inf"), 1, 0),))
        for row in example.measured()
    )
    for changes in (
        {"measured": ()},
        {"measured": no_cost},
        {"measured": no_scores},
        {"measured": infinite},
        {"datasets": {}},
        {"metrics": ()},
    ):
        empty = example.comparison(**changes)
        assert draw_scatter(empty, "energy") is None
        assert draw_scatter(empty, "time") is None
        assert scatter_svg(empty, "time", 560) is None
    assert draw_curves(example.comparison(measured=no_cost)) is None
    assert curves_svg(example.comparison(measured=no_cost), 560) is None
    free = replace(example.measured()[1], cost=example.cost(energy_uj={"45nm": 1.0}))
    assert draw_scatter(example.comparison(measured=(free,)), "energy") is None


def test_pictures_are_pngs():
    for content in (
        draw_scatter(example.comparison(), "energy"),
        draw_scatter(crowd(1), "time"),
        draw_curves(example.comparison()),
    ):
        assert content.startswith(b"\x89PNG")
        assert picture_of(content).std() > 5


def test_curves_prefer_the_comparisons_metric_and_pass_over_what_is_missing():
    shown = points.curves(example.comparison())
    assert [(c.name, c.iterations[-1], c.values[-1]) for c in shown.curves] == [
        ("VLIF, official, with refinement", 5000, 28.44),
        ("NAFNet, width 32", 4000, 29.0),
    ]
    vlif = example.measured()[1]
    other = {
        "held-out": tuple(
            example.CurvePoint(i, {"loss": float("nan"), "ssim": 0.5}) for i in (1, 2)
        )
    }
    alone = replace(vlif, training=replace(vlif.training, curve=other))
    assert points.curves(example.comparison(measured=(alone,))).y_label == "ssim on held-out"


def test_curves_of_equal_worth_are_of_the_comparisons_first_dataset():
    vlif = example.measured()[1]
    points_of = tuple(example.CurvePoint(i, {"ssim_y": 0.5, "psnr_y": 25.0}) for i in (1, 2))
    curve = {"alone": points_of, "Rain200L": points_of, "Rain200H": points_of}
    for names in (("Rain200H", "Rain200L"), ("Rain200L", "Rain200H")):
        found = example.comparison(
            measured=(replace(vlif, training=replace(vlif.training, curve=curve)),),
            datasets=dict.fromkeys(names, 2),
            metrics=(example.MetricInfo("psnr_rgb", "RGB", False, "dB"), *example.METRICS),
        )
        assert points.curves(found).y_label.startswith(f"PSNR (protocol y) on {names[0]}")


def test_captions_are_of_a_metric_that_the_dataset_was_scored_by():
    piqe = example.MetricInfo("piqe", "grey", True)
    vlif = example.measured()[1]
    real = example.Scores("real", "1", {"piqe": 25.0}, (), 1.0)
    found = example.comparison(
        measured=(replace(vlif, scores=(*vlif.scores, real)),), metrics=(*example.METRICS, piqe)
    )
    assert points.quality(found, "Rain200L").name == "psnr_y"
    assert points.quality(found, "real") is piqe
    assert points.quality(found, "never scored") is None


def test_quality_is_of_the_first_dataset_with_ground_truth():
    piqe = example.MetricInfo("piqe", "grey", True)
    real = example.Scores("real", "1", {"piqe": 25.0}, (), 1.0)
    rows = [replace(row, scores=(*row.scores, real)) for row in example.measured()]
    plain = example.comparison()
    found = replace(
        plain,
        measured=tuple(rows),
        metrics=(*example.METRICS, piqe),
        datasets={"real": 1} | plain.datasets,
    )
    for against in ("energy", "time"):
        assert points.scatter(found, against) == points.scatter(plain, against)
    only = replace(found, datasets={"real": 1})
    assert points.scatter(only, "time").y_label == "piqe on real (lower is better)"


def test_a_place_is_found_or_refused():
    area = Box(0, 0, 100, 50)
    marks = [Box(48, 20, 52, 24), Box(48, 21, 52, 25)]
    first, second = place(marks, [(30, 10), (30, 10)], area)
    assert first.within(area)
    assert second.within(area)
    assert not first.overlaps(second)
    assert place(marks[:1], [(120, 10)], area) == [None]


def test_values_are_spread_in_their_order():
    assert spread([5.0, 5.0, 1.0], 0, 10, 2) == [5.0, 7.0, 1.0]
    assert spread([9.0, 9.5, 9.9], 0, 10, 2) == [6.0, 8.0, 10.0]
    assert spread([1.0, 1.0, 1.0], 0, 3, 2) == [0.0, 1.5, 3.0]
    assert spread([], 0, 1, 1) == []


@pytest.mark.parametrize("most", [5, 8])
@pytest.mark.parametrize(
    ("low", "high"), [(2e5, 5e6), (9e3, 3.5e4), (0.9, 1.1), (1e-4, 1e7), (3, 3.5)]
)
def test_logarithmic_axes_have_round_ticks_inside_that_do_not_touch(low, high, most):
    limits = points.log_limits(low, high)
    ticks = points.log_ticks(*limits, most)
    assert limits[0] < low <= high < limits[1]
    assert 2 <= len(ticks) <= most
    assert all(limits[0] <= tick <= limits[1] for tick in ticks)
    room = math.log(limits[1] / limits[0]) / most
    assert all(math.log(b / a) >= room for a, b in pairwise(ticks))


@pytest.mark.parametrize(("low", "high"), [(28.4, 29.1), (0, 5000), (0.0001, 0.00012), (-3, 300)])
def test_linear_axes_have_round_ticks_inside(low, high):
    ticks = points.linear_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert all(low <= tick <= high * (1 + 1e-12) for tick in ticks)
