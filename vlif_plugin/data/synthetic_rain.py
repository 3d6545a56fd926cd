"""Synthetic rain: layers of bright streaks added to a clean photograph, as in Rain200L/H.

A layer is made of drops scattered over the image, each drawn out into a line by motion. All
randomness comes from the generator that is passed in, so a seed determines the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@dataclass(frozen=True)
class RainLayer:
    """One layer of parallel streaks.

    Attributes:
        angle: direction of fall in degrees; 0 falls straight down, positive leans to the right.
        length: of a streak, in pixels, >= 1.
        width: of a streak, in pixels, > 0.
        density: drops for each pixel of the image, in [0, 1].
        brightness: of a streak's brightest part, in [0, 1]; added to the image.
    """

    angle: float
    length: float
    width: float
    density: float
    brightness: float

    def __post_init__(self) -> None:
        if (
            self.length < 1
            or self.width <= 0
            or not 0 <= self.density <= 1
            or not 0 <= self.brightness <= 1
        ):
            raise ValueError(f"impossible rain layer: {self}")


def streak_kernel(angle: float, length: float, width: float) -> Image:
    """Image of a single streak, its brightest part 1; shape (k, k), k odd."""
    half = int(np.ceil(length / 2 + 2 * width))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    theta = np.deg2rad(angle)
    along = x * np.sin(theta) + y * np.cos(theta)
    across = x * np.cos(theta) - y * np.sin(theta)
    beyond = np.maximum(np.abs(along) - length / 2, 0.0)
    kernel = np.exp(-(across**2 + beyond**2) / (2 * (width / 2) ** 2))
    return (kernel / kernel.max()).astype(np.float32)


def render_layer(layer: RainLayer, height: int, width: int, rng: np.random.Generator) -> Image:
    """Streaks on black; shape (height, width), values in [0, brightness]."""
    # drops beyond the border let streaks enter the picture from outside
    margin = int(np.ceil(layer.length / 2 + 2 * layer.width))
    shape = (height + 2 * margin, width + 2 * margin)
    drops = (rng.random(shape, dtype=np.float32) < layer.density).astype(np.float32)
    drops *= rng.uniform(0.5, 1.0, shape).astype(np.float32)
    streaks = cv2.filter2D(drops, -1, streak_kernel(layer.angle, layer.length, layer.width))
    inside = streaks[margin : margin + height, margin : margin + width]
    return (layer.brightness * np.minimum(inside, 1.0)).astype(np.float32)


def veil(image: Image, strength: float) -> Image:
    """Lay a white haze over an image, as far rain does.

    Args:
        image: any shape, values in [0, 1].
        strength: share of white, in [0, 1].

    Returns:
        ``image * (1 - strength) + strength``, the same shape.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"the strength of a veil must be in [0, 1], got {strength}")
    return (image * np.float32(1 - strength) + np.float32(strength)).astype(np.float32)


def sample_layers(rng: np.random.Generator, *, heavy: bool = False) -> list[RainLayer]:
    """Draw the layers of one picture: one to two, or two to four when ``heavy``.

    Layers of one picture share the wind, give or take ten degrees, and differ in everything else.
    """
    wind = rng.uniform(-35, 35)
    count = int(rng.integers(2, 5)) if heavy else int(rng.integers(1, 3))
    return [
        RainLayer(
            angle=wind + rng.uniform(-10, 10),
            length=rng.uniform(12, 40),
            width=rng.uniform(1.0, 2.2),
            density=rng.uniform(0.0006, 0.002),
            brightness=rng.uniform(0.3, 0.7),
        )
        for _ in range(count)
    ]


def add_rain(clean: Image, layers: list[RainLayer], rng: np.random.Generator) -> Image:
    """Add rain to a photograph.

    Args:
        clean: shape (H, W, 3), values in [0, 1].
        layers: the streaks to add.
        rng: source of all randomness.

    Returns:
        Shape (H, W, 3), values in [0, 1]; nowhere darker than ``clean``.
    """
    height, width = clean.shape[:2]
    rainy = clean.astype(np.float32, copy=True)
    for layer in layers:
        rainy += render_layer(layer, height, width, rng)[..., None]
    return np.clip(rainy, 0.0, 1.0)
