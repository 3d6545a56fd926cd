"""The networks that `vlif compare` is asked for: a section of its option file, read and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlif_plugin.basicsr_host.options import check_name, results_parent
from vlif_plugin.building import call_for, check_known
from vlif_plugin.errors import OptionError, near_names
from vlif_plugin.inference import parse_tile
from vlif_plugin.option_files import network_section, read_forced, read_option_file, section
from vlif_plugin.shipped import weights_path

INPUT = "input"
"""Name of the row of the degraded images themselves."""

_NETWORK = {"opt", "force_yml", "network_g", "weights", "tile", "seeds"}


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
        options: of the option file with ``force`` over it, as they were when it was read; empty without one.
        seeds_of: what the option file calls the network, where this row is one seed of several.
    """

    name: str
    network: dict[str, Any]
    opt: str | None
    weights: str | None
    run_folder: Path | None
    tile: Any
    force: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    seeds_of: str | None = None


def read_networks(
    entries: dict[str, Any], tile: Any, only: Sequence[str]
) -> tuple[NetworkEntry, ...]:
    """Read the section ``networks``.

    Args:
        entries: the section.
        tile: of networks that say nothing of their own, as the options say it.
        only: names of the networks to read, with all their seeds or of one; all without.

    Raises:
        OptionError: anything wrong with keys, names or values.
    """
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
    rows = []
    for seed in _read_seeds(name, entry["seeds"]):
        row = f"{name}, seed {seed}"
        if seed == first.options.get("manual_seed"):
            rows.append(replace(first, name=row, seeds_of=name))
            continue
        force = [item for item in first.force if _key(item) != "name"]
        force += [f"manual_seed={seed}", f"name={first.options['name']}_seed_{seed}"]
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
    options: dict[str, Any] = {}
    if opt is not None:
        options = call_for(where, read_forced, opt, force)
        network = call_for(where, network_section, options, opt)
    if weights == "trained":
        if opt is None:
            raise OptionError(f"{where}: weights: trained needs the opt that trains them")
        run_folder = call_for(where, _run_folder, options, opt)
        weights = os.fspath(run_folder / "models" / "net_g_latest.pth")
    if not isinstance(network, dict):
        raise OptionError(f"{where}: network_g must be a section with a type, got {network!r}")
    tile = entry.get("tile", tile)
    call_for(where, parse_tile, tile)
    if weights is not None:
        weights = os.fspath(call_for(where, weights_path, os.path.expanduser(weights)))
    return NetworkEntry(name, network, opt, weights, run_folder, tile, force, options)


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


def _run_folder(options: dict[str, Any], opt: str) -> Path:
    """Where a training of an option file leaves its results."""
    check_name(options, opt)
    if not isinstance(section(options, "train").get("total_iter"), (int, float)):
        raise OptionError(f"{opt}: trains nothing: train: total_iter is missing or no number")
    parent = results_parent(section(options, "path"), "experiments_root", os.getcwd())
    return Path(parent) / options["name"]
