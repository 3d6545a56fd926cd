"""options/compare/costs.yml: the published networks, counted in full."""

import re
from pathlib import Path

import pytest
from helpers import write_options

from vlif_plugin import cli
from vlif_plugin.basicsr_host import register_all
from vlif_plugin.comparison.checking import check_request
from vlif_plugin.comparison.request import read_request
from vlif_plugin.comparison.writing import read_comparison
from vlif_plugin.option_files import read_option_file

COSTS = Path(__file__).parents[2] / "options" / "compare" / "costs.yml"
PARAMETERS = {
    "NAFNet-32": 29_159_715,
    "Restormer": 26_126_644,
    "ESDNet": 12_811_463,
    "VLIF (paper's text)": 14_628_635,
    "VLIF (official, with refinement)": 14_312_031,
}
MACS = {  # all, in G
    "NAFNet-32": "16.05",
    "Restormer": "154.9",
    "ESDNet": "492.1",
    "VLIF (official, with refinement)": "428.7",
}
RELEASED = {"ESDNet": "492.3", "VLIF (official, with refinement)": "470.6"}  # for the same results
PAPER = {
    "ESDNet": (165_911, 7_320_375_128),
    "VLIF (official, with refinement)": (87_763, 2_793_870_448),
}


def test_the_file_says_what_it_gives_and_passes_every_check():
    pytest.importorskip("spandrel_extra_arches")
    register_all()
    plan = check_request(read_request(str(COSTS), device="cpu"))
    assert {entry.name for entry in plan.request.networks} >= set(PARAMETERS)
    assert plan.request.cost.size == 256
    head = re.sub(r"\n#\s+", " ", COSTS.read_text().partition("\nname:")[0])
    for name, count in PARAMETERS.items():
        if name in MACS:
            assert f"{count / 1e6:.6f} M and {MACS[name]} G" in head


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_published_networks_counted_in_full(tmp_path):
    pytest.importorskip("spandrel_extra_arches")
    opt = read_option_file(COSTS)
    opt["cost"]["repeats"] = 1
    opt["path"]["results_root"] = str(tmp_path)
    assert cli.main(["compare", write_options(tmp_path, opt), "--device", "cpu"]) == 0
    comparison = read_comparison(tmp_path / "costs" / "comparison.json")
    cost = {row.name: row.cost for row in comparison.measured}
    for name, count in PARAMETERS.items():
        assert cost[name].parameters == count
    for name, macs in MACS.items():
        assert f"{cost[name].dense_macs / 1e9:.4g}" == macs
    for name in cost:
        released = cost[name].released_macs
        assert (None if released is None else f"{released / 1e9:.4g}") == RELEASED.get(name)
    for name, (parameters, macs) in PAPER.items():
        assert (cost[name].paper_parameters, cost[name].paper_macs) == (parameters, macs)
    assert not any(entry.not_counted for entry in cost.values())
    assert len(comparison.published) == 14
