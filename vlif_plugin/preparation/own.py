"""Images of the user's own: pairs from two folders, or clean photographs alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from vlif_plugin.errors import DataError, first_names
from vlif_plugin.preparation.naming import identity_of
from vlif_plugin.preparation.plan import Half, Plan, PlannedPair, key_of
from vlif_plugin.preparation.recipes import OWN, RECIPES
from vlif_plugin.preparation.tree import SourceFile


def own_pairs(
    name: str,
    inputs: list[SourceFile],
    targets: list[SourceFile],
    *,
    split: str = "train",
    lenient: bool = False,
    skip_bad: bool = False,
) -> Plan:
    """Pair the images of two sources: by path and name, or else by the number in the names.

    Args:
        name: what to call the dataset.
        inputs: degraded images.
        targets: clean images.
        split: what they are for.
        lenient: whether pairs may show different scenes.
        skip_bad: leave out images without a partner instead of failing, and pair by what leaves out fewer.

    Raises:
        DataError: images have no partner, or with ``skip_bad`` none has; the first are named.
    """
    _check_name(name)
    found: list[tuple[str, list[PlannedPair], list[str]]] = []
    for identify, how in ((_by_path, "name"), (_by_number, "number")):
        rainy, clean = _index(inputs, identify), _index(targets, identify)
        if rainy is None or clean is None:
            continue
        alone = [
            file.where
            for key, file in [*rainy.items(), *clean.items()]
            if not (key in rainy and key in clean)
        ]
        pairs = [
            PlannedPair(_key(key), Half(file), Half(clean[key]), name)
            for key, file in sorted(rainy.items())
            if key in clean
        ]
        found.append((how, pairs, alone))
    if not found:
        raise DataError(f"{name}: neither names nor numbers tell the images apart")
    how, pairs, alone = min(found, key=lambda way: len(way[2]))
    if alone and not (skip_bad and pairs):
        hint = "; --skip-bad leaves them out" if pairs else ""
        raise DataError(
            f"{name}: {len(alone)} of {len(inputs)} and {len(targets)} images have no partner of the same {how}: "
            f"{first_names(alone)}{hint}"
        )
    return Plan(
        name,
        OWN,
        {split: _unique(pairs)},
        notes=[f"{split}: paired by {how}"],
        lenient=frozenset((name,)) if lenient else frozenset(),
        skipped={split: [f"{where}: has no partner" for where in alone]},
        skip_bad=skip_bad,
    )


def own_photographs(
    name: str, files: list[SourceFile], *, split: str = "train", skip_bad: bool = False
) -> Plan:
    """Clean photographs alone, for synthetic rain.

    Args:
        name: what to call the dataset.
        files: the photographs.
        split: what they are for.
        skip_bad: whether photographs that fail a check may be left out.

    Raises:
        DataError: the name is a published dataset's, or two images would get one key.
    """
    _check_name(name)
    found = _index(files, _by_path)
    if found is None:
        found = {"/".join(file.parts): file for file in files}
    pairs = [PlannedPair(_key(key), None, Half(file), name) for key, file in sorted(found.items())]
    return Plan(name, OWN, {split: _unique(pairs)}, skip_bad=skip_bad)


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
    """Files by identity; None where two share one, or one has none.

    Folders that all files lie in say nothing: archives often hold a single one.
    """
    folders = [file.parts[1:-1] for file in files]
    shared = 0
    while all(len(f) > shared and f[shared] == folders[0][shared] for f in folders):
        shared += 1
    lifted = {
        file: replace(file, parts=(file.parts[0], *file.parts[1 + shared :])) for file in files
    }
    found = {identify(lifted[file]): file for file in files}
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
