"""Reading a whole dataset once, so that a damaged image is known before a training and not during it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from vlif_plugin.data.fingerprint import Sides
from vlif_plugin.data.sources import ImageSource
from vlif_plugin.errors import DataError, first_names


def check_pixels(sides: Sides) -> None:
    """Decode every image of a dataset.

    Args:
        sides: of the dataset.

    Raises:
        DataError: names the first five that are damaged, or that have another size than their
            header or list says, and how many there are.
    """
    images = [(source, key) for source, keys in sides for key in keys]
    # OpenCV decodes without the interpreter's lock
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = [problem for problem in threads.map(_problem, images) if problem is not None]
    if found:
        raise DataError(f"{len(found)} of {len(images)} images are damaged: {first_names(found)}")


def _problem(image: tuple[ImageSource, str]) -> str | None:
    source, key = image
    try:
        shape = source.read(key).shape[:2]
    except DataError as error:
        return str(error)
    expected = source.size(key)
    return None if shape == expected else f"{source.path(key)} is {shape}, not {expected}"
