import pytest
import torch

from vlif_plugin.neurons import ILIFNode, LIFNode, VLIFNode, from_binary, to_binary


def test_ones_come_first_and_time_is_outermost():
    spikes = torch.tensor([[0.0, 0.25], [1.0, 0.5]])  # T = 2, D = 4
    train = to_binary(spikes, 4, 0.25)
    assert train.tolist() == [[0, 1], [0, 0], [0, 0], [0, 0], [1, 1], [1, 1], [1, 0], [1, 0]]
    assert torch.equal(from_binary(train, 4, 0.25), spikes)
    assert torch.equal(from_binary(train.view(2, 4, 2).flip(1).flatten(0, 1), 4, 0.25), spikes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "neuron", [LIFNode(), ILIFNode(D=5), VLIFNode(D=4), VLIFNode(D=3)], ids=str
)
def test_every_neuron_s_spikes_come_back(neuron, dtype):
    spikes = neuron((3 * torch.randn(3, 2, 4, 8, 8)).to(dtype))
    assert 0.05 < (spikes > 0).double().mean() < 0.95
    train = to_binary(spikes, neuron.levels, neuron.unit)
    assert train.shape == (neuron.levels * len(spikes), *spikes.shape[1:])
    assert train.dtype == dtype
    assert set(train.unique().tolist()) == {0, 1}
    assert train.double().sum() == (spikes.double() / neuron.unit).round().sum()
    back = from_binary(train, neuron.levels, neuron.unit)
    torch.testing.assert_close(back, spikes, rtol=1e-2 if dtype == torch.bfloat16 else 1e-3, atol=0)
    if neuron.levels in (1, 4, 5):  # units that are exact
        assert torch.equal(back, spikes)


def test_a_linear_layer_gives_for_the_spike_what_it_gives_for_its_train():
    layer = torch.nn.Linear(6, 5).double()
    spikes = torch.randint(0, 5, (3, 7, 6)).double() / 4
    train = to_binary(spikes, 4, 0.25)
    summed = from_binary(torch.nn.functional.linear(train, layer.weight), 4, 0.25) + layer.bias
    torch.testing.assert_close(summed, layer(spikes), rtol=0, atol=1e-14)


@pytest.mark.parametrize("values", [[0.3], [-1.0], [5.0], [float("nan")]])
def test_what_is_no_spike_is_refused(values):
    with pytest.raises(ValueError, match=r"spikes must be k \* 1 with whole k from 0 to 4"):
        to_binary(torch.tensor(values), 4)


def test_a_train_has_whole_timesteps():
    with pytest.raises(
        ValueError, match="4 virtual timesteps a step needs a multiple of them, got 6"
    ):
        from_binary(torch.zeros(6, 2), 4)
    assert to_binary(torch.zeros(2, 0), 4).shape == (8, 0)
