"""A comparison on disk: the record, tables, plots, grids of pictures, and the page."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from vlif_plugin.comparison.checking import RECORD
from vlif_plugin.comparison.rows import Comparison
from vlif_plugin.comparison.tables import as_csv, as_markdown
from vlif_plugin.data import write_atomically
from vlif_plugin.errors import DataError
from vlif_plugin.files import staged_folder
from vlif_plugin.records import strict_json

PAGE = "index.html"
PLOTS: tuple[str, ...] = ("energy.png", "time.png", "curves.png")
DRAWN = ("pictures", "grids")


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder whose files are moved into ``folder`` when the block ends well.

    See :func:`~vlif_plugin.files.staged_folder`. The record is moved last; what an earlier comparison drew
    and this one did not is removed.

    Raises:
        DataError: it cannot be made, or files cannot be moved.
    """
    with staged_folder(folder, last=RECORD) as stage:
        yield stage
        new = {path.relative_to(stage) for path in stage.rglob("*") if path.is_file()}
    try:
        _remove_stale(folder, new)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _remove_stale(folder: Path, new: set[Path]) -> None:
    """Remove what an earlier comparison drew and this one did not."""
    drawn = [*map(folder.joinpath, (PAGE, *PLOTS))]
    drawn += [path for name in DRAWN for path in (folder / name).rglob("*.png")]
    for path in drawn:
        if path.is_file() and path.relative_to(folder) not in new:
            path.unlink()


def write_comparison(comparison: Comparison, folder: Path) -> list[str]:
    """Write the record and the tables.

    Args:
        comparison: what was found.
        folder: for the files.

    Returns:
        Their names.

    Raises:
        DataError: a file cannot be written.
    """
    contents = {
        RECORD: strict_json(comparison.as_dict()),
        "comparison.csv": as_csv(comparison).encode("utf-8", "backslashreplace"),
        "comparison.md": as_markdown(comparison).encode("utf-8", "backslashreplace"),
    }
    return _write(contents, folder)


def draw_comparison(comparison: Comparison, folder: Path) -> list[str]:
    """Write plots, grids and the page.

    Args:
        comparison: what was found.
        folder: that pictures' paths are relative to; they must be there.

    Returns:
        Names of the files, relative to the folder, the page first.

    Raises:
        DataError: a picture cannot be read, or a file cannot be written.
    """
    from vlif_plugin.comparison.grids import write_grids
    from vlif_plugin.comparison.page import render
    from vlif_plugin.comparison.plots import draw_curves, draw_scatter

    drawings = (
        draw_scatter(comparison, "energy"),
        draw_scatter(comparison, "time"),
        draw_curves(comparison),
    )
    contents = dict(zip(PLOTS, drawings, strict=True))
    plots = _write(contents, folder)
    grids = write_grids(comparison, folder)
    page = _write({PAGE: render(comparison, folder).encode("utf-8", "backslashreplace")}, folder)
    return page + [str(path.relative_to(folder)) for path in grids] + plots


def _write(contents: Mapping[str, bytes | None], folder: Path) -> list[str]:
    """Write what there is, and return its names."""
    written = {name: content for name, content in contents.items() if content is not None}
    for name, content in written.items():
        write_atomically(folder / name, content)
    return list(written)


def read_comparison(path: Path) -> Comparison:
    """A comparison that was written before.

    Raises:
        DataError: the file is missing or damaged, or holds something else.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: no readable comparison ({reason})") from error
    try:
        return Comparison.from_dict(record)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def has_pictures(comparison: Comparison, folder: Path) -> bool:
    """Whether any picture of a comparison lies in the folder; none does where its record went alone."""
    return any((folder / picture.lq).exists() for picture in comparison.pictures)


def copy_pictures(comparison: Comparison, source: Path, folder: Path) -> None:
    """Bring the pictures of a comparison to another folder.

    Args:
        comparison: whose pictures.
        source: the folder that it lies in.
        folder: gets them under the same paths.

    Raises:
        DataError: one of them is missing, or lies elsewhere.
    """
    for picture in comparison.pictures:
        for name in filter(None, (picture.lq, picture.gt, *picture.results.values())):
            if os.path.isabs(name) or ".." in Path(name).parts:
                raise DataError(f"{name}: a picture's path must lead into the comparison's folder")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source / name, folder / name)
            except OSError as error:
                reason = error.strerror or error
                raise DataError(f"{source / name}: cannot be copied ({reason})") from error
