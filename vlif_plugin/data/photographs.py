"""A photograph in the rain for which nothing needs to be downloaded."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlif_plugin.data.synthetic_rain import add_rain, sample_layers

RAINY_PHOTOGRAPH = "scikit-image's astronaut in synthetic rain"
"""What :func:`rainy_photograph` shows."""


def photograph() -> Tensor:
    """A photograph that scikit-image ships; shape (1, 3, 512, 512), RGB in [0, 1]."""
    return _to_batch(_clean())


def rainy_photograph() -> Tensor:
    """The same with seeded heavy rain."""
    rng = np.random.default_rng(0)
    return _to_batch(add_rain(_clean(), sample_layers(rng, heavy=True), rng))


def _clean() -> NDArray[np.float32]:
    import skimage.data

    return (skimage.data.astronaut() / 255).astype(np.float32)


def _to_batch(image: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
