"""BRISQUE: quality of an image without a reference, from the statistics of its local contrast.

A. Mittal, A. K. Moorthy, A. C. Bovik, "No-Reference Image Quality Assessment in the Spatial
Domain", IEEE TIP 21(12), 2012.

Features and regression are those of the authors' release ("BRISQUE Software Release", LIVE,
University of Texas at Austin, 2011), which other implementations follow loosely. What it settles:
the grey image is rounded; outside it lie zeros; neighbours wrap around at the borders; the second
scale is MATLAB's ``imresize`` by a half, bicubic with antialiasing, not rounded; shapes of
distributions are looked up in steps of 0.001; areas of one value count as if they were a little
brighter than their surroundings (see ``_TRACE``). The release also rounds features to six decimals, in
the text files by which it calls libsvm; that moves a score by about 0.001 and is left out.

MATLAB's own ``brisque`` has another regression, trained by MathWorks: its scores differ. The
support vectors in ``brisque_live.npz`` come from the release; ``brisque_live.txt`` has their terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from scipy.special import gamma

from vlif_plugin.errors import DataError
from vlif_plugin.metrics._mscn import Float, Pixels, matlab_grey, mscn

_SMALLEST = 13  # half of it, rounded up, still holds the window of 7
# in an area of one value, black excepted, the release's sums leave a rounding error of one sign, so
# its products count as positive ones; here they might leave none
_ROUNDING, _TRACE = 1e-10, 1e-14
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (-1, 1))
# the cubic kernel (a = -1/2), stretched to twice its width, at -3.5, -2.5, … 3.5 pixels
_HALVING = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
_SHAPES = np.arange(200, 10001) / 1000
# E|x|² / E[x²] of a generalised Gaussian of each shape
_RATIOS = gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))


@dataclass(frozen=True)
class Regression:
    """A support vector regression with a Gaussian kernel, on 36 features.

    Attributes:
        low: value of each feature that becomes -1.
        high: value that becomes 1; values outside of the two are let through.
        support: support vectors, shape (N, 36).
        dual: their coefficients, shape (N,).
        gamma: of the kernel exp(-gamma |x - y|²).
        offset: added to the sum.
    """

    low: Float
    high: Float
    support: Float
    dual: Float
    gamma: float
    offset: float

    def __call__(self, features: Float) -> float:
        """The value that is predicted for features of shape (36,)."""
        scaled = 2 * (features - self.low) / (self.high - self.low) - 1
        distances = ((self.support - scaled) ** 2).sum(1)
        return float(self.dual @ np.exp(-self.gamma * distances) + self.offset)


def brisque(rgb: Pixels) -> float:
    """BRISQUE of an image; lower is better.

    Args:
        rgb: uint8, shape (H, W, 3), at least 13 pixels high and wide.

    Returns:
        From 0 to 100 for ordinary images, which it may leave by a little; not a number where an
        image has no statistics to speak of, as a constant one.

    Raises:
        DataError: it is no such image, or too small.
    """
    grey = matlab_grey(rgb)
    if min(grey.shape) < _SMALLEST:
        height, width = grey.shape
        raise DataError(
            f"brisque needs images of at least {_SMALLEST}x{_SMALLEST} pixels, got {height}x{width}"
        )
    if np.ptp(grey) == 0:
        return float("nan")
    features = np.array([*scale_features(grey), *scale_features(halve(grey))])
    return live_regression()(features)


@cache
def live_regression() -> Regression:
    """The regression of the authors' release, trained on the whole LIVE database."""
    path = files("vlif_plugin.metrics") / "brisque_live.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        low, high, support, dual = (arrays[name] for name in ("low", "high", "support", "dual"))
        return Regression(low, high, support, dual, float(arrays["gamma"]), float(arrays["offset"]))


def halve(image: Float) -> Float:
    """MATLAB's ``imresize(image, 0.5)``: bicubic, antialiased, mirrored at the borders.

    Args:
        image: shape (H, W).

    Returns:
        Shape (ceil(H / 2), ceil(W / 2)).
    """
    for axis in (0, 1):
        lines = np.moveaxis(image, axis, -1)
        length = lines.shape[-1]
        padded = np.pad(lines, ((0, 0), (3, 4)), mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(_HALVING), axis=-1)
        image = np.moveaxis(windows[:, :length:2] @ _HALVING, -1, axis)
    return image


def scale_features(grey: Float) -> list[float]:
    """The 18 features of one scale (table I of the paper).

    Args:
        grey: shape (H, W), values in [0, 255].

    Returns:
        Shape and variance of the coefficients; for products with the right, lower, lower right and
        upper right neighbour: shape, mean, left and right variance. Not a number where there are
        no products of one sign.
    """
    coefficients = mscn(grey, border="constant")
    coefficients[(np.abs(coefficients) < _ROUNDING) & (grey != 0)] = _TRACE
    features = [*_symmetric_fit(coefficients)]
    for shift in _NEIGHBOURS:
        features += _asymmetric_fit(coefficients * np.roll(coefficients, shift, (0, 1)))
    return features


def _symmetric_fit(x: Float) -> tuple[float, float]:
    """Shape and variance of a generalised Gaussian, by moments."""
    power = (x * x).mean()
    distance = np.abs(power / np.abs(x).mean() ** 2 - 1 / _RATIOS)
    return float(_SHAPES[distance.argmin()]), float(power)


def _asymmetric_fit(x: Float) -> tuple[float, float, float, float]:
    """Shape, mean, left and right variance of an asymmetric generalised Gaussian, by moments."""
    left, right = x[x < 0], x[x > 0]
    if not (left.size and right.size):
        nan = float("nan")
        return nan, nan, nan, nan
    low, high = np.sqrt((left * left).mean()), np.sqrt((right * right).mean())
    skew = low / high
    ratio = np.abs(x).mean() ** 2 / (x * x).mean()
    ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = _SHAPES[((_RATIOS - ratio) ** 2).argmin()]
    mean = (high - low) * gamma(2 / shape) / np.sqrt(gamma(1 / shape) * gamma(3 / shape))
    return float(shape), float(mean), float(low**2), float(high**2)
