"""The paper's tables: internally consistent where they are, and noted where they are not."""

import pytest

from vlif_plugin.comparison.published import DATASETS, PUBLISHED, published_rows


def test_the_tables_are_whole():
    counts = {}
    for row in PUBLISHED:
        counts[row.source] = counts.get(row.source, 0) + 1
    assert counts == {
        "VLIF, table 1": 6,
        "VLIF, supplement, table 2": 14,
        "VLIF, table 2a": 4,
        "VLIF, table 2d": 5,
    }
    assert {dataset for row in PUBLISHED for dataset in row.scores} == set(DATASETS)


def test_every_energy_is_the_price_of_its_flops_or_has_a_note():
    wrong = set()
    for row in PUBLISHED:
        if row.energy_uj is None:
            continue
        expected = row.flops_g * 1e9 * 12.5e-12 * 1e6
        if row.energy_uj != pytest.approx(expected, rel=1e-3):
            wrong.add(row.name)
            assert "the energy is not 12.5 pJ x" in row.note
    assert wrong == {"Restormer", "Ours (VLIF)"}


def test_the_supplements_average_is_that_of_its_scores():
    printed = {  # the column that is not kept, because it follows from the others
        "RESCAN": (32.03, 0.9134), "PReNet": (33.24, 0.9327), "RCDNet": (34.54, 0.9386),
        "MPRNet": (35.46, 0.9474), "Effderain": (32.78, 0.9202), "NAFNet": (35.22, 0.9433),
        "SFNet": (34.97, 0.9437), "DRT": (34.78, 0.9395), "ELFformer": (34.09, 0.9358),
        "HPCNet": (34.90, 0.9378), "Restormer": (33.36, 0.9309), "SmartAssign": (34.03, 0.9281),
        "ESDNet": (33.97, 0.9283), "Ours (VLIF)": (34.13, 0.9404),
    }  # fmt: skip
    rows = {row.name: row for row in PUBLISHED if "supplement" in row.source}
    assert set(rows) == set(printed)
    different = set()
    for name, (psnr, ssim) in printed.items():
        scores = rows[name].scores.values()
        means = [sum(s[m] for s in scores) / 4 for m in ("PSNR", "SSIM")]
        if means != [pytest.approx(psnr, abs=0.012), pytest.approx(ssim, abs=1.5e-4)]:
            different.add(name)
    # ESDNet's SSIM has two digits in another order, HPCNet's is that of Rain1200: the paper's own errors
    assert different == {"ESDNet", "HPCNet"}


def test_the_supplement_repeats_table_1():
    more = {row.name: row for row in PUBLISHED if "supplement" in row.source}
    for row in PUBLISHED:
        if row.source == "VLIF, table 1":
            again = more[row.name]
            assert (again.kind, again.scores) == (row.kind, row.scores)
            assert again.energy_uj == pytest.approx(row.energy_uj, rel=1e-9)
            assert again.flops_g == pytest.approx(row.flops_g, abs=5e-4)


def test_rows_are_chosen_by_dataset_and_stand_once():
    rows = published_rows(["rain200h"])
    assert len(rows) == 14
    assert {row.name: row.source for row in rows}["ESDNet"] == "VLIF, table 1"
    assert all(set(row.scores) == {"rain200h"} for row in rows)
    assert [row.source for row in published_rows(["euvp"])] == ["VLIF, table 2d"] * 5
    both = [row for row in published_rows(["rain12", "realrain"]) if row.name == "ESDNet"]
    assert [set(row.scores) for row in both] == [{"rain12"}, {"realrain"}]
    assert published_rows([]) == ()
