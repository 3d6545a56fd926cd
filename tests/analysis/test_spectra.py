"""Spectra against sums that can be done by hand, and against numpy."""

import math

import numpy as np
import pytest
import torch

from vlif_plugin.analysis import (
    high_frequency_share,
    high_pass,
    power_spectrum,
    radial_spectrum,
)


def wave(cycles_down, cycles_across, size=32, amplitude=1.0):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return amplitude * torch.cos(2 * math.pi * (cycles_down * y + cycles_across * x) / size)


def test_a_sinusoid_has_its_energy_at_its_frequency():
    power = power_spectrum(wave(5, 0, amplitude=3.0))
    # a cosine of amplitude a has the mean square a*a/2, half of it at each of two frequencies
    assert power[5, 0].item() == pytest.approx(9 / 4 * 32 * 32, rel=1e-6)
    assert power[27, 0].item() == pytest.approx(9 / 4 * 32 * 32, rel=1e-6)
    power[5, 0] = power[27, 0] = 0
    assert power.sum() < 1e-6


def test_the_spectrum_of_a_sinusoid_has_one_ring():
    found = radial_spectrum(power_spectrum(wave(0, 6)), rings=16)
    ring = np.argmax(found.power)
    assert abs(found.frequencies[ring] - 6 / 32) <= 1 / 64
    assert sum(found.power) == pytest.approx(found.power[ring], rel=1e-9)


def test_rings_have_the_mean_power_of_their_frequencies():
    power = torch.ones(20, 30, dtype=torch.float64)
    found = radial_spectrum(power, rings=8)
    assert found.power == pytest.approx([1.0] * 8)
    assert found.frequencies == pytest.approx([(k + 0.5) / 16 for k in range(8)])


def test_power_sums_to_the_energy_of_a_map():
    x = torch.randn(3, 2, 9, 14, dtype=torch.float64)
    expected = x.square().sum((2, 3)).mean().item()
    assert power_spectrum(x).sum().item() == pytest.approx(expected, rel=1e-12)


def test_power_is_numpys_of_any_number_of_maps():
    x = torch.randn(70, 8, 6)  # more than are taken at once
    expected = (np.abs(np.fft.fft2(x.double().numpy())) ** 2).mean(0) / 48
    np.testing.assert_allclose(power_spectrum(x).numpy(), expected, rtol=1e-10, atol=1e-12)


def test_the_high_share_of_a_constant_is_zero():
    assert high_frequency_share(torch.full((2, 16, 16), 0.7)) == pytest.approx(0, abs=1e-30)
    assert high_frequency_share(torch.zeros(16, 16)) == 0


def test_shares_of_waves_are_those_of_their_energies():
    slow, fast = wave(2, 1, amplitude=2.0), wave(12, 9, amplitude=1.0)
    assert math.hypot(12, 9) / 32 > 0.25 > math.hypot(2, 1) / 32
    assert high_frequency_share(slow) < 1e-12
    assert high_frequency_share(fast) == pytest.approx(1)
    assert high_frequency_share(slow + fast) == pytest.approx(1 / 5, rel=1e-6)
    # a constant of 1 has the energy of a wave of amplitude sqrt(2)
    assert high_frequency_share(fast + 1) == pytest.approx(0.5 / 1.5, rel=1e-6)


def test_the_cut_off_decides_what_is_high():
    x = wave(0, 8)  # 0.25 cycles for each pixel: not above the cut-off of 0.25
    assert high_frequency_share(x) < 1e-12
    assert high_frequency_share(x, 0.2) == pytest.approx(1)


def test_the_checkerboard_is_all_high():
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    board = torch.where((x + y) % 2 == 0, 1.0, -1.0)
    assert high_frequency_share(board, 0.7) == pytest.approx(1)


def test_high_pass_is_an_orthogonal_projection():
    x = torch.randn(5, 12, 18, dtype=torch.float64)
    high = high_pass(x, 0.2)
    torch.testing.assert_close(high_pass(high, 0.2), high)
    assert (high * (x - high)).sum().abs() < 1e-9
    share = (high.square().sum() / x.square().sum()).item()
    assert high_frequency_share(x, 0.2) == pytest.approx(share, rel=1e-12)


def test_what_is_no_map_is_refused():
    with pytest.raises(ValueError, match="spectra need maps"):
        power_spectrum(torch.zeros(0, 4, 4))
