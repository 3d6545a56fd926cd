"""All that is to be known about a GPU: correctness, neurons, convolutions, inference, training.

``python benchmarks/gpu.py [--out FOLDER] [--minutes 8]`` from a checkout; torch and Triton are enough, and
with SpikingJelly neurons are compared with its. ``--device cpu --quick`` tries the script itself on a tiny
network. A section that fails or for which no time is left says so in a line, and the next goes on; tables
are written section by section.

Of backends compile comes last wherever order is free: it alone takes long to get ready.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # on a bare machine nothing is installed
from common import OFFICIAL, Result, in_turns, live_network, ms, photograph, wait
from neurons import COLUMNS as NEURON_COLUMNS
from neurons import NEURONS, Row, captured, compare, fill, prepare_compiler, sequence
from neurons import NOTES as NEURON_NOTES
from neurons import candidates as neuron_candidates
from neurons import measure as measure_neuron
from released_order import released_order

from vlif_plugin.errors import first_line
from vlif_plugin.losses import SSIMLoss
from vlif_plugin.parts import Fusible, Part, Runner
from vlif_plugin.speed import folded, use_backend

ITERATIONS = 30_000
COMPILING = 60
"""Seconds that must be left before a network is compiled; nothing can stop it on the way."""
TINY: dict[str, Any] = {
    "dim": 8, "en_num_blocks": (1, 1), "de_num_blocks": (1, 1), "num_refinement_blocks": 1,
}  # fmt: skip
ORDER = ("torch", "triton", "compile")
"""Of backends: what takes long to get ready comes last."""
AMP = {"float32": torch.float32, "TF32": torch.float32, "bf16": torch.bfloat16}
"""Precisions by name; TF32 is torch's default for convolutions, and float32 here is without it."""


class OutOfTimeError(Exception):
    """The time that was given is used up."""


@dataclass(frozen=True)
class Bench:
    """What is measured, where, and how long.

    Attributes:
        device: ``cuda`` or ``cpu``.
        quick: a tiny network and small images, to try the script.
        backends: those that are asked for, in :data:`ORDER`.
        rounds: of timing.
        out: folder of the tables.
        until: on :func:`time.monotonic`'s clock.
    """

    device: str
    quick: bool
    backends: Sequence[str]
    rounds: int
    out: Path
    until: float

    @property
    def cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device == "cuda"

    @property
    def precisions(self) -> tuple[str, ...]:
        """Names in :data:`AMP`; CPUs have no TF32."""
        return ("float32", "TF32", "bf16") if self.cuda else ("float32", "bf16")

    def pick(self, full: int, quick: int) -> int:
        """A size, by whether this is a trial."""
        return quick if self.quick else full

    def network(self) -> nn.Module:
        """The official network with refinement, live, in eval mode, on the CPU."""
        return copy.deepcopy(_network(self.quick))

    def check_time(self, needs: float = 0) -> None:
        """Stop a section when fewer seconds than it needs are left; it keeps what it has."""
        if time.monotonic() + needs > self.until:
            raise OutOfTimeError


@cache
def _network(quick: bool) -> nn.Module:
    return live_network(**(OFFICIAL | (TINY if quick else {})))


def add(result: Result, *cells: str) -> None:
    """Add a row, and show it at once: a machine may be taken away before the table is written."""
    result.rows.append(cells)
    print(" | ".join(cells), flush=True)


@contextmanager
def trying(result: Result, what: str) -> Iterator[None]:
    """Make a failure a line of the table's notes."""
    try:
        yield
    except OutOfTimeError:
        raise
    except Exception as error:  # whatever fails on a machine that was never seen before
        line = f"FAILED: {what}: {type(error).__name__}: {first_line(error)}"
        result.notes.append(line)
        print(line, flush=True)


@contextmanager
def tf32(used: bool) -> Iterator[None]:
    """Whether float32 convolutions are done in TF32."""
    # the switch of convolutions alone: compiled parts look at that of products, and would be made anew
    kept = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = used
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = kept


@contextmanager
def computing_in(precision: str, device: str) -> Iterator[None]:
    """In one of :data:`AMP`."""
    bf16 = torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")
    with tf32(precision == "TF32"), bf16:
        yield


class Memory:
    """Most memory of a GPU that was taken since this was made, above what was held; '' on CPUs."""

    def __init__(self) -> None:
        self.held = 0
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.held = torch.cuda.memory_allocated()

    def __str__(self) -> str:
        """MB."""
        if not torch.cuda.is_initialized():
            return ""
        return f"{(torch.cuda.max_memory_allocated() - self.held) / 2**20:.0f}"


# (a) correctness


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
    from vlif_plugin.neurons.base import fire

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


# (b) neurons


def bandwidth(bench: Bench) -> float:
    """Bytes a second of a large copy, read and written."""
    source = torch.empty(bench.pick(2**28, 2**22), device=bench.device)  # floats
    target = torch.empty_like(source)
    seconds = in_turns({"copy": lambda: target.copy_(source)}, 5)["copy"]
    return 2 * source.numel() * source.element_size() / seconds


def neurons(bench: Bench, result: Result) -> None:
    """The measurements of ``neurons.py``, and the share of the memory's bandwidth that is reached."""
    ceiling = bandwidth(bench)
    print(f"a large copy moves {ceiling / 1e9:.0f} GB/s", flush=True)
    rows: list[Row] = []
    try:
        for name in NEURONS:
            bench.check_time()
            with trying(result, name):
                for row in measure_neuron(
                    name, 4, backends=bench.backends, device=bench.device, rounds=bench.rounds,
                    channels=bench.pick(48, 4), size=bench.pick(256, 16),
                ):  # fmt: skip
                    rows.append(row)
                    shown = row.failure or f"{ms(row.seconds or 0)} ms"
                    print(f"{row.case} | {row.candidate} | {shown}", flush=True)
    finally:
        fill(result, rows)
        timed = [row for row in rows if row.seconds]
        shares = {
            (row.case, row.candidate): (row.least_bytes, row.least_bytes / row.seconds)
            for row in timed
            if row.seconds
        }
        for index, cells in enumerate(result.rows):
            least, reached = shares[cells[0], cells[1]]
            result.rows[index] = [
                *cells, f"{least / 1e6:.0f}", f"{reached / 1e9:.0f}", f"{reached / ceiling:.0%}",
            ]  # fmt: skip
        result.notes += [
            *NEURON_NOTES,
            f"ceiling: {ceiling / 1e9:.0f} GB/s, a large copy on this device; least: the input and the "
            "spikes once each, and for the gradient input, spikes' gradient and result once more. A share "
            "may pass 100 % where a cache holds part of the sequence",
        ]
        if bench.cuda:
            result.notes.append(
                "calls replayed from a CUDA graph, so that Python is not in the times"
            )


# (c) convolutions


Shape = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], int]
"""Of a convolution: input, weight, stride, padding, groups."""


def convolutions_of(bench: Bench) -> Counter[Shape]:
    """The convolutions of the network on an image, and how often each comes."""
    net = folded(bench.network()).to(bench.device)
    found: Counter[Shape] = Counter()

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(layer, (nn.Conv2d, nn.Conv3d))
        weight = tuple(layer.weight.shape)
        stride, padding = layer.stride, layer.padding
        if isinstance(layer, nn.Conv3d):  # steps beside channels: a 1x1 convolution
            weight, stride, padding = (weight[0], weight[1] * weight[2], 1, 1), (1, 1), (0, 0)
        assert not isinstance(padding, str)
        shape = tuple(inputs[0].shape), weight, tuple(stride), tuple(padding), layer.groups
        found[shape] += 1

    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            layer.register_forward_hook(note)
    side = bench.pick(256, 32)
    with torch.inference_mode():
        net(photograph(side, side, bench.device))
    return found


def convolutions(bench: Bench, result: Result) -> None:
    """Each distinct convolution against what the device can: arithmetic and memory."""
    bytes_a_second = bandwidth(bench)
    peaks: dict[str, float] = {}
    for precision in bench.precisions:
        with trying(result, f"peak of a product in {precision}"):
            peaks[precision] = product_peak(bench, precision)
            print(f"peak {precision}: {peaks[precision] / 1e12:.1f} TMAC/s", flush=True)
    whole = dict.fromkeys(peaks, 0.0)
    least = dict.fromkeys(peaks, 0.0)
    with torch.inference_mode():
        for shape, count in sorted(convolutions_of(bench).items(), reverse=True):
            size, weight_size, stride, padding, groups = shape
            what = f"{tuple(size)} * {tuple(weight_size)}, stride {stride[0]}"
            cells = [what, str(count)]
            for precision, peak in peaks.items():
                bench.check_time()
                cells.append("failed")
                with trying(result, f"{what}, {precision}"), tf32(precision == "TF32"):
                    dtype = AMP[precision]
                    x, weight = (
                        torch.randn(s, device=bench.device, dtype=dtype).contiguous(
                            memory_format=torch.channels_last
                        )
                        for s in (size, weight_size)
                    )
                    options = {"stride": stride, "padding": padding, "groups": groups}
                    out = F.conv2d(x, weight, **options)
                    seconds = seconds_of(
                        lambda x=x, w=weight, o=options: F.conv2d(x, w, **o), bench
                    )
                    macs = out.numel() * weight[0].numel()
                    moved = sum(t.numel() * t.element_size() for t in (x, weight, out))
                    ceiling = max(macs / peak, moved / bytes_a_second)
                    bound = "arithmetic" if macs / peak >= moved / bytes_a_second else "memory"
                    whole[precision] += count * seconds
                    least[precision] += count * ceiling
                    cells[-1] = f"{macs / seconds / 1e9:.0f} ({ceiling / seconds:.0%} of {bound})"
            add(result, *cells)
    for precision, seconds in whole.items():
        if seconds:
            result.ratios[f"all convolutions, {precision}, share of the ceiling"] = (
                least[precision] / seconds
            )
            result.notes.append(
                f"{precision}: all convolutions of one pass take {ms(seconds)} ms, at the ceilings "
                f"{ms(least[precision])} ms; peak of a large product {peaks[precision] / 1e9:.0f} GMAC/s"
            )
    result.notes.append(
        f"GMAC/s, and the share of the ceiling that binds; memory: {bytes_a_second / 1e9:.0f} GB/s of a large "
        "copy; channels last"
    )


def seconds_of(act: Callable[[], Any], bench: Bench) -> float:
    """Seconds of one call, of several in a row on a GPU."""
    times = 10 if bench.cuda else 1

    def acts() -> None:
        for _ in range(times):
            act()

    return in_turns({"": acts}, bench.rounds)[""] / times


def product_peak(bench: Bench, precision: str) -> float:
    """Multiplications with additions a second of a large matrix product."""
    side = bench.pick(8192, 512)
    a, b = (torch.randn(side, side, device=bench.device, dtype=AMP[precision]) for _ in range(2))
    kept = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "TF32"
    try:
        return side**3 / seconds_of(lambda: a @ b, bench)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = kept


# (d) inference


def inference(bench: Bench, result: Result) -> None:
    """One image, in each order and by each backend."""
    net, side = bench.network(), bench.pick(256, 32)
    image = photograph(side, side, bench.device)
    for precision in bench.precisions:
        nets: dict[str, Callable[[], nn.Module]] = {"released order": lambda: released_order(net)}
        for backend in bench.backends:
            nets[backend] = lambda backend=backend: _with(folded(net), backend, bench.device)
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


def _with(net: nn.Module, backend: str, device: str) -> nn.Module:
    use_backend(net, backend, device)
    return net


# (e) training


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
                        ours = _with(copy.deepcopy(net).to(bench.device), name, bench.device)
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


# all of it


def sections(bench: Bench) -> Iterator[tuple[Callable[[Bench, Result], None], Result]]:
    """What is measured, in this order, and the tables that it goes to."""
    network = "tiny network" if bench.quick else "official network with refinement"
    yield correctness, Result(
        "gpu_correctness", f"Against float64 on the CPU ({network})",
        ("what", "spikes unlike float64's", "largest error", "verdict"),
    )  # fmt: skip
    yield neurons, Result(
        "gpu_neurons", "Neurons alone, T=4, float32",
        (*NEURON_COLUMNS, "MB at least", "GB/s", "of the ceiling"),
    )  # fmt: skip
    yield convolutions, Result(
        "gpu_convolutions", f"Convolutions of the {network}",
        ("input * weight", "times", *(f"GMAC/s {precision}" for precision in bench.precisions)),
    )  # fmt: skip
    yield inference, Result(
        "gpu_inference", f"Inference of the {network}",
        ("precision", "by", "ms", "times faster than released order", "MB"),
    )  # fmt: skip
    yield training, Result(
        "gpu_training", f"Training the {network}",
        (
            "precision", "by", "ms a step", "times faster than released order", "MB",
            f"hours for {ITERATIONS:,d} steps", "first loss",
        ),
    )  # fmt: skip


def main() -> None:
    """Run the sections that time allows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny network, to try the script")
    parser.add_argument("--backends", nargs="+", choices=ORDER, default=list(ORDER))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="such as training")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "gpu.py: no CUDA device here; --device cpu --quick tries the script without"
        )
    until = time.monotonic() + 60 * args.minutes
    backends = [backend for backend in ORDER if backend in args.backends]
    if args.device == "cpu" and "triton" in backends:
        print("triton left out: it needs CUDA", flush=True)
        backends.remove("triton")
    bench = Bench(args.device, args.quick, backends, args.rounds, args.out, until)
    args.out.mkdir(parents=True, exist_ok=True)
    prepare_compiler()
    for section, result in sections(bench):
        if args.only and section.__name__ not in args.only:
            continue
        start = time.monotonic()
        print(f"\n## {section.__name__}", flush=True)
        if start > until:
            print(f"{section.__name__}: left out, the time is used up", flush=True)
            continue
        try:
            with trying(result, section.__name__):
                section(bench, result)
        except OutOfTimeError:
            result.notes.append("not finished: the time was used up")
        with trying(result, f"writing {result.name}"):
            result.write(args.out)
        print(f"{section.__name__}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
