"""Images of a training set that could not be read: how many of them a run puts up with."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from vlif_plugin.errors import DataError, first_names

SKIP_BAD = 10
"""How many different images of the training set may turn out unreadable, unless the options say so."""


class PassedOver:
    """Counts the images for which :class:`~vlif_plugin.runs.TrainingItems` gave others.

    Args:
        limit: how many different ones there may be.
        counts: of the run that is gone on from; how often each came up, by what was said of it.
    """

    def __init__(self, limit: int = SKIP_BAD, counts: Mapping[str, int] | None = None) -> None:
        self.limit = limit
        self.counts = Counter(counts or {})

    def take(self, bad: Iterable[str], logger: logging.Logger, last_good: str) -> None:
        """Count those of a batch, and tell of new ones.

        Args:
            bad: the batch's entry of that name; each text has a line for each image.
            logger: of the run.
            last_good: what can be gone on from, for the error.

        Raises:
            DataError: there are more than the limit.
        """
        for line in (line for text in bad for line in text.splitlines()):
            if line not in self.counts:
                logger.warning(f"passed over: {line}")
            self.counts[line] += 1
        if len(self.counts) > self.limit:
            raise DataError(
                f"{len(self.counts)} different images of the training set cannot be read, and skip_bad "
                f"allows {self.limit}: {first_names(list(self.counts))}; {last_good}"
            )

    def measured(self) -> dict[str, int]:
        """How often an image was passed over, as an entry of the run's log; nothing where none was."""
        return {"passed_over": self.counts.total()} if self.counts else {}
