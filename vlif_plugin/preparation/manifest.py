"""The record of a prepared split: where each image came from, and what it is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlif_plugin.data import fingerprint
from vlif_plugin.errors import DataError
from vlif_plugin.files import written_whole
from vlif_plugin.preparation.plan import PlannedPair

NAME = "manifest.json"
SPLITS = ("train", "val", "test")
FORMAT = 1


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
    def parse(cls, fields: dict[str, Any]) -> Record:
        """The record of what :meth:`line` wrote."""
        sides = {
            side: None if fields[side] is None else Origin(**fields[side])
            for side in ("input", "target")
        }
        return cls(**{**fields, **sides, "size": tuple(fields["size"])})


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
            stored = json.loads(path.read_text())
            if stored["format"] != FORMAT:
                raise DataError(
                    f"{path}: format {stored['format']} is not known; update the plugin"
                )
            records = tuple(Record.parse(record) for record in stored["records"])
            manifest = cls(
                dataset=stored["dataset"],
                split=stored["split"],
                expected=stored["expected"],
                made_by=stored["made_by"],
                source=stored["source"],
                notes=tuple(stored["notes"]),
                skipped=tuple(stored["skipped"]),
                databases=dict(stored["databases"]),
                records=records,
            )
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file; not made by vlif prepare") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: a damaged manifest; prepare the dataset again") from error
        if manifest.fingerprint != stored.get("fingerprint"):
            raise DataError(f"{path}: its records do not have its fingerprint; prepare it again")
        return manifest


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
