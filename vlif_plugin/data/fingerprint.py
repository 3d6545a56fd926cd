"""A short name for exactly these images, so that a score says what it was measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vlif_plugin.data.sources import ImageSource
from vlif_plugin.errors import DataError


def pixel_hash(image: NDArray[np.uint8]) -> str:
    """SHA-256 of an image's size and pixels: the same whatever file they were read from.

    Args:
        image: shape (H, W, 3), RGB, uint8.
    """
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]} ".encode())
    digest.update(np.ascontiguousarray(image, dtype=np.uint8).data)
    return digest.hexdigest()


def fingerprint(pairs: Iterable[tuple[str | None, str | None]]) -> str:
    """Twelve hexadecimal digits for a set of pairs.

    Neither names, nor order, nor lossless recoding change it, so a folder, an archive and an LMDB
    of the same images agree; one changed pixel, a missing pair or another partner do change it.

    Args:
        pairs: :func:`pixel_hash` of each degraded image and of its ground truth; None for a side
            that there is not.
    """
    lines = sorted(f"{lq or '-'} {gt or '-'}\n" for lq, gt in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]


Sides = Iterable[tuple[ImageSource, Sequence[str]]]
"""Each side of a dataset, and the keys of its images in the dataset's order."""


def sampled_fingerprint(sides: Sides, images: int = 8) -> str:
    """Twelve hexadecimal digits by which a dataset is known again without reading all of it.

    Names and sizes of all images count, and the pixels of a few that are spread over the dataset;
    where the files lie does not. So Rain200L and Rain200H, whose names and sizes agree, differ.

    Args:
        sides: of the dataset.
        images: of each side whose pixels are read; one that cannot be read counts as that.
    """
    digest = hashlib.sha256()
    for source, keys in sides:
        digest.update(f"side of {len(keys)}\n".encode())
        for key in keys:
            digest.update(f"{key} {source.size(key)}\n".encode())
        for place in np.unique(np.linspace(0, len(keys) - 1, images).round().astype(int)):
            digest.update(_readable_pixels(source, keys[int(place)]).encode())
    return digest.hexdigest()[:12]


def _readable_pixels(source: ImageSource, key: str) -> str:
    try:
        return pixel_hash(source.read(key))
    except DataError:  # whether that is fatal is for others to say
        return "unreadable"
