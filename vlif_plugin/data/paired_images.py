"""Paired images as a plain torch Dataset."""

from __future__ import annotations

import os
from typing import Any

from torch.utils.data import Dataset

from vlif_plugin.data.image_io import to_tensor
from vlif_plugin.data.pairing import Rule, check_sizes, pair_images
from vlif_plugin.data.patches import cut_patches
from vlif_plugin.data.sources import ImageSource, KeptSource, open_source


class PairedImages(Dataset[dict[str, Any]]):
    """Rainy images with their clean counterparts, whole or as random patches.

    An item is ``{'lq', 'gt', 'lq_path', 'gt_path'}``: tensors of shape (3, H, W), RGB, float32 in
    [0, 1]; without ground truth there is no ``gt`` and no ``gt_path``. Patches and flips are drawn
    from torch's generator, which the DataLoader seeds differently in each worker and epoch.

    Args:
        lq: folder or LMDB of rainy images.
        gt: folder or LMDB of clean images, or None.
        patch_size: side of the random patch; None gives whole images.
        flip: flip patches left to right at random.
        rotate: rotate patches by multiples of 90 degrees at random.
        pad: mirror images that are smaller than the patch, instead of refusing them.
        pairing: see :func:`~vlif_plugin.data.pairing.pair_images`.
        in_memory: keep what is read, as 3 * H * W bytes an image, in each worker.

    Raises:
        DataError: anything wrong with the folders or the pairs, before training begins.
    """

    def __init__(
        self,
        lq: str | os.PathLike[str],
        gt: str | os.PathLike[str] | None,
        *,
        patch_size: int | None = None,
        flip: bool = False,
        rotate: bool = False,
        pad: bool = False,
        pairing: Rule = "name",
        in_memory: bool = False,
    ) -> None:
        self.lq = open_source(lq)
        self.gt = None if gt is None else open_source(gt)
        self.pairs = pair_images(self.lq, self.gt, pairing)
        check_sizes(self.lq, self.gt, self.pairs, 1 if pad else patch_size or 1)
        if in_memory:
            self.lq = KeptSource(self.lq)
            self.gt = None if self.gt is None else KeptSource(self.gt)
        self.patch_size = patch_size
        self.flip = flip
        self.rotate = rotate
        self.pad = pad

    def __len__(self) -> int:
        return len(self.pairs)

    def sides(self) -> list[tuple[ImageSource, list[str]]]:
        """The rainy images and, where there are any, the clean ones: their source and their keys."""
        sides = [(self.lq, [pair.lq for pair in self.pairs])]
        if self.gt is not None:
            sides.append((self.gt, [pair.gt for pair in self.pairs if pair.gt is not None]))
        return sides

    def __getitem__(self, index: int) -> dict[str, Any]:
        pair = self.pairs[index]
        images = [self.lq.read(pair.lq)]
        item: dict[str, Any] = {"lq_path": self.lq.path(pair.lq)}
        if self.gt is not None and pair.gt is not None:
            images.append(self.gt.read(pair.gt))
            item["gt_path"] = self.gt.path(pair.gt)
        if self.patch_size is not None:
            images = cut_patches(
                images, self.patch_size, flip=self.flip, rotate=self.rotate, pad=self.pad
            )
        return item | dict(zip(("lq", "gt"), map(to_tensor, images), strict=False))
