"""Sections of ``gpu.py`` on whole networks: inference of one image, and training steps."""

from __future__ import annotations

import copy
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import Result, in_turns, ms, photograph, wait
from gpu_bench import COMPILING, Bench, Memory, add, computing_in, trying, with_backend
from neurons import captured
from released_order import released_order
from torch import Tensor, nn

from vlif_plugin.losses import SSIMLoss
from vlif_plugin.speed import folded

ITERATIONS = 30_000


def inference(bench: Bench, result: Result) -> None:
    """One image, in each order and by each backend."""
    net, side = bench.network(), bench.pick(256, 32)
    image = photograph(side, side, bench.device)
    for precision in bench.precisions:
        nets: dict[str, Callable[[], nn.Module]] = {"released order": lambda: released_order(net)}
        for backend in bench.backends:
            nets[backend] = lambda backend=backend: with_backend(folded(net), backend, bench.device)
        acts: dict[str, Callable[[], Any]] = {}
        memory: dict[str, str] = {}
        try:
            for name, build in nets.items():
                bench.check_time(COMPILING if name == "compile" else 0)
                with trying(result, f"{name}, {precision}"):
                    ours = build().to(bench.device)

                    def act(ours: nn.Module = ours, precision: str = precision) -> None:
                        with torch.inference_mode(), computing_in(precision, bench.device):
                            ours(image)

                    act()
                    wait()
                    taken = Memory()
                    act()
                    memory[name] = str(taken)
                    acts[name] = act
        finally:  # what is ready is timed, even if the time has run out
            times = in_turns(acts, bench.rounds)
            base = times.get("released order")
            for name, seconds in times.items():
                ratio = f"{base / seconds:.2f}" if base else ""
                add(result, precision, name, ms(seconds), ratio, memory[name])
                if base and name != "released order":
                    key = f"inference {precision}, {name} vs released order"
                    result.ratios[key] = base / seconds
    result.notes.append(
        f"one image of {side}x{side}; MB at the peak of a pass above what was held before; "
        "bf16: autocast; float32: without TF32, which is torch's default"
    )


def training(bench: Bench, result: Result) -> None:
    """A step with SSIM and AdamW: in each order, by each backend, and recorded as a CUDA graph."""
    net = bench.network().train()
    batch, side = bench.pick(12, 2), bench.pick(64, 16)
    clean = photograph(side, side * batch).unfold(3, side, side)[0].permute(2, 0, 1, 3)
    rain = 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    clean, rainy = clean.contiguous().to(bench.device), (clean + rain).to(bench.device)
    bases: dict[str, float] = {}
    quickly = ["released order", *(backend for backend in bench.backends if backend != "compile")]
    slowly = [backend for backend in bench.backends if backend == "compile"]
    for names in (quickly, slowly):  # if time runs out, only compiled steps are missing
        for precision, name in itertools.product(bench.precisions, names):
            for graph in (False, True) if bench.cuda else (False,):
                bench.check_time(COMPILING if name == "compile" and not graph else 0)
                what = f"{name}, graph" if graph else name
                with trying(result, f"{what}, {precision}"):
                    memory = Memory()
                    if name == "released order":
                        ours = released_order(net).to(bench.device)
                    else:
                        ours = with_backend(copy.deepcopy(net).to(bench.device), name, bench.device)
                    step = training_step(ours, rainy, clean, precision, bench.device)
                    loss = float(step())
                    seconds = step_seconds(captured(step) if graph else step, bench)
                    if what == "released order":
                        bases[precision] = seconds
                    base = bases.get(precision)
                    ratio = f"{base / seconds:.2f}" if base else ""
                    hours = f"{seconds * ITERATIONS / 3600:.2f}"
                    add(
                        result, precision, what, ms(seconds), ratio, str(memory), hours,
                        f"{loss:.5f}",
                    )  # fmt: skip
                    if base and what != "released order":
                        result.ratios[f"training {precision}, {what} vs released order"] = (
                            base / seconds
                        )
                ours = step = None  # the next needs the memory
    if not bench.cuda:
        result.notes.append("recorded steps left out: CUDA graphs need CUDA")
    result.notes.append(
        f"batch {batch} of {side}x{side}; MB of weights, optimiser and step at the peak; bf16: autocast; "
        "one after the other, not in turns, because graphs keep their memory; the first step's loss shows "
        "that all compute the same"
    )


def training_step(
    net: nn.Module, rainy: Tensor, clean: Tensor, precision: str, device: str
) -> Callable[[], Tensor]:
    """A step on the same images each time, which gives the loss."""
    loss = SSIMLoss()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, capturable=device == "cuda")

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with computing_in(precision, device):
            out = loss(net(rainy), clean)
            # inside: TF32 is chosen when a convolution's gradient runs; autocast changes nothing there
            out.backward()
        optimizer.step()
        return out.detach()

    return step


def step_seconds(step: Callable[[], Any], bench: Bench) -> float:
    """Median seconds of a step, after two to warm up."""
    times = []
    for _ in range(2 + bench.rounds):
        wait()
        start = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])
