"""Structural similarity (Wang et al. 2004) as a function and as the training loss of VLIF.

The loss is what the released training minimises: ``1 - SSIM`` with an 11x11 Gaussian window of
sigma 1.5 and zero padding (paper, supplement, eq. 3). With ``padding="valid"`` the function equals
scikit-image's ``structural_similarity(gaussian_weights=True, use_sample_covariance=False)``.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

Padding = Literal["zero", "valid"]
SecondTerm = Literal["l1", "mse", "charbonnier"]


def ssim(
    pred: Tensor,
    target: Tensor,
    *,
    window_size: int = 11,
    sigma: float = 1.5,
    data_range: float = 1.0,
    padding: Padding = "zero",
) -> Tensor:
    """SSIM of each image, averaged over its channels and pixels.

    Computed in at least float32, also under autocast: the variances are small differences of
    large numbers.

    Args:
        pred: shape (B, C, H, W), values in [0, data_range].
        target: the same shape.
        window_size: odd side of the Gaussian window.
        sigma: of the window, in pixels.
        data_range: largest possible value minus the smallest.
        padding: ``zero`` pads the images with zeros, as the released code does; ``valid`` uses
            only windows that lie inside.

    Returns:
        Shape (B,), at most 1.

    Raises:
        ValueError: shapes differ, the window is even, or larger than the image in ``valid`` mode.
    """
    if pred.shape != target.shape or pred.dim() != 4:
        raise ValueError(
            f"ssim needs two (B, C, H, W) of one shape, got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    _check_window(window_size, sigma, data_range, padding)
    if padding == "valid" and min(pred.shape[-2:]) < window_size:
        raise ValueError(
            f"an image of {pred.shape[-2]}x{pred.shape[-1]} is smaller than the window of {window_size}"
        )
    wide = torch.promote_types(pred.dtype, torch.float32)
    with torch.autocast(pred.device.type, enabled=False):
        x, y = pred.to(wide), target.to(wide)
        moments = torch.cat([x, y, x * x, y * y, x * y], dim=1)
        window = _gaussian_window(window_size, sigma, x)
        if padding == "zero":  # the released code keeps its window in single precision
            window = window.float().to(wide)
        window = window.expand(moments.shape[1], 1, -1, -1)
        edge = window_size // 2 if padding == "zero" else 0
        blurred = F.conv2d(moments, window, padding=edge, groups=moments.shape[1])

        mu_x, mu_y, xx, yy, xy = blurred.chunk(5, dim=1)
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        luminance = (2 * mu_x * mu_y + c1) / (mu_x**2 + mu_y**2 + c1)
        structure = (2 * (xy - mu_x * mu_y) + c2) / (xx - mu_x**2 + yy - mu_y**2 + c2)
        return (luminance * structure).flatten(1).mean(1)


def _check_window(window_size: int, sigma: float, data_range: float, padding: str) -> None:
    if not isinstance(window_size, int) or window_size < 1 or window_size % 2 == 0:
        raise ValueError(f"window_size must be an odd whole number, got {window_size!r}")
    if padding not in get_args(Padding):
        raise ValueError(f"padding must be zero or valid, got {padding!r}")
    for name, value in (("sigma", sigma), ("data_range", data_range)):
        if isinstance(value, (str, bool)) or value is None or not value > 0:
            raise ValueError(f"{name} must be a number above 0, got {value!r}")


def _gaussian_window(size: int, sigma: float, like: Tensor) -> Tensor:
    offsets = torch.arange(size, dtype=torch.float64, device=like.device) - size // 2
    line = torch.exp(-(offsets**2) / (2 * sigma**2))
    line = line / line.sum()
    return torch.outer(line, line).to(like.dtype)


class SSIMLoss(nn.Module):
    """``loss_weight * (1 - SSIM)``, plus an optional weighted pixel term.

    Args:
        loss_weight: factor on 1 - SSIM.
        window_size: see :func:`ssim`.
        sigma: see :func:`ssim`.
        data_range: see :func:`ssim`.
        padding: see :func:`ssim`.
        second_term: ``l1``, ``mse`` or ``charbonnier`` (eps 1e-6 inside the root), averaged over
            all values; None for SSIM alone, which is the paper's loss.
        second_weight: factor on the second term.

    Shape:
        two (B, C, H, W) to a scalar.

    Raises:
        ValueError: an unknown second term, or a weight without a term.
    """

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        window_size: int = 11,
        sigma: float = 1.5,
        data_range: float = 1.0,
        padding: Padding = "zero",
        second_term: SecondTerm | None = None,
        second_weight: float = 0.0,
    ) -> None:
        super().__init__()
        _check_window(window_size, sigma, data_range, padding)
        if second_term is not None and second_term not in get_args(SecondTerm):
            raise ValueError(
                f"second_term must be one of {', '.join(get_args(SecondTerm))}, got {second_term!r}"
            )
        if second_term is None and second_weight != 0:
            raise ValueError(f"second_weight is {second_weight}, but second_term names no term")
        self.loss_weight = loss_weight
        self.window_size = window_size
        self.sigma = sigma
        self.data_range = data_range
        self.padding: Padding = padding
        self.second_term = second_term
        self.second_weight = second_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch; both images in [0, data_range]."""
        similarity = ssim(
            pred, target, window_size=self.window_size, sigma=self.sigma,
            data_range=self.data_range, padding=self.padding,
        )  # fmt: skip
        loss = self.loss_weight * (1.0 - similarity.mean())
        if self.second_term is None:
            return loss
        difference = (pred - target).to(loss.dtype)
        if self.second_term == "l1":
            second = difference.abs().mean()
        elif self.second_term == "mse":
            second = difference.square().mean()
        else:
            second = torch.sqrt(difference.square() + 1e-6).mean()
        return loss + self.second_weight * second
