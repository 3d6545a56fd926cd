"""Recorded rain: what pairs of rainy and clean images differ by."""

from __future__ import annotations

import os

import cv2
import numpy as np
from numpy.typing import NDArray

from vlif_plugin.data.pairing import Rule, check_sizes, pair_images
from vlif_plugin.data.sources import ImageSource, open_source


class StreakLayers:
    """The streaks of rainy images, what they are brighter by; an ``ImageSource``.

    Rain is grey, and where rain and background together were brighter than white the image was cut
    off: the channel that is brighter by most was cut off least, and stands for all three. Over a
    bright background a layer still is darker than the rain was.

    Args:
        rainy: folder or LMDB of rainy images.
        clean: folder or LMDB of the same scenes without rain.
        pairing: see :func:`~vlif_plugin.data.pairing.pair_images`.

    Raises:
        DataError: anything wrong with the folders or the pairs.
    """

    def __init__(
        self,
        rainy: str | os.PathLike[str],
        clean: str | os.PathLike[str],
        *,
        pairing: Rule = "name",
    ) -> None:
        self.rainy: ImageSource = open_source(rainy)
        self.root = self.rainy.root
        self.clean: ImageSource = open_source(clean)
        pairs = pair_images(self.rainy, self.clean, pairing)
        check_sizes(self.rainy, self.clean, pairs, 1)
        self._partners = {pair.lq: pair.gt for pair in pairs}

    def keys(self) -> list[str]:
        """Names of the rainy images, sorted."""
        return list(self._partners)

    def size(self, key: str) -> tuple[int, int]:
        """Height and width, without decoding the images."""
        return self.rainy.size(key)

    def path(self, key: str) -> str:
        """What to call the layer in messages."""
        return self.rainy.path(key)

    def read(self, key: str) -> NDArray[np.uint8]:
        """The layer on black, shape (H, W, 3), uint8, grey."""
        partner = self._partners[key]
        assert partner is not None  # both sources were given
        rainy, clean = self.rainy.read(key), self.clean.read(partner)
        red, green, blue = cv2.split(cv2.subtract(rainy, clean))  # stops at zero
        grey = cv2.max(cv2.max(red, green), blue)
        return cv2.merge([grey, grey, grey]).astype(np.uint8, copy=False)
