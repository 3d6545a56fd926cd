"""Scores on disk: a table of each image's, and a record of what they rest on."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vlif_plugin import __version__
from vlif_plugin.basicsr_host.protocols import description
from vlif_plugin.data import fingerprint, pixel_hash, write_atomically
from vlif_plugin.files import file_hash

# what images, networks and metrics go through; of OpenCV's wheels one is there
_PACKAGES = (
    "torch", "torchvision", "basicsr", "numpy", "scipy", "scikit-image", "pillow", "lpips",
    "opencv-python", "opencv-python-headless", "opencv-contrib-python",
)  # fmt: skip


@dataclass(frozen=True)
class ImageScore:
    """What one image scored.

    Attributes:
        index: its place in the dataset.
        image: its name without folder and suffix.
        pixels: hashes of the degraded image and of its ground truth (None without).
        values: score by metric; None where a metric passes over the image.
    """

    index: int
    image: str
    pixels: tuple[str, str | None]
    values: dict[str, float | None]


def hash_pair(lq: Tensor, gt: Tensor | None) -> tuple[str, str | None]:
    """Hashes of the images that tensors were made of, for the fingerprint of a dataset.

    Args:
        lq: shape (1, 3, H, W), RGB, float in [0, 1].
        gt: the ground truth of that form, or None.
    """
    return pixel_hash(_as_bytes(lq)), None if gt is None else pixel_hash(_as_bytes(gt))


def write_results(
    opt: Mapping[str, Any],
    dataset: str,
    current_iter: int | str,
    scores: Sequence[ImageScore],
    means: Mapping[str, float],
) -> None:
    """Write a dataset's scores: ``….csv`` is a table for people, ``….json`` says how they came about.

    The JSON is strict: a value that is no finite number (PSNR of equal images is infinite) is one
    of the strings ``inf``, ``-inf`` and ``nan``.

    Args:
        opt: the run's options.
        dataset: its name.
        current_iter: the iteration, or the run's name when testing.
        scores: of all images, in the dataset's order.
        means: by metric.

    Raises:
        DataError: a file cannot be written.
    """
    folder = Path(opt["path"]["log"])
    stem = f"{dataset}_{current_iter}" if opt["is_train"] else dataset
    folder = folder / "validation" if opt["is_train"] else folder
    write_atomically(folder / f"{stem}.csv", _table(scores, means).encode())
    record = {
        "dataset": dataset,
        "iteration": current_iter if opt["is_train"] else None,
        "images": len(scores),
        "fingerprint": fingerprint(score.pixels for score in scores),
        "network": _network(opt),
        "tile": opt["val"].get("tile"),
        "versions": versions(),
        "metrics": {name: _metric(opt, name) | {"mean": mean} for name, mean in means.items()},
        "per_image": [{"image": score.image, **score.values} for score in scores],
    }
    write_atomically(folder / f"{stem}.json", strict_json(record))


def strict_json(record: Mapping[str, Any]) -> bytes:
    """A record as a file of strict JSON; see :func:`write_results` for what JSON cannot say."""
    text = json.dumps(_strict(record), indent=1, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def versions() -> dict[str, str]:
    """Versions of Python, this package, and what images, networks and metrics go through."""
    found = {"python": platform.python_version(), "vlif_plugin": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # it computed nothing then
            continue
    return found


def _as_bytes(image: Tensor) -> NDArray[np.uint8]:
    return (image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _table(scores: Sequence[ImageScore], means: Mapping[str, float]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["image", *means], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"image": score.image, **score.values} for score in scores)
    writer.writerow({"image": "mean", **means})
    return text.getvalue()


def _network(opt: Mapping[str, Any]) -> dict[str, Any]:
    """The network's type and options; its weights too where they are not those of the run itself."""
    options = dict(opt["network_g"])
    network = {"type": options.pop("type"), "options": options}
    if not opt["is_train"]:
        path = opt["path"]["pretrain_network_g"]
        network["weights"] = path
        if path is not None:
            network["weights_sha256"] = file_hash(path)
    return network


def _metric(opt: Mapping[str, Any], name: str) -> dict[str, Any]:
    options = dict(opt["val"]["metrics"][name])
    kind = options.pop("type")
    return {"type": kind, "options": options, "what": description(kind)}


def _strict(value: Any) -> Any:
    """What JSON can say: numbers that it has no word for, and YAML's dates, become strings."""
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (str, int)) else str(value)
