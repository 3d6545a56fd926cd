"""Figures of matplotlib without a display, and maps as pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def figure(width: float, height: float) -> Any:
    """A figure that needs no display, and leaves pyplot's state alone; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png(drawn: Any) -> bytes:
    """A figure as a file."""
    content = io.BytesIO()
    drawn.savefig(content, format="png", dpi=110)
    return content.getvalue()


def grey(values: NDArray[Any]) -> Pixels:
    """(H, W) of any range to (H, W, 3): black to white from the 1st to the 99th percentile."""
    low, high = np.percentile(values, [1, 99])
    if high <= low:  # sparse: most values are one and the same
        low, high = values.min(), values.max()
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values, float)
    return np.repeat((np.clip(scaled, 0, 1) * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def heat(values: NDArray[Any], top: float) -> Pixels:
    """(H, W) in [0, top] to (H, W, 3), dark to bright."""
    import matplotlib

    scaled = np.clip(values / top, 0, 1) if top > 0 else np.zeros_like(values, float)
    colours = matplotlib.colormaps["viridis"](scaled)[..., :3]
    return (colours * 255).round().astype(np.uint8)


def resized(image: Pixels, longest: int) -> Pixels:
    """An image whose longer side has so many pixels, each the nearest of the original."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    rows, columns = (
        (np.arange(max(1, round(side * scale))) / scale).astype(int).clip(0, side - 1)
        for side in (height, width)
    )
    return image[rows][:, columns]
