"""Paired images as a BasicSR dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlif_plugin.building import check_known
from vlif_plugin.data import PairedImages
from vlif_plugin.errors import OptionError

_LOADER_KEYS = {
    "batch_size_per_gpu", "num_worker_per_gpu", "dataset_enlarge_ratio", "prefetch_mode", "num_prefetch_queue",
    "pin_memory", "persistent_workers",
}  # fmt: skip
_KEYS = {
    "name", "type", "phase", "scale", "dataroot_lq", "dataroot_gt", "io_backend", "gt_size", "use_hflip", "use_rot",
    "pairing", *_LOADER_KEYS,
}  # fmt: skip


class PairedRainDataset(PairedImages):
    """:class:`~vlif_plugin.data.PairedImages` under BasicSR's option names.

    Items are ``{'lq', 'gt', 'lq_path', 'gt_path'}``: (3, H, W), RGB, float32 in [0, 1]. In the
    train phase patches are cut and flipped; in val and test images are whole, and ``dataroot_gt``
    may be left out.

    Args:
        opt: the dataset's section. ``dataroot_lq``, ``dataroot_gt``: an LMDB (``….lmdb``) or a
            folder of images. ``gt_size``: side of the training patch. ``use_hflip``, ``use_rot``:
            augmentation. ``pairing``: ``name`` or ``number``. ``io_backend``: understood for
            compatibility; the folder's name decides.

    Raises:
        OptionError: a key is unknown, missing or of the wrong kind.
        DataError: anything wrong with the images, before training begins.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        check_known("the dataset", opt, _KEYS)
        train = opt.get("phase") == "train"
        needed = ["dataroot_lq"]
        if train:
            needed += ["dataroot_gt", "gt_size", "batch_size_per_gpu", "num_worker_per_gpu"]
        for key in needed:
            if opt.get(key) is None:
                raise OptionError(f"the key {key!r} is missing")
        for key in ("gt_size", "batch_size_per_gpu"):
            value = opt.get(key, 1)
            if not isinstance(value, int) or value < 1:
                raise OptionError(f"{key} must be a whole number of at least 1, got {value!r}")
        backend = (opt.get("io_backend") or {}).get("type")
        if backend is not None and (backend == "lmdb") != str(opt["dataroot_lq"]).endswith(".lmdb"):
            raise OptionError(f"io_backend is {backend}, but dataroot_lq is {opt['dataroot_lq']}")
        super().__init__(
            opt["dataroot_lq"],
            opt.get("dataroot_gt"),
            patch_size=opt["gt_size"] if train else None,
            flip=train and bool(opt.get("use_hflip", False)),
            rotate=train and bool(opt.get("use_rot", False)),
            pairing=opt.get("pairing", "name"),
        )
        self.opt = opt
