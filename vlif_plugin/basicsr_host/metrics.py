"""The PSNR and SSIM protocols as BasicSR metrics.

Each protocol of :mod:`vlif_plugin.metrics` gives two, named after it: ``psnr_y_restormer`` and
``ssim_y_restormer``, say.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from vlif_plugin.metrics import PROTOCOLS
from vlif_plugin.metrics.image import Pixels, Score

Metric = Callable[..., float]


def _of_files(score: Score) -> Metric:
    """A metric of the two images as they would be read from files."""

    def metric(img: Pixels, img2: Pixels) -> float:
        """Score two BGR uint8 images of shape (H, W, 3)."""
        return score(np.ascontiguousarray(img[..., ::-1]), np.ascontiguousarray(img2[..., ::-1]))

    return metric


def _of_tensors(score: Score) -> Metric:
    """A metric of the network's result before it is rounded."""

    def metric(output: Tensor, gt: Tensor) -> float:
        """Score two tensors of shape (1, 3, H, W), RGB in [0, 1]."""
        pair = (x[0].clamp(0, 1).permute(1, 2, 0).double().cpu().numpy() for x in (output, gt))
        return score(*pair)

    return metric


METRICS: dict[str, Metric] = {
    f"{kind}_{name}": (_of_tensors if name == "rgb_skimage" else _of_files)(getattr(protocol, kind))
    for name, protocol in PROTOCOLS.items()
    for kind in ("psnr", "ssim")
}
"""Name in BasicSR's registry and metric, for every protocol."""
