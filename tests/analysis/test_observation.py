"""Layers of a network that runs: their maps against spikes that a test keeps itself."""

import numpy as np
import pytest
import torch
from helpers import live_net
from torch import nn

from vlif_plugin.analysis import at_pixels, indication, neurons_of, observe
from vlif_plugin.errors import DataError, OptionError
from vlif_plugin.neurons import FiringRates, LIFNode, VLIFNode


@pytest.fixture(scope="module")
def live():
    torch.manual_seed(0)
    net, x = live_net("VLIFNet, paper")
    return net.float(), x[:1].float()


@pytest.fixture(scope="module")
def seen(live):
    return observe(*live, clean=torch.zeros(1, 3, 24, 40), edges=(0.0, 0.5, 5.0))


def spikes_of(net, x):
    kept = {}
    hooks = [
        neuron.register_forward_hook(
            lambda _, inputs, out, name=name: kept.__setitem__(name, (inputs[0], out))
        )
        for name, neuron in neurons_of(net).items()
    ]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return kept


def test_rates_are_those_that_are_counted_elsewhere(live, seen):
    net, x = live
    with FiringRates(net) as rates, torch.no_grad():
        restored = net(x)
    counts = rates.counts()
    assert {layer.name for layer in seen.layers} == set(counts)
    for layer in seen.layers:
        spikes, updates = counts[layer.name]
        assert layer.rate == pytest.approx(spikes / updates, rel=1e-5)
    assert torch.equal(seen.restored, restored)


def test_maps_are_the_spikes_averaged_over_channels(live, seen):
    kept = spikes_of(*live)
    visual = 0
    for layer in seen.layers:
        x, out = kept[layer.name]
        expected = (out != 0).float().mean((1, 2))
        assert layer.shape == (out.shape[0], *out.shape[2:])
        np.testing.assert_allclose(layer.maps, expected.numpy(), rtol=1e-6)
        assert layer.rates == pytest.approx(expected.mean((1, 2)).tolist())
        visual += layer.visual
        if layer.visual:
            assert len(layer.rates) == 4 * len(x)
    assert 0 < visual < len(seen.layers)


def test_layers_are_measured_at_their_pixels(live, seen):
    net, x = live
    kept = spikes_of(net, x)
    for layer in seen.layers[:4]:
        features, out = kept[layer.name]
        placed = at_pixels(net.get_submodule(layer.name), out, features)
        assert layer.indication == indication(features, placed)
        low = (features >= 0) & (features < 0.5)
        assert layer.activation.inputs[0] == int(low.sum())
        assert layer.activation.active[0] == int((placed[low] != 0).sum())
        assert layer.activation.all_inputs == features.numel()


def test_large_maps_are_kept_as_means(live):
    net, x = live
    small = observe(net, x, longest=10)
    for layer, whole in zip(small.layers, observe(net, x).layers, strict=True):
        assert max(layer.maps.shape[1:]) <= 10
        assert layer.rates == whole.rates
        # of areas that overlap by a row where they do not divide, so nearly the same
        assert layer.maps.mean() == pytest.approx(whole.maps.mean(), rel=0.2)


class Firing(nn.Module):
    """A network whose only layer fires where the image is above its threshold."""

    def __init__(self):
        super().__init__()
        self.neuron = LIFNode(tau=1.0, v_threshold=0.5, decay_input=False)

    def forward(self, x):
        return x + 0 * self.neuron(x[None]).mean(0)


def test_what_is_kept_of_a_layer_is_its_input():
    x = torch.rand(1, 3, 16, 16)
    seen = observe(Firing(), x, keep="neuron")
    assert torch.equal(seen.features, x[None])
    assert observe(Firing(), x).features is None


def test_a_layer_that_fires_on_the_degradation_has_its_lift():
    clean = torch.full((1, 3, 16, 16), 0.2)
    image = clean.clone()
    image[..., :4] = 0.9  # a quarter
    (layer,) = observe(Firing(), image, clean=clean).layers
    assert layer.lift_degradation == pytest.approx(4)
    (layer,) = observe(Firing(), 1 - image, clean=1 - clean).layers  # fires elsewhere
    assert layer.lift_degradation == 0
    (layer,) = observe(Firing(), image, clean=image).layers
    assert layer.lift_degradation is None


def test_maps_of_coarse_layers_cover_the_image_that_was_padded():
    class Coarse(nn.Module):
        size_multiple = 8

        def __init__(self):
            super().__init__()
            self.neuron = LIFNode(tau=1.0, v_threshold=0.5, decay_input=False)

        def forward(self, x):
            padded = nn.functional.pad(x, (0, -x.shape[3] % 8, 0, -x.shape[2] % 8))
            self.neuron(nn.functional.avg_pool2d(padded, 8)[None])
            return x

    clean = torch.zeros(1, 3, 17, 20)  # padded to 24 x 24, three coarse pixels
    image = clean.clone()
    image[..., 8:16, :8] = 1.0  # the coarse pixel in the second row, first column
    (layer,) = observe(Coarse(), image, clean=clean).layers
    assert layer.maps[0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert layer.lift_degradation == pytest.approx(17 * 20 / 64)


def test_a_layer_that_runs_twice_is_told_twice():
    net = Firing()
    both = nn.Sequential(net, net)
    names = [layer.name for layer in observe(both, torch.rand(1, 3, 16, 16)).layers]
    assert names == ["0.neuron", "0.neuron#2"]


def test_neurons_without_maps_are_passed_over():
    class Flat(Firing):
        def forward(self, x):
            self.neuron(x.mean((2, 3))[None])
            return x

    assert observe(Flat(), torch.rand(1, 3, 16, 16), keep="neuron").kept is None


def test_hooks_are_gone_afterwards_and_after_a_failure(live):
    class Broken(Firing):
        def forward(self, x):
            super().forward(x)
            raise RuntimeError("no\nsuch thing")

    net = Broken()
    with pytest.raises(
        DataError, match=r"^Broken cannot be run on an image of 20x16 \(RuntimeError: no\)$"
    ):
        observe(net, torch.rand(1, 3, 16, 20))
    assert not net.neuron._forward_hooks
    assert not any(neuron._forward_hooks for neuron in neurons_of(live[0]).values())


def test_an_unknown_layer_is_refused_with_near_names(live):
    with pytest.raises(
        OptionError, match=r"no neuron layer 'down1\.neurn'; did you mean down1\.neuron"
    ):
        observe(*live, keep="down1.neurn")


def test_neurons_are_found_by_name():
    net = nn.Sequential(nn.ReLU(), nn.Sequential(VLIFNode()), LIFNode())
    assert list(neurons_of(net)) == ["1.0", "2"]
