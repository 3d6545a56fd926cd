"""What the benchmarks share: live networks, timing in turns, memory of a process, tables and plots.

Machines are noisy, so what is compared is timed in turns, and what is reported and checked is the ratio
to the first; times are there to be looked at. Results go to ``benchmarks/results``.
"""

from __future__ import annotations

import contextlib
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlif_plugin.archs import ARCHS
from vlif_plugin.comparison import memory
from vlif_plugin.energy import calibrate_batchnorm
from vlif_plugin.machine import describe_machine

RESULTS = Path(__file__).parent / "results"
OFFICIAL = {"formulation": "official", "use_refinement": True}


def photograph(height: int, width: int, device: Any = "cpu") -> Tensor:
    """A photograph that scikit-image ships, tiled to a size; (1, 3, H, W) in [0, 1].

    Without scikit-image, as on a bare GPU machine, it is a smooth random image, the same each time.
    """
    try:
        from skimage import data
    except ImportError:
        coarse = torch.rand(1, 3, 25, 38, generator=torch.Generator().manual_seed(0))
        image = nn.functional.interpolate(coarse, (400, 600), mode="bicubic").clamp(0, 1)
    else:
        image = torch.from_numpy(data.coffee().copy()).permute(2, 0, 1)[None].float() / 255
    repeats = [
        -(-side // have) for side, have in zip((height, width), image.shape[2:], strict=True)
    ]
    return image.repeat(1, 1, *repeats)[..., :height, :width].contiguous().to(device)


def live_network(name: str = "VLIFNet", **arguments: Any) -> nn.Module:
    """A network whose neurons fire, in eval mode, the same each time: an untrained one hardly fires."""
    torch.manual_seed(0)
    if name == "VLIFNet":
        arguments = {"init": "firing"} | arguments
    net = ARCHS[name](**arguments)
    calibrate_batchnorm(net, [photograph(64, 64), photograph(160, 96)[..., -64:, -64:]])
    return net.eval()


def in_turns(candidates: dict[str, Callable[[], Any]], rounds: int = 5) -> dict[str, float]:
    """Median seconds of each, after one call to warm up, timed one after the other in each round."""
    return _medians({name: partial(_timed, act) for name, act in candidates.items()}, rounds)


def _medians(clocks: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    for clock in clocks.values():
        clock()
    times = [{name: clock() for name, clock in clocks.items()} for _ in range(rounds)]
    return {name: statistics.median(each[name] for each in times) for name in clocks}


def _timed(act: Callable[[], Any]) -> float:
    wait()
    start = time.perf_counter()
    act()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    """Until a GPU, if one is in use, has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


class Apart:
    """Something that is run in a process of its own, whenever it is asked to: allocators remember.

    Args:
        script: of this folder; calls :func:`answer`.
        arguments: for it.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        self.words = [sys.executable, str(Path(__file__).parent / script), *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.words, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def seconds(self) -> float:
        """That it takes, once."""
        return self._ask("seconds")

    def megabytes(self) -> float:
        """By which the process grows on the way (Linux)."""
        return self._ask("megabytes")

    def _ask(self, question: str) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # its end says more
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(question):
                return float(line.split()[1])
        raise SystemExit(f"{' '.join(self.words[1:])} ended with status {self.process.wait()}")


def answer(act: Callable[[], Any]) -> None:
    """Tell :class:`Apart` what it asks, after one run to warm up."""
    act()
    for line in sys.stdin:
        question = line.strip()
        if question == "seconds":
            value = _timed(act)
        else:
            peak = memory.peak_memory(act, torch.device("cpu"))
            if peak is None:
                raise SystemExit("this system does not tell how much memory a process takes")
            value = peak / 2**20
        print(question, value, flush=True)


def in_turns_apart(ways: dict[str, Apart], rounds: int) -> dict[str, float]:
    """Median seconds of each, timed one after the other in each round; see :func:`in_turns`."""
    return _medians({name: way.seconds for name, way in ways.items()}, rounds)


def peak_memory(script: str, *arguments: str) -> float:
    """MB by which a process of its own grows while it does what :func:`answer` is given."""
    with Apart(script, *arguments) as way:
        return way.megabytes()


@dataclass
class Result:
    """A table that goes to a Markdown file, a JSON file, and perhaps a plot.

    Attributes:
        name: of the files.
        title: in a sentence.
        columns: names, the first being the row's.
        rows: values as they are printed.
        ratios: name to number, larger is better: what :mod:`check` compares.
        notes: lines below the table.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def write(self, folder: Path = RESULTS) -> None:
        """Print the table and write the files."""
        folder.mkdir(exist_ok=True)
        head = [f"| {' | '.join(self.columns)} |", f"| --- |{' ---: |' * (len(self.columns) - 1)}"]
        table = [f"| {' | '.join(row)} |" for row in self.rows]
        notes = [f"- {note}" for note in [*self.notes, machine()]]
        text = "\n".join([f"# {self.title}", "", *head, *table, "", *notes, ""])
        print(text)
        (folder / f"{self.name}.md").write_text(text)
        record = {"machine": machine(), "ratios": self.ratios}
        (folder / f"{self.name}.json").write_text(json.dumps(record, indent=1) + "\n")

    def plot(
        self, series: dict[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str,
        folder: Path = RESULTS,
    ) -> None:  # fmt: skip
        """Draw lines, both axes logarithmic, beside the table."""
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
        for name, (places, values) in series.items():
            axes.loglog(places, values, marker="o", label=name)
        axes.set(xlabel=x, ylabel=y)
        axes.set_title(self.title, fontsize=9)
        ticks = sorted({place for places, _ in series.values() for place in places})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3, which="both")
        axes.legend()
        folder.mkdir(exist_ok=True)
        figure.savefig(folder / f"{self.name}.png", dpi=110)
        plt.close(figure)


def machine() -> str:
    """The processor, the threads and the versions that figures depend on."""
    on_gpu = torch.cuda.is_available()
    found = describe_machine("cuda" if on_gpu else "cpu")
    gpu = f", {found['device']}" if on_gpu else ""
    return (
        f"{found['processor']}{gpu}, {found['threads']} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def ms(seconds: float) -> str:
    """Seconds as milliseconds, three digits."""
    return f"{seconds * 1e3:.3g}"
