"""Validation: every process takes its share of the images, any metric of BasicSR's registry fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.distributed as dist
from basicsr.utils import get_root_logger, tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate
from tqdm import tqdm

from vlif_plugin.archs import load_tensors
from vlif_plugin.basicsr_host.results import ImageScore, hash_pair, write_results
from vlif_plugin.building import argument_names
from vlif_plugin.data import IMAGE_SUFFIXES, fingerprint, save_image
from vlif_plugin.errors import DataError, OptionError, PluginError, first_line

if TYPE_CHECKING:
    from vlif_plugin.basicsr_host.snn_restoration_model import SNNRestorationModel


def run_validation(
    model: SNNRestorationModel,
    dataloader: DataLoader[Any],
    current_iter: int | str,
    tb_logger: Any,
    save_img: bool,
) -> None:
    """Restore and score all images of a dataset, log the means, keep the best weights.

    Replaces BasicSR's ``nondist_validation`` and ``dist_validation``, which run on one process
    while the others wait, put whole images on the GPU and cannot do without ground truth. Images
    are split over processes and the means are taken over all images, so the result does not
    depend on how many processes there are. Values of each image go to a CSV file, and with what
    they rest on to a JSON file.

    Args:
        model: the model; its EMA network is used where there is one.
        dataloader: whose dataset to score.
        current_iter: the iteration, or the run's name when testing.
        tb_logger: for the means, or None.
        save_img: whether to write the restored images.
    """
    dataset: Any = dataloader.dataset
    name = dataset.opt["name"]
    metrics: dict[str, dict[str, Any]] = model.opt["val"].get("metrics") or {}
    rank, world_size = model.opt["rank"], model.opt["world_size"]
    scores: list[ImageScore] = []
    shares = range(rank, len(dataset), world_size)
    for index in tqdm(
        shares,
        unit="image",
        desc=f"Test {name}",
        disable=rank > 0 or not model.opt["val"].get("pbar"),
    ):
        data = default_collate([dataset[index]])
        # left on the CPU: what the network is given goes to the GPU, tile by tile
        model.lq, model.gt = data["lq"], data.get("gt")
        model.test()
        image = image_name(data["lq_path"][0])
        available = score_inputs(model.output, model.gt, model.lq, model.scored_net, index)
        if save_img:
            save_image(available["img"], _image_path(model, name, image, current_iter))
        scores.append(score_image(image, available, metrics, name))
    model.lq = model.gt = model.output = None  # let go of the memory
    scores = _gather(scores, world_size)
    if metrics and rank == 0:
        _report(model, name, scores, current_iter, tb_logger)


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
    images = [None if x is None else np.asarray(tensor2img([x.cpu()])) for x in (output, gt)]
    named = {"output": output, "gt": gt, "lq": lq, "net": net, "index": index}
    return {"img": images[0], "img2": images[1], **named}


def score_image(
    image: str,
    available: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
    dataset: str,
) -> ImageScore:
    """Score one image by all metrics.

    Args:
        image: its name.
        available: see :func:`score_inputs`.
        metrics: the options' metrics by name.
        dataset: the dataset's name, for messages.

    Raises:
        DataError: a metric cannot score it; names image and metric.
    """
    output = available["output"]
    if not output.isfinite().all():  # a black picture would be scored in its place
        raise DataError(f"{dataset}: {image}: the network's result is not finite")
    values = {m: _try_score(m, metrics[m], dataset, available, image) for m in metrics}
    pixels = hash_pair(available["lq"], available["gt"])
    return ImageScore(available["index"], image, pixels, values)


def score(
    metric: str, options: Mapping[str, Any], dataset: str, available: Mapping[str, Any]
) -> float | None:
    """Call a metric of BasicSR's registry with what its signature asks for.

    Args:
        metric: its name in the options.
        options: its section.
        dataset: the dataset's name, for messages.
        available: see :func:`score_inputs`.

    Returns:
        The score; None where the metric passes over this image.

    Raises:
        OptionError: it compares with ground truth, and there is none.
    """
    function = METRIC_REGISTRY.get(options["type"])
    wanted = argument_names(function) & set(available)
    if available["gt"] is None:
        refuse_without_ground_truth({metric: options}, dataset)
    arguments = {k: v for k, v in options.items() if k not in ("type", "better")}
    value = function(**{k: available[k] for k in wanted}, **arguments)
    return None if value is None else float(value)


def _try_score(
    metric: str,
    options: Mapping[str, Any],
    dataset: str,
    available: Mapping[str, Any],
    image: str,
) -> float | None:
    """A score, or an error that names image and metric: it may come after hours."""
    try:
        return score(metric, options, dataset, available)
    except (PluginError, ValueError) as error:
        raise DataError(f"{dataset}: {image}: {metric}: {first_line(error)}") from error


def refuse_without_ground_truth(metrics: Mapping[str, Mapping[str, Any]], dataset: str) -> None:
    """Refuse metrics that compare two images, for a dataset that has only one.

    Args:
        metrics: the options' metrics by name.
        dataset: the dataset's name, for the message.

    Raises:
        OptionError: names the metric and the dataset.
    """
    for name, options in metrics.items():
        if needs_ground_truth(options):
            raise OptionError(
                f"val: metrics: {name} compares with ground truth, and dataset {dataset} has none"
            )


def needs_ground_truth(metric: Mapping[str, Any]) -> bool:
    """Whether a metric, by its section, compares two images."""
    return bool({"img2", "gt"} & argument_names(METRIC_REGISTRY.get(metric["type"])))


def needs_network(metric: Mapping[str, Any]) -> bool:
    """Whether a metric, by its section, counts the network."""
    return "net" in argument_names(METRIC_REGISTRY.get(metric["type"]))


def mean_score(values: Iterable[float | None]) -> float:
    """Over the images that a metric scored; not a number where there is none."""
    scored = [value for value in values if value is not None]
    return sum(scored) / len(scored) if scored else float("nan")


def _gather(scores: list[ImageScore], world_size: int) -> list[ImageScore]:
    if world_size == 1:
        return scores
    gathered: list[Any] = [None] * world_size
    dist.all_gather_object(gathered, scores)
    return sorted((score for part in gathered for score in part), key=lambda score: score.index)


def _report(
    model: SNNRestorationModel,
    dataset: str,
    scores: list[ImageScore],
    current_iter: int | str,
    tb_logger: Any,
) -> None:
    metrics = model.opt["val"]["metrics"]
    model.metric_results = {m: mean_score(s.values[m] for s in scores) for m in metrics}
    best = model.opt["val"].get("save_best")
    _begin_record(model, dataset, best)
    before = None if best is None else model.best_metric_results[dataset][best]["iter"]
    for metric, value in model.metric_results.items():
        model._update_best_metric_result(dataset, metric, value, current_iter)
    mark = fingerprint(s.pixels for s in scores)
    get_root_logger().info(f"{dataset}: {len(scores)} images, fingerprint {mark}")
    model._log_validation_metric_values(current_iter, dataset, tb_logger)
    write_results(model.opt, dataset, current_iter, scores, model.metric_results)

    if (
        model.is_train
        and best is not None
        and model.best_metric_results[dataset][best]["iter"] != before
    ):
        nets = [model.net_g, *([model.net_g_ema] if hasattr(model, "net_g_ema") else [])]
        model.save_network(
            nets,
            "net_g",
            f"best_{best}_{dataset}",
            ["params", "params_ema"][: len(nets)],
            best={"val": model.metric_results[best], "iter": current_iter},
        )
        get_root_logger().info(f"Best {best} on {dataset}: weights saved.")


def _begin_record(model: SNNRestorationModel, dataset: str, best: str | None) -> None:
    """Start the record of a dataset's best values, where a run is resumed from the weights kept."""
    known = dataset in getattr(model, "best_metric_results", {})
    model._initialize_best_metric_results(dataset)
    if known or best is None or not model.is_train:
        return
    path = Path(model.opt["path"]["models"]) / f"net_g_best_{best}_{dataset}.pth"
    if path.is_file():
        model.best_metric_results[dataset][best] |= load_tensors(path).get("best", {})


def image_name(path: str) -> str:
    """The image's name without folder and suffix; an LMDB key may hold dots and has no suffix."""
    found = Path(path)
    return found.stem if found.suffix.lower() in IMAGE_SUFFIXES else found.name


def _image_path(
    model: SNNRestorationModel, dataset: str, image: str, current_iter: int | str
) -> Path:
    folder = Path(model.opt["path"]["visualization"])
    if model.is_train:
        sets = [d for d in model.opt["datasets"].values() if d.get("phase") == "val"]
        inside = folder / dataset if len(sets) > 1 else folder  # equal names in two datasets
        return inside / image / f"{image}_{current_iter}.png"
    return folder / dataset / f"{image}_{model.opt['val']['suffix'] or model.opt['name']}.png"
