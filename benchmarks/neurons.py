"""Each neuron alone: time of a sequence, by each backend and by SpikingJelly's neurons.

``python benchmarks/neurons.py [--size 256] [--channels 48] [--timesteps 4 16] [--backends torch compile]``
times the forward pass, and forward and backward, of a (T, 1, C, H, W) sequence in float32 with channels
last in memory, on a GPU if there is one. Before anything is timed, spikes and gradients are compared with
the plain path in float64. SpikingJelly has LIF and I-LIF, which ours are held against at its fastest; it
has no NI-LIF and no VLIF.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from common import Result, in_turns, ms
from torch import Tensor

from vlif_plugin.errors import OptionError, first_line
from vlif_plugin.neurons import ILIFNode, LIFNode, NILIFNode, SpikingNeuron, VLIFNode
from vlif_plugin.speed import keep_freed_memory, use_backend

Call = Callable[[Tensor], Tensor]
Act = Callable[[], Any]

NEURONS: dict[str, Callable[[], SpikingNeuron]] = {
    "LIF": lambda: LIFNode(tau=2.0, v_threshold=0.15, decay_input=False),
    "I-LIF": ILIFNode,
    "NI-LIF": NILIFNode,
    "VLIF": lambda: VLIFNode(r=2),
}
SPIKINGJELLY = "SpikingJelly"
NEAR = 1e-6
"""Potentials this near to a threshold may fall on either side of it in another precision."""
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Of gradients, relative to 1 + their size; bfloat16 itself has 3 digits."""


@dataclass(frozen=True)
class Agreement:
    """How a neuron's results stand to those of the plain path in float64.

    Attributes:
        differing: spikes that differ.
        unexplained: those of them whose potentials were not near a threshold.
        total: spikes in all.
        gradient: largest error, relative to 1 + size, where no potential was near a bound.
        tolerance: of the gradient.
    """

    differing: int
    unexplained: int
    total: int
    gradient: float
    tolerance: float

    @property
    def good(self) -> bool:
        """Whether it is the same neuron."""
        return self.unexplained == 0 and self.gradient <= self.tolerance

    def __str__(self) -> str:
        """For a table."""
        if self.unexplained:
            return f"{self.differing / self.total:.1e}, {self.unexplained} away from thresholds"
        return f"{self.differing / self.total:.1e}" if self.differing else "0"


@dataclass(frozen=True)
class Row:
    """One time.

    Attributes:
        neuron: of :data:`NEURONS`.
        timesteps: T.
        backward: whether the backward pass is in it.
        candidate: what ran it.
        seconds: of one call; None where it failed.
        least_bytes: that any implementation has to move.
        agreement: with float64; None where it failed.
        failure: in a line.
    """

    neuron: str
    timesteps: int
    backward: bool
    candidate: str
    seconds: float | None
    least_bytes: int
    agreement: Agreement | None
    failure: str = ""

    @property
    def case(self) -> str:
        """The pass, in words."""
        return (
            f"{self.neuron} T={self.timesteps} {'forward+backward' if self.backward else 'forward'}"
        )


def candidates(
    name: str, backends: Sequence[str], device: str
) -> tuple[dict[str, Call], list[str]]:
    """What can run a neuron, and a line for each that cannot."""
    calls: dict[str, Call] = {}
    failures = []
    for backend in backends:
        neuron = copy.deepcopy(NEURONS[name]())
        try:
            use_backend(neuron, backend, device)
        except OptionError as error:
            failures.append(f"{backend}: {first_line(error)}")
        else:
            calls[backend] = neuron
    return calls | spikingjelly(name), failures


def spikingjelly(name: str) -> dict[str, Call]:
    """SpikingJelly's neuron as it comes and compiled; none where it has no such neuron or is missing.

    Version 2.0 takes no backend: on a GPU it chooses its own CUDA or Triton kernel, else PyTorch.
    """
    try:
        from spikingjelly.activation_based import functional, neuron, surrogate
    except ImportError:
        return {}
    if name == "LIF":
        node = neuron.LIFNode(
            tau=2.0, decay_input=False, v_threshold=0.15, v_reset=0.0, detach_reset=False,
            surrogate_function=surrogate.Sigmoid(4.0), step_mode="m",
        )  # fmt: skip
    elif name == "I-LIF":
        node = neuron.ILIFNode(tau=4 / 3, detach_reset=True, step_mode="m")  # beta = 1 - 1 / tau
    else:
        return {}

    def from_rest(forward: Call) -> Call:
        def call(x: Tensor) -> Tensor:
            functional.reset_net(node)  # it keeps its potential between calls
            return forward(x)

        return call

    return {
        SPIKINGJELLY: from_rest(node),
        f"{SPIKINGJELLY}, compiled": from_rest(torch.compile(node, dynamic=False)),
    }


def sequence(
    name: str, timesteps: int, channels: int, size: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Input of a neuron, on the CPU: the same each time, and such that it fires at all its levels."""
    spread = 0.3 if name == "LIF" else 1.5
    shape = timesteps, 1, size, size, channels
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * spread
    return x.to(dtype).movedim(-1, 2)


def nearest(neuron: SpikingNeuron, x_seq: Tensor) -> tuple[Tensor, Tensor]:
    """How near potentials came to a threshold up to each step, and to any bound of a gradient in all."""
    v = torch.zeros_like(neuron.arrange(x_seq)[0])
    closest = torch.full_like(v, torch.inf)
    bound = closest
    at_step = []
    for x in neuron.arrange(x_seq):
        if isinstance(neuron, LIFNode):
            margin = (v * (1.0 - 1.0 / neuron.tau) + x - neuron.v_threshold).abs()
            edge = margin
        else:
            assert isinstance(neuron, ILIFNode)
            u = v + x
            inside = u.clamp(0, neuron.D)
            margin = (inside - inside.floor() - 0.5).abs()
            edge = torch.minimum(u.abs(), (u - neuron.D).abs())
        closest = torch.minimum(closest, margin)
        bound = torch.minimum(bound, torch.minimum(margin, edge))
        at_step.append(closest)
        _, v = neuron.step(x, v)
    return torch.stack(at_step), bound


def compare(name: str, call: Call, x: Tensor, device: str) -> Agreement:
    """Hold spikes and gradients against the plain path in float64 on the CPU.

    Args:
        name: of the neuron.
        call: runs it.
        x: input, on the CPU, in the dtype that is wanted.
        device: that ``call`` runs on.
    """
    plain = NEURONS[name]()
    exact = x.double().requires_grad_()
    want = plain(exact)
    given = torch.randn(want.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
    want.backward(given.double())
    x_there = x.to(device).detach().requires_grad_()
    got = call(x_there)
    got.backward(given.to(device))
    assert exact.grad is not None
    assert x_there.grad is not None
    with torch.no_grad():
        margin, bound = nearest(plain, exact.detach())
        differing = got.detach().cpu().double() != want
        # as the neuron's own steps, in which the bounds are known
        wanted, found = (
            torch.stack(list(plain.arrange(grad.cpu().double())))
            for grad in (exact.grad, x_there.grad)
        )
        error = (found - wanted).abs() / (1 + wanted.abs())
        error = torch.where(bound < NEAR, 0.0, error)
        return Agreement(
            differing=int(differing.sum()),
            unexplained=int((differing & (margin >= NEAR)).sum()),
            total=differing.numel(),
            gradient=float(error.max()),
            tolerance=TOLERANCE[x.dtype],
        )


def captured(act: Act) -> Act:
    """The launches of a call, recorded as a CUDA graph: what is timed is the device, and not Python."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            act()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        act()
    return graph.replay


def measure(
    name: str,
    timesteps: int,
    *,
    backends: Sequence[str],
    device: str,
    channels: int,
    size: int,
    rounds: int,
) -> Iterator[Row]:
    """Compare, then time all that can run a neuron; both passes.

    Args:
        name: of the neuron.
        timesteps: T.
        backends: of ours.
        device: ``cpu`` or ``cuda``.
        channels: C.
        size: H and W.
        rounds: of timing.
    """
    calls, failures = candidates(name, backends, device)
    for line in failures:
        yield Row(name, timesteps, False, "", None, 0, None, failure=line)
    small = sequence(name, timesteps, channels, min(size, 96))
    agreements: dict[str, Agreement] = {}
    for candidate, call in calls.items():
        try:
            agreements[candidate] = compare(name, call, small, device)
        except Exception as error:  # compilers fail in as many ways as there are machines
            line = f"{candidate}: {type(error).__name__}: {first_line(error)}"
            yield Row(name, timesteps, False, candidate, None, 0, None, failure=line)
    x = sequence(name, timesteps, channels, size).to(device)
    for backward in (False, True):
        acts: dict[str, Act] = {}
        for candidate in agreements:
            try:
                act = _act(calls[candidate], x, backward)
                acts[candidate] = _repeated(captured(act)) if device == "cuda" else act
            except Exception as error:
                line = f"{candidate}: {type(error).__name__}: {first_line(error)}"
                yield Row(name, timesteps, backward, candidate, None, 0, None, failure=line)
        # read x and write spikes; then read x and their gradient and write that of x
        least = x.numel() * x.element_size() * (5 if backward else 2)
        for candidate, seconds in in_turns(acts, rounds).items():
            once = seconds / (_REPEATS if device == "cuda" else 1)
            agreement = agreements[candidate]
            yield Row(name, timesteps, backward, candidate, once, least, agreement)


_REPEATS = 20
"""Calls between two looks at the clock on a GPU, where one takes some tens of microseconds."""


def _repeated(act: Act) -> Act:
    def acts() -> None:
        for _ in range(_REPEATS):
            act()

    return acts


def _act(call: Call, x: Tensor, backward: bool) -> Act:
    if not backward:
        return torch.no_grad()(lambda: call(x))
    leaf = x.detach().requires_grad_()
    with torch.no_grad():
        grad = torch.ones_like(call(x))  # lies in memory as the spikes do

    def act() -> None:
        leaf.grad = None
        call(leaf).backward(grad)

    return act


def fill(result: Result, rows: Sequence[Row]) -> None:
    """Add rows to a table and the ratios to plain PyTorch and to SpikingJelly's fastest."""
    timed = [row for row in rows if row.seconds is not None]
    for case in dict.fromkeys(row.case for row in timed):
        times = {r.candidate: r.seconds for r in timed if r.case == case and r.seconds}
        # a neuron that computes something else is no line to compare with
        wrong = {
            r.candidate
            for r in timed
            if r.case == case and r.agreement is not None and not r.agreement.good
        }
        theirs = [t for c, t in times.items() if c.startswith(SPIKINGJELLY) and c not in wrong]
        for row in (row for row in timed if row.case == case):
            assert row.agreement is not None
            assert row.seconds is not None
            ratios = {
                "torch": times.get("torch"),
                "SpikingJelly's fastest": min(theirs, default=None),
            }
            shown = [f"{t / row.seconds:.2f}" if t else "" for t in ratios.values()]
            checked = str(row.agreement), f"{row.agreement.gradient:.0e}"
            result.rows.append([case, row.candidate, ms(row.seconds), *shown, *checked])
            if row.candidate.startswith(SPIKINGJELLY) or row.candidate in wrong:
                continue
            for other, seconds in ratios.items():
                if seconds is not None and row.candidate != other:
                    result.ratios[f"{case}, {row.candidate} vs {other}"] = seconds / row.seconds
        if wrong:
            result.notes.append(
                f"WRONG: {case}: {', '.join(sorted(wrong))}: other results than float64's"
            )
    if not any(row.candidate.startswith(SPIKINGJELLY) for row in rows):
        result.notes.append("SpikingJelly is not installed here")
    lines = dict.fromkeys(row.failure for row in rows if row.failure)
    result.notes += [f"did not run: {line}" for line in lines]


COLUMNS = (
    "neuron and pass", "by", "ms", "times faster than torch", "than SpikingJelly's fastest",
    "spikes unlike float64's", "gradients' largest error",
)  # fmt: skip
NOTES = (
    f"all spikes that differ from float64's follow a potential within {NEAR:g} of a threshold, unless said",
    "SpikingJelly has LIF and I-LIF; it has no NI-LIF and no VLIF",
)


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--timesteps", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backends", nargs="+", choices=["torch", "compile", "triton"])
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backends = args.backends or ["torch", "compile", *(["triton"] if device == "cuda" else [])]
    prepare_compiler()
    kept = keep_freed_memory()  # else the system's fresh pages are most of what is measured
    shape = f"(T, 1, {args.channels}, {args.size}, {args.size})"
    result = Result("neurons", f"Neurons alone, {shape}, float32, on {device}", COLUMNS)
    rows: list[Row] = []
    for timesteps in args.timesteps:
        for name in NEURONS:
            for row in measure(
                name, timesteps, backends=backends, device=device,
                channels=args.channels, size=args.size, rounds=args.rounds,
            ):  # fmt: skip
                rows.append(row)
                seen = row.failure or f"{row.candidate}: {ms(row.seconds or 0)} ms"
                print(f"{row.case}, {seen}", flush=True)
    fill(result, rows)
    result.notes += NOTES
    if kept:
        result.notes.append("freed memory is kept, for all, as this project's commands do")
    if device == "cuda":
        result.notes.append(
            "each call replayed from a CUDA graph, so that Python is not in the times"
        )
    result.write()


def prepare_compiler() -> None:
    """Let SpikingJelly's neurons be compiled in all forms: beyond 8 they would be run plainly, unsaid."""
    import torch._dynamo.config

    torch._dynamo.config.recompile_limit = 64


if __name__ == "__main__":
    main()
