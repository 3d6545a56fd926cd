"""Whether prepared LMDBs still hold what their manifests say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from vlif_plugin.data import LmdbSource, pixel_hash
from vlif_plugin.errors import DataError, first_names
from vlif_plugin.files import file_hash
from vlif_plugin.preparation.manifest import NAME, SPLITS, Manifest, Record

Progress = Callable[[Iterable[Record], int, str], Iterable[Record]]


def verify(root: Path, progress: Progress) -> list[Manifest]:
    """Decode every image of a prepared dataset and compare it with the manifest.

    Args:
        root: the dataset's folder, or one split's.
        progress: wraps the records of a split: records, how many, name.

    Returns:
        The manifests, all of which hold.

    Raises:
        DataError: nothing prepared is there, or images are missing, damaged or changed.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    inner = [root / split for split in SPLITS if (root / split / NAME).exists()]
    folders = [root] if (root / NAME).exists() else inner
    if not folders:
        raise DataError(f"{root}: holds no {NAME}, so nothing that vlif prepare made")
    return [_verify_split(folder, progress) for folder in folders]


def _verify_split(folder: Path, progress: Progress) -> Manifest:
    manifest = Manifest.read(folder)
    keys = {record.key for record in manifest.records}
    sources: dict[str, LmdbSource] = {}
    for side in manifest.sides:
        root = folder / f"{side}.lmdb"
        # before anything is read: LMDB trusts what its pages say, and a wrong length kills the process
        data = root / "data.mdb"
        if data.is_file() and file_hash(data) != manifest.databases.get(root.name):
            raise DataError(f"{root}: data.mdb is not what was written; copy or prepare it again")
        source = sources[side] = LmdbSource(root)
        differing = sorted(keys.symmetric_difference(source.keys()))
        if differing:
            raise DataError(
                f"{source.root}: its keys are not the manifest's: {first_names(differing)}; prepare it again"
            )
    problems = []
    for record in progress(
        manifest.records, len(manifest.records), f"{manifest.dataset} {manifest.split}"
    ):
        for side, source in sources.items():
            try:
                image = source.read(record.key)
            except DataError as error:
                problems.append(str(error))
                continue
            if pixel_hash(image) != getattr(record, side).pixels:
                problems.append(f"{source.path(record.key)} (changed)")
            elif source.size(record.key) != record.size:
                problems.append(f"{source.path(record.key)} (size in meta_info.txt)")
    if problems:
        raise DataError(
            f"{folder}: {len(problems)} images are not what was prepared: {first_names(problems)}; prepare it again"
        )
    return manifest
