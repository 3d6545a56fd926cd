"""A training that is killed again and again gives what one gives that was left alone, to the bit."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from helpers import small_options, write_options
from killing import killed, largest_difference, report, script, survive

from vlif_plugin.archs import load_tensors

FILE = Path(__file__)


def options(folder, **train):
    opt = small_options(folder)
    opt["train"] |= {
        "total_iter": 14,
        "ema_decay": 0.9,
        # draws of the process itself, beside those of the data
        "progressive": {"iters": [5, 20], "batch_sizes": [2, 1], "gt_sizes": [16, 32]},
    } | train  # fmt: skip
    opt["datasets"]["train"]["dataset_enlarge_ratio"] = 2.5  # epochs of five iterations
    opt["val"] |= {"val_freq": 3, "save_best": "psnr_y"}
    opt["logger"] |= {"save_checkpoint_freq": 2, "keep_states": 3}
    return opt


def outcome(run):
    """All that a run leaves but its logs and its manifest."""
    files = {p.relative_to(run): p for p in sorted(run.rglob("*")) if p.is_file()}
    kept = {}
    for name, path in files.items():
        if path.suffix in (".pth", ".state"):
            kept[str(name)] = load_tensors(path)
        elif path.suffix in (".csv", ".json", ".jsonl") and path.name != "manifest.json":
            kept[str(name)] = path.read_bytes()
    strays = [str(name) for name in files if ".tmp" in name.name or "aside" in str(name)]
    assert not strays
    return kept


def same(a, b):
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    # weights_sha256 is of the file, whose bytes hold no time: it must agree as well
    return largest_difference(a, b) == 0.0 and all(
        torch.equal(x, y) for k in a if k.endswith(".pth") for x, y in tensors(a[k], b[k])
    )


def tensors(a, b):
    for key in a:
        if isinstance(a[key], torch.Tensor):
            yield a[key], b[key]
        elif isinstance(a[key], dict):
            yield from tensors(a[key], b[key])


def main(folder, kills, seed, changes):
    """Kill a training; runs in a process of its own, which has imported everything once."""
    import os

    torch.set_num_threads(1)

    from vlif_plugin.basicsr_host import run

    folder = Path(folder)
    os.chdir(folder)
    opt = options(folder, **changes.get("train", {}))
    opt["datasets"]["train"] |= changes.get("data", {})
    file = write_options(folder, opt)
    import vlif_plugin.basicsr_host.registration as registration

    registration.register_all()
    import basicsr.train  # noqa: F401 (so that the copies have it)

    run_folder = folder / "experiments" / "small"
    job = lambda: run.train(["-opt", file, "--auto_resume"])  # noqa: E731
    killed(job, folder, None)
    expected = outcome(run_folder)
    differences = []

    def done():
        found = outcome(run_folder)
        differences.append(largest_difference(found, expected))
        assert same(found, expected)
        shutil.rmtree(run_folder)

    shutil.rmtree(run_folder)
    survived = survive(job, folder, kills=kills, seed=seed, longest=2.5, done=done)
    report(
        survived, largest_difference=max(differences), best=any("best" in name for name in expected)
    )


def killing(tmp_path, kills, seed=1, **changes):
    return script(FILE, tmp_path, kills, seed, json.dumps(changes))


def test_a_training_survives_being_killed_at_any_moment(tmp_path):
    result = killing(tmp_path, 8)
    assert result["kills"] >= 8
    assert len(result["kinds"]) > 1
    assert result["largest_difference"] == 0.0
    assert result["best"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data": {"num_worker_per_gpu": 2}},
        {"data": {"num_worker_per_gpu": 1, "prefetch_mode": "cpu"}},
        {"train": {"amp": "bf16", "grad_clip": 0.01, "accumulate": 2}},
    ],
)
def test_many_kills(changes, tmp_path):
    result = killing(tmp_path, 50, seed=2, **changes)
    assert set(result["kinds"]) == {"change", "half", "seconds"}
    assert result["largest_difference"] == 0.0


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
