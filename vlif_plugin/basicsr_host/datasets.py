"""The core's datasets as BasicSR builds them: from a section of options, in a phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from vlif_plugin import data
from vlif_plugin.building import argument_names, check_known
from vlif_plugin.data.datasets import check_dataset
from vlif_plugin.errors import OptionError

_LOADER_KEYS = {
    "batch_size_per_gpu", "num_worker_per_gpu", "dataset_enlarge_ratio", "prefetch_mode", "num_prefetch_queue",
    "pin_memory", "persistent_workers", "skip_bad", "check_images",
}  # fmt: skip
_HOST_KEYS = {"type", "phase", "scale", "io_backend", *_LOADER_KEYS}
_TRAIN_KEYS = {"gt_size", "use_hflip", "use_rot", "pad"}


class PairedRainDataset(data.PairedRainDataset):
    """:class:`~vlif_plugin.data.PairedRainDataset` from BasicSR's options.

    In the train phase patches are cut and flipped; in val and test images are whole, and
    ``dataroot_gt`` may be left out.

    Args:
        opt: the dataset's section: the arguments of the class above, and those of the loader.
            ``io_backend``: understood for compatibility; the folder's name decides.

    Raises:
        OptionError: a key is unknown, missing or of the wrong kind.
        DataError: anything wrong with the images, before training begins.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        train = opt.get("phase") == "train"
        roots = ("dataroot_lq", "dataroot_gt") if train else ("dataroot_lq",)
        super().__init__(**_arguments(data.PairedRainDataset, opt, roots))
        self.opt = opt


class SyntheticRainDataset(data.SyntheticRainDataset):
    """:class:`~vlif_plugin.data.SyntheticRainDataset` from BasicSR's options.

    Args:
        opt: the dataset's section: the arguments of the class above, and those of the loader.

    Raises:
        OptionError: a key is unknown, missing or of the wrong kind.
        DataError: anything wrong with the images, before training begins.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__(**_arguments(data.SyntheticRainDataset, opt, ("dataroot_gt",)))
        self.opt = opt


DATASETS = {"PairedRainDataset": PairedRainDataset, "SyntheticRainDataset": SyntheticRainDataset}


def _arguments(dataset: type, opt: Mapping[str, Any], roots: tuple[str, ...]) -> dict[str, Any]:
    """What of a section the dataset is built with, all of it checked."""
    known = argument_names(dataset)
    check_known("the dataset", opt, known | _HOST_KEYS)
    train = opt.get("phase") == "train"
    needed = ("gt_size", "batch_size_per_gpu", "num_worker_per_gpu") if train else ()
    check_dataset(opt, (*roots, *needed))
    _check_loader(opt, roots[0])
    taken = known if train else known - _TRAIN_KEYS
    return {key: opt[key] for key in taken if opt.get(key) is not None}


def _check_loader(opt: Mapping[str, Any], root: str) -> None:
    for key, least in (("batch_size_per_gpu", 1), ("num_worker_per_gpu", 0)):
        value = opt.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise OptionError(f"{key} must be a whole number of at least {least}, got {value!r}")
    skip = opt.get("skip_bad", 0)
    if not isinstance(skip, int) or isinstance(skip, bool) or skip < 0:
        raise OptionError(f"skip_bad must be a whole number of at least 0, got {skip!r}")
    if not isinstance(opt.get("check_images", False), bool):
        raise OptionError(f"check_images must be true or false, got {opt['check_images']!r}")
    prefetch = opt.get("prefetch_mode")
    if prefetch not in (None, "cpu", "cuda"):
        raise OptionError(f"prefetch_mode must be cpu or cuda, got {prefetch!r}")
    if prefetch == "cuda" and not (torch.cuda.is_available() and opt.get("pin_memory")):
        raise OptionError("prefetch_mode: cuda needs a GPU and pin_memory: true")
    if opt.get("persistent_workers") and not opt.get("num_worker_per_gpu"):
        raise OptionError("persistent_workers needs num_worker_per_gpu of at least 1")
    ratio = opt.get("dataset_enlarge_ratio", 1)
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or ratio <= 0:
        raise OptionError(f"dataset_enlarge_ratio must be a number above 0, got {ratio!r}")
    backend = opt.get("io_backend") or {}
    if not isinstance(backend, Mapping):
        raise OptionError(f"io_backend must be a section with a type, got {backend!r}")
    if backend and (backend.get("type") == "lmdb") != str(opt[root]).rstrip("/").endswith(".lmdb"):
        raise OptionError(f"io_backend is {backend.get('type')}, but {root} is {opt[root]}")
