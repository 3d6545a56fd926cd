"""The shipped configs: each builds, and says what BasicSR's option file of its name says."""

import json
import math
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from helpers import make_pairs
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, METRICS, PARAM_SCHEDULERS
from mmengine.runner import Runner

from vlif_plugin.archs import ARCHS, build_network, load_tensors
from vlif_plugin.basicsr_host.snn_restoration_model import SNNRestorationModel
from vlif_plugin.blocks import BLOCKS
from vlif_plugin.layers import ATTENTION
from vlif_plugin.losses import LOSSES
from vlif_plugin.metrics import PROTOCOLS
from vlif_plugin.mmengine_host.hooks import HOOKS as OWN_HOOKS
from vlif_plugin.neurons import NEURONS
from vlif_plugin.option_files import read_option_file

OPTIONS = Path(__file__).parents[2] / "options"
STEMS = sorted(path.stem for path in (OPTIONS / "mmengine").glob("*.py"))
BASES = {"vlif_rain200h_small_gpu": "vlif_rain200h"}  # what has no option file is another's variant
ENTRIES = [stem for stem in STEMS if stem not in BASES]

# what option files say and configs have no word for, with the only values that are the same in both
BASICSR_ONLY = {
    "model_type": ["SNNRestorationModel"],
    "num_gpu": ["auto", 0],
    "datasets:train:dataset_enlarge_ratio": [1, 100],  # rounds of the data have no end in mmengine
    "path:pretrain_network_g": [None],
    "path:resume_state": [None],
    "path:experiments_root": ["demo/experiments"],
    "train:ema_decay": [0],
    "val:pbar": [False],
    "logger:use_tb_logger": [True, False],
    "logger:wandb:project": [None],
    "logger:wandb:resume_id": [None],
    "dist_params:port": [29500],
}
PSNR_AND_SSIM_ON_Y = {  # the protocol y by BasicSR's own metrics
    f"{kind}_y": {"type": f"calculate_{kind}", "crop_border": 0, "test_y_channel": True}
    for kind in ("psnr", "ssim")
}


def config_of(stem):
    return Config.fromfile(OPTIONS / "mmengine" / f"{stem}.py")


def options_of(stem):
    return read_option_file(OPTIONS / f"{option_name(stem)}.yml")


def option_name(stem):
    return stem if stem == "demo_vlif" else f"train_{stem}"


def flat(section, prefix=""):
    values = {}
    for key, value in section.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{key}:")
        else:
            values[prefix + key] = value
    return values


def plain(config):
    """Lists for tuples, as a YAML file has them."""
    return json.loads(json.dumps(config.to_dict()))


def translated(opt):
    """The config that trains as an option file does; takes from ``opt`` what it translates."""
    train, data, val = opt["train"], opt["datasets"], opt["val"]
    total, warmup = train.pop("total_iter"), train.pop("warmup_iter")
    optimizer, cosine = train.pop("optim_g"), train.pop("scheduler")
    assert cosine.pop("type") == "CosineAnnealingRestartLR"
    assert cosine.pop("periods") == [total]
    if "metrics" in val:
        assert val.pop("metrics") == PSNR_AND_SSIM_ON_Y
        val["protocols"] = ["y"]
    batch, workers = (data["train"].pop(f"{k}_per_gpu") for k in ("batch_size", "num_worker"))
    enlarge = data["train"].pop("dataset_enlarge_ratio")
    images = {
        phase: section | {"type": f"vlif_plugin.{section.pop('type')}"}
        for phase, section in data.items()
    }
    opt["datasets"] = {"train": {"dataset_enlarge_ratio": enlarge}}
    whole = {
        "batch_size": 1,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": images["val"],
    }
    model = {
        "type": "vlif_plugin.SNNRestorationModel",
        "network_g": opt.pop("network_g"),
        "pixel_opt": train.pop("pixel_opt"),
    }
    if "tile" in val:
        model["tile"] = val.pop("tile")
    scores = {"type": "vlif_plugin.RestorationScores", "protocols": val.pop("protocols")}
    every = {"by_epoch": False}
    return {
        "model": model,
        "train_dataloader": {
            "batch_size": batch,
            "num_workers": workers,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": images["train"],
        },
        "val_dataloader": whole,
        "test_dataloader": whole,
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": optimizer},
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 1 / warmup, "end": warmup, **every},
            {"type": "CosineAnnealingLR", "T_max": total, **cosine, **every},
        ],
        "train_cfg": {
            "type": "IterBasedTrainLoop", "max_iters": total, "val_interval": val.pop("val_freq"),
        },
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "val_evaluator": scores,
        "default_hooks": {
            "logger": {
                "type": "LoggerHook",
                "interval": opt["logger"].pop("print_freq"),
                "log_metric_by_epoch": False,
            },
            "checkpoint": {
                "type": "CheckpointHook",
                "interval": opt["logger"].pop("save_checkpoint_freq"),
                "save_best": val.pop("save_best"),
                "rule": "greater",
                **every,
            },
        },
        "log_processor": every,
        "randomness": {"seed": opt.pop("manual_seed")},
        "env_cfg": {"cudnn_benchmark": True},  # BasicSR's pipelines set it
        "visualizer": {
            "type": "Visualizer",
            "vis_backends": [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}],
        },
    }  # fmt: skip


@pytest.mark.parametrize("stem", ENTRIES)
def test_a_config_says_what_the_option_file_of_its_name_says(stem):
    config, opt = plain(config_of(stem)), options_of(stem)
    assert opt.pop("name") == ("vlif_demo" if stem == "demo_vlif" else option_name(stem))
    shows = opt["val"].pop("save_img")
    tests = config.pop("test_evaluator")
    hooks = config.pop("custom_hooks")
    folder = config.pop("work_dir", None)
    assert config == translated(opt)
    # nothing that the option file says is left but what configs have no word for
    left = flat(opt)
    assert {k: v for k, v in left.items() if v not in BASICSR_ONLY.get(k, [])} == {}
    types = [hook["type"] for hook in hooks]
    assert types[:2] == ["vlif_plugin.RestorationHook", "vlif_plugin.PictureHook"]
    assert bool(hooks[1]["count"]) == shows
    if stem == "demo_vlif":
        assert folder == "demo/experiments/vlif_demo_mm"
        assert tests == config["val_evaluator"]
        assert types[2:] == ["vlif_plugin.FiringRateHook"]
    else:
        assert folder is None
        assert len(types) == 2
        assert hooks[1]["save_all"] is True


@pytest.mark.parametrize("stem", [stem for stem in ENTRIES if stem != "demo_vlif"])
def test_a_test_is_that_of_the_option_file_that_scores_the_dataset(stem):
    config, dataset = plain(config_of(stem)), stem.rpartition("_")[2]
    scored = read_option_file(OPTIONS / f"test_vlif_{dataset}.yml")
    evaluator = {"type": "vlif_plugin.RestorationScores", "protocols": scored["val"]["protocols"]}
    assert config["test_evaluator"] == evaluator
    images = config["test_dataloader"]["dataset"]
    assert images["type"] == "vlif_plugin.PairedRainDataset"
    section = scored["datasets"]["test_1"]
    assert {k: v for k, v in images.items() if k != "type"} == {
        k: v for k, v in section.items() if k != "type"
    }
    if "official" in stem:
        assert config["model"]["tile"] == scored["val"]["tile"]
        network = scored["network_g"]
        assert {k: config["model"]["network_g"][k] for k in network} == network


def test_the_small_gpu_s_config_is_its_base_with_what_its_head_says():
    ours, base = (plain(config_of(stem)) for stem in ("vlif_rain200h_small_gpu", "vlif_rain200h"))
    parts = ours["optim_wrapper"]["accumulative_counts"]
    assert ours["train_dataloader"]["batch_size"] * parts == base["train_dataloader"]["batch_size"]
    linear, cosine = ours["param_scheduler"]
    (ema,) = (hook for hook in ours["custom_hooks"] if hook not in base["custom_hooks"])
    iterations = [  # all that is given in iterations, beside the base's
        (ours["train_cfg"].pop(key), base["train_cfg"].pop(key))
        for key in ("max_iters", "val_interval")
    ]
    for hook in ("logger", "checkpoint"):
        of_both = (config["default_hooks"][hook].pop("interval") for config in (ours, base))
        iterations.append(tuple(of_both))
    iterations += [
        (linear.pop("end"), base["param_scheduler"][0].pop("end")),
        (cosine.pop("T_max"), base["param_scheduler"][1].pop("T_max")),
        (1 / linear.pop("start_factor"), 1 / base["param_scheduler"][0].pop("start_factor")),
        (ema["interval"], 1),
        (ema["begin_iter"], 1),
    ]
    assert all(part == pytest.approx(parts * whole) for part, whole in iterations)
    assert cosine.pop("begin") == parts - 1
    assert ours["optim_wrapper"] == {
        **base["optim_wrapper"],
        "type": "AmpOptimWrapper",
        "dtype": "bfloat16",
        "loss_scale": {"enabled": False},
        "accumulative_counts": parts,
    }
    ours["train_dataloader"]["batch_size"] *= parts
    ours["custom_hooks"].remove(ema)
    del ours["optim_wrapper"], base["optim_wrapper"]
    assert ours == base


@pytest.mark.parametrize("stem", STEMS)
def test_averages_have_batchnorm_s_statistics(stem):
    averages = [h for h in config_of(stem).custom_hooks if h["type"] == "EMAHook"]
    assert all(hook.get("update_buffers") is True for hook in averages)
    assert len(averages) == (stem in BASES)


@pytest.mark.parametrize("stem", STEMS)
def test_every_head_says_what_the_config_is_for(stem):
    head = (OPTIONS / "mmengine" / f"{stem}.py").read_text().partition("\n_base_ =")[0]
    assert all(f"\n# {word} " in head for word in ("reproduces", "command", "needs", "data"))
    plain_head = re.sub(r"(\s*\\\n)?#\s+", "", head)
    assert f"mm_train options/mmengine/{stem}.py" in plain_head
    if stem == "demo_vlif":
        return
    assert f"mm_test options/mmengine/{stem}.py" in plain_head
    option_file = (OPTIONS / f"{option_name(BASES.get(stem, stem))}.yml").read_text()
    for pattern in (
        r"table \w+, \w+: PSNR [\d.]+ dB, SSIM \d.\d+",
        r"vlif prepare \w+ --source",
        r"[\d ]+and [\d ]+ pairs|\d+ pairs \(\w+\) and \d+",
    ):
        (said,) = re.findall(pattern, option_file)
        assert re.findall(pattern, head) == [said]


def test_the_readme_lists_every_config():
    text = (OPTIONS / "README.md").read_text()
    listed = dict(re.findall(r"\| `mmengine/(\w+)\.py` \|.*?\| ([\d,]+)\b[^|]*\|", text))
    iterations = {stem: config_of(stem).train_cfg.max_iters for stem in STEMS}
    assert listed == {stem: f"{count:,d}" for stem, count in iterations.items()}


# Learning rates


def optimizer_at(lr):
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)


@cache
def basicsr_rates(train, iterations):
    """The learning rate of some iterations, from 1 on, as the model sets it before it trains."""
    train = json.loads(train)
    model = SNNRestorationModel.__new__(SNNRestorationModel)
    model.opt, model.schedulers = {"train": train}, []
    model.optimizers = [optimizer_at(train["optim_g"]["lr"])]
    model.setup_schedulers()
    (schedule,) = model.schedulers
    model.optimizers[0].step()  # torch warns of schedules that are ahead of their optimiser
    rates = []
    for iteration in iterations:
        schedule.last_epoch = max(iteration - 2, 0)  # its values do not depend on those before
        model.update_learning_rate(iteration, train["warmup_iter"])
        rates.append(model.get_current_learning_rate()[0])
    return torch.tensor(rates, dtype=torch.float64)


@cache
def mmengine_rates(sections, lr, iterations):
    """The learning rate of each iteration of mmengine, as its hook has it set."""
    wrapper = OptimWrapper(optimizer_at(lr))
    schedules = [
        PARAM_SCHEDULERS.build(section, default_args={"optimizer": wrapper})
        for section in json.loads(sections)
    ]
    wrapper.step()
    rates = []
    for _ in range(iterations):
        rates.append(wrapper.param_groups[0]["lr"])
        for schedule in schedules:
            schedule.step()
    return torch.tensor(rates, dtype=torch.float64)


def check_rates(stem, steps=None):
    """Compare the first steps of the optimiser, or all of a training; what differs most, relatively."""
    config, train = config_of(stem), options_of(BASES.get(stem, stem))["train"]
    warmup, total = train["warmup_iter"], train["total_iter"]
    parts = config.optim_wrapper.get("accumulative_counts", 1)
    lr, sections = config.optim_wrapper.optimizer.lr, json.dumps(config.param_scheduler)
    steps = steps or config.train_cfg.max_iters // parts
    # the whole warm-up, and what follows in strides of a prime
    compared = (*range(1, warmup + 2), *range(warmup + 2, steps, 97), steps)
    schedule = {k: train[k] for k in ("optim_g", "scheduler", "warmup_iter")}
    theirs = basicsr_rates(json.dumps(schedule), compared)
    ours = mmengine_rates(sections, lr, steps * parts)[[n * parts - 1 for n in compared]]
    relative = (ours - theirs).abs() / theirs
    within, after = relative[: warmup - 1].max().item(), relative[warmup - 1 :].max().item()
    # BasicSR's warm-up stands in place of the cosine, mmengine's multiplies it
    cosine_s_share = (1 - math.cos(math.pi * warmup / total)) / 2
    assert within < cosine_s_share
    # and with it eta_min, which the cosine takes off and puts on again
    assert after < cosine_s_share * train["scheduler"]["eta_min"] / lr
    return within, after


@pytest.mark.parametrize("stem", ENTRIES)
def test_the_learning_rate_is_basicsr_s_all_the_way(stem):
    within, after = check_rates(stem)
    if stem != "demo_vlif":  # measured: 5.5e-6 and 5.4e-10 on Rain200H, 1.4e-4 and 1.4e-8 on EUVP
        assert within < 1.4e-4
        assert after < 1.4e-8


@pytest.mark.parametrize("stem", BASES)
def test_accumulated_steps_begin_with_the_learning_rate_of_whole_batches(stem):
    check_rates(stem, steps=3000)


@pytest.mark.slow
@pytest.mark.parametrize("stem", BASES)
def test_accumulated_steps_have_the_learning_rate_of_whole_batches_all_the_way(stem):
    check_rates(stem)


# Building and running

BUILD = """
import json, sys
from mmengine.config import Config
from mmengine.runner import Runner
assert not [name for name in sys.modules if name.split(".")[0] in ("vlif_plugin", "basicsr")]
Config.pretty_text = ""  # for the log; laying it out takes seconds
found = {}
for path, images in json.loads(sys.argv[1]).items():
    config = Config.fromfile(path)
    config.work_dir = "work"
    config.experiment_name = path
    for phase, section in images.items():
        config[f"{phase}_dataloader"].dataset.update(section)
    runner = Runner.from_cfg(config)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    schedulers = runner.build_param_scheduler(runner.param_schedulers)
    loops = {"train": runner.train_loop, "val": runner.val_loop, "test": runner.test_loop}
    found[path] = {
        "parameters": sum(p.numel() for p in runner.model.parameters()),
        "network": type(runner.model.net_g).__name__,
        "loss": type(runner.model.cri_pix).__name__,
        "wrapper": type(runner.optim_wrapper).__name__,
        "optimizer": type(runner.optim_wrapper.optimizer).__name__,
        "schedulers": [type(schedule).__name__ for schedule in schedulers],
        "hooks": sorted(type(hook).__name__ for hook in runner.hooks),
        "backends": sorted(runner.visualizer._vis_backends),
        "loops": {k: type(loop).__name__ for k, loop in loops.items()},
        "datasets": {
            k: type(getattr(d, "dataset", d)).__name__  # the training's order stands before its dataset
            for k, d in ((k, loop.dataloader.dataset) for k, loop in loops.items())
        },
        "scores": {
            k: [m.name for m in loops[k].evaluator.metrics[0].metrics] for k in ("val", "test")
        },
    }
print("FOUND " + json.dumps(found))
"""


def test_every_config_builds_when_only_mmengine_was_imported(tmp_path):
    """In full size, on stand-in data; types alone fill the registries."""
    data = make_pairs(tmp_path / "data", [(72, 80)] * 2)
    asked = {}
    for stem in STEMS:
        config = config_of(stem)
        images = {
            phase: {k: data[k] for k in data if k in config[f"{phase}_dataloader"].dataset}
            for phase in ("train", "val", "test")
        }
        assert all(images.values())
        asked[str(OPTIONS / "mmengine" / f"{stem}.py")] = images
    done = subprocess.run(
        [sys.executable, "-c", BUILD, json.dumps(asked)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    found = {Path(k).stem: v for k, v in json.loads(line.removeprefix("FOUND ")).items()}
    counts = {}
    for stem in STEMS:
        built, config = found[stem], config_of(stem)
        network = json.dumps(options_of(BASES.get(stem, stem))["network_g"])
        if network not in counts:
            net = build_network(json.loads(network))
            counts[network] = type(net).__name__, sum(p.numel() for p in net.parameters())
        assert (built["network"], built["parameters"]) == counts[network]
        assert built["loss"] == "SSIMLoss"
        assert built["wrapper"] == config.optim_wrapper.type
        assert built["optimizer"] == "AdamW"
        assert built["schedulers"] == ["LinearLR", "CosineAnnealingLR"]
        asked_for = {hook["type"].rpartition(".")[2] for hook in config.custom_hooks}
        assert asked_for | {"LoggerHook", "CheckpointHook"} <= set(built["hooks"])
        assert built["backends"] == ["LocalVisBackend", "TensorboardVisBackend"]
        assert built["loops"] == {
            "train": "IterBasedTrainLoop",
            "val": "ValLoop",
            "test": "TestLoop",
        }
        kind = "SyntheticRainDataset" if stem == "demo_vlif" else "PairedRainDataset"
        assert set(built["datasets"].values()) == {kind}
        assert config.default_hooks.checkpoint.save_best in built["scores"]["val"]
        for phase, scores in built["scores"].items():
            protocols = config[f"{phase}_evaluator"].protocols
            names = PROTOCOLS if protocols == "all" else protocols
            assert scores == [f"{kind}_{name}" for name in names for kind in ("psnr", "ssim")]


def short(stem, folder, iterations):
    """A config whose network is tiny and whose data are stand-ins, for some iterations."""
    config = config_of(stem)
    data = {
        "train": make_pairs(folder / "train", [(40, 48)] * 4),
        "val": make_pairs(folder / "val", [(37, 51), (40, 45)], seed=50),
    }
    data["test"] = data["val"]
    for phase, images in data.items():
        loader = config[f"{phase}_dataloader"]
        loader.num_workers = 0
        loader.dataset.update({k: v for k, v in images.items() if k in loader.dataset})
    config.train_dataloader.dataset.gt_size = 16
    config.model.network_g.update(dim=8, en_num_blocks=[1, 1], de_num_blocks=[1, 1], T=2)
    config.train_cfg.update(max_iters=iterations, val_interval=iterations)
    for hook in config.default_hooks.values():
        hook.interval = iterations
    config.work_dir = str(folder / "work")
    config.experiment_name = f"{stem}_{folder.name}"
    return config


def test_the_demo_trains_shows_saves_and_is_tested(tmp_path):
    config = short("demo_vlif", tmp_path, 4)
    config.custom_hooks[2].interval = 2
    Runner.from_cfg(config).train()
    work = tmp_path / "work"
    (log,) = work.glob("*/*.log")
    (logged,) = re.findall(r"Iter\(train\) \[4/4\].*", log.read_text())
    assert "firing_rate: " in logged
    assert len(list(work.glob("*/pictures/demo_val/*_4.png"))) == 2
    assert list(work.glob("*/vis_data/events.out.tfevents.*"))
    best = work / "best_psnr_y_iter_4.pth"
    kept = load_tensors(best)["message_hub"]["log_scalars"]["val/psnr_y"]["log_history"]

    config.load_from, config.experiment_name = str(best), "demo_test"
    scores = Runner.from_cfg(config).test()
    assert set(scores) == {"psnr_y", "ssim_y"}
    assert scores["psnr_y"] == pytest.approx(kept[-1].item())


def test_the_small_gpu_s_training_steps_after_six_parts_and_averages_after_each_step(tmp_path):
    config = short("vlif_rain200h_small_gpu", tmp_path, 12)
    Runner.from_cfg(config).train()
    state = load_tensors(tmp_path / "work" / "iter_12.pth")
    assert {int(p["step"]) for p in state["optimizer"]["state"].values()} == {2}
    averages, current = state["state_dict"], state["ema_state_dict"]  # EMAHook swaps them
    assert current["steps"] == 7  # asked from the sixth part on, and done then and at the twelfth
    means = [name for name in averages if name.endswith("running_mean")]
    # of six parts mostly, where those of the current weights are of twelve
    averaged = torch.cat([averages[name] for name in means])
    latest = torch.cat([current[f"module.{name}"] for name in means])
    assert averaged.any()
    assert not torch.equal(averaged, latest)


# The page


def test_the_page_s_examples_run_and_its_configs_are_read(tmp_path):
    page = (OPTIONS.parent / "docs" / "mmengine.md").read_text()
    blocks = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    (tmp_path / "options").symlink_to(OPTIONS)
    configs = 0
    for block in blocks:
        if not block.startswith("_base_ ="):
            exec(compile(block, "docs/mmengine.md", "exec"), {})
            continue
        configs += 1
        path = tmp_path / f"page{configs}.py"
        path.write_text(block)
        config = Config.fromfile(path, import_custom_modules=False)
        for hook in config.custom_hooks:
            assert HOOKS.build(dict(hook)) is not None
        evaluators = config.val_evaluator
        for section in evaluators if isinstance(evaluators, list) else [evaluators]:
            assert METRICS.build(dict(section)) is not None
    assert configs > 5


def test_the_page_names_every_config_and_every_part():
    page = (OPTIONS.parent / "docs" / "mmengine.md").read_text()
    assert all(f"`{stem}.py`" in page for stem in STEMS)
    for parts in (NEURONS, BLOCKS, ATTENTION, ARCHS, LOSSES, OWN_HOOKS):
        assert all(f"`{name}`" in page or f"`vlif_plugin.{name}`" in page for name in parts)
    count = sum(
        p.numel() for p in build_network(options_of("vlif_rain200h")["network_g"]).parameters()
    )
    assert f"{count:,d} of 4 bytes" in page
    rows = dict(re.findall(r"\| (weights|gradients|AdamW|all)\b[^|]*\| (\d+) \|", page))
    bytes_of = {"weights": 4, "gradients": 4, "AdamW": 8, "all": 16}
    assert rows == {name: f"{count * size / 1e6:.0f}" for name, size in bytes_of.items()}
