"""What `vlif compare` shows: progress while it works, tables at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from vlif_plugin.comparison import formatting, study
from vlif_plugin.comparison.rows import Comparison, MeasuredRow
from vlif_plugin.comparison.runner import Observer
from vlif_plugin.comparison.tables import as_rich, remarks

_WIDE = 200


class Display(Observer):
    """Bars in a terminal; elsewhere a line for each network."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            # nobody knows the width, and cut tables are of no use
            self.console = Console(highlight=False, width=_WIDE)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.measuring: TaskID | None = None
        self.training: dict[str, TaskID] = {}
        self.rows: Sequence[str] = ()

    def __enter__(self) -> Display:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def trains(self, progress: study.Progress) -> None:
        """How far a training is."""
        if progress.name not in self.training:
            task = self.progress.add_task(f"training {escape(progress.name)}", total=progress.total)
            self.training[progress.name] = task
            if not self.console.is_terminal:
                self.console.print(f"training {escape(progress.name)}: {progress.total} iterations")
        text = f"training {escape(progress.name)}, {formatting.duration(progress.seconds)}"
        self.progress.update(
            self.training[progress.name], completed=progress.iteration, description=text
        )

    def begin(self, rows: Sequence[str], steps: int) -> None:
        """So many steps for these rows."""
        self.rows = rows
        self.measuring = self.progress.add_task("measuring", total=steps)

    def stage_begins(self, name: str, stage: str) -> None:
        """A part of a row."""
        if self.measuring is not None:
            place = f"{list(self.rows).index(name) + 1}/{len(self.rows)}"
            text = escape(formatting.shortened(f"{name}: {stage}", 60))
            self.progress.update(self.measuring, description=f"{place} {text}")

    def step_done(self) -> None:
        """One of the steps."""
        if self.measuring is not None:
            self.progress.advance(self.measuring)

    def row_ends(self, row: MeasuredRow) -> None:
        """A line for what was found."""
        if not self.console.is_terminal:
            self.console.print(escape(summary(row)), soft_wrap=True)

    def show(self, comparison: Comparison, folder: Path, files: Sequence[str]) -> None:
        """Tables, what must be known to read them, and where it all is."""
        for part in as_rich(comparison):
            self.console.print(part)
        for text in remarks(comparison):
            self.console.print(f"- {escape(text)}", soft_wrap=True)
        self.say(f"written to {folder}: {', '.join(files)}")

    def say(self, text: str) -> None:
        """A line."""
        self.console.print(escape(text), soft_wrap=True)


def summary(row: MeasuredRow) -> str:
    """A row in one line."""
    parts = []
    if row.cost is not None:
        parts += [
            formatting.millions(row.cost.parameters),
            f"{formatting.short(row.cost.dense_macs)}MAC",
            f"{formatting.seconds(row.cost.median_seconds)} s",
        ]
    for scores in row.scores:
        means = ", ".join(f"{name} {formatting.score(v)}" for name, v in scores.means.items())
        parts.append(f"{scores.dataset}: {means or 'not all images'}")
    parts += [f"failed: {text}" for text in row.failures]
    return f"{row.name}: {'; '.join(parts)}"
