"""Check a config before a run touches the disk: types, arguments, images, weights.

mmengine makes the run's folder first, and meets what is wrong part by part; some of it, such as
weights that do not fit, it passes over with a warning.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mmengine.registry as roots
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope, Registry
from torch import nn

from vlif_plugin import registry, scoring
from vlif_plugin.archs import find_weights, fitting_state
from vlif_plugin.building import argument_names, call_for, check_known
from vlif_plugin.data import check_pixels
from vlif_plugin.errors import CheckpointError, OptionError, PluginError, near_names
from vlif_plugin.files import check_folder
from vlif_plugin.mmengine_host.checkpoints import load_from_local
from vlif_plugin.mmengine_host.loaders import dataset_options
from vlif_plugin.mmengine_host.mends import find_latest_checkpoint
from vlif_plugin.mmengine_host.metrics import RestorationScores
from vlif_plugin.mmengine_host.restoration_model import SNNRestorationModel
from vlif_plugin.mmengine_host.resuming import fingerprints, refuse_another_run

_TRAIN = ("train_dataloader", "train_cfg", "optim_wrapper")
_VAL = ("val_dataloader", "val_cfg", "val_evaluator")
_TEST = ("test_dataloader", "test_cfg", "test_evaluator")


def check_config(config: Config, source: str, phase: str) -> None:
    """Refuse a config that cannot work.

    Args:
        config: with ``work_dir``; is not changed.
        source: the config's name, for messages.
        phase: ``train`` or ``test``.

    Raises:
        PluginError: one line that names the file and the key, or the images, or the weights.
    """
    scope = config.get("default_scope") or "mmengine"
    try:
        with DefaultScope.overwrite_default_scope(scope):
            _check(config, phase)
    except PluginError as error:
        raise type(error)(f"{source}: {error}") from error


def _check(config: Config, phase: str) -> None:
    _check_sections(config, phase)
    _check_randomness(config)
    call_for("work_dir", check_folder, config.work_dir, "work_dir")
    with torch.random.fork_rng(devices=[]):  # trying things must not change the run's draws
        model = build(roots.MODELS, config.model, "model")
        scored = ("val", "test")[phase == "test"]
        datasets = {}
        if config.get(f"{scored}_dataloader") is not None:
            datasets[scored] = _try_scoring(config, scored)
        if phase == "train":
            datasets["train"] = _try_training(config, model)
        _try_hooks(config)
    _check_weights(config, model, datasets)


def build(kind: Registry, options: Any, section: str, **defaults: Any) -> Any:
    """Build what a section of a config asks for.

    Args:
        kind: a root registry of mmengine.
        options: the section.
        section: its name, for messages.
        defaults: arguments that the section need not name.

    Raises:
        OptionError: an unknown type or argument (near names are shown), or a value it refuses.
    """
    known = find(kind, options, section)
    arguments = {k for k in options if k not in ("type", "_scope_", "priority")}
    if not _takes_anything(known):
        check_known(section, arguments, argument_names(known))
    section_of_its_own = {k: deepcopy(v) for k, v in options.items() if k != "priority"}
    return call_for(section, kind.build, section_of_its_own, default_args=defaults)


def find(kind: Registry, options: Any, section: str) -> Any:
    """What the ``type`` of a section names.

    Raises:
        OptionError: it is no section with a type, or the type is unknown.
    """
    if not isinstance(options, Mapping) or "type" not in options:
        raise OptionError(f"{section} must be a dict with a type, got {options!r}")
    name = options["type"]
    if not isinstance(name, str):
        return name  # a class itself, as in mmengine's new style
    with kind.switch_scope_and_registry(None) as scoped:  # the config's default_scope
        found = call_for(section, scoped.get, name)
    if found is None:
        ours = {
            r.name: r
            for r in (registry.MODELS, registry.DATASETS, registry.METRICS, registry.HOOKS)
        }
        known = {*kind.module_dict}
        if kind.name in ours:
            ours[kind.name].import_from_location()
            known |= {f"vlif_plugin.{own}" for own in ours[kind.name].module_dict}
        bare = {key.rpartition(".")[2]: key for key in sorted(known)}
        close = near_names(name.rpartition(".")[2], bare)
        for own in [own for own in bare if f" {own}" in close]:
            close = close.replace(f" {own}", f" {bare[own]}", 1)
        raise OptionError(f"{section}: no {kind.name} is called {name!r}{close}")
    return found


def _takes_anything(built: Any) -> bool:
    parameters = inspect.signature(built).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in parameters)


def _check_sections(config: Config, phase: str) -> None:
    layers = ["torch", *(["mmcv"] if find_spec("mmcv") else [])]
    if config.get("sync_bn") not in (None, *layers):
        raise OptionError(f"sync_bn must be {' or '.join(layers)}, got {config.sync_bn!r}")
    for key in ("model", *(_TRAIN if phase == "train" else _TEST)):
        if config.get(key) is None:
            raise OptionError(f"the key {key!r} is missing")
    given = [key for key in _VAL if config.get(key) is not None]
    if phase == "train" and given and len(given) < len(_VAL):
        missing = next(key for key in _VAL if key not in given)
        raise OptionError(f"the key {missing!r} is missing ({', '.join(given)} is there)")
    loops = {"train": ("train_cfg", "val_cfg"), "test": ("test_cfg",)}[phase]
    for key in loops:
        section = config.get(key)
        if section is not None and "type" in section:
            loop = find(roots.LOOPS, section, key)
            check_known(key, set(section) - {"type"}, argument_names(loop))
        for name in ("max_iters", "max_epochs", "val_interval"):
            count = 1 if section is None else section.get(name, 1)
            if not isinstance(count, (int, float)) or count != int(count) or count < 1:
                raise OptionError(
                    f"{key}: {name} must be a whole number of at least 1, got {count!r}"
                )


def _check_randomness(config: Config) -> None:
    section = config.get("randomness") or {}
    check_known("randomness", set(section), {"seed", "diff_rank_seed", "deterministic"})
    seed = section.get("seed")
    if seed is not None and (
        not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31
    ):
        raise OptionError(f"randomness: seed must be a whole number from 0 to 2**31, got {seed!r}")
    for key in ("diff_rank_seed", "deterministic"):
        if not isinstance(section.get(key, False), bool):
            raise OptionError(f"randomness: {key} must be True or False, got {section[key]!r}")


def _loader(config: Config, name: str) -> Any:
    """The dataset of a loader's section, built; all its images are decoded where it asks for that."""
    section = f"{name}_dataloader"
    loader = config[section]
    if not isinstance(loader, Mapping) or "dataset" not in loader:
        raise OptionError(f"{section} must be a dict with a dataset, got {loader!r}")
    if "sampler" in loader:
        find(roots.DATA_SAMPLERS, loader["sampler"], f"{section}: sampler")
    batch = loader.get("batch_size")
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise OptionError(
            f"{section}: batch_size must be a whole number of at least 1, got {batch!r}"
        )
    where = f"{section}: dataset"
    options, _, check = call_for(where, dataset_options, loader["dataset"])
    dataset = build(roots.DATASETS, options, where)
    if check:
        call_for(where, check_pixels, dataset.sides())
    return dataset


def _try_scoring(config: Config, name: str) -> Any:
    """Build dataset and metrics, and score the first image as if it were the result."""
    dataset = _loader(config, name)
    if len(dataset) == 0:
        raise OptionError(f"{name}_dataloader: dataset: has no images")
    where = f"{name}_evaluator"
    names: list[str] = []
    only_ours = True
    for section in _metric_sections(config[where], where):
        metric = build(roots.METRICS, section, where)
        if isinstance(metric, RestorationScores):
            item = dataset[0]
            label = str(getattr(dataset, "metainfo", {}).get("name", "images"))
            scoring.try_metrics(metric.metrics, item, label, where)
            prefix = f"{metric.prefix}/" if metric.prefix else ""
            names += [prefix + m.name for m in metric.metrics]
        else:
            only_ours = False
    checkpoint = (config.get("default_hooks") or {}).get("checkpoint") or {}
    best = checkpoint.get("save_best") if name == "val" else None
    for key in [best] if isinstance(best, str) else best or []:
        if only_ours and key not in ("auto", *names):
            raise OptionError(
                f"default_hooks: checkpoint: save_best names {key!r}, which is not one of the "
                f"metrics{near_names(key, names)}"
            )
    return dataset


def _metric_sections(evaluator: Any, where: str) -> Iterable[Any]:
    sections = evaluator
    if isinstance(evaluator, Mapping):
        sections = evaluator.get("metrics", [evaluator])
    sections = [sections] if isinstance(sections, Mapping) else sections
    if not isinstance(sections, (list, tuple)) or not sections:
        raise OptionError(f"{where} must be a metric or a list of metrics, got {evaluator!r}")
    return sections


def _try_training(config: Config, model: nn.Module) -> Any:
    """Build dataset, optimiser and schedules; run network and loss on a patch of noise."""
    dataset = _loader(config, "train")
    wrapper = call_for("optim_wrapper", build_optim_wrapper, model, deepcopy(config.optim_wrapper))
    _try_schedules(config.get("param_scheduler"), wrapper)
    if isinstance(model, SNNRestorationModel):
        item = dataset[0]
        if "gt" not in item:
            raise OptionError("train_dataloader: dataset: has no ground truth (dataroot_gt)")
        _try_network(model, min(64, *item["lq"].shape[-2:]))
    return dataset


def _try_network(model: SNNRestorationModel, size: int) -> None:
    noise = torch.rand(1, 3, size, size)
    device = "cuda" if torch.cuda.is_available() else "cpu"  # some networks have GPU kernels only
    net = model.net_g.eval().to(device)
    with torch.no_grad():
        result = call_for("model: network_g", net, noise.to(device))
    if not isinstance(result, torch.Tensor) or result.shape != noise.shape:
        shape = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise OptionError(f"model: network_g: makes {shape} of an image of {tuple(noise.shape)}")
    if model.cri_pix is None:
        raise OptionError("model: pixel_opt is missing: there is no loss to train with")
    value = call_for("model: pixel_opt", model.cri_pix, noise, noise.flip(-1))
    if not bool(torch.isfinite(value).all()):
        raise OptionError(f"model: pixel_opt: the loss of two images of noise is {value}")


def _try_schedules(schedules: Any, wrapper: OptimWrapper) -> None:
    for index, section in enumerate(
        schedules if isinstance(schedules, (list, tuple)) else [schedules] if schedules else []
    ):
        where = f"param_scheduler: {index}"
        if not isinstance(section, Mapping) or section.get("convert_to_iter_based"):
            continue  # needs the length of an epoch
        build(roots.PARAM_SCHEDULERS, section, where, optimizer=wrapper)


def _try_hooks(config: Config) -> None:
    for name, section in (config.get("default_hooks") or {}).items():
        if section is not None:
            build(roots.HOOKS, section, f"default_hooks: {name}")
    for section in config.get("custom_hooks") or []:
        build(roots.HOOKS, section, "custom_hooks")


def _check_weights(config: Config, model: nn.Module, datasets: Mapping[str, Any]) -> None:
    """Refuse weights that are missing, unsafe or of another network, and states of another run."""
    path, resume = config.get("load_from"), bool(config.get("resume"))
    if resume:
        path = path or find_latest_checkpoint(config.work_dir)
    if path is None or "://" in str(path) or Path(path).is_dir():  # a strategy's folder of parts
        return
    content = load_from_local(str(path), "cpu")
    if resume and not {"meta", "optimizer"} <= set(content):
        raise CheckpointError(
            f"resume: {path}: holds weights, but no state of a training; to begin with them, name "
            "them in load_from without --resume"
        )
    if resume:
        refuse_another_run(content, config, fingerprints(datasets), str(path))
    checkpoint = find_weights(content, path)
    if isinstance(model, SNNRestorationModel) and model.strict_load_g:
        fitting_state(model.net_g, checkpoint)
