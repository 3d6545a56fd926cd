"""What counting costs: time and memory of ``count_ops`` beside a plain forward pass.

    make bench-counting

A live network (BatchNorm calibrated) on one 256x256 image, each in a process of its own for the memory, in
turns for the time, because machines are noisy: look at the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from vlif_plugin.archs import ARCHS
from vlif_plugin.energy import calibrate_batchnorm, count_ops

NETWORKS = {
    "VLIF, official, with refinement": (
        "VLIFNet",
        {"formulation": "official", "use_refinement": True},
    ),
    "ESDNet": ("ESDNet", {}),
}


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", nargs=2, metavar=("NETWORK", "MODE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        net, image = build(args.memory[0], args.size)
        once(net, image, args.memory[1])
        # not ru_maxrss, in which a child begins with its parent's
        status = Path("/proc/self/status").read_text()
        print(status.split("VmHWM:")[1].split()[0])
        return
    print(
        "| network | forward, s | counting, s | time ratio | forward, MB | counting, MB | memory ratio |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in NETWORKS:
        memory = {mode: peak(name, mode, args.size) for mode in ("nothing", "forward", "count")}
        used = {mode: memory[mode] - memory["nothing"] for mode in ("forward", "count")}
        net, image = build(name, args.size)
        calibrate_batchnorm(net, [image])
        times: dict[str, list[float]] = {"forward": [], "count": []}
        once(net, image, "forward")
        for _ in range(args.rounds):
            for mode, values in times.items():
                start = time.perf_counter()
                once(net, image, mode)
                values.append(time.perf_counter() - start)
        forward, count = (statistics.median(values) for values in times.values())
        print(
            f"| {name} | {forward:.2f} | {count:.2f} | {count / forward:.2f} | {used['forward']:.0f} | "
            f"{used['count']:.0f} | {used['count'] / used['forward']:.2f} |"
        )


def build(name: str, size: int) -> tuple[torch.nn.Module, torch.Tensor]:
    """A network and an image."""
    torch.manual_seed(0)
    kind, options = NETWORKS[name]
    return ARCHS[kind](**options).eval(), torch.rand(1, 3, size, size)


def once(net: torch.nn.Module, image: torch.Tensor, mode: str) -> None:
    """One pass, plain or counted, or none."""
    if mode == "count":
        count_ops(net, image)
    elif mode == "forward":
        with torch.no_grad():
            net(image)


def peak(name: str, mode: str, size: int) -> float:
    """Peak memory of a process that does one thing, in MB."""
    words = [sys.executable, __file__, "--size", str(size), "--memory", name, mode]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024


if __name__ == "__main__":
    main()
