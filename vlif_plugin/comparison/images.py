"""Which images cost is measured on, which are kept as pictures, and under which names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from vlif_plugin.comparison.request import CostSettings
from vlif_plugin.data import RAINY_PHOTOGRAPH, rainy_photograph
from vlif_plugin.energy import centre
from vlif_plugin.errors import DataError
from vlif_plugin.scoring import image_name


def cost_images(cost: CostSettings, dataset: Any | None) -> dict[str, Tensor]:
    """The images that cost is measured on, by name; (1, 3, size, size), RGB in [0, 1].

    Args:
        cost: how many and how large.
        dataset: whose first images are taken; None takes a photograph in synthetic rain.

    Raises:
        DataError: one of them is smaller.
    """
    if dataset is None:
        found = {RAINY_PHOTOGRAPH: rainy_photograph()}
    else:
        items = [dataset[index] for index in range(min(cost.images, len(dataset)))]
        found = {image_name(item["lq_path"]): item["lq"][None] for item in items}
    for name, image in found.items():
        height, width = image.shape[2:]
        if min(height, width) < cost.size:
            raise DataError(f"cost: size is {cost.size}, but {name} has {width}x{height} pixels")
    return {name: centre(image, cost.size) for name, image in found.items()}


def spread_evenly(count: int, total: int) -> tuple[int, ...]:
    """So many indices of a list of ``total``, each the middle of its share; all where there are fewer.

    >>> spread_evenly(2, 8), spread_evenly(1, 3), spread_evenly(5, 2)
    ((2, 6), (1,), (0, 1))
    """
    if count >= total:
        return tuple(range(total))
    return tuple((2 * index + 1) * total // (2 * count) for index in range(count))


def file_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A file's name for each name: plain, and no two alike, also where case does not count.

    >>> file_names(["VLIF (official)", "a/b", "A b", "input"], taken=["input"])
    {'VLIF (official)': 'VLIF_official', 'a/b': 'a_b', 'A b': 'A_b_2', 'input': 'input_2'}
    """
    used = {name.lower() for name in taken}
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^\w.-]+", "_", name).strip("_.")[:80] or "unnamed"
        unique, number = plain, 1
        while unique.lower() in used:
            number += 1
            unique = f"{plain}_{number}"
        used.add(unique.lower())
        found[name] = unique
    return found
