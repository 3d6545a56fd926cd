"""PIQE: quality of an image without a reference, from the distortion of its active blocks.

N. Venkatanath, D. Praneeth, M. Chandrasekhar Bh, S. S. Channappayya, S. S. Medasani, "Blind Image
Quality Evaluation Using Perception Based Features", NCC 2015.

Tables quote MATLAB's ``piqe``, so where that and the paper's text leave a choice, MATLAB's is
taken: the image is padded to whole blocks by repeating its last row and column; deviations are
those of samples (N - 1); of a block's 16 columns the centre is the 8th and 9th, and its surround all
but the 8th and 10th (MATLAB deletes the 8th, and then the 9th of what is left).
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vlif_plugin.metrics._mscn import Float, Pixels, matlab_grey, mscn

Flags = NDArray[np.bool_]

_BLOCK = 16
_SEGMENT = 6
_ACTIVE = 0.1  # variance from which a block draws the eye
_FLAT = 0.1  # deviation below which a segment of a block's edge is an artefact
_CENTRE, _NOT_SURROUND = (7, 8), (7, 9)


def piqe(rgb: Pixels) -> float:
    """PIQE of an image; lower is better.

    Args:
        rgb: uint8, shape (H, W, 3), of any size.

    Returns:
        From 0 to 100 for ordinary images; 100 where no block is active, as in a constant image.

    Raises:
        DataError: it is no such image.
    """
    grey = matlab_grey(rgb)
    height, width = grey.shape
    padded = np.pad(grey, ((0, -height % _BLOCK), (0, -width % _BLOCK)), mode="edge")
    blocks = _split(mscn(padded, border="nearest"))
    variance = blocks.var((1, 2), ddof=1)
    active = variance > _ACTIVE
    blocks, variance = blocks[active], variance[active]
    distortion = _has_artefacts(blocks) * (1 - variance) + _is_noisy(blocks, variance) * variance
    return float((distortion.sum() + 1) / (len(blocks) + 1) * 100)


def _split(image: Float) -> Float:
    """Blocks of an image whose sides are multiples of 16; shape (N, 16, 16)."""
    rows, columns = (side // _BLOCK for side in image.shape)
    grid = image.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2)
    return grid.reshape(-1, _BLOCK, _BLOCK)


def _has_artefacts(blocks: Float) -> Flags:
    """Whether six neighbours on any edge of a block hardly differ, as blocking leaves them."""
    edges = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], axis=1)
    segments = sliding_window_view(edges, _SEGMENT, axis=2)  # (N, 4, 11, 6)
    return (segments.std(-1, ddof=1) < _FLAT).any((1, 2))


def _is_noisy(blocks: Float, variance: Float) -> Flags:
    """Whether a block's deviation exceeds twice its distance from that of centre to surround."""
    deviation = np.sqrt(variance)
    centre = blocks[:, :, _CENTRE].std((1, 2), ddof=1)
    surround = np.delete(blocks, _NOT_SURROUND, axis=2).std((1, 2), ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(centre / surround, nan=0.0, posinf=np.inf)
        return deviation > 2 * np.abs(deviation - ratio) / np.maximum(deviation, ratio)
