"""Repeated neurons and eq. 1, by hand; what spikes mark, by masks whose answer is known."""

import math

import pytest
import torch

from vlif_plugin.analysis import indication, lift, repeat
from vlif_plugin.neurons import LIFNode, NILIFNode, VLIFNode, VLIFPixelNode


def lif(**changes):
    return LIFNode(**({"v_threshold": 0.15, "decay_input": False} | changes))


def test_the_networks_lif_changes_its_own_spikes_nowhere():
    # from rest a spike of 1 is above the threshold, fires, and leaves rest again (hard reset)
    x = torch.randn(6, 2, 3, 16, 16)
    found = repeat(x, lif(), times=5)
    assert 0.1 < found.applications[1].rate < 0.9
    assert [entry.changed for entry in found.applications] == [None, None, 0, 0, 0, 0]
    assert found.saturated
    first = found.applications[1]
    assert all(entry.norm == first.norm for entry in found.applications[2:])
    assert all(entry.spectrum == first.spectrum for entry in found.applications[2:])


def test_a_soft_reset_fires_again_on_its_own_spikes():
    # a spike of 1 leaves 0.85, of which half, 0.425, is above the threshold at the next step
    x = torch.zeros(3, 1, 1, 2, 2)
    x[0, ..., 0, 0] = 0.2
    found = repeat(x, lif(v_reset=None), times=2)
    first, second = found.applications[1:]
    assert first.rate == pytest.approx(1 / 12)  # 0.2 fires once: 0.05 is left
    # 1; 0.425 fires, leaves 0.275; 0.1375 is below
    assert second.rate == pytest.approx(2 / 12)
    assert second.changed == pytest.approx(1 / 12)


def test_a_neuron_with_a_decaying_input_falls_silent():
    # 1 / tau of a spike is 0.5, and two spikes after each other make 0.75: never the threshold of 1
    found = repeat(torch.full((2, 1, 1, 4, 4), 2.5), LIFNode(), times=2)
    assert [entry.rate for entry in found.applications] == [1, 1, 0]
    assert not found.saturated


def test_norms_are_those_of_the_features_where_spikes_are():
    x = torch.tensor([[0.3, 0.1], [-4.0, 0.2]]).view(1, 1, 1, 2, 2)
    found = repeat(x, lif(), times=1, cutoff=0.1)
    none, one = found.applications
    assert none.norm == pytest.approx(math.sqrt(0.09 + 0.01 + 16 + 0.04))
    assert one.norm == pytest.approx(math.sqrt(0.09 + 0.04))  # 0.3 and 0.2 fire
    assert one.ratio == pytest.approx(one.norm / none.norm)
    assert one.mean == pytest.approx(0.5 / 4)
    assert one.rate == 0.5
    # all but the mean, -3.4 / 4, is above a cut-off of 0.1 on a 2x2 map
    assert found.high_norm == pytest.approx(math.sqrt(none.norm**2 - 4 * (3.4 / 4) ** 2))
    masked = torch.tensor([0.3, 0.0, 0.0, 0.2])
    high = x.flatten() + 3.4 / 4
    assert found.alignment == pytest.approx(
        (masked @ high / (masked.norm() * high.norm())).item(), rel=1e-6
    )


def test_silence_is_no_saturation():
    assert not repeat(torch.zeros(2, 1, 1, 4, 4), lif(), times=3).saturated


def test_one_application_is_an_answer():
    assert repeat(torch.ones(2, 1, 1, 4, 4), lif(), times=1).saturated


def test_normalised_spikes_die_out():
    # 3 becomes 3/4, which rounds to 1 and becomes 1/4, which rounds to 0
    x = torch.full((1, 1, 1, 4, 4), 3.0)
    rates = [entry.rate for entry in repeat(x, NILIFNode(D=4), times=3).applications]
    assert rates == [1, 1, 1, 0]
    assert [entry.rate for entry in repeat(x, VLIFPixelNode(), times=3).applications][3] == 0


def test_neurons_that_change_the_shape_cannot_be_repeated():
    with pytest.raises(ValueError, match="if it keeps the shape"):
        repeat(torch.ones(2, 1, 1, 4, 4), VLIFNode())
    with pytest.raises(ValueError, match="times must be at least 1"):
        repeat(torch.ones(2, 1, 1, 4, 4), lif(), times=0)


def board(size=16):
    """A quiet left half, and a checkerboard on the right."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    sign = torch.where((x + y) % 2 == 0, 1.0, -1.0)
    return torch.where(x < size // 2, torch.zeros(()), sign), x


def test_a_mask_on_the_fast_half_has_a_lift_of_two_or_nearly_so():
    values, x = board()
    spikes = (x >= 8).float()
    found = indication(values, spikes, cutoff=0.25)
    assert found.rate == 0.5
    # the edge of the half spreads some energy to the other side
    assert 1.9 < found.lift_high <= 2
    assert indication(values, 1 - spikes).lift_high == pytest.approx(2 - found.lift_high)


def test_a_mask_that_does_not_care_has_a_lift_of_one():
    values, _ = board()
    y = torch.arange(16)[:, None].expand(16, 16)
    found = indication(values, (y < 8).float())
    assert found.lift_high == pytest.approx(1)
    assert indication(values, torch.ones(16, 16)).lift_high == pytest.approx(1)


def test_spikes_on_a_bright_slope_mark_low_frequencies():
    ramp = torch.linspace(0, 1, 32)[None].expand(32, 32)
    fine = 0.05 * (torch.arange(32) % 2 * 2 - 1)[:, None]
    found = indication(ramp + fine, (ramp > 0.5).float())
    # without the border, fine lines are everywhere alike and intensity is not
    assert found.lift_low > 1.5
    assert found.lift_low > found.lift_high


def test_any_sparse_mask_raises_the_share_of_high_frequencies():
    slow = 1 + torch.cos(2 * math.pi * torch.arange(32) / 32)[None].expand(32, 32)
    spikes = (torch.rand(32, 32) < 0.1).float()
    found = indication(slow, spikes)
    assert found.high_share < 1e-12
    assert found.high_share_masked > 0.5
    assert found.high_share_random > 0.5


def test_silence_has_no_lift():
    found = indication(torch.randn(2, 8, 8), torch.zeros(2, 8, 8))
    assert (found.rate, found.lift_high, found.lift_low) == (0, None, None)


def test_lift_by_hand():
    energy, weight = torch.tensor([1.0, 3.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert lift(energy, weight) == 3 / (4 * 0.5)
    assert lift(torch.zeros(4), weight) is None


def test_features_and_spikes_must_fit():
    with pytest.raises(ValueError, match="their spikes"):
        indication(torch.zeros(4, 4), torch.zeros(2, 2))
