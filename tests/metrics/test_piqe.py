"""PIQE and what it shares with BRISQUE, against OpenCV, pypiqe and its rules written out in loops."""

import cv2
import numpy as np
import pytest
import skimage.data
from helpers import degraded

from vlif_plugin.errors import DataError
from vlif_plugin.metrics import piqe
from vlif_plugin.metrics._mscn import matlab_grey, mscn


def grey_as_rgb(grey):
    return np.dstack([grey.astype(np.uint8)] * 3)


def piqe_in_loops(grey):
    """The rules one block at a time, on a grey image of floats."""
    height, width = grey.shape
    rows, columns = -(-height // 16) * 16, -(-width // 16) * 16
    image = cv2.copyMakeBorder(grey, 0, rows - height, 0, columns - width, cv2.BORDER_REPLICATE)
    blur = [
        cv2.GaussianBlur(x, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
        for x in (image, image**2)
    ]
    normal = (image - blur[0]) / (np.sqrt(np.abs(blur[1] - blur[0] ** 2)) + 1)
    total, active = 0.0, 0
    for top in range(0, rows, 16):
        for left in range(0, columns, 16):
            block = normal[top : top + 16, left : left + 16]
            variance = np.var(block, ddof=1)
            if variance <= 0.1:
                continue
            active += 1
            edges = (block[0], block[15], block[:, 0], block[:, 15])
            if any(np.std(e[i : i + 6], ddof=1) < 0.1 for e in edges for i in range(11)):
                total += 1 - variance
            centre = np.std(np.concatenate([block[:, 7], block[:, 8]]), ddof=1)
            rest = [block[:, j] for j in range(16) if j not in (7, 9)]
            ratio = centre / np.std(np.concatenate(rest), ddof=1)
            deviation = np.sqrt(variance)
            if deviation > 2 * abs(deviation - ratio) / max(deviation, ratio):
                total += variance
    return (total + 1) / (active + 1) * 100


def test_grey_is_rgb2grays():
    # MATLAB's grey of red, green, blue, yellow, white and black
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255), (0, 0, 0)]
    assert matlab_grey(np.array([colours], np.uint8)).tolist() == [[76, 150, 29, 226, 255, 0]]
    # 0.298936, 0.587043, 0.114021 give 179.508 and 91.492; 0.299, 0.587, 0.114 would give 179.493 and 91.507
    assert matlab_grey(np.array([[(12, 255, 230), (255, 26, 0)]], np.uint8)).tolist() == [[180, 91]]


def test_grey_of_grey_is_itself():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(matlab_grey(grey_as_rgb(levels)), levels)


@pytest.mark.parametrize("border", ["nearest", "constant"])
def test_normalised_coefficients_are_opencvs(border):
    grey = np.random.default_rng(0).integers(0, 256, (23, 31)).astype(float)
    kind = {"nearest": cv2.BORDER_REPLICATE, "constant": cv2.BORDER_CONSTANT}[border]
    mean, power = (cv2.GaussianBlur(x, (7, 7), 7 / 6, borderType=kind) for x in (grey, grey**2))
    expected = (grey - mean) / (np.sqrt(power - mean**2) + 1)
    assert mscn(grey, border=border) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("kind", ["clean", "noise", "blur", "jpeg"])
@pytest.mark.parametrize("size", [(96, 128), (97, 143), (90, 60)])
def test_the_score_is_that_of_the_rules_in_loops(kind, size):
    crop = skimage.data.astronaut()[60 : 60 + size[0], 150 : 150 + size[1]]
    picture = degraded(crop, kind)
    assert piqe(picture) == pytest.approx(piqe_in_loops(matlab_grey(picture)), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"), [("astronaut", 28.657627), ("coffee", 20.778366), ("camera", 35.017805)]
)
def test_the_score_is_pypiqes_where_that_neither_pads_nor_stretches(name, expected):
    # pypiqe 1.2, of the grey images: their sides are multiples of 16 and their maximum is 255
    picture = getattr(skimage.data, name)()[100:292, 100:292]
    grey = matlab_grey(picture) if picture.ndim == 3 else picture
    assert piqe(grey_as_rgb(grey)) == pytest.approx(expected, abs=1e-6)


def test_what_is_degraded_scores_worse():
    photograph = skimage.data.astronaut()[:256, :256]
    scores = {kind: piqe(degraded(photograph, kind)) for kind in ("clean", "noise", "blur", "jpeg")}
    assert min(scores[kind] for kind in ("noise", "blur", "jpeg")) > scores["clean"] + 10
    assert all(0 <= score <= 100 for score in scores.values())


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (48, 48)])
@pytest.mark.parametrize("level", [0, 127, 255])
def test_an_image_of_one_colour_scores_100_whatever_its_size(size, level):
    assert piqe(np.full((*size, 3), level, np.uint8)) == 100


def test_an_image_smaller_than_a_block_is_scored():
    tiny = skimage.data.astronaut()[100:105, 200:209]
    assert piqe(tiny) == pytest.approx(piqe_in_loops(matlab_grey(tiny)), abs=1e-9)


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)]
)
def test_what_is_no_rgb_image_is_refused(wrong):
    with pytest.raises(DataError, match=r"an RGB image of uint8 is needed, got \w+ of shape"):
        piqe(wrong)
