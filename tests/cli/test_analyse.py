"""`vlif analyse`: what is printed, the files, the page, wrong input."""

import csv
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
import yaml
from browser import act_on, needs_browser
from helpers import FORMS, SMALL, make_live, photograph
from page_reader import Reader

from vlif_plugin import cli
from vlif_plugin.analysis import analyse, claims
from vlif_plugin.archs import VLIFNet
from vlif_plugin.cli import analysis_pictures
from vlif_plugin.data import load_image
from vlif_plugin.errors import DataError

NETWORK = {"type": "VLIFNet", **SMALL}
HOSTILE = "a<b>&'\"{{ 7 * 7 }}"
TABLES = {"repetition.csv", "spectra.csv", "activation.csv", "task.csv"}
PICTURES = {"repetition.png", "spectra.png", "response.png", "activation.png", "task.png"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Option files, live weights, photographs."""
    folder = tmp_path_factory.mktemp("analyse")
    torch.manual_seed(0)
    (folder / "net.yml").write_text(yaml.safe_dump({"network_g": NETWORK}))
    nafnet = {
        "type": "NAFNet",
        **{k: list(v) if isinstance(v, tuple) else v for k, v in FORMS["NAFNet"][1].items()},
    }
    (folder / "nafnet.yml").write_text(yaml.safe_dump({"network_g": nafnet}))
    net = make_live(VLIFNet(**SMALL), torch.rand(2, 3, 32, 32))
    torch.save({"params": net.state_dict()}, folder / "net.pth")
    for name, seed in ((f"{HOSTILE}.png", 1), ("clean.png", 2)):
        cv2.imwrite(str(folder / name), photograph(40, 48, seed))
    cv2.imwrite(str(folder / "small.png"), photograph(12, 48))
    (folder / "folder").mkdir()
    (folder / "text.png").write_text("no image")
    return folder, net


@pytest.fixture(scope="module")
def written(files):
    folder, net = files
    words = [
        "--opt",
        "net.yml",
        "-w",
        "net.pth",
        "--input",
        f"{HOSTILE}.png",
        "--gt",
        "clean.png",
        "-o",
        "out",
    ]
    words = [str(folder / word) if "." in word or word == "out" else word for word in words]
    words = ["analyse", *words, "--size", "32", "--times", "2"]
    assert cli.main(words) == 0
    image, clean = (
        load_image(folder / name).rgb[..., 4:36, 8:40] for name in (f"{HOSTILE}.png", "clean.png")
    )
    return folder / "out", analyse(net, image, clean=clean, times=2)


def rows(path):
    return list(csv.DictReader(path.open()))


def test_tables_hold_what_the_functions_return(written):
    folder, found = written
    assert {path.name for path in folder.iterdir()} == TABLES | PICTURES | {
        "layers.csv", "rates.csv", "rates.png", "analysis.json", "index.html",
    }  # fmt: skip
    own = next(iter(found.repetitions.values()))
    first = rows(folder / "repetition.csv")[:3]
    assert [float(row["norm"]) for row in first] == [e.norm for e in own.applications]
    layers = rows(folder / "layers.csv")
    assert [(row["layer"], float(row["lift_high"])) for row in layers] == [
        (layer.name, layer.indication.lift_high) for layer in found.layers
    ]
    rates = [float(row["rate"]) for row in rows(folder / "rates.csv")]
    assert rates == [rate for layer in found.layers for rate in layer.rates]
    lif = [
        r
        for r in rows(folder / "activation.csv")
        if r["neuron"] == "LIF, threshold 1" and r["active"] == "ever"
    ]
    assert sum(int(row["active_inputs"]) for row in lif) == 674
    record = json.loads((folder / "analysis.json").read_text())
    assert record["layer"] == found.layer
    assert record["image"] == HOSTILE
    assert (
        record["in_the_network"]["all VLIF layers, in the network"]["share"]
        == found.pooled(visual=True).share
    )
    assert [layer["rate"] for layer in record["layers"]] == [layer.rate for layer in found.layers]


def test_pictures_show_something(written):
    folder, _ = written
    for name in PICTURES | {"rates.png"}:
        picture = cv2.imread(str(folder / name))
        assert picture.shape[0] > 200
        assert picture.std() > 20


def test_the_page_is_complete_and_says_what_was_measured(written):
    folder, found = written
    reader = Reader()
    reader.feed((folder / "index.html").read_text("utf-8"))
    reader.close()
    assert reader.open == []
    for element in reader.elements:
        for name, value in element["attrs"].items():
            if name in ("src", "href"):
                assert value.startswith(("data:", "#"))
    assert reader.all("h1")[0]["text"] == f"VLIFNet on {HOSTILE}"
    assert "49" not in reader.all("h1")[0]["text"]
    sources = [
        e for e in reader.all("img") if e["attrs"]["src"].startswith("data:image/webp;base64,")
    ]
    assert len(sources) == 2 * 3 + 6 + len(found.layers) + 2 * 6  # fig. 1, 2b, layers, 6c
    for layer in found.layers:
        assert any(layer.name in e["text"] for e in reader.within("rates", "th"))
    assert len(reader.within("claims", "li")) == len(claims(found))


@needs_browser
@pytest.mark.parametrize("size", [(390, 844), (1280, 900)], ids=["phone", "desktop"])
def test_the_page_fits_phones_and_screens(written, tmp_path, size):
    script = """<script>
    const out = document.createElement("pre");
    out.id = "found";
    document.getElementById("theme").click();
    addEventListener("load", () => {
      out.textContent = JSON.stringify({
        width: [document.documentElement.scrollWidth, innerWidth], errors: failures,
        shown: [...document.images].every((image) => image.complete && image.naturalWidth > 0),
        dark: getComputedStyle(document.body).backgroundColor,
        drawings: [...document.querySelectorAll(".drawing")]
          .map((d) => [d.className, getComputedStyle(d).display, d.getBoundingClientRect().right]),
      });
      document.body.append(out);
    });
    </script>"""
    found = act_on((written[0] / "index.html").read_text("utf-8"), script, tmp_path, size)
    assert found["errors"] == []
    assert found["shown"]
    assert found["width"][0] <= found["width"][1]
    assert found["dark"] == "rgb(22, 24, 27)"
    shown = "narrow" if size[0] == 390 else "wide"
    for name, display, right in found["drawings"]:
        assert (display != "none") == (shown in name)
        assert right <= found["width"][1]


def test_a_network_without_neurons_has_all_but_maps_of_firing(files, tmp_path, capsys):
    folder, _ = files
    words = [
        "analyse",
        "--opt",
        str(folder / "nafnet.yml"),
        "--input",
        str(folder / "clean.png"),
        "--size",
        "0",
    ]
    assert cli.main([*words, "--times", "1", "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "no spiking neurons: there are no firing-rate maps" in out
    assert "x is the image" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == TABLES | PICTURES | {
        "analysis.json",
        "index.html",
    }
    assert "The network has no spiking neurons" in (tmp_path / "out" / "index.html").read_text()


def test_grey_images_of_16_bits_are_analysed(files, tmp_path, capsys):
    folder, _ = files
    grey = (photograph(24, 32)[..., 0].astype(np.uint16)) * 257
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    words = [
        "analyse",
        "--opt",
        str(folder / "net.yml"),
        "--input",
        str(tmp_path / "grey.png"),
        "--size",
        "0",
    ]
    assert cli.main([*words, "--calibrate", "--times", "1"]) == 0
    out = capsys.readouterr().out
    assert "32x24" in out
    assert "not trained, BatchNorm statistics set to the image" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--opt", "net.yml", "--input", "gone.png"], "gone.png: no such image file"),
        (["--opt", "net.yml", "--input", "text.png"], "text.png: not a readable image"),
        (["--opt", "net.yml", "--input", "folder"], "folder: is a folder; one image is analysed at a time"),
        (["--opt", "net.yml", "--input", "small.png"], "small: 48x12 pixels are less than --size 256"),
        (["--opt", "net.yml", "--input", "small.png", "--size", "0"], "48x12 pixels is too small for spectra"),
        (["--opt", "net.yml", "--input", "clean.png", "--gt", "small.png"], "48x12 pixels, but clean has 48x40"),
        (["--opt", "net.yml", "--input", "clean.png", "--size", "32", "--layer", "down1"], "no neuron layer 'down1'"),
        (["--opt", "net.yml", "--times", "0"], "--times must be from 1 to 20, got 0"),
        (["--opt", "net.yml", "--cutoff", "0.8"], "--cutoff must be between 0 and 0.7, got 0.8"),
        (["--opt", "net.yml", "-o", "clean.png/out"], "clean.png is no folder that can be written"),
        (["--opt", "gone.yml"], "gone.yml"),
        ([], "name an option file with --opt, or weights with --weights"),
    ],
)  # fmt: skip
def test_wrong_commands_end_with_one_line(words, message, files, capsys, monkeypatch):
    monkeypatch.chdir(files[0])
    before = sorted(os.listdir())
    assert cli.main(["analyse", *words]) == 1
    captured = capsys.readouterr()
    (error,) = captured.err.strip().splitlines()
    assert error.startswith("error:")
    assert message in error
    assert captured.out == ""
    assert sorted(os.listdir()) == before


def test_nothing_is_left_where_a_file_cannot_be_made(files, tmp_path, capsys, monkeypatch):
    folder, _ = files

    def fail(*_):
        raise DataError("the disk is full")

    monkeypatch.setattr(analysis_pictures, "draw_panels", fail)
    words = [
        "analyse",
        "--opt",
        str(folder / "net.yml"),
        "--input",
        str(folder / "clean.png"),
        "--size",
        "32",
    ]
    assert cli.main([*words, "-o", str(tmp_path / "out")]) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_comes_without_matplotlib():
    program = (
        "import sys, vlif_plugin.cli, vlif_plugin.cli.analyse; print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
