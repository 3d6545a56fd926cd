"""The energy count among BasicSR's metrics."""

import csv
import json

import pytest
import torch
from helpers import TINY_NET, small_options, write_options

from vlif_plugin.archs import build_network, load_strict, read_checkpoint
from vlif_plugin.basicsr_host import run
from vlif_plugin.data import PairedImages
from vlif_plugin.energy import PRESETS, centre, count_ops
from vlif_plugin.neurons import LIFNode
from vlif_plugin.scoring import ENERGY_METRICS


def scored(folder, every):
    opt = small_options(folder)
    shared = {"every": every, "size": 24}
    opt["val"]["metrics"] |= {
        "energy": {"type": "snn_energy", "costs": "45nm", **shared},
        "rate": {"type": "snn_firing_rate", **shared},
        "sops": {"type": "snn_sops", **shared},
    }
    opt["train"]["total_iter"] = opt["val"]["val_freq"] = 2
    assert run.train(["-opt", write_options(folder, opt)]) == 0
    stem = folder / "experiments" / "small" / "validation" / "rain_val_2"
    return list(csv.DictReader(stem.with_suffix(".csv").open())), json.loads(
        stem.with_suffix(".json").read_text()
    )


def test_energy_stands_beside_psnr(fresh_basicsr):
    rows, record = scored(fresh_basicsr, every=2)
    weights = fresh_basicsr / "experiments/small/models/net_g_2.pth"
    net = build_network(TINY_NET)
    load_strict(net, read_checkpoint(str(weights)))
    val = small_options(fresh_basicsr / "again")["datasets"]["val"]
    images = PairedImages(val["dataroot_lq"], val["dataroot_gt"])
    reports = {i: count_ops(net, centre(images[i]["lq"], 24)) for i in (0, 2)}
    assert [row["energy"] == "" for row in rows] == [False, True, False, False]
    for i, report in reports.items():
        assert float(rows[i]["energy"]) == pytest.approx(
            report.energy_uj(PRESETS["45nm"])["total"], rel=1e-9
        )
        assert float(rows[i]["sops"]) == report.sops
        assert float(rows[i]["rate"]) == pytest.approx(report.firing_rate, rel=1e-9)
    means = {m: record["metrics"][m]["mean"] for m in ("energy", "sops")}
    assert means["sops"] == sum(r.sops for r in reports.values()) / 2
    assert float(rows[3]["energy"]) == pytest.approx(means["energy"], rel=1e-12)
    assert record["per_image"][1]["energy"] is None
    log = next((fresh_basicsr / "experiments/small").glob("train_*.log")).read_text()
    assert "# energy: " in log
    assert "# rate: " in log


def test_metrics_of_one_image_share_one_count(monkeypatch):
    net, image = torch.nn.Conv2d(3, 3, 3), torch.rand(1, 3, 16, 16)
    counts = []
    from vlif_plugin.scoring import energy

    whole = energy.count_ops
    monkeypatch.setattr(energy, "count_ops", lambda *a: counts.append(a) or whole(*a))
    values = [metric(net, image, 0) for metric in ENERGY_METRICS.values()]
    assert len(counts) == 1
    assert values[1] == 81 * 14 * 14
    ENERGY_METRICS["snn_energy"](net, image.clone(), 0)
    ENERGY_METRICS["snn_energy"](net, image, 0, size=8)
    assert len(counts) == 3
    assert ENERGY_METRICS["snn_energy"](net, image.clone(), 5) is None
    assert len(counts) == 3


def test_a_count_holds_for_the_weights_and_the_image_that_were_counted():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), LIFNode(), torch.nn.Conv2d(8, 3, 3))
    torch.nn.init.constant_(net[0].weight, 0.2)
    image = torch.rand(1, 3, 16, 16)
    sops = ENERGY_METRICS["snn_sops"]
    before = sops(net, image, 0)
    for change in (
        lambda: net[0].weight.mul_(0.3),
        lambda: setattr(net[0], "weight", torch.nn.Parameter(torch.full((8, 3, 3, 3), 0.3))),
        lambda: net.load_state_dict({k: 0.5 * v for k, v in net.state_dict().items()}),
        lambda: image.mul_(0.3),
    ):
        with torch.no_grad():
            change()
        after = sops(net, image, 0)
        assert after == count_ops(net, image).sops != before
        before = after
    with torch.inference_mode():
        assert sops(net, image.clone(), 0) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be a whole number of at least 1, got 0"),
        ({"size": "big"}, "size must be a whole number"),
        ({"costs": "papr"}, "did you mean paper"),
        ({"evry": 2}, "evry"),
    ],
)
def test_wrong_options_are_found_before_the_run(options, message, fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    opt["val"]["metrics"] = {"energy": {"type": "snn_energy", **options}}
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
    assert not (fresh_basicsr / "experiments").exists()


def test_basicsr_s_own_model_hands_no_network_over(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    opt["model_type"] = "SRModel"
    opt["val"]["metrics"] = {"energy": {"type": "snn_energy"}}
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 1
    assert "only SNNRestorationModel hands over" in capsys.readouterr().err
