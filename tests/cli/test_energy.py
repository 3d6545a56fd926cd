"""`vlif energy`: the table, the files, the pictures."""

import csv
import json
import re

import cv2
import numpy as np
import pytest
import torch
import yaml
from helpers import SMALL, TINY, make_live, photograph

from vlif_plugin import cli
from vlif_plugin.archs import VLIFNet
from vlif_plugin.cli import energy
from vlif_plugin.data import load_image
from vlif_plugin.energy import PRESETS, count_ops

NETWORK = {"type": "VLIFNet", **SMALL, "formulation": "official"}


@pytest.fixture
def files(tmp_path):
    """An option file, live weights, two photographs."""
    (tmp_path / "net.yml").write_text(yaml.safe_dump({"name": "x", "network_g": NETWORK}))
    net = make_live(
        VLIFNet(**{k: v for k, v in NETWORK.items() if k != "type"}), torch.rand(2, 3, 32, 32)
    )
    torch.save({"params": net.state_dict()}, tmp_path / "net.pth")
    (tmp_path / "in").mkdir()
    for seed in (1, 2):
        cv2.imwrite(str(tmp_path / "in" / f"{seed}.png"), photograph(40, 48, seed))
    return tmp_path, net


def test_table_and_files_say_what_was_counted(files, capsys):
    folder, net = files
    words = ["energy", "--opt", str(folder / "net.yml"), "-w", str(folder / "net.pth"), "--input", str(folder / "in"),
             "--size", "32", "-o", str(folder / "out"), "--costs", "45nm"]  # fmt: skip
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    reports = [
        count_ops(net, load_image(folder / "in" / f"{n}.png").rgb[..., 4:36, 8:40]) for n in (1, 2)
    ]
    energies = [report.energy_uj(PRESETS["45nm"])["total"] for report in reports]
    record = json.loads((folder / "out" / "energy.json").read_text())
    totals = record["full"]["totals"]
    assert totals["energy_uj"]["mean"] == pytest.approx(np.mean(energies), rel=1e-12)
    assert totals["energy_uj"]["std"] == pytest.approx(np.std(energies, ddof=1), rel=1e-6)
    assert totals["sops"]["mean"] == np.mean([report.sops for report in reports])
    assert record["paper"]["macs"] == reports[0].paper.macs
    assert record["names"] == ["1", "2"]
    shown = re.search(r"^energy, uJ +(\S+) +(\S+)$", out, re.M)
    assert float(shown[1]) == pytest.approx(np.mean(energies), rel=1e-3)
    assert float(shown[2]) == pytest.approx(reports[0].paper.macs * 4.6e-6, rel=1e-3)
    assert f"{reports[0].parameters:,}" in out
    assert "mean of 2 images" in out
    assert "not counted: nothing" in out
    rows = list(csv.DictReader((folder / "out" / "layers.csv").open()))
    assert [int(row["macs"]) for row in rows] == [layer.macs for layer in reports[1].layers]
    assert sum(int(row["sops"]) for row in rows) == reports[1].sops
    for name in ("energy.png", "rates.png"):
        picture = cv2.imread(str(folder / "out" / name))
        assert picture.shape[0] > 200
        assert picture.std() > 20  # something is drawn


def test_without_weights_a_photograph_in_the_rain_and_calibration(files, capsys):
    folder, _ = files
    words = ["energy", "--opt", str(folder / "net.yml"), "--size", "64"]
    assert cli.main(words) == 0
    silent = capsys.readouterr().out
    assert "untrained, so the rates mean nothing" in silent
    assert cli.main([*words, "--calibrate"]) == 0
    alive = capsys.readouterr().out
    assert "not trained: BatchNorm statistics were set" in alive
    rates = [float(re.search(r"^firing rate +(\S+)", out, re.M)[1]) for out in (silent, alive)]
    assert rates[1] > 2 * rates[0]


def test_binary_inference_is_held_against_the_integer_spikes(tmp_path, capsys):
    network = {"type": "VLIFNetTiny", "gate": False}
    network |= {key: list(value) for key, value in TINY.items()}
    (tmp_path / "net.yml").write_text(yaml.safe_dump({"name": "x", "network_g": network}))
    words = [
        "energy",
        "--opt",
        str(tmp_path / "net.yml"),
        "--size",
        "32",
        "--calibrate",
        "--binary",
    ]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    counted = float(re.search(r"^synaptic operations +(\S+) k", out, re.M)[1])
    said = re.search(
        r"^driven by binary spikes: 15 layers, at most 4 binary spikes for one spike, .* events, (\S+) synaptic",
        out,
        re.M,
    )
    assert int(said[1].replace(",", "")) == pytest.approx(1000 * counted, rel=1e-3)
    assert "\non real values: 1 layer: patch_embed.conv\n" in out
    assert "\nspikes become real values in 0 modules\n" in out
    difference = re.search(r"^largest difference from integer spikes: (\S+)$", out, re.M)
    assert float(difference[1]) < 1e-12


def test_prices_can_be_given(files, capsys):
    folder, _ = files
    words = ["energy", "--opt", str(folder / "net.yml"), "--size", "32", "--costs", "1,0,0"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "MAC 1, SOP 0, sign 0 per update" in out
    macs = count_ops(
        VLIFNet(**{k: v for k, v in NETWORK.items() if k != "type"}), torch.rand(3, 32, 32)
    ).macs
    assert float(re.search(r"^energy, uJ +(\S+)", out, re.M)[1]) == pytest.approx(
        macs * 1e-6, rel=1e-3
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name an option file with --opt, or weights with --weights"),
        (["--opt", "gone.yml"], "gone.yml"),
        (["--opt", "net.yml", "--costs", "1,2"], "three numbers are needed"),
        (["--opt", "net.yml", "--costs=-1,0,0"], "mac_pj must be a number of at least 0"),
        (["--opt", "net.yml", "--costs", "papr"], "did you mean paper"),
        (
            ["--opt", "net.yml", "--input", "in", "--size", "64"],
            "1: 48x40 pixels are less than --size 64",
        ),
        (["--opt", "net.yml", "--input", "gone.png"], "gone.png"),
        (["--opt", "net.yml", "--size", "-1"], "--size must be at least 0"),
        (
            ["--opt", "net.yml", "-w", "net.pth", "--calibrate"],
            "--calibrate is for networks without weights",
        ),
    ],
)
def test_wrong_commands_end_with_one_line(words, message, files, capsys, monkeypatch):
    monkeypatch.chdir(files[0])
    assert cli.main(["energy", *words]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error:")
    assert message in error


def test_counts_are_written_short():
    assert [energy.short(x) for x in (0, 12, 4321, 3.77e11, 1.5e12)] == [
        "0",
        "12",
        "4.321 k",
        "377 G",
        "1.5 T",
    ]
