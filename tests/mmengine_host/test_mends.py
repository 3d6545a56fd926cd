"""What mmengine gets wrong, each proved on mmengine's own Runner, loaders and samplers."""

import importlib.util
import itertools
import logging
import os
import pkgutil
import resource
import shutil
import sys
import warnings
from collections import Counter, OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import warm
from helpers import Malicious
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner, runner
from mmengine.runner import checkpoint as their_checkpoint
from mmengine.runner import loops as their_loops
from mmengine.runner.checkpoint import CheckpointLoader
from timm.optim import Lamb
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler

from vlif_plugin.errors import CheckpointError, OptionError, TrainingError
from vlif_plugin.mmengine_host import checkpoints, loaders, mends, preflight, resuming, run_hooks
from vlif_plugin.mmengine_host.record_hook import RecordHook
from vlif_plugin.runs import passed_over

mends.apply()
NUMBER = itertools.count()


class Toy(BaseModel):
    """A linear model that remembers which samples it was trained on."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.seen = []

    def forward(self, x, index, mode="loss"):
        self.seen += index.tolist()
        return {"loss": (self.linear(x) - 1).square().mean()}


class Samples:
    """Twelve samples; who asks for which is written to a file, by workers too."""

    def __init__(self, asked=None):
        self.asked = asked

    def __len__(self):
        return 12

    def __getitem__(self, index):
        if self.asked is not None:
            with open(self.asked, "a") as file:
                file.write(f"{index}\n")
        return {"x": torch.tensor([index / 12, 1.0]), "index": index}


@pytest.fixture
def small_run(tmp_path, monkeypatch):
    """A training run of mmengine in ``tmp_path``; mmengine's list of installed compilers is left out."""
    monkeypatch.setattr(runner, "collect_env", dict)
    monkeypatch.chdir(tmp_path)

    def build(iterations, *, sampler="InfiniteSampler", asked=None, workers=0, **options):
        loader = {
            "dataset": Samples(asked),
            "sampler": {"type": sampler, "shuffle": True} if isinstance(sampler, str) else sampler,
            "batch_size": 2,
            "num_workers": workers,
            "collate_fn": {"type": "default_collate"},
        }
        hook = {"type": "CheckpointHook", "interval": 2, "by_epoch": False}
        return Runner(**{
            "model": Toy(),
            "work_dir": str(tmp_path / "work"),
            "experiment_name": f"mends{next(NUMBER)}",
            "train_dataloader": loader,
            "train_cfg": {"by_epoch": False, "max_iters": iterations},
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
            "default_hooks": {"checkpoint": hook | options.pop("checkpoint", {})},
            "randomness": {"seed": 3},
            **options,
        })  # fmt: skip

    return build


def load(path, map_location=None):
    return CheckpointLoader.load_checkpoint(str(path), map_location, "current")


def history(values=(0.5, 0.25)):
    buffer = HistoryBuffer(max_length=7)
    for number, value in enumerate(values):
        buffer.update(value, number + 1)
    return buffer


@pytest.fixture
def said(monkeypatch):
    """What is said through mmengine's logger: its own handlers keep it from pytest's."""
    lines = []
    for module in (mends, checkpoints):
        monkeypatch.setattr(module, "print_log", lambda message, **_: lines.append(message))
    return lines


# reading


def test_the_history_in_a_checkpoint_of_stock_mmengine_is_read(tmp_path):
    pickled = {
        "message_hub": {"log_scalars": OrderedDict(loss=history(), empty=HistoryBuffer())},
        "best": np.float64(2.5),
        "flags": np.array([True, False]),
        "table": np.arange(6, dtype=">i4").reshape(2, 3).T,
        "classes": np.array(["rain", "snow"]),
    }
    torch.save(pickled, tmp_path / "stock.pth")
    read = load(tmp_path / "stock.pth")
    scalars = read["message_hub"]["log_scalars"]
    assert type(scalars["loss"]) is HistoryBuffer
    assert [part.tolist() for part in scalars["loss"].data] == [[0.5, 0.25], [1, 2]]
    assert scalars["loss"].max_length == 7
    assert scalars["loss"].statistics("mean") == 0.25
    assert len(scalars["empty"].data[0]) == 0
    assert type(read["best"]) is float
    assert read["best"] == 2.5
    assert read["flags"].tolist() == [True, False]
    assert read["table"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert read["classes"].tolist() == ["rain", "snow"]


def test_a_checkpoint_that_would_run_code_is_refused_in_one_line(tmp_path, capsys):
    torch.save({"state_dict": {}, "message_hub": Malicious()}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"bad\.pth: refused") as error:
        load(tmp_path / "bad.pth")
    assert "\n" not in str(error.value)
    assert "this ran" not in capsys.readouterr().out


def test_a_hostile_history_changes_nothing_in_mmengine(tmp_path, monkeypatch):
    methods = dict(HistoryBuffer._statistics_methods)
    state = history().__dict__ | {"statistics_methods": {"mean": 1}, "update": 2}
    monkeypatch.setattr(HistoryBuffer, "__getstate__", lambda self: state)
    torch.save({"loss": history()}, tmp_path / "hostile.pth")
    monkeypatch.undo()
    read = load(tmp_path / "hostile.pth")["loss"]
    assert HistoryBuffer._statistics_methods == methods
    assert callable(read.update)


def test_a_checkpoint_reaches_no_attribute_of_anything(tmp_path):
    class Reaching:
        def __reduce__(self):
            return (getattr, (HistoryBuffer, "__init__"))

    torch.save({"reached": Reaching()}, tmp_path / "reaching.pth")
    assert load(tmp_path / "reaching.pth")["reached"] is None


def test_what_is_allowed_for_a_checkpoint_is_not_allowed_afterwards(tmp_path):
    torch.save({"loss": history()}, tmp_path / "stock.pth")
    load(tmp_path / "stock.pth")
    assert not set(checkpoints._STAND_INS) & set(torch.serialization.get_safe_globals())


@pytest.mark.parametrize("kind", ["missing", "cut", "a list", "objects", "dates"])
def test_a_checkpoint_that_cannot_be_used_is_named(kind, tmp_path):
    path = tmp_path / "some.pth"
    if kind == "cut":
        torch.save({"state_dict": {"a": torch.rand(100)}}, path)
        os.truncate(path, 700)
    elif kind == "a list":
        torch.save([1], path)
    elif kind == "objects":
        torch.save({"a": np.array([{}], dtype=object)}, path)
    elif kind == "dates":
        torch.save({"a": np.array(["2026-01-01"], dtype="M8[D]")}, path)
    with pytest.raises(CheckpointError, match=r"some\.pth: ") as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_downloaded_checkpoint_runs_no_code_either(tmp_path, monkeypatch, capsys):
    torch.save({"a": Malicious()}, tmp_path / "hostile.pth")
    torch.save({"loss": history()}, tmp_path / "good.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(
        torch.hub,
        "download_url_to_file",
        lambda url, to, *_, **__: shutil.copy(tmp_path / url.rsplit("/")[-1], to),
    )
    zoo = {"hostile": "https://example.org/weights/hostile.pth"}
    monkeypatch.setattr(their_checkpoint, "get_torchvision_models", lambda: zoo)
    for address in (zoo["hostile"], "torchvision://hostile"):
        with pytest.raises(CheckpointError, match="refused"):
            load(address)
    assert "this ran" not in capsys.readouterr().out
    assert len(load("http://example.org/good.pth")["loss"].data[0]) == 2
    with pytest.raises(CheckpointError, match=r"none\.pth: cannot be downloaded"):
        load("http://example.org/none.pth")


def test_tensors_go_where_the_caller_wants_them(tmp_path):
    torch.save({"a": torch.rand(3)}, tmp_path / "some.pth")
    assert load(tmp_path / "some.pth", "meta")["a"].device.type == "meta"
    assert load(tmp_path / "some.pth")["a"].device.type == "cpu"


def test_resuming_runs_no_configuration_that_a_checkpoint_holds(small_run, tmp_path):
    small_run(2).train()
    path = tmp_path / "work" / "iter_2.pth"
    content = torch.load(path, weights_only=True)
    content["meta"]["config"] = "import pathlib\npathlib.Path('ran').write_text('')"
    torch.save(content, path)
    again = small_run(4, load_from=str(path), resume=True)
    again.train()
    assert again.iter == 4
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", ["bare", "params", "params_ema"])
def test_weights_in_other_forms_reach_an_averaged_model(form, small_run, tmp_path):
    weights = OrderedDict((k, v + 1) for k, v in Toy().state_dict().items())
    other = OrderedDict((k, v - 1) for k, v in weights.items())
    content = {
        "bare": weights,
        "params": {"params": weights, "network_g": {"T": 4}},
        "params_ema": {"params": other, "params_ema": weights},
    }[form]
    torch.save(content, tmp_path / "weights.pth")
    options = {"custom_hooks": [{"type": "EMAHook"}], "load_from": str(tmp_path / "weights.pth")}
    run = small_run(1, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}}, **options)
    run.train()
    averaged = next(h for h in run.hooks if type(h).__name__ == "EMAHook").ema_model.module
    for model in (run.model, averaged):
        assert torch.equal(model.linear.weight, weights["linear.weight"])
    assert content.keys() <= load(tmp_path / "weights.pth").keys()


def test_a_bare_state_dict_keeps_the_versions_of_its_layers(tmp_path):
    torch.save(nn.BatchNorm2d(2).state_dict(), tmp_path / "bare.pth")
    assert load(tmp_path / "bare.pth")["state_dict"]._metadata[""] == {"version": 2}


def test_a_scaler_on_a_gpu_is_not_given_the_empty_state_of_one_on_a_cpu(tmp_path):
    torch.save({"optimizer": {"loss_scaler": {}, "state": {}}}, tmp_path / "some.pth")
    assert load(tmp_path / "some.pth")["optimizer"] == {"state": {}}
    torch.save({"optimizer": {"loss_scaler": {"scale": 2.0}}}, tmp_path / "some.pth")
    assert load(tmp_path / "some.pth")["optimizer"] == {"loss_scaler": {"scale": 2.0}}


# writing


def test_a_checkpoint_is_read_by_plain_torch_and_its_history_resumed(small_run, tmp_path, said):
    # this schedule holds a function, which is its code's and none of the checkpoint's
    schedule = {"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 9, "by_epoch": False}
    run = small_run(2, param_scheduler=schedule)
    run.message_hub.update_info("best_score", np.float64(31.5))
    run.message_hub.update_info("table", np.arange(4).reshape(2, 2))
    run.train()
    path = tmp_path / "work" / "iter_2.pth"
    plain = torch.load(path, weights_only=True)
    assert type(plain["message_hub"]["runtime_info"]["best_score"]) is float
    assert plain["message_hub"]["runtime_info"]["table"].tolist() == [[0, 1], [2, 3]]
    again = small_run(4, load_from=str(path), resume=True, param_scheduler=schedule)
    again.load_or_resume()
    assert again.param_schedulers[0].last_step == run.param_schedulers[0].last_step == 1
    assert callable(again.param_schedulers[0].anneal_func)
    assert not [line for line in said if "left out" in line]
    losses, resumed = (r.message_hub.get_scalar("train/loss") for r in (run, again))
    assert len(losses.data[0]) == 2
    assert [part.tolist() for part in resumed.data] == [part.tolist() for part in losses.data]
    assert again.message_hub.get_info("best_score") == 31.5


def test_what_has_no_plain_form_is_left_out_with_a_warning(tmp_path, said):
    class Name(str):
        pass

    content = {
        "meta": {"palette": object(), "name": Name("rain"), "folder": Path("a/b")},
        "list": [1, object(), (np.int64(2), {3})],
        "state_dict": nn.BatchNorm2d(2).state_dict(),
    }
    runner.save_checkpoint(content, str(tmp_path / "some.pth"))
    read = torch.load(tmp_path / "some.pth", weights_only=True)
    assert read["meta"] == {"name": "rain", "folder": "a/b"}
    assert read["list"] == [1, None, (2, {3})]
    assert read["state_dict"]._metadata[""] == {"version": 2}
    assert said == [
        "checkpoint.meta.palette is left out of the checkpoint: a object is no plain type",
        "checkpoint.list[1] is None in the checkpoint: a object is no plain type",
    ]


def test_a_full_disk_ends_the_run_with_its_reason_and_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "iter_2.pth"
    runner.save_checkpoint({"iter": 1}, str(path))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(TrainingError, match=r"iter_2\.pth: cannot be written \(File too large"):
            runner.save_checkpoint({"a": torch.rand(50_000)}, str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["iter_2.pth"]


def test_a_checkpoint_for_another_store_goes_to_mmengine(monkeypatch):
    sent = []
    monkeypatch.setattr(checkpoints, "_save_elsewhere", lambda *given: sent.append(given))
    runner.save_checkpoint({"loss": np.float64(1)}, "s3://bucket/iter_2.pth")
    runner.save_checkpoint({}, "iter_2.pth", backend_args={"backend": "petrel"})
    assert sent == [
        ({"loss": 1.0}, "s3://bucket/iter_2.pth", None, None),
        ({}, "iter_2.pth", None, {"backend": "petrel"}),
    ]


def test_a_published_checkpoint_is_plain_too(small_run, tmp_path):
    small_run(2, checkpoint={"published_keys": ["meta", "message_hub", "state_dict"]}).train()
    (published,) = (tmp_path / "work").glob("iter_2-*.pth")
    assert torch.load(published, weights_only=True)["message_hub"]["log_scalars"]


# the newest


def written(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        content = {"meta": {"iter": int(name.rpartition("_")[2]) * (10 if "epoch" in name else 1)}}
        torch.save(content | {"state_dict": {"a": torch.rand(100)}}, folder / f"{name}.pth")
    return folder


@pytest.mark.parametrize("last", [None, "", "\0\0\0\0", "gone", "damaged", "weights", "elsewhere"])
def test_without_a_usable_last_checkpoint_the_newest_readable_one_is_taken(last, tmp_path, said):
    folder = written(tmp_path / "work", "iter_2", "iter_8", "iter_10", "iter_12")
    os.truncate(folder / "iter_12.pth", 900)
    torch.save({"state_dict": {}}, folder / "best_psnr_iter_9.pth")
    names = {
        "gone": f"{folder}/iter_14.pth",
        "damaged": f"{folder}/iter_12.pth",
        "weights": f"{folder}/best_psnr_iter_9.pth",
        "elsewhere": str(tmp_path / "other" / "iter_16.pth"),
    }
    if last is not None:
        (folder / "last_checkpoint").write_text(names.get(last, last))
    assert runner.find_latest_checkpoint(str(folder)) == f"{folder}/iter_10.pth"
    assert sum(f"passing over {folder}/iter_12.pth" in line for line in said) == 1
    assert f"taking {folder}/iter_10.pth" in said[-1]
    if last in ("gone", "weights"):
        assert f"passing over {names[last]}" in said[0]


def test_a_usable_last_checkpoint_is_taken_even_if_it_is_not_the_newest(tmp_path, said):
    folder = written(tmp_path / "work", "iter_2", "iter_4")
    (folder / "last_checkpoint").write_text(f"{folder}/iter_2.pth\n")
    assert runner.find_latest_checkpoint(str(folder)) == f"{folder}/iter_2.pth"
    assert not said


def test_in_a_folder_that_was_moved_the_file_of_that_name_is_taken(tmp_path):
    folder = written(tmp_path / "new", "iter_2", "iter_4")
    (folder / "last_checkpoint").write_text(f"{tmp_path}/old/iter_2.pth")
    assert runner.find_latest_checkpoint(str(folder)) == f"{folder}/iter_2.pth"


def test_checkpoints_kept_in_another_folder_are_found_beside_a_damaged_one(tmp_path):
    folder, other = tmp_path / "work", written(tmp_path / "out", "iter_2", "iter_4")
    os.truncate(other / "iter_4.pth", 900)
    written(folder)
    (folder / "last_checkpoint").write_text(f"{other}/iter_4.pth")
    assert runner.find_latest_checkpoint(str(folder)) == f"{other}/iter_2.pth"


def test_of_epochs_and_iterations_that_with_more_training_is_taken(tmp_path):
    folder = written(tmp_path / "work", "iter_15", "epoch_2")  # epoch 2 ends at iteration 20
    assert runner.find_latest_checkpoint(str(folder)) == f"{folder}/epoch_2.pth"


def test_a_folder_without_checkpoints_has_no_newest(tmp_path):
    assert runner.find_latest_checkpoint(str(tmp_path)) is None


def test_a_run_whose_newest_checkpoint_was_cut_ends_like_one_that_was_not(small_run, tmp_path):
    whole = small_run(6)
    whole.train()
    for name in ("iter_6.pth", "last_checkpoint"):
        (tmp_path / "work" / name).unlink()
    os.truncate(tmp_path / "work" / "iter_4.pth", 900)
    again = small_run(6, resume=True)
    again.train()
    assert again.model.seen == whole.model.seen[4:]
    assert torch.equal(again.model.linear.weight, whole.model.linear.weight)


# without a GPU

TWO_PROCESSES = """
import gc, pathlib, sys
import torch, torch.distributed as dist
from mmengine.model import BaseModel
from mmengine.runner import FlexibleRunner, Runner, runner
from vlif_plugin.mmengine_host import mends
mends.apply()
runner.collect_env = dict

class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)
        self.norm = torch.nn.BatchNorm1d(1)
    def forward(self, x, mode):
        return {"loss": (self.norm(self.linear(x[:, None])) - x[:, None]).square().mean()}

class Samples:
    def __len__(self): return 8
    def __getitem__(self, index): return {"x": torch.tensor(index / 8)}

shared = dict(
    work_dir=sys.argv[1], default_hooks=dict(checkpoint=None),
    train_dataloader=dict(dataset=Samples(), batch_size=2, num_workers=0,
                          sampler=dict(type="InfiniteSampler"), collate_fn=dict(type="default_collate")),
    train_cfg=dict(by_epoch=False, max_iters=2), randomness=dict(seed=3),
    optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)))
ddp = dict(model_wrapper_cfg=dict(type="MMDistributedDataParallel"))
def of_both(value):
    both = [torch.empty_like(value) for _ in range(2)]
    dist.all_gather(both, value)
    return both
def trained(build, joined):
    run = build()
    run.train()
    assert dist.get_backend() == "gloo"
    model = run.model.module
    weights, variances = of_both(model.linear.weight.detach()), of_both(model.norm.running_var)
    assert weights[0] == weights[1], weights
    assert isinstance(model.norm, torch.nn.BatchNorm1d)
    assert (variances[0] == variances[1]) == joined, variances

# mm_train's test has a runner join the group by itself
trained(lambda: FlexibleRunner(
    Toy(), experiment_name="strategy", strategy=dict(type="DDPStrategy", sync_bn="torch"), **shared), True)
trained(lambda: Runner(Toy(), experiment_name="wrapped", launcher="pytorch", cfg=ddp, **shared), False)
ddp["sync_bn"] = "torch"
trained(lambda: Runner(Toy(), experiment_name="joined", launcher="pytorch", cfg=ddp, **shared), True)
pathlib.Path(f"rank_{dist.get_rank()}_is_done").touch()
gc.collect()  # wrapped models, and a group that another process uses still, may abort at the end
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_train_together_and_by_one_batchnorm_without_a_gpu(tmp_path):
    (tmp_path / "train.py").write_text(TWO_PROCESSES)
    warm.together(tmp_path, "train.py", "work")
    assert {"rank_0_is_done", "rank_1_is_done"} <= set(os.listdir(tmp_path))


def test_another_batchnorm_than_torchs_is_mmengines_affair(monkeypatch):
    monkeypatch.setattr(mends, "_convert", lambda *given: given)
    model = nn.BatchNorm1d(1)
    assert runner.convert_sync_batchnorm(model, "mmcv") == (model, "mmcv")


def test_a_batchnorm_that_is_not_to_be_had_is_refused_before_the_run():
    with pytest.raises(OptionError, match=r"config\.py: sync_bn must be torch, got 'mmcv'"):
        preflight.check_config(Config({"sync_bn": "mmcv"}), "config.py", "train")


def test_a_launcher_that_set_nothing_is_named(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(OptionError, match="--launcher pytorch: RANK"):
        runner.init_dist("pytorch")


def test_with_a_gpu_mmengine_starts_the_processes(monkeypatch):
    started = []
    monkeypatch.setattr(mends, "get_device", lambda: "cuda")
    monkeypatch.setattr(mends, "_init_dist", lambda *a, **k: started.append((a, k)))
    runner.init_dist("pytorch", backend="nccl", timeout=9)
    assert started == [(("pytorch", "nccl", "torch"), {"timeout": 9})]


def amp(**options):
    conv = nn.Conv2d(3, 4, 3)
    optimizer = torch.optim.SGD(conv.parameters(), lr=0.1)
    return conv, OPTIM_WRAPPERS.build({
        "type": "AmpOptimWrapper", "optimizer": optimizer, "clip_grad": {"max_norm": 1}, **options,
    })  # fmt: skip


def test_bfloat16_is_trained_on_a_cpu():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conv, wrapper = amp(dtype="bfloat16")
    before = conv.weight.detach().clone()
    with wrapper.optim_context(conv):
        out = conv(torch.rand(1, 3, 8, 8))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().square().mean())
    assert conv.weight.dtype == torch.float32
    assert not torch.equal(conv.weight, before)


@pytest.mark.parametrize("dtype", ["float16", None])
def test_another_half_precision_on_a_cpu_is_refused(dtype):
    with pytest.raises(OptionError, match="needs a GPU"):
        amp(dtype=dtype)


def test_with_a_gpu_mmengine_scales_the_loss(monkeypatch):
    given = []
    monkeypatch.setattr(mends, "get_device", lambda: "cuda")
    monkeypatch.setattr(mends, "_amp_init", lambda self, *a, **k: given.append((a, sorted(k))))
    amp(dtype="float16")
    assert given == [(("dynamic", "float16", False), ["clip_grad", "optimizer"])]


# the data of a resumed run


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("sampler", ["InfiniteSampler", "DefaultSampler"])
def test_a_resumed_run_goes_on_in_the_datas_order_without_reading_it_again(
    sampler, workers, small_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(their_loops.time, "sleep", lambda _: None)  # two seconds for each epoch
    whole = small_run(14, sampler=sampler)  # an epoch is of 6 batches
    whole.train()
    asked = tmp_path / "asked"
    options = {"load_from": str(tmp_path / "work" / "iter_8.pth"), "resume": True}
    again = small_run(14, sampler=sampler, workers=workers, asked=asked, **options)
    again.train()
    # workers end at once with their iterator, but take seconds when it is found as garbage
    del again.train_loop.dataloader_iterator
    assert again.model.seen == whole.model.seen[16:]
    read = [int(line) for line in asked.read_text().split()]
    assert read[:12] == whole.model.seen[16:]
    assert len(read) <= 12 + workers * 2 * 2  # two batches ahead


def test_with_another_sampler_all_is_read_again_as_mmengine_does(small_run, tmp_path):
    small_run(4).train()
    asked = tmp_path / "asked"
    options = {"load_from": str(tmp_path / "work" / "iter_2.pth"), "resume": True}
    again = small_run(4, sampler=SequentialSampler(range(12)), asked=asked, **options)
    again.train()
    assert again.model.seen == [4, 5, 6, 7]
    assert asked.read_text().split() == list("01234567")


@pytest.mark.parametrize("own", [False, True], ids=["torch's generator", "the loader's"])
def test_random_numbers_are_those_of_a_run_without_the_mend(own):
    def drawn(kind):
        generator = torch.Generator().manual_seed(5) if own else None
        torch.manual_seed(4)
        sampler = InfiniteSampler(Samples(), seed=3)
        batches = kind(DataLoader(Samples(), 2, sampler=sampler, generator=generator))
        first = torch.rand(1).item()
        next(batches)
        return first, batches._iterator._base_seed, torch.rand(1).item()

    assert drawn(loaders._Iterator) == drawn(loaders.PassingIterator)


# the optimiser of a resumed run


def test_steps_that_an_optimiser_counts_in_its_groups_outlive_a_change_of_the_config():
    weight = nn.Parameter(torch.ones(2, 2))
    wrapper = OptimWrapper(Lamb([weight], lr=0.02))
    schedule = resuming.Schedule(wrapper, [])
    wrapper.optimizer.param_groups[0] |= {"lr": 0.01, "step": 3}  # as it was resumed
    schedule.reach(wrapper, [], iterations=3, epochs=0)
    (group,) = wrapper.optimizer.param_groups
    assert (group["lr"], group["step"]) == (0.02, 3)
    assert group["params"] == [weight]


# what a run's processes passed over


def test_what_all_processes_passed_over_is_counted_at_the_logs_lines_and_in_checkpoints(
    monkeypatch,
):
    both = lambda told: [told, told + Counter({"b.png: empty": 2})]  # noqa: E731
    monkeypatch.setattr(passed_over, "gathered", both)
    run = run_hooks.RunHook()
    runner = SimpleNamespace(logger=logging.getLogger("run"), optim_wrapper=None, iter=9)
    RecordHook(run).after_train_iter(runner, 0)
    assert run.bad.counts == {"b.png: empty": 2}
    run.bad.limit = 2
    run.bad.take(["a.png: cut"], runner.logger, "")
    run.gather_state(runner)
    checkpoint = {"optimizer": {}}
    run.before_save_checkpoint(runner, checkpoint)
    assert checkpoint["run"]["bad"] == {"a.png: cut": 2, "b.png: empty": 4}


# the list


def test_every_mend_is_in_its_place_however_often_it_is_applied():
    mends.apply()
    for owner, attribute, replacement, why in mends.MENDS:
        assert getattr(pkgutil.resolve_name(owner), attribute) is replacement
        assert why
    assert CheckpointLoader._schemes[""] is checkpoints.load_from_local


@pytest.mark.parametrize(
    "module", [mends, checkpoints, loaders], ids=["mends", "checkpoints", "loaders"]
)
def test_a_module_that_is_executed_again_finds_mmengines_own(module):
    spec = importlib.util.spec_from_file_location("again", module.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    own = {"_init_dist", "_ddp_init", "_amp_init", "_loop_run", "_Iterator"}
    own |= {"_save_elsewhere", "_convert", "_build_loader"}
    held = {name: thing for name, thing in vars(again).items() if name in own}
    assert held
    assert all(thing.__module__.startswith("mmengine.") for thing in held.values()), held


@pytest.mark.parametrize(
    "name",
    ["save_checkpoint", "find_latest_checkpoint", "load_from_http", "convert_sync_batchnorm"],
)
def test_no_module_of_mmengine_holds_the_old_function(name):
    ours = mends.sync_batchnorm if "sync" in name else getattr(their_checkpoint, name)
    held = {
        module.__name__: vars(module)[name]
        for module in [m for n, m in sys.modules.items() if n.startswith("mmengine")]
        if name in vars(module)
    }
    assert held
    assert all(function is ours for function in held.values()), held
