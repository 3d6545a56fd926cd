"""Progressive learning: patches that grow, and batches that shrink, in the course of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from vlif_plugin.errors import OptionError


@dataclass(frozen=True)
class Progressive:
    """What of each loaded batch is trained on, stage by stage (Zamir et al., CVPR 2022, section 3.3).

    Batches are loaded in full size, and cut down at random.

    Attributes:
        iters: how many iterations each stage lasts; the last one lasts to the end.
        batch_sizes: images of a batch that are kept, on each device.
        gt_sizes: side of the patch that is kept.

    Raises:
        OptionError: no lists of whole numbers, or of different lengths.
    """

    iters: Sequence[int]
    batch_sizes: Sequence[int]
    gt_sizes: Sequence[int]

    def __post_init__(self) -> None:
        lists = {name: getattr(self, name) for name in ("iters", "batch_sizes", "gt_sizes")}
        for name, values in lists.items():
            if not (isinstance(values, Sequence) and values and all(map(_is_count, values))):
                raise OptionError(f"{name} must be a list of whole numbers, got {values!r}")
        if len({len(values) for values in lists.values()}) > 1:
            lengths = ", ".join(f"{len(values)} {name}" for name, values in lists.items())
            raise OptionError(f"each stage needs one of each, got {lengths}")

    def check_fits(self, batch_size: int, gt_size: int, total_iter: int) -> None:
        """Refuse stages that want more than is loaded, or that end before the training does.

        Raises:
            OptionError: names the list.
        """
        for name, largest, what in (
            ("batch_sizes", batch_size, "batch_size_per_gpu"),
            ("gt_sizes", gt_size, "gt_size"),
        ):
            if max(getattr(self, name)) > largest:
                raise OptionError(
                    f"{name} has {max(getattr(self, name))}, but datasets: train: {what} is {largest}"
                )
        if sum(self.iters) < total_iter:
            raise OptionError(f"iters add up to {sum(self.iters)}, but total_iter is {total_iter}")

    def stage(self, iteration: int) -> tuple[int, int]:
        """Images and side of the patches at an iteration, of which the first is 1."""
        ends = accumulate(self.iters)
        index = next((i for i, end in enumerate(ends) if iteration <= end), len(self.iters) - 1)
        return self.batch_sizes[index], self.gt_sizes[index]

    def cut(self, iteration: int, lq: Tensor, gt: Tensor) -> tuple[list[int], Tensor, Tensor]:
        """Keep what the stage wants of a batch, chosen by torch's generator.

        Args:
            iteration: the first is 1.
            lq: shape (B, C, H, W).
            gt: the same.

        Returns:
            Which images were kept, and the same patch of both: (b, C, h, h).
        """
        count, size = self.stage(iteration)
        kept = torch.randperm(len(lq))[:count]
        top, left = (int(torch.randint(side - size + 1, ())) for side in lq.shape[-2:])
        patch = (..., slice(top, top + size), slice(left, left + size))
        return kept.tolist(), lq[kept][patch], gt[kept][patch]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
