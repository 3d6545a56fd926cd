"""Images of a training set that could not be read: how many of them a run puts up with."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from vlif_plugin.distributed import gathered
from vlif_plugin.errors import DataError, first_names

SKIP_BAD = 10
"""How many different images of the training set may turn out unreadable, unless the options say so."""


class PassedOver:
    """Counts the images for which :class:`~vlif_plugin.runs.TrainingItems` gave others.

    Each process counts what it meets, and hears of the others' when all of them :meth:`join`.

    Args:
        limit: how many different ones there may be, in all processes together.
        counts: of the run that is gone on from; how often each came up, by what was said of it.
    """

    def __init__(self, limit: int = SKIP_BAD, counts: Mapping[str, int] | None = None) -> None:
        self.limit = limit
        self.counts = Counter(counts or {})
        self._untold: Counter[str] = Counter()

    def take(self, bad: Iterable[str], logger: logging.Logger, last_good: str) -> None:
        """Count those of a batch, and tell of new ones.

        Args:
            bad: the batch's entry of that name; each text has a line for each image.
            logger: of the run.
            last_good: what can be gone on from, for the error.

        Raises:
            DataError: there are more than the limit.
        """
        met = Counter(line for text in bad for line in text.splitlines())
        self._untold += met
        self._add(met, logger)
        if len(self.counts) > self.limit:
            raise DataError(
                f"{len(self.counts)} different images of the training set cannot be read, and skip_bad "
                f"allows {self.limit}: {first_names(list(self.counts))}; {last_good}"
            )

    def join(self, logger: logging.Logger) -> None:
        """Add what the other processes counted since they last joined; every process must ask.

        Too many are an error of the next :meth:`take`, and so in all processes.

        Args:
            logger: of the run; the main process's tells of what is new to it.
        """
        told, self._untold = self._untold, Counter()
        self._add(sum(gathered(told), Counter()) - told, logger)

    def _add(self, met: Counter[str], logger: logging.Logger) -> None:
        for line in met:
            if line not in self.counts:
                logger.warning(f"passed over: {line}")
        self.counts += met

    def measured(self) -> dict[str, int]:
        """How often an image was passed over, as an entry of the run's log; nothing where none was."""
        return {"passed_over": self.counts.total()} if self.counts else {}
