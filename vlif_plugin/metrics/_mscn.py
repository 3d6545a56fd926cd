"""What PIQE and BRISQUE begin with: MATLAB's grey image and its contrast-normalised coefficients."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from vlif_plugin.errors import DataError

Pixels = NDArray[Any]
Float = NDArray[np.float64]

_RADIUS, _SIGMA = 3, 7 / 6  # a window of 7x7, cut off a little before three sigma
# the first row of the inverse of NTSC's YIQ to RGB: MATLAB does not use the rounded 0.299, 0.587, 0.114
_YIQ_TO_RGB = np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]])
_LUMA = np.linalg.inv(_YIQ_TO_RGB)[0]


def matlab_grey(rgb: Pixels) -> Float:
    """The grey image that MATLAB's ``rgb2gray`` makes of a uint8 image: rounded, halves up.

    Args:
        rgb: uint8, shape (H, W, 3).

    Returns:
        Whole numbers in [0, 255], shape (H, W).

    Raises:
        DataError: it is no such image.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise DataError(f"an RGB image of uint8 is needed, got {rgb.dtype} of shape {rgb.shape}")
    return np.floor(rgb @ _LUMA + 0.5)


def mscn(grey: Float, border: Literal["constant", "nearest"]) -> Float:
    """Mean subtracted, contrast normalised coefficients (I - mu) / (sigma + 1).

    Mean and deviation are local, under a Gaussian window of 7x7 with sigma 7/6 (Mittal et al.,
    TIP 2012, eq. 1 to 3; C is 1 for values up to 255).

    Args:
        grey: shape (H, W), values in [0, 255].
        border: what lies outside the image: ``constant`` are zeros, ``nearest`` repeats the edge.

    Returns:
        The same shape.
    """
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    window = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    window /= window.sum()

    def blur(image: Float) -> Float:
        return correlate1d(correlate1d(image, window, 0, mode=border), window, 1, mode=border)

    mean = blur(grey)
    deviation = np.sqrt(np.abs(blur(grey * grey) - mean * mean))
    return (grey - mean) / (deviation + 1)
