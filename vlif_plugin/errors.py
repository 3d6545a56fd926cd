"""Errors that are the user's to mend: one clear line each, shown without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

UNFIT = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
"""Characters, for a class of a pattern, that break a line, garble a terminal, or that no file can hold."""


class PluginError(Exception):
    """Base of the errors below; commands print it and exit with status 1."""


class OptionError(PluginError, ValueError):
    """An option file or a command line asks for something that cannot be."""


class CheckpointError(PluginError, ValueError):
    """A weights file cannot be read, is not safe to read, or does not fit the network."""


class DataError(PluginError, ValueError):
    """Images are missing, unpaired, unreadable or of the wrong size."""


class ExportError(PluginError, RuntimeError):
    """A network cannot be written in a format, or comes out of it as another one."""


class TrainingError(PluginError, RuntimeError):
    """Training cannot go on."""


def near_names(name: str, known: Iterable[str]) -> str:
    """Say "; did you mean A or B?" of the known names that resemble ``name``, or nothing."""
    known = sorted(known)
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(by_lower[c] for c in close)}?" if close else ""


def first_line(error: BaseException) -> str:
    """An error's first line, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def one_line(error: BaseException) -> str:
    """An error's text without the traceback that a DataLoader worker puts round it."""
    text = str(error).strip()
    return (
        text.splitlines()[-1].partition("Error: ")[2] or text
        if "Original Traceback" in text
        else text
    )


def first_names(names: Sequence[str], limit: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
