"""The shipped option files: each passes every check, and they differ only where they say so."""

import re
from pathlib import Path

import pytest
import torch
from basicsr_model import build_model
from helpers import make_pairs, small_options

from vlif_plugin.archs import VLIFNet
from vlif_plugin.basicsr_host.options import read_option_file

OPTIONS = Path(__file__).parents[2] / "options"
# with the paper's text, the released code, and the released code's Rain200L model
PAPER, OFFICIAL, REFINED = 14_628_635, 14_023_911, 14_312_031
PARAMETERS = {
    "demo_vlif": 409_595,
    "test_vlif_euvp": OFFICIAL,
    "test_vlif_rain12": REFINED,
    "test_vlif_rain1200": OFFICIAL,
    "test_vlif_rain200h": OFFICIAL,
    "test_vlif_rain200l": REFINED,
    "test_vlif_realrain": OFFICIAL,
    "train_vlif_euvp": PAPER,
    "train_vlif_official_euvp": OFFICIAL,
    "train_vlif_official_rain1200": OFFICIAL,
    "train_vlif_official_rain200h": OFFICIAL,
    "train_vlif_official_rain200l": REFINED,
    "train_vlif_rain1200": PAPER,
    "train_vlif_rain200h": PAPER,
    "train_vlif_rain200l": PAPER,
}
SCORES = {  # the paper's tables 1, 2a and 2d
    "rain12": ("36.70", "0.9649"),
    "rain200l": ("38.46", "0.9847"),
    "rain200h": ("28.63", "0.8935"),
    "rain1200": ("32.74", "0.9184"),
    "realrain": ("24.26", "20.99"),
    "euvp": ("25.69", "0.8817"),
}
NAMES = {
    "rain12": "Rain12",
    "rain200l": "Rain200L",
    "rain200h": "Rain200H",
    "rain1200": "Rain1200",
    "realrain": "RealRain",
    "euvp": "EUVP",
}
REFERENCE = "rain200h"
TRAIN_DIFFERS = {  # beyond names and paths, from the files of Rain200H
    "rain200l": {},
    "rain1200": {
        "train:total_iter": 200_000,  # the paper, supplement, table 1
        "train:scheduler:periods": [200_000],
        "train:warmup_iter": 3 * 12_000 // 12,
        "val:val_freq": 2e4,
    },
    "euvp": {
        "train:total_iter": 400 * -(-11_435 // 12),  # the paper, supplement: 400 epochs
        "train:scheduler:periods": [400 * -(-11_435 // 12)],
        "train:warmup_iter": 3 * -(-11_435 // 12),
        "val:protocols": ["rgb_skimage", "euvp"],
    },
}
FORMULATION_DIFFERS = {
    "network_g:formulation": "official",
    "network_g:use_refinement": False,
    "val:tile": "official80",
}
OF_RAIN200L = {
    "network_g:use_refinement": True,
    "path:pretrain_network_g": "weights/model_L200.pth",
}
TEST_DIFFERS = {
    "rain12": OF_RAIN200L,
    "rain200l": OF_RAIN200L,
    "rain1200": {"path:pretrain_network_g": "weights/model_1200.pth"},
    "realrain": {
        "datasets:test_1:dataroot_gt": None,
        "val:protocols": None,
        "val:metrics:piqe:type": "piqe",
        "val:metrics:brisque:type": "brisque",
    },
    "euvp": {
        "path:pretrain_network_g": "experiments/train_vlif_official_euvp/models/net_g_latest.pth"
    },
}


def flat(section, prefix=""):
    values = {}
    for key, value in section.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{key}:")
        else:
            values[prefix + key] = value
    return values


def values(stem):
    return flat(read_option_file(OPTIONS / f"{stem}.yml"))


def differences(a, b):
    """What ``b`` says where ``a`` says something else; None where it says nothing."""
    return {k: b.get(k) for k in a | b if a.get(k) != b.get(k)}


def named(differs, stem, dataset):
    """Differences with those that another name and another dataset make."""
    test, train = stem.startswith("test"), f"datasets/{dataset}/train"
    section = "test_1" if test else "val"
    own = {
        "name": stem,
        f"datasets:{section}:name": f"{dataset}_test",
        f"datasets:{section}:dataroot_lq": f"datasets/{dataset}/test/input.lmdb",
        f"datasets:{section}:dataroot_gt": f"datasets/{dataset}/test/target.lmdb",
    }
    if not test:
        own |= {
            "datasets:train:name": dataset,
            "datasets:train:dataroot_lq": f"{train}/input.lmdb",
            "datasets:train:dataroot_gt": f"{train}/target.lmdb",
        }
    return own | differs


@pytest.mark.parametrize("prefix", ["train_vlif_", "train_vlif_official_"])
@pytest.mark.parametrize("dataset", TRAIN_DIFFERS)
def test_training_files_of_a_formulation_are_equal_but_for_what_is_listed(prefix, dataset):
    expected = named(TRAIN_DIFFERS[dataset], f"{prefix}{dataset}", NAMES[dataset])
    if (prefix, dataset) == ("train_vlif_official_", "rain200l"):
        expected["network_g:use_refinement"] = True  # the released train.py
    found = differences(values(f"{prefix}{REFERENCE}"), values(f"{prefix}{dataset}"))
    assert found == expected


@pytest.mark.parametrize("dataset", [REFERENCE, *TRAIN_DIFFERS])
def test_the_two_formulations_of_a_dataset_are_trained_equally(dataset):
    expected = {"name": f"train_vlif_official_{dataset}", **FORMULATION_DIFFERS}
    if dataset == "rain200l":
        del expected["network_g:use_refinement"]  # both have it
    found = differences(values(f"train_vlif_{dataset}"), values(f"train_vlif_official_{dataset}"))
    assert found == expected


@pytest.mark.parametrize("dataset", TEST_DIFFERS)
def test_files_that_score_are_equal_but_for_what_is_listed(dataset):
    stem = f"test_vlif_{dataset}"
    found = differences(values(f"test_vlif_{REFERENCE}"), values(stem))
    assert found == named(TEST_DIFFERS[dataset], stem, NAMES[dataset])


@pytest.mark.parametrize("dataset", [REFERENCE, *TRAIN_DIFFERS])
def test_what_is_trained_is_what_is_scored(dataset):
    trained, scored = values(f"train_vlif_official_{dataset}"), values(f"test_vlif_{dataset}")
    shared = {k for k in trained.keys() & scored.keys() if k.startswith("network_g:")}
    assert len(shared) == 6
    assert {k: trained[k] for k in shared} == {k: scored[k] for k in shared}
    # those that the file which scores leaves out are the network's own
    left = {
        k.removeprefix("network_g:"): v
        for k, v in trained.items()
        if k.startswith("network_g:") and k not in shared
    }
    assert left == {"T": 4, "D": 4, "r": 2}


@pytest.mark.parametrize("stem", PARAMETERS)
def test_every_head_says_what_the_file_is_for(stem):
    text = (OPTIONS / f"{stem}.yml").read_text()
    head = text[: text.index("\nname:")]
    assert all(f"\n# {word} " in head for word in ("reproduces", "command", "needs", "data"))
    assert f"-opt options/{stem}.yml" in head
    if stem == "demo_vlif":
        return
    dataset = stem.rpartition("_")[2]
    assert f"vlif prepare {NAMES[dataset]} --source" in head
    plain = re.sub(r"\n#\s+", " ", head)
    assert all(score in plain for score in SCORES[dataset])


@pytest.mark.parametrize("stem", PARAMETERS)
def test_shipped_option_files_pass_every_check_but_the_missing_data(stem, fresh_basicsr):
    """On stand-in data and weights; the network of each file is built in full size."""
    opt = read_option_file(OPTIONS / f"{stem}.yml")
    own = small_options(fresh_basicsr)["datasets"]["train"]
    # brisque and piqe want more than a few blocks
    large = make_pairs(fresh_basicsr / "large", [(96, 96)]) if "realrain" in stem else own
    for dataset in opt["datasets"].values():
        dataset |= {k: large[k] for k in ("dataroot_lq", "dataroot_gt") if k in dataset}
        if "gt_size" in dataset:
            assert dataset["gt_size"] == 64
            dataset |= {"gt_size": 32, "dataset_enlarge_ratio": 100}
    if opt["path"].get("pretrain_network_g"):
        net = VLIFNet(**{k: v for k, v in opt["network_g"].items() if k != "type"})
        torch.save({"state_dict": net.state_dict()}, fresh_basicsr / "w.pth")
        opt["path"]["pretrain_network_g"] = str(fresh_basicsr / "w.pth")
    model = build_model(fresh_basicsr, opt, is_train="train" in opt)
    assert type(model.get_bare_model(model.net_g)) is VLIFNet
    assert sum(p.numel() for p in model.net_g.parameters()) == PARAMETERS[stem]


def test_the_table_of_option_files_is_the_folder_s():
    text = (OPTIONS / "README.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| `\w+\.yml` \|", line)]
    listed = [re.findall(r"`(\w+)\.yml`", row)[0] for row in rows]
    assert sorted(listed) == sorted(path.stem for path in OPTIONS.glob("*.yml"))
    assert set(listed) == set(PARAMETERS)
    for stem, row in zip(listed, rows, strict=True):
        if stem != "demo_vlif":
            assert all(score in row for score in SCORES[stem.rpartition("_")[2]]), stem
