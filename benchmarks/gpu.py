"""All that is to be known about a GPU: correctness, neurons, convolutions, inference, training.

``python benchmarks/gpu.py [--out FOLDER] [--minutes 8]`` from a checkout; torch and Triton are enough, and
with SpikingJelly neurons are compared with its. ``--device cpu --quick`` tries the script itself on a tiny
network. A section that fails or for which no time is left says so in a line, and the next goes on; tables
are written section by section.

Of backends compile comes last wherever order is free: it alone takes long to get ready.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # on a bare machine nothing is installed
from common import Result
from gpu_bench import ORDER, Bench, OutOfTimeError, trying
from gpu_correctness import correctness
from gpu_layers import convolutions, neurons
from gpu_networks import ITERATIONS, inference, training
from neurons import COLUMNS as NEURON_COLUMNS
from neurons import prepare_compiler


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
