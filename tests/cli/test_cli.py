import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import FORMS, SMALL, make_live, photograph

from vlif_plugin import cli
from vlif_plugin.archs import VLIFNet, build_network, load_strict, read_checkpoint
from vlif_plugin.data import load_image
from vlif_plugin.inference import restore_image
from vlif_plugin.option_files import read_option_file
from vlif_plugin.speed import backends

OPTIONS = Path(__file__).parents[2] / "options"


@pytest.fixture
def weights(tmp_path):
    net = make_live(VLIFNet(**SMALL, use_refinement=False), torch.rand(2, 3, 32, 32))
    options = {"type": "VLIFNet", **SMALL, "use_refinement": False}
    torch.save({"params": net.state_dict(), "network_g": options}, tmp_path / "net.pth")
    return net, str(tmp_path / "net.pth")


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def test_derain_writes_what_the_network_gives(weights, tmp_path, capsys):
    net, path = weights
    source = write(tmp_path / "in" / "a.png", photograph(30, 41))
    write(tmp_path / "in" / "b.jpg", photograph(20, 20, seed=1))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert cli.main(["derain", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-w", path]) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.png", "b.jpg"}
    expected = restore_image(net, load_image(source).rgb)
    written = load_image(tmp_path / "out" / "a.png").rgb
    assert (written - expected).abs().max() <= 0.5 / 255 + 1e-6
    assert (written - load_image(source).rgb).abs().max() > 2 / 255
    assert "2 of 2 images" in capsys.readouterr().out


def test_derain_keeps_depth_colour_and_alpha(weights, tmp_path):
    _, path = weights
    rng = np.random.default_rng(0)
    images = {
        "grey.png": rng.integers(0, 256, (17, 23), np.uint8),
        "deep.png": rng.integers(0, 65536, (17, 23, 3), np.uint16),
        "alpha.png": rng.integers(0, 256, (17, 23, 4), np.uint8),
    }
    for name, image in images.items():
        write(tmp_path / "in" / name, image)
    assert (
        cli.main(
            ["derain", str(tmp_path / "in" / "*.png"), "-o", str(tmp_path / "out"), "-w", path]
        )
        == 0
    )
    for name, image in images.items():
        result = cv2.imread(str(tmp_path / "out" / name), cv2.IMREAD_UNCHANGED)
        assert (result.shape, result.dtype) == (image.shape, image.dtype)
        assert not np.array_equal(result, image)
        if name == "alpha.png":
            assert np.array_equal(result[..., 3], image[..., 3])


def test_derain_goes_on_after_a_bad_file_and_says_so(weights, tmp_path, capsys):
    _, path = weights
    write(tmp_path / "in" / "a.png", photograph(16, 16))
    (tmp_path / "in" / "b.png").write_bytes(b"\x89PNG broken")
    (tmp_path / "in" / "c.png").write_bytes(b"")
    write(tmp_path / "in" / "d.png", photograph(16, 16))
    assert cli.main(["derain", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-w", path]) == 1
    captured = capsys.readouterr()
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.png", "d.png"}
    assert "2 of 4 images" in captured.out
    failed = [line for line in captured.err.splitlines() if line.startswith("failed:")]
    assert len(failed) == 2
    assert "b.png" in failed[0]
    assert "c.png" in failed[1]


def test_derain_skips_what_is_there(weights, tmp_path, capsys):
    _, path = weights
    write(tmp_path / "in" / "a.png", photograph(16, 16))
    write(tmp_path / "in" / "b.png", photograph(16, 16))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    words = [
        "derain",
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "out"),
        "-w",
        path,
        "--skip-existing",
    ]
    assert cli.main(words) == 0
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
    assert "1 of 1 images" in capsys.readouterr().out


@pytest.mark.parametrize("tile", ["none", "16", "official80", "auto"])
def test_derain_tiles_as_told(tile, weights, tmp_path):
    _, path = weights
    source = write(tmp_path / "in.png", photograph(30, 41))
    assert (
        cli.main(["derain", str(source), "-o", str(tmp_path / "out"), "-w", path, "--tile", tile])
        == 0
    )
    assert load_image(tmp_path / "out" / "in.png").rgb.shape == (1, 3, 30, 41)


def test_derain_by_another_backend_and_in_bf16(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(backends, "why_not", lambda *_: None)
    used = []
    monkeypatch.setitem(backends._RUNNERS, "compile", lambda p, m, *t: used.append(p) or p(m, *t))
    write(tmp_path / "photo.png", photograph(24, 40))
    results = []
    for number, flags in enumerate(([], ["--backend", "compile"], ["--bf16"])):
        out = tmp_path / str(number)
        command = ["derain", str(tmp_path / "photo.png"), "-w", weights[1], "-o", str(out)]
        assert cli.main([*command, *flags]) == 0
        results.append(cv2.imread(str(out / "photo.png")).astype(float))
    assert used
    assert np.array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    capsys.readouterr()
    assert cli.main([*command, "--backend", "fast"]) != 0
    assert (
        "backend must be one of auto, torch, compile, triton, got 'fast'" in capsys.readouterr().err
    )


def test_derain_takes_released_checkpoints_as_they_are(tmp_path):
    net = VLIFNet(**SMALL, formulation="official")
    torch.save(
        {"epoch": 3, "state_dict": net.released_state_dict(), "optimizer": {}},
        tmp_path / "r.pth",
    )
    source = write(tmp_path / "in.png", photograph(24, 24))
    assert (
        cli.main(
            ["derain", str(source), "-o", str(tmp_path / "out"), "-w", str(tmp_path / "r.pth")]
        )
        == 0
    )
    assert (tmp_path / "out" / "in.png").is_file()


def test_derain_names_files_that_cannot_be_taken_and_does_the_rest(weights, tmp_path, capsys):
    _, path = weights
    write(tmp_path / "in" / "a.png", photograph(16, 16))
    huge = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + huge + struct.pack(">I", zlib.crc32(b"IHDR" + huge))
    (tmp_path / "in" / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    assert cli.main(["derain", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-w", path]) == 1
    captured = capsys.readouterr()
    assert "1 of 2 images" in captured.out
    assert "huge.png: not a readable image" in captured.err
    assert (tmp_path / "out" / "a.png").is_file()


def test_derain_refuses_weights_that_make_no_picture(weights, tmp_path, capsys):
    _, path = weights
    source = write(tmp_path / "a.png", photograph(16, 16))
    content = torch.load(path, weights_only=True)
    content["params"]["output.bias"] *= float("nan")
    torch.save(content, path)
    assert cli.main(["derain", str(source), "-o", str(tmp_path / "out"), "-w", path]) == 1
    assert "result is not finite" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_demo_says_what_its_options_lack(tmp_path, capsys):
    (tmp_path / "x.yml").write_text("name: x\n")
    assert cli.main(["demo", "-opt", str(tmp_path / "x.yml")]) == 1
    assert "x.yml: the demo needs 'path'" in capsys.readouterr().err
    assert cli.main(["demo", "-opt", str(tmp_path / "gone.yml")]) == 1
    assert "gone.yml: no readable option file" in capsys.readouterr().err


WRONG = {
    "output is a file": (["a.png", "-o", "foreign.pth"], "foreign.pth: is a file"),
    "suffix with a folder": (["a.png", "--suffix", "/x"], "--suffix /x: must be part"),
    "wrong entry": (["a.png", "--param-key", "wrong"], "has no entry 'wrong'"),
    "no input": (["gone.png"], "gone.png: no such image"),
    "empty folder": (["empty"], "empty: no such image, folder with images"),
    "no match": (["*.tiff"], r"*.tiff: no such image"),
    "clash": (["a.png", "sub/a.png"], "written to one file: a.png, sub/a.png"),
    "overwrite": (["a.png", "-o", "."], "results would overwrite inputs"),
    "tile": (["a.png", "--tile", "big"], "tile must be"),
    "device": (["a.png", "--device", "cuda:7"], "--device cuda:7: not available"),
    "weights": (["a.png", "-w", "gone.pth"], "gone.pth: no such weights file"),
    "foreign weights": (["a.png", "-w", "foreign.pth"], "does not tell which network"),
    "wrong option file": (["a.png", "--opt", "wrong.yml"], "has no network_g section"),
    "misfit": (["a.png", "--opt", "other.yml"], "the file has dim 16; the network has dim 24"),
}


@pytest.mark.parametrize("case", WRONG)
def test_derain_says_in_one_line_what_is_wrong(case, weights, tmp_path, capsys, monkeypatch):
    words, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.png", photograph(16, 16))
    write(tmp_path / "sub" / "a.png", photograph(16, 16))
    (tmp_path / "empty").mkdir()
    torch.save({"conv.weight": torch.ones(1)}, "foreign.pth")
    (tmp_path / "wrong.yml").write_text("name: x\n")
    (tmp_path / "other.yml").write_text(
        "network_g: {type: VLIFNet, dim: 24, en_num_blocks: [1, 2], de_num_blocks: [1, 1], use_refinement: false}\n"
    )
    assert cli.main(["derain", "-o", "out", "-w", weights[1], *words]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("error: ")
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


def test_convert_there_and_back_changes_nothing(tmp_path, capsys):
    net = VLIFNet(**SMALL, formulation="official", use_refinement=True)
    released = net.released_state_dict()
    torch.save(
        {"epoch": 3, "state_dict": {"module." + k: v for k, v in released.items()}},
        tmp_path / "r.pth",
    )
    ours, back = str(tmp_path / "ours.pth"), str(tmp_path / "back.pth")
    assert cli.main(["convert", "-w", str(tmp_path / "r.pth"), "-o", ours]) == 0
    checkpoint = read_checkpoint(ours)
    assert checkpoint.network["formulation"] == "official"
    twin = VLIFNet(**{k: v for k, v in checkpoint.network.items() if k != "type"})
    load_strict(twin, checkpoint)
    assert cli.main(["convert", "-w", ours, "-o", back, "--to", "released"]) == 0
    result = torch.load(back, weights_only=True)["state_dict"]
    assert list(result) == list(released)
    assert all(torch.equal(result[k], released[k]) for k in released)

    assert cli.main(["convert", "-w", ours, "-o", back]) == 1
    assert "back.pth: exists already" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["VLIFNetTiny", "ESDNet", "PReNet"])
def test_convert_writes_no_released_names_of_what_was_not_released(form, tmp_path, capsys):
    name, small = FORMS[form]
    options = {"type": name, **small} | ({"tau": 4.0} if name == "ESDNet" else {})
    net = build_network(options)
    torch.save({"params": net.state_dict(), "network_g": options}, tmp_path / "w.pth")
    command = ["convert", "-w", str(tmp_path / "w.pth"), "-o", str(tmp_path / "r.pth")]
    assert cli.main([*command, "--to", "released"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert f"w.pth: {name} has no released names" in error
    assert not (tmp_path / "r.pth").exists()


def test_safetensors_are_written_and_read_like_any_weights(weights, tmp_path, capsys):
    net, path = weights
    safe = str(tmp_path / "net.safetensors")
    assert cli.main(["convert", "-w", path, "-o", safe]) == 0
    checkpoint = read_checkpoint(safe)
    assert checkpoint.network == read_checkpoint(path).network | {
        k: list(v) for k, v in SMALL.items() if isinstance(v, tuple)
    }
    assert checkpoint.state.keys() == net.state_dict().keys()
    assert all(torch.equal(checkpoint.state[k], v) for k, v in net.state_dict().items())
    source = str(write(tmp_path / "in" / "a.png", photograph(30, 41)))
    for name in (path, safe):
        assert cli.main(["derain", source, "-o", f"{name}.out", "-w", name]) == 0
    results = [load_image(Path(f"{name}.out") / "a.png").rgb for name in (path, safe)]
    assert torch.equal(*results)
    words = ["convert", "-w", path, "-o", str(tmp_path / "x.safetensors"), "--to", "released"]
    assert cli.main(words) == 1
    assert "name a .pth file" in capsys.readouterr().err


def test_convert_refuses_what_has_no_released_names(weights, tmp_path, capsys):
    words = ["convert", "-w", weights[1], "-o", str(tmp_path / "x.pth"), "--to", "released"]
    assert cli.main(words) == 1
    assert "but in the official formulation" in capsys.readouterr().err
    assert not (tmp_path / "x.pth").exists()


def test_doctor_reports_and_tries(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"torch {torch.__version__.partition('+')[0]}" in out
    assert "load_resume_state: resume without a GPU" in out
    assert "gradients finite" in out


def test_demo_data_are_seeded_and_kept_apart(tmp_path, monkeypatch):
    from vlif_plugin.basicsr_host.datasets import SyntheticRainDataset
    from vlif_plugin.cli.demo import TRAIN_PHOTOGRAPHS, VAL_PHOTOGRAPHS, build_data

    datasets = read_option_file(OPTIONS / "demo_vlif.yml")["datasets"]
    for phase, section in datasets.items():
        section["dataroot_gt"] = f"~/{phase}.lmdb"
    monkeypatch.setenv("HOME", str(tmp_path))
    build_data(datasets)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.lmdb", "val.lmdb"]
    assert not set(TRAIN_PHOTOGRAPHS) & set(VAL_PHOTOGRAPHS)
    val, again = (SyntheticRainDataset(datasets["val"] | {"phase": "val"}) for _ in range(2))
    assert val.keys == ["chelsea_0", "chelsea_1", "coffee_0", "coffee_1"]
    for index in range(4):
        item = val[index]
        assert (item["lq"] >= item["gt"]).all()
        assert (item["lq"] > item["gt"] + 0.1).float().mean() > 0.01
        assert torch.equal(item["lq"], again[index]["lq"])
    assert torch.equal(val[0]["gt"], val[1]["gt"])  # one photograph in two rains
    assert not torch.equal(val[0]["lq"], val[1]["lq"])
    train = SyntheticRainDataset(datasets["train"] | {"phase": "train"})
    assert sorted(train.keys) == sorted(f"{name}_0" for name in TRAIN_PHOTOGRAPHS)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    build_data(datasets)  # is there already
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_learns_two_decibels(tmp_path):
    """The whole of `make demo`: three minutes."""
    import re

    (tmp_path / "options").symlink_to(OPTIONS)
    done = subprocess.run(
        [sys.executable, "-m", "vlif_plugin.cli", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    run_folder = tmp_path / "demo" / "experiments" / "vlif_demo"
    mean = (run_folder / "demo.md").read_text().splitlines()[-1]
    rainy, derained = (float(x) for x in re.findall(r"\d+\.\d+", mean)[:2])
    assert derained > rainy + 2
    picture = cv2.imread(str(run_folder / "demo.png"))
    assert picture.shape[1] > 900


def test_help_is_quick_to_come_and_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in cli.COMMANDS)
    program = (
        "import sys, vlif_plugin.cli\n"
        "try: vlif_plugin.cli.main(['--help'])\n"
        "except SystemExit: assert 'torch' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
