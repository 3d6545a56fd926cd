"""Check an option file before a run touches the disk: keys, names, images, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    LOSS_REGISTRY,
    MODEL_REGISTRY,
)

from vlif_plugin import option_files
from vlif_plugin.basicsr_host.checks import (
    build_dataset,
    build_registered,
    check_datasets,
    check_metrics,
    named_metrics,
    try_weights,
)
from vlif_plugin.basicsr_host.optimizers import build_optimizer
from vlif_plugin.basicsr_host.progressive import Progressive
from vlif_plugin.basicsr_host.resume import may_resume
from vlif_plugin.basicsr_host.schedules import check_schedule
from vlif_plugin.building import argument_names, build_from, call_for, check_known
from vlif_plugin.data import check_pixels, sampled_fingerprint
from vlif_plugin.errors import OptionError
from vlif_plugin.files import check_folder
from vlif_plugin.inference import parse_tile
from vlif_plugin.scoring import ENERGY_METRICS, expand_protocols, try_metrics
from vlif_plugin.speed import pick_backend

_TOP = {
    "name", "model_type", "scale", "num_gpu", "manual_seed", "datasets", "network_g", "path", "train", "val",
    "logger", "dist_params", "find_unused_parameters", "deterministic", "backend", "dist", "rank", "world_size",
    "auto_resume", "is_train", "seed_drawn",
}  # fmt: skip
_PATH = {
    "pretrain_network_g", "param_key_g", "strict_load_g", "resume_state", "ignore_resume_networks",
    "experiments_root", "results_root", "models", "training_states", "log", "visualization",
}  # fmt: skip
_TRAIN = {
    "total_iter", "warmup_iter", "optim_g", "scheduler", "pixel_opt", "perceptual_opt", "ema_decay",
    "amp", "accumulate", "grad_clip", "progressive", "sync_bn",
}  # fmt: skip
_VAL = {"val_freq", "save_img", "pbar", "suffix", "metrics", "protocols", "tile", "save_best"}
_LOGGER = {"print_freq", "save_checkpoint_freq", "keep_states", "use_tb_logger", "wandb"}
_NEEDED = {
    "train": ("total_iter", "optim_g", "scheduler"),
    "val": ("val_freq",),
    "logger": ("print_freq", "save_checkpoint_freq"),
}
_SECTIONS = {
    "": ("datasets", "network_g", "path", "train", "val", "logger"),
    "train": ("optim_g", "scheduler", "pixel_opt", "perceptual_opt", "progressive"),
    "val": ("metrics",),
    "logger": ("wandb",),
}
_COUNTS = {
    "train": ("total_iter", "accumulate"),
    "val": ("val_freq",),
    "logger": ("print_freq", "save_checkpoint_freq", "keep_states"),
}


def check_sections(opt: dict[str, Any], source: str) -> None:
    """Refuse options whose structure is not BasicSR's, before anything is read out of them.

    Args:
        opt: the options as they were read.
        source: the option file's name, for messages.

    Raises:
        OptionError: names the section.
    """
    for parent, names in _SECTIONS.items():
        for name in names:
            where = f"{source}: {parent}: {name}" if parent else f"{source}: {name}"
            inside = option_files.section(opt, parent) if parent else opt
            option_files.section(inside, name, where)
    typed = {
        "network_g": opt.get("network_g"),
        **(opt.get("train") or {}),
        **(opt.get("datasets") or {}),
    }
    typed |= {
        f"val: metrics: {k}": v for k, v in ((opt.get("val") or {}).get("metrics") or {}).items()
    }
    for name, section in typed.items():
        if isinstance(section, dict) and not isinstance(section.get("type", ""), str):
            raise OptionError(f"{source}: {name}: type must be a name, got {section['type']!r}")
    for key, value in (opt.get("path") or {}).items():
        if key == "strict_load_g" or value is None:
            continue
        kind, what = (list, "list") if key == "ignore_resume_networks" else (str, "path")
        if not isinstance(value, kind):
            raise OptionError(f"{source}: path: {key} must be a {what}, got {value!r}")


def check_options(opt: dict[str, Any], source: str) -> None:
    """Refuse options that cannot work, and fill the ones that BasicSR wants to find.

    Strict about keys for ``SNNRestorationModel``; of other models it checks what it can.

    Args:
        opt: the options, paths resolved; missing optional sections are added.
        source: the option file's name, for messages.

    Raises:
        PluginError: one line that names the file and the key, or the images, or the weights.
    """
    ours = opt.get("model_type") == "SNNRestorationModel"
    try:
        _fill_defaults(opt)
        if ours:
            _check_keys(opt)
            _check_values(opt)
        elif (opt.get("val") or {}).get("protocols") is not None:
            # BasicSR's models have no result before rounding, which some protocols compare
            raise OptionError("val: protocols is understood by SNNRestorationModel only")
        else:
            _refuse_energy(opt)
        _check_names(opt)
        check_folder(opt["path"]["experiments_root" if opt["is_train"] else "results_root"])
        with torch.random.fork_rng(devices=[]):  # trying things must not change the run's draws
            net = _try_network(opt)
            images = _try_datasets(opt)
            if opt["is_train"] and ours:
                _try_training(opt, net)
            _try_metrics(opt, images)
    except OptionError as error:
        raise OptionError(f"{source}: {error}") from error


def _fill_defaults(opt: dict[str, Any]) -> None:
    required = ["name", "model_type", "datasets", "network_g"]
    for key in (*required, *(["train", "logger"] if opt["is_train"] else ["val"])):
        if not opt.get(key):
            raise OptionError(f"the key {key!r} is missing or empty")
    if opt.get("val") is not None:
        expand_protocols(opt["val"])
        opt["val"].setdefault("save_img", False)
        opt["val"].setdefault("suffix", None)
    if opt["is_train"]:
        opt["logger"].setdefault("use_tb_logger", False)
    elif not opt["path"].get("pretrain_network_g"):
        raise OptionError("path: pretrain_network_g names no weights to test")


def _check_keys(opt: dict[str, Any]) -> None:
    check_known("the file", opt, _TOP)
    for section, known in (("path", _PATH), ("train", _TRAIN), ("val", _VAL), ("logger", _LOGGER)):
        check_known(section, opt.get(section) or {}, known)
    if opt["is_train"]:
        for section, keys in _NEEDED.items():
            for key in keys:
                if opt.get(section) is not None and opt[section].get(key) is None:
                    raise OptionError(f"{section}: the key {key!r} is missing")
        if not (opt["train"].get("pixel_opt") or opt["train"].get("perceptual_opt")):
            raise OptionError("train: needs a loss, pixel_opt or perceptual_opt")
        wandb = opt["logger"].get("wandb") or {}
        if wandb.get("project") is not None and not opt["logger"]["use_tb_logger"]:
            raise OptionError("logger: wandb: BasicSR needs use_tb_logger: true beside it")


def _check_values(opt: dict[str, Any]) -> None:
    for section, keys in _COUNTS.items():
        for key in keys:
            value = (opt.get(section) or {}).get(key, 1)
            # BasicSR's own files write 5e3
            if isinstance(value, float) and value.is_integer():
                value = opt[section][key] = int(value)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise OptionError(
                    f"{section}: {key} must be a whole number of at least 1, got {value!r}"
                )
    train = opt.get("train") or {}
    for key, default, fits, wanted in (
        ("ema_decay", 0, lambda v: 0 <= v < 1, "a number from 0 to below 1"),
        ("warmup_iter", -1, lambda v: v >= -1, "a number of iterations, or -1"),
        ("grad_clip", 1.0, lambda v: v > 0, "a number above 0"),
    ):
        value = train.get(key, default)
        if key == "grad_clip" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not fits(value):
            raise OptionError(f"train: {key} must be {wanted}, got {value!r}")
    if train.get("amp") not in (None, False, "bf16", "fp16"):
        raise OptionError(f"train: amp must be bf16, fp16 or false, got {train['amp']!r}")
    if not isinstance(train.get("sync_bn", False), bool):
        raise OptionError(f"train: sync_bn must be true or false, got {train['sync_bn']!r}")
    val = opt.get("val") or {}
    best = val.get("save_best")
    if best is not None and (not isinstance(best, str) or best not in (val.get("metrics") or {})):
        raise OptionError(f"val: save_best names {best!r}, which is not one of the metrics")
    call_for("val", parse_tile, val.get("tile"))


def _check_names(opt: dict[str, Any]) -> None:
    MODEL_REGISTRY.get(str(opt["model_type"]))
    ARCH_REGISTRY.get(opt["network_g"].get("type"))
    check_datasets(opt["datasets"])
    sections = set(opt["datasets"])
    if opt["is_train"] and "train" not in sections:
        raise OptionError("datasets has no train section")
    allowed = ("val",) if opt["is_train"] else ("val", "test", "train")
    odd = [s for s in sections if str(s).split("_")[0] not in allowed and s != "train"]
    if odd:
        raise OptionError(
            f"datasets: {odd[0]} is none of train, val, val_2, … (train.py) or test, test_2, … (test.py)"
        )
    check_metrics((opt.get("val") or {}).get("metrics") or {})


def _refuse_energy(opt: dict[str, Any]) -> None:
    """BasicSR's models hand no network over, and would fail at the first validation."""
    for name, options in ((opt.get("val") or {}).get("metrics") or {}).items():
        if isinstance(options, Mapping) and options.get("type") in ENERGY_METRICS:
            raise OptionError(
                f"val: metrics: {name} counts a network, which only SNNRestorationModel hands over"
            )


def _try_network(opt: dict[str, Any]) -> torch.nn.Module:
    """Build the network once and load the weights that it begins with."""
    net = build_registered(opt["network_g"])
    if not (opt["is_train"] and may_resume(opt)):
        try_weights(net, opt["path"])
    if "backend" in opt:
        pick_backend(net, opt["backend"], "cuda" if opt["num_gpu"] else "cpu")
    return net


def _try_datasets(opt: dict[str, Any]) -> list[Any]:
    """Build the datasets once, and return the ones that are scored."""
    scored = []
    opt["fingerprints"] = {}
    for section, options in opt["datasets"].items():
        dataset = build_dataset(section, options)
        if hasattr(dataset, "sides"):  # ours; of others it is not known what they read
            opt["fingerprints"][section] = call_for(f"datasets: {section}", _look_at, dataset)
        if options["phase"] == "train" and opt["is_train"]:
            call_for(f"datasets: {section}", _check_batch, options, len(dataset), opt)
        else:
            scored.append(dataset)
    return scored


def _try_training(opt: dict[str, Any], net: torch.nn.Module) -> None:
    """Build losses, optimiser and schedule once; run network and loss on a patch of noise."""
    train = opt["train"]
    optimizer = build_optimizer(train["optim_g"], net.parameters())
    if optimizer.defaults["lr"] is None:
        raise OptionError(
            f"train: optim_g: the key 'lr' is missing, and {train['optim_g']['type']} has no rate of its "
            "own that a schedule could change"
        )
    check_schedule(train["scheduler"], optimizer, train["total_iter"])
    data = next(d for d in opt["datasets"].values() if d["phase"] == "train")
    size, batch = data.get("gt_size") or 64, data["batch_size_per_gpu"]
    if train.get("progressive") is not None:
        stages = build_from(Progressive, train["progressive"], "train: progressive")
        call_for("train: progressive", stages.check_fits, batch, size, train["total_iter"])
        size = min(stages.gt_sizes)  # the first try of a network need not be its largest
    noise = torch.rand(1, 3, size, size)
    device = "cuda" if opt["num_gpu"] > 0 else "cpu"  # some networks have kernels for GPUs only
    with torch.no_grad():
        result = call_for("network_g", net.eval().to(device), noise.to(device))
    if not isinstance(result, torch.Tensor) or result.shape != noise.shape:
        shape = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise OptionError(f"network_g: makes {shape} of an image of shape {tuple(noise.shape)}")
    pixel, perceptual = train.get("pixel_opt"), train.get("perceptual_opt")
    if pixel:
        loss = build_from(LOSS_REGISTRY.get(pixel.get("type")), pixel, "train: pixel_opt")
        value = call_for("train: pixel_opt", loss, noise, noise.flip(-1))
        if not bool(torch.isfinite(value).all()):
            raise OptionError(f"train: pixel_opt: the loss of two images of noise is {value}")
    if perceptual:  # not built here: it fetches a network's weights
        known = argument_names(LOSS_REGISTRY.get(perceptual.get("type"))) | {"type"}
        check_known("train: perceptual_opt", perceptual, known)


def _try_metrics(opt: dict[str, Any], datasets: list[Any]) -> None:
    """Score the first image of each dataset as if it were the result."""
    metrics = named_metrics((opt.get("val") or {}).get("metrics") or {})
    for dataset in datasets if opt["model_type"] == "SNNRestorationModel" else []:
        try_metrics(metrics, dataset[0], dataset.opt["name"])


def _look_at(dataset: Any) -> str:
    """The fingerprint of a dataset, all of whose images are decoded first where it asks for that."""
    if dataset.opt.get("check_images"):
        check_pixels(dataset.sides())
    return sampled_fingerprint(dataset.sides())


def _check_batch(dataset: Mapping[str, Any], images: int, opt: Mapping[str, Any]) -> None:
    if dataset.get("prefetch_mode") == "cpu" and not dataset.get("num_worker_per_gpu"):
        raise OptionError(
            "prefetch_mode: cpu needs num_worker_per_gpu of at least 1: a thread's random draws would "
            "mix with the training's"
        )
    # processes have batches of their own; without them one batch is shared by all GPUs
    parts = opt["world_size"] if opt["dist"] else max(opt["num_gpu"], 1)
    batch = dataset["batch_size_per_gpu"] * parts
    if images * dataset.get("dataset_enlarge_ratio", 1) < batch:
        raise OptionError(
            f"{images} images do not fill a batch of {batch}; "
            f"set dataset_enlarge_ratio to {-(-batch // images)} or more"
        )
