"""What spiking restorers share: the residual that only darkens."""

from __future__ import annotations

import torch

from vlif_plugin.archs._restorer import darkening

ABOVE, BELOW = 0.3, -0.3


def test_a_residual_that_would_brighten_changes_nothing() -> None:
    residual = torch.tensor([BELOW, 0.0, ABOVE])
    assert torch.equal(darkening(residual), torch.tensor([BELOW, 0.0, 0.0]))
    with torch.no_grad():
        assert torch.equal(darkening(residual), torch.tensor([BELOW, 0.0, 0.0]))


def test_below_zero_the_whole_gradient_passes_and_above_a_tenth_that_pushes_down() -> None:
    residual = torch.tensor([BELOW, BELOW, 0.0, ABOVE, ABOVE], requires_grad=True)
    darkening(residual).backward(torch.tensor([2.0, -2.0, -2.0, 2.0, -2.0]))
    assert residual.grad is not None
    torch.testing.assert_close(residual.grad, torch.tensor([2.0, -2.0, -2.0, 0.2, 0.0]))


def test_a_pixel_that_should_be_darker_comes_back_from_above() -> None:
    residual = torch.tensor([ABOVE], requires_grad=True)
    descent = torch.optim.SGD([residual], lr=0.1)
    for _ in range(200):
        descent.zero_grad()
        (darkening(residual) - BELOW).pow(2).sum().backward()
        descent.step()
    torch.testing.assert_close(residual.detach(), torch.tensor([BELOW]), atol=1e-3, rtol=0)


def test_a_pixel_that_should_be_brighter_than_its_image_does_not_drift() -> None:
    residual = torch.tensor([ABOVE, BELOW], requires_grad=True)
    descent = torch.optim.SGD([residual], lr=0.1)
    for _ in range(200):
        descent.zero_grad()
        (darkening(residual) - 1.0).pow(2).sum().backward()
        descent.step()
    found = residual.detach()
    assert found[0] == ABOVE
    assert 0 <= found[1] <= 0.3  # one step over the edge, and no further


def test_a_compiled_network_has_the_same_gradient() -> None:
    residual = torch.linspace(-1, 1, 24, requires_grad=True)
    weight = torch.linspace(1, -1, 24).roll(7)
    (direct,) = torch.autograd.grad((darkening(residual) * weight).sum(), residual)
    compiled = torch.compile(darkening, backend="aot_eager")
    (traced,) = torch.autograd.grad((compiled(residual) * weight).sum(), residual)
    assert torch.equal(direct, traced)
