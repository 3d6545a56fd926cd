"""Options of datasets that are of the wrong kind are named before anything is read."""

import pytest
from helpers import make_pairs

from vlif_plugin.data import DATASETS
from vlif_plugin.errors import OptionError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": 0.5}, "strength must be two numbers"),
        ({"strength": "01"}, "strength must be two numbers"),
        ({"strength": [0.1, "1"]}, "strength must be two numbers"),
        ({"clean_share": "half"}, "clean_share must be a number from 0 to 1"),
        ({"veil": True}, "veil must be a number from 0 to 1"),
        ({"streaks_share": 0.5}, "streaks_share needs dataroot_streaks"),
        ({"in_memory": 1}, "in_memory must be true or false"),
        ({"gt_size": 0}, "gt_size must be a whole number"),
    ],
)
def test_a_wrong_value_is_named(arguments, message):
    with pytest.raises(OptionError, match=message):
        DATASETS["SyntheticRainDataset"](dataroot_gt="nowhere", **arguments)


def test_every_root_may_begin_at_home(tmp_path, monkeypatch):
    make_pairs(tmp_path, [(20, 24)])
    monkeypatch.setenv("HOME", str(tmp_path))
    roots = {"dataroot_lq": "~/input.lmdb", "dataroot_gt": "~/target.lmdb"}
    item = DATASETS["PairedRainDataset"](**roots)[0]
    assert item["lq_path"] == str(tmp_path / "input.lmdb" / "000")
    dataset = DATASETS["SyntheticRainDataset"](
        dataroot_gt="~/target.lmdb",
        dataroot_streaks="~/input.lmdb",
        dataroot_streaks_gt="~/target.lmdb",
    )
    assert (dataset[0]["lq"] > dataset[0]["gt"]).any()
    assert [source.root for source, _ in dataset.sides()] == [
        tmp_path / "target.lmdb",
        tmp_path / "input.lmdb",
    ]
