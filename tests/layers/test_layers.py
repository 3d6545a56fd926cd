import pytest
import torch
import torch.nn.functional as F
from helpers import part, reference, relative_error
from torch import nn

from vlif_plugin.layers import (
    ConvBN,
    MultiDimensionalAttention,
    TemporalAttention,
    ThresholdDependentBatchNorm2d,
    crop,
    over_time,
    pad_to_multiple,
    patch_steps,
    patch_to_time,
    time_to_channel,
    time_to_patch,
    upsample,
)


@pytest.mark.parametrize("r", [1, 2, 3])
def test_patch_to_time_orders_steps_as_pixel_unshuffle_orders_channels(r):
    x = torch.arange(2 * 3 * 4 * (2 * r) * (5 * r)).view(2, 3, 4, 2 * r, 5 * r)
    steps = patch_to_time(x, r)
    unshuffled = F.pixel_unshuffle(x.flatten(0, 1).float(), r).view(2, 3, 4, r * r, 2, 5)
    assert torch.equal(
        steps.view(2, r * r, 3, 4, 2, 5), unshuffled.permute(0, 3, 1, 2, 4, 5).long()
    )


@pytest.mark.parametrize("r", [1, 2, 3])
def test_time_to_channel_is_pixel_unshuffle_of_what_came_in(r):
    x = torch.randn(2, 3, 4, 2 * r, 5 * r)
    back = time_to_channel(patch_to_time(x, r), r)
    assert torch.equal(back, F.pixel_unshuffle(x.flatten(0, 1), r).unflatten(0, (2, 3)))


@pytest.mark.parametrize("r", [1, 2, 3])
def test_time_to_patch_undoes_patch_steps(r):
    x = torch.randn(2, 3, 4, 2 * r, 5 * r)
    assert torch.equal(time_to_patch(patch_steps(x, r), r), x)


def test_rearrangements_refuse_what_does_not_divide():
    with pytest.raises(ValueError, match="6x5"):
        patch_to_time(torch.zeros(1, 1, 1, 6, 5), 2)
    with pytest.raises(ValueError, match="got 6"):
        time_to_channel(torch.zeros(6, 1, 1, 2, 2), 2)
    with pytest.raises(ValueError, match="got 6"):
        time_to_patch([torch.zeros(1, 1, 2, 2)] * 6, 2)


def test_tdbn_reproduces_the_reference():
    arrays = reference("tdbn")
    norm = ThresholdDependentBatchNorm2d(5, v_threshold=0.15)
    assert torch.equal(norm.weight.double(), arrays["init_weight"].float().double())
    norm = norm.double()
    norm.load_state_dict(part(arrays, "state/") | {"weight": arrays["init_weight"]}, strict=True)
    x = arrays["x"]
    assert relative_error(over_time(norm.train(), x), arrays["y_train"]) < 1e-9
    norm.load_state_dict(part(arrays, "state/"))
    assert relative_error(over_time(norm.eval(), x), arrays["y_eval"]) < 1e-9


def test_tdbn_takes_statistics_over_time_and_batch():
    block = ConvBN(3, 3, v_threshold=2.0).double()
    x = torch.randn(4, 2, 3, 6, 5, dtype=torch.float64)
    y = block(x)
    assert torch.allclose(y.mean((0, 1, 3, 4)), torch.zeros(3, dtype=torch.float64), atol=1e-12)
    spread = y.var((0, 1, 3, 4), unbiased=False).sqrt()
    assert torch.allclose(spread, torch.full_like(spread, 2**0.5), rtol=1e-3)


def test_tdbn_can_be_synchronised():
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(ConvBN(3, 4, v_threshold=0.15))
    assert isinstance(synced.bn, nn.SyncBatchNorm)
    assert torch.allclose(synced.bn.weight, torch.full((4,), 0.15 * 0.5**0.5))


def test_mda_reproduces_the_reference():
    arrays = reference("mda")
    names = {"ta.sharedMLP": "temporal.mlp", "ca.sharedMLP": "channel.mlp", "sa": "spatial"}
    state = {}
    for key, value in part(arrays, "state/").items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        key = key.replace(".0.", ".fc1.").replace(".2.", ".fc2.")
        state[key] = value if "spatial" in key else value.flatten(1)
    attention = MultiDimensionalAttention(4, 16).double()
    attention.load_state_dict(state)
    assert relative_error(attention(arrays["x"]), arrays["y"]) < 1e-9


def test_temporal_attention_reproduces_the_reference():
    arrays = reference("time_attention")
    attention = TemporalAttention(16, reduction=4).double()
    attention.load_state_dict(
        {
            "mlp.fc1.weight": arrays["state/sharedMLP.0.weight"].flatten(1),
            "mlp.fc2.weight": arrays["state/sharedMLP.2.weight"].flatten(1),
        }
    )
    gate = attention.gate(arrays["x"].transpose(0, 1))
    assert relative_error(gate.transpose(0, 1), arrays["y"]) < 1e-9


def test_the_peak_of_tied_values_sends_its_gradient_to_one_of_them():
    # spikes tie; the reference's pooling picks one element, and amax would split the gradient
    attention = TemporalAttention(2, reduction=1)
    for weight in attention.parameters():
        nn.init.ones_(weight)
    x = torch.ones(2, 1, 1, 1, 4, requires_grad=True)
    attention.gate(x).sum().backward()
    through_peak = x.grad - x.grad.amin(dim=-1, keepdim=True)
    assert (through_peak > 0).sum() == 2


def test_attention_works_with_one_timestep_and_few_channels():
    assert MultiDimensionalAttention(1, 3)(torch.rand(1, 2, 3, 5, 4)).shape == (1, 2, 3, 5, 4)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (9, 16), (17, 7)])
def test_padding_reaches_the_multiple_and_keeps_the_image(size):
    x = torch.rand(2, 3, *size)
    padded = pad_to_multiple(x, 8)
    assert padded.shape[-2] % 8 == 0
    assert padded.shape[-1] % 8 == 0
    assert max(padded.shape[-2] - size[0], padded.shape[-1] - size[1]) < 8
    assert torch.equal(padded[..., : size[0], : size[1]], x)


def test_padding_reflects_and_then_repeats():
    row = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    assert pad_to_multiple(row, 8)[0, 0, 0].tolist() == [1, 2, 3, 2, 1, 1, 1, 1]


def test_an_image_that_fits_stays_as_it_is():
    x = torch.rand(1, 3, 16, 8)
    assert torch.equal(pad_to_multiple(x, 8), x)
    assert pad_to_multiple(x, 1) is x


@pytest.mark.parametrize("size", [(2, 2), (9, 14), (16, 8)])
def test_padding_is_undone_by_cropping_and_pads_as_torch_reflects(size):
    x = torch.rand(2, 3, *size)
    if min(size) > 7:
        by_hand = F.pad(x, (0, -size[1] % 8, 0, -size[0] % 8), mode="reflect")
        assert torch.equal(pad_to_multiple(x, 8), by_hand)
    assert torch.equal(crop(pad_to_multiple(x, 8), *size), x)


def test_upsampling_treats_each_timestep_alone():
    x = torch.rand(2, 3, 1, 4, 5)
    whole = upsample(x, 2)
    assert torch.equal(whole[1], F.interpolate(x[1], scale_factor=2, mode="bilinear"))
    assert upsample(x, 1) is x
