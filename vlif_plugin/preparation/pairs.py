"""One pair: decoded, checked, and made ready for the LMDBs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlif_plugin.data import decode_colour, encode_record, pixel_hash
from vlif_plugin.errors import DataError
from vlif_plugin.metrics import PROTOCOLS
from vlif_plugin.preparation.manifest import Origin, Record
from vlif_plugin.preparation.plan import Half, PlannedPair
from vlif_plugin.preparation.recipes import Recipe
from vlif_plugin.preparation.sides import FLAT_BELOW, equal_halves, halves_of, likeness, thumb
from vlif_plugin.preparation.tree import SourceFile, sha256

Pixels = NDArray[np.uint8]
# rounding in somebody's conversion may cost two grey levels, here and there
_DARKER_BY = 2
_DARKER_SHARE = 1e-3
_ONE_SCENE_ABOVE = 0.3


@dataclass(frozen=True)
class ReadyPair:
    """A pair that passed all checks.

    Attributes:
        record: for the manifest.
        input: PNG bytes, or None.
        target: PNG bytes, or None.
    """

    record: Record
    input: bytes | None
    target: bytes | None


def make_ready(
    pair: PlannedPair, contents: Mapping[SourceFile, bytes], recipe: Recipe, *, lenient: bool
) -> ReadyPair:
    """Decode a pair's files once, check the pair and encode it.

    Args:
        pair: what to make.
        contents: the bytes of its files.
        recipe: what holds for the dataset.
        lenient: whether sizes other than the recipe's, and pairs of two scenes, will do.

    Raises:
        DataError: says in one line what is wrong, beginning with the file.
    """
    decoded = {file: decode_colour(content, file.where) for file, content in contents.items()}
    rainy, clean = (_cut(half, decoded) for half in (pair.input, pair.target))
    present = [image for image in (rainy, clean) if image is not None]
    where = pair.files()[0].where
    size = present[0].shape[:2]
    psnr = None
    if rainy is not None and clean is not None:
        _check_pair(rainy, clean, where, recipe)
        if not lenient and not one_scene(rainy, clean):
            raise DataError(f"{where}: shows another scene than its partner")
        psnr = PROTOCOLS["y_restormer"].psnr(rainy, clean)
    if recipe.sizes is not None and size not in recipe.sizes and not lenient:
        raise DataError(f"{where}: {size[1]}x{size[0]} pixels, which the dataset does not have")
    if not recipe.paired and any(equal_halves(image) for image in present):
        raise DataError(f"{where}: both halves show the same picture")
    origins = [
        None if half is None or image is None else _origin(half, contents[half.file], image)
        for half, image in ((pair.input, rainy), (pair.target, clean))
    ]
    record = Record(
        key=pair.key,
        size=(size[0], size[1]),
        input=origins[0],
        target=origins[1],
        look=look_of(present[-1]),
        psnr_y=None if psnr is None else round(psnr, 4),
    )
    encoded = [None if image is None else encode_record(image) for image in (rainy, clean)]
    return ReadyPair(record, encoded[0], encoded[1])


def one_scene(rainy: Pixels, clean: Pixels) -> bool:
    """Whether two images can show one scene: their coarse brightness is correlated.

    The least that was seen of right pairs is 0.53 (Rain100H; 0.79 of Rain200H, 0.95 of EUVP). Where
    an image is nearly of one brightness, nothing can be told, and they pass.
    """
    alike = likeness(rainy, clean, flat_below=FLAT_BELOW)
    return alike is None or alike > _ONE_SCENE_ABOVE


def look_of(image: Pixels) -> str:
    """See :class:`~vlif_plugin.preparation.manifest.Record`: the top left square, on an 8x8 grid.

    The square's side is a multiple of 16, so that a cropped last row or column changes nothing.
    """
    side = min(image.shape[:2])
    side = side // 16 * 16 or side
    return thumb(image[:side, :side], 8).tobytes().hex()


def _cut(half: Half | None, decoded: Mapping[SourceFile, Pixels]) -> Pixels | None:
    if half is None:
        return None
    image = decoded[half.file]
    if half.side == "whole":
        return image
    if image.shape[1] % 2:
        raise DataError(f"{half.file.where}: {image.shape[1]} columns are no two halves")
    left, right = halves_of(image)
    return np.ascontiguousarray(left if half.side == "left" else right)


def _origin(half: Half, content: bytes, image: Pixels) -> Origin:
    return Origin(
        "/".join(half.file.parts), len(content), sha256(content), half.side, pixel_hash(image)
    )


def _check_pair(rainy: Pixels, clean: Pixels, where: str, recipe: Recipe) -> None:
    if rainy.shape != clean.shape:
        sizes = " beside ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (rainy, clean))
        raise DataError(f"{where}: its partner has another size ({sizes})")
    difference = rainy.astype(np.int16) - clean
    if not difference.any():
        raise DataError(f"{where}: is equal to its partner")
    darker = (difference < -_DARKER_BY).mean() if recipe.light == "additive" else 0.0
    if darker > _DARKER_SHARE:
        raise DataError(
            f"{where}: darker than its clean partner in {100 * darker:.1f} % of the values, which rain cannot be; the "
            "two do not belong together, or are swapped"
        )
    if recipe.light != "any" and difference.mean() <= 0:
        raise DataError(f"{where}: no brighter than its clean partner; the two may be swapped")
