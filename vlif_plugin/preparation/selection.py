"""Which files of a source are the dataset's, and which are a neighbour's that is taken for it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection

from vlif_plugin.errors import DataError
from vlif_plugin.preparation.naming import dataset_of, identity_of, variety_of, without_role
from vlif_plugin.preparation.recipes import NEIGHBOURS, RECIPES, Recipe
from vlif_plugin.preparation.tree import SourceFile

OTHER = "other"
"""What ``allow`` lets in beside neighbours: images whose count, size or sides are not the dataset's."""


def choose(
    name: str, recipe: Recipe, files: list[SourceFile], allow: Collection[str], notes: list[str]
) -> list[tuple[SourceFile, str]]:
    """The dataset's files with their origin; neighbours are refused by name.

    Args:
        name: the dataset's.
        recipe: what is known of it.
        files: all files of the sources.
        allow: neighbours that may be taken for the dataset.
        notes: gets a line for what was left out.

    Raises:
        DataError: all files of a source are another dataset's, or nobody's.
    """
    chosen: list[tuple[SourceFile, str]] = []
    older = _older_sets(files) if name in ("Rain200H", "Rain200L") else set()
    by_source: defaultdict[str, list[tuple[SourceFile, str | None]]] = defaultdict(list)
    for file in files:
        origin = dataset_of((*file.above, *file.parts[:-1]))[0]
        if origin in (None, name) and without_role(file.parts[:-1]) in older:
            origin = "Rain100H"
        by_source[file.parts[0]].append((file, origin))
    for members in by_source.values():
        foreign: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        before = len(chosen)
        # beside files of the dataset's own name, nameless ones belong to something else
        wanted = {name} if any(origin == name for _, origin in members) else {None}
        for file, origin in members:
            inside = dataset_of(file.parts[:-1])[1]
            if origin in (None, name) and variety_of(inside, recipe.refused_words):
                refused["/".join(file.parts[:-1])] += 1
            elif recipe.paired and identity_of(file.stem) is None and origin not in allow:
                refused["helpers, results and copies"] += 1
            elif origin in wanted or origin in allow:
                chosen.append((file, origin or name))
            elif origin is None:
                refused["no dataset's name"] += 1
            else:
                foreign[origin] += 1
        if len(chosen) == before:
            _refuse(name, foreign, refused, members[0][0])
        for what, count in [*foreign.items(), *refused.items()]:
            notes.append(f"left out: {count} files of {what}")
    return chosen


def _older_sets(files: list[SourceFile]) -> set[tuple[str, ...]]:
    """Folders of Rain100H or Rain100L: three digits, or streaks and masks beside the images."""
    return {
        without_role(file.parts[:-1])
        for file in files
        if re.fullmatch(r"(no)?rain-0\d+|rain(streak|region).*", file.stem)
    }


def _refuse(name: str, foreign: Counter[str], refused: Counter[str], first: SourceFile) -> None:
    if foreign:
        other = foreign.most_common(1)[0][0]
        if other in RECIPES:
            hint = f"vlif prepare {other} prepares it"
        else:
            hint = f"it is {NEIGHBOURS.get(other, 'not known here')}"
        raise DataError(
            f"this is {other}, not {name} ({first.where}, …); {hint}; --allow {other} takes it all the same"
        )
    raise DataError(
        f"no images of {name} here, but {', '.join(f'{n} of {w}' for w, n in refused.most_common(3))}"
    )
