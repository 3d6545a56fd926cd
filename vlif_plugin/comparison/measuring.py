"""One network, measured in a process of its own; what is found goes to the parent piece by piece."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlif_plugin.archs import load_strict, read_checkpoint
from vlif_plugin.basicsr_host.checks import build_dataset, build_registered, named_metrics
from vlif_plugin.basicsr_host.registration import register_all
from vlif_plugin.comparison.checking import DatasetPlan, Plan
from vlif_plugin.comparison.images import cost_images
from vlif_plugin.comparison.memory import be_killed_first, is_out_of_memory, peak_memory
from vlif_plugin.comparison.networks import NetworkEntry
from vlif_plugin.comparison.request import CostSettings
from vlif_plugin.comparison.rows import Cost
from vlif_plugin.data import save_image
from vlif_plugin.energy import (
    PRESETS,
    EnergyMeter,
    EnergyReport,
    calibrate_batchnorm,
    centre,
    count_ops,
)
from vlif_plugin.energy.flow import spikes_of
from vlif_plugin.errors import first_line
from vlif_plugin.inference import parse_tile, restore_image
from vlif_plugin.scoring import ImageScore, image_name, score_image, score_inputs


@dataclass(frozen=True)
class Stage:
    """What is tried next: ``cost``, a dataset, or a dataset and an image."""

    name: str


@dataclass(frozen=True)
class CostMeasured:
    """What one image takes the network."""

    cost: Cost


@dataclass(frozen=True)
class ImageMeasured:
    """Scores of one image of a dataset, and the seconds that restoring it took."""

    dataset: str
    score: ImageScore
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A stage could not be done."""

    stage: str
    reason: str


@dataclass(frozen=True)
class Job:
    """What a process measures.

    Attributes:
        plan: of the comparison.
        entry: the network; None for the degraded images themselves.
        pictures: folder of the pictures.
        file: name of this row's pictures, without suffix.
    """

    plan: Plan
    entry: NetworkEntry | None
    pictures: Path
    file: str

    @property
    def scored(self) -> tuple[DatasetPlan, ...]:
        """Datasets that are scored: none for a network without weights."""
        with_weights = self.entry is None or self.entry.weights is not None
        return self.plan.datasets if with_weights else ()


def measure(job: Job, events: Connection) -> None:
    """What the process runs: sends events, and ends.

    Args:
        job: what to measure.
        events: to the parent; closed at the end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    be_killed_first()
    with contextlib.suppress(BrokenPipeError), events:  # a parent that is gone needs nothing
        register_all()
        threads = job.plan.request.cost.threads
        if threads is not None:
            torch.set_num_threads(threads)
        _Measurement(job, events).run()


def _end_with_parent() -> None:
    """A daemonic process ends with a parent that ends by itself, and not with one that is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class _Measurement:
    """Measures cost, then scores; a failure of one part leaves the others."""

    def __init__(self, job: Job, events: Connection) -> None:
        self.job = job
        self.events = events
        self.device = torch.device(job.plan.request.device)
        self.stage = ""

    def run(self) -> None:
        """Measure everything."""
        net = None
        if self.job.entry is not None:
            net = self._try("loading", self._load, self.job.entry)
            if net is None:
                return
            self._try("cost", self._cost, net, self.job.entry)
        for plan in self.job.scored:
            self._try(plan.name, self._scores, net, plan)

    def _try(self, stage: str, part: Any, *args: Any) -> Any:
        """Run a part; what it fails of is told, with the stage that it had come to."""
        self._begin(stage)
        try:
            return part(*args)
        except BrokenPipeError:
            raise
        except Exception as error:  # networks fail in as many ways as there are networks
            reason = _reason(error).removeprefix(self.stage.replace(", ", ": ", 1) + ": ")
            self.events.send(Failed(self.stage, reason))
            return None

    def _begin(self, stage: str) -> None:
        self.stage = stage
        self.events.send(Stage(stage))

    def _load(self, entry: NetworkEntry) -> nn.Module:
        torch.manual_seed(0)
        net = build_registered(entry.network)
        if entry.weights is not None:
            load_strict(net, read_checkpoint(entry.weights))
        return net.eval().to(self.device)

    def _cost(self, net: nn.Module, entry: NetworkEntry) -> None:
        plan = self.job.plan
        first = plan.datasets[0] if plan.datasets else None
        dataset = None if first is None else build_dataset(first.section, first.options)
        found = cost_images(plan.request.cost, dataset)
        images = {name: image.to(self.device) for name, image in found.items()}
        cost = measure_cost(net, images, plan.request.cost, calibrate=entry.weights is None)
        self.events.send(CostMeasured(cost))

    def _scores(self, net: nn.Module | None, plan: DatasetPlan) -> None:
        dataset = build_dataset(plan.section, plan.options)
        tile = None if self.job.entry is None else parse_tile(self.job.entry.tile)
        metrics = [m for m in named_metrics(plan.metrics) if net is not None or not m.needs_network]
        pictured = {picture.index: picture.folder for picture in plan.pictured}
        for index in range(len(dataset)):
            self.stage = f"{plan.name}, image {index + 1}"
            item = dataset[index]
            name = image_name(item["lq_path"])
            self._begin(f"{plan.name}, {name}")
            lq, gt = item["lq"][None], item["gt"][None] if "gt" in item else None
            start = time.perf_counter()
            output = lq if net is None else restore_image(net, lq, tile=tile, device=self.device)
            seconds = time.perf_counter() - start
            available = score_inputs(output, gt, lq, net, index)
            if index in pictured:
                self._save(self.job.pictures / plan.folder / pictured[index], available)
            score = score_image(name, available, metrics, plan.name)
            self.events.send(ImageMeasured(plan.name, score, seconds))

    def _save(self, folder: Path, available: Mapping[str, Any]) -> None:
        save_image(available["img"], folder / f"{self.job.file}.png")
        if self.job.entry is None and available["img2"] is not None:
            save_image(available["img2"], folder / "gt.png")


def measure_cost(
    net: nn.Module, images: Mapping[str, Tensor], settings: CostSettings, *, calibrate: bool
) -> Cost:
    """What one image takes a network; time and memory of the first image, counts of all.

    Args:
        net: in eval mode, on the images' device; its BatchNorm statistics change if calibrated.
        images: shape (1, 3, H, W), RGB in [0, 1], by name.
        settings: how often it is timed.
        calibrate: set BatchNorm statistics to those of the images, if the network has neurons.
    """
    first = next(iter(images.values()))
    with torch.inference_mode():
        # what libraries set up at their first use belongs to no network
        with contextlib.suppress(Exception):
            net(centre(first, max(8, first.shape[-1] // 4)))
        peak = peak_memory(lambda: net(first), first.device)
    spiking = any(spikes_of(module, {}) is not None for module in net.modules())
    calibrated = calibrate and spiking and calibrate_batchnorm(net, images.values()) > 0
    seconds = time_passes(net, first, settings.repeats)
    meters = {name: EnergyMeter(costs) for name, costs in PRESETS.items()}
    reports = []
    for image in images.values():
        reports.append(count_ops(net, image))
        for meter in meters.values():
            meter.add(reports[-1])
    cost = _counted(reports, meters)
    notes = [*reports[-1].notes]
    if calibrated:
        notes.append("not trained: BatchNorm statistics were set to those of the images counted")
    return replace(
        cost, calibrated=calibrated, seconds=seconds, peak_memory=peak, notes=tuple(notes)
    )


def time_passes(net: nn.Module, image: Tensor, repeats: int) -> tuple[float, ...]:
    """Seconds of each of some passes, after one that is not timed.

    Args:
        net: in eval mode.
        image: shape (1, 3, H, W), on the network's device.
        repeats: how many are timed.
    """
    seconds = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            _synchronize(image.device)
            start = time.perf_counter()
            net(image)
            _synchronize(image.device)
            seconds.append(time.perf_counter() - start)
    return tuple(seconds[1:])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _counted(reports: list[EnergyReport], meters: Mapping[str, EnergyMeter]) -> Cost:
    """The counts of a cost: means over images; time and memory are left open."""
    last, meter = reports[-1], meters["paper"]
    mean = {name: spread.mean for name, spread in meter.totals.items()}
    return Cost(
        size=last.size,
        images=len(reports),
        parameters=last.parameters,
        macs=mean["macs"],
        sops=mean["sops"],
        dense_macs=mean["dense_macs"],
        released_macs=last.released_macs,
        signs=mean["signs"],
        firing_rate=mean["firing_rate"] if last.neurons else None,
        elementwise=mean["elementwise"],
        not_counted=dict(last.not_counted),
        energy_uj={name: meter.totals["energy_uj"].mean for name, meter in meters.items()},
        paper_parameters=last.paper.parameters,
        paper_macs=last.paper.macs,
        paper_energy_uj=last.paper_energy_uj(PRESETS["paper"]),
        calibrated=False,
        seconds=(),
        peak_memory=None,
    )


def _reason(error: Exception) -> str:
    text = first_line(error)
    if is_out_of_memory(error):
        return f"out of memory ({text})"
    return (
        text
        if type(error).__module__.startswith("vlif_plugin")
        else f"{type(error).__name__}: {text}"
    )
