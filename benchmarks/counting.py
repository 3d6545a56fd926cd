"""What counting costs: time and memory of ``count_ops`` beside a plain forward pass.

    make bench-counting

A live network (BatchNorm calibrated) on one 256x256 image, each in a process of its own for the memory, in
turns for the time, because machines are noisy: look at the ratios.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from common import answer, in_turns, peak_memory

from vlif_plugin.archs import ARCHS
from vlif_plugin.energy import calibrate_batchnorm, count_ops

NETWORKS = {
    "VLIF, official, with refinement": (
        "VLIFNet",
        {"formulation": "official", "use_refinement": True},
    ),
    "ESDNet": ("ESDNet", {}),
}


MODES = ("forward", "count")


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", nargs=2, metavar=("NETWORK", "MODE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        name, mode = args.memory
        answer(partial(once, *build(name, args.size), mode))
        return
    print(
        "| network | forward, s | counting, s | time ratio | forward, MB | counting, MB | memory ratio |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in NETWORKS:
        words = ("counting.py", "--size", str(args.size), "--memory", name)
        used = {mode: peak_memory(*words, mode) for mode in MODES}
        net, image = build(name, args.size)
        calibrate_batchnorm(net, [image])
        times = in_turns({mode: partial(once, net, image, mode) for mode in MODES}, args.rounds)
        print(
            f"| {name} | {times['forward']:.2f} | {times['count']:.2f} | "
            f"{times['count'] / times['forward']:.2f} | {used['forward']:.0f} | "
            f"{used['count']:.0f} | {used['count'] / used['forward']:.2f} |"
        )


def build(name: str, size: int) -> tuple[torch.nn.Module, torch.Tensor]:
    """A network and an image."""
    torch.manual_seed(0)
    kind, options = NETWORKS[name]
    return ARCHS[kind](**options).eval(), torch.rand(1, 3, size, size)


def once(net: torch.nn.Module, image: torch.Tensor, mode: str) -> None:
    """One pass, plain or counted."""
    if mode == "count":
        count_ops(net, image)
    else:
        with torch.no_grad():
            net(image)


if __name__ == "__main__":
    main()
