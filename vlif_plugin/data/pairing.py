"""Which rainy image belongs to which clean one: by name, never by position in a listing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from vlif_plugin.data.sources import ImageSource
from vlif_plugin.errors import DataError, first_names

Rule = Literal["name", "number"]


@dataclass(frozen=True)
class Pair:
    """Keys of one rainy image and its clean counterpart; ``gt`` is None without ground truth."""

    lq: str
    gt: str | None


def pair_images(lq: ImageSource, gt: ImageSource | None, rule: Rule = "name") -> list[Pair]:
    """Pair every image of two sources.

    Args:
        lq: the rainy images.
        gt: the clean images, or None when there are none.
        rule: ``name`` pairs equal names; ``number`` pairs by the one number in a name
            (``rain-001`` and ``norain-1``).

    Returns:
        Pairs in the order of the rainy images' names.

    Raises:
        DataError: an image of either side has no partner, or a name no number or several; the
            first five are named.
    """
    if rule not in get_args(Rule):
        raise DataError(f"pairing must be one of {', '.join(get_args(Rule))}, got {rule!r}")
    if gt is None:
        return [Pair(key, None) for key in lq.keys()]  # noqa: SIM118 (a source is no dict)
    left, right = _by_identity(lq, rule), _by_identity(gt, rule)
    alone = [lq.path(key) for name, key in left.items() if name not in right]
    alone += [gt.path(key) for name, key in right.items() if name not in left]
    if alone:
        raise DataError(
            f"{len(alone)} of {len(left)} images in {lq.root} and {len(right)} in {gt.root} have no "
            f"partner of the same {rule}: {first_names(alone)}"
        )
    return [Pair(key, right[name]) for name, key in left.items()]


def check_sizes(
    lq: ImageSource, gt: ImageSource | None, pairs: list[Pair], minimum: int = 1
) -> None:
    """Refuse pairs whose two images differ in size, and images too small to crop from.

    Args:
        lq: the rainy images.
        gt: the clean images, or None.
        pairs: what to check.
        minimum: smallest height and width.

    Raises:
        DataError: unreadable files, different sizes, or images below the minimum; the first five
            of each are named, and every file is looked at first.
    """
    unreadable, different, small = [], [], []
    for pair in pairs:
        try:
            size = lq.size(pair.lq)
            partner = size if gt is None or pair.gt is None else gt.size(pair.gt)
        except DataError as error:
            unreadable.append(str(error))
            continue
        if size != partner:
            different.append(
                f"{lq.path(pair.lq)} ({size[0]}x{size[1]} beside {partner[0]}x{partner[1]})"
            )
        elif min(size) < minimum:
            small.append(f"{lq.path(pair.lq)} ({size[0]}x{size[1]})")
    problems = []
    if unreadable:
        problems.append(f"{len(unreadable)} unreadable images: {first_names(unreadable)}")
    if different:
        problems.append(f"{len(different)} pairs of different sizes: {first_names(different)}")
    if small:
        problems.append(
            f"{len(small)} images smaller than the patch of {minimum}: {first_names(small)}"
        )
    if problems:
        raise DataError("; ".join(problems))


def _by_identity(source: ImageSource, rule: Rule) -> dict[str, str]:
    found: dict[str, str] = {}
    unclear = []
    for key in source.keys():  # noqa: SIM118 (a source is no dict)
        numbers = re.findall(r"\d+", key)
        if rule == "number" and len(numbers) != 1:
            unclear.append(source.path(key))
            continue
        identity = key if rule == "name" else str(int(numbers[0]))
        if identity in found:
            unclear.append(source.path(key))
        found[identity] = key
    if unclear:
        raise DataError(
            f"{source.root}: no single number of their own in {len(unclear)} names: {first_names(unclear)}"
        )
    return found
