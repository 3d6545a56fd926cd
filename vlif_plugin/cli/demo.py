"""`vlif demo`: photographs, training, validation and a picture, with nothing but what is installed."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from vlif_plugin.data import load_image, save_image, write_lmdb
from vlif_plugin.errors import OptionError

TRAIN_PHOTOGRAPHS = (
    "astronaut",
    "rocket",
    "stereo_motorcycle",
    "camera",
    "brick",
    "grass",
    "gravel",
    "coins",
)
VAL_PHOTOGRAPHS = ("coffee", "chelsea")
COPIES = {"train": 1, "val": 2}  # it rains differently on each


class Row(TypedDict):
    """One line of the demo's table: values by metric, of the rainy and of the derained image."""

    name: str
    before: dict[str, float]
    after: dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "-opt", "--opt", default="options/demo_vlif.yml", help="option file (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Build the data where the option file looks for it, train, and show the result."""
    from vlif_plugin.basicsr_host.run import train
    from vlif_plugin.option_files import read_option_file

    opt = read_option_file(args.opt)
    try:
        opt["path"]["experiments_root"] = os.path.expanduser(opt["path"]["experiments_root"])
        sections = [opt["datasets"][phase] for phase in ("train", "val")]
        complete = all(
            section["type"] == "SyntheticRainDataset" and isinstance(section["dataroot_gt"], str)
            for section in sections
        )
        complete = complete and opt["val"]["save_img"] and bool(opt["val"]["metrics"])
        complete = complete and bool(opt["train"]["total_iter"])
    except (KeyError, TypeError) as error:
        raise OptionError(f"{args.opt}: the demo needs {error} in its option file") from error
    if not complete:
        raise OptionError(
            f"{args.opt}: the demo needs two SyntheticRainDatasets with dataroot_gt, and val: save_img and metrics"
        )
    build_data(opt["datasets"])
    status = train(["-opt", args.opt])
    if status == 0:
        show_results(opt)
    return status


def build_data(datasets: dict[str, dict[str, Any]]) -> None:
    """Write LMDBs of clean photographs for the sections ``train`` and ``val``, unless they are there."""
    for phase in ("train", "val"):
        root = Path(os.path.expanduser(datasets[phase]["dataroot_gt"]))
        if not root.exists():
            write_lmdb(_photographs(phase), root)
            print(f"photographs of scikit-image written to {root}")


def _photographs(phase: str) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for name in TRAIN_PHOTOGRAPHS if phase == "train" else VAL_PHOTOGRAPHS:
        for copy in range(COPIES[phase]):
            yield f"{name}_{copy}", _photograph(name)


def _photograph(name: str) -> NDArray[np.uint8]:
    """A photograph that scikit-image ships, (H, W, 3) RGB, at most 384 pixels long."""
    import skimage.data

    image = getattr(skimage.data, name)()
    image = image[0] if isinstance(image, tuple) else image  # stereo_motorcycle is a pair
    colour = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3]
    scale = min(1.0, 384 / max(colour.shape[:2]))
    size = round(colour.shape[1] * scale), round(colour.shape[0] * scale)
    return cv2.resize(colour, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def show_results(opt: dict[str, Any]) -> None:
    """Make the picture (rainy, derained, clean) and the table beside it, and print the table."""
    from basicsr.metrics import calculate_metric
    from basicsr.utils import tensor2img

    from vlif_plugin.basicsr_host.datasets import SyntheticRainDataset

    run_folder = Path(opt["path"]["experiments_root"]) / opt["name"]
    total = opt["train"]["total_iter"]
    val = opt["datasets"]["val"]
    dataset = SyntheticRainDataset(val | {"phase": "val"})
    metrics = opt["val"]["metrics"]
    with open(run_folder / "validation" / f"{val['name']}_{total}.csv", newline="") as file:
        derained = {row["image"]: row for row in csv.DictReader(file)}

    rows, table = [], []
    for index, key in enumerate(dataset.keys):
        item = dataset[index]
        bgr = {"img": tensor2img(item["lq"]), "img2": tensor2img(item["gt"])}
        before = {name: calculate_metric(bgr, options) for name, options in metrics.items()}
        result = load_image(run_folder / "visualization" / key / f"{key}_{total}.png")
        rows.append(np.hstack([bgr["img"], result.restore(result.rgb), bgr["img2"]]))
        after = {name: float(derained[key][name]) for name in metrics}
        table.append(Row(name=key, before=before, after=after))

    picture, text = run_folder / "demo.png", run_folder / "demo.md"
    width = min(row.shape[1] for row in rows)
    save_image(
        np.vstack([cv2.resize(row, (width, row.shape[0] * width // row.shape[1])) for row in rows]),
        picture,
    )
    text.write_text(_table(table, list(metrics)))
    print(text.read_text())
    print(
        f"picture (rainy, derained, clean): {picture}\ntable: {text}\nlog and weights: {run_folder}"
    )


def _table(rows: list[Row], metrics: list[str]) -> str:
    lines = [
        "| held-out photograph | "
        + " | ".join(f"{m} rainy | {m} derained" for m in metrics)
        + " |",
        "| --- |" + " ---: |" * (2 * len(metrics)),
    ]
    mean = [
        {m: sum(row[side][m] for row in rows) / len(rows) for m in metrics}
        for side in ("before", "after")
    ]
    for row in [*rows, Row(name="mean", before=mean[0], after=mean[1])]:
        cells = " | ".join(f"{row['before'][m]:.4f} | {row['after'][m]:.4f}" for m in metrics)
        lines.append(f"| {row['name']} | {cells} |")
    return "\n".join(lines) + "\n"
