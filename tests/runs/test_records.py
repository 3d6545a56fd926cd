"""States of generators, logs, manifests and holds on folders."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from vlif_plugin.errors import CheckpointError, OptionError, TrainingError
from vlif_plugin.files import remove_partial_files, written_whole
from vlif_plugin.records import strict_json
from vlif_plugin.runs import (
    MetricLog,
    RunFolder,
    add_start,
    kept_random_state,
    random_state,
    restore_random_state,
)
from vlif_plugin.runs.manifest import git_state, starts


def draw():
    return torch.rand(3).tolist(), np.random.randn(3).tolist(), random.gauss(0, 1)


def test_generators_go_on_from_a_state_that_was_saved_safely(tmp_path):
    draw()  # leaves half a pair of normal numbers behind in two of them
    torch.save(random_state(), tmp_path / "a")
    expected = draw()
    draw()
    restore_random_state(torch.load(tmp_path / "a", weights_only=True))
    assert draw() == expected
    with kept_random_state():
        draw()
    after = draw()
    restore_random_state(torch.load(tmp_path / "a", weights_only=True))
    assert draw() == expected
    assert draw() == after


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("torch"),
        lambda s: s.update(numpy=("MT19937", torch.zeros(3, dtype=torch.int64), 0, 0, 0.0)),
        lambda s: s.update(python=(3, "words", None)),
        lambda s: s.update(torch=torch.zeros(3)),
    ],
)
def test_a_damaged_random_state_is_refused(change):
    state = random_state()
    change(state)
    with pytest.raises(CheckpointError, match="random state is damaged"):
        restore_random_state(state)


def test_the_log_is_lines_of_strict_json_and_can_be_cut(tmp_path):
    log = MetricLog(tmp_path / "log.jsonl")
    log.write(1, {"l_pix": 0.5})
    log.write(2, {"l_pix": float("inf"), "rates": {"a": [1, float("nan")]}})
    log.write(4, {"l_pix": 0.25})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[1] == {"iter": 2, "l_pix": "inf", "rates": {"a": [1, "nan"]}}
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"iter": 5, "l_p')  # killed here
    log.cut(2)
    assert log.read() == lines[:2]
    log.write(3, {"l_pix": 1.0})
    assert [line["iter"] for line in log.read()] == [1, 2, 3]
    log.drop(lambda line: line["l_pix"] == 0.5)
    assert [line["iter"] for line in log.read()] == [2, 3]


def test_a_log_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(TrainingError, match=r"no/log\.jsonl: cannot be written \(No such file"):
        MetricLog(tmp_path / "no" / "log.jsonl").write(1, {})


def test_a_manifest_keeps_every_start(tmp_path):
    arguments = {"seed": 3, "device": "cpu", "processes": 1, "fingerprints": {"train": "abc"}}
    add_start(tmp_path, options={"name": "a", "lr": 1e-4}, **arguments)
    add_start(tmp_path, options={"name": "a"}, iteration=5, resumed_from="5.state", **arguments)
    first, second = starts(tmp_path)
    assert (first["options"], first["iteration"]) == ({"name": "a", "lr": 1e-4}, 0)
    assert (second["iteration"], second["resumed_from"]) == (5, "5.state")
    assert (first["seed"], first["datasets"]) == (3, {"train": "abc"})
    assert first["machine"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert first["git"] == git_state()
    (tmp_path / "manifest.json").write_text("{" * 9)
    add_start(tmp_path, options={}, **arguments)
    assert len(starts(tmp_path)) == 1


def test_the_commit_is_that_of_the_source(tmp_path, monkeypatch):
    from vlif_plugin.runs import manifest

    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    package = tmp_path / "vlif_plugin"
    package.mkdir()
    monkeypatch.setattr(manifest, "_PACKAGE", package)
    assert git_state() is None
    (package / "a.py").write_text("a = 1\n")
    git("init")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "a")
    state = git_state()
    assert len(state["commit"]) == 40
    assert not state["changed"]
    (package / "a.py").write_text("a = 2\n")
    assert git_state() == state | {"changed": True}


def test_half_written_files_are_found_and_nothing_else(tmp_path):
    pid = os.fork()
    if pid == 0:
        with written_whole(tmp_path / "models.pth") as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    for name in ("a.tmp", ".hidden", ".b.12.tmp2", "net_g_2.pth"):
        (tmp_path / name).write_text("kept")
    assert len(list(tmp_path.iterdir())) == 5
    assert remove_partial_files(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".b.12.tmp2", ".hidden", "a.tmp", "net_g_2.pth",
    ]  # fmt: skip


HOLD = """
import os, sys, time
from vlif_plugin.runs import RunFolder
held = RunFolder(sys.argv[1])
if os.fork() == 0:  # a worker, which outlives its parent
    time.sleep(60)
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_is_held_by_one_process_and_free_as_soon_as_it_is_killed(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(OptionError, match="another training is at work in this folder"):
                RunFolder(tmp_path)
            holder.kill()
            holder.wait()
            time.sleep(0.1)
            held = RunFolder(tmp_path)  # though the worker lives
            held.release()
            held.release()
        finally:
            os.killpg(holder.pid, signal.SIGKILL)


def test_names_that_are_no_unicode_do_not_cost_the_record():
    name = os.fsdecode(b"caf\xe9.png")
    assert json.loads(strict_json({name: [name]})) == {"caf\\udce9.png": ["caf\\udce9.png"]}
