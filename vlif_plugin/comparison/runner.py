"""All networks of a comparison, one after the other, each in a process of its own."""

from __future__ import annotations

import datetime
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlif_plugin.comparison.checking import DatasetPlan, Plan
from vlif_plugin.comparison.images import file_names
from vlif_plugin.comparison.measuring import (
    CostMeasured,
    Failed,
    ImageMeasured,
    Job,
    Stage,
    measure,
)
from vlif_plugin.comparison.networks import INPUT
from vlif_plugin.comparison.published import published_rows
from vlif_plugin.comparison.rows import (
    Comparison,
    Cost,
    ImageValues,
    MeasuredRow,
    MetricInfo,
    Picture,
    Scores,
)
from vlif_plugin.data import fingerprint
from vlif_plugin.files import file_hash
from vlif_plugin.machine import describe_machine
from vlif_plugin.processes import sharing_imports
from vlif_plugin.scoring import LOWER_IS_BETTER, ImageScore, description, mean_score

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

PICTURES = "pictures"


class Observer:
    """Is told what happens meanwhile; this one does nothing with it."""

    def begin(self, rows: Sequence[str], steps: int) -> None:
        """So many steps for these rows."""

    def row_begins(self, name: str) -> None:
        """A row is measured now."""

    def stage_begins(self, name: str, stage: str) -> None:
        """A part of the row: ``loading``, ``cost``, a dataset, or a dataset and an image."""

    def step_done(self) -> None:
        """One of the steps."""

    def row_ends(self, row: MeasuredRow) -> None:
        """What was found."""


def run_comparison(plan: Plan, folder: Path, command: str, observer: Observer) -> Comparison:
    """Measure every network.

    Args:
        plan: what to measure.
        folder: gets the pictures, ``pictures/DATASET/IMAGE/ROW.png``.
        command: that makes this comparison again.
        observer: is told what happens.
    """
    request = plan.request
    entries = [*([None] if plan.datasets else []), *request.networks]
    names = [INPUT if entry is None else entry.name for entry in entries]
    files = file_names([name for name in names if name != INPUT], taken=(INPUT, "gt"))
    files[INPUT] = INPUT
    jobs = [
        Job(plan, entry, folder / PICTURES, files[name])
        for name, entry in zip(names, entries, strict=True)
    ]
    observer.begin(names, sum(_steps(job) for job in jobs))
    rows = [_run_job(job, observer) for job in jobs]
    return Comparison(
        name=request.name,
        command=command,
        date=datetime.date.today().isoformat(),
        machine=describe_machine(request.device, request.cost.threads),
        datasets={dataset.name: dataset.images for dataset in plan.datasets},
        sections={dataset.name: dataset.options for dataset in plan.datasets},
        metrics=_metric_infos(plan),
        cost_images=plan.cost_images,
        measured=tuple(rows),
        published=published_rows(request.published),
        pictures=tuple(
            picture for dataset in plan.datasets for picture in _pictures(dataset, files, folder)
        ),
        notes=_notes(plan, rows),
    )


def _steps(job: Job) -> int:
    return (job.entry is not None) + sum(dataset.images for dataset in job.scored)


@dataclass
class _Found:
    """What a process has told so far."""

    stage: str = "start"
    cost: Cost | None = None
    scores: dict[str, list[ImageScore]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def take(self, event: object) -> bool:
        """Take an event; whether it ends a step."""
        if isinstance(event, Stage):
            self.stage = event.name
        elif isinstance(event, CostMeasured):
            self.cost = event.cost
        elif isinstance(event, ImageMeasured):
            self.scores.setdefault(event.dataset, []).append(event.score)
            self.seconds[event.dataset] = self.seconds.get(event.dataset, 0.0) + event.seconds
        elif isinstance(event, Failed):
            self.failures.append(f"{event.stage}: {event.reason}")
        return isinstance(event, (CostMeasured, ImageMeasured))


def _run_job(job: Job, observer: Observer) -> MeasuredRow:
    """Run a process, listen to it, and see how it ends."""
    name = INPUT if job.entry is None else job.entry.name
    observer.row_begins(name)
    context = _context(job.plan.request.device)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(job, sender), name=name, daemon=True)
    found = _Found()
    try:
        process.start()
        sender.close()  # the child's end is the only one now, so that its death ends the stream
        while True:
            try:
                event = receiver.recv()
            except (EOFError, OSError):
                break
            if found.take(event):
                observer.step_done()
            if isinstance(event, Stage):
                observer.stage_begins(name, found.stage)
        process.join()
    finally:
        receiver.close()
        if process.is_alive():
            process.kill()
            process.join()
    ending = _bad_end(process)
    if ending is not None:
        found.failures.append(f"{found.stage}: {ending}")
    row = _row(job, found)
    observer.row_ends(row)
    return row


def _context(device: str) -> ForkServerContext | SpawnContext:
    """How a process is begun: imports take seconds, so they are done once where processes can share them."""
    # on GPUs each process is measured by itself, from the beginning
    shared = sharing_imports([measure.__module__]) if device == "cpu" else None
    return shared or multiprocessing.get_context("spawn")


def _bad_end(process: BaseProcess) -> str | None:
    code = process.exitcode
    if not code:
        return None
    if code > 0:
        return f"the process ended with status {code}"
    name = signal.Signals(-code).name
    hint = ", as systems do where memory runs out" if name == "SIGKILL" else ""
    return f"the process was ended by {name}{hint}"


def _row(job: Job, found: _Found) -> MeasuredRow:
    scores = tuple(_scores(plan, found) for plan in job.scored if plan.name in found.scores)
    entry, failures = job.entry, found.failures
    if entry is None:
        return MeasuredRow(INPUT, None, {}, scores=scores, failures=tuple(failures))
    sha256 = None
    if entry.weights is not None:
        try:
            sha256 = file_hash(entry.weights)
        except OSError as error:  # gone meanwhile; the other rows are not to go with them
            failures = [*failures, f"weights: {entry.weights}: {error.strerror or error}"]
    return MeasuredRow(
        name=entry.name,
        network=entry.network["type"],
        options={key: value for key, value in entry.network.items() if key != "type"},
        weights=_from_here(entry.weights),
        weights_sha256=sha256,
        tile=tile_text(entry.tile),
        cost=found.cost,
        scores=scores,
        training=job.plan.trainings.get(entry.name),
        failures=tuple(failures),
        seeds_of=entry.seeds_of,
    )


def _from_here(path: str | None) -> str | None:
    """As from the folder that the command runs in, so that what is shown to others leaves that folder out."""
    here = Path.cwd()
    if path is None or not Path(path).is_relative_to(here):
        return path
    return os.fspath(Path(path).relative_to(here))


def _scores(plan: DatasetPlan, found: _Found) -> Scores:
    """Scores of a dataset; without means where images are missing, for these would be of others."""
    scores = found.scores[plan.name]
    metrics = plan.metrics if len(scores) == plan.images else {}
    scored = [m for m in metrics if any(s.values.get(m) is not None for s in scores)]
    return Scores(
        dataset=plan.name,
        fingerprint=fingerprint(score.pixels for score in scores),
        means={m: mean_score(s.values.get(m) for s in scores) for m in scored},
        per_image=tuple(ImageValues(score.image, score.values) for score in scores),
        seconds=found.seconds[plan.name],
    )


def tile_text(tile: Any) -> str:
    """How images were tiled, in words of the options."""
    if isinstance(tile, dict):
        return ", ".join(f"{key} {value}" for key, value in tile.items())
    return str(tile) if tile else "none"


def _metric_infos(plan: Plan) -> tuple[MetricInfo, ...]:
    used = {name: options for plan in plan.datasets for name, options in plan.metrics.items()}
    infos = []
    for name, options in used.items():
        kind = options["type"]
        arguments = [f"{k} {v}" for k, v in options.items() if k not in ("type", "better")]
        what = description(kind) or f"BasicSR's {kind}"
        lower = options.get("better") == "lower" or kind in LOWER_IS_BETTER
        unit = "dB" if "psnr" in kind else ""
        infos.append(MetricInfo(name, "; ".join([what, *arguments]), lower, unit))
    return tuple(infos)


def _pictures(plan: DatasetPlan, files: dict[str, str], folder: Path) -> list[Picture]:
    """The pictures of a dataset that there are, paths relative to the results' folder."""
    pictures = []
    for pictured in plan.pictured:
        inside = f"{PICTURES}/{plan.folder}/{pictured.folder}"
        found = {
            row: f"{inside}/{file}.png"
            for row, file in files.items()
            if (folder / inside / f"{file}.png").is_file()
        }
        lq = found.pop(INPUT, None)
        gt = f"{inside}/gt.png" if plan.has_gt else None
        if lq is not None:  # it could not even be read otherwise
            pictures.append(Picture(plan.name, pictured.image, lq, gt, found))
    return pictures


def _notes(plan: Plan, rows: Sequence[MeasuredRow]) -> tuple[str, ...]:
    """What costs and scores rest on; what the counter says of one network stands in its row."""
    repeats = plan.request.cost.repeats
    timed = f"the median of {repeats} passes" if repeats > 1 else "that of one pass"
    notes = [
        f"time is {timed} of one image; memory is the peak of one pass, weights not in it; both are this "
        "machine's, and say little where it has other work",
        "the paper's counter skips layers, the spiking convolutions among them; it is no estimate of "
        "work or energy",
        "energy is of arithmetic only: memory traffic is not in it, and on GPUs and CPUs spikes save "
        "nothing",
    ]
    calibrated = [row.name for row in rows if row.cost is not None and row.cost.calibrated]
    if calibrated:
        notes.append(
            f"{', '.join(calibrated)}: without weights; BatchNorm statistics were set to those of the "
            "images counted, so that neurons fire, but not as those of a trained network"
        )
    if plan.request.published:
        notes.append(
            "published rows are what tables print: other weights, counters and protocols, not measured here"
        )
    return tuple(notes)
