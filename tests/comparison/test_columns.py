"""What the tables say of single images, which means hide."""

import csv
import io
import math
from dataclasses import replace

import comparison_example as example
from page_reader import read

from vlif_plugin.comparison.columns import image_columns, single_columns
from vlif_plugin.comparison.rows import Comparison, ImageValues, MeasuredRow, Scores
from vlif_plugin.comparison.tables import as_csv, as_markdown
from vlif_plugin.comparison.writing import draw_comparison, write_comparison

PSNR, _, LPIPS = example.METRICS


def row(name, network, *values, metric="psnr_y"):
    images = tuple(ImageValues(f"image {i}", {metric: value}) for i, value in enumerate(values))
    known = [value for value in values if value is not None]
    scores = Scores("rain", "0", {metric: sum(known) / len(known)}, images, 1.0)
    return MeasuredRow(name, network, {}, scores=(scores,))


def comparison(*rows):
    images = max(len(row.scores[0].per_image) for row in rows)
    return Comparison(
        "by hand", "vlif compare", "2026-01-01", {}, {"rain": images}, {}, example.METRICS, (), rows
    )


def said(compared, metric):
    columns = single_columns(compared, "rain", metric)
    return {c.key: [c.value(row) for row in compared.measured] for c in columns}


def test_gains_are_of_the_same_image_and_harm_is_counted():
    compared = comparison(
        row("input", None, 20.0, 30.0, 40.0),
        row("a", "A", 25.0, 29.0, 39.5),
        row("b", "B", 21, 30, 41),
    )
    assert said(compared, PSNR) == {
        "worst": [20.0, 25.0, 21],
        "smallest_gain": [None, -1.0, 0.0],
        "made_worse": [None, 2, 0],
    }


def test_where_less_is_better_a_rise_is_harm():
    compared = comparison(
        row("input", None, 0.5, 0.2, 0.1, metric="lpips"),
        row("a", "A", 0.25, 0.45, 0.1, metric="lpips"),
    )
    assert said(compared, LPIPS) == {
        "worst": [0.5, 0.45],
        "smallest_gain": [None, -0.25],
        "made_worse": [None, 1],
    }


def test_images_that_were_perfect_or_not_scored_are_in_no_gain():
    compared = comparison(
        row("input", None, math.inf, 20.0, None),
        row("a", "A", 41.0, 24.0, 22.0),
        row("b", "B", 39, None, 9),
    )
    assert said(compared, PSNR) == {
        "worst": [20.0, 22.0, 9],
        "smallest_gain": [None, 4.0, None],
        "made_worse": [None, 0, None],
    }
    clean = comparison(row("input", None, math.inf, math.inf), row("a", "A", 41.0, 38.0))
    assert said(clean, PSNR) == {"worst": [math.inf, 38.0]}
    assert list(said(comparison(row("a", "A", 25.0)), PSNR)) == ["worst"]


def test_a_row_that_ended_early_is_no_better_for_it_and_says_what_is_missing(tmp_path):
    ended = row("ended", "A", 30.0, 40.0)
    (scores,) = ended.scores
    ended = replace(ended, scores=(replace(scores, fingerprint="of two images", means={}),))
    compared = comparison(
        row("input", None, 20.0, 30.0, 10.0), ended, row("b", "B", 21.0, 31.0, 11.0)
    )
    assert said(compared, PSNR) == {
        "worst": [10.0, None, 11.0],
        "smallest_gain": [None, None, 1.0],
        "made_worse": [None, None, 0],
    }
    assert "3 images, fingerprint 0\n" in as_markdown(compared)
    page = read(compared, tmp_path)
    assert not any("different pixels" in e["text"] for e in page.elements)
    assert any("2 of 3 images" in e["text"] for e in page.elements if e["tag"] == "td")


def test_tables_show_decibels_or_where_there_are_none_all():
    rows = (row("input", None, 20.0, 30.0, 40.0), row("a", "A", 25.0, 29.0, 39.5))
    compared = comparison(*rows)
    assert [c.key for c in image_columns(compared)] == [
        "rain:psnr_y:worst", "rain:psnr_y:smallest_gain", "rain:psnr_y:made_worse",
    ]  # fmt: skip
    text = as_markdown(compared)
    assert "## rain, image by image, of 3" in text
    assert "| a | 25.00 | -1.00 | 2 |" in text
    read = list(csv.DictReader(io.StringIO(as_csv(compared))))
    assert [r["rain:psnr_y:made_worse"] for r in read] == ["", "2"]
    blind = comparison(row("input", None, 3.0, metric="lpips"), row("a", "A", 2.0, metric="lpips"))
    assert {c.group for c in image_columns(blind)} == {"rain, image by image, of 1"}
    assert "| a | 2.0000 | 1.0000 | 0 |" in as_markdown(blind)


def test_the_page_shows_them_beside_the_range(tmp_path):
    compared = comparison(row("input", None, 20.0, 30.0, 40.0), row("a", "A", 25.0, 29.0, 39.5))
    page = read(compared, tmp_path)
    (table,) = [t["text"] for t in page.all("table") if "range over images" in t["text"]]
    for shown in ("smallest gain, dB", "made worse", "25.00 to 39.50", "-1.00"):
        assert shown in table


def test_names_that_are_no_unicode_do_not_cost_the_comparison(tmp_path):
    named = replace(example.comparison(), command="vlif compare caf\udce9.yml", pictures=())
    write_comparison(named, tmp_path)
    draw_comparison(named, tmp_path)
    for name in ("comparison.json", "comparison.md", "index.html"):
        assert r"caf\udce9.yml" in (tmp_path / name).read_text("utf-8").replace("\\\\", "\\")
