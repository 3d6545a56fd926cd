"""PSNR and SSIM by protocol: the ways in which deraining papers score images, each under a name.

The same pair of images scores up to 1.6 dB apart under different protocols, so a number without
its protocol says little. ``PROTOCOLS`` is the one list that hosts, tests and tables loop over.
All of them take two RGB images, uint8, shape (H, W, 3); ``rgb_skimage`` also takes floats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from vlif_plugin.losses import ssim as gaussian_ssim

Pixels = NDArray[Any]
Float = NDArray[np.float64]
Score = Callable[[Pixels, Pixels], float]


@dataclass(frozen=True)
class Protocol:
    """A way to score a restored image.

    Attributes:
        psnr: (result, target) to dB; infinite for equal images.
        ssim: (result, target) to at most 1.
        what: colours, rounding, border and windows in one line.
        used_by: whose tables are scored so.
    """

    psnr: Score
    ssim: Score
    what: str
    used_by: str


def psnr_of(a: Float, b: Float, peak: float = 255.0) -> float:
    """PSNR in dB over all values of two arrays, computed in float64."""
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"two images of one size are needed, got {a.shape} and {b.shape}")
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim_of(a: Float, b: Float) -> float:
    """SSIM with an 11x11 Gaussian window inside the image, range 255, mean over channels.

    Args:
        a: shape (H, W) or (H, W, C), values in [0, 255].
        b: the same shape.
    """
    pair = [
        torch.from_numpy(np.atleast_3d(x).transpose(2, 0, 1).astype(np.float64)) for x in (a, b)
    ]
    return float(gaussian_ssim(pair[0][None], pair[1][None], data_range=255.0, padding="valid"))


def luma(rgb: Pixels) -> Float:
    """Y of ITU-R BT.601 as MATLAB's rgb2ycbcr has it, not rounded; (H, W), values in [16, 235]."""
    return 16.0 + rgb.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255.0


def integer_luma(rgb: Pixels) -> Float:
    """Y of a uint8 image rounded to integers, as MATLAB's rgb2ycbcr gives for uint8."""
    return np.floor(luma(rgb) + 0.5)


def shrink_as_matlab(image: Float) -> Float:
    """The down-sampling with which ``ssim.m`` begins: by round(min(H, W) / 256), box filtered.

    Args:
        image: shape (H, W).

    Returns:
        Shape (ceil(H / f), ceil(W / f)); the image itself where f is 1.
    """
    factor = max(1, int(np.floor(min(image.shape) / 256 + 0.5)))
    if factor == 1:
        return image
    before = (factor - 1) // 2  # imfilter's centre of an even kernel
    padded = np.pad(image, (before, factor - 1 - before), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (factor, factor))
    return windows[::factor, ::factor].mean((2, 3))


def _crop4(image: Pixels) -> Pixels:
    return image[4:-4, 4:-4]


def _on(prepare: Callable[[Pixels], Float], score: Callable[[Float, Float], float]) -> Score:
    """Score what ``prepare`` makes of the two images."""
    return lambda result, target: score(prepare(result), prepare(target))


def _skimage_ssim(a: Pixels, b: Pixels) -> float:
    from skimage.metrics import structural_similarity

    side = min(7, (min(a.shape[:2]) - 1) // 2 * 2 + 1)  # odd, and no larger than the image
    value: Any = structural_similarity(a, b, channel_axis=2, data_range=1.0, win_size=side)
    return float(value)


def _unit(image: Pixels) -> Float:
    scale = 255.0 if image.dtype == np.uint8 else 1.0
    return image.astype(np.float64) / scale


def _to_256(image: Pixels) -> Image.Image:
    return Image.fromarray(image).resize((256, 256))


def _euvp_luma(image: Pixels) -> Float:
    return np.asarray(_to_256(image).convert("L")).astype(np.float64)


def _euvp_ssim(a: Pixels, b: Pixels) -> float:
    """SSIM of FUnIE-GAN's evaluation: infinite Gaussian window, variances times 25/24."""
    x, y = (np.asarray(_to_256(image)).astype(np.float64) for image in (a, b))
    blur = partial(gaussian_filter, sigma=(1.5, 1.5, 0))
    mu_x, mu_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mu_x**2, blur(y * y) - mu_y**2
    covariance = blur(x * y) - mu_x * mu_y
    c1, c2, unbiased = (0.01 * 255) ** 2, (0.03 * 255) ** 2, 25 / 24
    numerator = (2 * mu_x * mu_y + c1) * (2 * covariance * unbiased + c2)
    return float(
        (numerator / ((mu_x**2 + mu_y**2 + c1) * ((var_x + var_y) * unbiased + c2))).mean()
    )


def _psnr_by_channel(a: Pixels, b: Pixels) -> float:
    return float(np.mean([psnr_of(a[..., c], b[..., c]) for c in range(3)]))


def _float64(image: Pixels) -> Float:
    return image.astype(np.float64)


PROTOCOLS: dict[str, Protocol] = {
    "rgb": Protocol(
        _on(_float64, psnr_of), _on(_float64, ssim_of),
        "RGB, no border; SSIM 11x11 Gaussian, mean of the channels",
        "BasicSR's default, derain-toolbox",
    ),
    "rgb_channels": Protocol(
        _psnr_by_channel, _on(_float64, ssim_of),
        "RGB, PSNR of each channel averaged; SSIM as rgb",
        "some underwater tables",
    ),
    "y": Protocol(
        _on(luma, psnr_of), _on(luma, ssim_of),
        "Y in floating point, no border; SSIM 11x11 Gaussian",
        "BasicSR with test_y_channel, UDR-S2Former",
    ),
    "y_restormer": Protocol(
        _on(integer_luma, psnr_of), _on(integer_luma, ssim_of),
        "Y rounded to integers, no border; SSIM 11x11 Gaussian, no down-sampling",
        "MPRNet, Restormer; DRSformer and NeRD-Rain for Rain200L/H",
    ),
    "y_matlab": Protocol(
        _on(luma, psnr_of), _on(lambda image: shrink_as_matlab(luma(image)), ssim_of),
        "Y in floating point, no border; SSIM 11x11 Gaussian after automatic down-sampling",
        "PReNet, RCDNet, SPDNet; DRSformer and NeRD-Rain for DID-Data",
    ),
    "y_crop4": Protocol(
        _on(lambda image: luma(_crop4(image)), psnr_of), _on(lambda image: luma(_crop4(image)), ssim_of),
        "Y in floating point, 4 pixels of border cut off; SSIM 11x11 Gaussian",
        "evaluation.py of ESDNet and VLIF",
    ),
    "rgb_skimage": Protocol(
        _on(_unit, partial(psnr_of, peak=1.0)), _on(_unit, _skimage_ssim),
        "RGB before rounding, no border; SSIM 7x7 uniform window",
        "test.py of ESDNet and VLIF",
    ),
    "euvp": Protocol(
        _on(_euvp_luma, psnr_of), _euvp_ssim,
        "both images resized to 256x256; PSNR on Pillow's integer luma, SSIM per channel",
        "FUnIE-GAN and what follows it on EUVP",
    ),
}  # fmt: skip
