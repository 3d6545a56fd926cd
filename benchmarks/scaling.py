"""How time and memory of inference grow with timesteps, image side and batch.

``python benchmarks/scaling.py [--backend torch]`` runs the official full-size network with refinement,
BatchNorm folded, in float32, on a GPU if there is one. From the centre (4 timesteps, one image of 128x128)
one of the three is changed at a time. Memory is what a pass adds at its peak to what was held before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from common import (
    OFFICIAL,
    Result,
    answer,
    in_turns,
    live_network,
    ms,
    peak_memory,
    photograph,
)
from torch import nn

from vlif_plugin.speed import folded, use_backend

TINY: dict[str, Any] = {
    "dim": 8, "en_num_blocks": (1, 1), "de_num_blocks": (1, 1), "num_refinement_blocks": 1,
}  # fmt: skip
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Case:
    """What the network is given: T, the image's side, and images at once."""

    timesteps: int = 4
    side: int = 128
    batch: int = 1


@dataclass(frozen=True)
class Axis:
    """One series of cases.

    Attributes:
        name: of the files, behind ``scaling_``.
        title: what grows.
        label: of the horizontal axis.
        cases: the first is what the others are held against.
        value: where a case lies on the horizontal axis.
        work: how much there is to do for one image, in any unit.
    """

    name: str
    title: str
    label: str
    cases: Sequence[Case]
    value: Callable[[Case], int]
    work: Callable[[Case], int]


def axes(centre: Case, sides: Sequence[int]) -> list[Axis]:
    """The three series, through one centre."""
    return [
        Axis(
            "T", "timesteps", "timesteps T",
            [replace(centre, timesteps=t) for t in (1, 2, 4, 8)],
            lambda case: case.timesteps, lambda case: case.timesteps,
        ),
        Axis(
            "size", "the image's side", "image side in pixels",
            [replace(centre, side=side) for side in sides],
            lambda case: case.side, lambda case: case.side**2,
        ),
        Axis(
            "batch", "the batch", "images at once",
            [replace(centre, batch=batch) for batch in (1, 2, 4)],
            lambda case: case.batch, lambda _: 1,
        ),
    ]  # fmt: skip


@cache
def network(timesteps: int, backend: str, quick: bool) -> nn.Module:
    """The network for a number of timesteps, on which its attentions' weights depend."""
    net = folded(live_network(**(OFFICIAL | (TINY if quick else {})), T=timesteps)).to(DEVICE)
    use_backend(net, backend, DEVICE)
    return net


def forward(case: Case, backend: str, quick: bool) -> Callable[[], Any]:
    """A pass, to be called."""
    net = network(case.timesteps, backend, quick)
    images = photograph(case.side, case.side, DEVICE).repeat(case.batch, 1, 1, 1)
    return torch.inference_mode()(lambda: net(images))


@cache
def memory(case: Case, backend: str, quick: bool) -> float:
    """MB that a pass adds at its peak."""
    if DEVICE == "cpu":  # allocators keep what earlier passes took: in a process of its own
        sizes = [str(number) for number in (case.timesteps, case.side, case.batch)]
        words = ["--backend", backend, *(["--quick"] if quick else []), "--memory", *sizes]
        return peak_memory("scaling.py", *words)
    act = forward(case, backend, quick)
    act()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    act()
    return (torch.cuda.max_memory_allocated() - held) / 2**20


def measure(axis: Axis, backend: str, quick: bool, rounds: int, centre: Case) -> None:
    """Time a series in turns, write its table and its plot."""
    acts = {str(axis.value(case)): forward(case, backend, quick) for case in axis.cases}
    times = list(in_turns(acts, rounds).values())
    each = [seconds / case.batch for seconds, case in zip(times, axis.cases, strict=True)]
    # a tiny pass may fit into what the process holds already
    peaks = [max(memory(case, backend, quick), 0.1) for case in axis.cases]
    images = [peak / case.batch for peak, case in zip(peaks, axis.cases, strict=True)]
    work = [axis.work(case) / axis.work(axis.cases[0]) for case in axis.cases]
    size = "tiny" if quick else "official full-size"
    result = Result(
        f"scaling_{axis.name}",
        f"Inference of the {size} network by {axis.title} ({backend}, {DEVICE})",
        (
            axis.label, "ms", "ms per image", "time per image, relative", "work per image, relative",
            "MB", "MB per image, relative",
        ),
    )  # fmt: skip
    places = [axis.value(case) for case in axis.cases]
    for place, seconds, one, share, peak, image in zip(
        places, times, each, work, peaks, images, strict=True
    ):
        result.rows.append([
            str(place), ms(seconds), ms(one), f"{one / each[0]:.2f}", f"{share:.2f}",
            f"{peak:.0f}", f"{image / images[0]:.2f}",
        ])  # fmt: skip
        result.ratios[f"{axis.name}={place}, work to time, relative to the first"] = share / (
            one / each[0]
        )
    result.notes.append(
        f"the others as in T={centre.timesteps}, {centre.side}x{centre.side}, batch {centre.batch}; "
        "relative: to the first row"
    )
    result.write()
    result.plot(
        {
            "time per image": (places, [one / each[0] for one in each]),
            "memory per image": (places, [image / images[0] for image in images]),
            "in proportion to the work": (places, work),
        },
        axis.label,
        f"relative to {axis.label} = {places[0]}",
    )


def main() -> None:
    """Measure, print, write tables and plots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backend", choices=["torch", "compile", "triton"], default="compile")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tiny network and small images")
    sizes = ("T", "SIDE", "BATCH")
    parser.add_argument("--memory", type=int, nargs=3, metavar=sizes, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        act = forward(Case(*args.memory), args.backend, args.quick)
        answer(act)
        return
    centre = Case(side=32) if args.quick else Case()
    for axis in axes(centre, (16, 32, 48, 64) if args.quick else (64, 128, 256, 384)):
        measure(axis, args.backend, args.quick, args.rounds, centre)


if __name__ == "__main__":
    main()
