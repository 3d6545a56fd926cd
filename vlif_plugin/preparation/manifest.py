"""The record of a prepared split: where each image came from, and what it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlif_plugin.data import fingerprint
from vlif_plugin.data.lmdb_writer import KEY
from vlif_plugin.errors import DataError, first_names
from vlif_plugin.files import read_at_most, written_whole
from vlif_plugin.preparation.archives import shown
from vlif_plugin.preparation.plan import PlannedPair

NAME = "manifest.json"
SPLITS = ("train", "val", "test")
FORMAT = 1
_LARGEST = 2**28  # bytes; a pair has some 700


@dataclass(frozen=True)
class Origin:
    """One side of a pair.

    Attributes:
        file: the source's name, folders and file name.
        bytes: the file's size.
        sha256: of the file's bytes.
        side: ``whole``, or the half of the file.
        pixels: :func:`~vlif_plugin.data.pixel_hash` of the image.
    """

    file: str
    bytes: int
    sha256: str
    side: str
    pixels: str


@dataclass(frozen=True)
class Record:
    """A pair under its key.

    Attributes:
        key: in both LMDBs.
        size: height and width.
        input: the degraded image, or None.
        target: the clean image, or None.
        look: 8x8 grey levels in hexadecimal, by which a scene is known again after cropping and
            recompression.
        psnr_y: of the input against the target (protocol y_restormer), in dB; None where there
            are not both, or they are equal.
    """

    key: str
    size: tuple[int, int]
    input: Origin | None
    target: Origin | None
    look: str
    psnr_y: float | None

    def line(self) -> str:
        """JSON on one line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def parse(cls, stored: Any) -> Record:
        """The record of what :meth:`line` wrote.

        Raises:
            ValueError: it is anything else.
        """
        values = _checked(stored, _RECORD)
        sides = {
            side: None if values[side] is None else Origin(**_checked(values[side], _ORIGIN))
            for side in ("input", "target")
        }
        if not any(sides.values()):
            raise ValueError("a record of no image")
        return cls(**{**values, **sides, "size": tuple(values["size"])})


def sides_of(pair: Record | PlannedPair) -> list[str]:
    """Which of ``input`` and ``target`` a pair has; all of a split have the same."""
    return [side for side in ("input", "target") if getattr(pair, side) is not None]


def mean_psnr(records: Iterable[Record]) -> float | None:
    """Mean PSNR of the inputs, in dB; None where there is none."""
    values = [r.psnr_y for r in records if r.psnr_y is not None]
    return float(np.mean(values)) if values else None


@dataclass(frozen=True)
class Manifest:
    """A split that is ready.

    Attributes:
        dataset: its name, with those of neighbours that were let in.
        split: ``train``, ``test`` or ``val``.
        expected: the paper's count, or None.
        made_by: the plugin's version.
        source: publication and terms.
        notes: what was noticed while it was prepared.
        skipped: what was left out, and why.
        databases: SHA-256 of the data file of each LMDB.
        records: the pairs.
    """

    dataset: str
    split: str
    expected: int | None
    made_by: str
    source: str
    notes: tuple[str, ...]
    skipped: tuple[str, ...]
    databases: dict[str, str]
    records: tuple[Record, ...]

    @property
    def fingerprint(self) -> str:
        """Of all pairs; the same as in the results of a validation on them."""
        return fingerprint(
            (r.input and r.input.pixels, r.target and r.target.pixels) for r in self.records
        )

    @property
    def psnr_y(self) -> float | None:
        """Mean PSNR of the inputs, in dB, by which light and heavy rain can be told apart."""
        return mean_psnr(self.records)

    @property
    def sides(self) -> list[str]:
        """Which of ``input`` and ``target`` there are."""
        return sides_of(self.records[0])

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``: readable, one pair to a line."""
        head = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "count": len(self.records),
            "input_psnr_y": self.psnr_y,
            **{f.name: getattr(self, f.name) for f in fields(self) if f.name != "records"},
        }
        lines = ",\n".join(record.line() for record in self.records)
        text = json.dumps(head, indent=1)[:-2] + f',\n "records": [\n{lines}\n ]\n}}\n'
        with written_whole(folder / NAME) as file:
            file.write(text.encode())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a split's manifest.

        Raises:
            DataError: there is none, it is damaged, or it is of another format.
        """
        path = folder / NAME
        try:
            stored = json.loads(
                read_at_most(path, _LARGEST), object_pairs_hook=_section, parse_constant=_refused
            )
            found = _checked(stored, {"format": _whole(1)})["format"]
            if found != FORMAT:
                raise DataError(f"{path}: format {found} is not known; update the plugin")
            values = _checked(stored, _HEAD)
            records = tuple(map(Record.parse, values["records"]))
            _check_together(records)
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file; not made by vlif prepare") from error
        except DataError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: a damaged manifest; prepare the dataset again") from error
        fingerprint = values["fingerprint"]
        values |= {"notes": tuple(values["notes"]), "skipped": tuple(values["skipped"])}
        values |= {"records": records}
        manifest = cls(**{f.name: values[f.name] for f in fields(cls)})
        if manifest.fingerprint != fingerprint:
            raise DataError(f"{path}: its records do not have its fingerprint; prepare it again")
        return manifest


Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and shown(value) == value


def _like(pattern: str) -> Check:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _whole(least: int) -> Check:
    return lambda value: type(value) is int and least <= value < 2**53


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list_of(check: Check, count: int | None = None) -> Check:
    return lambda value: (
        isinstance(value, list) and count in (None, len(value)) and all(map(check, value))
    )


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e6


_HASH = _like("[0-9a-f]{64}")
_ORIGIN: dict[str, Check] = {
    "file": _text,
    "bytes": _whole(0),
    "sha256": _HASH,
    "side": _like("whole|left|right"),
    "pixels": _HASH,
}
_RECORD: dict[str, Check] = {
    "key": _like(KEY),
    "size": _list_of(_whole(1), 2),
    "input": _or_none(lambda value: isinstance(value, dict)),
    "target": _or_none(lambda value: isinstance(value, dict)),
    "look": _like("[0-9a-f]{128}"),
    "psnr_y": _or_none(_number),
}
_HEAD: dict[str, Check] = {
    "fingerprint": _text,
    "dataset": _text,
    "split": _like("|".join(SPLITS)),
    "expected": _or_none(_whole(0)),
    "made_by": _text,
    "source": _text,
    "notes": _list_of(_text),
    "skipped": _list_of(_text),
    "databases": lambda value: isinstance(value, dict) and all(map(_text, value.values())),
    "records": lambda value: isinstance(value, list) and len(value) > 0,
}


def _checked(stored: Any, checks: Mapping[str, Check]) -> dict[str, Any]:
    """The entries of a section of JSON that are asked for."""
    if not isinstance(stored, dict) or not set(checks) <= set(stored):
        raise ValueError("entries are missing")
    wrong = [name for name, check in checks.items() if not check(stored[name])]
    if wrong:
        raise ValueError(f"{first_names(wrong)} cannot be")
    return {name: stored[name] for name in checks}


def _check_together(records: Sequence[Record]) -> None:
    if len({record.key for record in records}) != len(records):
        raise ValueError("a key comes twice")
    if any(sides_of(record) != sides_of(records[0]) for record in records):
        raise ValueError("records of different sides")


def _section(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    section = dict(pairs)
    if len(section) != len(pairs):
        raise ValueError("an entry stands twice")
    return section


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


class Scenes:
    """Scenes by their looks.

    Args:
        records: of the splits to look in.
    """

    # grey levels; JPEG moves the mean of a cell by a fraction of one
    _SAME = 1.5

    def __init__(self, records: Iterable[Record]) -> None:
        kept = [record for record in records if record.target is not None]
        self._keys = [record.key for record in kept]
        self._looks = np.stack([_levels(r.look) for r in kept]) if kept else np.empty((0, 64))

    def find(self, look: str) -> str | None:
        """The key of a picture of the same scene, or None."""
        if not self._keys:
            return None
        distance = np.sqrt(((self._looks - _levels(look)) ** 2).mean(1))
        nearest = int(distance.argmin())
        return self._keys[nearest] if distance[nearest] < self._SAME else None


def _levels(look: str) -> NDArray[np.float64]:
    return np.frombuffer(bytes.fromhex(look), np.uint8).astype(np.float64)
