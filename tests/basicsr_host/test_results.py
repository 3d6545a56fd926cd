"""What a run writes about its scores, and the protocols that option files name."""

import csv
import hashlib
import json
import math
import re

import cv2
import numpy as np
import pytest
import scipy
import skimage
import torch
from basicsr_model import read_log
from helpers import TINY_NET, make_pairs, photograph, small_options, write_options

import vlif_plugin
from vlif_plugin.archs import VLIFNet
from vlif_plugin.basicsr_host import run
from vlif_plugin.data import open_source, write_lmdb
from vlif_plugin.inference import restorer
from vlif_plugin.metrics import PROTOCOLS
from vlif_plugin.option_files import read_option_file
from vlif_plugin.scoring import (
    METRICS,
    ImageScore,
    description,
    expand_protocols,
    hash_pair,
    image_name,
    network_record,
    write_results,
)


def scoring_options(folder):
    """Options that score three images with fresh weights."""
    opt = small_options(folder)
    net = VLIFNet(**{k: v for k, v in TINY_NET.items() if k != "type"})
    torch.save({"params": net.state_dict()}, folder / "w.pth")
    opt["datasets"] = {"test_1": opt["datasets"]["val"]}
    opt["path"] = {"results_root": str(folder), "pretrain_network_g": str(folder / "w.pth")}
    del opt["train"], opt["logger"], opt["val"]["val_freq"]
    return opt


def strict(path):
    """Read JSON as other languages do, in which there is no NaN and no Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def scored(folder, opt, name):
    assert run.test(["-opt", write_options(folder, opt | {"name": name})]) == 0
    return strict(folder / name / "rain_val.json")


def test_the_record_says_what_the_scores_rest_on(fresh_basicsr):
    opt = scoring_options(fresh_basicsr)
    opt["val"] |= {"protocols": ["rgb"], "tile": {"size": 32, "overlap": 8}}
    record = scored(fresh_basicsr, opt, "record")
    assert list(record) == [
        "dataset", "iteration", "images", "fingerprint", "network", "tile", "versions", "metrics", "per_image",
    ]  # fmt: skip
    assert (record["dataset"], record["iteration"], record["images"]) == ("rain_val", None, 3)
    assert record["network"] == {
        "type": "VLIFNet",
        "options": {k: v for k, v in TINY_NET.items() if k != "type"},
        "weights": str(fresh_basicsr / "w.pth"),
        "weights_sha256": hashlib.sha256((fresh_basicsr / "w.pth").read_bytes()).hexdigest(),
    }
    assert record["tile"] == {"size": 32, "overlap": 8}
    expected = {
        "vlif_plugin": vlif_plugin.__version__, "torch": torch.__version__.partition("+")[0], "basicsr": "1.4.2",
        "numpy": np.__version__, "scipy": scipy.__version__, "scikit-image": skimage.__version__,
    }  # fmt: skip
    assert {k: record["versions"][k].partition("+")[0] for k in expected} == expected
    assert any(name.startswith("opencv") for name in record["versions"])
    assert record["metrics"]["ssim_rgb"]["what"] == PROTOCOLS["rgb"].what
    assert record["metrics"]["psnr_y"] | {"mean": 0} == {
        "type": "calculate_psnr", "options": {"crop_border": 0, "test_y_channel": True}, "what": None, "mean": 0,
    }  # fmt: skip

    with (fresh_basicsr / "record" / "rain_val.csv").open() as file:
        *rows, mean = csv.DictReader(file)
    assert [{k: str(v) for k, v in row.items()} for row in record["per_image"]] == rows
    assert {k: str(v["mean"]) for k, v in record["metrics"].items()} | {"image": "mean"} == mean


def by_hand(folder):
    """The fingerprint of two LMDBs, from its description in ``data/fingerprint.py``."""
    lines = []
    rainy, clean = open_source(folder / "input.lmdb"), open_source(folder / "target.lmdb")
    for key in rainy.keys():  # noqa: SIM118 (a source is no dict)
        hashes = []
        for image in (rainy.read(key), clean.read(key)):
            height, width, _ = image.shape
            hashes.append(hashlib.sha256(f"{height}x{width} ".encode() + image.tobytes()))
        lines.append(f"{hashes[0].hexdigest()} {hashes[1].hexdigest()}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:12]


def test_the_fingerprint_is_of_the_pixels_whatever_holds_them(fresh_basicsr):
    opt = scoring_options(fresh_basicsr)
    expected = by_hand(fresh_basicsr / "val")
    assert scored(fresh_basicsr, opt, "lmdb")["fingerprint"] == expected
    assert f"rain_val: 3 images, fingerprint {expected}" in read_log(fresh_basicsr / "lmdb")

    dataset = opt["datasets"]["test_1"]
    for side in ("lq", "gt"):
        source = open_source(dataset[f"dataroot_{side}"])
        (fresh_basicsr / side).mkdir()
        for key in source.keys():  # noqa: SIM118
            # other names, and so another order
            name = f"{9 - int(key)}.png"
            cv2.imwrite(str(fresh_basicsr / side / name), source.read(key)[..., ::-1])
        dataset[f"dataroot_{side}"] = str(fresh_basicsr / side)
    assert scored(fresh_basicsr, opt, "folder")["fingerprint"] == expected

    path = str(fresh_basicsr / "gt" / "9.png")
    image = cv2.imread(path)
    image[0, 0, 0] ^= 1
    cv2.imwrite(path, image)
    assert scored(fresh_basicsr, opt, "changed")["fingerprint"] != expected


def test_tensors_are_hashed_as_the_nearest_bytes():
    image = photograph(20, 30)
    exact = hashlib.sha256(b"20x30 " + image.tobytes()).hexdigest()
    for error in (-0.4, 0.0, 0.4):
        tensor = (torch.from_numpy(image).permute(2, 0, 1)[None] + error) / 255
        assert hash_pair(tensor, None) == (exact, None)
    assert hash_pair(tensor, tensor + 1 / 255)[1] != exact


def test_a_record_without_ground_truth_or_of_another_partner_has_another_fingerprint(fresh_basicsr):
    opt = scoring_options(fresh_basicsr)
    whole = scored(fresh_basicsr, opt, "whole")["fingerprint"]
    (fresh_basicsr / "large").mkdir()
    cv2.imwrite(str(fresh_basicsr / "large" / "a.png"), photograph(200, 200))
    opt["val"]["metrics"] = {"niqe": {"type": "calculate_niqe", "crop_border": 0}}
    dataset = opt["datasets"]["test_1"]
    dataset |= {k: str(fresh_basicsr / "large") for k in ("dataroot_lq", "dataroot_gt")}
    paired = scored(fresh_basicsr, opt, "paired")
    del dataset["dataroot_gt"]
    alone = scored(fresh_basicsr, opt, "alone")
    assert paired["per_image"] == alone["per_image"]
    assert len({whole, paired["fingerprint"], alone["fingerprint"]}) == 3


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b/001.png", "001"),
        ("image0", "image0"),
        ("/d/val.lmdb/001", "001"),
        ("/d/val.lmdb/0.5_key", "0.5_key"),
        ("/d/val.lmdb/old.png", "old"),
        ("val.lmdb/a/001", "a_001"),
        ("/d/val.lmdb/a/b/0.5", "a_b_0.5"),
        ("/d/all.lmdb/val.lmdb/a/001", "a_001"),
    ],
)
def test_the_name_of_an_image_in_a_folder_of_an_lmdb_tells_the_folder(path, name):
    assert image_name(path) == name


def test_images_of_one_name_in_two_folders_of_an_lmdb_are_kept_apart(fresh_basicsr):
    opt = scoring_options(fresh_basicsr)
    names = ["a_001", "b_001"]
    for side, brightness in (("lq", 90), ("gt", 60)):
        images = {f"{x}/001": np.full((16, 16, 3), brightness + ord(x), np.uint8) for x in "ab"}
        write_lmdb(images.items(), fresh_basicsr / f"{side}.lmdb")
        opt["datasets"]["test_1"][f"dataroot_{side}"] = str(fresh_basicsr / f"{side}.lmdb")
    opt["val"]["save_img"] = True
    record = scored(fresh_basicsr, opt, "nested")
    assert [row["image"] for row in record["per_image"]] == names
    pictures = sorted((fresh_basicsr / "nested" / "visualization" / "rain_val").iterdir())
    assert [path.name for path in pictures] == [f"{name}_nested.png" for name in names]


def test_the_record_says_what_auto_came_to(fresh_basicsr, monkeypatch):
    opt = scoring_options(fresh_basicsr)
    opt["val"]["tile"] = "auto"
    assert scored(fresh_basicsr, opt, "whole")["tile"] == "auto: whole"
    net = VLIFNet(**{k: v for k, v in TINY_NET.items() if k != "type"})
    memory = 2 * 1800 * restorer.memory_per_pixel(net)  # images have 1089, 1800 and 1887 pixels
    monkeypatch.setattr(restorer, "available_memory", lambda _: memory)
    tile = scored(fresh_basicsr, opt, "tight")["tile"]
    assert tile == "auto: 64x64, overlap 16, for 1 of 3 images; whole, for 2 of 3 images"


def test_numbers_that_json_lacks_are_strings(tmp_path):
    odd = {"type": "calculate_psnr", "peak": math.inf}
    metrics = {"psnr": odd, "odd": {"type": "of_my_own"}}
    values = [{"psnr": math.inf, "odd": -math.inf}, {"psnr": 30.5, "odd": 1.0}]
    scores = [ImageScore(i, f"ö{i}", ("a", None), v) for i, v in enumerate(values)]
    write_results(
        tmp_path / "validation", "set.1_7", scores, {"psnr": math.inf, "odd": math.nan},
        dataset="set.1", iteration=7, network=network_record(TINY_NET), tile=None, metrics=metrics,
    )  # fmt: skip
    record = strict(tmp_path / "validation" / "set.1_7.json")
    assert record["per_image"] == [
        {"image": "ö0", "psnr": "inf", "odd": "-inf"},
        {"image": "ö1", "psnr": 30.5, "odd": 1.0},
    ]
    assert record["metrics"]["psnr"]["mean"] == "inf"
    assert record["metrics"]["psnr"]["options"] == {"peak": "inf"}
    assert record["metrics"]["odd"]["mean"] == "nan"
    assert record["iteration"] == 7
    assert "weights" not in record["network"]
    assert (tmp_path / "validation" / "set.1_7.csv").is_file()


def test_protocols_are_scored_beside_the_metrics_and_a_metric_of_ones_own_wins(fresh_basicsr):
    opt = scoring_options(fresh_basicsr)
    psnr = {"type": "calculate_psnr", "test_y_channel": True}
    opt["val"] |= {
        "protocols": "all",
        "metrics": {
            "psnr_y": psnr | {"crop_border": 4},  # BasicSR's name for what y_crop4 does
            "mine": psnr | {"crop_border": 0},
        },
    }
    record = scored(fresh_basicsr, opt, "all")
    wanted = {f"{kind}_{name}" for name in PROTOCOLS for kind in ("psnr", "ssim")}
    assert set(record["metrics"]) == wanted | {"mine"}
    assert len(wanted) == 16
    for row in record["per_image"]:
        assert row["psnr_y"] == pytest.approx(row["psnr_y_crop4"], abs=1e-4)
        assert row["psnr_y"] != pytest.approx(row["mine"], abs=1e-2)
        assert row["ssim_y"] != pytest.approx(row["ssim_rgb"], abs=1e-4)


def test_protocols_may_be_forced_from_the_command_line(fresh_basicsr):
    opt = scoring_options(fresh_basicsr)
    opt["val"]["metrics"] = None
    options = write_options(fresh_basicsr, opt | {"name": "forced"})
    assert run.test(["-opt", options, "--force_yml", "val:protocols=[euvp, y]"]) == 0
    header = (fresh_basicsr / "forced" / "rain_val.csv").read_text().splitlines()[0]
    assert header == "image,psnr_euvp,ssim_euvp,psnr_y,ssim_y"


def test_the_best_weights_may_be_those_of_a_protocol(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["val"] |= {"protocols": ["y"], "save_best": "ssim_y", "metrics": None}
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
    run_folder = fresh_basicsr / "experiments" / "small"
    assert (run_folder / "models" / "net_g_best_ssim_y_rain_val.pth").is_file()
    assert strict(run_folder / "validation" / "rain_val_4.json")["iteration"] == 4


def test_protocols_without_ground_truth_are_refused(fresh_basicsr, capsys):
    opt = scoring_options(fresh_basicsr)
    opt["val"] |= {"protocols": "all", "metrics": None}
    del opt["datasets"]["test_1"]["dataroot_gt"]
    assert run.test(["-opt", write_options(fresh_basicsr, opt | {"name": "blind"})]) == 1
    assert "compares with ground truth, and dataset rain_val has none" in capsys.readouterr().err
    assert not (fresh_basicsr / "blind").exists()


def test_expanding_protocols_twice_changes_nothing(tmp_path):
    (tmp_path / "a.yml").write_text("val: {protocols: [y, y], metrics: {ssim_y: {type: mine}}}\n")
    val = read_option_file(tmp_path / "a.yml")["val"]
    expand_protocols(val)
    once = {"psnr_y": {"type": "psnr_y"}, "ssim_y": {"type": "mine"}}
    assert val["metrics"] == once
    expand_protocols(val)
    assert val["metrics"] == once


def test_every_metric_of_ours_is_described_and_no_other():
    assert description("psnr_y_matlab") == PROTOCOLS["y_matlab"].what
    assert all(description(metric) for metric in METRICS)
    for metric in ("calculate_psnr", "psnr", "psnr_", "niqe_y", "y"):
        assert description(metric) is None


def test_an_image_that_a_metric_cannot_score_is_named(fresh_basicsr, capsys):
    """Found in the middle of a run: the options are tried on the first image only."""
    opt = scoring_options(fresh_basicsr)
    opt["datasets"]["test_1"] |= make_pairs(fresh_basicsr / "odd", [(40, 40), (8, 40)])
    opt["val"]["protocols"] = ["y"]
    assert run.test(["-opt", write_options(fresh_basicsr, opt)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.match(
        r"error: rain_val: \S+: ssim_y: an image of 8x40 is smaller than the window", error
    )
