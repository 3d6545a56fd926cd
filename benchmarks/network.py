"""One image through the full-size network: time, memory and error of each way to run it.

    make bench-network        (python benchmarks/network.py; --size, --rounds, --network ESDNet)

Ways: the released code's order of operations (``released_order.py``, the stand-in that ratios are taken to), this
project's plain path, BatchNorm folded, folded and compiled, and the last in bfloat16. Each is a process of its own;
"kept" are those that keep freed memory, as this project's commands do (``vlif_plugin.speed``). The limit is what the
network's convolutions alone take, each timed apart in channels-last memory. Errors are against float64 on a live
network, in which one spike that rounding flips changes many: the released order's own error stands beside.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from common import (
    OFFICIAL,
    Apart,
    Result,
    answer,
    in_turns,
    in_turns_apart,
    live_network,
    photograph,
)
from released_order import released_order
from torch import Tensor, nn

from vlif_plugin.speed import folded, keep_freed_memory, use_backend

WAYS = [
    "released order", "released order, kept", "plain", "plain, kept", "folded, kept", "compiled",
    "compiled, kept", "compiled, bf16, kept",
]  # fmt: skip


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=["VLIFNet", "ESDNet"], default="VLIFNet")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    net = live_network(args.network, **(OFFICIAL if args.network == "VLIFNet" else {}))
    image = photograph(args.size, args.size)
    with torch.inference_mode():
        if args.way:
            answer(way(net, args.way, image))
            return
        results = {name: way(net, name, image)() for name in WAYS}
        exact = copy.deepcopy(net).double()(image.double())
        words = ["network.py", "--network", args.network, "--size", str(args.size), "--way"]
        with contextlib.ExitStack() as stack:
            ways = {name: stack.enter_context(Apart(*words, name)) for name in WAYS}
            times = in_turns_apart(ways, args.rounds)
            memory = {name: each.megabytes() for name, each in ways.items()}
        keep_freed_memory()
        limits = {kind: conv_seconds(net, image, kind) for kind in (torch.float32, torch.bfloat16)}
    result = Result(
        f"network_{args.network.lower()}",
        f"{args.network}, official, one {args.size}x{args.size} image",
        ["way", "s", "times faster", "of the convolutions alone", "peak MB", "of released", "mean error", "dB apart"],
    )  # fmt: skip
    first = WAYS[0]
    for name in WAYS:
        limit = limits[torch.bfloat16 if "bf16" in name else torch.float32]
        error = (results[name] - exact).abs().mean().item()
        result.rows.append([
            name, f"{times[name]:.2f}", f"{times[first] / times[name]:.2f}", f"{times[name] / limit:.2f}",
            f"{memory[name]:.0f}", f"{memory[name] / memory[first]:.2f}", f"{error:.1e}",
            f"{apart(results[name], exact, image):.4f}",
        ])  # fmt: skip
        result.ratios[f"{name}: times faster"] = times[first] / times[name]
        result.ratios[f"{name}: times less memory"] = memory[first] / memory[name]
    seconds = ", ".join(f"{str(kind)[6:]} {value:.2f} s" for kind, value in limits.items())
    result.notes += [
        f"the convolutions alone: {seconds}",
        "dB apart: |PSNR against the photograph of this result - that of the float64 result|",
    ]
    result.write()


def way(net: nn.Module, name: str, image: Tensor) -> Callable[[], Tensor]:
    """A way to run the network on the image."""
    if name.startswith("released order"):
        net = released_order(net)
    elif not name.startswith("plain"):
        net = folded(net)
    if name.endswith("kept"):
        keep_freed_memory()
    if name.startswith("compiled"):
        use_backend(net, "compile")

    def act() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in name):
            return net(image)

    return act


def conv_seconds(net: nn.Module, image: Tensor, dtype: torch.dtype) -> float:
    """Seconds of the network's convolutions, each kind timed alone, in channels-last memory."""
    kinds: Counter[Any] = Counter()
    layers: dict[Any, nn.Module] = {}

    def see(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        key = (tuple(module.weight.shape), module.stride, tuple(given[0].shape))
        kinds[key] += 1
        layers[key] = module

    convolutions = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))]
    hooks = [module.register_forward_pre_hook(see) for module in convolutions]
    net(image)
    for hook in hooks:
        hook.remove()
    total = 0.0
    for key, count in kinds.items():
        layer = copy.deepcopy(layers[key]).to(dtype)
        x = torch.randn(key[2], dtype=dtype).contiguous(memory_format=torch.channels_last)
        total += count * in_turns({"": lambda layer=layer, x=x: layer(x)}, 5)[""]
    return total


def apart(result: Tensor, exact: Tensor, image: Tensor) -> float:
    """How far the PSNR of two results against the same picture lie apart, in dB."""
    errors = [(y.double().clamp(0, 1) - image).square().mean() for y in (result, exact)]
    return abs(10 * torch.log10(errors[0] / errors[1]).item())


if __name__ == "__main__":
    main()
