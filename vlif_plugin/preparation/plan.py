"""What is to be prepared, as the recogniser leaves it for the writer."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Literal

from vlif_plugin.errors import DataError, first_names
from vlif_plugin.preparation.recipes import Recipe
from vlif_plugin.preparation.tree import SourceFile

Side = Literal["whole", "left", "right"]


_LONGEST_KEY = 400


@dataclass(frozen=True)
class Half:
    """An image: a whole file, or one half of a file that holds the pair side by side."""

    file: SourceFile
    side: Side = "whole"


@dataclass(frozen=True)
class PlannedPair:
    """A pair under its key in the LMDBs; a side that there is not is None."""

    key: str
    input: Half | None
    target: Half | None
    origin: str

    def files(self) -> list[SourceFile]:
        """The files that the pair is read from, each once."""
        halves = [half.file for half in (self.input, self.target) if half is not None]
        return list(dict.fromkeys(halves))


@dataclass
class Plan:
    """What is to be prepared.

    Attributes:
        dataset: what it is, with the name of every neighbour that was let in.
        recipe: what is known of it.
        splits: pairs in the order of their keys, by split.
        notes: what the user should know.
        lenient: origins whose images need not have the dataset's sizes, nor show one scene.
        skipped: by split, what is left out because it has no partner.
        skip_bad: whether such and other bad pairs may be left out.
    """

    dataset: str
    recipe: Recipe
    splits: dict[str, list[PlannedPair]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lenient: frozenset[str] = frozenset()
    skipped: dict[str, list[str]] = field(default_factory=dict)
    skip_bad: bool = False

    def named(self, part: str) -> str:
        """What a split is: the dataset, the neighbours, or both."""
        return "+".join(dict.fromkeys(pair.origin for pair in self.splits[part]))

    def expected(self, part: str) -> int | None:
        """The paper's count of a split; None where a neighbour's pairs are among it."""
        mixed = any(pair.origin in self.lenient for pair in self.splits[part])
        return None if mixed else self.recipe.counts.get(part)


def key_of(prefix: str, name: str, number: int | None) -> str:
    """A key that BasicSR can read: no dots, numbers with leading zeros so that they sort."""
    clean = f"{number:04d}" if number is not None else re.sub(r"[^\w-]+", "_", name).strip("_")
    if not clean or len(clean.encode()) > _LONGEST_KEY:  # LMDB takes no more
        clean = (clean.encode()[:100].decode(errors="ignore") + "_").lstrip("_") + _digest(name)
    return f"{prefix}_{clean}" if prefix else clean


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:12]


def merged(
    files: list[tuple[str, SourceFile]], what: str, notes: list[str]
) -> dict[str, SourceFile]:
    """Files by picture; a second copy of the same bytes is passed over.

    Args:
        files: which picture, and the file.
        what: their side and split, for messages.
        notes: gets a line where copies were passed over.

    Raises:
        DataError: two different files claim to be one picture.
    """
    found: dict[str, SourceFile] = {}
    copies = 0
    clashes = []
    for name, file in files:
        first = found.setdefault(name, file)
        if first is file:
            continue
        if first.size == file.size and first.read() == file.read():
            copies += 1
        else:
            clashes.append(f"{first.where} and {file.where}")
    if clashes:
        raise DataError(
            f"{len(clashes)} of the {what} images come twice and differ: {first_names(clashes)}; "
            "name a single copy as --source"
        )
    if copies:
        notes.append(f"{copies} second copies of {what} images passed over")
    return found
