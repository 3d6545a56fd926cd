"""Whole runs of seconds through BasicSR's own pipelines; each test is a promise of hosts.md's table."""

import copy
import csv
import logging
import math
from collections import defaultdict

import pytest
import torch
from basicsr_model import Batch, build_model, read_log
from helpers import small_options, write_options
from torch import nn

from vlif_plugin.archs import load_tensors, read_checkpoint
from vlif_plugin.basicsr_host import run
from vlif_plugin.parts import Fusible
from vlif_plugin.speed import backends


def train(folder, opt, *flags):
    return run.train(["-opt", write_options(folder, opt), *flags])


def weights(folder, name="net_g_latest", key="params"):
    return load_tensors(folder / "experiments" / "small" / "models" / f"{name}.pth")[key]


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a) and set(a) == set(b)


def test_a_run_trains_validates_saves_and_is_repeatable(fresh_basicsr):
    folder = fresh_basicsr
    opt = small_options(folder)
    opt["val"] |= {"save_best": "psnr_y", "save_img": True}
    assert train(folder, opt) == 0
    first, run_folder = weights(folder), folder / "experiments" / "small"
    fresh = build_model(folder, opt).net_g.state_dict()
    moved = sum(not torch.equal(first[k], fresh[k]) for k in first)
    assert moved > 0.9 * len(first)
    assert {p.name for p in (run_folder / "models").iterdir()} >= {
        "net_g_2.pth", "net_g_4.pth", "net_g_latest.pth", "net_g_best_psnr_y_rain_val.pth",
    }  # fmt: skip
    # BasicSR scores the last weights twice and counts past the end
    assert {p.name for p in (run_folder / "validation").iterdir()} == {
        "rain_val_2.csv", "rain_val_2.json", "rain_val_4.csv", "rain_val_4.json",
    }  # fmt: skip
    rows = list(csv.DictReader((run_folder / "validation" / "rain_val_4.csv").open()))
    assert [row["image"] for row in rows] == ["000", "001", "002", "mean"]
    values = [float(row["psnr_y"]) for row in rows]
    assert values[3] == pytest.approx(sum(values[:3]) / 3)
    assert f"# psnr_y: {values[3]:.4f}" in read_log(run_folder)
    assert (run_folder / "visualization" / "001" / "001_4.png").is_file()

    logging.getLogger("basicsr").handlers.clear()
    assert train(folder, opt) == 0
    assert same(weights(folder), first)
    # the earlier run was moved aside, not lost
    archived = list((folder / "experiments").glob("small_archived_*"))
    assert len(archived) == 1
    assert (archived[0] / "models" / "net_g_latest.pth").is_file()


def test_saved_weights_say_which_network_they_are_for(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    assert train(fresh_basicsr, opt) == 0
    saved = read_checkpoint(fresh_basicsr / "experiments" / "small" / "models" / "net_g_latest.pth")
    assert saved.network == opt["network_g"]


def test_resume_goes_on_where_it_stopped_on_a_cpu_and_says_so(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    assert train(fresh_basicsr, opt, "--auto_resume") == 0
    assert "no usable state in" in capsys.readouterr().out
    before = weights(fresh_basicsr, "net_g_4")
    opt["train"]["total_iter"] = 6
    assert train(fresh_basicsr, opt, "--auto_resume") == 0
    out = capsys.readouterr().out
    assert f"2 states in {fresh_basicsr}/experiments/small/training_states, resuming 4.state" in out
    assert same(weights(fresh_basicsr, "net_g_4"), before)
    state = load_tensors(fresh_basicsr / "experiments" / "small" / "training_states" / "6.state")
    assert state["iter"] == 6
    assert state["optimizers"][0]["state"][0]["step"].item() == 6


def test_a_damaged_newest_state_is_passed_over(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    assert train(fresh_basicsr, opt) == 0
    states = fresh_basicsr / "experiments" / "small" / "training_states"
    (states / "4.state").write_bytes((states / "4.state").read_bytes()[:-2000])
    assert train(fresh_basicsr, opt, "--auto_resume") == 0
    out = capsys.readouterr().out
    assert "passing over" in out
    assert "4.state: not a readable checkpoint" in out
    assert "resuming 2.state" in out


def test_resume_state_by_name_and_its_errors(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    assert train(fresh_basicsr, opt) == 0
    run_folder = fresh_basicsr / "experiments" / "small"
    opt["path"]["resume_state"] = str(run_folder / "training_states" / "2.state")
    assert train(fresh_basicsr, opt) == 0
    (run_folder / "models" / "net_g_2.pth").unlink()
    assert train(fresh_basicsr, opt) == 1
    assert "the weights of iteration 2 are missing" in capsys.readouterr().err
    opt["path"]["resume_state"] = str(run_folder / "models" / "net_g_4.pth")
    assert train(fresh_basicsr, opt) == 1
    assert "not a training state" in capsys.readouterr().err


@pytest.mark.parametrize("parts", [1, 2])
def test_averaged_weights_get_statistics_of_their_own_before_they_are_used(parts, fresh_basicsr):
    """Of the batches that the averaged network was given, as its own layers saw them."""
    opt = small_options(fresh_basicsr)
    opt["train"] |= {"ema_decay": 0.9, "total_iter": 100, "accumulate": parts}
    opt["val"]["val_freq"] = opt["logger"]["save_checkpoint_freq"] = 100
    model = build_model(fresh_basicsr, opt)
    inputs = defaultdict(list)
    norms = [m for m in model.net_g_ema.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_pre_hook(lambda norm, given: inputs[norm].append(given[0]))
    model.feed_data(Batch(2))
    for iteration in (1, 50, 51, 52, 53):
        model.optimize_parameters(iteration)
        trained, averaged = (dict(net.named_buffers()) for net in (model.net_g, model.net_g_ema))
        if iteration <= 50:
            assert not inputs
            assert all(torch.equal(averaged[k], trained[k]) for k in averaged)
    assert len(norms) > 10
    assert {len(seen) for seen in inputs.values()} == {3 * parts}
    for norm in norms:
        moments = [torch.var_mean(x, (0, 2, 3)) for x in inputs[norm]]
        for found, seen in zip(
            (norm.running_var, norm.running_mean), zip(*moments, strict=True), strict=True
        ):
            torch.testing.assert_close(found, torch.stack(seen).mean(0))
    assert not model.net_g_ema.training
    assert model.net_g.training
    differ = [(averaged[k] != trained[k]).any() for k in averaged if "running_var" in k]
    assert sum(differ) > len(norms) / 2  # some layers are dead


def test_a_finished_training_saves_statistics_of_the_averaged_weights(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["ema_decay"] = 0.9
    assert train(fresh_basicsr, opt) == 0
    plain, ema = weights(fresh_basicsr), weights(fresh_basicsr, key="params_ema")
    means = [k for k in plain if "running_mean" in k]
    assert len(means) > 10
    assert sum((plain[k] != ema[k]).any() for k in means) > len(means) / 2  # some layers are dead
    assert ema["output.weight"].ne(plain["output.weight"]).any()


def test_accumulation_gives_the_gradient_of_the_same_images(fresh_basicsr):
    """In eval mode, where parts do not have statistics of their own, it is exact."""
    opt = small_options(fresh_basicsr)
    gradients = []
    for parts in (1, 3):
        opt["train"]["accumulate"] = parts
        model = build_model(fresh_basicsr, opt)
        model.net_g.eval().double()
        model.feed_data(Batch(5, dtype=torch.float64))
        model.optimize_parameters(1)
        gradients.append({k: p.grad for k, p in model.net_g.named_parameters()})
        assert model.log_dict["l_pix"] > 0.01
    for key, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], expected, rtol=1e-9, atol=1e-12)


def test_gradients_are_clipped_where_asked(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["grad_clip"] = 1e-3
    model = build_model(fresh_basicsr, opt)
    model.feed_data(Batch(2))
    model.optimize_parameters(1)
    norm = torch.stack([p.grad.norm() for p in model.net_g.parameters()]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_bf16_trains_with_float32_weights_and_loss(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["amp"] = "bf16"
    model = build_model(fresh_basicsr, opt)
    seen = []
    model.net_g.output.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    before = model.net_g.output.weight.detach().clone()
    model.feed_data(Batch(2))
    model.optimize_parameters(1)
    assert seen == [torch.bfloat16]
    assert model.output.dtype == torch.float32
    assert all(
        p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.net_g.parameters()
    )
    assert not torch.equal(model.net_g.output.weight, before)


def test_a_backend_runs_the_network_and_its_average(fresh_basicsr, monkeypatch):
    seen = []

    def runner(part, module, *tensors):
        seen.append(part.__name__)
        return part(module, *tensors)

    monkeypatch.setattr(backends, "why_not", lambda *_: None)
    monkeypatch.setitem(backends._RUNNERS, "compile", runner)
    opt = small_options(fresh_basicsr) | {"backend": "compile"}
    opt["train"]["ema_decay"] = 0.9
    model = build_model(fresh_basicsr, opt)
    for net in (model.net_g, model.net_g_ema):
        assert {m.runner for m in net.modules() if isinstance(m, Fusible)} == {runner}
    model.feed_data(Batch(2))
    model.optimize_parameters(1)
    assert {"fire", "fire_and_mix", "_describe", "_attend"} <= set(seen)


@pytest.mark.parametrize("name", ["AdamW", "adam", "Lion", "SGD"])
def test_any_optimiser_of_timm_works(name, fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["optim_g"] = {"type": name, "lr": 1e-3, "weight_decay": 0.01}
    model = build_model(fresh_basicsr, opt)
    assert type(model.optimizer_g).__name__.lower() == name.lower()
    assert model.optimizer_g.param_groups[0]["weight_decay"] == 0.01


def test_the_learning_rate_is_the_optimisers_own_where_the_options_have_none(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["optim_g"] = {"type": "Adam"}
    assert build_model(fresh_basicsr, opt).get_current_learning_rate() == [1e-3]


def test_timms_variants_keep_what_makes_them(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["optim_g"] = {"type": "cadamw", "lr": 1e-3}
    assert build_model(fresh_basicsr, opt).optimizer_g.param_groups[0]["caution"]


def test_a_resumed_run_follows_the_options_schedule_and_says_so(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["scheduler"]["periods"] = [4]
    assert train(fresh_basicsr, opt) == 0
    opt["train"] |= {"total_iter": 8}
    opt["train"]["scheduler"]["periods"] = [8]
    opt["train"]["optim_g"]["lr"] = 1e-4
    assert train(fresh_basicsr, opt, "--auto_resume") == 0
    log = read_log(fresh_basicsr / "experiments" / "small")
    assert "train: scheduler: periods is now [8], as the options say; it was [4]" in log
    assert "train: optim_g: lr is now 0.0001, as the options say; it was 0.001" in log
    state = load_tensors(fresh_basicsr / "experiments" / "small" / "training_states" / "6.state")
    expected = 1e-7 + 0.5 * (1e-4 - 1e-7) * (1 + math.cos(math.pi * 5 / 8))
    assert state["optimizers"][0]["param_groups"][0]["lr"] == pytest.approx(expected)


def test_resume_refuses_another_optimiser_and_an_end_that_is_past(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    assert train(fresh_basicsr, opt) == 0
    other = copy.deepcopy(opt)
    other["train"] |= {"total_iter": 6, "optim_g": {"type": "SGD", "lr": 1e-3}}
    assert train(fresh_basicsr, other, "--auto_resume") == 1
    assert "4.state: is of a run with the optimiser AdamW, not SGD; " in capsys.readouterr().err
    states = fresh_basicsr / "experiments" / "small" / "training_states"
    opt["train"]["total_iter"] = 3
    opt["path"]["resume_state"] = str(states / "4.state")
    assert train(fresh_basicsr, opt) == 1
    assert "is of iteration 4, but total_iter is 3" in capsys.readouterr().err


def test_the_runs_own_copy_of_the_options_is_refused_and_the_run_stays(fresh_basicsr, capsys):
    assert train(fresh_basicsr, small_options(fresh_basicsr)) == 0
    folder = fresh_basicsr / "experiments" / "small"
    for flags in ((), ("--auto_resume",)):
        assert run.train(["-opt", str(folder / "opt.yml"), *flags]) == 1
        assert "lies in the run's own folder" in capsys.readouterr().err
    assert (folder / "models" / "net_g_latest.pth").is_file()


def test_an_error_in_the_prefetching_thread_ends_the_run(fresh_basicsr, capsys, monkeypatch):
    from vlif_plugin.data import LmdbSource
    from vlif_plugin.errors import DataError

    opt = small_options(fresh_basicsr)
    opt["datasets"]["train"] |= {"prefetch_mode": "cpu", "num_worker_per_gpu": 1, "skip_bad": 0}
    assert train(fresh_basicsr, opt) == 0
    reads = []

    def breaks(self, key):
        reads.append(key)
        if len(reads) > 6:
            raise DataError(f"{key}: broken")
        return original(self, key)

    original = LmdbSource.read
    monkeypatch.setattr(LmdbSource, "read", breaks)
    assert train(fresh_basicsr, opt) == 1
    assert ": broken" in capsys.readouterr().err


def test_warm_up_and_cosine_are_the_released_ones(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["scheduler"]["periods"] = [1000]
    model = build_model(fresh_basicsr, opt)
    rates = []
    for iteration in range(1, 1001):
        model.optimizer_g.step()
        model.update_learning_rate(iteration, warmup_iter=100)
        rates.append(model.get_current_learning_rate()[0])
    assert rates[49] == pytest.approx(1e-3 * 0.5)
    assert rates[499] == pytest.approx(5e-4, rel=1e-2)
    assert rates[999] == pytest.approx(1e-7, rel=0.1)


def test_a_nan_loss_stops_and_names_the_batch_and_the_last_state(
    fresh_basicsr, capsys, monkeypatch
):
    from vlif_plugin.losses import SSIMLoss

    calls = []  # the first is the check of the options

    def poisoned(self, pred, target):
        calls.append(1)
        return (pred - target).mean() * (float("nan") if len(calls) == 5 else 1.0)

    monkeypatch.setattr(SSIMLoss, "forward", poisoned)
    assert train(fresh_basicsr, small_options(fresh_basicsr)) == 1
    error = capsys.readouterr().err
    assert "the loss is nan at iteration 4" in error
    assert "train/input.lmdb/00" in error
    assert "last good state:" in error
    assert "training_states/2.state" in error
    assert not (fresh_basicsr / "experiments" / "small" / "models" / "net_g_4.pth").exists()


def test_validation_tiles_where_asked_and_leaves_the_network_training(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["val"]["tile"] = {"size": 16, "overlap": 4}
    model = build_model(fresh_basicsr, opt)
    sizes = set()
    model.net_g.register_forward_hook(lambda _, args, __: sizes.add(tuple(args[0].shape)))
    model.lq = torch.rand(1, 3, 37, 51)
    model.test()
    assert sizes == {(1, 3, 16, 16)}
    assert model.output.shape == (1, 3, 37, 51)
    assert model.net_g.training


def test_loading_what_fits_only_is_said(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    assert train(fresh_basicsr, opt) == 0
    path = fresh_basicsr / "experiments" / "small" / "models" / "net_g_latest.pth"
    opt["network_g"] |= {"use_refinement": True, "num_refinement_blocks": 1}
    opt["path"] |= {"pretrain_network_g": str(path), "strict_load_g": False}
    model = build_model(fresh_basicsr, opt)
    assert torch.equal(model.net_g.output.weight, weights(fresh_basicsr)["output.weight"])


def test_a_full_disk_stops_the_run_and_leaves_no_part(fresh_basicsr, capsys, monkeypatch):
    from vlif_plugin.basicsr_host import snn_restoration_model

    def full(content, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snn_restoration_model, "save_atomically", full)
    assert train(fresh_basicsr, small_options(fresh_basicsr)) == 1
    assert "net_g_2.pth: cannot be written (No space left on device)" in capsys.readouterr().err
    assert not list((fresh_basicsr / "experiments" / "small" / "models").iterdir())


def test_several_validation_sets_are_scored_each_for_itself(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["datasets"]["val_2"] = opt["datasets"]["train"] | {"name": "again"}
    for key in (
        "gt_size",
        "use_hflip",
        "batch_size_per_gpu",
        "num_worker_per_gpu",
        "dataset_enlarge_ratio",
    ):
        opt["datasets"]["val_2"].pop(key)
    opt["val"]["save_best"] = "psnr_y"
    assert train(fresh_basicsr, opt) == 0
    run_folder = fresh_basicsr / "experiments" / "small"
    assert (run_folder / "validation" / "again_4.csv").is_file()
    assert (run_folder / "models" / "net_g_best_psnr_y_again.pth").is_file()
    assert (run_folder / "models" / "net_g_best_psnr_y_rain_val.pth").is_file()


def test_clean_photographs_are_enough_to_train_and_validate(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    for section in opt["datasets"].values():
        section |= {"type": "SyntheticRainDataset", "rain": "light", "veil": 0.1}
        section |= {"strength": [0.2, 1], "clean_share": 0.1}
        del section["dataroot_lq"]
    assert train(fresh_basicsr, opt) == 0
    scores = (fresh_basicsr / "experiments" / "small" / "validation" / "rain_val_4.csv").read_text()
    assert len(scores.splitlines()) == 5


def test_stock_srmodel_trains_our_network_too(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["model_type"] = "SRModel"
    opt["train"]["optim_g"] = {"type": "Adam", "lr": 1e-3}
    opt["val"]["save_img"] = False
    assert train(fresh_basicsr, opt) == 0
    assert "output.weight" in weights(fresh_basicsr)
