"""Which image is trained on when, and with which draws: a function of the seed and the place in the run.

Nothing of it is kept between items, so a run that is killed goes on with exactly the items, patches
and flips that it would have had, however many processes load them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset, Sampler

from vlif_plugin.errors import DataError
from vlif_plugin.runs.random_state import draws_of, mixed_seed

_ATTEMPTS = 20


class Draw(NamedTuple):
    """An item that is to be loaded.

    Attributes:
        item: its index in the dataset.
        position: in the epoch's order, which all processes share.
        seed: of the item's draws.
    """

    item: int
    position: int
    seed: int


class TrainingOrder(Sampler[Draw]):
    """An order for each epoch, of which each process takes its share.

    Takes the place of BasicSR's EnlargedSampler, whose order does not depend on the run's seed and
    always begins with an epoch's first item.

    Args:
        items: length of the dataset.
        seed: of the run.
        rank: of this process.
        world_size: number of processes.
        ratio: how many times an epoch visits each item; may be a fraction.
    """

    def __init__(
        self, items: int, *, seed: int, rank: int = 0, world_size: int = 1, ratio: float = 1
    ) -> None:
        self.items = items
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.num_samples = math.ceil(items * ratio / world_size)
        self.total_size = self.num_samples * world_size
        self.epoch = 0
        self._start = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is iterated over next."""
        self.epoch = epoch

    def start_at(self, epoch: int, drawn: int) -> None:
        """Leave out what was trained on already.

        Args:
            epoch: the one to begin in; later ones are whole.
            drawn: items of it that all processes have drawn together.
        """
        self._start = (epoch, drawn)

    def __iter__(self) -> Iterator[Draw]:
        epoch, (start_epoch, drawn) = self.epoch, self._start
        generator = torch.Generator().manual_seed(mixed_seed("order", self.seed, epoch))
        order = torch.randperm(self.total_size, generator=generator).tolist()
        first = drawn if epoch == start_epoch else 0
        for position in range(first + self.rank, self.total_size, self.world_size):
            seed = mixed_seed("item", self.seed, epoch, position)
            yield Draw(order[position] % self.items, position, seed)

    def __len__(self) -> int:
        return self.num_samples


class TrainingItems(Dataset[dict[str, Any]]):
    """A dataset whose items are asked for by :class:`Draw`.

    Each item gets ``position``, its place in the epoch's order, and ``bad``: what could not be read
    in its stead, a line each, empty where all went well.

    Args:
        dataset: of dictionaries; its draws must come from the generators of Python, NumPy or torch.
        skip_bad: replace an image that cannot be read by another, chosen by the same draws.
    """

    def __init__(self, dataset: Any, *, skip_bad: bool = False) -> None:
        self.dataset = dataset
        self.skip_bad = skip_bad

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """Load an item.

        Raises:
            DataError: it cannot be read; with ``skip_bad``, nor can any of those taken instead.
        """
        bad: list[str] = []
        index = draw.item
        for attempt in range(_ATTEMPTS):
            seed = mixed_seed(draw.seed, attempt)
            try:
                with draws_of(seed):
                    item = self.dataset[index]
            except DataError as error:
                if not self.skip_bad:
                    raise
                bad.append(" ".join(str(error).splitlines()))
                index = seed % len(self.dataset)
                continue
            return item | {"position": draw.position, "bad": "\n".join(bad)}
        raise DataError(f"{_ATTEMPTS} images in a row cannot be read; the last: {bad[-1]}")
