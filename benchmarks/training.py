"""A training step of the full-size network: time and memory of each way to run it, and gradients held equal.

    make bench-training       (python benchmarks/training.py; --batch, --size, --rounds)

Time at batch 2 of 64x64, memory at batch 12, as the paper trains it; SSIM loss, forward and backward. Gradients are
compared on the live network in float64, where no rounding flips spikes. Each way is a process of its own; "kept" are
those that keep freed memory, as this project's commands do (``vlif_plugin.speed``).
"""

from __future__ import annotations

import argparse
import contextlib
import copy
from collections.abc import Callable

import torch
from common import (
    OFFICIAL,
    Apart,
    Result,
    answer,
    in_turns_apart,
    live_network,
    peak_memory,
    photograph,
)
from released_order import released_order
from torch import Tensor, nn

from vlif_plugin.losses import SSIMLoss
from vlif_plugin.speed import keep_freed_memory, use_backend

WAYS = [
    "released order", "released order, kept", "plain", "plain, kept", "compiled", "compiled, kept",
    "compiled, bf16, kept",
]  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--memory-batch", type=int, default=12)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    net = live_network(**OFFICIAL).train()
    images = patches(args.batch, args.size)
    if args.way:
        answer(way(net, args.way, images))
        return
    words = ["training.py", "--size", str(args.size), "--batch"]
    with contextlib.ExitStack() as stack:
        small = (*words, str(args.batch), "--way")
        ways = {name: stack.enter_context(Apart(*small, name)) for name in WAYS}
        times = in_turns_apart(ways, args.rounds)
    large = (*words, str(args.memory_batch), "--way")
    memory = {name: peak_memory(*large, name) for name in WAYS}
    error = gradient_error(net, images[:1])
    result = Result(
        "training",
        f"VLIFNet, official, with refinement: a training step of {args.size}x{args.size}",
        ["way", f"batch {args.batch}, s", "times faster", f"batch {args.memory_batch}, peak MB", "of released"],
    )  # fmt: skip
    first = WAYS[0]
    for name in WAYS:
        result.rows.append([
            name, f"{times[name]:.2f}", f"{times[first] / times[name]:.2f}",
            f"{memory[name]:.0f}", f"{memory[name] / memory[first]:.2f}",
        ])  # fmt: skip
        result.ratios[f"{name}: times faster"] = times[first] / times[name]
        result.ratios[f"{name}: times less memory"] = memory[first] / memory[name]
    result.notes.append(
        f"gradients of the plain path differ from the released order's by {error:.1e} of the largest of their tensor "
        "(float64)"
    )
    result.write()


def way(net: nn.Module, name: str, images: Tensor) -> Callable[[], None]:
    """A step of a copy of the network, forward and backward; gradients are let go of before the next."""
    net = released_order(net) if name.startswith("released order") else copy.deepcopy(net)
    if name.endswith("kept"):
        keep_freed_memory()
    if name.startswith("compiled"):
        use_backend(net, "compile")
    loss, target = SSIMLoss(), images * 0.9

    def act() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in name):
            result = net(images)
        loss(result.float(), target).backward()
        net.zero_grad()

    return act


def patches(batch: int, size: int) -> Tensor:
    """Pieces of a photograph."""
    image = photograph(size * batch, size)
    return torch.cat(image.split(size, dim=2))


def gradient_error(net: nn.Module, images: Tensor) -> float:
    """Largest difference of gradients, relative to the largest of each tensor, in float64.

    Weights before a BatchNorm that takes away what they do have gradients of nothing but rounding;
    differences are held against no less than a millionth of the largest gradient of all.
    """
    nets = [copy.deepcopy(net).double(), released_order(net).double()]
    for network in nets:
        network.zero_grad()
        SSIMLoss()(network(images.double()), images.double() * 0.9).backward()
    pairs = [
        (a.grad, b.grad)
        for a, b in zip(*(network.parameters() for network in nets), strict=True)
        if a.grad is not None and b.grad is not None
    ]
    least = 1e-6 * max(b.abs().max().item() for _, b in pairs)
    return max(((a - b).abs().max() / b.abs().max().clamp(min=least)).item() for a, b in pairs)


if __name__ == "__main__":
    main()
