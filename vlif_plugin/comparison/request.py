"""What `vlif compare` is asked for: an option file, read and checked as far as it goes without images."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vlif_plugin.basicsr_host.checks import check_datasets, check_metrics
from vlif_plugin.basicsr_host.options import check_name, results_parent
from vlif_plugin.building import call_for, check_known
from vlif_plugin.comparison.published import published_rows
from vlif_plugin.errors import OptionError, PluginError, near_names
from vlif_plugin.inference import choose_device, parse_tile
from vlif_plugin.option_files import network_options, read_forced, read_option_file
from vlif_plugin.scoring import expand_protocols
from vlif_plugin.shipped import weights_path

INPUT = "input"
"""Name of the row of the degraded images themselves."""

_TOP = {"name", "networks", "datasets", "val", "cost", "published", "path", "num_gpu"}
_NETWORK = {"opt", "force_yml", "network_g", "weights", "tile", "seeds"}
_VAL = {"tile", "protocols", "metrics", "pictures"}
_PICTURES = 2


@dataclass(frozen=True)
class NetworkEntry:
    """A network to compare.

    Attributes:
        name: of its row.
        network: its section ``network_g``.
        opt: the option file that the section is from; None if it stands in place.
        weights: the file; None for the cost alone.
        run_folder: of the training that makes these weights, where they are said to be trained.
        tile: as the options say it.
        force: what is put over the option file, as ``basicsr train.py`` is given it after ``--force_yml``.
        seeds_of: what the option file calls the network, where this row is one seed of several.
    """

    name: str
    network: dict[str, Any]
    opt: str | None
    weights: str | None
    run_folder: Path | None
    tile: Any
    force: tuple[str, ...] = ()
    seeds_of: str | None = None


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
        networks=_read_networks(section(opt, "networks"), val.get("tile"), only),
        datasets=datasets,
        metrics=val["metrics"],
        pictures=_read_pictures(section(val, "pictures", "val: pictures"), datasets),
        cost=_read_cost(section(opt, "cost"), bool(datasets)),
        published=_read_published(opt.get("published")),
        folder=Path(output or os.path.join(results_parent(path, "results_root", ""), opt["name"])),
        device=_read_device(opt.get("num_gpu", "auto"), device),
    )


def section(opt: Mapping[str, Any], key: str, where: str | None = None) -> dict[str, Any]:
    """A section of an option file; empty where it is left out.

    Raises:
        OptionError: it is no section.
    """
    value = opt.get(key)
    if value is not None and not isinstance(value, dict):
        raise OptionError(f"{where or key} must be a section of keys and values, got {value!r}")
    return value or {}


def _read_networks(
    entries: dict[str, Any], tile: Any, only: Sequence[str]
) -> tuple[NetworkEntry, ...]:
    if not entries:
        raise OptionError("networks: there is none to compare")
    networks = [row for name, entry in entries.items() for row in _read_rows(name, entry, tile)]
    names = {name: None for row in networks for name in (row.seeds_of, row.name) if name}
    for name in only:
        if name not in names:
            raise OptionError(f"--only: no network is called {name!r}{near_names(name, names)}")
    known: dict[str, str] = {}
    for entry in networks:
        other = known.setdefault(" ".join(entry.name.casefold().split()), entry.name)
        if other != entry.name:
            raise OptionError(f"networks: {other!r} and {entry.name!r} cannot be told apart")
    runs: dict[Path, NetworkEntry] = {}
    for entry in networks:
        if entry.run_folder is not None:
            other = runs.setdefault(entry.run_folder, entry)
            if (other.opt, other.force) != (entry.opt, entry.force):
                raise OptionError(
                    f"networks: {other.name} and {entry.name} would be trained in one folder, {entry.run_folder}; "
                    "give one another name"
                )
    return tuple(row for row in networks if not only or {row.name, row.seeds_of} & set(only))


def _read_rows(name: str, entry: object, tile: Any) -> list[NetworkEntry]:
    """A network's row, or one for each of its seeds."""
    if not isinstance(entry, dict) or "seeds" not in entry:
        return [_read_network(name, entry, tile)]
    plain = {key: value for key, value in entry.items() if key != "seeds"}
    first = _read_network(name, plain, tile)
    if first.opt is None or first.run_folder is None:
        raise OptionError(f"networks: {name}: seeds are of a training: opt, and weights: trained")
    if any(_key(item) == "manual_seed" for item in first.force):
        raise OptionError(f"networks: {name}: give seeds, or manual_seed in force_yml, not both")
    options = read_forced(first.opt, first.force)
    rows = []
    for seed in _read_seeds(name, entry["seeds"]):
        row = f"{name}, seed {seed}"
        if seed == options.get("manual_seed"):
            rows.append(replace(first, name=row, seeds_of=name))
            continue
        force = [item for item in first.force if _key(item) != "name"]
        force += [f"manual_seed={seed}", f"name={options['name']}_seed_{seed}"]
        seeded = _read_network(row, plain | {"force_yml": force}, tile)
        rows.append(replace(seeded, seeds_of=name))
    return rows


def _read_seeds(name: str, asked: object) -> list[int]:
    seeds = asked if isinstance(asked, list) else []
    if not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
        raise OptionError(f"networks: {name}: seeds must be a list of whole numbers, got {asked!r}")
    if len(set(seeds)) < len(seeds):
        raise OptionError(f"networks: {name}: seeds has one twice: {asked!r}")
    return seeds


def _read_network(name: str, entry: object, tile: Any) -> NetworkEntry:
    if not name.strip() or not name.isprintable():
        raise OptionError(f"networks: {name!r} cannot be the name of a row")
    if name == INPUT:
        raise OptionError(f"networks: {INPUT} is the row of the degraded images; name it otherwise")
    where = f"networks: {name}"
    if not isinstance(entry, dict):
        raise OptionError(f"{where} must be a section with opt or network_g, got {entry!r}")
    check_known(where, entry, _NETWORK)
    opt, network, weights = (entry.get(key) for key in ("opt", "network_g", "weights"))
    if (opt is None) == (network is None):
        raise OptionError(f"{where}: give an option file (opt) or network_g, and not both")
    for key in ("opt", "weights"):
        if entry.get(key) is not None and not (isinstance(entry[key], str) and entry[key].strip()):
            raise OptionError(f"{where}: {key} must be a path, got {entry[key]!r}")
    run_folder = None
    force = _read_force(where, entry.get("force_yml"), opt, name)
    if opt is not None:
        network = call_for(where, network_options, opt, force)
    if weights == "trained":
        if opt is None:
            raise OptionError(f"{where}: weights: trained needs the opt that trains them")
        run_folder = call_for(where, _run_folder, opt, force)
        weights = os.fspath(run_folder / "models" / "net_g_latest.pth")
    if not isinstance(network, dict):
        raise OptionError(f"{where}: network_g must be a section with a type, got {network!r}")
    tile = entry.get("tile", tile)
    call_for(where, parse_tile, tile)
    if weights is not None:
        weights = os.fspath(call_for(where, weights_path, os.path.expanduser(weights)))
    return NetworkEntry(name, network, opt, weights, run_folder, tile, force)


def _read_force(where: str, asked: object, opt: str | None, name: str) -> tuple[str, ...]:
    """What is put over the option file; each row has a run of its own, named after it."""
    if asked is None:
        return ()
    if opt is None:
        raise OptionError(f"{where}: force_yml says something about opt, and there is none")
    if not isinstance(asked, list) or not all(isinstance(item, str) for item in asked):
        raise OptionError(f"{where}: force_yml must be a list of section:key=value, got {asked!r}")
    if any(_key(item) == "name" for item in asked):
        return tuple(asked)
    run = call_for(where, read_option_file, opt).get("name")
    row = "_".join(re.findall(r"\w+", name)).lower()
    return (*asked, f"name={run}_{row}")


def _key(item: str) -> str:
    """What a ``section:key=value`` sets."""
    return item.partition("=")[0].strip()


def _run_folder(opt: str, force: Sequence[str]) -> Path:
    """Where a training of this option file leaves its results."""
    options = read_forced(opt, force)
    check_name(options, opt)
    if not isinstance(section(options, "train").get("total_iter"), (int, float)):
        raise OptionError(f"{opt}: trains nothing: train: total_iter is missing or no number")
    parent = results_parent(section(options, "path"), "experiments_root", os.getcwd())
    return Path(parent) / options["name"]


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
