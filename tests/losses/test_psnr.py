import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from vlif_plugin.losses import PSNRLoss


def test_it_is_minus_the_mean_psnr_of_the_images():
    x = torch.rand(3, 3, 9, 11, dtype=torch.float64)
    y = (x + torch.tensor([0.01, 0.1, 0.3])[:, None, None, None] * torch.randn_like(x)).clamp(0, 1)
    psnr = [
        peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1)
        for a, b in zip(x, y, strict=True)
    ]
    assert PSNRLoss(eps=0)(x, y).item() == pytest.approx(-sum(psnr) / 3, abs=1e-12)
    assert PSNRLoss(loss_weight=0.5)(x, y).item() == pytest.approx(-sum(psnr) / 6, abs=1e-2)


def test_equal_images_are_finite_and_have_a_gradient():
    x = torch.rand(1, 3, 4, 4, requires_grad=True)
    loss = PSNRLoss()(x, x.detach())
    loss.backward()
    assert loss.item() == pytest.approx(10 * math.log10(1e-8))
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_half_precision_is_computed_in_float32():
    x = torch.full((1, 3, 4, 4), 0.5, dtype=torch.bfloat16)
    loss = PSNRLoss()(x, x + 0.0625)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(20 * math.log10(0.0625), abs=1e-4)
