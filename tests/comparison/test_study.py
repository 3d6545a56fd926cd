"""`vlif compare --train`: killed in the middle, started again, and what it leaves."""

import contextlib
import copy
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import warm
from basicsr_model import read_log
from helpers import small_options, write_options
from killing import children_of, command_of, wait_for

from vlif_plugin import cli
from vlif_plugin.archs import load_tensors
from vlif_plugin.comparison import study
from vlif_plugin.comparison.clock import RECORD, Clock
from vlif_plugin.comparison.networks import NetworkEntry
from vlif_plugin.comparison.writing import read_comparison
from vlif_plugin.errors import OptionError, TrainingError
from vlif_plugin.option_files import read_option_file

TOTAL = 60


def entry_of(opt, run_folder):
    """A row of that training, its option file read as it is now."""
    options = read_option_file(opt)
    return NetworkEntry(
        "small", options["network_g"], str(opt), None, run_folder, None, options=options
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study whose command was killed after the first checkpoint, and started again."""
    folder = tmp_path_factory.mktemp("study")
    train = small_options(folder)
    train["train"]["total_iter"] = TOTAL
    train["logger"]["save_checkpoint_freq"] = 4
    train["val"]["val_freq"] = 30
    opt = write_options(folder, train, "train.yml")
    source = write_options(
        folder,
        {
            "name": "study",
            "networks": {"small": {"opt": opt, "weights": "trained"}},
            "cost": {"size": 32, "repeats": 1, "threads": 1},
            "path": {"results_root": str(folder / "results")},
            "num_gpu": 0,
        },
        "study.yml",
    )
    run_folder = folder / "experiments" / "small"
    # what a run leaves that was killed before its first checkpoint
    (run_folder / "training_states").mkdir(parents=True)
    (run_folder / RECORD).write_text('{"seconds": 1000.0, "iterations": null}')

    process = warm.start(folder, "-m", "vlif_plugin.cli", "compare", source, "--train")
    # BasicSR's new folder, with a state in it and the seconds so far
    wait_for(lambda: list(run_folder.glob("training_states/*.state")) or process.poll() is not None)
    wait_for(lambda: (run_folder / RECORD).is_file() or process.poll() is not None)
    assert process.poll() is None
    (training,) = children_of(process.pid)
    process.kill()
    wait_for(lambda: not command_of(training))
    states = {int(path.stem) for path in run_folder.glob("training_states/*.state")}
    before = json.loads((run_folder / RECORD).read_text())

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.chdir(folder)
        status = cli.main(["compare", source, "--train"])
    comparison = read_comparison(folder / "results" / "study" / "comparison.json")
    return SimpleNamespace(
        folder=folder, source=source, opt=opt, run_folder=run_folder, states=states,
        before=before, status=status, printed=printed.getvalue(), comparison=comparison,
        entry=entry_of(opt, run_folder),
    )  # fmt: skip


def test_a_killed_study_goes_on_where_it_was(trained):
    assert trained.status == 0
    assert trained.states
    assert max(trained.states) < TOTAL
    log = read_log(trained.run_folder)
    resumed = re.findall(r"Resuming training from epoch: \d+, iter: (\d+)", log)
    assert resumed == [str(max(trained.states))]
    assert torch.equal(
        load_tensors(trained.run_folder / "models" / f"net_g_{TOTAL}.pth")["params"][
            "output.weight"
        ],
        load_tensors(trained.run_folder / "models" / "net_g_latest.pth")["params"]["output.weight"],
    )


def test_weights_of_other_options_are_refused(trained, capsys):
    text = Path(trained.opt).read_text()
    for before, after, message in (
        (
            "manual_seed: 3",
            "manual_seed: 4",
            f"manual_seed is 4, but {trained.run_folder} was trained with 3",
        ),
        (f"total_iter: {TOTAL}", f"total_iter: {2 * TOTAL}", "holds no complete training"),
    ):
        assert before in text
        Path(trained.opt).write_text(text.replace(before, after))
        try:
            assert cli.main(["compare", trained.source, "-o", str(trained.folder / "other")]) == 1
        finally:
            Path(trained.opt).write_text(text)
        assert message in capsys.readouterr().err
    assert not (trained.folder / "other").exists()


@pytest.mark.parametrize(
    ("section", "key", "value", "name"),
    [
        ((), "backend", "compile", "backend"),
        (("path",), "pretrain_network_g", "other.pth", "path: pretrain_network_g"),
        (("train", "optim_g"), "lr", 0.1, "train: optim_g: lr"),
        (("datasets", "train"), "gt_size", 16, "datasets: train: gt_size"),
    ],
)
def test_every_option_that_decides_what_is_trained_counts(trained, section, key, value, name):
    options = copy.deepcopy(trained.entry.options)
    place = options
    for part in section:
        place = place[part]
    place[key] = value
    with pytest.raises(OptionError, match=rf": {name} is {value}, but .* was trained with"):
        study.check_trained(replace(trained.entry, options=options))
    options = copy.deepcopy(trained.entry.options)
    options["datasets"]["train"]["dataroot_gt"] = "moved"
    options["val"]["val_freq"] = 7
    study.check_trained(replace(trained.entry, options=options))


def test_a_training_does_not_go_on_with_other_options(trained, tmp_path):
    """The last start alone would not tell: BasicSR goes on under changed options, with a warning."""
    run_folder = tmp_path / "small"
    shutil.copytree(trained.run_folder, run_folder)
    opt = tmp_path / "train.yml"
    text = Path(trained.opt).read_text()
    opt.write_text(text.replace("manual_seed: 3", "manual_seed: 9"))
    (run_folder / "models" / "net_g_latest.pth").unlink()  # so that it is not complete
    with pytest.raises(OptionError, match=r"manual_seed is 9, but .* was trained with 3"):
        study.check_training(entry_of(opt, run_folder))
    shutil.copy(trained.run_folder / "models" / "net_g_latest.pth", run_folder / "models")
    manifest = json.loads((run_folder / "manifest.json").read_text())
    assert len(manifest["starts"]) == 2  # it was killed once
    manifest["starts"][-1]["options"]["manual_seed"] = 9
    (run_folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OptionError, match=r"manual_seed is 9, but .* was trained with 3"):
        study.check_trained(entry_of(opt, run_folder))


def test_seconds_of_what_others_trained_are_not_known(trained, tmp_path):
    assert study.read_training(trained.entry).seconds > 0
    record = json.loads((trained.run_folder / RECORD).read_text())
    run_folder = tmp_path / "small"
    shutil.copytree(trained.run_folder, run_folder)
    entry = entry_of(trained.opt, run_folder)
    # begun by vlif compare, and ended by basicsr train.py
    (run_folder / RECORD).write_text(json.dumps(record | {"iterations": None}))
    training = study.read_training(entry)
    assert (training.iterations, training.seconds, training.cpu_seconds) == (TOTAL, None, None)
    # begun by basicsr train.py, and ended by vlif compare
    (run_folder / RECORD).unlink()
    clock = Clock(run_folder, known=False)
    assert clock.write(cpu=1.0, at_once=True, iterations=TOTAL) >= 0
    training = study.read_training(entry)
    assert (training.seconds, training.cpu_seconds) == (None, None)


def test_an_option_file_that_is_edited_meanwhile_does_not_matter(trained, monkeypatch):
    text = Path(trained.opt).read_text()
    Path(trained.opt).write_text("half sav: [")
    try:
        assert study.is_complete(trained.entry)
        study.train(trained.entry, lambda progress: None)
        assert study.read_training(trained.entry).iterations == TOTAL
    finally:
        Path(trained.opt).write_text(text)


def test_seconds_are_added_up_over_the_parts_but_not_those_of_what_was_moved_aside(trained):
    record = json.loads((trained.run_folder / RECORD).read_text())
    assert 0 < trained.before["seconds"] < 500
    assert trained.before["seconds"] < record["seconds"] < 500
    assert record["iterations"] == TOTAL
    assert 0 < trained.before["cpu_seconds"] < record["cpu_seconds"] < 500
    archived = list(trained.run_folder.parent.glob("small_archived_*"))
    assert len(archived) == 1  # the folder without a state, and not the one that went on
    assert json.loads((archived[0] / RECORD).read_text())["seconds"] >= 1000


def test_the_row_says_how_it_was_trained(trained):
    (row,) = trained.comparison.measured
    training = row.training
    assert (training.opt, training.iterations, training.seed) == (trained.opt, TOTAL, 3)
    assert training.seconds == json.loads((trained.run_folder / RECORD).read_text())["seconds"]
    assert list(training.curve) == ["rain_val"]
    points = training.curve["rain_val"]
    assert [point.iteration for point in points] == [30, TOTAL]
    for point in points:
        path = trained.run_folder / "validation" / f"rain_val_{point.iteration}.json"
        mean = json.loads(path.read_text())["metrics"]["psnr_y"]["mean"]
        assert point.values == {"psnr_y": mean}
    # not where that folder is: tables and pages are for others to see
    assert row.weights == "experiments/small/models/net_g_latest.pth"
    assert not row.cost.calibrated
    text = (trained.folder / "results" / "study" / "comparison.md").read_text()
    assert f"| small | {TOTAL} |" in text
    assert (
        cli.main(["compare", "--from", str(trained.folder / "results/study/comparison.json")]) == 0
    )


def test_what_is_trained_is_not_trained_again(trained, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a training was started")

    monkeypatch.setattr(study.subprocess, "Popen", refuse)
    assert study.is_complete(trained.entry)
    study.train(trained.entry, refuse)
    opt = Path(trained.opt).read_text()
    longer = trained.folder / "longer.yml"
    longer.write_text(opt.replace(f"total_iter: {TOTAL}", f"total_iter: {TOTAL + 4}"))
    entry = entry_of(longer, trained.run_folder)
    assert not study.is_complete(entry)


def test_a_training_that_fails_is_told_in_one_line(trained):
    broken = trained.folder / "broken.yml"
    text = Path(trained.opt).read_text()
    broken.write_text(text.replace(f"total_iter: {TOTAL}", "total_iter: 3\n  warmup: 1"))
    entry = entry_of(broken, trained.run_folder)
    told = []
    with pytest.raises(TrainingError) as caught:
        study.train(entry, told.append)
    assert str(caught.value).startswith(
        f"{broken}: train has no option 'warmup'; did you mean warmup_iter"
    )
    assert {progress.total for progress in told} == {3}
    with pytest.raises(OptionError, match="train has no option 'warmup'"):  # found before it begins
        study.check_training(entry)


def test_rows_of_one_option_file_are_runs_of_their_own(tmp_path, monkeypatch, capsys):
    train = small_options(tmp_path)
    train["train"]["total_iter"] = 2
    train["val"]["val_freq"] = 2
    opt = write_options(tmp_path, train, "train.yml")
    rows = {
        "LIF, seed 5": {
            "opt": opt,
            "weights": "trained",
            "force_yml": ["network_g:neuron=lif", "manual_seed=5"],
        },
        "I-LIF": {
            "opt": opt,
            "weights": "trained",
            "force_yml": ["network_g:neuron=ilif"],
            "seeds": [5, 3],
        },
    }
    options = {
        "name": "study", "networks": rows, "cost": {"size": 32, "repeats": 1, "threads": 1},
        "path": {"results_root": str(tmp_path / "results")}, "num_gpu": 0,
    }  # fmt: skip
    source = write_options(tmp_path, options, "study.yml")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)

    def train_warm(entry, tell):  # as study.train does it, but for the time that imports take
        done = warm.command(tmp_path, "-m", "vlif_plugin.train", *study._flags(entry))
        assert done.returncode == 0, done.stderr

    monkeypatch.setattr(study, "train", train_warm)
    assert cli.main(["compare", source, "--train"]) == 0
    found = read_comparison(tmp_path / "results" / "study" / "comparison.json").measured
    assert [(row.name, row.training.seed, row.seeds_of) for row in found] == [
        ("LIF, seed 5", 5, None),
        ("I-LIF, seed 5", 5, "I-LIF"), ("I-LIF, seed 3", 3, "I-LIF"),
    ]  # fmt: skip
    assert [row.options["neuron"] for row in found] == ["lif", "ilif", "ilif"]
    assert found[0].training.opt.startswith(f"{opt} network_g:neuron=lif manual_seed=5")
    # the option file's own seed is the training without seeds
    assert [Path(row.weights).parts[-3] for row in found] == [
        "small_lif_seed_5", "small_i_lif_seed_5", "small_i_lif",
    ]  # fmt: skip
    assert len({row.weights_sha256 for row in found}) == 3
    rows["LIF, seed 5"]["force_yml"][1] = "manual_seed=6"
    source = write_options(tmp_path, options, "study.yml")
    capsys.readouterr()
    assert cli.main(["compare", source, "-o", str(tmp_path / "other")]) == 1
    assert "manual_seed is 6, but" in capsys.readouterr().err
