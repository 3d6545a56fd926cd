"""Networks with several seeds: which rows they are, and what the tables say of them."""

import re
from dataclasses import replace

import comparison_example as example
import pytest
from helpers import TINY_NET, write_options
from page_reader import read

from vlif_plugin.basicsr_host import register_all
from vlif_plugin.comparison.formatting import MISSING
from vlif_plugin.comparison.request import read_request
from vlif_plugin.comparison.rows import Comparison, MeasuredRow
from vlif_plugin.comparison.seeds import seeded_rows
from vlif_plugin.comparison.tables import as_markdown


def row(name, seeds_of, psnr, lpips=None):
    scores = (example.scores("rain", psnr, 0.5, lpips),) if psnr else ()
    return MeasuredRow(name, "A", {}, scores=scores, seeds_of=seeds_of)


def comparison(*rows):
    return Comparison(
        "by hand", "vlif compare", "2026-01-01", {}, {"rain": 2}, {}, example.METRICS, (), rows
    )


@pytest.fixture
def compared():
    return comparison(
        row("plain", None, 20.0),
        row("LIF, seed 1", "LIF", 21.5, lpips=0.25),
        row("VLIF, seed 1", "VLIF", 26.0),
        row("LIF, seed 2", "LIF", 22.0, lpips=0.5),
        row("LIF, seed 3", "LIF", 24.0),
        row("VLIF, seed 2", "VLIF", None),  # failed
        row("alone, seed 1", "alone", 23.0),
    )


def test_tables_have_mean_and_range_over_the_seeds_that_were_scored(compared):
    table = as_markdown(compared).partition("## rain, over seeds\n\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [
        "| network | seeds | psnr_y, dB ↑ | lowest | highest | ssim_y ↑ | lowest | highest "
        "| lpips ↓ | lowest | highest |",
        "| --- |" + " ---: |" * 10,
        "| LIF | 3 | 22.50 | 21.50 | 24.00 | 0.5000 | 0.5000 | 0.5000 | 0.3750 | 0.2500 | 0.5000 |",
        "| VLIF | 1 | 26.00 | 26.00 | 26.00 | 0.5000 | 0.5000 | 0.5000" + f" | {MISSING}" * 3 + " |",
    ]  # fmt: skip


def test_the_page_has_the_same(compared, tmp_path):
    page = read(compared, tmp_path)
    (section,) = page.all("section", id="seeds")
    for text in ("LIF", "22.50", "0.3750", "rain, over seeds"):
        assert text in section["text"]
    assert [e["text"] for e in page.within("seeds", "strong")] == ["26.00"]
    assert "alone" not in section["text"]


def test_without_two_seeds_of_a_network_there_is_no_such_table(compared, tmp_path):
    single = replace(compared, measured=(compared.measured[0], compared.measured[-1]))
    assert seeded_rows(single) == []
    assert "over seeds" not in as_markdown(single)
    page = read(single, tmp_path)
    assert not page.all("section", id="seeds")
    assert not [a for a in page.all("a") if a["attrs"].get("href") == "#seeds"]


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ([], ["one", "two, seed 3", "two, seed 4"]),
        (["two"], ["two, seed 3", "two, seed 4"]),
        (["two, seed 4", "one"], ["one", "two, seed 4"]),
    ],
)
def test_a_network_is_taken_with_all_its_seeds_or_with_one(only, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    register_all()
    train = {"name": "t", "manual_seed": 4, "network_g": TINY_NET, "train": {"total_iter": 3}}
    trained = {"opt": write_options(tmp_path, train, "train.yml"), "weights": "trained"}
    force = ["network_g:neuron=lif", "name=mine"]
    networks = {"one": trained, "two": trained | {"force_yml": force, "seeds": [3, 4]}}
    options = {"name": "x", "networks": networks, "num_gpu": 0}
    source = write_options(tmp_path, options, "compare.yml")
    rows = read_request(source, only=only).networks
    assert [r.name for r in rows] == names
    runs = {"one": "t", "two, seed 3": "mine_seed_3", "two, seed 4": "mine"}
    assert [r.run_folder for r in rows] == [tmp_path / "experiments" / runs[r.name] for r in rows]
    for r in rows:
        assert r.seeds_of == (None if r.name == "one" else "two")
        assert len([item for item in r.force if re.match("name=", item)]) == (r.name != "one")
