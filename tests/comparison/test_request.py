"""What `vlif compare` refuses, in one line and before anything is measured."""

import copy

import cv2
import pytest
import torch
import yaml
from helpers import TINY_NET, make_pairs, photograph, write_options

from vlif_plugin import cli
from vlif_plugin.archs import VLIFNet
from vlif_plugin.basicsr_host import register_all
from vlif_plugin.comparison import runner
from vlif_plugin.comparison.checking import check_request
from vlif_plugin.comparison.request import read_request

GONE = object()
ODD = {
    "name": "odd",
    "type": "PairedRainDataset",
    "dataroot_lq": "odd_lq",
    "dataroot_gt": "odd_gt",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("request")
    pairs = make_pairs(folder / "rain", [(64, 64), (40, 52), (64, 70)])
    (folder / "real").mkdir()
    cv2.imwrite(str(folder / "real" / "1.png"), photograph(120, 130))
    for side in ("lq", "gt"):
        (folder / f"odd_{side}").mkdir()
    cv2.imwrite(str(folder / "odd_lq" / "a.png"), photograph(64, 64))
    cv2.imwrite(str(folder / "odd_gt" / "b.png"), photograph(64, 64))
    net = VLIFNet(**{k: v for k, v in TINY_NET.items() if k != "type"})
    torch.save({"params": net.state_dict()}, folder / "w.pth")
    train = {"name": "t", "network_g": TINY_NET, "path": {"experiments_root": str(folder / "e")}}
    (folder / "scores.yml").write_text(yaml.safe_dump(train))
    (folder / "train.yml").write_text(yaml.safe_dump(train | {"train": {"total_iter": 3}}))
    (folder / "bare.yml").write_text("name: bare\n")
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("mine")
    return folder, {
        "name": "x",
        "networks": {
            "a": {"network_g": dict(TINY_NET), "weights": "w.pth"},
            "b": {"network_g": dict(TINY_NET)},
        },
        "datasets": {
            "test_1": {"name": "rain", "type": "PairedRainDataset", **pairs},
            "test_2": {"name": "real", "type": "PairedRainDataset", "dataroot_lq": "real"},
        },
        "val": {"protocols": ["y"], "metrics": {}},
        "cost": {"size": 40, "images": 2},
        "num_gpu": 0,
    }


CASES = {
    "top": ("netwroks", {}, "the file has no option 'netwroks'; did you mean networks"),
    "name": ("name", "a/b", "name must be the run's name"),
    "no network": ("networks", {}, "networks: there is none to compare"),
    "networks no section": ("networks", ["a"], "networks must be a section"),
    "row name": ("networks", {3: {"network_g": TINY_NET}}, "3 cannot be a key; put it in quotes"),
    "dataset's type": ("datasets:test_1:type", {"a": 1}, "datasets: test_1: type must be a name, got {'a': 1}"),
    "metric's type": ("val:metrics", {"m": {"type": [1]}}, "val: metrics: m: type must be a name, got [1]"),
    "published no names": ("published", [{}], "published must be a dataset's name or a list of such"),
    "input": ("networks:input", {"network_g": TINY_NET}, "input is the row of the degraded images"),
    "entry": ("networks:a", "VLIFNet", "networks: a must be a section with opt or network_g"),
    "entry key": ("networks:a:wieghts", "w.pth", "networks: a has no option 'wieghts'; did you mean weights"),
    "trains nothing": ("networks:a", {"opt": "bare.yml", "weights": "trained"}, "bare.yml: has no network_g"),
    "neither": ("networks:a:network_g", GONE, "networks: a: give an option file (opt) or network_g"),
    "both": ("networks:a:opt", "train.yml", "networks: a: give an option file (opt) or network_g"),
    "network no section": ("networks:a:network_g", "VLIFNet", "network_g must be a section with a type"),
    "type": ("networks:b:network_g:type", "VLIFNett", "b: no arch is called 'VLIFNett'; did you mean VLIFNet"),
    "no type": ("networks:b:network_g:type", GONE, "b: network_g: type must name a network, got None"),
    "alike": ("networks:A ", {"network_g": TINY_NET}, "networks: 'a' and 'A ' cannot be told apart"),
    "force no list": (
        "networks:a", {"opt": "train.yml", "force_yml": "network_g:T=1"},
        "networks: a: force_yml must be a list of section:key=value, got 'network_g:T=1'",
    ),
    "force nothing": ("networks:a:force_yml", ["x=1"], "a: force_yml says something about opt, and there is none"),
    "force no section": (
        "networks:a", {"opt": "train.yml", "force_yml": ["netwrok_g:T=1"]},
        "networks: a: --force_yml netwrok_g:T=1: must be section:key=value with a section",
    ),
    "one run of two": (
        "networks", {
            row: {"opt": "train.yml", "weights": "trained", "force_yml": [f"manual_seed={i}", "name=s"]}
            for i, row in enumerate(("one", "two"))
        },
        "networks: one and two would be trained in one folder",
    ),
    "seeds of no training": (
        "networks:a:seeds", [1, 2], "networks: a: seeds are of a training: opt, and weights: trained",
    ),
    "seeds no list": (
        "networks:a", {"opt": "train.yml", "weights": "trained", "seeds": 2},
        "networks: a: seeds must be a list of whole numbers, got 2",
    ),
    "seeds empty": (
        "networks:a", {"opt": "train.yml", "weights": "trained", "seeds": []},
        "networks: a: seeds must be a list of whole numbers, got []",
    ),
    "seeds no numbers": (
        "networks:a", {"opt": "train.yml", "weights": "trained", "seeds": [1, True]},
        "networks: a: seeds must be a list of whole numbers, got [1, True]",
    ),
    "seeds twice": (
        "networks:a", {"opt": "train.yml", "weights": "trained", "seeds": [2, 2]},
        "networks: a: seeds has one twice: [2, 2]",
    ),
    "seeds said twice": (
        "networks:a", {"opt": "train.yml", "weights": "trained", "seeds": [2], "force_yml": ["manual_seed=3"]},
        "networks: a: give seeds, or manual_seed in force_yml, not both",
    ),
    "weights empty": ("networks:a:weights", "", "networks: a: weights must be a path, got ''"),
    "gpu": ("num_gpu", 64, "num_gpu is 64, but no CUDA device is visible"),
    "images of nothing": ("datasets", GONE, "cost: images is 2, but there are no datasets"),
    "argument": ("networks:b:network_g:dimm", 8, "b: network_g: VLIFNet has no option 'dimm'; did you mean dim"),
    "value": ("networks:b:network_g:dim", -3, "networks: b: network_g:"),
    "opt gone": ("networks:a", {"opt": "gone.yml"}, "networks: a: gone.yml: no readable option file"),
    "opt bare": ("networks:a", {"opt": "bare.yml"}, "networks: a: bare.yml: has no network_g section"),
    "trained in place": ("networks:a:weights", "trained", "networks: a: weights: trained needs the opt"),
    "not trained": (
        "networks:a",
        {"opt": "train.yml", "weights": "trained"},
        "models/net_g_latest.pth is missing; --train trains it as train.yml says",
    ),
    "no training": (
        "networks:a",
        {"opt": "scores.yml", "weights": "trained"},
        "scores.yml: trains nothing: train: total_iter is missing",
    ),
    "weights gone": ("networks:a:weights", "gone.pth", "networks: a: gone.pth: no such weights file"),
    "weights no path": ("networks:a:weights", 3, "networks: a: weights must be a path, got 3"),
    "weights of another": ("networks:a:network_g:dim", 12, "networks: a: w.pth: does not fit VLIFNet"),
    "tile": ("networks:a:tile", "big", "networks: a: tile must be none, auto"),
    "val tile": ("val:tile", -1, "val: tiles of -1 pixels"),
    "val key": ("val:protocol", ["y"], "val has no option 'protocol'; did you mean protocols"),
    "protocol": ("val:protocols", ["y_restromer"], "no protocol is called 'y_restromer'; did you mean y_restormer"),
    "metric type": ("val:metrics:p", {"type": "pique"}, "no metric is called 'pique'; did you mean piqe"),
    "metric key": ("val:metrics:l", {"type": "lpips", "bakbone": "vgg"}, "val: metrics: l has no option 'bakbone'"),
    "lpips without weights": ("val:metrics:l", {"type": "lpips", "weights": "gone.pth"}, "val: metrics: l: "),
    "nothing to score with": ("val", {}, "val: neither protocols nor metrics say how to score rain"),
    "dataset type": ("datasets:test_1:type", "PairedRain", "no dataset is called 'PairedRain'; did you mean Paired"),
    "dataset key": ("datasets:test_1:pairng", "name", "datasets: test_1: the dataset has no option 'pairng'"),
    "dataset gone": ("datasets:test_1:dataroot_lq", "gone", "datasets: test_1: gone"),
    "dataset name": ("datasets:test_2:name", "rain", "datasets: two sections are named 'rain'"),
    "unpaired": ("datasets:test_1", ODD, "datasets: test_1: "),
    "pictures": ("val:pictures", {"rein": 2}, "val: pictures: no dataset is called 'rein'; did you mean rain"),
    "pictures count": ("val:pictures", {"rain": -1}, "val: pictures: rain must be a whole number of at least 0"),
    "size": ("cost:size", 65, "datasets: test_1: cost: size is 65, but 000 has 64x64 pixels"),
    "no size": ("cost:size", 0, "cost: size must be a whole number of at least 1"),
    "repeats": ("cost:repeats", "5", "cost: repeats must be a whole number of at least 1, got '5'"),
    "cost key": ("cost:thread", 2, "cost has no option 'thread'; did you mean threads"),
    "published": ("published", ["rain200"], "published: no table has scores on 'rain200'; did you mean rain200"),
    "published kind": ("published", 3, "published must be a dataset's name or a list"),
    "path": ("path", {"result_root": "r"}, "path has no option 'result_root'; did you mean results_root"),
    "gpus": ("num_gpu", "all", "num_gpu (auto, or a number) must be a whole number"),
    "folder": ("path", {"results_root": "w.pth"}, "cannot be made"),
}  # fmt: skip


def changed(opt, path, value):
    opt = copy.deepcopy(opt)
    *sections, last = path.split(":")
    place = opt
    for section in sections:
        place = place.setdefault(section, {})
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return opt


@pytest.fixture
def nothing_runs(monkeypatch):
    def refuse(*_):
        raise AssertionError("a network was measured")

    monkeypatch.setattr(runner, "_run_job", refuse)


def refused(folder, words, capsys):
    before = sorted(folder.rglob("*"))
    assert cli.main(["compare", *words]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert sorted(folder.rglob("*")) == before
    return lines[-1]


@pytest.mark.parametrize("case", CASES)
def test_wrong_options_end_with_one_line(case, files, capsys, monkeypatch, nothing_runs):
    folder, opt = files
    monkeypatch.chdir(folder)
    path, value, message = CASES[case]
    write_options(folder, changed(opt, path, value))
    line = refused(folder, ["opt.yml"], capsys)
    assert line.startswith("error: opt.yml: ")
    assert message in line


def test_wrong_command_lines_end_with_one_line(files, capsys, monkeypatch, nothing_runs):
    folder, opt = files
    monkeypatch.chdir(folder)
    write_options(folder, opt)
    for words, message in (
        ([], "name an option file, or a comparison.json with --from"),
        (["opt.yml", "--from", "c.json"], "name an option file, or a comparison.json with --from"),
        (["--from", "c.json", "--train"], "--from measures nothing"),
        (["--from", "gone.json"], "gone.json: no readable comparison"),
        (["gone.yml"], "gone.yml: no readable option file"),
        (["opt.yml", "--only", "A", "bb"], "--only: no network is called 'A'; did you mean a"),
        (["opt.yml", "--train"], "--train: no network has weights: trained"),
        (["opt.yml", "-o", "full"], "full: holds something else than a comparison"),
        (["opt.yml", "-o", "full/thesis.txt"], "is no folder that can be written"),
    ):
        assert message in refused(folder, words, capsys)
    if not torch.cuda.is_available():
        assert "--device cuda: not available" in refused(
            folder, ["opt.yml", "--device", "cuda"], capsys
        )


def test_two_rows_of_one_name_are_refused(files, capsys, monkeypatch, nothing_runs):
    folder, _ = files
    monkeypatch.chdir(folder)
    entry = "    network_g: {type: VLIFNet}\n"
    (folder / "opt.yml").write_text(f"name: x\nnetworks:\n  a:\n{entry}  a:\n{entry}")
    assert "a stands twice" in refused(folder, ["opt.yml"], capsys)


def test_the_plan_says_what_is_scored_how(files, monkeypatch):
    folder, opt = files
    monkeypatch.chdir(folder)
    register_all()
    opt = changed(opt, "val:metrics", {"b": {"type": "brisque"}})
    opt = changed(opt, "val:pictures", {"rain": 1})
    opt["datasets"]["test_1"] |= {
        "dataroot_lq": "rain/input.lmdb",
        "dataroot_gt": "rain/target.lmdb",
    }
    # brisque wants more than these small images have
    opt["datasets"]["test_1"] |= make_pairs(folder / "large", [(120, 120), (130, 120), (120, 125)])
    plan = check_request(read_request(write_options(folder, opt), only=["b"]))
    rain, real = plan.datasets
    assert list(rain.metrics) == ["psnr_y", "ssim_y", "b"]  # what needs no ground truth as well
    assert list(real.metrics) == ["b"]  # what compares is left out; brisque is there already
    assert [(p.index, p.image) for p in rain.pictured] == [(1, "001")]
    assert [(p.index, p.image) for p in real.pictured] == [(0, "1")]
    assert plan.cost_images == ("000", "001")
    assert [entry.name for entry in plan.request.networks] == ["b"]
    assert str(plan.request.folder) == "results/x"


def test_without_datasets_cost_is_measured_on_a_photograph_in_the_rain(files, monkeypatch):
    folder, opt = files
    monkeypatch.chdir(folder)
    register_all()
    opt = {"name": "x", "networks": opt["networks"], "cost": {"size": 512}, "num_gpu": 0}
    plan = check_request(read_request(write_options(folder, opt), output="else/where"))
    assert plan.datasets == ()
    assert plan.cost_images == ("scikit-image's astronaut in synthetic rain",)
    assert str(plan.request.folder) == "else/where"
    opt["cost"]["size"] = 513
    with pytest.raises(ValueError, match="size is 513, but scikit-image's astronaut"):
        check_request(read_request(write_options(folder, opt)))
