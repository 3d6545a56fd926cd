"""Validation: every process takes its share of the images, any metric of BasicSR's registry fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basicsr.utils import get_root_logger
from torch.utils.data import DataLoader, default_collate
from tqdm import tqdm

from vlif_plugin import scoring
from vlif_plugin.archs import load_tensors
from vlif_plugin.basicsr_host.checks import named_metrics
from vlif_plugin.basicsr_host.loaders import validation_loader
from vlif_plugin.data import fingerprint, save_image
from vlif_plugin.distributed import agreed
from vlif_plugin.neurons import FiringRates, FiringReport, gather_counts
from vlif_plugin.scoring import ImageScore, gather_scores, image_name, mean_score

if TYPE_CHECKING:
    from vlif_plugin.basicsr_host.snn_restoration_model import SNNRestorationModel
    from vlif_plugin.runs import MetricLog


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
    firing = FiringRates(model.scored_net)
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
        with firing:  # and not while it is scored: metrics may run the network again
            model.test()
        image = image_name(data["lq_path"][0])
        available = scoring.score_inputs(model.output, model.gt, model.lq, model.scored_net, index)
        if save_img:
            save_image(available["img"], _image_path(model, name, image, current_iter))
        scores.append(scoring.score_image(image, available, metrics, name, model.tiling))
    model.lq = model.gt = model.output = None  # let go of the memory
    scores = gather_scores(scores)
    report = FiringReport.of(gather_counts(firing.counts()))
    if rank == 0:
        _say_firing(name, report, current_iter, tb_logger)
        if metrics:
            _report(model, name, scores, report, current_iter, tb_logger)


def validate_if_missing(model: SNNRestorationModel, iteration: int) -> None:
    """Validate what a run was killed before it had; what it had validated counts for the best scores.

    Args:
        model: that has resumed its state of ``iteration``, best scores included.
        iteration: of the state, which is saved before the validation.
    """
    val = model.opt.get("val") or {}
    for section in model.opt["datasets"].values():
        if section["phase"] != "val" or not val.get("metrics"):
            continue
        name = section["name"]
        _resume_best(model, name, val.get("save_best"))
        if iteration % val["val_freq"]:
            continue
        means = agreed(_recorded(model, name, iteration) if model.opt["rank"] == 0 else None)
        if means is None:
            get_root_logger().info(f"resume: {name} was not validated at {iteration:,d}.")
            loader = validation_loader(model.opt, section)
            model.validation(loader, iteration, None, val["save_img"])
            continue
        for metric in means.keys() & val["metrics"].keys():
            model._update_best_metric_result(name, metric, means[metric], iteration)
        model.validated.add((name, iteration))


def _resume_best(model: SNNRestorationModel, dataset: str, best: str | None) -> None:
    """Complete the resumed record of a dataset's best scores by metrics and weights that it lacks."""
    resumed = model.best_metric_results.pop(dataset, {})
    model._initialize_best_metric_results(dataset)
    record = model.best_metric_results[dataset]
    for metric in record.keys() & resumed.keys():
        if resumed[metric]["better"] == record[metric]["better"]:
            record[metric] = dict(resumed[metric])
    path = Path(model.opt["path"]["models"]) / f"net_g_best_{best}_{dataset}.pth"
    if best is not None and path.is_file():
        kept = load_tensors(path).get("best") or {"iter": -1}
        if kept["iter"] > record[best]["iter"]:  # of iterations that are made again
            record[best] |= kept


def _recorded(model: SNNRestorationModel, dataset: str, iteration: int) -> dict[str, float] | None:
    """The means that were written of a validation, which are the last that it writes; None without."""
    try:
        text = (_results_folder(model) / f"{dataset}_{iteration}.json").read_bytes()
        metrics = json.loads(text)["metrics"]
        return {name: float(metric["mean"]) for name, metric in metrics.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _results_folder(model: SNNRestorationModel) -> Path:
    folder = Path(model.opt["path"]["log"])
    return folder / "validation" if model.is_train else folder


def _say_firing(
    dataset: str, report: FiringReport, current_iter: int | str, tb_logger: Any
) -> None:
    """Log whether the neurons fire, where there are any."""
    if not report.rates:
        return
    get_root_logger().info(f"{dataset}: {report.summary()}")
    for line in report.warnings():
        get_root_logger().warning(f"{dataset}: {line}")
    for key, value in report.scalars().items() if tb_logger else ():
        tb_logger.add_scalar(f"metrics/{dataset}/{key}", value, current_iter)


def _report(
    model: SNNRestorationModel,
    dataset: str,
    scores: list[ImageScore],
    firing: FiringReport,
    current_iter: int | str,
    tb_logger: Any,
) -> None:
    metrics = model.opt["val"]["metrics"]
    model.metric_results = {m: mean_score(s.values[m] for s in scores) for m in metrics}
    best = model.opt["val"].get("save_best")
    model._initialize_best_metric_results(dataset)
    before = None if best is None else model.best_metric_results[dataset][best]["iter"]
    for metric, value in model.metric_results.items():
        model._update_best_metric_result(dataset, metric, value, current_iter)
    mark = fingerprint(s.pixels for s in scores)
    get_root_logger().info(f"{dataset}: {len(scores)} images, fingerprint {mark}")
    model._log_validation_metric_values(current_iter, dataset, tb_logger)
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
    if model.is_train and model.log and isinstance(current_iter, int):
        _log(model, model.log, dataset, current_iter, firing)
    _write(model, dataset, current_iter, scores)  # last: by its file a resumed run knows of it


def _log(
    model: SNNRestorationModel,
    log: MetricLog,
    dataset: str,
    iteration: int,
    firing: FiringReport,
) -> None:
    if model.opt.get("resume"):  # which may have been killed between this and the results
        log.drop(lambda line: (line["iter"], line.get("dataset")) == (iteration, dataset))
    rates = {"firing_rates": firing.rates} if firing.rates else {}
    log.write(iteration, {"dataset": dataset} | model.metric_results | rates)


def _write(
    model: SNNRestorationModel, dataset: str, current_iter: int | str, scores: list[ImageScore]
) -> None:
    opt, training = model.opt, model.is_train
    weights = opt["path"].get("pretrain_network_g")
    scoring.write_results(
        _results_folder(model),
        f"{dataset}_{current_iter}" if training else dataset,
        scores,
        model.metric_results,
        dataset=dataset,
        iteration=current_iter if training else None,
        network=scoring.network_record(opt["network_g"], weights, loaded=not training),
        tile=opt["val"].get("tile"),
        metrics=opt["val"]["metrics"],
    )


def _image_path(
    model: SNNRestorationModel, dataset: str, image: str, current_iter: int | str
) -> Path:
    folder = Path(model.opt["path"]["visualization"])
    if model.is_train:
        sets = [d for d in model.opt["datasets"].values() if d.get("phase") == "val"]
        inside = folder / dataset if len(sets) > 1 else folder  # equal names in two datasets
        return inside / image / f"{image}_{current_iter}.png"
    return folder / dataset / f"{image}_{model.opt['val']['suffix'] or model.opt['name']}.png"
