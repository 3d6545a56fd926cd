"""`vlif compare`, end to end: one run of six rows, two of which are made to fail."""

import contextlib
import csv
import hashlib
import io
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import warm
from helpers import SMALL, make_live, make_pairs, photograph, write_options
from killing import children_of, command_of, wait_for

from vlif_plugin import cli
from vlif_plugin.archs import VLIFNet
from vlif_plugin.basicsr_host import run
from vlif_plugin.cli import compare_display
from vlif_plugin.comparison import writing
from vlif_plugin.comparison.rows import Comparison
from vlif_plugin.comparison.writing import read_comparison
from vlif_plugin.data import open_source
from vlif_plugin.energy import PRESETS, calibrate_batchnorm, centre, count_ops
from vlif_plugin.errors import DataError
from vlif_plugin.scoring import METRICS, NamedMetric, score_image, score_inputs

NETWORK = {
    "type": "VLIFNet",
    **{k: v if isinstance(v, int) else list(v) for k, v in SMALL.items()},
    "dim": 8,
    "T": 2,
}
ARGUMENTS = {k: v for k, v in NETWORK.items() if k != "type"}
TILE = {"size": 48, "overlap": 8}
PROTOCOLS = ["rgb_skimage", "y"]
# a tile of the first image, and a thousand of the second
SLOW = {"size": 64, "overlap": 63}
# 330 MB of features for 64x64 pixels, and hardly a weight
GREEDY = {"type": "SRVGGNetCompact", "num_feat": 20000, "num_conv": 0, "upscale": 1}
ROWS = ["input", "VLIF [live]", "untrained | net", "victim", "greedy", "last"]


def make_files(folder):
    """Two datasets, live weights, and the option file."""
    pairs = make_pairs(folder / "rain", [(64, 64), (96, 96), (40, 52)], seed=5)
    (folder / "real").mkdir()
    for seed in (1, 2):
        cv2.imwrite(str(folder / "real" / f"{seed}.png"), photograph(120, 130, seed))
    torch.manual_seed(0)
    net = make_live(VLIFNet(**ARGUMENTS), torch.rand(2, 3, 32, 32))
    torch.save({"params": net.state_dict()}, folder / "w.pth")
    small = {"type": "SRVGGNetCompact", "num_feat": 4, "num_conv": 1, "upscale": 1}
    weights = str(folder / "w.pth")
    return net, {
        "name": "six",
        "networks": {
            "VLIF [live]": {"network_g": NETWORK, "weights": weights},
            "untrained | net": {"network_g": NETWORK},
            "victim": {"network_g": NETWORK, "weights": weights, "tile": SLOW},
            "greedy": {"network_g": GREEDY},
            "last": {"network_g": small},
        },
        "datasets": {
            "test_1": {"name": "rain", "type": "PairedRainDataset", **pairs},
            "test_2": {
                "name": "real",
                "type": "PairedRainDataset",
                "dataroot_lq": str(folder / "real"),
            },
        },
        "val": {"tile": TILE, "protocols": PROTOCOLS, "pictures": {"real": 0}},
        "cost": {"size": 64, "images": 2, "repeats": 2, "threads": 1},
        "published": ["rain200h", "realrain"],
        "path": {"results_root": str(folder / "results")},
        "num_gpu": 0,
    }


def measuring():
    """The processes of this command, but no data workers that other tests left to the garbage collector."""
    return [child for child in multiprocessing.active_children() if child.name in ROWS]


class Saboteur(compare_display.Display):
    """Kills one process, and gives another too little memory."""

    def stage_begins(self, name, stage):
        super().stage_begins(name, stage)
        (child,) = measuring()
        assert child.name == name
        if (name, stage) == ("victim", "rain, 001"):
            os.kill(child.pid, signal.SIGKILL)
        if (name, stage) == ("greedy", "loading"):
            status = Path(f"/proc/{child.pid}/status").read_text()
            size = int(status.partition("VmSize:")[2].split()[0]) * 1024
            resource.prlimit(child.pid, resource.RLIMIT_AS, (size + 150 * 2**20,) * 2)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    net, opt = make_files(folder)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(compare_display, "Display", Saboteur)
        status = cli.main(["compare", write_options(folder, opt)])
    results = folder / "results" / "six"
    return SimpleNamespace(
        folder=folder,
        net=net,
        opt=opt,
        status=status,
        printed=printed.getvalue(),
        results=results,
        comparison=read_comparison(results / "comparison.json"),
    )


def row_of(done, name):
    return next(row for row in done.comparison.measured if row.name == name)


def test_all_rows_are_there_and_failures_set_the_exit_status(done):
    assert [row.name for row in done.comparison.measured] == ROWS
    assert done.status == 1
    assert [row.name for row in done.comparison.measured if row.failures] == ["victim", "greedy"]


def test_a_killed_process_becomes_a_row_that_says_so_and_keeps_what_it_had(done):
    row = row_of(done, "victim")
    assert row.failures == (
        "rain, 001: the process was ended by SIGKILL, as systems do where memory runs out",
    )
    assert row.cost.parameters == row_of(done, "VLIF [live]").cost.parameters
    (scores,) = row.scores
    assert (scores.dataset, scores.means) == ("rain", {})  # means of one image would mislead
    assert [image.image for image in scores.per_image] == ["000"]
    assert scores.per_image[0].values["psnr_y"] > 10
    assert row_of(done, "last").cost is not None


def test_running_out_of_memory_becomes_a_row_that_says_so(done):
    row = row_of(done, "greedy")
    assert (row.cost, row.scores) == (None, ())
    (failure,) = row.failures
    assert failure.startswith("cost: out of memory (")


def test_scores_are_those_of_basicsr_test(done, fresh_basicsr):
    torch.set_num_threads(1)  # as in the comparison, so that sums are of one order
    for section in ("test_1", "test_2"):
        name = done.opt["datasets"][section]["name"]
        metrics = {m: {"type": m} for m in ("piqe", "brisque")} if name == "real" else None
        opt = {
            "name": f"scored_{name}",
            "model_type": "SNNRestorationModel",
            "num_gpu": 0,
            "manual_seed": 0,
            "datasets": {"test_1": done.opt["datasets"][section]},
            "network_g": NETWORK,
            "path": {
                "results_root": str(fresh_basicsr),
                "pretrain_network_g": str(done.folder / "w.pth"),
            },
            "val": {"tile": TILE, "protocols": None if metrics else PROTOCOLS, "metrics": metrics},
        }
        assert run.test(["-opt", write_options(fresh_basicsr, opt)]) == 0
        record = json.loads((fresh_basicsr / opt["name"] / f"{name}.json").read_text())
        scores = next(s for s in row_of(done, "VLIF [live]").scores if s.dataset == name)
        assert scores.fingerprint == record["fingerprint"]
        assert scores.means == {m: v["mean"] for m, v in record["metrics"].items()}
        found = [{"image": image.image, **image.values} for image in scores.per_image]
        assert found == record["per_image"]


def test_the_degraded_images_are_the_first_row(done):
    row = done.comparison.measured[0]
    assert (row.network, row.cost) == (None, None)
    rain, real = row.scores
    source = {
        side: open_source(done.opt["datasets"]["test_1"][f"dataroot_{side}"])
        for side in ("lq", "gt")
    }
    errors = [
        np.square(
            source["lq"].read(k).astype(float) / 255 - source["gt"].read(k).astype(float) / 255
        ).mean()
        for k in ("000", "001", "002")
    ]
    assert min(errors) > 0
    assert rain.means["psnr_rgb_skimage"] == pytest.approx(
        np.mean([-10 * np.log10(e) for e in errors]), abs=1e-5
    )
    assert set(real.means) == {"piqe", "brisque"}
    assert set(rain.means) == {f"{kind}_{name}" for name in PROTOCOLS for kind in ("psnr", "ssim")}


def test_counts_are_means_over_the_cost_images(done):
    source = open_source(done.opt["datasets"]["test_1"]["dataroot_lq"])
    assert done.comparison.cost_images == ("000", "001")
    images = []
    for key in done.comparison.cost_images:
        image = torch.from_numpy(source.read(key)).permute(2, 0, 1)[None].float() / 255
        images.append(centre(image, 64))
    reports = [count_ops(done.net, image) for image in images]
    cost = row_of(done, "VLIF [live]").cost
    assert cost.sops == np.mean([report.sops for report in reports])
    assert cost.sops > 0
    assert (cost.macs, cost.dense_macs) == (reports[0].macs, reports[0].dense_macs)
    assert cost.parameters == sum(p.numel() for p in done.net.parameters())
    assert (cost.paper_parameters, cost.paper_macs) == (
        reports[0].paper.parameters,
        reports[0].paper.macs,
    )
    for name, prices in PRESETS.items():
        expected = np.mean([report.energy_uj(prices)["total"] for report in reports])
        assert cost.energy_uj[name] == pytest.approx(expected, rel=1e-12)
    assert (cost.size, cost.images, cost.calibrated) == ((64, 64), 2, False)
    assert 0 < cost.firing_rate < 1
    assert cost.elementwise == np.mean([report.elementwise_total for report in reports])
    assert len(cost.seconds) == 2
    assert min(cost.seconds) > 0
    # eight channels of 64x64 in float32 at two timesteps are 0.26 MB; some ten to thirty are held
    assert 2e6 < cost.peak_memory < 2e7


def test_without_weights_spiking_networks_are_calibrated_and_others_are_not(done):
    untrained, last = row_of(done, "untrained | net"), row_of(done, "last")
    assert (untrained.scores, untrained.weights) == ((), None)
    assert untrained.cost.calibrated
    torch.manual_seed(0)
    net = VLIFNet(**ARGUMENTS).eval()
    silent = count_ops(net, torch.rand(1, 3, 64, 64)).firing_rate
    assert untrained.cost.firing_rate > 2 * silent
    assert (last.cost.calibrated, last.cost.firing_rate, last.cost.sops) == (False, None, 0)
    assert calibrate_batchnorm(net, [torch.rand(1, 3, 64, 64)]) > 0


def test_what_a_row_rests_on(done):
    row = row_of(done, "VLIF [live]")
    assert (row.network, row.options) == ("VLIFNet", ARGUMENTS)
    assert row.weights == str(done.folder / "w.pth")
    assert row.weights_sha256 == hashlib.sha256(Path(row.weights).read_bytes()).hexdigest()
    assert (row.tile, row_of(done, "victim").tile) == (
        "size 48, overlap 8",
        "size 64, overlap 63",
    )
    assert done.comparison.command == f"vlif compare {done.folder / 'opt.yml'}"
    assert done.comparison.machine["threads"] == "1"
    assert done.comparison.datasets == {"rain": 3, "real": 2}
    lower = {metric.name: metric.lower_is_better for metric in done.comparison.metrics}
    assert lower == dict.fromkeys(
        [f"{k}_{p}" for p in PROTOCOLS for k in ("psnr", "ssim")], False
    ) | {"piqe": True, "brisque": True}


def test_pictures_are_kept_of_images_spread_evenly(done):
    pictures = {picture.image: picture for picture in done.comparison.pictures}
    assert set(pictures) == {"000", "002"}  # two of three; none of the other dataset
    assert set(pictures["000"].results) == {"VLIF [live]", "victim"}
    assert set(pictures["002"].results) == {"VLIF [live]"}
    source = {
        side: open_source(done.opt["datasets"]["test_1"][f"dataroot_{side}"])
        for side in ("lq", "gt")
    }
    picture = pictures["002"]
    for side, name in (("lq", picture.lq), ("gt", picture.gt)):
        stored = cv2.imread(str(done.results / name))[..., ::-1]
        assert np.array_equal(stored, source[side].read("002"))
    result = cv2.imread(str(done.results / picture.results["VLIF [live]"])).astype(int)
    assert result.shape == (40, 52, 3)
    assert np.abs(result - cv2.imread(str(done.results / picture.lq))).max() > 0


def test_the_record_is_strict_json_and_comes_back_as_it_was(done):
    text = (done.results / "comparison.json").read_text()

    def refuse(word):
        raise AssertionError(word)

    record = json.loads(text, parse_constant=refuse)
    assert Comparison.from_dict(record) == done.comparison
    assert (
        Comparison.from_dict(json.loads(json.dumps(done.comparison.as_dict()))).measured[1:]
        == (done.comparison.measured[1:])
    )


def test_the_csv_holds_every_row_and_the_papers_in_columns_of_their_own(done):
    with (done.results / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [row for row in rows if row["origin"] == "measured"]
    papers = [row for row in rows if row["origin"] == "paper"]
    assert [row["row"] for row in measured] == ROWS
    assert rows == measured + papers
    for found, row in zip(measured, done.comparison.measured, strict=True):
        assert found["failures"] == "; ".join(row.failures)
        assert found["macs_all"] == ("" if row.cost is None else str(row.cost.dense_macs))
        means = {s.dataset: s.means for s in row.scores}.get("rain", {})
        assert found["rain:psnr_y"] == str(means.get("psnr_y", ""))
        assert found["printed_flops_g"] == ""
    ours = [row for row in papers if row["row"] == "Ours (VLIF)"]
    assert [row["source"] for row in ours] == ["VLIF, table 1", "VLIF, table 2a"]
    assert (ours[0]["printed_flops_g"], ours[0]["printed:rain200h:PSNR"]) == ("2.794", "28.63")
    assert (ours[1]["printed_flops_g"], ours[1]["printed:realrain:PIQE"]) == ("", "24.26")
    assert all(row["macs_all"] == row["rain:psnr_y"] == "" for row in papers)


def test_the_markdown_and_the_terminal_say_the_same(done):
    text = (done.results / "comparison.md").read_text()
    assert "## rain, mean of 3 images" in text
    assert "untrained \\| net" in text
    live = row_of(done, "VLIF [live]")
    work = next(line for line in text.splitlines() if line.startswith("| VLIF [live] |"))
    assert f"{live.cost.parameters / 1e6:.6f} M" in work
    for place in (text, done.printed):
        assert "Paper: VLIF, table 2a; nothing of this was measured here" in place
        assert "not measured: victim: rain, 001: the process was ended by SIGKILL" in place
        assert "the energy is not 12.5 pJ x 12.33 G = 1.541e5 uJ" in place
        assert f"{live.scores[0].means['psnr_y']:.2f}" in place
    # an untrained network stands in no table of scores
    scores = text.partition("## rain, mean")[2].partition("## real")[0]
    assert "VLIF [live]" in scores
    assert "untrained" not in scores


def test_a_page_and_plots_lie_beside_it_and_nothing_else(done):
    top = {path.name for path in done.results.iterdir()}
    assert {"index.html", "comparison.json", "comparison.csv", "comparison.md", "pictures"} <= top
    page = (done.results / "index.html").read_text()
    assert "SIGKILL" in page
    assert "untrained | net" in page
    assert cv2.imread(str(done.results / "energy.png")).std() > 5
    assert [path.name for path in done.results.parent.iterdir()] == ["six"]  # no stage is left


def test_a_stored_comparison_is_drawn_again_elsewhere_and_in_place(done, tmp_path, capsys):
    record = done.results / "comparison.json"
    elsewhere = tmp_path / "again"
    assert cli.main(["compare", "--from", str(record), "-o", str(elsewhere)]) == 0
    names = {p.relative_to(done.results) for p in done.results.rglob("*") if p.is_file()}
    assert {p.relative_to(elsewhere) for p in elsewhere.rglob("*") if p.is_file()} == names
    for name in ("comparison.json", "comparison.csv", "comparison.md"):
        assert (elsewhere / name).read_bytes() == (done.results / name).read_bytes()
    (elsewhere / "comparison.csv").unlink()
    assert cli.main(["compare", "--from", str(elsewhere / "comparison.json")]) == 0
    assert (elsewhere / "comparison.csv").is_file()
    (elsewhere / done.comparison.pictures[0].lq).unlink()
    capsys.readouterr()
    assert cli.main(["compare", "--from", str(elsewhere / "comparison.json")]) == 1
    assert "input.png: cannot be copied" in capsys.readouterr().err


def test_a_record_that_went_alone_is_drawn_without_pictures_and_not_in_place(
    done, tmp_path, capsys
):
    alone = tmp_path / "comparison.json"
    alone.write_bytes((done.results / "comparison.json").read_bytes())
    assert cli.main(["compare", "--from", str(alone)]) == 1
    assert "its pictures are not beside it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.json"]
    assert cli.main(["compare", "--from", str(alone), "-o", str(tmp_path / "drawn")]) == 0
    assert f"without pictures, which are not in {tmp_path}" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert {"index.html", "energy.png", "comparison.csv"} <= names
    assert "pictures" not in names


def test_a_drawing_that_fails_does_not_cost_what_was_measured(done, tmp_path, capsys, monkeypatch):
    from vlif_plugin.comparison import page, runner

    measured = {row.name: row for row in done.comparison.measured}

    def remembered(job, observer):
        return measured["input" if job.entry is None else job.entry.name]

    def broken(*_):
        raise ZeroDivisionError("no axis")

    monkeypatch.setattr(runner, "_run_job", remembered)
    monkeypatch.setattr(page, "render", broken)
    target = tmp_path / "kept"
    target.mkdir()
    (target / "comparison.json").write_text("{}")  # an older comparison
    (target / "index.html").write_text("older")
    assert cli.main(["compare", str(done.folder / "opt.yml"), "-o", str(target)]) == 1
    assert (
        "plots and page could not be made (ZeroDivisionError: no axis)" in capsys.readouterr().err
    )
    assert read_comparison(target / "comparison.json").measured == done.comparison.measured
    assert not (target / "index.html").exists()


def test_an_interruption_ends_the_processes_and_changes_nothing(done, capsys, monkeypatch):
    class Interrupted(compare_display.Display):
        def stage_begins(self, name, stage):
            assert measuring()
            if (name, stage) == ("input", "rain, 001"):
                raise KeyboardInterrupt

    monkeypatch.setattr(compare_display, "Display", Interrupted)
    before = {p: p.stat().st_mtime_ns for p in done.results.parent.rglob("*")}
    source = str(done.folder / "opt.yml")
    elsewhere = str(done.results.parent / "other")
    assert cli.main(["compare", source, "--only", "last", "-o", elsewhere]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert measuring() == []
    after = {p: p.stat().st_mtime_ns for p in done.results.parent.rglob("*")}
    assert after == before


def test_some_networks_do_not_replace_the_comparison_of_all(done, capsys):
    source = str(done.folder / "opt.yml")
    assert cli.main(["compare", source, "--only", "last"]) == 1
    assert "holds a comparison already, which may be of more networks" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_command_that_is_ended(kind, done, tmp_path):
    words = ("compare", str(done.folder / "opt.yml"), "-o", str(tmp_path / "out"))
    process = warm.start(done.folder, "-m", "vlif_plugin.cli", *words)

    def measuring():  # what the server of processes has begun
        return [c for server in children_of(process.pid) for c in children_of(server)]

    wait_for(measuring)
    family = [*children_of(process.pid), *measuring()]
    os.kill(process.pid, kind)
    assert process.wait(30) == (128 + kind if kind == signal.SIGTERM else -kind)
    wait_for(lambda: not any(command_of(member) for member in family))
    if kind == signal.SIGTERM:
        assert list(tmp_path.iterdir()) == []


def test_the_working_directory_takes_no_part(tmp_path):
    network = {"type": "SRVGGNetCompact", "num_feat": 4, "num_conv": 1, "upscale": 1}
    opt = {
        "name": "elsewhere", "networks": {"small": {"network_g": network}}, "num_gpu": 0,
        "cost": {"size": 16, "repeats": 1, "threads": 1},
    }  # fmt: skip
    (tmp_path / "vlif_plugin").mkdir()
    for name in ("cv2.py", "vlif_plugin/__init__.py"):
        (tmp_path / name).write_text("import pathlib; pathlib.Path('imported').touch()\n")
    # as the installed command does, which stands in a folder of its own
    script = "import sys; del sys.path[0]; from vlif_plugin.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "compare", write_options(tmp_path, opt)]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert not (tmp_path / "imported").exists()
    (row,) = read_comparison(tmp_path / "results" / "elsewhere" / "comparison.json").measured
    assert row.name == "small"


def test_what_an_earlier_comparison_drew_goes_with_it(tmp_path):
    for name in (
        "comparison.json",
        "curves.png",
        "grids/a/old.png",
        "pictures/a/1/gone.png",
        "mine.png",
    ):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("old")
    with writing.staged(tmp_path / "out") as stage:
        for name in ("comparison.json", "grids/a/new.png"):
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).write_text("new")
    left = {
        str(p.relative_to(tmp_path / "out")): p.read_text() for p in (tmp_path / "out").rglob("*.*")
    }
    assert left == {"comparison.json": "new", "grids/a/new.png": "new", "mine.png": "old"}


def test_a_result_that_is_not_finite_has_no_score():
    gt = torch.rand(1, 3, 16, 16)
    available = score_inputs(gt * float("nan"), gt, gt, None)
    with pytest.raises(DataError, match="rain: a: the network's result is not finite"):
        score_image("a", available, [NamedMetric("p", METRICS["psnr_y"], {})], "rain")


def test_a_record_that_was_not_written_so_is_refused(done, tmp_path, capsys):
    record = json.loads((done.results / "comparison.json").read_text())
    path = tmp_path / "comparison.json"
    for change, message in (
        ({"extra": 1}, "comparison: Comparison has no extra"),
        ({"date": 3}, "comparison: date: str expected, got '3'"),
        ({"datasets": {"rain": "3"}}, "comparison: datasets: rain: int expected"),
        ({"measured": [{}]}, "comparison: measured[0]: MeasuredRow lacks name, network, options"),
        ({"cost_images": "000"}, "comparison: cost_images: list expected"),
    ):
        path.write_text(json.dumps(record | change))
        assert cli.main(["compare", "--from", str(path)]) == 1
        assert message in capsys.readouterr().err
    del record["name"]
    path.write_text(json.dumps(record))
    assert cli.main(["compare", "--from", str(path)]) == 1
    assert "Comparison lacks name" in capsys.readouterr().err
    path.write_text("{")
    assert cli.main(["compare", "--from", str(path)]) == 1
    assert "no readable comparison" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]
