"""The metrics of :mod:`vlif_plugin.metrics` by name, in the form of BasicSR's, which others can call too.

Each protocol gives two, named after it: ``psnr_y_restormer`` and ``ssim_y_restormer``, say; the
others keep their names.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from vlif_plugin import metrics
from vlif_plugin.metrics import PROTOCOLS
from vlif_plugin.metrics.image import Pixels, Score
from vlif_plugin.scoring.energy import ENERGY_METRICS

Metric = Callable[..., "float | None"]


def _rgb(img: Pixels) -> Pixels:
    return np.ascontiguousarray(img[..., ::-1])


def _of_files(score: Score) -> Metric:
    """A metric of the two images as they would be read from files."""

    def metric(img: Pixels, img2: Pixels, **_: object) -> float:
        """Score two BGR uint8 images of shape (H, W, 3)."""
        return score(_rgb(img), _rgb(img2))

    return metric


def _of_tensors(score: Score) -> Metric:
    """A metric of the network's result before it is rounded."""

    def metric(output: Tensor, gt: Tensor) -> float:
        """Score two tensors of shape (1, 3, H, W), RGB in [0, 1]."""
        pair = (x[0].clamp(0, 1).permute(1, 2, 0).double().cpu().numpy() for x in (output, gt))
        return score(*pair)

    return metric


# BasicSR's own models hand over `better`, and two images in any case: what is not needed is let through


def _lpips(
    img: Pixels, img2: Pixels, backbone: str = "alex", weights: str | None = None, **_: object
) -> float:
    """LPIPS of two BGR uint8 images of shape (H, W, 3)."""
    return metrics.lpips(_rgb(img), _rgb(img2), backbone, weights)


def _piqe(img: Pixels, **_: object) -> float:
    """PIQE of a BGR uint8 image of shape (H, W, 3)."""
    return metrics.piqe(_rgb(img))


def _brisque(img: Pixels, **_: object) -> float:
    """BRISQUE of a BGR uint8 image of shape (H, W, 3)."""
    return metrics.brisque(_rgb(img))


METRICS: dict[str, Metric] = {
    f"{kind}_{name}": (_of_tensors if name == "rgb_skimage" else _of_files)(getattr(protocol, kind))
    for name, protocol in PROTOCOLS.items()
    for kind in ("psnr", "ssim")
} | {"lpips": _lpips, "piqe": _piqe, "brisque": _brisque, **ENERGY_METRICS}
"""Name in option files and metric: two for every protocol, and the others. Each is a function that is given
what its signature names of :func:`~vlif_plugin.scoring.score_inputs`, and its options."""

LOWER_IS_BETTER = frozenset({"lpips", "piqe", "brisque", "calculate_niqe", *ENERGY_METRICS})
"""Names of those, and of BasicSR's, whose best value is the lowest."""
