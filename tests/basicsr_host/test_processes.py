"""Two processes train as one does with the joined batch, and survive the death of one of them."""

import json
import os
import signal

import pytest
import torch
import warm
from helpers import TINY_NET, make_live, small_options, write_options
from killing import children_of, wait_for

from vlif_plugin.archs import VLIFNet, load_tensors

ITERATIONS = 8


def training(folder, opt):
    return "-m", "vlif_plugin.train", "-opt", write_options(folder, opt, f"{opt['name']}.yml")


def run(folder, opt, processes=2):
    warm.together(folder, *training(folder, opt), processes=processes)
    return folder / "experiments" / opt["name"]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A finished run of two processes with synchronised statistics on a network that fires; its options."""
    folder = tmp_path_factory.mktemp("together")
    # in which no spike stands so near its threshold that the order of a sum decides (of seeds 1 to 6, in 2)
    torch.manual_seed(2)
    net = VLIFNet(**{k: v for k, v in TINY_NET.items() if k != "type"})
    torch.save(
        {"params": make_live(net, torch.rand(2, 3, 32, 32)).state_dict()}, folder / "live.pth"
    )
    opt = small_options(folder) | {"name": "together"}
    opt["path"]["pretrain_network_g"] = str(folder / "live.pth")
    opt["train"] |= {"total_iter": ITERATIONS, "ema_decay": 0.5, "sync_bn": True}
    # Adam's first steps are the signs of gradients, whose last bits would decide; SGD's are continuous
    opt["train"]["optim_g"] = {"type": "SGD", "lr": 0.0003, "momentum": 0.9}
    opt["datasets"]["train"] |= {"batch_size_per_gpu": 1, "num_worker_per_gpu": 1}
    opt["val"] |= {"val_freq": 4, "save_best": "psnr_y", "save_img": True}
    run(folder, opt)
    return folder, opt


def numbers(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_take_the_steps_of_one_with_the_joined_batch(together):
    folder, opt = together
    alone = opt | {"name": "alone", "datasets": {**opt["datasets"]}}
    alone["datasets"]["train"] = opt["datasets"]["train"] | {"batch_size_per_gpu": 2}
    found = numbers(folder / "experiments" / "together")
    expected = numbers(run(folder, alone, processes=1))
    assert len(found) == len(expected) == ITERATIONS + 2
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for key in {"l_pix", "grad_norm", "psnr_y"} & ours.keys():
            assert ours[key] == pytest.approx(theirs[key], rel=1e-5), (ours["iter"], key)


def test_images_are_scored_and_saved_by_all_processes(together):
    folder, _ = together
    run_folder = folder / "experiments" / "together"
    record = json.loads((run_folder / "validation" / f"rain_val_{ITERATIONS}.json").read_text())
    assert [row["image"] for row in record["per_image"]] == ["000", "001", "002"]
    saved = {p.name for p in (run_folder / "visualization").rglob("*.png")}
    assert saved == {f"{i:03d}_{at}.png" for i in range(3) for at in (4, ITERATIONS)}
    state = load_tensors(run_folder / "training_states" / f"{ITERATIONS}.state")
    assert len(state["random"]) == 2
    assert not torch.equal(state["random"][0]["torch"], state["random"][1]["torch"])


WORKERS = """
import os, sys
from pathlib import Path
from vlif_plugin.basicsr_host import loaders, run
build, before = loaders._training_loader, dict(os.environ)
def watched(*given):
    loader, order = build(*given)
    assert {k: v for k, v in os.environ.items() if k in before} == before
    look = "__import__('pathlib').Path(%r).write_text(' '.join(m for m in %r if m in __import__('sys').modules))"
    asked = f"found_{os.environ['RANK']}", ("torch", "basicsr.data", "vlif_plugin.data", "mmengine")
    worker = loader.multiprocessing_context.Process(target=eval, args=(look % asked,))
    worker.start()
    worker.join()
    return loader, order
loaders._training_loader = watched
sys.exit(run.train(sys.argv[1:]))
"""


def test_workers_of_data_loaders_begin_with_what_they_need_imported(tmp_path):
    # and are no copies of a process that may have threads of NCCL: here, one that has imported mmengine
    opt = small_options(tmp_path)
    opt["train"]["total_iter"] = 1
    opt["datasets"]["train"] |= {"batch_size_per_gpu": 1, "num_worker_per_gpu": 1}
    warm.together(tmp_path, "-c", WORKERS, "-opt", write_options(tmp_path, opt))
    for rank in range(2):
        assert (tmp_path / f"found_{rank}").read_text() == "torch basicsr.data vlif_plugin.data"


@pytest.mark.slow
def test_a_killed_worker_ends_the_job_and_the_job_goes_on_to_the_bit(together):
    folder, opt = together
    opt = opt | {"name": "killed"}
    words = training(folder, opt)
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")
    job = warm.start(folder, *launcher, *words)
    run_folder = folder / "experiments" / "killed"
    state = run_folder / "training_states" / "2.state"
    wait_for(lambda: state.exists() or job.poll() is not None)
    assert job.poll() is None, job.stderr[-3000:]
    os.kill(children_of(job.pid)[1], signal.SIGKILL)
    assert job.wait(60) != 0
    said = warm.together(folder, *words, "--auto_resume")
    assert "Resuming training from" in said[0]
    uninterrupted = folder / "experiments" / "together"
    for name in ("net_g_latest", f"net_g_{ITERATIONS}", "net_g_best_psnr_y_rain_val"):
        ours, theirs = (
            load_tensors(f / "models" / f"{name}.pth") for f in (run_folder, uninterrupted)
        )
        for key in ("params", "params_ema"):
            assert all(torch.equal(ours[key][k], theirs[key][k]) for k in theirs[key]), (name, key)
    assert numbers(run_folder) == numbers(uninterrupted)
    ours, theirs = (
        load_tensors(f / "training_states" / f"{ITERATIONS}.state")
        for f in (run_folder, uninterrupted)
    )
    assert all(
        torch.equal(a["torch"], b["torch"])
        for a, b in zip(ours["random"], theirs["random"], strict=True)
    )
