"""The shipped option files: each passes every check, and they differ only where they say so."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from basicsr_model import build_model
from helpers import make_pairs, small_options

from vlif_plugin.archs import ARCHS, build_network
from vlif_plugin.option_files import read_forced, read_option_file

OPTIONS = Path(__file__).parents[2] / "options"
# with the paper's text, the released code, and the released code's Rain200L model
PAPER, OFFICIAL, REFINED = 14_628_635, 14_023_911, 14_312_031
COMPARED = {  # type, parameters and the paper's scores on Rain200H (table 1; NAFNet: supplement, table 2)
    "esdnet": ("ESDNet", 12_811_463, ("28.39", "0.8944")),
    "restormer": ("Restormer", 26_126_644, ("27.93", "0.8823")),
    "nafnet": ("NAFNet", 29_159_715, ("29.19", "0.8880")),
    "prenet": ("PReNet", 168_963, ("27.18", "0.8698")),
}
SPIKIFIED = {"spiking_edsr": 1_224_211}  # networks of BasicSR with our neurons
PARAMETERS = (
    {
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
    | {
        f"{prefix}_rain200h": count
        for key, (_, count, _) in COMPARED.items()
        for prefix in (f"train_{key}", f"train_{key}_own", f"test_{key}")
    }
    | {
        f"{phase}_{key}_rain200h": count
        for key, count in SPIKIFIED.items()
        for phase in ("train", "test")
    }
)
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
# what a network's own recipe says that its training beside VLIF's does not; None where it says nothing
OWN_DIFFERS = {
    "esdnet": {  # train.py, test.py, evaluation.py
        "train:total_iter": 1000 * 1800 // 12,
        "train:scheduler:periods": [1000 * 1800 // 12],
        "val:tile": "official80",
        "val:protocols": ["y_crop4", "rgb_skimage", "y"],
    },
    "restormer": {  # Deraining_Restormer.yml, for one device in place of eight
        "manual_seed": 100,
        "datasets:train:gt_size": 384,
        "datasets:train:pad": True,
        "datasets:train:use_hflip": True,
        "datasets:train:use_rot": True,
        "datasets:train:num_worker_per_gpu": 8,
        "datasets:train:batch_size_per_gpu": 8 * 8,
        "train:warmup_iter": -1,
        "train:accumulate": 8,
        "train:grad_clip": 0.01,
        "train:progressive:iters": [92_000, 64_000, 48_000, 36_000, 36_000, 24_000],
        "train:progressive:batch_sizes": [8 * n for n in (8, 5, 4, 2, 1, 1)],
        "train:progressive:gt_sizes": [128, 160, 192, 256, 320, 384],
        "train:optim_g:lr": 3e-4,
        "train:optim_g:weight_decay": 1e-4,
        "train:scheduler:type": "CosineAnnealingRestartCyclicLR",
        "train:scheduler:periods": [92_000, 208_000],
        "train:scheduler:restart_weights": [1, 1],
        "train:scheduler:eta_mins": [3e-4, 1e-6],
        "train:scheduler:eta_min": None,
        "train:pixel_opt:type": "L1Loss",
        "val:save_best": "psnr_y_restormer",
        "val:protocols": ["y_restormer", "rgb_skimage", "y"],
    },
    "nafnet": {  # GoPro/NAFNet-width32.yml, for one device in place of eight
        "manual_seed": 42,
        "datasets:train:gt_size": 256,
        "datasets:train:use_hflip": True,
        "datasets:train:use_rot": True,
        "datasets:train:num_worker_per_gpu": 4,
        "datasets:train:batch_size_per_gpu": 8 * 4,
        "train:total_iter": 200_000,
        "train:warmup_iter": -1,
        "train:accumulate": 8,
        "train:grad_clip": 0.01,
        "train:optim_g:weight_decay": 1e-3,
        "train:optim_g:betas": [0.9, 0.9],
        "train:scheduler:periods": [200_000],
        "train:pixel_opt:type": "PSNRLoss",
        "val:save_best": "psnr_rgb",
        "val:protocols": ["rgb", "rgb_skimage", "y"],
    },
    "prenet": {  # train_PReNet.py: epochs of 15 patches of each image
        "datasets:train:gt_size": 100,
        "datasets:train:num_worker_per_gpu": 4,
        "datasets:train:batch_size_per_gpu": 18,
        "datasets:train:dataset_enlarge_ratio": 15,
        "train:total_iter": 100 * 1800 * 15 // 18,
        "train:warmup_iter": -1,
        "train:optim_g:type": "Adam",
        "train:optim_g:weight_decay": None,
        "train:optim_g:betas": None,
        "train:scheduler:type": "MultiStepLR",
        "train:scheduler:milestones": [epoch * 1800 * 15 // 18 for epoch in (30, 50, 80)],
        "train:scheduler:gamma": 0.2,
        "train:scheduler:periods": None,
        "train:scheduler:eta_min": None,
        "val:save_best": "psnr_y_matlab",
        "val:protocols": ["y_matlab", "rgb_skimage", "y"],
    },
}


def scores(stem):
    """The paper's scores of what a file is for, or that it has none."""
    if stem.partition("_")[2].startswith("spiking_"):
        return ("nothing",)
    network, dataset = stem.split("_")[1], stem.rpartition("_")[2]
    return COMPARED[network][2] if network in COMPARED else SCORES[dataset]


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


def without_network(values):
    return {k: v for k, v in values.items() if not k.startswith("network_g:")}


@pytest.mark.parametrize("key", COMPARED)
class TestFilesOfComparedNetworks:
    def test_training_differs_from_vlif_s_in_the_network_alone(self, key):
        ours, theirs = values("train_vlif_rain200h"), values(f"train_{key}_rain200h")
        assert theirs["network_g:type"] == COMPARED[key][0]
        found = differences(without_network(ours), without_network(theirs))
        assert found == {"name": f"train_{key}_rain200h"}

    def test_scoring_differs_from_vlif_s_in_network_weights_and_tiles(self, key):
        ours, theirs = values("test_vlif_rain200h"), values(f"test_{key}_rain200h")
        assert differences(without_network(ours), without_network(theirs)) == {
            "name": f"test_{key}_rain200h",
            "path:pretrain_network_g": f"experiments/train_{key}_rain200h/models/net_g_latest.pth",
            "val:tile": "auto",
        }

    def test_the_own_recipe_differs_where_it_says_so(self, key):
        fair, own = values(f"train_{key}_rain200h"), values(f"train_{key}_own_rain200h")
        expected = {"name": f"train_{key}_own_rain200h", **OWN_DIFFERS[key]}
        assert differences(fair, own) == expected

    def test_all_files_have_the_published_network(self, key):
        sections = [
            read_option_file(OPTIONS / f"{prefix}_rain200h.yml")["network_g"]
            for prefix in (f"train_{key}", f"train_{key}_own", f"test_{key}")
        ]
        assert sections[0] == sections[1] == sections[2]


@pytest.mark.parametrize("key", SPIKIFIED)
class TestFilesOfNetworksWithOurNeurons:
    def test_training_differs_from_vlif_s_in_the_network_alone(self, key):
        ours, theirs = values("train_vlif_rain200h"), values(f"train_{key}_rain200h")
        found = differences(without_network(ours), without_network(theirs))
        assert found == {"name": f"train_{key}_rain200h"}

    def test_scoring_differs_from_vlif_s_in_network_weights_and_tiles(self, key):
        ours, theirs = values("test_vlif_rain200h"), values(f"test_{key}_rain200h")
        assert differences(without_network(ours), without_network(theirs)) == {
            "name": f"test_{key}_rain200h",
            "path:pretrain_network_g": f"experiments/train_{key}_rain200h/models/net_g_latest.pth",
            "val:tile": "auto",
        }

    def test_what_is_trained_is_what_is_scored(self, key):
        trained, scored = (
            read_option_file(OPTIONS / f"{phase}_{key}_rain200h.yml")["network_g"]
            for phase in ("train", "test")
        )
        assert trained == scored
        assert trained["T"] == values("train_vlif_rain200h")["network_g:T"]


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
    assert all(score in plain for score in scores(stem))
    network = stem.split("_")[1]
    assert ("academic use only" in plain) == (network == "restormer")
    assert ('pip install "vlif_plugin[compare]"' in plain) == (network in ("restormer", "nafnet"))


@pytest.mark.parametrize("stem", [stem for stem in PARAMETERS if stem.startswith("train_")])
def test_the_command_for_several_gpus_trains_on_the_same_batches_in_the_same_parts(stem):
    path = OPTIONS / f"{stem}.yml"
    plain = re.sub(r"(\\)?\n#\s+", " ", path.read_text())
    command = re.search(
        rf"torchrun --nproc_per_node (\d) -m vlif_plugin.train -opt options/{stem}.yml +--force_yml (.*?) data ",
        plain,
    )
    processes, forced = int(command[1]), shlex.split(command[2])

    def batches(options, processes):
        train = options["train"]
        sizes = [options["datasets"]["train"]["batch_size_per_gpu"]]
        sizes += train.get("progressive", {}).get("batch_sizes", [])
        return [size * processes for size in sizes], train.get("accumulate", 1) * processes

    alone, parts = batches(read_option_file(path), 1)
    together, parts_together = batches(read_forced(path, forced), processes)
    assert together == alone
    assert parts in (1, parts_together)  # what is cut in parts for its memory still is


@pytest.mark.parametrize("stem", PARAMETERS)
def test_shipped_option_files_pass_every_check_but_the_missing_data(stem, fresh_basicsr):
    """On stand-in data and weights; the network of each file is built in full size."""
    opt = read_option_file(OPTIONS / f"{stem}.yml")
    small = small_options(fresh_basicsr)["datasets"]["train"]
    # brisque and piqe want more than a few blocks
    large = make_pairs(fresh_basicsr / "large", [(96, 96)]) if "realrain" in stem else small
    for dataset in opt["datasets"].values():
        dataset |= {k: large[k] for k in ("dataroot_lq", "dataroot_gt") if k in dataset}
        if "gt_size" in dataset:
            own = {"train_restormer_own": 384, "train_nafnet_own": 256, "train_prenet_own": 100}
            assert dataset["gt_size"] == own.get(stem.removesuffix("_rain200h"), 64)
            dataset |= {"gt_size": 32, "dataset_enlarge_ratio": 100}
    if "progressive" in opt.get("train", {}):
        stages = opt["train"]["progressive"]
        stages["gt_sizes"] = [size // 12 for size in stages["gt_sizes"]]
    if opt["path"].get("pretrain_network_g"):
        state = build_network(opt["network_g"]).state_dict()
        torch.save({"state_dict": state}, fresh_basicsr / "w.pth")
        opt["path"]["pretrain_network_g"] = str(fresh_basicsr / "w.pth")
    model = build_model(fresh_basicsr, opt, is_train="train" in opt)
    assert type(model.get_bare_model(model.net_g)) is ARCHS[opt["network_g"]["type"]]
    assert sum(p.numel() for p in model.net_g.parameters()) == PARAMETERS[stem]


def test_the_table_of_option_files_is_the_folder_s():
    text = (OPTIONS / "README.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| `\w+\.yml` \|", line)]
    listed = [re.findall(r"`(\w+)\.yml`", row)[0] for row in rows]
    assert sorted(listed) == sorted(path.stem for path in OPTIONS.glob("*.yml"))
    assert set(listed) == set(PARAMETERS)
    for stem, row in zip(listed, rows, strict=True):
        if stem != "demo_vlif":
            assert all(score in row for score in scores(stem)), stem
            iterations = values(stem).get("train:total_iter")
            assert f"| {'' if iterations is None else f'{iterations:,d} '}|" in row, stem
