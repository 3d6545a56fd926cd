"""What a run was started with, each time: options, code, machine, data and seed."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlif_plugin.errors import TrainingError
from vlif_plugin.files import written_whole
from vlif_plugin.machine import describe_machine
from vlif_plugin.records import strict_json

NAME = "manifest.json"
_PACKAGE = Path(__file__).parents[1]


def add_start(
    folder: Path,
    *,
    options: Mapping[str, Any],
    seed: int,
    device: str,
    processes: int,
    fingerprints: Mapping[str, str | None],
    iteration: int = 0,
    resumed_from: str | None = None,
) -> None:
    """Add a start to the ``manifest.json`` of a run's folder: ``{"starts": [...]}``, the last one newest.

    Args:
        folder: of the run.
        options: after all overrides.
        seed: of the run.
        device: that the network runs on.
        processes: how many train together.
        fingerprints: of the datasets by section.
        iteration: that the run goes on behind.
        resumed_from: the training state.

    Raises:
        TrainingError: the file cannot be written.
    """
    start = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "iteration": iteration,
        "resumed_from": resumed_from,
        "command": sys.argv,
        "seed": seed,
        "processes": processes,
        "datasets": fingerprints,
        "machine": describe_machine(device),
        "git": git_state(),
        "options": options,
    }
    path = folder / NAME
    content = strict_json({"starts": [*starts(folder), start]})
    try:
        with written_whole(path) as file:
            file.write(content)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written ({error.strerror or error})") from error


def starts(folder: Path) -> list[dict[str, Any]]:
    """The starts of a run so far; none where there is no readable manifest."""
    try:
        record = json.loads((folder / NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    found = record.get("starts") if isinstance(record, dict) else None
    return found if isinstance(found, list) else []


def git_state() -> dict[str, Any] | None:
    """Commit of the plugin's source, and whether files were changed since; None for an installed package."""
    if not (_PACKAGE.parent / ".git").exists():  # an environment inside somebody's repository
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(_PACKAGE.parent), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for words in (
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no"),
            )
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changes)}
