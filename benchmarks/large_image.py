"""A 1920x1080 photograph in tiles: memory, and time beside what its area would take in one tile.

    make bench-large          (python benchmarks/large_image.py; --backend torch, --height, --width)

Tiles are those that ``tile: auto`` takes on a CPU. The time is put beside that of the same tiles' worth of pixels:
seconds of one tile, times the image's area over the tile's. Memory is that of the whole process,
which keeps what it freed, as ``vlif derain`` does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch
from common import OFFICIAL, Result, live_network, photograph

from vlif_plugin.inference import choose_tile, restore_image
from vlif_plugin.inference.tiles import tile_side
from vlif_plugin.speed import folded, keep_freed_memory, use_backend


def main() -> None:
    """Measure two sizes, each in a process of its own, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--backend", default="compile")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(*one(args.height, args.width, args.backend))
        return
    result = Result(
        "large_image",
        "VLIFNet, official, with refinement: large images in tiles",
        ["image", "tiles", "s", "of proportional to area", "process at its peak, MB"],
    )
    for height, width in ((args.height // 2, args.width // 2), (args.height, args.width)):
        words = [sys.executable, __file__, "--one", "--backend", args.backend]
        words += ["--height", str(height), "--width", str(width)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        tiles, seconds, ratio, peak = done.stdout.split()[-4:]
        result.rows.append([f"{width}x{height}", tiles, seconds, ratio, peak])
        result.ratios[f"{width}x{height}: share of proportional"] = 1 / float(ratio)
    result.notes.append(f"backend: {args.backend}")
    result.write()


def one(height: int, width: int, backend: str) -> tuple[str, str, str, str]:
    """Tiles, seconds, their ratio to proportional, and the process's peak in MB."""
    keep_freed_memory()
    net = folded(live_network(**OFFICIAL))
    use_backend(net, backend)
    image = photograph(height, width)
    tiling = choose_tile(net, height, width, torch.device("cpu"))
    assert tiling is not None, "the image is no large one"
    h, w = tile_side(height, tiling), tile_side(width, tiling)
    tile = image[..., :h, :w].contiguous()
    restore_image(net, tile)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        restore_image(net, tile)
        times.append(time.perf_counter() - start)
    shares: list[float] = []
    start = time.perf_counter()
    restore_image(net, image, tile="auto", progress=shares.append)
    seconds = time.perf_counter() - start
    proportional = sorted(times)[1] * height * width / (h * w)
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    return (
        f"{len(shares)}x{h}x{w}", f"{seconds:.1f}", f"{seconds / proportional:.2f}", f"{int(peak) / 1024:.0f}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
