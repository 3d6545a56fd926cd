"""A short name for exactly these images, so that a score says what it was measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


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
