"""What the names of files and folders say: which picture, which side, which split, which dataset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Role = Literal["input", "target"]

_RAIN = re.compile(r"(?P<kind>no|)rain-?(?P<number>\d+)(?:x2)?", re.IGNORECASE)
_NUMBER = re.compile(r"(?P<number>\d+)(?P<kind>_GT)?", re.IGNORECASE)
# helpers of the old Rain100 training sets, results of other networks, copies that a browser made
_NOT_OURS = re.compile(r"rain(streak|region)-?\d+|\d+_DR|.*\(\d+\)|.* - copy.*", re.IGNORECASE)

_ROLES: dict[str, Role] = {
    **dict.fromkeys(
        ("input", "inputs", "rain", "rainy", "rainyimage", "rainyimages", "inputcrop", "lq", "traina", "inp",
         "realinput"),
        "input",
    ),
    **dict.fromkeys(
        ("target", "targets", "norain", "label", "labels", "groundtruth", "cleancrop", "clean", "gt", "gtr",
         "gtra", "trainb"),
        "target",
    ),
}  # fmt: skip
# words that are a role only beside their partner: `data` is also where people keep everything
_WEAK_ROLES: dict[str, tuple[Role, tuple[str, ...]]] = {
    "data": ("input", ("label", "labels")),
    "a": ("input", ("gtra", "b")),
    "b": ("target", ("a",)),
}
_SPLITS = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("test", "testing", "testset"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
}
# folder names, letters and digits only; the folder nearest to the file decides
_DATASETS = {
    "Rain12": r"^(data)?(test|rain)12(test)?$|licvpr16rain",
    "Rain200H": r"rain200h|^raindata(train|test)heavy|^rainheavy(train|test)",
    "Rain200L": r"rain200l|^raindata(train|test)light|^rainlight(train|test)",
    "Rain1200": r"^rain1200|^did(mdn|data|spe)|^raindid|^test1200$",
    "TestB": r"^testingfu$|^testb$",
    "Rain100H": r"rain100h|^r100h|raintrainh",
    "Rain100L": r"rain100l|^r100l|raintrainl",
    "Rain800": r"rain800|^test100$|idcgan|^testnature$",
    "DDN": r"^ddn|^rain1400|^rain12600|^test2800$|^rainyimagedataset$",
    "Rain13K": r"^rain13k",
    "SPA-Data": r"^spa(data|net)?$|^realrainstreaks",
    "SIRR": r"^semisupervisedirr|^sirrtest|^internetdata",
    "Practical": r"^practical(full)?$",
    "RealRain": r"^realrain|^rwrain|^testreal$|^realworldrain|^real$",
    "EUVP": r"^euvp",
    "UFO-120": r"^ufo|^lrd$",
    "UIEB": r"^uieb",
    "LSUI": r"^lsui",
}


@dataclass(frozen=True)
class Identity:
    """Which picture a file is.

    Attributes:
        name: its number, or its name where it has no number of its own.
        kind: the side that the name tells, if it does; in some trees the rainy file is called
            ``norain`` too, so folders go first.
        number: the number, or None.
    """

    name: str
    kind: Role | None
    number: int | None


def identity_of(stem: str) -> Identity | None:
    """Read a file name without suffix; None for what belongs to no dataset."""
    if _NOT_OURS.fullmatch(stem):
        return None
    if match := _RAIN.fullmatch(stem):
        number = int(match["number"])
        return Identity(str(number), "target" if match["kind"] else "input", number)
    if match := _NUMBER.fullmatch(stem):
        number = int(match["number"])
        return Identity(str(number), "target" if match["kind"] else None, number)
    return Identity(stem, None, None)


def plain(name: str) -> str:
    """Lower case letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def words_of(name: str) -> list[str]:
    """The words of a folder's name: ``DID-MDN-training`` and ``RainTrainH`` hold several."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]


def role_of_folder(name: str, siblings: frozenset[str]) -> Role | None:
    """The side that a folder holds.

    Args:
        name: the folder's.
        siblings: the plain names of the folders beside it.
    """
    word = plain(name)
    if word in _WEAK_ROLES:
        role, partners = _WEAK_ROLES[word]
        return role if siblings & set(partners) else None
    return _ROLES.get(word)


def split_of(folders: tuple[str, ...]) -> str | None:
    """``train``, ``test`` or ``val``, by the nearest folder that says so."""
    for folder in reversed(folders):
        for word in reversed(words_of(folder)):
            if word in _SPLITS:
                return _SPLITS[word]
    return None


def dataset_of(folders: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The dataset that the folders name, the nearest first, and the folders from there on.

    Without a name: None, and all folders.
    """
    for at in reversed(range(len(folders))):
        for name, pattern in _DATASETS.items():
            if re.search(pattern, plain(folders[at])):
                return name, folders[at:]
    return None, folders


def without_role(folders: tuple[str, ...]) -> tuple[str, ...]:
    """The folder that holds both sides of a tree: without rain/X2, norain, input and the like."""
    while folders and (plain(folders[-1]) == "x2" or plain(folders[-1]) in _ROLES):
        folders = folders[:-1]
    return folders


def variety_of(folders: tuple[str, ...], varieties: tuple[str, ...]) -> str | None:
    """The first of some words that the nearest of the folders holds, or None."""
    for folder in reversed(folders):
        found = [v for v in varieties if v in words_of(folder)]
        if found:
            return found[0]
    return None
