"""Check an option file before a run touches the disk: keys, names, images, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
)

from vlif_plugin.archs import load_strict, read_checkpoint
from vlif_plugin.basicsr_host.datasets import DATASETS
from vlif_plugin.basicsr_host.optimizers import build_optimizer, check_scheduler
from vlif_plugin.basicsr_host.validation import refuse_without_ground_truth
from vlif_plugin.building import argument_names, build_from, call_for, check_known
from vlif_plugin.errors import OptionError
from vlif_plugin.inference import parse_tile

_TOP = {
    "name", "model_type", "scale", "num_gpu", "manual_seed", "datasets", "network_g", "path", "train", "val",
    "logger", "dist_params", "find_unused_parameters", "dist", "rank", "world_size", "auto_resume", "is_train",
}  # fmt: skip
_PATH = {
    "pretrain_network_g", "param_key_g", "strict_load_g", "resume_state", "ignore_resume_networks",
    "experiments_root", "results_root", "models", "training_states", "log", "visualization",
}  # fmt: skip
_TRAIN = {
    "total_iter", "warmup_iter", "optim_g", "scheduler", "pixel_opt", "perceptual_opt", "ema_decay",
    "amp", "accumulate", "grad_clip",
}  # fmt: skip
_VAL = {"val_freq", "save_img", "pbar", "suffix", "metrics", "tile", "save_best"}
_LOGGER = {"print_freq", "save_checkpoint_freq", "use_tb_logger", "wandb"}
_NEEDED = {
    "train": ("total_iter", "optim_g", "scheduler"),
    "val": ("val_freq",),
    "logger": ("print_freq", "save_checkpoint_freq"),
}
_NUMBERS = ("ema_decay", "grad_clip", "warmup_iter")
_COUNTS = {
    "train": ("total_iter", "accumulate"),
    "val": ("val_freq",),
    "logger": ("print_freq", "save_checkpoint_freq"),
}


def check_options(opt: dict[str, Any], source: str) -> None:
    """Refuse options that cannot work, and fill the ones that BasicSR wants to find.

    Strict about keys for ``SNNRestorationModel``; of other models it checks what it can.

    Args:
        opt: the options, paths resolved; missing optional sections are added.
        source: the option file's name, for messages.

    Raises:
        PluginError: one line that names the file and the key, or the images, or the weights.
    """
    try:
        _fill_defaults(opt)
        if opt.get("model_type") == "SNNRestorationModel":
            _check_keys(opt)
            _check_counts(opt)
        _check_names(opt)
        with torch.random.fork_rng(devices=[]):  # building networks must not change the run's draws
            _try_out(opt)
    except OptionError as error:
        raise OptionError(f"{source}: {error}") from error


def _fill_defaults(opt: dict[str, Any]) -> None:
    required = [
        "name",
        "model_type",
        "datasets",
        "network_g",
        *(["train", "logger"] if opt["is_train"] else ["val"]),
    ]
    for key in required:
        if not opt.get(key):
            raise OptionError(f"the key {key!r} is missing or empty")
    for key in ("datasets", "network_g", "path", "train", "val", "logger"):
        if opt.get(key) is not None and not isinstance(opt[key], dict):
            raise OptionError(f"{key} must be a section of keys and values, got {opt[key]!r}")
    for section, key in (
        *(("train", key) for key in ("optim_g", "scheduler", "pixel_opt", "perceptual_opt")),
        ("val", "metrics"),
    ):
        value = (opt.get(section) or {}).get(key)
        if value is not None and not isinstance(value, dict):
            raise OptionError(
                f"{section}: {key} must be a section of keys and values, got {value!r}"
            )
    if opt.get("val") is not None:
        opt["val"].setdefault("save_img", False)
        opt["val"].setdefault("suffix", None)
    if opt["is_train"]:
        opt["logger"].setdefault("use_tb_logger", False)
        if "train" not in {d.get("phase") for d in opt["datasets"].values() if isinstance(d, dict)}:
            raise OptionError("datasets has no train section")
    elif not opt["path"].get("pretrain_network_g"):
        raise OptionError("path: pretrain_network_g names no weights to test")


def _check_keys(opt: dict[str, Any]) -> None:
    check_known("the file", opt, _TOP)
    for section, known in (("path", _PATH), ("train", _TRAIN), ("val", _VAL), ("logger", _LOGGER)):
        check_known(section, opt.get(section) or {}, known)
    if opt["is_train"]:
        train = opt["train"]
        for section, keys in _NEEDED.items():
            for key in keys:
                if opt.get(section) is not None and not opt[section].get(key):
                    raise OptionError(f"{section}: the key {key!r} is missing")
        if not (train.get("pixel_opt") or train.get("perceptual_opt")):
            raise OptionError("train: needs a loss, pixel_opt or perceptual_opt")
        if train.get("amp") not in (None, False, "bf16"):
            raise OptionError(f"train: amp must be bf16 or false, got {train['amp']!r}")
        _check_numbers(train)


def _check_counts(opt: dict[str, Any]) -> None:
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


def _check_numbers(train: Mapping[str, Any]) -> None:
    for key in _NUMBERS:
        value = train.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise OptionError(f"train: {key} must be a number, got {value!r}")


def _check_names(opt: dict[str, Any]) -> None:
    MODEL_REGISTRY.get(opt["model_type"])
    ARCH_REGISTRY.get(opt["network_g"].get("type"))
    for phase, dataset in opt["datasets"].items():
        if not isinstance(dataset, dict) or not dataset.get("name"):
            raise OptionError(f"datasets: {phase} must be a section with a name")
        DATASET_REGISTRY.get(dataset.get("type"))
    for name, options in ((opt.get("val") or {}).get("metrics") or {}).items():
        if not isinstance(options, dict):
            raise OptionError(
                f"val: metrics: {name} must be a section with a type, got {options!r}"
            )
        known = argument_names(METRIC_REGISTRY.get(options.get("type"))) | {"type", "better"}
        # metrics swallow unknown keys, and a misspelt test_y_channel would give another score
        check_known(f"val: metrics: {name}", options, known)


def _try_out(opt: dict[str, Any]) -> None:
    """Build once what the run will build: network, weights, losses, datasets.

    From the registries, because BasicSR's build functions would start its logger, whose file lies
    in the run's folder.
    """
    net = build_from(ARCH_REGISTRY.get(opt["network_g"]["type"]), opt["network_g"], "network_g")
    weights = opt["path"].get("pretrain_network_g")
    if weights and opt["path"].get("strict_load_g", True):
        load_strict(net, read_checkpoint(weights, opt["path"].get("param_key_g")))
    if opt["is_train"]:
        pixel, perceptual = opt["train"].get("pixel_opt"), opt["train"].get("perceptual_opt")
        if pixel:
            build_from(LOSS_REGISTRY.get(pixel.get("type")), pixel, "train: pixel_opt")
        if opt["model_type"] == "SNNRestorationModel":
            build_optimizer(opt["train"]["optim_g"], net.parameters())
            check_scheduler(opt["train"]["scheduler"], opt["train"]["total_iter"])
        if perceptual:  # not built here: it fetches a network's weights
            known = argument_names(LOSS_REGISTRY.get(perceptual.get("type"))) | {"type"}
            check_known("train: perceptual_opt", perceptual, known)
    call_for("val", parse_tile, (opt.get("val") or {}).get("tile"))
    for phase, dataset in opt["datasets"].items():
        if dataset["type"] in DATASETS:
            images = call_for(f"datasets: {phase}", DATASETS[dataset["type"]], dataset)
            if dataset["phase"] == "train":
                _check_batch(phase, dataset, len(images), opt)
            elif images.gt is None:
                metrics = (opt.get("val") or {}).get("metrics") or {}
                refuse_without_ground_truth(metrics, dataset["name"])
    _check_save_best(opt)


def _check_batch(
    phase: str, dataset: Mapping[str, Any], images: int, opt: Mapping[str, Any]
) -> None:
    batch = dataset["batch_size_per_gpu"]
    drawn = images * dataset.get("dataset_enlarge_ratio", 1) // opt["world_size"]
    if drawn < batch:
        raise OptionError(
            f"datasets: {phase}: {images} images do not fill a batch of {batch}; "
            f"set dataset_enlarge_ratio to {-(-batch * opt['world_size'] // images)} or more"
        )


def _check_save_best(opt: Mapping[str, Any]) -> None:
    val = opt.get("val") or {}
    metric = val.get("save_best")
    if metric is not None and metric not in (val.get("metrics") or {}):
        raise OptionError(f"val: save_best names {metric!r}, which is not one of the metrics")
