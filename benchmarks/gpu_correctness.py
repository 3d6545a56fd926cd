"""The section of ``gpu.py`` on correctness: everything against float64 on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from common import Result, photograph
from gpu_bench import COMPILING, Bench, add, computing_in, trying
from neurons import NEURONS, compare, sequence
from neurons import candidates as neuron_candidates
from torch import Tensor, nn

from vlif_plugin.neurons.base import fire
from vlif_plugin.parts import Fusible, Part, Runner
from vlif_plugin.speed import folded, use_backend


def correctness(bench: Bench, result: Result) -> None:
    """Neurons and the whole network against float64 on the CPU."""
    size, channels = bench.pick(64, 16), bench.pick(48, 4)
    for dtype in (torch.float32, torch.bfloat16):
        for name in NEURONS:
            bench.check_time()
            calls, failures = neuron_candidates(name, bench.backends, bench.device)
            result.notes += [line for line in failures if line not in result.notes]
            x = sequence(name, 4, channels, size, dtype)
            for backend in (b for b in bench.backends if b in calls):
                what = f"{name}, {backend}, {str(dtype).removeprefix('torch.')}"
                with trying(result, what):
                    found = compare(name, calls[backend], x, bench.device)
                    verdict = "same" if found.good else "WRONG"
                    add(result, what, str(found), f"{found.gradient:.0e} (gradient)", verdict)
    whole_network(bench, result)


def whole_network(bench: Bench, result: Result) -> None:
    """The live network: differing spikes, which a rounding at a threshold begets, and the image."""
    net = folded(bench.network())
    image = photograph(bench.pick(128, 32), bench.pick(128, 32))
    exact = copy.deepcopy(net).double()
    with torch.inference_mode():
        wanted, (want,) = spikes_of(exact, lambda: (exact(image.double()),))
    on_device = image.to(bench.device)
    for precision in ("float32", "bf16"):
        for backend in bench.backends:
            bench.check_time(COMPILING if backend == "compile" else 0)
            what = f"network, {backend}, {precision}"
            with trying(result, what):
                ours = copy.deepcopy(net).to(bench.device)
                use_backend(ours, backend, bench.device)
                with torch.inference_mode(), computing_in(precision, bench.device):
                    found, (got,) = spikes_of(ours, lambda net=ours: (net(on_device),))
                if [s.shape for s in found] != [s.shape for s in wanted]:
                    raise RuntimeError("another number of neurons was seen")
                pairs = zip(found, wanted, strict=True)
                differing = sum(int((a != b).sum()) for a, b in pairs)
                total = sum(s.numel() for s in wanted)
                error = (got.cpu().double() - want).abs()
                shown = f"{error.max():.1e} (image; mean {error.mean():.1e})"
                add(result, what, f"{differing} of {total} ({differing / total:.1e})", shown, "")


def spikes_of(net: nn.Module, act: Callable[[], Any]) -> tuple[list[Tensor], Any]:
    """Spikes of all neurons in the order of the network, float32 on the CPU, and what ``act`` gives.

    Hooks would make parts run plainly, so this listens between parts and what runs them. Of a part
    that keeps its neuron's spikes to itself, the neuron is run once more by the same backend.
    """
    seen: list[Tensor] = []
    deep = 0

    def listening(runner: Runner) -> Runner:
        def run(part: Part, module: nn.Module, *tensors: Any) -> Any:
            nonlocal deep
            deep += 1
            try:
                out = runner(part, module, *tensors)
            finally:
                deep -= 1
            if deep == 0 and "fire" in part.__name__:
                spikes = out
                if part.__name__ == "fire_and_mix":
                    spikes = runner(fire, module.neuron, *tensors)
                seen.append(spikes.float().cpu())
            return out

        return run

    kept = {module: module.runner for module in net.modules() if isinstance(module, Fusible)}
    for module, runner in kept.items():
        module.runner = listening(runner)
    try:
        return seen, act()
    finally:
        for module, runner in kept.items():
            module.runner = runner
