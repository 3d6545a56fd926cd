"""BRISQUE against piq's, pyiqa's and libsvm's values, and its steps against their definitions."""

import numpy as np
import pytest
import skimage.data
from helpers import degraded

from vlif_plugin.errors import DataError
from vlif_plugin.metrics import brisque
from vlif_plugin.metrics._brisque import (
    Regression,
    _asymmetric_fit,
    halve,
    live_regression,
    scale_features,
)
from vlif_plugin.metrics._mscn import matlab_grey


def grey_photograph(name, rows=slice(None), columns=slice(None)):
    picture = getattr(skimage.data, name)()[rows, columns]
    grey = matlab_grey(picture) if picture.ndim == 3 else picture
    return np.dstack([grey.astype(np.uint8)] * 3)


SQUARE = (slice(100, 292), slice(100, 292))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("astronaut", 0.16461630),
        ("coffee", -2.80363595),
        ("chelsea", 8.03306738),
        ("grass", 38.72942032),
        ("brick", 50.48095540),
    ],
)
def test_the_score_is_piqs(name, expected):
    # piq 0.8.0 in float64 on the grey images, with the release's support vectors for its download
    assert brisque(grey_photograph(name, *SQUARE)) == pytest.approx(expected, abs=1e-6)


def test_the_score_of_odd_sides_is_pyiqas():
    # pyiqa 0.1.16, version "original"; it adds 2e-16 under the root of the deviation (piq drops the odd pixel)
    assert brisque(grey_photograph("chelsea")) == pytest.approx(2.572331, abs=1e-3)


def test_flat_areas_count_as_in_matlab():
    # Half of this image is one colour. Right variances of the products would be twice as large if only
    # what differs from its surroundings counted
    picture = skimage.data.astronaut()[:128, :128].copy()
    picture[:, 64:] = 200
    features = scale_features(matlab_grey(picture))
    alone = scale_features(matlab_grey(picture[:, :64]))
    for index in (5, 9, 13, 17):
        assert features[index] < 0.75 * alone[index]
        assert features[index - 1] > 0.75 * alone[index - 1]
    picture[:, 64:] = 0  # black has no rounding errors
    features = scale_features(matlab_grey(picture))
    for index in (5, 9, 13, 17):
        assert features[index] > 0.75 * alone[index]


def test_the_regression_is_libsvms():
    # svm_predict of libsvm 3.37 with the release's allmodel, on features of these photographs
    for name, expected in (("astronaut", 2.879049145163208), ("coffee", 30.065964497683012)):
        assert brisque(getattr(skimage.data, name)()) == pytest.approx(expected, abs=1e-6)


def test_a_regression_by_hand():
    regression = Regression(
        low=np.array([0.0, -1.0]),
        high=np.array([4.0, 1.0]),
        support=np.array([[-1.0, 1.0], [0.5, 1.0]]),
        dual=np.array([3.0, -2.0]),
        gamma=0.5,
        offset=10.0,
    )
    # (3, 1) becomes (0.5, 1): the second vector, 1.5 from the first
    assert regression(np.array([3.0, 1.0])) == pytest.approx(10 + 3 * np.exp(-0.5 * 1.5**2) - 2)


def test_the_model_is_the_releases():
    model = live_regression()
    assert model.support.shape == (774, 36)
    assert (model.gamma, model.offset) == (0.05, 153.591)
    assert np.abs(model.dual).max() == 1024
    assert abs(model.dual.sum()) < 0.01  # what training a regression leaves
    assert model.support[0, :3].tolist() == [-0.596978, -0.136393, -0.248933]
    assert (model.low[0], model.high[35]) == (0.338, 0.370399)


def cubic(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def imresize_line(line, scale=0.5):
    """One line of MATLAB's imresize: a kernel stretched by 1 / scale, mirrored borders."""
    length = len(line)
    mirrored = np.concatenate([line, line[::-1]])
    result = []
    for index in range(1, int(np.ceil(length * scale)) + 1):
        centre = index / scale + 0.5 * (1 - 1 / scale)
        taps = np.arange(np.floor(centre - 4), np.floor(centre - 4) + 10)
        weights = np.array([scale * cubic(scale * (centre - tap)) for tap in taps])
        values = mirrored[(taps.astype(int) - 1) % (2 * length)]
        result.append((weights * values).sum() / weights.sum())
    return np.array(result)


@pytest.mark.parametrize("size", [(16, 22), (13, 17), (14, 13)])
def test_halving_is_imresize(size):
    image = np.random.default_rng(1).random(size) * 255
    rows = np.stack([imresize_line(row) for row in image])
    expected = np.stack([imresize_line(column) for column in rows.T]).T
    assert halve(image) == pytest.approx(expected, abs=1e-10)


def test_the_fit_finds_the_distribution_that_was_drawn():
    # the two sides of an asymmetric Gaussian: shape 2, deviations 1 and 3, in shares of 1 and 3
    rng = np.random.default_rng(0)
    left, right = -np.abs(rng.normal(0, 1, 100_000)), np.abs(rng.normal(0, 3, 300_000))
    shape, mean, low, high = _asymmetric_fit(np.concatenate([left, right]))
    assert shape == pytest.approx(2, abs=0.03)
    assert low == pytest.approx(1, abs=0.02)
    assert high == pytest.approx(9, abs=0.1)
    assert mean == pytest.approx((3 - 1) * np.sqrt(2 / np.pi), abs=0.02)


def test_grey_and_colour_score_alike():
    assert brisque(skimage.data.coffee()) == brisque(grey_photograph("coffee"))


def test_what_is_degraded_scores_worse():
    photograph = skimage.data.astronaut()[:256, :256]
    clean = brisque(photograph)
    assert all(
        brisque(degraded(photograph, kind)) > clean + 10 for kind in ("noise", "blur", "jpeg")
    )


@pytest.mark.parametrize("level", [0, 1, 127, 255])
def test_an_image_of_one_colour_has_no_score(level):
    assert np.isnan(brisque(np.full((40, 50, 3), level, np.uint8)))


def test_products_of_one_sign_have_no_fit():
    assert np.isnan(_asymmetric_fit(np.array([1.0, 2.0, 0.0]))).all()


def test_small_images_are_refused_by_size():
    assert np.isfinite(brisque(skimage.data.astronaut()[100:113, 200:213]))
    with pytest.raises(DataError, match="at least 13x13 pixels, got 12x40"):
        brisque(np.zeros((12, 40, 3), np.uint8))
