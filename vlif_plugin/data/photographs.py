"""A photograph in the rain for which nothing needs to be downloaded."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vlif_plugin.data.synthetic_rain import add_rain, sample_layers

RAINY_PHOTOGRAPH = "scikit-image's astronaut in synthetic rain"
"""What :func:`rainy_photograph` shows."""


def rainy_photograph() -> Tensor:
    """A photograph that scikit-image ships, with seeded heavy rain; shape (1, 3, 512, 512)."""
    import skimage.data

    rng = np.random.default_rng(0)
    clean = (skimage.data.astronaut() / 255).astype(np.float32)
    rainy = add_rain(clean, sample_layers(rng, heavy=True), rng)
    return torch.from_numpy(np.ascontiguousarray(rainy.transpose(2, 0, 1)))[None]
