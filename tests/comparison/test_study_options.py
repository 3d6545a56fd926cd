"""The small-budget study is fair: its files differ in their networks only, and these are of one size."""

import re
from pathlib import Path

import pytest
import torch

from vlif_plugin.archs import build_network
from vlif_plugin.energy import count_ops
from vlif_plugin.option_files import read_option_file

FOLDER = Path(__file__).parents[2] / "options" / "compare"
TRAINED = sorted(FOLDER.glob("train_*.yml"))
BUDGET = 2.8e9


def test_the_study_trains_every_file_and_nothing_else():
    networks = read_option_file(FOLDER / "small_budget.yml")["networks"].values()
    assert all(entry["weights"] == "trained" for entry in networks)
    assert sorted(entry["opt"] for entry in networks) == [
        f"options/compare/{path.name}" for path in TRAINED
    ]
    assert len(TRAINED) == 6


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_all_are_trained_alike(path):
    opt, other = read_option_file(path), read_option_file(TRAINED[0])
    assert opt.pop("name") == f"compare_{path.stem.removeprefix('train_')}"
    for options in (opt, other):
        options.pop("network_g")
        options.pop("name", None)
    assert opt == other


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
@pytest.mark.parametrize("side", [64, pytest.param(256, marks=pytest.mark.slow)])
def test_all_are_of_one_size_and_the_heads_say_so(path, side):
    net = build_network(read_option_file(path)["network_g"])
    image = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))
    report = count_ops(net, image)
    macs = report.dense_macs * (256 / side) ** 2  # but for attention's pooled layers
    assert abs(macs / BUDGET - 1) < 0.03
    head = " ".join(path.read_text().partition("\nname:")[0].replace("\n#", " ").split())
    stated = re.search(r"([\d.]+) G multiplications .* ([\d.]+) M parameters", head)
    assert stated
    assert float(stated[1]) == pytest.approx(macs / 1e9, rel=2e-4 if side == 256 else 5e-3)
    assert float(stated[2]) == pytest.approx(report.parameters / 1e6, rel=1e-3)


def test_the_test_sets_are_not_the_training_s():
    trained = read_option_file(TRAINED[0])["datasets"]
    tested = read_option_file(FOLDER / "small_budget.yml")["datasets"].values()
    roots = {"dataroot_gt", "dataroot_streaks", "dataroot_streaks_gt"}
    used = {trained["train"][key] for key in roots}
    assert not used & {dataset.get(key) for dataset in [*tested, trained["val"]] for key in roots}
