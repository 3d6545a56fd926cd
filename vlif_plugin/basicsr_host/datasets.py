"""The core's datasets under BasicSR's option names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from vlif_plugin.building import check_known
from vlif_plugin.data import PairedImages, SyntheticRainImages
from vlif_plugin.errors import OptionError

_LOADER_KEYS = {
    "batch_size_per_gpu", "num_worker_per_gpu", "dataset_enlarge_ratio", "prefetch_mode", "num_prefetch_queue",
    "pin_memory", "persistent_workers",
}  # fmt: skip
_COMMON_KEYS = {
    "name", "type", "phase", "scale", "dataroot_gt", "io_backend", "gt_size", "use_hflip", "use_rot", *_LOADER_KEYS,
}  # fmt: skip

_RAIN_KEYS = {"rain", "veil", "dataroot_streaks", "dataroot_streaks_gt", "streaks_share", "seed"}


class PairedRainDataset(PairedImages):
    """:class:`~vlif_plugin.data.PairedImages` under BasicSR's option names.

    Items are ``{'lq', 'gt', 'lq_path', 'gt_path'}``: (3, H, W), RGB, float32 in [0, 1]. In the
    train phase patches are cut and flipped; in val and test images are whole, and ``dataroot_gt``
    may be left out.

    Args:
        opt: the dataset's section. ``dataroot_lq``, ``dataroot_gt``: an LMDB (``….lmdb``) or a
            folder of images. ``gt_size``: side of the training patch. ``use_hflip``, ``use_rot``:
            augmentation. ``pad``: mirror images that are smaller than the patch. ``pairing``:
            ``name`` or ``number``. ``io_backend``: understood for compatibility; the folder's name
            decides.

    Raises:
        OptionError: a key is unknown, missing or of the wrong kind.
        DataError: anything wrong with the images, before training begins.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        train = opt.get("phase") == "train"
        check_known("the dataset", opt, _COMMON_KEYS | {"dataroot_lq", "pairing", "pad"})
        _check_values(opt, ("dataroot_lq", "dataroot_gt") if train else ("dataroot_lq",))
        super().__init__(
            opt["dataroot_lq"],
            opt.get("dataroot_gt"),
            **_patches(opt),
            pad=train and opt.get("pad", False),
            pairing=opt.get("pairing", "name"),
        )
        self.opt = opt


class SyntheticRainDataset(SyntheticRainImages):
    """:class:`~vlif_plugin.data.SyntheticRainImages` under BasicSR's option names.

    Args:
        opt: the dataset's section. ``dataroot_gt``: an LMDB or a folder of clean photographs.
            ``rain``: ``light``, ``heavy`` or ``mixed``. ``veil``: largest share of haze.
            ``dataroot_streaks``: recorded streak layers, or with ``dataroot_streaks_gt`` rainy and
            clean images that differ by them. ``streaks_share``: share of the items that get them,
            and not rendered rain. ``seed``: of the rain on whole images.
            The others are those of :class:`PairedRainDataset`.

    Raises:
        OptionError: a key is unknown, missing or of the wrong kind.
        DataError: anything wrong with the images, before training begins.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        check_known("the dataset", opt, _COMMON_KEYS | _RAIN_KEYS)
        for key in ("dataroot_streaks_gt", "streaks_share"):
            if opt.get(key) is not None and opt.get("dataroot_streaks") is None:
                raise OptionError(f"{key} needs dataroot_streaks beside it")
        for key in ("veil", "streaks_share"):
            value = opt.get(key, 0)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise OptionError(f"{key} must be a number from 0 to 1, got {value!r}")
        _check_values(opt, ("dataroot_gt",))
        super().__init__(
            opt["dataroot_gt"],
            **_patches(opt),
            rain=opt.get("rain", "mixed"),
            veil_strength=opt.get("veil", 0.0),
            streaks=opt.get("dataroot_streaks"),
            streaks_gt=opt.get("dataroot_streaks_gt"),
            streaks_share=opt.get("streaks_share", 1.0),
            seed=opt.get("seed", 0),
        )
        self.opt = opt


DATASETS = {"PairedRainDataset": PairedRainDataset, "SyntheticRainDataset": SyntheticRainDataset}


def _patches(opt: Mapping[str, Any]) -> dict[str, Any]:
    """The core's arguments for patches: cut and turned in training, whole images otherwise."""
    if opt.get("phase") != "train":
        return {}
    return {
        "patch_size": opt["gt_size"],
        "flip": bool(opt.get("use_hflip", False)),
        "rotate": bool(opt.get("use_rot", False)),
    }


def _check_values(opt: Mapping[str, Any], roots: tuple[str, ...]) -> None:
    loader = (
        ("gt_size", "batch_size_per_gpu", "num_worker_per_gpu")
        if opt.get("phase") == "train"
        else ()
    )
    for key in (*roots, *loader):
        if opt.get(key) is None:
            raise OptionError(f"the key {key!r} is missing")
    for key, least in (("gt_size", 1), ("batch_size_per_gpu", 1), ("num_worker_per_gpu", 0)):
        value = opt.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise OptionError(f"{key} must be a whole number of at least {least}, got {value!r}")
    for key in ("pad", "use_hflip", "use_rot"):
        if not isinstance(opt.get(key, False), bool):
            raise OptionError(f"{key} must be true or false, got {opt[key]!r}")
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
    if backend and (backend.get("type") == "lmdb") != str(opt[roots[0]]).rstrip("/").endswith(
        ".lmdb"
    ):
        raise OptionError(f"io_backend is {backend.get('type')}, but {roots[0]} is {opt[roots[0]]}")
