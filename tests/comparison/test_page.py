"""The page: what stands on it, that it needs nothing else, and that hostile names are harmless."""

import base64
import io
import json
import math
import re
from dataclasses import replace

import comparison_example as example
import numpy as np
import pytest
from page_reader import read
from PIL import Image

from vlif_plugin.comparison import formatting


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return read(example.comparison(folder), folder)


def row_of(page, section, name):
    """Texts of the cells of a row in a section's table."""
    heads = [e for e in page.within(section, "th") if e["attrs"].get("data-value") == name]
    start = page.elements.index(heads[0])
    cells = []
    for element in page.elements[start + 1 :]:
        if element["tag"] in ("tr", "tbody"):
            break
        if element["tag"] == "td":
            cells.append(element)
    return cells


def test_the_head_says_what_this_is(page):
    comparison = example.comparison()
    assert page.all("html")[0]["attrs"]["lang"] == "en"
    assert page.all("h1")[0]["text"] == comparison.name
    header = page.all("header")[0]["text"]
    for text in (
        comparison.date,
        comparison.command,
        *comparison.notes,
        *comparison.machine.values(),
    ):
        assert text in header


def test_each_measured_number_is_in_its_row(page):
    for row in example.measured():
        cells = row_of(page, "measured", row.name)
        texts = [re.sub(r"\s+", " ", cell["text"]) for cell in cells]
        expected = [
            formatting.score(scores.means[metric.name], metric.unit)
            for scores in row.scores
            for metric in example.METRICS
            if metric.name in scores.means
        ]
        if row.cost is not None:
            cost = row.cost
            expected += [
                formatting.millions(cost.parameters),
                formatting.giga(cost.dense_macs),
                *([] if cost.released_macs is None else [formatting.giga(cost.released_macs)]),
                formatting.giga(cost.macs),
                formatting.giga(cost.sops),
                *map(formatting.microjoules, cost.energy_uj.values()),
                formatting.millions(cost.paper_parameters),
                formatting.giga(cost.paper_macs),
                formatting.microjoules(cost.paper_energy_uj),
            ]
            times = map(
                formatting.seconds, (cost.median_seconds, min(cost.seconds), max(cost.seconds))
            )
            expected.append("{}{} to {}".format(*times))
            expected += [] if cost.peak_memory is None else [formatting.megabytes(cost.peak_memory)]
            expected += [] if cost.firing_rate is None else [formatting.score(cost.firing_rate)]
            expected += [formatting.giga(cost.signs), formatting.giga(cost.elementwise)]
        missing = list(texts)
        for text in expected:
            missing.remove(text)  # each once
        assert set(missing) <= {formatting.MISSING}
    assert "29.159715 M" in page.all("section", id="measured")[0]["text"]


def test_cells_sort_by_their_exact_values(page):
    values = [cell["attrs"]["data-value"] for cell in row_of(page, "measured", "Restormer")]
    assert values[:4] == ["29.1049", "0.8934", "0.0987", "Infinity"]
    assert "26126644" in values
    assert [v for v in values if v and not math.isfinite(float(v))] == ["Infinity"]
    failed = row_of(page, "measured", "out of memory")
    assert {cell["attrs"]["data-value"] for cell in failed} == {""}
    assert {cell["text"] for cell in failed} == {formatting.MISSING}


def test_failures_are_lines_of_their_rows(page):
    failed = [
        e["text"] for e in page.within("measured", "tr") if e["attrs"].get("class") == "failure"
    ]
    assert failed == [
        "Not measured: Rain200H: no weights, so nothing to score",
        "Not measured: cost: the system ended the process at 23.9 GB",
        "Not measured: Rain200H: not tried",
    ]


def test_the_best_of_each_column_with_a_direction_is_emphasised(page):
    best = [e["text"] for e in page.within("measured", "strong") if "td" in e["path"]]
    scores = ["29.10", "0.8934", "0.0987", "∞", "1.0000", "0.0000"]  # Restormer's
    costs = ["12.811463 M", "16.05", "16.05", "2.006e5", "7.383e4", "0.482"]
    shared = ["1006", "1006"]  # two rows need the same memory
    assert sorted(best) == sorted([*scores, *costs, *shared])
    arrows = [
        e["text"] for e in page.within("measured", "span") if e["attrs"].get("class") == "way"
    ]
    assert arrows == ["↑", "↑", "↓"] * 2 + ["↓"] * 7


def test_one_row_is_the_best_of_nothing(tmp_path):
    page = read(example.comparison(measured=example.measured()[1:2], published=()), tmp_path)
    assert [e for e in page.all("strong") if "td" in e["path"]] == []
    assert page.all("section", id="published") == []
    assert len(page.within("measured", "tbody")) == 1


def test_values_that_read_the_same_are_equally_good(tmp_path):
    rows = [
        replace(
            example.measured()[3],
            name=str(psnr),
            scores=(example.scores("Rain200H", psnr, 0.9, 0.1),),
        )
        for psnr in (28.0, 29.001, 29.004)
    ]
    page = read(example.comparison(measured=tuple(rows), published=()), tmp_path)
    assert [e["text"] for e in page.within("measured", "strong") if "td" in e["path"]] == [
        "29.00"
    ] * 2


def test_published_rows_are_in_a_table_of_their_own(page):
    section = page.all("section", id="published")[0]
    title = [e["text"] for e in page.within("published", "h2")]
    assert title == ["Numbers printed in papers, not measured here"]
    assert len(page.within("published", "table")) == 1
    text = section["text"]
    for number in (
        "28.77",
        "0.8965",
        "36.40",
        "0.088",
        "2.794",
        "1.166e4",
        "26.1",
        "12.33",
        "1.136e8",
    ):
        assert number in text
    for row in example.published():
        assert f"From {row.source}. {row.note}".strip() in text
        for other in ("measured", "plots", "learning", "datasets", "rows"):
            assert row.name not in page.all("section", id=other)[0]["text"]
    for row in example.measured():
        names = [e["attrs"].get("data-value") for e in page.within("published", "th")]
        assert row.name not in names


def test_metrics_fingerprints_and_training_are_explained(page):
    text = page.all("section", id="datasets")[0]["text"]
    for metric in example.METRICS:
        assert metric.what in text
    assert text.count("3f9a0c77d1e2") == 2
    rows = page.all("section", id="rows")[0]["text"]
    for fact in (
        "options/train_vlif.yml",
        "3 h 14 min",
        "9b" * 32,
        "official80",
        "aten::special (2 calls)",
    ):
        assert fact in rows
    counted = page.all("section", id="counted")[0]["text"]
    for words in ("Memory traffic is not in it", "rows are not trained"):
        assert words in counted


def test_different_pixels_are_said(tmp_path):
    first, *others = example.measured()
    odd = replace(
        first, scores=(example.scores("Rain200H", 13, 0.4, 0.5, fingerprint="ffff00001111"),)
    )
    page = read(example.comparison(measured=(odd, *others)), tmp_path)
    text = page.all("section", id="datasets")[0]["text"]
    assert (
        "scored on different pixels; their scores do not compare: ffff00001111, 3f9a0c77d1e2"
        in text
    )


def test_plots_are_of_measured_rows_with_titles_to_point_at(page):
    titles = [e["text"] for e in page.within("plots", "title")]
    energy = "VLIF, official, with refinement: 28.44, PSNR (protocol y) on Rain200H, dB (higher is better); 4.716e6 uJ"
    assert titles.count(energy) == 2  # broad and narrow
    assert any(title.endswith("; 9.98 s (9.71 to 10.6)") for title in titles)
    assert len(page.within("plots", "svg")) == 4 + 2
    assert "measured rows only" in page.within("plots", "h2")[0]["text"]
    assert len(page.within("learning", "circle")) == 2 * 9


def test_pictures_travel_in_the_page(page, tmp_path):
    datasets = json.loads(page.all("script", id="pictures")[0]["text"])
    assert {name: [p["image"] for p in entries] for name, entries in datasets.items()} == {
        "Rain200H": ["norain-1", "norain-2"],
        "Rain200L": ["alone.png"],
    }
    first, second = datasets["Rain200H"]
    assert [(p["name"], p["score"]) for p in first["panels"]] == [
        ("input", "11.82 dB"),
        ("VLIF, official, with refinement", "27.19 dB"),
        ("NAFNet, width 32", "27.76 dB"),
        ("Restormer", "27.85 dB"),
        ("ground truth", ""),
    ]
    kind, _, content = second["panels"][-1]["src"].partition(",")
    assert kind == "data:image/webp;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))
    assert shown.shape == (160, 240, 3)
    assert np.abs(shown.astype(int) - example.photograph(seed=3)).mean() < 4
    assert len(page.all("div", **{"class": "viewer"})) == 2


def test_large_pictures_are_made_smaller(tmp_path):
    large = example.save(example.photograph(900, 2000), tmp_path, "large.png")
    picture = example.Picture("Rain200H", "large", large, None, {})
    page = read(example.comparison(pictures=(picture,)), tmp_path)
    (shown,) = json.loads(page.all("script", id="pictures")[0]["text"])["Rain200H"]
    assert (shown["width"], shown["height"]) == (2000, 900)
    content = base64.b64decode(shown["panels"][0]["src"].partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (1024, 461)
    assert len(content) < 200_000


@pytest.mark.parametrize(
    "changes",
    [
        {"pictures": (), "measured": (), "published": (), "notes": (), "machine": {}},
        {"measured": (), "datasets": {}, "metrics": ()},
        {"datasets": {}},
        {"metrics": ()},
        {"measured": example.measured()[:1]},
    ],
    ids=["nothing", "published alone", "no datasets", "no metrics", "degraded images alone"],
)
def test_what_is_missing_leaves_no_gap(changes, tmp_path):
    page = read(example.comparison(**changes), tmp_path)
    targets = {e["attrs"]["href"][1:] for e in page.all("a")}
    assert targets <= {e["attrs"].get("id") for e in page.all("section")}
    for heading in page.all("h2"):
        assert heading["text"].strip()
    if not example.comparison(**changes).measured:
        assert "No row was measured." in page.all("section", id="measured")[0]["text"]


def test_numbers_that_are_none_do_not_disturb(tmp_path):
    nothing = example.scores("Rain200H", math.nan, 0.9, None)
    cost = example.cost(energy_uj={}, seconds=(), peak_memory=None, firing_rate=None, sops=0.0)
    row = replace(example.measured()[1], scores=(nothing,), cost=cost)
    page = read(example.comparison(measured=(row,), published=()), tmp_path)
    texts = [cell["text"] for cell in row_of(page, "measured", row.name)]
    assert texts[0] == "not a number"
    assert row_of(page, "measured", row.name)[0]["attrs"]["data-value"] == ""
