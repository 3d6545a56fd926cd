"""Random patches of images that belong together, drawn from torch's generator."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def cut_patches(
    images: list[NDArray[np.uint8]],
    size: int,
    *,
    flip: bool = False,
    rotate: bool = False,
    pad: bool = False,
) -> list[NDArray[np.uint8]]:
    """Cut the same random patch out of each image, and turn all of them the same way.

    Args:
        images: shape (H, W, 3) each, one size; H and W at least ``size``, unless ``pad``.
        size: side of the patch.
        flip: mirror left to right with probability 1/2.
        rotate: rotate by a random multiple of 90 degrees.
        pad: mirror smaller images at their lower and right edge, the edge included, as the data
            loaders of Restormer and NAFNet do.

    Returns:
        Shape (size, size, 3); views, unless padded.
    """
    height, width = images[0].shape[:2]
    if pad and (height < size or width < size):
        edges = ((0, max(0, size - height)), (0, max(0, size - width)), (0, 0))
        images = [np.pad(image, edges, mode="symmetric") for image in images]
        height, width = images[0].shape[:2]
    top = int(torch.randint(height - size + 1, ()))
    left = int(torch.randint(width - size + 1, ()))
    images = [image[top : top + size, left : left + size] for image in images]
    if flip and torch.rand(()) < 0.5:
        images = [image[:, ::-1] for image in images]
    if rotate:
        turns = int(torch.randint(4, ()))
        images = [np.rot90(image, turns) for image in images]
    return images
