"""Grids of images: sizes, the detail, error maps, captions, files."""

from dataclasses import replace

import comparison_example as example
import cv2
import numpy as np
import pytest

from vlif_plugin.comparison import grids, pictures
from vlif_plugin.comparison.grids import draw_grid, fitted, panel_size, write_grids
from vlif_plugin.comparison.pictures import find_detail, panels
from vlif_plugin.errors import DataError

VLIF, NAFNET, RESTORMER = "VLIF, official, with refinement", "NAFNet, width 32", "Restormer"


@pytest.fixture
def comparison(tmp_path):
    return example.comparison(tmp_path)


def grid_of(comparison, index, folder):
    picture = comparison.pictures[index]
    shown = panels(comparison, picture, folder)
    return np.asarray(draw_grid(comparison, picture, shown, find_detail(shown))), shown


def cell(shown, index):
    """Where a panel's image begins, and its size."""
    width, height = panel_size(shown[0].image)
    x = grids.MARGIN + index * (width + grids.GAP)
    return x, grids.MARGIN + 4 * grids.LINE + grids.GAP // 2, width, height


def test_panels_are_input_networks_in_the_rows_order_and_ground_truth(comparison, tmp_path):
    shuffled = replace(
        comparison.pictures[0], results=dict(reversed(comparison.pictures[0].results.items()))
    )
    shown = panels(comparison, shuffled, tmp_path)
    assert [panel.name for panel in shown] == ["input", VLIF, NAFNET, RESTORMER, "ground truth"]
    # 13.0745 and so on less the 1.25 of the first image
    scores = ["11.82 dB", "27.19 dB", "27.76 dB", "27.85 dB", ""]
    assert [panel.score for panel in shown] == scores
    assert [panel.key for panel in shown][:2] == ["input", f"row:{VLIF}"]


def test_rows_that_the_comparison_does_not_know_come_last_and_the_inputs_row_not_twice(
    comparison, tmp_path
):
    picture = comparison.pictures[1]
    picture = replace(
        picture, results={"degraded images": picture.lq, "new": picture.lq} | picture.results
    )
    names = [panel.name for panel in panels(comparison, picture, tmp_path)]
    assert names == ["input", VLIF, "new", "ground truth"]


def test_the_detail_is_where_the_input_is_wrong(comparison, tmp_path):
    detail = find_detail(panels(comparison, comparison.pictures[1], tmp_path))
    assert (detail.width, detail.height) == (60, 40)  # a quarter of 240x160
    rows, columns = example.SPOT
    assert detail.x <= columns.start < columns.stop <= detail.x + detail.width
    assert detail.y <= rows.start < rows.stop <= detail.y + detail.height


def test_without_ground_truth_the_detail_is_where_edges_are():
    image = np.full((100, 160, 3), 90, np.uint8)
    image[70:80, 120:130] = 255
    detail = find_detail([pictures.Panel("input", "input", "", image)])
    assert detail.x <= 121 < 129 <= detail.x + detail.width
    assert detail.y <= 71 < 79 <= detail.y + detail.height


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (24, 24), (31, 7)])
def test_small_images_have_a_detail_and_a_grid(shape, comparison, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    shown = [pictures.Panel(key, key, "", image) for key in ("input", "truth")]
    detail = find_detail(shown)
    assert 0 <= detail.x < detail.x + detail.width <= shape[1]
    assert 0 <= detail.y < detail.y + detail.height <= shape[0]
    assert draw_grid(comparison, comparison.pictures[0], shown, detail).width > 300


def test_a_grid_holds_the_image_its_detail_and_its_error(comparison, tmp_path):
    grid, shown = grid_of(comparison, 1, tmp_path)
    detail = find_detail(shown)
    for index, panel in enumerate(shown):
        x, y, width, height = cell(shown, index)
        assert (width, height) == (240, 160)
        whole = grid[y : y + height, x : x + width]
        changed = (whole != panel.image).any(2)
        inside = changed[detail.y : detail.y + detail.height, detail.x : detail.x + detail.width]
        assert changed.sum() == inside.sum()  # the frame lies within the detail
        assert 4 * (60 + 40 - 4 * 2) <= inside.sum() * 1.02 <= 4 * 2 * 100
        assert not inside[4:-4, 4:-4].any()
        close = grid[y + height + 4 :][:height, x : x + width]
        assert np.array_equal(close[2::4, 2::4], detail.of(panel.image))
        error = grid[y + 2 * (height + 4) :][:height, x : x + width].astype(int).sum(2)
        rows, columns = example.SPOT
        lowest = error.min()
        if panel.key == "input":
            assert (error[rows, columns] > lowest).mean() > 0.9
            error[rows, columns] = lowest
        assert (error == lowest).all()


def test_a_grid_without_ground_truth_has_no_error_maps(comparison, tmp_path):
    grid, shown = grid_of(comparison, 2, tmp_path)
    _, y, _, height = cell(shown, 0)
    assert [panel.key for panel in shown] == ["input", "row:Restormer"]
    assert (grid[y + 2 * (height + 4) :] == 255).all()


def test_many_networks_wrap_into_rows(comparison, tmp_path):
    base = comparison.pictures[0]
    results = {f"network {index}": base.lq for index in range(9)}
    grid, shown = grid_of(
        replace(comparison, pictures=(replace(base, results=results),)), 0, tmp_path
    )
    assert len(shown) == 11  # in three rows of four
    assert grid.shape[1] == 2 * grids.MARGIN + 4 * 240 + 3 * grids.GAP


def test_a_result_of_another_size_is_shown_without_an_error_map(comparison, tmp_path):
    odd = example.save(example.photograph(80, 120), tmp_path, "odd.png")
    picture = replace(comparison.pictures[0], results={VLIF: odd})
    grid, shown = grid_of(replace(comparison, pictures=(picture,)), 0, tmp_path)
    x, y, width, height = cell(shown, 1)
    assert (grid[y + 2 * (height + 4) :][:height, x : x + width] == 255).all()


def test_large_images_are_made_smaller():
    assert panel_size(np.zeros((600, 1200, 3), np.uint8)) == (360, 180)
    assert panel_size(np.zeros((1200, 600, 3), np.uint8)) == (180, 360)
    assert panel_size(np.zeros((64, 64, 3), np.uint8)) == (256, 256)


def test_files_are_written_whole_under_names_that_every_system_takes(comparison, tmp_path):
    odd = replace(comparison.pictures[2], dataset="a/../b: c", image="../x y.png")
    written = write_grids(replace(comparison, pictures=(*comparison.pictures, odd, odd)), tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in written] == [
        "grids/Rain200H/norain-1.png",
        "grids/Rain200H/norain-2.png",
        "grids/Rain200L/alone.png",
        "grids/a_.._b_c/x_y.png",
        "grids/a_.._b_c/x_y_2.png",
    ]
    assert all(cv2.imread(str(path)) is not None for path in written)
    assert {path.name for path in (tmp_path / "grids" / "Rain200H").iterdir()} == {
        "norain-1.png",
        "norain-2.png",
    }


def test_without_pictures_nothing_is_written(tmp_path):
    assert write_grids(example.comparison(), tmp_path) == []
    assert not (tmp_path / "grids").exists()


def test_a_missing_file_is_named(comparison, tmp_path):
    (tmp_path / "pictures" / "best.png").unlink()
    with pytest.raises(DataError, match=r"best\.png: cannot be read \(No such file"):
        write_grids(comparison, tmp_path)


def test_captions_are_cut_to_their_width():
    assert fitted("abc", 3, len) == "abc"
    assert fitted("abcdefgh", 5, len) == "ab…gh"
    assert fitted("abcdefgh", 0, len) == "…"
