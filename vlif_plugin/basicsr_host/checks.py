"""Checks of networks, datasets, metrics and folders that option files name, whatever they are for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY

from vlif_plugin.basicsr_host.energy import ENERGY_METRICS
from vlif_plugin.basicsr_host.metrics import LOWER_IS_BETTER
from vlif_plugin.basicsr_host.validation import needs_network, score, score_inputs
from vlif_plugin.building import argument_names, build_from, call_for, check_known
from vlif_plugin.errors import OptionError


def build_registered(network: Mapping[str, Any]) -> torch.nn.Module:
    """Build a network of BasicSR's registry.

    From the registry, because BasicSR's build functions would start its logger, whose file lies in
    the run's folder.

    Args:
        network: a section ``network_g``.

    Raises:
        OptionError: an unknown type or argument, or a value that the network refuses.
    """
    if not isinstance(network.get("type"), str):
        raise OptionError(f"network_g: type must name a network, got {network.get('type')!r}")
    return build_from(ARCH_REGISTRY.get(network["type"]), network, "network_g")


def check_datasets(datasets: Mapping[str, Any]) -> None:
    """Refuse sections of datasets without a plain name of their own, and unknown types.

    Raises:
        OptionError: names the section.
    """
    names: set[str] = set()
    for section, dataset in datasets.items():
        if not isinstance(dataset, dict) or not is_plain(dataset.get("name")):
            raise OptionError(
                f"datasets: {section} must be a section with a name, a word that can be part of a "
                f"file's, got {dataset.get('name') if isinstance(dataset, dict) else dataset!r}"
            )
        if dataset["name"] in names:
            raise OptionError(f"datasets: two sections are named {dataset['name']!r}")
        names.add(dataset["name"])
        DATASET_REGISTRY.get(dataset.get("type"))


def build_dataset(section: str, options: Mapping[str, Any]) -> Any:
    """Build a dataset of BasicSR's registry.

    Args:
        section: its key in the option file, for messages.
        options: the section.

    Raises:
        PluginError: anything wrong with options or images; names the section.
    """
    made = DATASET_REGISTRY.get(options["type"])
    return call_for(f"datasets: {section}", made, deepcopy(options))


def check_metrics(metrics: Mapping[str, Any]) -> None:
    """Refuse metrics with unknown types or keys; fill in the direction of those that we know.

    Args:
        metrics: the section ``val: metrics``.

    Raises:
        OptionError: names the metric.
    """
    for name, options in metrics.items():
        if not isinstance(options, dict):
            raise OptionError(
                f"val: metrics: {name} must be a section with a type, got {options!r}"
            )
        if not is_plain(name) or name in ("image", "index"):
            raise OptionError(f"val: metrics: {name!r} cannot be the name of a metric")
        if options.get("better", "higher") not in ("higher", "lower"):
            raise OptionError(
                f"val: metrics: {name}: better must be higher or lower, got {options['better']!r}"
            )
        known = argument_names(METRIC_REGISTRY.get(options.get("type"))) | {"type", "better"}
        # metrics swallow unknown keys, and a misspelt test_y_channel would give another score
        check_known(f"val: metrics: {name}", options, known)
        if options["type"] in LOWER_IS_BETTER:  # BasicSR takes the higher value for the better one
            options.setdefault("better", "lower")


def try_metrics(metrics: Mapping[str, Mapping[str, Any]], dataset: Any) -> None:
    """Score the first image of a dataset as if it were the result.

    Args:
        metrics: that fit the dataset.
        dataset: as BasicSR has it.

    Raises:
        OptionError: a metric does not work on it; names both.
    """
    name, item = dataset.opt["name"], dataset[0]
    lq = item["lq"][None]
    gt = item["gt"][None] if "gt" in item else None
    available = score_inputs(lq, gt, lq, net=None)
    for metric, options in metrics.items():
        where = f"val: metrics: {metric}"
        if options["type"] in ENERGY_METRICS:  # tries the options, for the network takes its time
            stand_in = available | {"net": torch.nn.Conv2d(3, 3, 1)}
            call_for(where, score, metric, options, name, stand_in)
        elif not needs_network(options):
            value = call_for(where, score, metric, options, name, available)
            if value is not None and np.isnan(value):
                raise OptionError(f"{where} is not a number on {name}")


def check_folder(path: str | os.PathLike[str]) -> None:
    """Refuse a folder that cannot be made: the nearest that exists is none, or cannot be written.

    Raises:
        OptionError: names both.
    """
    root = Path(path).absolute()
    present = next(folder for folder in (root, *root.parents) if folder.exists())
    if not present.is_dir() or not os.access(present, os.W_OK):
        raise OptionError(
            f"path: {root} cannot be made, because {present} is no folder that can be written"
        )


def is_plain(name: object) -> bool:
    """Whether a name can be part of a file's."""
    return isinstance(name, str) and bool(name) and not set(name) & set("/\\\0")
