"""Runs the Python of a page, its blocks one after the other: ``python docs/run_page.py docs/tutorial.md``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib


def blocks(page: Path) -> list[str]:
    """The blocks of a page that are marked as Python."""
    return [part.partition("```")[0] for part in page.read_text().split("```python\n")[1:]]


if __name__ == "__main__":
    matplotlib.use("agg")
    (name,) = sys.argv[1:]
    variables: dict[str, object] = {}
    for block in blocks(Path(name)):
        exec(compile(block, name, "exec"), variables)
