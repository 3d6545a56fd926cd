"""Clean photographs in, rainy pairs out: synthetic rain generated on the fly."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vlif_plugin.data.image_io import to_tensor
from vlif_plugin.data.pairing import Pair, check_sizes
from vlif_plugin.data.patches import cut_patches
from vlif_plugin.data.sources import ImageSource, KeptSource, open_source
from vlif_plugin.data.streaks import StreakLayers
from vlif_plugin.data.synthetic_rain import add_rain, sample_layers, veil
from vlif_plugin.errors import DataError

Rain = Literal["light", "heavy", "mixed"]


class SyntheticRainImages(Dataset[dict[str, Any]]):
    """Photographs with rain drawn anew each time, or from streaks that were recorded.

    An item is ``{'lq', 'gt', 'lq_path', 'gt_path'}`` as in
    :class:`~vlif_plugin.data.PairedImages`. Where patches are cut, rain is rendered for the patch
    alone and drawn from torch's generator, so every visit to a photograph rains differently. Whole
    images (``patch_size=None``, for validation) always get the same rain, decided by ``seed`` and
    the photograph's place in the list.

    Args:
        gt: folder or LMDB of clean photographs.
        patch_size: side of the random patch; None gives whole images.
        flip: flip patches left to right at random.
        rotate: rotate patches by multiples of 90 degrees at random, before it rains.
        rain: ``light`` (one or two layers), ``heavy`` (two to four) or ``mixed``.
        veil_strength: largest share of white haze under the rain, drawn evenly from [0, this].
        streaks: folder or LMDB of recorded streak layers (rainy minus clean, on black), at least
            of the patch's size; they replace the rendered rain.
        streaks_gt: with it, ``streaks`` are rainy images, and this the same scenes without rain:
            the layers are what the two differ by.
        streaks_share: share of the items that get a recorded layer; rain is rendered on the others.
        strength: lowest and highest factor on the rain, recorded or rendered, drawn evenly for each item.
        clean_share: share of the items that stay as they are: a network learns to do no harm from them.
        seed: of the rain on whole images.
        in_memory: keep what is read, photographs and recorded layers, as 3 * H * W bytes an image, in
            each worker.

    Raises:
        DataError: anything wrong with the folders or sizes, before training begins.
        ValueError: an unknown kind of rain, an impossible veil, share or strength, or clean sides of
            streaks that are not there.
    """

    def __init__(
        self,
        gt: str | os.PathLike[str],
        *,
        patch_size: int | None = None,
        flip: bool = False,
        rotate: bool = False,
        rain: Rain = "mixed",
        veil_strength: float = 0.0,
        streaks: str | os.PathLike[str] | None = None,
        streaks_gt: str | os.PathLike[str] | None = None,
        streaks_share: float = 1.0,
        strength: tuple[float, float] = (1.0, 1.0),
        clean_share: float = 0.0,
        seed: int = 0,
        in_memory: bool = False,
    ) -> None:
        if rain not in get_args(Rain):
            raise ValueError(f"rain must be one of {', '.join(get_args(Rain))}, got {rain!r}")
        if not 0 <= veil_strength <= 1:
            raise ValueError(f"veil_strength must be in [0, 1], got {veil_strength}")
        for name, share in (("streaks_share", streaks_share), ("clean_share", clean_share)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {share}")
        if not 0 <= strength[0] <= strength[1] < math.inf:
            raise ValueError(
                f"strength must be a lowest and a highest factor of at least 0, both finite, got {list(strength)}"
            )
        if streaks is None and (streaks_gt is not None or streaks_share < 1):
            raise ValueError(
                "streaks_gt and streaks_share say something about streaks, of which there are none"
            )
        self.gt = open_source(gt)
        self.keys = self.gt.keys()
        check_sizes(self.gt, None, [Pair(key, None) for key in self.keys], patch_size or 1)
        self.streaks = None if streaks is None else _open_streaks(streaks, streaks_gt, patch_size)
        if in_memory:
            self.gt = KeptSource(self.gt)
            self.streaks = None if self.streaks is None else KeptSource(self.streaks)
        self.streaks_share = streaks_share
        self.patch_size = patch_size
        self.flip = flip
        self.rotate = rotate
        self.rain = rain
        self.veil_strength = veil_strength
        self.strength = strength
        self.clean_share = clean_share
        self.seed = seed

    def __len__(self) -> int:
        return len(self.keys)

    def sides(self) -> list[tuple[ImageSource, list[str]]]:
        """The photographs and, where there are any, the recorded layers: their source and their keys."""
        sides = [(self.gt, self.keys)]
        if self.streaks is not None:
            sides.append((self.streaks, self.streaks.keys()))
        return sides

    def __getitem__(self, index: int) -> dict[str, Any]:
        key = self.keys[index]
        clean = self.gt.read(key)
        if self.patch_size is not None:
            (clean,) = cut_patches([clean], self.patch_size, flip=self.flip, rotate=self.rotate)
            rng = np.random.default_rng(int(torch.randint(2**62, ())))
        else:
            rng = np.random.default_rng([self.seed, index])
        rainy = np.round(self._rain_on(clean, rng) * 255).astype(np.uint8)
        path = self.gt.path(key)
        return {"lq": to_tensor(rainy), "gt": to_tensor(clean), "lq_path": path, "gt_path": path}

    def _rain_on(self, clean: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
        image: NDArray[np.float32] = (clean / 255).astype(np.float32)
        if self.clean_share > 0 and rng.random() < self.clean_share:
            return image
        if self.veil_strength > 0:
            image = veil(image, float(rng.uniform(0, self.veil_strength)))
        low, high = self.strength
        strength = low if low == high else float(rng.uniform(low, high))
        if self.streaks is None or (self.streaks_share < 1 and rng.random() >= self.streaks_share):
            heavy = self.rain == "heavy" or (self.rain == "mixed" and rng.random() < 0.5)
            layers = sample_layers(rng, heavy=heavy)
            layers = [
                replace(layer, brightness=min(1.0, strength * layer.brightness)) for layer in layers
            ]
            return add_rain(image, layers, rng)
        recorded = self._recorded(self.streaks, image.shape[:2], rng)
        rainy = np.clip(image + np.float32(strength) * recorded, 0, 1)
        return rainy.astype(np.float32, copy=False)

    def _recorded(
        self, streaks: ImageSource, size: tuple[int, ...], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """A piece of a recorded layer, mirrored at random; one that is too small is repeated."""
        lacking = {
            key: [max(0, want - have) for want, have in zip(size, streaks.size(key), strict=True)]
            for key in streaks.keys()  # noqa: SIM118 (a source is no dict)
        }
        least = min(map(sum, lacking.values()))
        keys = [key for key, missing in lacking.items() if sum(missing) == least]
        key = keys[int(rng.integers(len(keys)))]
        layer, missing = streaks.read(key), lacking[key]
        if any(missing):
            layer = np.pad(layer, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="wrap")
        top = int(rng.integers(layer.shape[0] - size[0] + 1))
        left = int(rng.integers(layer.shape[1] - size[1] + 1))
        piece = layer[top : top + size[0], left : left + size[1]]
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        return (piece / 255).astype(np.float32)


def _open_streaks(
    streaks: str | os.PathLike[str], clean: str | os.PathLike[str] | None, patch_size: int | None
) -> ImageSource:
    try:
        layers = open_source(streaks) if clean is None else StreakLayers(streaks, clean)
        check_sizes(layers, None, [Pair(key, None) for key in layers.keys()], patch_size or 1)  # noqa: SIM118 (a source is no dict)
    except DataError as error:
        raise DataError(f"streak layers: {error}") from error
    return layers
