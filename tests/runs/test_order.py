"""Order and draws of a training depend on the seed and the place in the run, and on nothing else."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
import warm
from torch.utils.data import DataLoader

from vlif_plugin.errors import DataError
from vlif_plugin.runs import TrainingItems, TrainingOrder, draws_of


class Drawing:
    """Items that say which draws they got, from each of the generators; some cannot be read."""

    def __init__(self, length, broken=()):
        self.length = length
        self.broken = broken

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.broken:
            raise DataError(f"image {index}: broken\nin two lines")
        draws = [float(torch.rand(())), float(np.random.rand()), random.random()]
        return {"index": index, "draws": torch.tensor(draws, dtype=torch.float64)}


def epoch(order, number):
    order.set_epoch(number)
    return list(order)


def test_an_epoch_visits_each_image_as_often_as_the_ratio_says():
    order = TrainingOrder(7, seed=1, ratio=3)
    assert Counter(draw.item for draw in epoch(order, 0)) == dict.fromkeys(range(7), 3)
    assert len(order) == 21
    assert len(epoch(TrainingOrder(7, seed=1, ratio=0.5), 0)) == 4


def test_orders_and_seeds_differ_by_epoch_and_by_the_runs_seed():
    draws = [epoch(TrainingOrder(50, seed=seed), number) for seed in (0, 1) for number in (0, 1)]
    orders = {tuple(draw.item for draw in part) for part in draws}
    seeds = {draw.seed for part in draws for draw in part}
    assert (len(orders), len(seeds)) == (4, 200)
    assert epoch(TrainingOrder(50, seed=0), 1) == draws[1]


def test_processes_share_the_order_of_one():
    alone = epoch(TrainingOrder(12, seed=3, ratio=2), 4)
    parts = [epoch(TrainingOrder(12, seed=3, ratio=2, rank=r, world_size=3), 4) for r in range(3)]
    assert [draw for step in zip(*parts, strict=True) for draw in step] == alone


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_resumed_epoch_leaves_out_what_was_drawn(world_size):
    for rank in range(world_size):
        order = TrainingOrder(9, seed=3, ratio=2, rank=rank, world_size=world_size)
        whole = epoch(order, 5)
        order.start_at(5, 4 * world_size)
        assert epoch(order, 5) == whole[4:]
        assert len(epoch(order, 6)) == len(whole)


def loaded(workers, dataset=None, **start):
    order = TrainingOrder(10, seed=2, ratio=2)
    if start:
        order.start_at(**start)
    items = TrainingItems(dataset or Drawing(10))
    loader = DataLoader(items, 3, sampler=order, num_workers=workers, drop_last=True)
    return list(loader)


@pytest.mark.parametrize("workers", [1, 2])
def test_items_are_the_same_however_many_workers_load_them(workers):
    torch.manual_seed(5)  # seeds the workers, which must not matter
    for batch, expected in zip(loaded(workers), loaded(0), strict=True):
        assert batch["position"].tolist() == expected["position"].tolist()
        assert torch.equal(batch["draws"], expected["draws"])


def test_resumed_items_have_the_draws_that_they_would_have_had():
    whole, rest = loaded(0), loaded(0, epoch=0, drawn=6)
    assert len(rest) == len(whole) - 2
    for batch, expected in zip(rest, whole[2:], strict=True):
        assert torch.equal(batch["draws"], expected["draws"])
        assert batch["index"].tolist() == expected["index"].tolist()


def test_visits_to_an_image_differ_in_every_generator():
    draws = torch.cat([batch["draws"] for batch in loaded(0)])
    assert all(len(set(column.tolist())) == len(draws) for column in draws.T)


def test_loading_leaves_the_training_s_own_draws_alone():
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    expected = torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    with draws_of(7):
        torch.rand(100), np.random.rand(100), random.random()
    items = TrainingItems(Drawing(4))
    for draw in TrainingOrder(4, seed=0):
        items[draw]
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(3) == expected[1]).all()
    assert random.random() == expected[2]


def test_an_unreadable_image_is_replaced_by_the_same_other_one_each_time():
    items = TrainingItems(Drawing(10, broken=(3, 4)), skip_bad=True)
    runs = [[items[draw] for draw in TrainingOrder(10, seed=1)] for _ in range(2)]
    told = [item["bad"] for item in runs[0] if item["bad"]]
    assert len(told) == 2
    assert {line.split(":")[0] for lines in told for line in lines.splitlines()} == {
        "image 3",
        "image 4",
    }
    assert all("broken in two lines" in line for lines in told for line in lines.splitlines())
    assert [item["index"] for item in runs[0]] == [item["index"] for item in runs[1]]
    assert not {3, 4} & {item["index"] for item in runs[0]}


def test_without_leave_to_skip_an_unreadable_image_is_an_error():
    items = TrainingItems(Drawing(3, broken=(1,)))
    with pytest.raises(DataError, match="image 1: broken"):
        [items[draw] for draw in TrainingOrder(3, seed=1)]


def test_a_dataset_that_is_broken_throughout_is_an_error():
    items = TrainingItems(Drawing(3, broken=(0, 1, 2)), skip_bad=True)
    with pytest.raises(DataError, match=r"20 images in a row cannot be read; the last: image \d"):
        items[next(iter(TrainingOrder(3, seed=1)))]


JOINED = """
import logging, os
import torch.distributed as dist
from vlif_plugin.runs import PassedOver
dist.init_process_group("gloo")
rank = dist.get_rank()
logging.basicConfig(level=logging.WARNING if rank == 0 else logging.ERROR)
logger, bad = logging.getLogger(), PassedOver(2, {"earlier.png: cut": 1})
bad.take(["", ["b.png: empty", "a.png: cut"][rank]], logger, "")
bad.join(logger)
bad.join(logger)  # nothing is told twice
assert bad.counts == {"earlier.png: cut": 1, "a.png: cut": 1, "b.png: empty": 1}, bad.counts
try:
    bad.take([], logger, "last good state: 4.state")
except ValueError as error:
    assert "3 different images" in str(error) and "skip_bad allows 2" in str(error), error
else:
    raise AssertionError("too many are put up with")
dist.destroy_process_group()
"""


def test_processes_count_together_what_they_passed_over_and_one_names_it(tmp_path):
    first, second = warm.together(tmp_path, "-c", JOINED)
    assert first.count("passed over: a.png: cut") == first.count("passed over: b.png: empty") == 1
    assert "passed over" not in second
