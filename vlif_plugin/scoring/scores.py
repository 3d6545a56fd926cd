"""Scoring restored images by named metrics, whatever toolbox restored them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from vlif_plugin.building import argument_names, call_for, check_known
from vlif_plugin.data import IMAGE_SUFFIXES, pixel_hash, to_bytes
from vlif_plugin.distributed import gathered
from vlif_plugin.errors import DataError, OptionError, PluginError, first_line
from vlif_plugin.scoring.metrics import LOWER_IS_BETTER

Metrics = Mapping[str, Mapping[str, Any]]
"""Sections of options by the name that the run gives each metric: ``type``, perhaps ``better``, arguments."""


@dataclass(frozen=True)
class ImageScore:
    """What one image scored.

    Attributes:
        index: its place in the dataset.
        image: its name; see :func:`image_name`.
        pixels: hashes of the degraded image and of its ground truth (None without).
        values: score by metric; None where a metric passes over the image.
        tiling: how it was tiled, in words; None where nobody says so.
    """

    index: int
    image: str
    pixels: tuple[str, str | None]
    values: dict[str, float | None]
    tiling: str | None = None


@dataclass(frozen=True)
class NamedMetric:
    """A metric under the name and with the arguments that a run gives it.

    Attributes:
        name: in the run.
        function: is called with what it names of :func:`score_inputs`, and with ``arguments``.
        arguments: from the options.
    """

    name: str
    function: Callable[..., float | None]
    arguments: Mapping[str, Any]

    @property
    def needs_ground_truth(self) -> bool:
        """Whether it compares two images."""
        return bool({"img2", "gt"} & argument_names(self.function))

    @property
    def needs_network(self) -> bool:
        """Whether it counts the network."""
        return "net" in argument_names(self.function)

    def score(self, available: Mapping[str, Any]) -> float | None:
        """Score one image.

        Args:
            available: see :func:`score_inputs`.

        Returns:
            The score; None where the metric passes over this image.
        """
        wanted = argument_names(self.function) & set(available)
        value = self.function(**{k: available[k] for k in wanted}, **self.arguments)
        return None if value is None else float(value)


Find = Callable[[str], Callable[..., "float | None"]]
"""A metric by its name, or an error."""


def named_metrics(metrics: Metrics, find: Find) -> list[NamedMetric]:
    """The metrics that a run asks for.

    Args:
        metrics: sections by name, that :func:`check_metrics` has passed.
        find: looks a ``type`` up.
    """
    return [
        NamedMetric(
            name,
            find(options["type"]),
            {k: v for k, v in options.items() if k not in ("type", "better")},
        )
        for name, options in metrics.items()
    ]


def check_metrics(metrics: Mapping[str, Any], find: Find, section: str = "val: metrics") -> None:
    """Refuse metrics with unknown types or keys; fill in the direction of those that we know.

    Args:
        metrics: sections by name.
        find: looks a ``type`` up.
        section: what they are called in the options.

    Raises:
        OptionError: names the metric.
    """
    for name, options in metrics.items():
        if not isinstance(options, dict):
            raise OptionError(f"{section}: {name} must be a section with a type, got {options!r}")
        if not is_plain(name) or name in ("image", "index"):
            raise OptionError(f"{section}: {name!r} cannot be the name of a metric")
        if options.get("better", "higher") not in ("higher", "lower"):
            raise OptionError(
                f"{section}: {name}: better must be higher or lower, got {options['better']!r}"
            )
        known = argument_names(find(options.get("type"))) | {"type", "better"}  # pyright: ignore[reportArgumentType]
        # metrics swallow unknown keys, and a misspelt test_y_channel would give another score
        check_known(f"{section}: {name}", options, known)
        if options["type"] in LOWER_IS_BETTER:  # BasicSR takes the higher value for the better one
            options.setdefault("better", "lower")


def try_metrics(
    metrics: Iterable[NamedMetric],
    item: Mapping[str, Any],
    dataset: str,
    section: str = "val: metrics",
) -> None:
    """Score an image as if it were the result.

    Args:
        metrics: that fit the dataset.
        item: of the dataset: ``lq`` and perhaps ``gt``, of shape (3, H, W), RGB in [0, 1].
        dataset: its name.
        section: what the metrics are called in the options.

    Raises:
        OptionError: a metric does not work on it; names both.
    """
    lq = item["lq"][None]
    gt = item["gt"][None] if "gt" in item else None
    available = score_inputs(lq, gt, lq, net=None)
    for metric in metrics:
        where = f"{section}: {metric.name}"
        if gt is None:
            refuse_without_ground_truth([metric], dataset, section)
        if metric.needs_network:  # tries the options, for the network takes its time
            call_for(where, metric.score, available | {"net": nn.Conv2d(3, 3, 1)})
            continue
        value = call_for(where, metric.score, available)
        if value is not None and np.isnan(value):
            raise OptionError(f"{where} is not a number on {dataset}")


def score_inputs(
    output: Tensor, gt: Tensor | None, lq: Tensor, net: nn.Module | None, index: int = 0
) -> dict[str, Any]:
    """What a metric may ask for by the names of its arguments.

    Args:
        output: the network's result, shape (1, 3, H, W), RGB in [0, 1].
        gt: the ground truth of the same shape, or None.
        lq: the network's input of the same shape.
        net: the network.
        index: the image's place in the dataset.

    Returns:
        ``img`` and ``img2``, result and ground truth as BasicSR's metrics have them (BGR, uint8,
        (H, W, 3)), and the arguments under their own names.
    """
    images = [
        None if x is None else np.ascontiguousarray(to_bytes(x[0])[..., ::-1]) for x in (output, gt)
    ]
    named = {"output": output, "gt": gt, "lq": lq, "net": net, "index": index}
    return {"img": images[0], "img2": images[1], **named}


def score_image(
    image: str,
    available: Mapping[str, Any],
    metrics: Iterable[NamedMetric],
    dataset: str,
    tiling: str | None = None,
) -> ImageScore:
    """Score one image by all metrics.

    Args:
        image: its name.
        available: see :func:`score_inputs`.
        metrics: by which.
        dataset: the dataset's name, for messages.
        tiling: how it was tiled, in words; None where nobody says so.

    Raises:
        DataError: a metric cannot score it; names image and metric.
        OptionError: a metric compares with ground truth, and there is none.
    """
    if not available["output"].isfinite().all():  # a black picture would be scored in its place
        raise DataError(f"{dataset}: {image}: the network's result is not finite")
    values = {}
    for metric in metrics:
        if available["gt"] is None:
            refuse_without_ground_truth([metric], dataset)
        try:
            values[metric.name] = metric.score(available)
        except (PluginError, ValueError) as error:  # it may come after hours
            raise DataError(f"{dataset}: {image}: {metric.name}: {first_line(error)}") from error
    return ImageScore(
        available["index"], image, hash_pair(available["lq"], available["gt"]), values, tiling
    )


def refuse_without_ground_truth(
    metrics: Iterable[NamedMetric], dataset: str, section: str = "val: metrics"
) -> None:
    """Refuse metrics that compare two images, for a dataset that has only one.

    Args:
        metrics: to look through.
        dataset: the dataset's name, for the message.
        section: what the metrics are called in the options.

    Raises:
        OptionError: names the metric and the dataset.
    """
    for metric in metrics:
        if metric.needs_ground_truth:
            raise OptionError(
                f"{section}: {metric.name} compares with ground truth, and dataset {dataset} has none"
            )


def gather_scores(scores: list[ImageScore]) -> list[ImageScore]:
    """The scores of all processes, each image's once, in the dataset's order; on every process."""
    # a sampler may fill up its last round with images that another process has
    by_index = {score.index: score for part in reversed(gathered(scores)) for score in part}
    return [by_index[index] for index in sorted(by_index)]


def mean_score(values: Iterable[float | None]) -> float:
    """Over the images that a metric scored; not a number where there is none."""
    scored = [value for value in values if value is not None]
    return sum(scored) / len(scored) if scored else float("nan")


def hash_pair(lq: Tensor, gt: Tensor | None) -> tuple[str, str | None]:
    """Hashes of the images that tensors were made of, for the fingerprint of a dataset.

    Args:
        lq: shape (1, 3, H, W), RGB, float in [0, 1].
        gt: the ground truth of that form, or None.
    """
    return pixel_hash(to_bytes(lq[0])), None if gt is None else pixel_hash(to_bytes(gt[0]))


def image_name(path: str) -> str:
    """The image's name without folder and suffix, which can be a file's; an LMDB's key may hold dots.

    A key that holds slashes is all of it the name, for its last part may come twice.

    >>> image_name("rain/001.png"), image_name("rain.lmdb/0.5"), image_name("rain.lmdb/a/001")
    ('001', '0.5', 'a_001')
    """
    found = Path(path)
    name = found.stem if found.suffix.lower() in IMAGE_SUFFIXES else found.name
    lmdb = next((folder for folder in found.parents if folder.suffix == ".lmdb"), None)
    folders = () if lmdb is None else found.relative_to(lmdb).parts[:-1]
    return "_".join([*folders, name])


def is_plain(name: object) -> bool:
    """Whether a name can be part of a file's."""
    return isinstance(name, str) and bool(name) and not set(name) & set("/\\\0")
