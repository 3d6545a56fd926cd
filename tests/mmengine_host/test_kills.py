"""A training that is killed again and again gives what one gives that was left alone, to the bit."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from killing import killed, largest_difference, report, script, survive

FILE = Path(__file__)
# of the clock, or of a start: no two runs have them alike
TIMES = ("time", "data_time", "experiment_name", "eta", "cfg", "seed")


def config(folder, changes):
    from mmengine_run import small_config

    config = small_config(folder)
    average = {"type": "EMAHook", "momentum": 0.1, "update_buffers": True}
    config["custom_hooks"].append(average)
    config["train_cfg"] |= {"max_iters": 12, "val_interval": 3}
    config["default_hooks"]["checkpoint"] |= {"max_keep_ckpts": 2}
    config["visualizer"] = {"type": "Visualizer", "vis_backends": []}
    for path, value in changes.items():
        *sections, last = path.split(".")
        place = config
        for section in sections:
            place = place[section]
        if isinstance(value, dict) and isinstance(place.get(last), dict):
            place[last] |= value
        else:
            place[last] = value
    return config


def outcome(work):
    """All that a run leaves but its logs and its manifest."""
    from vlif_plugin.mmengine_host.checkpoints import load_from_local

    kept = {}
    for path in sorted(p for p in work.rglob("*") if p.is_file()):
        name = str(path.relative_to(work))
        assert ".tmp" not in name, name
        assert "aside" not in name, name
        if path.suffix == ".pth":
            content = load_from_local(str(path))
            hub = content["message_hub"]
            for part in (
                content["meta"],
                hub["runtime_info"],
                hub["log_scalars"],
                hub["resumed_keys"],
            ):
                for key in [key for key in part if key.rpartition("/")[2] in TIMES]:
                    del part[key]
            hub["log_scalars"] = {k: list(v.data) for k, v in hub["log_scalars"].items()}
            kept[name] = content
        elif path.parent == work / "validation" or name in ("metrics.jsonl", "last_checkpoint"):
            kept[name] = path.read_bytes()
    return kept


def main(folder, kills, seed, changes):
    """Kill a training; runs in a process of its own, which has imported everything once."""
    import os

    torch.set_num_threads(1)
    from mmengine.config import config as configs
    from mmengine.runner import runner
    from mmengine_run import write_config

    from vlif_plugin.mmengine_host import run

    runner.collect_env = dict  # it asks compilers for their versions
    configs.FormatCode = lambda text, **_: (text, True)  # of the config, for each checkpoint
    folder = Path(folder)
    os.chdir(folder)
    file = write_config(folder, config(folder, changes))
    work = folder / "work"
    job = lambda: run.train([file, "--resume"])  # noqa: E731
    killed(job, folder, None)
    expected = outcome(work)
    differences = []

    def done():
        found = outcome(work)
        differences.append(largest_difference(expected, found))
        shutil.rmtree(work)

    shutil.rmtree(work)
    survived = survive(job, folder, kills=kills, seed=seed, longest=3.0, done=done)
    report(survived, largest_difference=max(differences), files=sorted(expected))


def killing(tmp_path, kills, seed=1, **changes):
    return script(FILE, tmp_path, kills, seed, json.dumps(changes))


def test_a_training_survives_being_killed_at_any_moment(tmp_path):
    result = killing(tmp_path, 5)
    assert result["kills"] >= 5
    assert len(result["kinds"]) > 1
    assert result["largest_difference"] == 0.0
    names = [name for name in result["files"] if name.endswith(".pth")]
    assert any(name.startswith("best_psnr_y_iter_") for name in names)
    assert len([name for name in names if name.startswith("iter_")]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"train_dataloader.num_workers": 2}], ids=["one process", "two data workers"]
)
def test_many_kills(changes, tmp_path):
    result = killing(tmp_path, 50, seed=7, **changes)
    assert set(result["kinds"]) == {"change", "half", "seconds"}
    assert result["largest_difference"] == 0.0


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
