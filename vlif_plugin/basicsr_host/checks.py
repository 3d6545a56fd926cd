"""Checks of networks, datasets, metrics and folders that option files name, whatever they are for."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY

from vlif_plugin import scoring
from vlif_plugin.archs import load_strict, read_checkpoint
from vlif_plugin.building import build_from, call_for
from vlif_plugin.errors import OptionError
from vlif_plugin.scoring import is_plain


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


def try_weights(net: torch.nn.Module, path: Mapping[str, Any]) -> None:
    """Load the weights that a run begins with, if it names any.

    Args:
        net: gets them, unless ``strict_load_g`` is false: then it is only known that they can be read.
        path: the section ``path``.

    Raises:
        CheckpointError: they cannot be read, or do not fit.
    """
    if path.get("pretrain_network_g") is None:
        return
    checkpoint = read_checkpoint(path["pretrain_network_g"], path.get("param_key_g"))
    if path.get("strict_load_g", True):
        load_strict(net, checkpoint)


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
    """Refuse metrics with types that BasicSR's registry has not, or unknown keys.

    Args:
        metrics: the section ``val: metrics``; the direction of those that we know is filled in.

    Raises:
        OptionError: names the metric.
    """
    scoring.check_metrics(metrics, METRIC_REGISTRY.get)


def named_metrics(metrics: scoring.Metrics) -> list[scoring.NamedMetric]:
    """The metrics of BasicSR's registry that the section ``val: metrics`` asks for."""
    return scoring.named_metrics(metrics, METRIC_REGISTRY.get)
