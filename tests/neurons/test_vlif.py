import pytest
import torch
import torch.nn.functional as F
from helpers import reference, relative_error

from vlif_plugin.layers import patch_to_time
from vlif_plugin.neurons import VLIFC, VLIFT, NILIFNode, VLIFNode, VLIFPixelNode


@pytest.mark.parametrize("r", [1, 2, 3])
def test_neuron_integrates_each_patch_in_its_order(r):
    x = torch.randn(2, 1, 1, 3 * r, 2 * r) * 2
    node = VLIFNode(r=r)
    spikes = node(x)
    assert spikes.shape == (2 * r * r, 1, 1, 3, 2)
    for i in range(3):
        for j in range(2):
            patch = x[:, 0, 0, i * r : (i + 1) * r, j * r : (j + 1) * r].reshape(-1, 1)
            assert torch.equal(spikes[:, 0, 0, i, j], NILIFNode()(patch)[:, 0])


@pytest.mark.parametrize("r", [1, 2, 3])
def test_spikes_return_to_their_pixels(r):
    x = torch.randn(2, 3, 4, 3 * r, 2 * r) * 2
    spikes = VLIFPixelNode(r=r)(x)
    assert 0.05 < (spikes != 0).float().mean() < 0.95
    assert torch.equal(patch_to_time(spikes, r), VLIFNode(r=r)(x))


def test_weak_pixels_fire_when_their_patch_is_strong():
    # paper, "Patch-to-Time Reorganisation": context lifts pixels that are silent on their own
    x = torch.zeros(1, 1, 1, 2, 2)
    x[0, 0, 0] = torch.tensor([[0.4, 0.45], [0.4, 0.45]])
    assert not NILIFNode()(x).any()
    assert VLIFNode(r=2)(x).any()


def test_released_vlif_c_is_reproduced():
    arrays = reference("vlif_c")
    neuron = VLIFC(16, formulation="official").double()
    neuron.load_state_dict({"mix.weight": arrays["state/channel_adjust.weight"]})
    x = arrays["x"].requires_grad_()
    y = neuron(x)
    (y * arrays["g"]).sum().backward()
    assert relative_error(y, arrays["y_train"]) < 1e-9
    assert relative_error(x.grad, arrays["grad_x"]) < 1e-9
    assert relative_error(neuron.mix.weight.grad, arrays["grad/channel_adjust.weight"]) < 1e-9


def test_paper_vlif_c_is_the_written_composition():
    neuron, x = VLIFC(6, T=3, r=2).double(), torch.randn(3, 2, 6, 8, 4, dtype=torch.float64) * 2
    spikes = neuron.neuron(x)
    assert 0.05 < (spikes != 0).double().mean() < 0.95
    attended = spikes * neuron.attention.gate(spikes)
    flat = attended.reshape(3, 4, 2, 6, 4, 2).permute(0, 2, 3, 1, 4, 5).reshape(6, 24, 4, 2)
    first, _, second = neuron.mix
    mixed = F.conv2d(F.conv2d(flat, first.weight).relu(), second.weight)
    expected = F.interpolate(mixed, scale_factor=2, mode="bilinear").reshape(3, 2, 6, 8, 4)
    torch.testing.assert_close(neuron(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("formulation", ["paper", "official"])
def test_vlif_t_compresses_each_patch_to_one_step(formulation):
    neuron = VLIFT(5, T=2, r=2, formulation=formulation).double()
    x = torch.randn(2, 3, 5, 4, 6, dtype=torch.float64) * 2
    spikes = neuron.neuron(x)
    attended = spikes * neuron.attention.gate(spikes)
    weight = neuron.compress.weight[:, :, :, 0, 0]
    expected = torch.stack(
        [torch.einsum("pbchw,ocp->bohw", attended[4 * t : 4 * t + 4], weight) for t in range(2)]
    )
    assert (expected < 0).any()
    if formulation == "official":
        expected = expected.relu()
    torch.testing.assert_close(neuron(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", [VLIFC, VLIFT])
def test_size_of_the_result_is_a_choice(build):
    x = torch.randn(4, 1, 4, 6, 9)
    assert build(4, r=3, full_size=True)(x).shape == x.shape
    assert build(4, r=3, full_size=False)(x).shape == (4, 1, 4, 2, 3)


def test_resets_differ_between_formulations():
    x = torch.rand(4, 1, 2, 4, 4) * 4
    paper, official = VLIFC(2), VLIFC(2, formulation="official")
    assert not torch.equal(paper.neuron(x), official.neuron(x))


@pytest.mark.parametrize("build", [VLIFC, VLIFT])
def test_a_misspelt_formulation_is_refused(build):
    with pytest.raises(ValueError, match="paper, official"):
        build(4, formulation="offical")


def test_a_size_that_r_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="r=2"):
        VLIFNode(r=2)(torch.zeros(1, 1, 1, 5, 4))
    with pytest.raises(ValueError, match="r must"):
        VLIFNode(r=0)


def test_another_number_of_timesteps_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"T=16.*24"):
        VLIFT(2, T=4, r=2)(torch.zeros(6, 1, 2, 4, 4))
