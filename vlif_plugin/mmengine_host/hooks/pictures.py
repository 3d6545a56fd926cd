"""Pictures of what the network makes of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from vlif_plugin.data import save_image, to_bytes
from vlif_plugin.mmengine_host.hooks._common import (
    bgr,
    dataset_name,
    flag,
    image_of,
    iteration_of,
    whole,
)
from vlif_plugin.scoring import image_name


class PictureHook(Hook):
    """Pictures of what the network makes of the first images: degraded, restored, ground truth.

    They are written to ``pictures/<dataset>/<image>_<iteration>.png`` in the run's log folder, and
    go to the visualizer. In distributed runs each process writes those of its own images; the
    visualizer is the main process's, and gets the ones that it has.

    Args:
        count: of how many images of the dataset.
        save_all: whether a test also writes each restored image alone, to
            ``results/<dataset>/<image>.png``.

    Raises:
        OptionError: a value is of the wrong kind.
    """

    def __init__(self, *, count: int = 4, save_all: bool = False) -> None:
        self.count = whole("count", count, least=0)
        self.save_all = flag("save_all", save_all)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw the pictures of these images."""
        dataset = dataset_name(runner.val_dataloader.dataset, "val")
        for sample in outputs or ():
            self._draw(runner, dataset, sample)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Draw the pictures of these images, and write the results if asked to."""
        dataset = dataset_name(runner.test_dataloader.dataset, "test")
        for sample in outputs or ():
            self._draw(runner, dataset, sample)
            if self.save_all:
                name = image_name(sample.metainfo["lq_path"])
                path = Path(runner.log_dir) / "results" / dataset / f"{name}.png"
                save_image(bgr(to_bytes(image_of(sample, "output"))), path)

    def _draw(self, runner: Runner, dataset: str, sample: BaseDataElement) -> None:
        if sample.metainfo["index"] >= self.count:
            return
        shown = [name for name in ("lq", "output", "gt") if name in sample]
        picture = np.concatenate([to_bytes(image_of(sample, name)) for name in shown], axis=1)
        name, step = image_name(sample.metainfo["lq_path"]), iteration_of(runner)
        folder = Path(runner.log_dir) / "pictures" / dataset
        save_image(bgr(picture), folder / f"{name}_{step}.png")
        # LocalVisBackend makes a file name of it, and no folder
        runner.visualizer.add_image(f"{dataset}_{name}".replace("/", "_"), picture, step=step)
