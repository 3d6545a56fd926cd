"""Data loaders of a training whose order and draws depend on seed and iteration alone."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from basicsr.data import build_dataloader, build_dataset
from torch.utils.data import DataLoader

from vlif_plugin.processes import sharing_imports
from vlif_plugin.runs import SKIP_BAD, TrainingItems, TrainingOrder, add_start, hold_folder

Loaders = tuple[DataLoader[Any], TrainingOrder, list[DataLoader[Any]], int, int]


def create_train_val_dataloader(opt: dict[str, Any], logger: logging.Logger) -> Loaders:
    """Build the loaders of a training; takes the place of the function of that name in BasicSR.

    BasicSR's goes on at the beginning of the epoch when it is resumed, shuffles the same way
    whatever ``manual_seed`` is, and ends a training too early where an epoch is no whole number of
    batches.

    Args:
        opt: the options; ``resume`` says where a resumed run goes on.
        logger: of the run.

    Returns:
        The training's loader and order, the validations' loaders, the last epoch, iterations.
    """
    if opt["rank"] == 0:
        _begin(opt)
    sections = opt["datasets"]
    train_loader, order = _training_loader(opt, sections["train"])
    steps = len(train_loader)
    total = int(opt["train"]["total_iter"])
    start = opt.get("resume") or {"iter": 0, "epoch": 0, "drawn": 0}
    per_step = (train_loader.batch_size or 1) * opt["world_size"]
    drawn = start["drawn"]
    if drawn is None:  # of BasicSR itself, which does not say: as if nothing had changed since
        drawn = start["iter"] % steps * per_step
    order.start_at(start["epoch"], drawn)
    epochs = start["epoch"] + math.ceil((total - start["iter"] + drawn / per_step) / steps)
    logger.info(
        f"Training: {order.items} images, {steps} iterations of {train_loader.batch_size} an epoch in "
        f"each of {opt['world_size']} processes; {total} iterations, {epochs} epochs."
    )
    val_loaders = []
    for section, dataset_opt in sections.items():
        if section != "train":
            val_loaders.append(validation_loader(opt, dataset_opt))
            logger.info(f"Validation: {len(val_loaders[-1].dataset)} images in {section}.")
    return train_loader, order, val_loaders, epochs, total


def _begin(opt: dict[str, Any]) -> None:
    """Take hold of the run's folder, which is made by now, and write down what the run is started with."""
    folder = Path(opt["path"]["experiments_root"])
    hold_folder(folder)
    resumed = opt.get("resume")
    add_start(
        folder,
        options=opt,
        seed=opt["manual_seed"],
        device="cuda" if opt["num_gpu"] else "cpu",
        processes=opt["world_size"],
        fingerprints=opt["fingerprints"],
        iteration=resumed["iter"] if resumed else 0,
        resumed_from=opt["path"]["resume_state"] if resumed else None,
    )


def validation_loader(opt: dict[str, Any], section: dict[str, Any]) -> DataLoader[Any]:
    """The loader of a validation set."""
    dataset = build_dataset(section)
    return build_dataloader(
        dataset, section, num_gpu=opt["num_gpu"], dist=opt["dist"], seed=opt["manual_seed"]
    )


def _training_loader(
    opt: dict[str, Any], section: dict[str, Any]
) -> tuple[DataLoader[Any], TrainingOrder]:
    # a model that does not know about images that were passed over cannot stop at too many
    skip_bad = opt["model_type"] == "SNNRestorationModel" and section.get("skip_bad", SKIP_BAD) > 0
    items = TrainingItems(build_dataset(section), skip_bad=skip_bad)
    order = TrainingOrder(
        len(items),
        seed=opt["manual_seed"],
        rank=opt["rank"],
        world_size=opt["world_size"],
        ratio=section.get("dataset_enlarge_ratio", 1),
    )
    loader = build_dataloader(
        items,
        section,
        num_gpu=opt["num_gpu"],
        dist=opt["dist"],
        sampler=order,
        seed=opt["manual_seed"],
    )
    # its own, because each start of a loader draws a number, and a resumed run starts it once more
    loader.generator = torch.Generator().manual_seed(opt["manual_seed"])
    if opt["dist"] and loader.num_workers:
        # forked from a process with NCCL's threads they can hang, and spawned, each imports the
        # toolbox anew in each epoch
        loader.multiprocessing_context = sharing_imports([__name__])
    return loader, order
