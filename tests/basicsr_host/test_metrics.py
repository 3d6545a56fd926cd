"""The metrics beside PSNR and SSIM in BasicSR runs."""

import csv
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from helpers import degraded, photograph, small_options, write_options
from torchvision.models import squeezenet1_1

from vlif_plugin import metrics
from vlif_plugin.archs import load_tensors
from vlif_plugin.basicsr_host import run
from vlif_plugin.metrics import _lpips
from vlif_plugin.scoring import LOWER_IS_BETTER, METRICS


@pytest.fixture
def squeeze(tmp_path):
    """The option section of LPIPS on a network with random weights."""
    _lpips._network.cache_clear()
    torch.save(squeezenet1_1().state_dict(), tmp_path / "squeeze.pth")
    yield {"type": "lpips", "backbone": "squeeze", "weights": str(tmp_path / "squeeze.pth")}
    _lpips._network.cache_clear()


def rows_of(folder, iteration):
    table = folder / "experiments" / "small" / "validation" / f"rain_val_{iteration}.csv"
    return list(csv.DictReader(table.open()))


def test_they_are_registered_under_their_names(fresh_basicsr):
    from basicsr.utils.registry import METRIC_REGISTRY

    for name in ("lpips", "piqe", "brisque"):
        assert METRIC_REGISTRY.get(name) is METRICS[name]
    for name in LOWER_IS_BETTER:
        assert callable(METRIC_REGISTRY.get(name))


def test_they_take_basicsrs_colour_order(squeeze):
    clean = photograph(60, 70)
    wet = degraded(clean, "noise")
    for name in ("piqe", "brisque"):
        core = getattr(metrics, name)
        assert METRICS[name](img=wet[..., ::-1]) == core(wet) != core(wet[..., ::-1].copy())
    options = (squeeze["backbone"], squeeze["weights"])
    value = METRICS["lpips"](wet[..., ::-1], clean[..., ::-1], *options)
    assert value == metrics.lpips(wet, clean, *options)
    assert value != metrics.lpips(wet[..., ::-1].copy(), clean[..., ::-1].copy(), *options)


def test_a_run_scores_what_it_saves(fresh_basicsr, squeeze):
    from vlif_plugin.data import LmdbSource

    opt = small_options(fresh_basicsr)
    opt["train"]["total_iter"] = 2
    opt["val"] |= {"save_img": True, "metrics": {"distance": squeeze, "piqe": {"type": "piqe"}}}
    opt["val"]["metrics"]["brisque"] = {"type": "brisque"}
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
    pictures = fresh_basicsr / "experiments" / "small" / "visualization"
    clean = LmdbSource(opt["datasets"]["val"]["dataroot_gt"])
    for row in rows_of(fresh_basicsr, 2)[:-1]:
        name = row["image"]
        result = cv2.imread(str(pictures / name / f"{name}_2.png"))[..., ::-1].copy()
        assert float(row["piqe"]) == metrics.piqe(result)
        assert float(row["brisque"]) == metrics.brisque(result)
        expected = metrics.lpips(result, clean.read(name), squeeze["backbone"], squeeze["weights"])
        assert float(row["distance"]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("better", [None, "higher"])
def test_the_lowest_value_is_the_best_unless_the_options_say_otherwise(fresh_basicsr, better):
    opt = small_options(fresh_basicsr)
    opt["train"]["optim_g"]["lr"] = 0.02  # so that the values differ
    opt["val"] |= {
        "val_freq": 1,
        "save_best": "quality",
        "metrics": {"quality": {"type": "brisque"}},
    }
    if better:
        opt["val"]["metrics"]["quality"]["better"] = better
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
    means = {i: float(rows_of(fresh_basicsr, i)[-1]["quality"]) for i in range(1, 5)}
    assert max(means.values()) > min(means.values()) + 0.1
    wanted = (max if better else min)(means, key=means.__getitem__)
    path = fresh_basicsr / "experiments" / "small" / "models" / "net_g_best_quality_rain_val.pth"
    assert load_tensors(path)["best"] == {"val": pytest.approx(means[wanted]), "iter": wanted}


def test_piqe_and_brisque_need_no_ground_truth_and_lpips_does(fresh_basicsr, squeeze, capsys):
    opt = small_options(fresh_basicsr)
    opt["train"]["total_iter"] = 2
    del opt["datasets"]["val"]["dataroot_gt"]
    opt["val"]["metrics"] = {name: {"type": name} for name in ("piqe", "brisque")}
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
    for row in rows_of(fresh_basicsr, 2):
        assert np.isfinite([float(row["piqe"]), float(row["brisque"])]).all()
    opt["name"], opt["val"]["metrics"] = "other", {"distance": squeeze}
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 1
    error = "distance compares with ground truth, and dataset rain_val has none"
    assert error in capsys.readouterr().err
    assert not (fresh_basicsr / "experiments" / "other").exists()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "lpips"}, "val: metrics: quality: lpips needs alexnet-owt-7be5be79.pth, which "),
        ({"type": "lpips", "weights": "no.pth"}, "quality: weights: no.pth: no such file"),
        ({"type": "lpips", "weights": "opt.yml"}, "val: metrics: quality: opt.yml: refused"),
        ({"type": "lpips", "backbone": "alexnet"}, "quality: backbone must be alex, vgg, squeeze"),
        ({"type": "lpips", "weight": "x.pth"}, "has no option 'weight'; did you mean weights"),
        ({"type": "piqe", "crop_border": 4}, "val: metrics: quality has no option 'crop_border'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_score_is_refused_before_the_run(
    fresh_basicsr, capsys, monkeypatch, section, message
):
    def offline(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(fresh_basicsr / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    opt = small_options(fresh_basicsr)
    opt["val"]["metrics"] = {"quality": section}
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (fresh_basicsr / "experiments").exists()


def test_images_too_small_for_brisque_are_refused_before_the_run(fresh_basicsr, capsys):
    from helpers import make_pairs

    opt = small_options(fresh_basicsr)
    opt["datasets"]["val"] |= make_pairs(fresh_basicsr / "tiny", [(12, 40)])
    opt["val"]["metrics"] = {"quality": {"type": "brisque"}}
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 1
    assert "brisque needs images of at least 13x13 pixels, got 12x40" in capsys.readouterr().err
    assert not (fresh_basicsr / "experiments").exists()


def test_basicsrs_own_model_can_use_them(fresh_basicsr, squeeze):
    opt = small_options(fresh_basicsr)
    opt["model_type"] = "SRModel"
    opt["train"] |= {"optim_g": {"type": "Adam", "lr": 1e-3}, "total_iter": 2}
    opt["val"]["metrics"] = {"distance": squeeze} | {n: {"type": n} for n in ("piqe", "brisque")}
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
    log = next((fresh_basicsr / "experiments" / "small").glob("train_*.log")).read_text()
    for name in ("distance", "piqe", "brisque"):
        assert f"# {name}: " in log
