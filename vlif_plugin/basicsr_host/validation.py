"""Validation: every process takes its share of the images, any metric of BasicSR's registry fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from basicsr.utils import get_root_logger
from torch.utils.data import DataLoader, default_collate
from tqdm import tqdm

from vlif_plugin import scoring
from vlif_plugin.archs import load_tensors
from vlif_plugin.basicsr_host.checks import named_metrics
from vlif_plugin.data import fingerprint, save_image
from vlif_plugin.scoring import ImageScore, gather_scores, image_name, mean_score

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
    metrics = named_metrics(model.opt["val"].get("metrics") or {})
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
        available = scoring.score_inputs(model.output, model.gt, model.lq, model.scored_net, index)
        if save_img:
            save_image(available["img"], _image_path(model, name, image, current_iter))
        scores.append(scoring.score_image(image, available, metrics, name))
    model.lq = model.gt = model.output = None  # let go of the memory
    scores = gather_scores(scores)
    if metrics and rank == 0:
        _report(model, name, scores, current_iter, tb_logger)


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
    _write(model, dataset, current_iter, scores)

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


def _write(
    model: SNNRestorationModel, dataset: str, current_iter: int | str, scores: list[ImageScore]
) -> None:
    opt, training = model.opt, model.is_train
    folder = Path(opt["path"]["log"])
    weights = opt["path"].get("pretrain_network_g")
    scoring.write_results(
        folder / "validation" if training else folder,
        f"{dataset}_{current_iter}" if training else dataset,
        scores,
        model.metric_results,
        dataset=dataset,
        iteration=current_iter if training else None,
        network=scoring.network_record(opt["network_g"], weights, loaded=not training),
        tile=opt["val"].get("tile"),
        metrics=opt["val"]["metrics"],
    )


def _begin_record(model: SNNRestorationModel, dataset: str, best: str | None) -> None:
    """Start the record of a dataset's best values, where a run is resumed from the weights kept."""
    known = dataset in getattr(model, "best_metric_results", {})
    model._initialize_best_metric_results(dataset)
    if known or best is None or not model.is_train:
        return
    path = Path(model.opt["path"]["models"]) / f"net_g_best_{best}_{dataset}.pth"
    if path.is_file():
        model.best_metric_results[dataset][best] |= load_tensors(path).get("best", {})


def _image_path(
    model: SNNRestorationModel, dataset: str, image: str, current_iter: int | str
) -> Path:
    folder = Path(model.opt["path"]["visualization"])
    if model.is_train:
        sets = [d for d in model.opt["datasets"].values() if d.get("phase") == "val"]
        inside = folder / dataset if len(sets) > 1 else folder  # equal names in two datasets
        return inside / image / f"{image}_{current_iter}.png"
    return folder / dataset / f"{image}_{model.opt['val']['suffix'] or model.opt['name']}.png"
