"""What can be known to fail fails here, before anything is measured."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlif_plugin.archs import load_strict, read_checkpoint
from vlif_plugin.basicsr_host.checks import (
    build_dataset,
    build_registered,
    named_metrics,
)
from vlif_plugin.building import call_for
from vlif_plugin.comparison.images import cost_images, file_names, spread_evenly
from vlif_plugin.comparison.memory import is_out_of_memory
from vlif_plugin.comparison.networks import NetworkEntry
from vlif_plugin.comparison.request import Request
from vlif_plugin.comparison.rows import Training
from vlif_plugin.comparison.study import check_trained, read_training
from vlif_plugin.errors import DataError, OptionError, PluginError
from vlif_plugin.files import check_folder
from vlif_plugin.scoring import image_name, try_metrics

RECORD = "comparison.json"
_BLIND = ("piqe", "brisque")


@dataclass(frozen=True)
class PicturedImage:
    """An image that is kept as a picture: its place in the dataset, its name, its folder's name."""

    index: int
    image: str
    folder: str


@dataclass(frozen=True)
class DatasetPlan:
    """How a dataset is scored.

    Attributes:
        section: its key in the option file.
        name: of the dataset.
        options: its section.
        images: how many it has.
        metrics: that fit it, by name.
        has_gt: whether it has ground truth.
        folder: name of the folder of its pictures.
        pictured: images that are kept as pictures.
    """

    section: str
    name: str
    options: dict[str, Any]
    images: int
    metrics: dict[str, dict[str, Any]]
    has_gt: bool
    folder: str
    pictured: tuple[PicturedImage, ...]


@dataclass(frozen=True)
class Plan:
    """A request of which everything is known to be there.

    Attributes:
        request: what was asked for.
        datasets: how each is scored.
        cost_images: names of the images that cost is measured on.
        trainings: how weights came about that this comparison has trained, by row.
    """

    request: Request
    datasets: tuple[DatasetPlan, ...]
    cost_images: tuple[str, ...]
    trainings: dict[str, Training]


def check_request(request: Request, *, before_training: bool = False) -> Plan:
    """Build every network, load all weights, build the datasets, try the metrics; keep nothing.

    Args:
        request: as it was read.
        before_training: weights that are yet to be trained need not be there.

    Raises:
        PluginError: one line that names the file and what is wrong.
    """
    try:
        check_results_folder(request.folder)
        trainings: dict[str, Training] = {}
        for entry in request.networks:
            if before_training and entry.run_folder is not None:
                entry = dataclasses.replace(entry, weights=None, run_folder=None)
            check_network(entry)
            if entry.run_folder is not None:
                where = f"networks: {entry.name}"
                call_for(where, check_trained, entry)
                trainings[entry.name] = call_for(where, read_training, entry)
        return _plan(request, trainings)
    except PluginError as error:
        raise type(error)(f"{request.source}: {error}") from error


def check_results_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a comparison, or that cannot be written.

    Raises:
        DataError: something else is in it.
        OptionError: it cannot be made or written.
    """
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise DataError(
            f"{folder}: holds something else than a comparison and is not overwritten; "
            "name another folder with -o"
        )


def check_network(entry: NetworkEntry) -> None:
    """Build a network and load its weights.

    Raises:
        PluginError: names the network and what is wrong. Where memory does not suffice, nothing is
            raised: its own process will find out, and its row say so.
    """
    where = f"networks: {entry.name}"
    if entry.run_folder is not None and not Path(str(entry.weights)).is_file():
        raise OptionError(
            f"{where}: {entry.weights} is missing; --train trains it as {entry.opt} says"
        )
    try:
        with torch.random.fork_rng(devices=[]):
            net = call_for(where, build_registered, entry.network)
        if entry.weights is not None:
            call_for(where, load_strict, net, call_for(where, read_checkpoint, entry.weights))
    except PluginError as error:
        if not is_out_of_memory(error):
            raise


def _plan(request: Request, trainings: dict[str, Training]) -> Plan:
    folders = file_names(options["name"] for options in request.datasets.values())
    plans, images = [], None
    for section, options in request.datasets.items():
        dataset = build_dataset(section, options)
        if images is None:
            images = call_for(f"datasets: {section}", cost_images, request.cost, dataset)
        plans.append(_plan_dataset(request, section, dataset, folders[options["name"]]))
    if images is None:
        images = cost_images(request.cost, None)
    return Plan(request, tuple(plans), tuple(images), trainings)


def _plan_dataset(request: Request, section: str, dataset: Any, folder: str) -> DatasetPlan:
    options = request.datasets[section]
    name, has_gt = options["name"], "gt" in dataset[0]
    metrics = _fitting(request.metrics, has_gt)
    if not metrics:
        raise OptionError(f"val: neither protocols nor metrics say how to score {name}")
    try_metrics(named_metrics(metrics), dataset[0], name)
    indices = spread_evenly(request.pictures[name], len(dataset))
    names = [image_name(dataset[index]["lq_path"]) for index in indices]
    # images in different folders of an LMDB may share a name
    labels = [n if names.count(n) == 1 else f"{n} {i}" for n, i in zip(names, indices, strict=True)]
    plain = file_names(labels)
    pictured = tuple(
        PicturedImage(index, image, plain[label])
        for index, image, label in zip(indices, names, labels, strict=True)
    )
    return DatasetPlan(section, name, options, len(dataset), metrics, has_gt, folder, pictured)


def _fitting(metrics: dict[str, dict[str, Any]], has_gt: bool) -> dict[str, dict[str, Any]]:
    """Metrics for a dataset; without ground truth those that need none, piqe and brisque among them."""
    if has_gt:
        return metrics
    fitting = {m.name: metrics[m.name] for m in named_metrics(metrics) if not m.needs_ground_truth}
    if not any(options["type"] in _BLIND for options in fitting.values()):
        fitting |= {name: {"type": name, "better": "lower"} for name in _BLIND}
    return fitting
