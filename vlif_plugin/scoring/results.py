"""Scores on disk: a table of each image's, and a record of what they rest on."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlif_plugin.data import fingerprint, write_atomically
from vlif_plugin.files import file_hash
from vlif_plugin.records import strict_json, versions
from vlif_plugin.scoring.protocols import description
from vlif_plugin.scoring.scores import ImageScore, Metrics


def write_results(
    folder: Path,
    stem: str,
    scores: Sequence[ImageScore],
    means: Mapping[str, float],
    *,
    dataset: str,
    iteration: int | str | None,
    network: Mapping[str, Any],
    tile: Any,
    metrics: Metrics,
) -> None:
    """Write a dataset's scores: ``….csv`` is a table for people, ``….json`` says how they came about.

    The JSON is strict: a value that is no finite number (PSNR of equal images is infinite) is one
    of the strings ``inf``, ``-inf`` and ``nan``.

    Args:
        folder: of the two files.
        stem: their name without suffix.
        scores: of all images, in the dataset's order.
        means: by metric.
        dataset: its name.
        iteration: of the training; None when testing.
        network: what :func:`network_record` says of it.
        tile: how images were tiled, as in the options; the record says what ``auto`` came to.
        metrics: the options' metrics by name.

    Raises:
        DataError: a file cannot be written.
    """
    write_atomically(folder / f"{stem}.csv", _table(scores, means).encode())
    record = {
        "dataset": dataset,
        "iteration": iteration,
        "images": len(scores),
        "fingerprint": fingerprint(score.pixels for score in scores),
        "network": network,
        "tile": _auto_tile(scores) if tile == "auto" else tile,
        "versions": versions(),
        "metrics": {name: _metric(metrics[name]) | {"mean": mean} for name, mean in means.items()},
        "per_image": [{"image": score.image, **score.values} for score in scores],
    }
    write_atomically(folder / f"{stem}.json", strict_json(record))


def network_record(
    options: Mapping[str, Any], weights: str | None = None, *, loaded: bool = False
) -> dict[str, Any]:
    """What the record of scores says of a network.

    Args:
        options: its section: ``type`` and arguments.
        weights: the file that they were loaded from.
        loaded: whether the weights are a file's, and not those of the run itself.
    """
    options = dict(options)
    network = {"type": options.pop("type"), "options": options}
    if loaded:
        network["weights"] = weights
        if weights is not None:
            network["weights_sha256"] = file_hash(weights)
    return network


def _auto_tile(scores: Sequence[ImageScore]) -> str:
    """What ``auto`` came to, as far as it is known: it depends on the memory that was free."""
    used = Counter(score.tiling for score in scores if score.tiling is not None)
    if len(used) == 1 and used.total() == len(scores):
        return f"auto: {next(iter(used))}"
    parts = [f"{tiling}, for {count} of {len(scores)} images" for tiling, count in used.items()]
    return f"auto: {'; '.join(parts)}" if parts else "auto"


def _table(scores: Sequence[ImageScore], means: Mapping[str, float]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["image", *means], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"image": score.image, **score.values} for score in scores)
    writer.writerow({"image": "mean", **means})
    return text.getvalue()


def _metric(section: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(section)
    kind = options.pop("type")
    return {"type": kind, "options": options, "what": description(kind)}
