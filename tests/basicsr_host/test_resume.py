"""Resuming: what is found, what is refused, what wins, and what is written down of a run."""

import copy
import json
import logging
import math
import os
import resource
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import warm
from basicsr_model import Batch, build_model, read_log
from helpers import small_options, write_options

from vlif_plugin.archs import load_tensors
from vlif_plugin.basicsr_host import run
from vlif_plugin.basicsr_host.loaders import create_train_val_dataloader
from vlif_plugin.basicsr_host.optimizers import build_optimizer
from vlif_plugin.basicsr_host.options import parse_arguments
from vlif_plugin.basicsr_host.resume import load_resume_state
from vlif_plugin.basicsr_host.schedules import build_schedule
from vlif_plugin.basicsr_host.training_state import resume
from vlif_plugin.errors import CheckpointError, TrainingError
from vlif_plugin.runs import PassedOver, passed_over, release_folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of four iterations, with states of 2 and 4; nobody may change it."""
    folder = tmp_path_factory.mktemp("finished")
    opt = small_options(folder)
    opt["val"]["save_best"] = "psnr_y"
    done = warm.command(folder, "-m", "vlif_plugin.train", "-opt", write_options(folder, opt))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, opt


@pytest.fixture
def trained(finished, fresh_basicsr):
    """A copy of it, and its options."""
    folder, opt = finished
    shutil.copytree(folder / "experiments", fresh_basicsr / "experiments")
    opt = copy.deepcopy(opt) | {"path": {"experiments_root": str(fresh_basicsr / "experiments")}}
    return fresh_basicsr / "experiments" / "small", opt


def train(folder, opt, *flags):
    logging.getLogger("basicsr").handlers.clear()
    from basicsr.utils import logger as basicsr_logger

    basicsr_logger.initialized_logger.clear()
    return run.train(["-opt", write_options(folder, opt), *flags])


def longer(opt, iterations=6, **changes):
    opt = copy.deepcopy(opt)
    opt["train"] |= {"total_iter": iterations} | changes
    return opt


def flip_a_bit(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def lines(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("damaged", ["training_states/4.state", "models/net_g_4.pth"])
def test_one_flipped_bit_in_the_newest_state_or_weights_falls_back(damaged, trained, capsys):
    run_folder, opt = trained
    expected = load_tensors(run_folder / "models" / "net_g_4.pth")["params"]
    flip_a_bit(run_folder / damaged)
    assert train(run_folder.parents[1], opt, "--auto_resume") == 0
    out = capsys.readouterr().out
    assert "passing over" in out
    assert f"{damaged}: damaged" in out
    assert "resuming 2.state" in out
    found = load_tensors(run_folder / "models" / "net_g_4.pth")["params"]
    assert all(torch.equal(found[k], expected[k]) for k in expected)
    assert "later states are put aside" in out
    assert sorted(p.name for p in (run_folder / "training_states").glob("*.state")) == [
        "2.state",
        "4.state",
    ]
    assert len(list((run_folder / "training_states").glob("aside_*/4.state"))) == 1


def test_weights_of_another_run_beside_a_state_are_not_taken_for_its_own(trained, capsys):
    run_folder, opt = trained
    models = run_folder / "models"
    (models / "net_g_4.pth").write_bytes((models / "net_g_2.pth").read_bytes())
    assert train(run_folder.parents[1], opt, "--auto_resume") == 0
    assert "net_g_4.pth is not the file that was saved with it" in capsys.readouterr().out


def test_another_network_or_other_images_in_the_folder_are_refused(trained, capsys):
    run_folder, opt = trained
    before = {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")}
    other = longer(opt)
    other["network_g"]["T"] = 3
    assert train(run_folder.parents[1], other, "--auto_resume") == 1
    assert "4.state: is of another network (T 2, here 3); give this run another name" in (
        capsys.readouterr().err
    )
    other = longer(opt)
    other["network_g"]["formulation"] = "paper"  # what it is without being said
    other["datasets"]["train"] |= {
        k: other["datasets"]["val"][k] for k in ("dataroot_lq", "dataroot_gt")
    }
    assert train(run_folder.parents[1], other, "--auto_resume") == 1
    error = capsys.readouterr().err
    assert "4.state: is of a run with other images in datasets: train (fingerprint " in error
    assert before == {p: p.stat().st_mtime_ns for p in run_folder.rglob("*")}


def choose_state(run_folder, opt, *flags):
    """What of a run comes before it touches its folder: its options, told of the state."""
    file = write_options(run_folder.parents[1], opt)
    parsed, _ = parse_arguments(["-opt", file, *flags], str(run_folder.parents[1]))
    try:
        return load_resume_state(parsed), parsed["path"]
    finally:
        release_folders()


@pytest.mark.parametrize("key", ["state_dict", None, "params_ema"])
def test_a_resumed_run_loads_the_weights_that_were_trained_and_needs_no_others(key, trained):
    run_folder, opt = trained
    opt["path"] |= {"pretrain_network_g": "gone.pth", "param_key_g": key}
    named = {"resume_state": str(run_folder / "training_states" / "2.state")}
    for path, flags, at in (({}, ("--auto_resume",), 4), (named, (), 2)):
        state, path = choose_state(run_folder, opt | {"path": opt["path"] | path}, *flags)
        assert state["iter"] == at
        assert path["pretrain_network_g"] == str(run_folder / "models" / f"net_g_{at}.pth")
        assert path["param_key_g"] == "params"


def test_first_weights_are_tried_where_no_state_is_usable_or_the_options_go_back_to_them(trained):
    run_folder, opt = trained
    opt["path"] |= {"pretrain_network_g": "gone.pth", "param_key_g": "params_ema"}
    back = opt | {"path": opt["path"] | {"ignore_resume_networks": ["network_g"]}}
    with pytest.raises(CheckpointError, match=r"gone\.pth: no such weights file"):
        choose_state(run_folder, back, "--auto_resume")
    back["path"]["pretrain_network_g"] = str(run_folder / "models" / "net_g_2.pth")
    _, path = choose_state(run_folder, back, "--auto_resume")
    assert path["pretrain_network_g"] == back["path"]["pretrain_network_g"]
    assert path["param_key_g"] == "params_ema"
    for state in (run_folder / "training_states").iterdir():
        state.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"gone\.pth: no such weights file"):
        choose_state(run_folder, opt, "--auto_resume")


def test_moved_images_are_the_same_images(finished, trained):
    run_folder, opt = trained
    root = run_folder.parents[1]
    shutil.copytree(finished[0] / "train", root / "elsewhere.lmdbs")
    moved = longer(opt, 5)
    for key in ("dataroot_lq", "dataroot_gt"):
        path = Path(opt["datasets"]["train"][key])
        moved["datasets"]["train"][key] = str(root / "elsewhere.lmdbs" / path.name)
    assert train(root, moved, "--auto_resume") == 0
    assert "dataroot_gt is now" in read_log(run_folder)


def test_a_later_branch_is_put_aside_where_an_older_state_is_named(trained):
    run_folder, opt = trained
    opt["path"]["resume_state"] = str(run_folder / "training_states" / "2.state")
    opt["train"] |= {"total_iter": 3}
    assert train(run_folder.parents[1], opt) == 0
    del opt["path"]["resume_state"]
    assert train(run_folder.parents[1], longer(opt), "--auto_resume") == 0
    assert "resuming 2.state" not in read_log(run_folder)
    # 4.state of the first branch is not what the third run went on from
    assert [s["iteration"] for s in manifest(run_folder)] == [0, 2, 2]


def manifest(run_folder):
    return json.loads((run_folder / "manifest.json").read_text())["starts"]


def test_only_the_last_states_are_kept_where_asked(fresh_basicsr):
    opt = longer(small_options(fresh_basicsr), 8)
    opt["logger"] |= {"save_checkpoint_freq": 1, "keep_states": 3}
    assert train(fresh_basicsr, opt) == 0
    run_folder = fresh_basicsr / "experiments" / "small"
    states = run_folder / "training_states"
    kept = ["6.state", "7.state", "8.state"]
    assert sorted(p.name for p in states.iterdir()) == kept
    assert len(list((run_folder / "models").glob("net_g_[0-9].pth"))) == 8
    # as a run leaves it that is killed between its last state and removing the oldest
    shutil.copy(states / "6.state", states / "5.state")
    assert train(fresh_basicsr, opt, "--auto_resume") == 0
    assert sorted(p.name for p in states.iterdir()) == kept


def test_the_optimiser_goes_on_under_the_options_and_with_what_it_gathered(trained):
    run_folder, opt = trained
    then = load_tensors(run_folder / "training_states" / "4.state")["optimizers"][0]
    opt["train"]["optim_g"] |= {"weight_decay": 0.5, "lr": 2e-3}
    opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [100]}
    opt["path"]["resume_state"] = str(run_folder / "training_states" / "4.state")
    model = build_model(run_folder.parents[1], opt)
    state = load_tensors(opt["path"]["resume_state"])
    state["optimizers"][0]["param_groups"][0] |= {"lr": 1e-4, "initial_lr": 1e-3}  # a tenth
    model.validated = {("rain_val", 4)}
    model.resume_training(state)
    model.update_learning_rate(5)
    group = model.optimizer_g.param_groups[0]
    assert (group["weight_decay"], group["initial_lr"], group["lr"]) == (0.5, 2e-3, 2e-3)
    found = model.optimizer_g.state_dict()["state"]
    assert all(torch.equal(found[k]["exp_avg"], then["state"][k]["exp_avg"]) for k in found)


def part_of_a_model(optim_g, schedule=None):
    """What of a model a state is taken of and given to, around one weight."""
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 6).reshape(2, 3))
    optimizer = build_optimizer(optim_g, [weight])
    schedule = schedule or {"type": "MultiStepLR", "milestones": []}
    return SimpleNamespace(
        weight=weight,
        optimizers=[optimizer],
        schedulers=[build_schedule(schedule, optimizer)],
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        bad=PassedOver(),
        options={},
    )


def state_of(part):
    return {
        "optimizers": [copy.deepcopy(part.optimizers[0].state_dict())],
        "schedulers": [part.schedulers[0].state_dict()],
    }


def take_steps(part, count):
    for _ in range(count):
        part.optimizers[0].zero_grad()
        (part.weight**2).sum().backward()
        part.optimizers[0].step()
        part.schedulers[0].step()
    return part.weight.detach().clone()


@pytest.mark.parametrize("name", ["lamb", "adan", "AdamW"])
def test_an_optimiser_goes_on_that_counts_its_steps_in_its_groups(name):
    parts = [part_of_a_model({"type": name, "lr": 0.01}) for _ in range(2)]
    reached = take_steps(parts[0], 3)
    state = state_of(parts[0])
    expected = take_steps(parts[0], 1)
    parts[1].weight.data.copy_(reached)
    resume(parts[1], state)
    assert torch.equal(take_steps(parts[1], 1), expected)


@pytest.mark.parametrize(
    ("changed", "rate"),
    [
        ({"milestones": [6]}, 0.1),  # the step that was taken at 2 is taken back
        ({"milestones": [2], "gamma": 0.5}, 0.05),
        ({"milestones": [1, 2, 3]}, 0.0001),
        ({"milestones": [6], "restarts": [0, 3], "restart_weights": [1, 0.5]}, 0.05),
    ],
)
def test_steps_of_the_learning_rate_are_those_of_the_options_when_a_run_goes_on(changed, rate):
    before = {"type": "MultiStepLR", "milestones": [2]}
    optim_g = {"type": "SGD", "lr": 0.1}
    trained = part_of_a_model(optim_g, before)
    take_steps(trained, 4)
    assert trained.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01)
    part = part_of_a_model(optim_g, before | changed)
    resume(part, state_of(trained))
    take_steps(part, 1)
    assert part.optimizers[0].param_groups[0]["lr"] == pytest.approx(rate)


def test_a_state_that_does_not_name_its_optimiser_is_known_by_its_settings():
    part = part_of_a_model({"type": "SGD", "lr": 0.01})
    with pytest.raises(CheckpointError, match="was saved by another optimiser than train: optim_g"):
        resume(part, state_of(part_of_a_model({"type": "Adam", "lr": 0.01})))


def test_a_run_without_a_seed_keeps_the_one_that_it_drew(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    del opt["manual_seed"]
    assert train(fresh_basicsr, longer(opt)) == 0
    run_folder = fresh_basicsr / "experiments" / "small"
    expected = load_tensors(run_folder / "models" / "net_g_6.pth")["params"]
    for name in ("6.state", "4.state"):
        (run_folder / "training_states" / name).unlink()
    assert train(fresh_basicsr, longer(opt), "--auto_resume") == 0
    found = load_tensors(run_folder / "models" / "net_g_6.pth")["params"]
    assert all(torch.equal(found[k], expected[k]) for k in expected)
    seeds = [start["seed"] for start in manifest(run_folder)]
    assert seeds[0] == seeds[1]


def test_two_trainings_cannot_share_a_folder(trained, capsys):
    from vlif_plugin.runs import RunFolder

    run_folder, opt = trained
    held = RunFolder(run_folder)
    for flags in ((), ("--auto_resume",)):
        assert train(run_folder.parents[1], opt, *flags) == 1
        assert "another training is at work in this folder" in capsys.readouterr().err
    held.release()
    assert len(list(run_folder.parent.iterdir())) == 1  # nothing was moved aside
    assert train(run_folder.parents[1], opt, "--auto_resume") == 0


def test_best_scores_go_on_from_the_state(trained):
    """And not only where the best weights are still there."""
    run_folder, opt = trained
    path = run_folder / "training_states" / "4.state"
    state = load_tensors(path)
    assert state["best"]["rain_val"]["psnr_y"]["iter"] == 2  # saved before it is validated
    for record in state["best"]["rain_val"].values():
        record |= {"val": 99.0, "iter": 1}
    torch.save(state, path)
    (run_folder / "models" / "net_g_best_psnr_y_rain_val.pth").unlink()
    assert train(run_folder.parents[1], longer(opt), "--auto_resume") == 0
    assert "Best: 99.0000 @ 1 iter" in read_log(run_folder)
    assert not (run_folder / "models" / "net_g_best_psnr_y_rain_val.pth").exists()


def test_best_weights_of_iterations_that_are_made_again_are_not_lost(trained):
    run_folder, opt = trained
    weights = load_tensors(run_folder / "models" / "net_g_4.pth")
    path = run_folder / "models" / "net_g_best_psnr_y_rain_val.pth"
    torch.save(weights | {"best": {"val": 99.0, "iter": 5}}, path)
    assert train(run_folder.parents[1], longer(opt), "--auto_resume") == 0
    assert load_tensors(path)["best"] == {"val": 99.0, "iter": 5}


def test_a_state_of_basicsr_itself_can_be_resumed(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    stock = copy.deepcopy(opt)
    stock["model_type"] = "SRModel"
    stock["train"]["optim_g"] = {"type": "Adam", "lr": 1e-3}
    assert train(fresh_basicsr, stock) == 0
    opt["train"]["optim_g"] = {"type": "Adam", "lr": 1e-3}
    assert train(fresh_basicsr, longer(opt), "--auto_resume") == 0
    log = read_log(fresh_basicsr / "experiments" / "small")
    assert "the state is of an unknown number of processes" in log
    state = load_tensors(fresh_basicsr / "experiments" / "small" / "training_states" / "6.state")
    assert (state["iter"], state["drawn"]) == (6, 12)


def test_a_run_ends_at_its_last_iteration_where_epochs_are_no_whole_number_of_batches(
    fresh_basicsr,
):
    """BasicSR counts 4 iterations to an epoch of 3, and this run would have ended at 9 of 16."""
    opt = longer(small_options(fresh_basicsr), 16)
    opt["datasets"]["train"] |= {"dataset_enlarge_ratio": 1.75}
    del opt["val"]
    opt["logger"]["save_checkpoint_freq"] = 5
    assert train(fresh_basicsr, opt) == 0
    assert lines(fresh_basicsr / "experiments" / "small")[-1]["iter"] == 16


def test_the_log_of_metrics_holds_training_and_validation(finished):
    run_folder = finished[0] / "experiments" / "small"
    kinds = [(line["iter"], "dataset" in line) for line in lines(run_folder)]
    assert kinds == [(1, False), (2, False), (2, True), (3, False), (4, False), (4, True)]
    training, validation = lines(run_folder)[0], lines(run_folder)[-1]
    assert set(training) == {"iter", "lr", "l_pix", "grad_norm"}
    assert training["grad_norm"] > 0
    scores = json.loads((run_folder / "validation" / "rain_val_4.json").read_text())
    assert validation["psnr_y"] == scores["metrics"]["psnr_y"]["mean"]
    assert all(0 <= rate <= 1 for rate in validation["firing_rates"].values())
    assert len(validation["firing_rates"]) > 5


def test_the_manifest_says_what_the_run_was_started_with(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    assert train(fresh_basicsr, opt, "--force_yml", "train:optim_g:lr=0.002") == 0
    (start,) = manifest(fresh_basicsr / "experiments" / "small")
    assert start["options"]["train"]["optim_g"] == {"type": "AdamW", "lr": 0.002}
    assert start["options"]["datasets"]["train"]["gt_size"] == 32
    assert (start["seed"], start["processes"]) == (3, 1)
    assert {len(mark) for mark in start["datasets"].values()} == {12}
    assert start["command"][-1] == "train:optim_g:lr=0.002"
    assert "processor" in start["machine"]


def test_the_seed_decides_the_order_of_the_data(fresh_basicsr):
    opt = small_options(fresh_basicsr)

    def first_images(seed):
        model = build_model(fresh_basicsr, opt | {"manual_seed": seed})
        model.opt["path"]["experiments_root"] = str(fresh_basicsr)
        loader, *_ = create_train_val_dataloader(model.opt, logging.getLogger("basicsr"))
        return [path for batch in loader for path in batch["lq_path"]]

    assert first_images(1) == first_images(1) != first_images(2)


def break_record(lmdb_folder, key):
    import lmdb

    with (
        lmdb.open(str(lmdb_folder), map_size=2**26) as env,
        env.begin(write=True) as transaction,
    ):
        transaction.put(key.encode(), transaction.get(key.encode())[:-60])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_record_is_named_passed_over_and_counted(workers, fresh_basicsr):
    opt = longer(small_options(fresh_basicsr), 12)
    opt["datasets"]["train"]["num_worker_per_gpu"] = workers
    break_record(fresh_basicsr / "train" / "input.lmdb", "001")
    assert train(fresh_basicsr, opt) == 0
    run_folder = fresh_basicsr / "experiments" / "small"
    log = read_log(run_folder)
    assert log.count("passed over: ") == 1
    assert "train/input.lmdb/001: not a readable image" in log
    counts = [line.get("passed_over", 0) for line in lines(run_folder) if "l_pix" in line]
    assert counts == sorted(counts)
    assert counts[-1] > 1
    state = load_tensors(run_folder / "training_states" / "12.state")
    assert sum(state["passed_over"].values()) == counts[-1]


def test_images_that_were_passed_over_before_a_run_was_stopped_count_when_it_goes_on(trained):
    run_folder, opt = trained
    path = run_folder / "training_states" / "4.state"
    state = load_tensors(path)
    torch.save(state | {"passed_over": {"a.png: cut short": 3}}, path)
    assert train(run_folder.parents[1], longer(opt, 5), "--auto_resume") == 0
    assert next(line for line in lines(run_folder) if line["iter"] == 5)["passed_over"] == 3


def test_what_other_processes_passed_over_is_named_and_counted_where_all_meet(
    fresh_basicsr, monkeypatch, caplog
):
    opt = small_options(fresh_basicsr)
    opt["logger"]["print_freq"] = 2
    model = build_model(fresh_basicsr, opt)
    logging.getLogger("basicsr").addHandler(caplog.handler)
    both = lambda told: [told, told + Counter({"b.png: empty": 2})]  # noqa: E731
    monkeypatch.setattr(passed_over, "gathered", both)
    for iteration, expected in ((1, {"a.png: cut": 1}), (2, {"a.png: cut": 4, "b.png: empty": 2})):
        model.feed_data(Batch(2) | {"bad": ["a.png: cut", ""]})
        model.optimize_parameters(iteration)
        assert model.bad.counts == expected
    assert caplog.text.count("passed over: ") == 2
    assert model.bad.measured() == {"passed_over": 6}


def test_too_many_damaged_records_stop_the_run_with_the_last_good_state(fresh_basicsr, capsys):
    opt = longer(small_options(fresh_basicsr), 40)
    opt["datasets"]["train"]["skip_bad"] = 1
    for key in ("001", "002"):
        break_record(fresh_basicsr / "train" / "target.lmdb", key)
    assert train(fresh_basicsr, opt) == 1
    error = capsys.readouterr().err
    assert "2 different images of the training set cannot be read, and skip_bad allows 1" in error
    assert "target.lmdb/001" in error
    assert "last good state: " in error
    assert "2 different images" in read_log(fresh_basicsr / "experiments" / "small")


def test_a_damaged_record_is_fatal_at_the_start_where_all_are_checked(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    break_record(fresh_basicsr / "train" / "input.lmdb", "001")
    opt["datasets"]["train"] |= {"check_images": True}
    assert train(fresh_basicsr, opt) == 1
    error = capsys.readouterr().err
    assert "datasets: train: 1 of 8 images are damaged: " in error
    assert "train/input.lmdb/001: not a readable image" in error
    assert not (fresh_basicsr / "experiments").exists()


def test_gradients_that_are_not_finite_stop_the_run(fresh_basicsr, capsys, monkeypatch):
    from vlif_plugin.losses import SSIMLoss

    calls = []  # the first is the check of the options

    def poisoned(self, pred, target):
        calls.append(1)
        # finite itself, and of an infinite slope where it counts
        return (pred - target).mean() + (
            ((pred - pred.detach()).sum()).abs().sqrt() if len(calls) == 5 else 0
        )

    monkeypatch.setattr(SSIMLoss, "forward", poisoned)
    assert train(fresh_basicsr, small_options(fresh_basicsr)) == 1
    error = capsys.readouterr().err
    assert "the norm of the gradients is nan at iteration 4; batch: " in error
    assert "train/input.lmdb/00" in error
    assert "2.state" in error


def test_fp16_scales_the_loss_and_goes_on_with_its_scale(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["amp"] = "fp16"
    assert train(fresh_basicsr, opt) == 0
    path = fresh_basicsr / "experiments" / "small" / "training_states" / "4.state"
    state = load_tensors(path)
    assert state["scaler"]["scale"] >= 2**10
    state["scaler"]["scale"] = 128.0
    torch.save(state, path)
    assert train(fresh_basicsr, longer(opt), "--auto_resume") == 0
    assert load_tensors(path.with_name("6.state"))["scaler"]["scale"] == 128.0


def test_fp16_leaves_out_a_step_that_overflows_and_gives_up_where_all_do(fresh_basicsr):
    opt = small_options(fresh_basicsr)
    opt["train"]["amp"] = "fp16"
    model = build_model(fresh_basicsr, opt)
    model.net_g.output.weight.register_hook(lambda grad: grad * float("inf"))
    before = model.net_g.output.weight.detach().clone()
    scale = model.scaler.get_scale()
    model.feed_data(Batch(2))
    model.optimize_parameters(1)
    assert torch.equal(model.net_g.output.weight, before)
    assert model.scaler.get_scale() == scale / 2
    model.scaler.update(2.0**-13)
    model.optimize_parameters(2)
    with pytest.raises(TrainingError, match="however the loss is scaled, is"):
        model.optimize_parameters(3)


def test_every_process_names_the_last_good_state_and_one_writes_it(trained):
    run_folder, opt = trained
    model = build_model(run_folder.parents[1], opt)
    model.opt["rank"] = 1
    model.save_training_state(0, 9)
    path = run_folder / "training_states" / "9.state"
    assert model._last_good == f"last good state: {path}"
    assert not path.exists()


def test_deterministic_runs_are_asked_of_torch_and_refused_by_name(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr) | {"deterministic": True}
    try:
        model = build_model(fresh_basicsr, opt)
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
        torch.backends.cudnn.benchmark = True  # as BasicSR does in between
        model = build_model(fresh_basicsr, opt)
        assert not torch.backends.cudnn.benchmark

        def refuses(*_):
            raise RuntimeError("a_cuda does not have a deterministic implementation, but\nyou set")

        model.net_g.output.weight.register_hook(refuses)
        model.feed_data(Batch(2))
        with pytest.raises(TrainingError, match=r"^deterministic: true: a_cuda does not have"):
            model.optimize_parameters(1)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
    assert train(fresh_basicsr, opt | {"deterministic": "yes"}) == 1
    assert "deterministic must be true or false, got 'yes'" in capsys.readouterr().err


def test_a_prefetching_thread_without_workers_is_refused(fresh_basicsr, capsys):
    opt = small_options(fresh_basicsr)
    opt["datasets"]["train"]["prefetch_mode"] = "cpu"
    assert train(fresh_basicsr, opt) == 1
    assert "prefetch_mode: cpu needs num_worker_per_gpu of at least 1" in capsys.readouterr().err


def in_a_copy(job):
    """Run in a copy of this process, which may be spoilt; its exit status and standard error."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.dup2(writer, 2)
            sys.stdout = sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
            status = job()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, errors="replace") as pipe:
        said = pipe.read()
    _, result = os.waitpid(pid, 0)
    return result, said


def test_a_disk_that_fills_up_stops_the_run_with_the_last_good_state_intact(trained):
    """The limit of a file's size stands for the disk: weights fit, the larger state does not."""
    run_folder, opt = trained
    before = {p: p.read_bytes() for p in run_folder.rglob("*") if p.suffix in (".pth", ".state")}
    size = (run_folder / "models" / "net_g_4.pth").stat().st_size

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20000, size + 20000))
        return train(run_folder.parents[1], longer(opt), "--auto_resume")

    status, said = in_a_copy(limited)
    assert os.WEXITSTATUS(status) == 1
    error = said.splitlines()[-1]
    assert error.startswith("error: ")
    assert "6.state: cannot be written (File too large); last good state: " in error
    assert error.endswith("training_states/4.state")
    assert "Traceback" not in said
    assert {p: p.read_bytes() for p in before} == before
    assert not list(run_folder.rglob("*.tmp"))
    assert train(run_folder.parents[1], longer(opt), "--auto_resume") == 0
    assert math.isfinite(lines(run_folder)[-1]["psnr_y"])
