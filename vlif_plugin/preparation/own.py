"""Images of the user's own: pairs from two folders, or clean photographs alone."""

from __future__ import annotations

import re
from collections.abc import Callable

from vlif_plugin.errors import DataError, first_names
from vlif_plugin.preparation.naming import identity_of
from vlif_plugin.preparation.plan import Half, Plan, PlannedPair, key_of
from vlif_plugin.preparation.recipes import OWN, RECIPES
from vlif_plugin.preparation.tree import SourceFile


def own_pairs(
    name: str, inputs: list[SourceFile], targets: list[SourceFile], *, split: str = "train"
) -> Plan:
    """Pair the images of two sources: by path and name, or else by the number in the names.

    Args:
        name: what to call the dataset.
        inputs: degraded images.
        targets: clean images.
        split: what they are for.

    Raises:
        DataError: images are unreadable or have no partner; the first are named.
    """
    _check_name(name)
    _check_images([*inputs, *targets])
    reasons = []
    for identify, how in ((_by_path, "name"), (_by_number, "number")):
        rainy, clean = _index(inputs, identify), _index(targets, identify)
        if rainy is None or clean is None:
            continue
        alone = [
            file.where
            for key, file in [*rainy.items(), *clean.items()]
            if not (key in rainy and key in clean)
        ]
        if not alone:
            pairs = [
                PlannedPair(_key(key), Half(file), Half(clean[key]), name)
                for key, file in sorted(rainy.items())
            ]
            return Plan(name, OWN, {split: _unique(pairs)}, [f"{split}: paired by {how}"])
        reasons.append((len(alone), how, alone))
    if not reasons:
        raise DataError(f"{name}: neither names nor numbers tell the images apart")
    count, how, alone = min(reasons, key=lambda reason: reason[0])
    raise DataError(
        f"{name}: {count} of {len(inputs)} and {len(targets)} images have no partner of the same {how}: "
        f"{first_names(alone)}"
    )


def own_photographs(name: str, files: list[SourceFile], *, split: str = "train") -> Plan:
    """Clean photographs alone, for synthetic rain.

    Args:
        name: what to call the dataset.
        files: the photographs.
        split: what they are for.

    Raises:
        DataError: images are unreadable.
    """
    _check_name(name)
    _check_images(files)
    found = _index(files, _by_path)
    if found is None:
        found = {"/".join(file.parts): file for file in files}
    pairs = [PlannedPair(_key(key), None, Half(file), name) for key, file in sorted(found.items())]
    return Plan(name, OWN, {split: _unique(pairs)})


def _check_name(name: str) -> None:
    if name in RECIPES:
        raise DataError(
            f"{name} is the name of a published dataset; call images of your own something else, or name "
            "the dataset's folder with --source"
        )
    if not re.fullmatch(r"[\w][\w.-]*", name):
        raise DataError(
            f"{name!r} cannot be a dataset's name: letters, digits, '-', '_' and '.' only"
        )


def _check_images(files: list[SourceFile]) -> None:
    broken = [file.where for file in files if not file.is_image]
    if broken:
        raise DataError(f"{len(broken)} files are no images, or empty: {first_names(broken)}")


def _by_path(file: SourceFile) -> str | None:
    """The path below the source, without suffix."""
    return "/".join([*file.parts[1:-1], file.stem])


def _by_number(file: SourceFile) -> str | None:
    identity = identity_of(file.stem)
    if identity is not None and identity.number is not None:
        return str(identity.number)
    numbers = re.findall(r"\d+", file.stem)
    return str(int(numbers[0])) if len(numbers) == 1 else None


def _index(
    files: list[SourceFile], identify: Callable[[SourceFile], str | None]
) -> dict[str, SourceFile] | None:
    """Files by identity; None where two share one, or one has none."""
    found = {identify(file): file for file in files}
    if None in found or len(found) != len(files):
        return None
    return {key: file for key, file in found.items() if key is not None}


def _key(path: str) -> str:
    return key_of("", path, int(path) if path.isdecimal() else None)


def _unique(pairs: list[PlannedPair]) -> list[PlannedPair]:
    """The pairs, if no two got the same key."""
    seen: dict[str, PlannedPair] = {}
    for pair in pairs:
        other = seen.setdefault(pair.key, pair)
        if other is not pair:
            where = [p.files()[0].where for p in (other, pair)]
            raise DataError(
                f"two images would get the key {pair.key!r}: {' and '.join(where)}; rename one"
            )
    return pairs
