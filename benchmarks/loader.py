"""How fast training data come, and what share of a training step that is.

    make bench-loader                      # photographs of scikit-image, written as 100 pairs of 481x321
    python benchmarks/loader.py --data datasets/Rain200H/train --step

Batches of 12 patches of 64x64 by one worker, as in the option files. Each loader is measured in turn,
several times over, because machines are noisy: look at the ratios. Stock BasicSR's
``PairedImageDataset`` on the same LMDBs is there to compare with. With ``--step`` a training step of the
full-size official network on the same batch is timed as well; it needs 13 GB.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

BATCH, PATCH = 12, 64


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with input.lmdb and target.lmdb")
    parser.add_argument("--pairs", type=int, default=100, help="how many to write without --data")
    parser.add_argument("--batches", type=int, default=60, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", action="store_true", help="time a training step too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = args.data or write_pairs(Path(scratch), args.pairs)
        datasets = build(data, Path(scratch))
        times: dict[str, list[float]] = {name: [] for name in datasets}
        for _ in range(args.rounds):
            for name, dataset in datasets.items():
                times[name].append(seconds_per_batch(dataset, args.batches))
    step = training_step() if args.step else None
    print(f"\n{BATCH} patches of {PATCH}x{PATCH}, one worker, {torch.get_num_threads()} threads\n")
    share = " | share of a training step" if step else ""
    print(f"| loader | images/s, median (least, most) | ms for a batch{share} |")
    print("| --- | ---: | ---: |" + (" ---: |" if step else ""))
    for name, values in times.items():
        rates = [BATCH / value for value in values]
        median = statistics.median(values)
        row = f"| {name} | {BATCH / median:.0f} ({min(rates):.0f}, {max(rates):.0f}) | {1000 * median:.1f} |"
        print(row + (f" {100 * median / step:.2f} % |" if step else ""))
    if step:
        print(f"\none training step of the full-size official network: {step:.2f} s")


def write_pairs(folder: Path, count: int) -> Path:
    """Pieces of scikit-image's photographs with synthetic rain, in LMDBs."""
    import skimage.data

    from vlif_plugin.data import add_rain, sample_layers, write_lmdb

    photographs = [
        cv2.resize(getattr(skimage.data, name)(), (600, 450), interpolation=cv2.INTER_AREA)
        for name in ("astronaut", "coffee", "chelsea", "rocket")
    ]
    rng = np.random.default_rng(0)
    clean, rainy = {}, {}
    for index in range(count):
        top, left = rng.integers(450 - 321), rng.integers(600 - 481)
        piece = photographs[index % 4][top : top + 321, left : left + 481, :3].astype(np.uint8)
        layers = sample_layers(rng, heavy=True)
        wet = add_rain((piece / 255).astype(np.float32), layers, rng)
        key = f"{index:04d}"
        clean[key], rainy[key] = piece, np.round(wet * 255).astype(np.uint8)
    write_lmdb(clean.items(), folder / "target.lmdb")
    write_lmdb(rainy.items(), folder / "input.lmdb")
    return folder


def build(data: Path, scratch: Path) -> dict[str, Dataset[Any]]:
    """The datasets that are compared, by name."""
    from basicsr.data import build_dataset

    from vlif_plugin.basicsr_host import register_all
    from vlif_plugin.data import LmdbSource, save_image

    register_all()
    clean = LmdbSource(data / "target.lmdb")
    rainy = LmdbSource(data / "input.lmdb")
    for side, source in (("gt", clean), ("lq", rainy)):
        for key in source.keys()[:100]:
            save_image(source.read(key)[..., ::-1], scratch / "folders" / side / f"{key}.png")
    common = {"phase": "train", "scale": 1, "gt_size": PATCH, "use_hflip": True, "use_rot": False}
    roots = {
        "dataroot_lq": str(data / "input.lmdb"),
        "dataroot_gt": str(data / "target.lmdb"),
        "io_backend": {"type": "lmdb"},
    }
    loader = {"batch_size_per_gpu": BATCH, "num_worker_per_gpu": 1}
    ours = {**common, **loader}
    sections = {
        "PairedRainDataset, LMDB": {**ours, **roots, "type": "PairedRainDataset"},
        "PairedRainDataset, folders of PNG": {
            **ours,
            "type": "PairedRainDataset",
            "dataroot_lq": str(scratch / "folders" / "lq"),
            "dataroot_gt": str(scratch / "folders" / "gt"),
        },
        "SyntheticRainDataset, rendered rain": {
            **ours,
            "type": "SyntheticRainDataset",
            "dataroot_gt": roots["dataroot_gt"],
        },
        "SyntheticRainDataset, recorded streaks": {
            **ours,
            "type": "SyntheticRainDataset",
            "dataroot_gt": roots["dataroot_gt"],
            "dataroot_streaks": roots["dataroot_lq"],
        },
        "BasicSR's PairedImageDataset, LMDB": {**common, **roots, "type": "PairedImageDataset"},
    }
    return {name: build_dataset({"name": name, **s}) for name, s in sections.items()}


def seconds_per_batch(dataset: Dataset[Any], batches: int) -> float:
    """Mean time between batches once the worker runs."""
    sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**6)  # pyright: ignore
    loader = DataLoader(dataset, BATCH, sampler=sampler, num_workers=1, drop_last=True)
    batch = iter(loader)
    for _ in range(5):
        next(batch)
    start = time.perf_counter()
    for _ in range(batches):
        next(batch)
    return (time.perf_counter() - start) / batches


def training_step(steps: int = 2) -> float:
    """Seconds for a step of the full-size official network, batch 12 of 64x64, float32."""
    from vlif_plugin.archs import VLIFNet
    from vlif_plugin.losses import SSIMLoss

    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = VLIFNet(
        formulation="official",
        dim=48,
        en_num_blocks=[4, 8],
        de_num_blocks=[2, 2],
        use_refinement=False,
    )
    net = net.to(device).train()
    loss, optimizer = SSIMLoss(), torch.optim.AdamW(net.parameters(), lr=1e-3)
    rainy, clean = torch.rand(2, BATCH, 3, PATCH, PATCH, device=device)
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss(net(rainy), clean).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
