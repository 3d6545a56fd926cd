"""Data loaders of a training under mmengine, which a resumed run goes on with at the very next item.

Where the dataset is of this package, which image comes when, its patch and its flips depend on seed and
place alone (:mod:`vlif_plugin.runs.order`); of others mmengine's order is kept, and what was trained on
is passed over unread.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import mmengine.registry as roots
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.runner import IterBasedTrainLoop, Runner, loops
from torch.utils.data import BatchSampler, DataLoader

from vlif_plugin.data import DATASETS
from vlif_plugin.errors import OptionError
from vlif_plugin.mmengine_host.checkpoints import instead_of
from vlif_plugin.runs import SKIP_BAD, Draw, TrainingItems, TrainingOrder

# mmengine's own, even if this module is executed again when its mends are in place
_build_loader = inspect.unwrap(Runner.build_dataloader)
_loop_run = inspect.unwrap(IterBasedTrainLoop.run)
_Iterator: Any = inspect.unwrap(loops._InfiniteDataloaderIterator)


class TrainingSet(TrainingItems):
    """A training set whose items are asked for by their draws, with what mmengine asks of a dataset.

    Args:
        dataset: one of this package.
        skip_bad: how many different images may turn out unreadable. A run's hook counts them and
            has them replaced; without it an unreadable image is an error.
    """

    def __init__(self, dataset: Any, *, skip_bad: int = SKIP_BAD) -> None:
        super().__init__(dataset)
        self.limit = skip_bad

    @property
    def metainfo(self) -> dict[str, str]:
        """What mmengine keeps in checkpoints."""
        return self.dataset.metainfo


class EndlessOrder(TrainingOrder):
    """One shuffled round after the other without a break, as mmengine's InfiniteSampler has it."""

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: to a loop of iterations all is one epoch."""

    def __iter__(self) -> Iterator[Draw]:
        for epoch in itertools.count(self._start[0]):
            self.epoch = epoch
            yield from super().__iter__()

    def __len__(self) -> int:  # of mmengine's sampler, by which schedules are converted
        return self.items


_ORDERS: dict[Any, type[TrainingOrder]] = {
    DefaultSampler: TrainingOrder,
    InfiniteSampler: EndlessOrder,
}


class Place:
    """How far a training has drawn the items of its order.

    Attributes:
        epoch: round of the order.
        drawn: items of it that all processes have drawn together.
    """

    def __init__(self, order: TrainingOrder, epoch: int = 0, drawn: int = 0) -> None:
        self.order = order
        self.epoch = epoch
        self.drawn = drawn

    def take(self, positions: Sequence[int]) -> None:
        """Go past a batch of this process; those of the others are as far.

        Args:
            positions: of its items, in their order.
        """
        for position in positions:
            reached = int(position) - self.order.rank + self.order.world_size
            self.epoch += reached <= self.drawn
            self.drawn = reached

    def begin_here(self) -> None:
        """Let the order leave out what was drawn; with another number of processes a few items less."""
        drawn = min(self.drawn, self.order.total_size)
        self.order.start_at(self.epoch, drawn - drawn % self.order.world_size)


def order_of(loader: Any) -> TrainingOrder | None:
    """The order of a loader, where it is one of ours."""
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    return sampler if isinstance(sampler, TrainingOrder) else None


def dataset_options(section: Any) -> tuple[Any, int, bool]:
    """Take apart a config's section of a dataset: what its class is given, and what is about loading it.

    Args:
        section: with ``skip_bad`` and ``check_images``, if it is of a dataset of this package.

    Returns:
        The section without them, ``skip_bad``, ``check_images``.

    Raises:
        OptionError: one of them is of the wrong kind.
    """
    if not _is_ours(section):
        return section, 0, False
    rest = dict(section)
    limit, check = rest.pop("skip_bad", SKIP_BAD), rest.pop("check_images", False)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise OptionError(f"skip_bad must be a whole number of at least 0, got {limit!r}")
    if not isinstance(check, bool):
        raise OptionError(f"check_images must be True or False, got {check!r}")
    return rest, limit, check


def _is_ours(section: Any) -> bool:
    return _named(roots.DATASETS, section) in DATASETS.values()


def _named(kind: roots.Registry, section: Any) -> Any:
    """What the ``type`` of a section names; None for what is no such section."""
    name = section.get("type") if isinstance(section, Mapping) else None
    if not isinstance(name, str):
        return name
    with kind.switch_scope_and_registry(None) as scoped:  # the config's default_scope
        return scoped.get(name)


@instead_of(_build_loader)
def build_dataloader(
    dataloader: Any, seed: int | None = None, diff_rank_seed: bool = False
) -> DataLoader[Any]:
    """Build a loader; of a dataset of ours that is shuffled, with an order and draws of ours.

    Args:
        dataloader: a section, or a loader, which is returned.
        seed: of the run.
        diff_rank_seed: whether ``seed`` has the number of the process added.
    """
    if not isinstance(dataloader, Mapping) or not _is_ours(dataloader.get("dataset")):
        return _build_loader(dataloader, seed, diff_rank_seed)
    dataset, limit, _ = dataset_options(dataloader["dataset"])
    section = {**dataloader, "dataset": dataset}
    sampler = section.get("sampler")
    kind = _ORDERS.get(_named(roots.DATA_SAMPLERS, sampler))
    elsewhere = {"batch_sampler", "num_batch_per_epoch"} & {*section}
    if kind is None or elsewhere or not _only_shuffles(sampler):
        return _build_loader(section, seed, diff_rank_seed)
    rank, world_size = get_dist_info()
    shared = sync_random_seed() if seed is None else seed - rank * diff_rank_seed
    items = TrainingSet(roots.DATASETS.build(deepcopy(dataset)), skip_bad=limit)
    order = kind(len(items), seed=shared, rank=rank, world_size=world_size)
    loader = _build_loader(section | {"dataset": items, "sampler": order}, seed, diff_rank_seed)
    # its own, because each start of a loader draws a number, and a resumed run starts it once more
    loader.generator = torch.Generator().manual_seed(shared)
    return loader


def _only_shuffles(sampler: Any) -> bool:
    return set(sampler) <= {"type", "shuffle"} and bool(sampler.get("shuffle", True))


class _LaterStart:
    """Stands in a batch sampler for its sampler until it is asked, and leaves first indices out."""

    def __init__(self, batch_sampler: BatchSampler, indices: int) -> None:
        self.batch_sampler = batch_sampler
        self.sampler = batch_sampler.sampler
        self.indices = indices

    def __iter__(self) -> Iterator[int]:
        self.batch_sampler.sampler = self.sampler
        return itertools.islice(self.sampler, self.indices, None)


class PassingIterator(_Iterator):
    """The batches of a data loader for ever, of which the first can be passed over unread.

    It starts at the first batch that is read: when mmengine starts its own, workers begin to read
    before it is known that a run is resumed.

    Args:
        dataloader: one whose sampler's order is known beforehand.
    """

    def __init__(self, dataloader: DataLoader) -> None:
        self._dataloader = dataloader
        self._iterator: Any = None
        self._epoch = 0
        self._passed = self._free = 0
        # a start takes one random number: it is taken here, as by mmengine's own, and again then
        self._random = dataloader.generator or torch.default_generator
        self._state = self._random.get_state()
        torch.empty((), dtype=torch.int64).random_(generator=self._random)

    def pass_over(self, batches: int) -> None:
        """Let the next ``batches`` steps cost nothing; without effect once a batch was read."""
        if self._iterator is None:
            self._passed = self._free = batches

    def __next__(self) -> Sequence[dict[str, Any]]:
        """The next batch; an empty one for each that is passed over."""
        if self._free:
            self._free -= 1
            return ()
        if self._iterator is None:
            self._start()
        return super().__next__()

    def _start(self) -> None:
        batch_sampler: Any = self._dataloader.batch_sampler
        if isinstance(batch_sampler.sampler, TrainingOrder):  # which knows itself where to begin
            self._epoch = batch_sampler.sampler._start[0]
            batch_sampler.sampler.set_epoch(self._epoch)
        elif self._passed:
            batches = self._passed
            if isinstance(batch_sampler.sampler, DefaultSampler):  # another order in each epoch
                self._epoch, batches = divmod(batches, len(batch_sampler))
                batch_sampler.sampler.set_epoch(self._epoch)
            indices = batches * batch_sampler.batch_size
            batch_sampler.sampler = _LaterStart(batch_sampler, indices)
        now = self._random.get_state()
        self._random.set_state(self._state)
        self._iterator = iter(self._dataloader)
        self._random.set_state(now)


@instead_of(_Iterator)
def dataloader_iterator(dataloader: DataLoader) -> Any:
    """A :class:`PassingIterator` where the order is known beforehand; else mmengine's own."""
    batch_sampler = dataloader.batch_sampler
    known = type(batch_sampler) is BatchSampler and (
        type(batch_sampler.sampler) in (DefaultSampler, InfiniteSampler)
        or isinstance(batch_sampler.sampler, TrainingOrder)
    )
    return (PassingIterator if known else _Iterator)(dataloader)


@instead_of(_loop_run)
def loop_run(self: IterBasedTrainLoop) -> Any:
    """Train; when resumed, go on in the data's order without reading again what was trained on."""
    if self._iter and isinstance(self.dataloader_iterator, PassingIterator):
        self.dataloader_iterator.pass_over(self._iter)
        order = order_of(self.dataloader)
        if (
            order is not None
        ):  # as if batches had always been of this size; a run's hook knows better
            drawn = self._iter * (self.dataloader.batch_size or 1) * order.world_size
            Place(order, *divmod(drawn, order.total_size)).begin_here()
    return _loop_run(self)
