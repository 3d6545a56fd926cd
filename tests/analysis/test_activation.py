"""Activation over ranges of inputs: counts by hand, thresholds in closed form, the paper's numbers."""

import math

import pytest
import torch

from vlif_plugin.analysis import (
    PUBLISHED,
    activation,
    active,
    at_pixels,
    decay_matrix,
    equal_ranges,
    least_input,
    respond,
    responses,
    studied_neurons,
)
from vlif_plugin.neurons import ILIFNode, LIFNode, NILIFNode, VLIFNode, VLIFPixelNode

NEURONS = {
    "lif": LIFNode(v_threshold=0.15, decay_input=False),
    "lif, decaying input": LIFNode(tau=3.0, v_threshold=0.7),
    "ilif": ILIFNode(D=2, beta=0.5),
    "nilif": NILIFNode(),
    "nilif, threshold 2": NILIFNode(v_threshold=2.0),
    "vlif": VLIFNode(),
    "vlif, official": VLIFPixelNode(subtract_count=False, beta=0.5),
}


def test_the_matrix_decays_from_its_diagonal():
    matrix = decay_matrix(5, decay=0.5, peak=0.8)
    for i in range(5):
        for j in range(5):
            assert matrix[i, j].item() == pytest.approx(0.8 * math.exp(-0.5 * abs(i - j)), rel=1e-6)


def test_its_ranges_are_those_of_figure_3():
    edges = equal_ranges(decay_matrix())
    assert [round(edge, 3) for edge in (edges[0], edges[1], edges[-1])] == [0.002, 0.114, 0.9]


def test_of_all_sizes_only_64_has_so_many_inputs_in_whole_diagonals():
    found = [
        (size, width)
        for size in range(2, 129)
        for width in range(size)
        if round((size * (2 * width + 1) - width * (width + 1)) / size**2, 4) == PUBLISHED["lif"]
    ]
    assert found == [(64, 5)]


def test_counts_by_range_by_hand():
    x = torch.tensor([0.0, 0.1, 0.2, 0.25, 0.5, 0.9, 1.0, 1.5])
    on = torch.tensor([1, 0, 1, 1, 0, 1, 1, 1])
    found = activation(x, on, (0.1, 0.25, 1.0))
    # 0.1 and 0.2; 0.25, 0.5, 0.9 and 1; 0 and 1.5 lie outside
    assert (found.inputs, found.active) == ((2, 4), (1, 3))
    assert (found.all_inputs, found.all_active) == (8, 6)
    assert found.shares == (0.5, 0.75)
    assert found.share == 0.75
    twice = found + found
    assert (twice.inputs, twice.active, twice.all_active) == ((4, 8), (2, 6), 12)


def test_an_empty_range_has_no_share():
    assert activation(torch.zeros(3), torch.zeros(3), (0.0, 0.5, 1.0)).shares == (0, None)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="must ascend"):
        activation(torch.zeros(2), torch.zeros(2), (1.0, 0.5))
    with pytest.raises(ValueError, match="their activity"):
        activation(torch.zeros(2), torch.zeros(3), (0.0, 1.0))
    one, two = (activation(torch.zeros(2), torch.zeros(2), (0.0, e)) for e in (1.0, 2.0))
    with pytest.raises(ValueError, match="different ranges"):
        one + two
    with pytest.raises(ValueError, match="ever, update, first"):
        active(torch.zeros(2, 2), "always")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("T", [1, 4])
@pytest.mark.parametrize("name", NEURONS)
def test_the_least_constant_input_that_fires(name, T):
    neuron = NEURONS[name]
    least = least_input(neuron, T)
    fires = [
        bool(neuron(torch.full((T, 1, 1, 2, 2), value, dtype=torch.float64)).any())
        for value in (least * (1 - 1e-9), least * (1 + 1e-9))
    ]
    assert fires == [False, True]


def test_least_inputs_of_the_networks_neurons_by_hand():
    lif, lif_1, _, vlif, _ = studied_neurons().values()
    # without input decay: x (1 + 1/2 + 1/4 + 1/8) = 15/8 x
    assert least_input(lif) == pytest.approx(0.15 * 8 / 15)
    assert least_input(lif_1) == pytest.approx(8 / 15)
    # x (1 + 1/4 + ...) = 4/3 x must be above a half
    assert least_input(vlif) == pytest.approx(0.375, rel=1e-6)
    with pytest.raises(ValueError, match="no closed form"):
        least_input(LIFNode(v_reset=0.1))


def test_spikes_of_patches_return_to_their_pixels():
    x = torch.zeros(2, 1, 1, 4, 4)
    x[1, 0, 0, 2, 3] = 1.0
    spikes = at_pixels(VLIFNode(), VLIFNode()(x), x)
    assert spikes.nonzero().tolist() == [[1, 0, 0, 2, 3]]
    with pytest.raises(ValueError, match="no place among its inputs"):
        at_pixels(LIFNode(), torch.zeros(3, 1, 1, 2, 2), x)


def test_activity_at_any_step_and_at_each():
    spikes = torch.tensor([[0.0, 0.0, 0.5], [1.0, 0.0, 0.0]])
    assert active(spikes).tolist() == [True, False, True]
    assert active(spikes, "first").tolist() == [False, False, True]
    assert active(spikes, "update").tolist() == [[False, False, True], [True, False, False]]


def test_the_papers_activation_of_lif_comes_out_with_a_threshold_of_one():
    # fires from 8/15 on: 0.9 exp(-0.1 d) for d up to 5; 64 elements on the diagonal, 2 (64 - d) beside it
    count = 64 + sum(2 * (64 - d) for d in range(1, 6))
    assert round(count / 64**2, 4) == PUBLISHED["lif"]
    found = responses(decay_matrix())["LIF, threshold 1"]
    assert found.activations["ever"].all_active == count
    assert found.activations["ever"].shares[0] == PUBLISHED["lif_lowest"]
    assert found.activations["first"].all_active == 0  # "may fail to exceed the threshold at t = 1"


def test_with_the_networks_own_threshold_lif_is_active_more_often_than_vlif():
    found = responses(decay_matrix())
    lif, vlif = (
        found[name].activations["ever"]
        for name in ("LIF of the network (threshold 0.15)", "VLIF of the network, paper")
    )
    count = 64 + sum(2 * (64 - d) for d in range(1, 64) if 0.9 * math.exp(-0.1 * d) >= 0.08)
    assert lif.all_active == count
    assert vlif.share < lif.share
    assert vlif.shares[0] == 0 < lif.shares[0]


def test_a_matrix_is_shown_again_at_each_step():
    # 0.1: potentials 0.1, 0.15 (fires), 0.1, 0.15 (fires)
    spikes = respond(
        torch.full((2, 2), 0.1, dtype=torch.float64), LIFNode(v_threshold=0.14, decay_input=False)
    )
    assert spikes[:, 0, 0].tolist() == [0, 1, 0, 1]
