import pytest
import torch
from helpers import reference, relative_error
from skimage.metrics import structural_similarity

from vlif_plugin.losses import SSIMLoss, ssim


def test_released_ssim_and_its_gradient_are_reproduced():
    arrays = reference("ssim")
    pred = arrays["pred"].requires_grad_()
    value = ssim(pred, arrays["target"]).mean()
    value.backward()
    assert abs(value.item() - arrays["ssim"].item()) < 1e-12
    assert relative_error(pred.grad, arrays["grad_pred"]) < 1e-9


@pytest.mark.parametrize("data_range", [1.0, 255.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_valid_mode_equals_scikit_image(data_range, dtype, tolerance):
    x = torch.rand(3, 3, 33, 41, dtype=torch.float64)
    y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    ours = ssim(
        (x * data_range).to(dtype),
        (y * data_range).to(dtype),
        data_range=data_range,
        padding="valid",
    )
    for index in range(3):
        theirs = structural_similarity(
            x[index].numpy() * data_range, y[index].numpy() * data_range, channel_axis=0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=data_range,
        )  # fmt: skip
        assert ours[index].item() == pytest.approx(theirs, abs=tolerance)


def test_loss_is_one_minus_ssim_and_zero_for_equal_images():
    x, y = torch.rand(2, 3, 20, 20), torch.rand(2, 3, 20, 20)
    assert SSIMLoss(loss_weight=0.5)(x, y).item() == pytest.approx(
        0.5 * (1 - ssim(x, y).mean().item())
    )
    assert SSIMLoss()(x, x).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("l1", lambda d: d.abs().mean()),
        ("mse", lambda d: (d * d).mean()),
        ("charbonnier", lambda d: (d * d + 1e-6).sqrt().mean()),
    ],
)
def test_second_term_is_added_with_its_weight(term, expected):
    x, y = torch.rand(2, 3, 20, 20), torch.rand(2, 3, 20, 20)
    both = SSIMLoss(second_term=term, second_weight=0.3)(x, y)
    assert both.item() == pytest.approx((SSIMLoss()(x, y) + 0.3 * expected(x - y)).item())


def test_autocast_leaves_it_in_float32():
    x, y = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = SSIMLoss()(x, y)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, SSIMLoss()(x, y))
    assert SSIMLoss()(x.bfloat16(), y).dtype == torch.float32


def test_gradient_is_the_numerical_one():
    x = torch.rand(1, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    y = torch.rand(1, 1, 6, 7, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: ssim(a, y, window_size=5), x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ssim(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9)), "one shape"),
        (lambda: ssim(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), padding="valid"), "smaller"),
        (lambda: ssim(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), window_size=4), "odd"),
        (lambda: SSIMLoss(second_term="l3"), "second_term"),
        (lambda: SSIMLoss(second_weight=1.0), "second_weight"),
    ],
)
def test_impossible_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
