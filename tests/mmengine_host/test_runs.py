"""Whole runs of seconds under mmengine's Runner, from the command line and without it."""

import csv
import json
import re
import time
from pathlib import Path

import pytest
import torch
import warm
from helpers import TINY_NET, Malicious, make_live, small_options, write_options
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from mmengine_run import small_config, write_config
from torch import nn

from vlif_plugin.archs import build_network, load_tensors, read_checkpoint
from vlif_plugin.basicsr_host import run as basicsr_run
from vlif_plugin.cli.weights import load_network
from vlif_plugin.errors import CheckpointError
from vlif_plugin.mmengine_host import run


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def live_weights(path):
    """Weights of a network that fires, so that statistics and spikes matter."""
    net = make_live(build_network(TINY_NET), torch.rand(2, 3, 32, 32))
    torch.save({"params": net.state_dict(), "network_g": dict(TINY_NET)}, path)
    return str(path)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_plain_runner_trains_validates_and_saves_what_plain_torch_reads(folder):
    config = small_config(folder)
    config["load_from"] = live_weights(folder / "live.pth")
    config["model"]["tile"] = "auto"
    before = load_tensors(folder / "live.pth")["params"]
    Runner.from_cfg(Config(config)).train()
    work = folder / "work"
    # as plain PyTorch does it, without this package's help
    saved = torch.load(work / "iter_4.pth", weights_only=True)
    assert saved["network_g"] == TINY_NET
    moved = [k for k, v in before.items() if not torch.equal(saved["state_dict"][f"net_g.{k}"], v)]
    assert len(moved) > 0.9 * len(before)
    table = rows(work / "validation" / "rain_val_4.csv")
    assert [row["image"] for row in table] == ["000", "001", "002", "mean"]
    values = [float(row["psnr_y"]) for row in table]
    assert values[3] == pytest.approx(sum(values[:3]) / 3)
    record = json.loads((work / "validation" / "rain_val_4.json").read_text())
    assert record["iteration"] == 4
    assert record["tile"] == "auto: whole"
    assert record["network"]["type"] == "VLIFNet"
    assert "weights" not in record["network"]
    assert len(list(work.glob("best_psnr_y_iter_*.pth"))) == 1


def test_weights_go_from_one_toolbox_to_the_other_and_score_the_same(folder, fresh_basicsr):
    """Trained in mmengine, tested in both; then trained in BasicSR, tested in both."""
    config = small_config(folder)
    config["load_from"] = live_weights(folder / "live.pth")
    config["train_cfg"]["val_interval"] = 4
    assert run.train([write_config(folder, config)]) == 0
    opt = small_options(folder / "other")
    opt["path"]["pretrain_network_g"] = str(folder / "live.pth")
    assert basicsr_run.train(["-opt", write_options(folder, opt)]) == 0
    scoring = {k: v for k, v in opt.items() if k not in ("train", "logger")}
    scoring["val"] = {"metrics": {"psnr_y": {"type": "psnr_y"}}}
    trained = {
        "mmengine": folder / "work" / "iter_4.pth",
        "basicsr": folder / "other" / "experiments" / "small" / "models" / "net_g_latest.pth",
    }
    tables = []
    for name, weights in trained.items():
        config |= {"work_dir": str(folder / f"mm_{name}"), "experiment_name": name}
        path = write_config(folder, config, f"{name}.py")
        assert run.test([path, str(weights)]) == 0
        (theirs,) = (folder / f"mm_{name}").glob("*/rain_val.csv")
        scoring |= {
            "name": name,
            "datasets": {"test_1": config_dataset(config)},
            "path": {"pretrain_network_g": str(weights), "results_root": str(folder / "results")},
        }
        assert basicsr_run.test(["-opt", write_options(folder, scoring)]) == 0
        ours = folder / "results" / name / "rain_val.csv"
        assert theirs.read_text() == ours.read_text()
        records = [json.loads(p.with_suffix(".json").read_text()) for p in (theirs, ours)]
        assert records[0] == records[1]
        tables.append(ours.read_text())
        net, _, options = load_network(str(weights), None, None)
        assert options == TINY_NET
        state = read_checkpoint(weights).state
        assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert tables[0] != tables[1]
    # what mmengine scored while it trained is what the saved weights give
    assert (folder / "work" / "validation" / "rain_val_4.csv").read_text() == tables[0]


def config_dataset(config):
    """A dataset of a config as BasicSR's options have it."""
    dataset = dict(config["test_dataloader"]["dataset"])
    return dataset | {"type": dataset["type"].removeprefix("vlif_plugin.")}


def test_averaged_weights_are_scored_and_saved_with_their_statistics(folder):
    config = small_config(folder)
    config["load_from"] = live_weights(folder / "live.pth")
    average = {"type": "EMAHook", "ema_type": "ExponentialMovingAverage", "momentum": 0.5}
    config["custom_hooks"].append(average | {"update_buffers": True})
    assert run.train([write_config(folder, config)]) == 0
    work = folder / "work"
    saved = load_tensors(work / "iter_4.pth")
    averaged, trained = saved["state_dict"], saved["ema_state_dict"]
    means = [k for k in averaged if k.endswith("running_mean")]
    assert len(means) > 10
    assert all(not torch.equal(averaged[k], trained[f"module.{k}"]) for k in means)
    assert run.test([str(folder / "config.py"), str(work / "iter_4.pth")]) == 0
    (table,) = work.glob("*/rain_val.csv")
    assert table.read_text() == (work / "validation" / "rain_val_4.csv").read_text()


class Watched(EMAHook):
    """Notes what BatchNorms of the averaged weights were given."""

    def before_run(self, runner):
        super().before_run(runner)
        self.seen = {}
        for name, module in self.ema_model.module.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                self.seen[name] = seen = []
                module.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))


def watched_run(folder, **average):
    config = small_config(folder)
    config["load_from"] = live_weights(folder / "live.pth")
    hook = Watched(momentum=0.5, **average)
    runner = Runner.from_cfg(Config(config))
    runner.register_hook(hook)
    runner.train()
    return hook, load_tensors(folder / "work" / "iter_4.pth")


def test_averaged_weights_get_statistics_of_the_batches_that_they_were_given(folder):
    hook, saved = watched_run(folder, update_buffers=True)
    assert len(hook.seen) > 10
    for name, seen in hook.seen.items():
        assert len(seen) == 4
        means = torch.stack([x.mean((0, 2, 3)) for x in seen])
        found = saved["state_dict"][f"{name}.running_mean"]
        torch.testing.assert_close(found, means.mean(0))


def test_without_update_buffers_mmengine_s_own_way_stays(folder):
    hook, _ = watched_run(folder)
    assert not any(hook.seen.values())


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_ends(folder):
    """With SIGKILL, in the middle of an iteration; on a current torch."""
    config = small_config(folder)
    config["train_cfg"] |= {"max_iters": 400}
    path = write_config(folder, config)
    words = ("-m", "vlif_plugin.mm_train", path)
    started = warm.start(folder, *words)
    work = folder / "work"
    until = time.monotonic() + 120
    while not (work / "iter_4.pth").is_file():
        assert started.poll() is None, started.stderr
        assert time.monotonic() < until
        time.sleep(0.05)
    started.kill()
    reached = max(int(p.stem.partition("_")[2]) for p in work.glob("iter_*.pth"))
    assert reached < 300
    total = reached + 3
    limit = ("--cfg-options", f"train_cfg.max_iters={total}")
    done = warm.command(folder, *words, "--resume", *limit)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"resumed epoch: 0, iter: {reached}" in done.stdout + done.stderr
    ended = load_tensors(work / f"iter_{total}.pth")
    assert ended["meta"]["iter"] == total
    assert ended["optimizer"]["state"][0]["step"].item() == total
    assert rows(work / "validation" / f"rain_val_{total}.csv")[-1]["image"] == "mean"


GRADIENTS = """
import sys, torch
import vlif_plugin.mmengine_host
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner, load_checkpoint
path, launcher, out = sys.argv[1:]
config = Config.fromfile(path)
model = MODELS.build(config.model)
load_checkpoint(model, config.load_from)
model.double()  # before it is wrapped
runner = Runner(model=model, work_dir=out + '_work', launcher=launcher)
model.eval()  # statistics of a batch are each process's own
batch = torch.load(path + '.pt', weights_only=True)
share = {k: list(v[runner.rank :: runner.world_size]) for k, v in batch.items()}
wrapper = runner.build_optim_wrapper(config.optim_wrapper)
wrapper.zero_grad = lambda **_: None
runner.model.train_step(share, wrapper)
if runner.rank == 0:
    torch.save({n: p.grad for n, p in model.net_g.named_parameters()}, out)
"""


def test_a_validation_that_is_made_up_for_finds_what_it_would_have_found(folder, monkeypatch):
    from mmengine.runner import ValLoop

    from vlif_plugin.mmengine_host.checkpoints import load_from_local

    config = small_config(folder)
    config["train_cfg"]["val_interval"] = 4
    file = write_config(folder, config)
    # Named: mmengine names runs by the second, and gives a second run of that name in one process
    # the visualizer of the first, whose folder would be gone.
    assert run.train([file, "--cfg-options", "experiment_name=uninterrupted"]) == 0
    (best,) = (folder / "work").glob("best_psnr_y_iter_*.pth")
    expected = load_from_local(str(best))
    (folder / "work").rename(folder / "uninterrupted")
    with monkeypatch.context() as patch:
        patch.setattr(ValLoop, "run", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run.train([file])
    assert not list((folder / "work").glob("best_*"))
    assert run.train([file, "--resume"]) == 0
    found = load_from_local(str(folder / "work" / best.name))
    places = ("iter", "epoch")
    infos = [content["message_hub"]["runtime_info"] for content in (found, expected)]
    assert [infos[0][key] for key in places] == [infos[1][key] for key in places]
    assert [found["meta"][key] for key in places] == [expected["meta"][key] for key in places]


def test_two_processes_have_the_gradients_of_one_with_the_joined_batch(folder):
    config = small_config(folder)
    config["load_from"] = live_weights(folder / "live.pth")
    path = write_config(folder, config)
    lq = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    torch.save({"lq": lq, "gt": lq.flip(-1)}, f"{path}.pt")
    for processes, launcher in ((1, "none"), (2, "pytorch")):
        warm.together(folder, "-c", GRADIENTS, path, launcher, launcher, processes=processes)
    alone, joined = (load_tensors(folder / name) for name in ("none", "pytorch"))
    assert sum(bool((g != 0).any()) for g in alone.values()) > 0.8 * len(alone)
    for name, expected in alone.items():
        torch.testing.assert_close(joined[name], expected, rtol=1e-11, atol=1e-14)


def test_two_processes_train_and_score_exactly_as_one(folder):
    config = small_config(folder)
    config["load_from"] = live_weights(folder / "live.pth")
    config["train_cfg"] |= {"max_iters": 2}
    path = write_config(folder, config)
    warm.together(folder, "-m", "vlif_plugin.mm_train", path)
    work = folder / "work"
    tables = [(work / "validation" / "rain_val_2.csv").read_text()]
    records = [json.loads((work / "validation" / "rain_val_2.json").read_text())]
    assert run.test([path, str(work / "iter_2.pth"), "--work-dir", "one"]) == 0
    (table,) = (folder / "one").glob("*/rain_val.csv")
    tables.append(table.read_text())
    records.append(json.loads(table.with_suffix(".json").read_text()))
    # three images on two processes: one of them is scored twice, and counts once
    assert len(tables[0].splitlines()) == 5
    assert tables[0] == tables[1]
    assert {k for k in records[0] if records[0][k] != records[1][k]} == {"iteration", "network"}


def test_bf16_trains_on_a_cpu(folder):
    config = small_config(folder)
    config["train_cfg"] |= {"max_iters": 2}
    assert run.train([write_config(folder, config), "--amp"]) == 0
    saved = load_tensors(folder / "work" / "iter_2.pth")
    assert all(v.dtype != torch.bfloat16 for v in saved["state_dict"].values())
    assert "bfloat16" in saved["meta"]["cfg"]


def changed(config, path, value):
    *sections, last = path.split(".")
    for key in sections:
        config = config[int(key) if isinstance(config, list) else key]
    if value is KeyError:
        del config[last]
    else:
        config[last] = value


DATA = "train_dataloader.dataset"
WRONG = {
    "type of the model": ("model.type", "vlif_plugin.SNNRestorationModell", "did you mean SNNRestorationModel"),
    "type without scope": ("model.type", "SNNRestorationModel", "did you mean vlif_plugin.SNNRestorationModel"),
    "type of the network": ("model.network_g.type", "VLIFNett", "network_g: .*did you mean VLIFNet"),
    "argument of the network": ("model.network_g.dimm", 8, "network_g: VLIFNet has no option 'dimm'; did you mean dim"),
    "value of the network": ("model.network_g.dim", -8, "network_g"),
    "argument of the model": ("model.tiles", 8, "model has no option 'tiles'; did you mean tile"),
    "tile": ("model.tile", "big", "model: tile: tile must be"),
    "no loss": ("model.pixel_opt", KeyError, "pixel_opt is missing"),
    "type of the loss": ("model.pixel_opt.type", "SSIMLos", "pixel_opt: .*did you mean SSIMLoss"),
    "missing LMDB": (f"{DATA}.dataroot_lq", "nowhere/input.lmdb", "train_dataloader: dataset: .*nowhere/input.lmdb"),
    "argument of the dataset": (f"{DATA}.dataroot", "x", "train_dataloader: dataset has no option 'dataroot'"),
    "too large a patch": (f"{DATA}.gt_size", 64, "train_dataloader: dataset: .*64"),
    "kind of the patch": (f"{DATA}.gt_size", "64", "gt_size must be a whole number"),
    "no ground truth": (f"{DATA}.dataroot_gt", KeyError, "has no ground truth"),
    "batch": ("train_dataloader.batch_size", 0, "train_dataloader: batch_size must be"),
    "sampler": ("train_dataloader.sampler.type", "InfiniteSamplr", "InfiniteSampler"),
    "section": ("train_cfg", KeyError, "the key 'train_cfg' is missing"),
    "half a validation": ("val_cfg", KeyError, "the key 'val_cfg' is missing"),
    "loop": ("train_cfg.max_iter", 4, "train_cfg has no option 'max_iter'; did you mean max_iters"),
    "iterations": ("train_cfg.max_iters", "many", "train_cfg: max_iters must be a whole number"),
    "metric": ("val_evaluator.type", "vlif_plugin.psnr_yy", "val_evaluator: .*did you mean .*psnr_y"),
    "protocol": ("val_evaluator.protocols", ["yy"], "no protocol is called 'yy'"),
    "best": ("default_hooks.checkpoint.save_best", "psnr", "save_best names 'psnr'.*did you mean psnr_y"),
    "hook": ("custom_hooks.0.type", "vlif_plugin.RestorationHok", "custom_hooks: .*RestorationHook"),
    "optimiser": ("optim_wrapper.optimizer.type", "AdamV", "optim_wrapper"),
    "argument of the optimiser": ("optim_wrapper.optimizer.lrr", 1, "optim_wrapper: .*lrr"),
    "schedule": ("param_scheduler.0.type", "CosineAnealingLR", "param_scheduler: 0: .*CosineAnnealingLR"),
    "missing weights": ("load_from", "nothing.pth", "nothing.pth: no such weights file"),
    "folder": ("work_dir", "config.py/work", "work_dir: .*cannot be made"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_configs_end_with_one_line_and_leave_no_trace(case, folder, capsys):
    config = small_config(folder)
    key, value, message = WRONG[case]
    changed(config, key, value)
    path = write_config(folder, config)
    assert run.train([path]) == 1
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert line.startswith(f"error: {path}: ")
    assert re.search(message, line), line
    assert "Traceback" not in err
    assert not (folder / "work").exists()


def test_a_config_may_take_our_scope_for_its_own(folder):
    config = small_config(folder)
    config["train_cfg"] |= {"max_iters": 2}
    path = Path(write_config(folder, config))
    path.write_text(
        path.read_text().replace("vlif_plugin.", "") + "default_scope = 'vlif_plugin'\n"
    )
    assert "vlif_plugin." not in path.read_text()
    assert run.train([str(path)]) == 0
    assert (folder / "work" / "validation" / "rain_val_2.csv").is_file()


def ended(words):
    """The exit status, argparse's too."""
    try:
        return run.train(words)
    except SystemExit as end:
        return end.code


def test_wrong_command_lines_end_with_one_line_and_leave_no_trace(folder, capsys):
    path = write_config(folder, small_config(folder))
    for words, status, message in (
        (["gone.py"], 1, "error: gone.py: no such config file"),
        ([path, "--launcher", "pytorch"], 1, "error: --launcher pytorch: RANK, WORLD_SIZE"),
        ([path, "--launcher", "slurm"], 1, "error: --launcher slurm: SLURM_PROCID"),
        ([path, "--cfg-options", "model"], 2, "--cfg-options model: must be KEY=VALUE"),
        ([path, "--cfg-options", "work_dir.a=1"], 1, "--cfg-options work_dir.a: "),
        ([path, "--cfg-options", "optim_wrapper.type=Apex", "--amp"], 1, "got 'Apex'"),
        ([path, "--resume", "gone.pth"], 1, "gone.pth: no such weights file"),
    ):
        assert ended(words) == status
        err = capsys.readouterr().err
        assert message in err
        assert "Traceback" not in err
    assert not (folder / "work").exists()


def test_files_of_the_other_toolbox_are_told_apart(folder, fresh_basicsr, capsys):
    opt = write_options(folder, small_options(folder))
    assert run.train([opt]) == 1
    assert (
        "is an option file of BasicSR; train with it by basicsr train.py -opt"
        in capsys.readouterr().err
    )
    config = write_config(folder, small_config(folder / "mm"))
    assert basicsr_run.train(["-opt", config]) == 1
    assert (
        "is a config of mmengine; train with it by python -m vlif_plugin.mm_train"
        in capsys.readouterr().err
    )
    for text, message in (
        ("model = dict(\n", "line 1"),
        ("a = 1\nb = nothing\n", "line 2: .*NameError"),
        ("_base_ = ['gone.py']\n", "gone.py"),
    ):
        (folder / "broken.py").write_text(text)
        assert run.train([str(folder / "broken.py")]) == 1
        err = capsys.readouterr().err
        assert re.search(message, err), err
        assert "Traceback" not in err


def test_checkpoints_that_do_not_fit_or_are_not_safe_are_refused(folder, capsys):
    path = write_config(folder, small_config(folder))
    other = build_network({**TINY_NET, "dim": 16})
    torch.save({"params": other.state_dict()}, folder / "other.pth")
    torch.save({"state_dict": Malicious()}, folder / "hostile.pth")
    (folder / "damaged.pth").write_bytes(b"PK not a file")
    for name, message in (
        ("other", "does not fit VLIFNet (the file has dim 16; the network has dim 8)"),
        ("hostile", "refused, because reading it would run code"),
        ("damaged", "damaged.pth"),
        ("gone", "no such weights file"),
    ):
        weights = str(folder / f"{name}.pth")
        for words in ([path, "--cfg-options", f"load_from={weights}"], [path, "--resume", weights]):
            assert run.train(words) == 1
            captured = capsys.readouterr()
            resumed = name == "other" and "--resume" in words
            assert ("holds weights, but no state" if resumed else message) in captured.err
            assert "this ran when it was loaded" not in captured.out
        assert run.test([path, weights]) == 1
        assert message in capsys.readouterr().err
    assert not (folder / "work").exists()


def test_the_energy_of_the_network_is_a_metric_here_too(folder):
    config = small_config(folder)
    weights = live_weights(folder / "live.pth")
    shared = {"every": 2, "size": 24}
    config["test_evaluator"] = {
        "type": "vlif_plugin.RestorationScores",
        "scores": {
            "energy": {"type": "snn_energy", **shared},
            "rate": {"type": "snn_firing_rate", **shared},
        },
    }
    assert run.test([write_config(folder, config), weights]) == 0
    (table,) = (folder / "work").glob("*/rain_val.csv")
    values = rows(table)
    assert [bool(row["energy"]) for row in values] == [True, False, True, True]
    assert 0.01 < float(values[-1]["rate"]) < 0.95
    record = json.loads(table.with_suffix(".json").read_text())
    assert record["network"]["weights"] == weights


def test_resuming_from_a_folder_without_checkpoints_begins_anew(folder, capsys):
    config = small_config(folder)
    config["train_cfg"] |= {"max_iters": 2}
    assert run.train([write_config(folder, config), "--resume"]) == 0
    assert load_tensors(folder / "work" / "iter_2.pth")["meta"]["iter"] == 2


def test_a_hostile_configuration_in_a_checkpoint_is_not_run(folder):
    config = small_config(folder)
    config["train_cfg"] |= {"max_iters": 2}
    path = write_config(folder, config)
    assert run.train([path]) == 0
    state = load_tensors(folder / "work" / "iter_2.pth")
    trap = folder / "trap"
    state["meta"]["config"] = f"open({str(trap)!r}, 'w').write('ran')\n"
    torch.save(state, folder / "work" / "iter_2.pth")
    Runner.from_cfg(Config({**config, "resume": True, "experiment_name": "hostile"})).train()
    assert not trap.exists()
    with pytest.raises(CheckpointError):
        Runner.from_cfg(
            Config({**config, "load_from": str(folder / "gone.pth"), "experiment_name": "gone"})
        ).train()
