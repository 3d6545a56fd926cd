"""What `vlif compare` is asked for: an option file, read and checked as far as it goes without images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlif_plugin.basicsr_host.checks import check_datasets, check_metrics
from vlif_plugin.basicsr_host.options import check_name, results_parent
from vlif_plugin.building import call_for, check_known
from vlif_plugin.comparison.networks import NetworkEntry, read_networks
from vlif_plugin.comparison.published import published_rows
from vlif_plugin.errors import OptionError, PluginError, near_names
from vlif_plugin.inference import choose_device, parse_tile
from vlif_plugin.option_files import read_option_file, section
from vlif_plugin.scoring import expand_protocols

_TOP = {"name", "networks", "datasets", "val", "cost", "published", "path", "num_gpu"}
_VAL = {"tile", "protocols", "metrics", "pictures"}
_PICTURES = 2


@dataclass(frozen=True)
class CostSettings:
    """How cost is measured.

    Attributes:
        size: side of the middle of the image, in pixels.
        images: how many images spikes are counted on, at most.
        repeats: timed passes, after one that is not timed.
        threads: torch's; None leaves them.
    """

    size: int = 256
    images: int = 2
    repeats: int = 5
    threads: int | None = None


@dataclass(frozen=True)
class Request:
    """All that an option file asks for.

    Attributes:
        name: of the comparison.
        source: the option file.
        networks: to compare.
        datasets: sections by key, as in a test file of BasicSR.
        metrics: sections by name, protocols among them.
        pictures: images to keep as pictures, by name of the dataset.
        cost: how cost is measured.
        published: datasets of which published scores are shown.
        folder: of the results.
        device: to measure on.
    """

    name: str
    source: str
    networks: tuple[NetworkEntry, ...]
    datasets: dict[str, dict[str, Any]]
    metrics: dict[str, dict[str, Any]]
    pictures: dict[str, int]
    cost: CostSettings
    published: tuple[str, ...]
    folder: Path
    device: str


def read_request(
    source: str,
    *,
    output: str | None = None,
    only: Sequence[str] = (),
    device: str | None = None,
) -> Request:
    """Read an option file; BasicSR's registries must have been filled.

    Args:
        source: the file.
        output: folder of the results, in place of what the file says.
        only: names of the networks to compare, with all their seeds or of one; all without.
        device: ``auto``, ``cpu`` or ``cuda``, in place of the file's ``num_gpu``.

    Raises:
        OptionError: anything wrong with keys, names or values; one line that names the file.
    """
    opt = read_option_file(source)
    try:
        return _read(opt, source, output, only, device)
    except PluginError as error:
        text = str(error)
        raise type(error)(text if text.startswith(source) else f"{source}: {text}") from error


def _read(
    opt: dict[str, Any], source: str, output: str | None, only: Sequence[str], device: str | None
) -> Request:
    check_known("the file", opt, _TOP)
    check_name(opt, source)
    val, path = section(opt, "val"), section(opt, "path")
    check_known("val", val, _VAL)
    check_known("path", path, {"results_root"})
    root = path.get("results_root")
    if root is not None and not isinstance(root, str):
        raise OptionError(f"path: results_root must be a path, got {root!r}")
    call_for("val", parse_tile, val.get("tile"))
    _check_types("datasets", section(opt, "datasets"))
    datasets = _read_datasets(section(opt, "datasets"))
    val["metrics"] = dict(section(val, "metrics", "val: metrics"))
    expand_protocols(val)
    _check_types("val: metrics", val["metrics"])
    check_metrics(val["metrics"])
    return Request(
        name=opt["name"],
        source=source,
        networks=read_networks(section(opt, "networks"), val.get("tile"), only),
        datasets=datasets,
        metrics=val["metrics"],
        pictures=_read_pictures(section(val, "pictures", "val: pictures"), datasets),
        cost=_read_cost(section(opt, "cost"), bool(datasets)),
        published=_read_published(opt.get("published")),
        folder=Path(output or os.path.join(results_parent(path, "results_root", ""), opt["name"])),
        device=_read_device(opt.get("num_gpu", "auto"), device),
    )


def _read_datasets(datasets: dict[str, Any]) -> dict[str, dict[str, Any]]:
    check_datasets(datasets)
    read = {}
    for key, options in datasets.items():
        roots = {k: os.path.expanduser(v) for k, v in options.items() if _is_root(k, v)}
        read[key] = {**options, **roots, "phase": "test"}
    return read


def _check_types(where: str, sections: dict[str, Any]) -> None:
    for name, options in sections.items():
        if isinstance(options, dict) and not isinstance(options.get("type", ""), str):
            raise OptionError(f"{where}: {name}: type must be a name, got {options['type']!r}")


def _is_root(key: str, value: Any) -> bool:
    return str(key).startswith("dataroot_") and isinstance(value, str)


def _read_pictures(asked: dict[str, Any], datasets: dict[str, dict[str, Any]]) -> dict[str, int]:
    names = [options["name"] for options in datasets.values()]
    for name, count in asked.items():
        if name not in names:
            raise OptionError(
                f"val: pictures: no dataset is called {name!r}{near_names(str(name), names)}"
            )
        _check_count(f"val: pictures: {name}", count, least=0)
    return {name: asked.get(name, _PICTURES) for name in names}


def _read_cost(asked: dict[str, Any], has_datasets: bool) -> CostSettings:
    check_known("cost", asked, {"size", "images", "repeats", "threads"})
    for key, value in asked.items():
        if key in CostSettings.__annotations__ and not (key == "threads" and value is None):
            _check_count(f"cost: {key}", value, least=1)
    if asked.get("images", 1) > 1 and not has_datasets:
        raise OptionError(
            f"cost: images is {asked['images']}, but there are no datasets to take them from"
        )
    return CostSettings(**{k: v for k, v in asked.items() if k in CostSettings.__annotations__})


def _check_count(where: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{where} must be a whole number of at least {least}, got {value!r}")


def _read_published(asked: object) -> tuple[str, ...]:
    names = [] if asked is None else [asked] if isinstance(asked, str) else asked
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OptionError(f"published must be a dataset's name or a list of such, got {asked!r}")
    published_rows(names)
    return tuple(dict.fromkeys(names))


def _read_device(gpus: object, device: str | None) -> str:
    if device is None:
        if gpus != "auto":
            _check_count("num_gpu (auto, or a number)", gpus, least=0)
        if gpus not in ("auto", 0) and not torch.cuda.is_available():
            raise OptionError(
                f"num_gpu is {gpus}, but no CUDA device is visible; use num_gpu: auto, or 0 for the CPU"
            )
        device = "auto" if gpus == "auto" else "cuda" if gpus else "cpu"
    return str(choose_device(device))
