"""Neurons in place of the activations of any network: which, how, and what is refused."""

import copy
import re
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from vlif_plugin.energy import count_ops
from vlif_plugin.errors import CheckpointError, DataError, OptionError
from vlif_plugin.layers import ThresholdDependentBatchNorm2d
from vlif_plugin.neurons import (
    NEURONS,
    FiringRates,
    FiringReport,
    LIFNode,
    NILIFNode,
    SpikingNeuron,
    VLIFPixelNode,
)
from vlif_plugin.spiking import (
    ACTIVATIONS,
    SHORT_NAMES,
    InTurn,
    Norm,
    Spikified,
    SpikingActivation,
    spikify,
    spiking_act,
)
from vlif_plugin.spiking.choosing import GATES
from vlif_plugin.spiking.norms import ChannelAffine

LIF = {"type": "LIFNode", "v_threshold": 0.15, "decay_input": False}


def conv(inputs, outputs, **arguments):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **arguments)


def small(activation=nn.ReLU):
    return nn.Sequential(conv(3, 6), activation(), conv(6, 8), activation(), conv(8, 3))


class Shared(nn.Module):
    """One activation, used three times: with 4 channels, with 6 and, at half the size, with 6 again."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = conv(3, 4), conv(4, 6), conv(6, 6, stride=2)
        self.last = conv(6, 12)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.relu(self.second(self.relu(self.first(x))))
        return F.pixel_shuffle(self.last(self.relu(self.third(x))), 2)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 3)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)  # (B, H*W, C)
        return x + self.fc2(self.act(self.fc1(tokens))).transpose(1, 2).reshape(x.shape)


class LastMaps(Tokens):
    def forward(self, x):  # as in ConvNeXt: (B, H, W, C)
        return x + self.fc2(self.act(self.fc1(x.movedim(1, -1)))).movedim(-1, 1)


def rates(net, x):
    with torch.no_grad(), FiringRates(net) as counted:
        net(x)
    return FiringReport.of(counted.counts())


class TestChoice:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({}, ("1", "3")),
            ({"types": ["ReLU"]}, ("1", "3")),
            ({"types": nn.ReLU}, ("1", "3")),
            ({"names": "3"}, ("3",)),
            ({"names": ["[12]", "9*"][:1]}, ("1",)),
            ({"names": ["*", "!1"]}, ("3",)),
            ({"names": "!1"}, ("3",)),
            ({"positions": 0}, ("1",)),
            ({"positions": [-1]}, ("3",)),
            ({"names": ["3"], "positions": 0}, ("3",)),
        ],
    )
    def test_types_names_and_positions_say_which(self, arguments, expected):
        net = spikify(small(), LIF, **arguments)
        assert net.replaced == expected == tuple(net.spiking)
        kept = [m for m in net.modules() if isinstance(m, nn.ReLU)]
        assert len(kept) == 2 - len(expected)

    def test_sigmoids_are_gates_and_stay_unless_they_are_named(self):
        net = nn.Sequential(conv(3, 4), nn.Sigmoid(), conv(4, 3), nn.SiLU())
        assert spikify(net, LIF).replaced == ("3",)
        assert spikify(net, LIF, types=["Sigmoid"]).replaced == ("1",)

    def test_the_network_itself_may_be_an_activation(self):
        net = spikify(nn.ReLU(), NILIFNode(), T=2, norm="none")
        x = torch.rand(2, 3, 4, 4)
        by_hand = NILIFNode()(x.expand(2, *x.shape)).mean(0) * net.base.gain
        torch.testing.assert_close(net(x), by_hand)

    def test_the_network_that_is_given_stays_as_it_was(self):
        net = small().train()
        state = copy.deepcopy(net.state_dict())
        spiking = spikify(net, LIF)
        assert isinstance(net[1], nn.ReLU)
        assert net.training
        assert spiking.training
        assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
        assert all(spiking.base[n].weight is not net[n].weight for n in (0, 2, 4))

    def test_no_random_number_is_drawn(self):
        before = torch.get_rng_state()
        net = small()
        torch.set_rng_state(before)
        spikify(net, LIF)
        assert torch.equal(torch.get_rng_state(), before)

    def test_what_is_spiking_already_is_left_alone(self):
        once = spikify(small(), LIF, names="1")
        assert spikify(once, LIF).replaced == ("base.3",)

    def test_activations_that_never_run_stay(self):
        class Idle(nn.Sequential):
            def __init__(self):
                super().__init__(conv(3, 3), nn.ReLU())
                self.idle = nn.Sequential(nn.ReLU())

            def forward(self, x):
                return self[1](self[0](x))

        net = spikify(Idle(), LIF)
        assert net.replaced == ("1",)
        with pytest.raises(OptionError, match=r"nothing to replace: idle\.0 did not run"):
            spikify(Idle(), LIF, names="idle.*")


class TestWhatIsComputed:
    """Against the same thing written out, in float64."""

    def test_maps(self):
        base, x = small().double(), torch.rand(2, 3, 8, 6, dtype=torch.float64)
        net = spikify(base, VLIFPixelNode(), T=3).eval()
        layers = net.spiking
        steps = torch.stack([base[0](x)] * 3)
        for path, following in (("1", base[2]), ("3", base[4])):
            layer = layers[path]
            normed = torch.stack([layer.norm(step) for step in steps])
            spikes = VLIFPixelNode()(normed)
            assert 0.05 < (spikes != 0).double().mean() < 0.9
            steps = torch.stack([following(step * layer.gain) for step in spikes])
        torch.testing.assert_close(net(x), steps.mean(0), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("kind", [Tokens, LastMaps])
    def test_tokens_and_maps_with_channels_last(self, kind):
        base, x = kind().double(), torch.rand(2, 3, 4, 6, dtype=torch.float64)
        net = spikify(base, NILIFNode(), T=3).eval()
        layer = net.spiking["act"]
        given = base.fc1(x.flatten(2).transpose(1, 2))
        normed = layer.norm(given.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        spikes = NILIFNode()(torch.stack([normed] * 3))
        assert 0.05 < (spikes != 0).double().mean() < 0.9
        out = base.fc2(spikes.mean(0) * layer.gain)
        by_hand = x + out.transpose(1, 2).reshape(x.shape)
        torch.testing.assert_close(net(x), by_hand, rtol=0, atol=1e-12)

    def test_patches_of_maps_with_channels_last_are_those_of_the_map(self):
        base, x = LastMaps().double(), torch.rand(1, 3, 4, 6, dtype=torch.float64)
        net = spikify(base, "VLIF", T=2).eval()
        layer = net.spiking["act"]
        maps = layer.norm(base.fc1(x.movedim(1, -1)).movedim(-1, 1))
        spikes = VLIFPixelNode()(torch.stack([maps] * 2)).mean(0) * layer.gain
        by_hand = x + base.fc2(spikes.movedim(1, -1)).movedim(-1, 1)
        torch.testing.assert_close(net(x), by_hand, rtol=0, atol=1e-12)

    def test_vectors(self):
        net = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)
        )
        assert spikify(net, LIF, T=2)(torch.rand(2, 3, 8, 8)).shape == (2, 2)  # fmt: skip

    def test_a_gate_lets_its_first_half_through_where_the_second_fires(self):
        class SimpleGate(nn.Module):  # NAFNet's
            def forward(self, x):
                a, b = x.chunk(2, dim=1)
                return a * b

        base = nn.Sequential(conv(3, 8), SimpleGate(), conv(4, 3)).double()
        with pytest.raises(OptionError, match=r"SimpleGate multiplies two halves.*\[SimpleGate\]"):
            spikify(base, "NILIF")
        net = spikify(base, "NILIF", T=2, types=["SimpleGate"]).eval()
        layer, x = net.spiking["1"], torch.rand(1, 3, 8, 8, dtype=torch.float64)
        value, drive = base[0](x).chunk(2, 1)
        spikes = NILIFNode()(torch.stack([layer.norm(drive)] * 2)) * layer.gain
        assert spikes.any()
        torch.testing.assert_close(net(x), base[2](value * spikes.mean(0)), rtol=0, atol=1e-12)

    def test_an_activation_used_several_times_is_a_neuron_for_each_time(self):
        net = spikify(Shared(), "VLIF", T=2)
        assert isinstance(net.base.relu, InTurn)
        assert [layer.norm.num_features for layer in net.base.relu] == [4, 6, 6]
        assert net.size_multiple == 4
        x = torch.rand(1, 3, 8, 8)
        found = rates(net.eval(), x)
        assert list(found.rates) == [f"base.relu.{turn}.neuron" for turn in range(3)]
        assert not found.dead
        expected = net(x)
        with pytest.raises(RuntimeError):
            net(torch.rand(1, 5, 8, 8))
        net.base.relu.turn = 2  # as a call that broke off in between leaves it
        assert torch.equal(net(x), expected)

    def test_one_activation_at_several_paths_becomes_several(self):
        act = nn.PReLU()
        net = spikify(nn.Sequential(conv(3, 4), act, conv(4, 6), act, conv(6, 3)), LIF)
        assert net.replaced == ("1", "3")
        assert [layer.norm.num_features for layer in net.spiking.values()] == [4, 6]

    def test_a_block_at_several_paths_keeps_its_weights_shared(self):
        block = nn.Sequential(conv(3, 3), nn.ReLU())
        net = spikify(nn.Sequential(block, block), LIF, T=2)
        assert net.base[0] is net.base[1]
        assert net.replaced == ("0.1",)
        assert [type(m) for m in net.base[0][1]] == [SpikingActivation] * 2

    def test_a_nest_of_results_is_averaged_each(self):
        class Pyramid(nn.Module):
            def __init__(self):
                super().__init__()
                self.body, self.down = nn.Sequential(conv(3, 4), nn.ReLU()), nn.AvgPool2d(2)

            def forward(self, x):
                x = self.body(x)
                return {"fine": x, "coarse": [self.down(x)]}

        out = spikify(Pyramid(), LIF, T=2)(torch.rand(2, 3, 9, 8))
        assert out["fine"].shape == (2, 4, 9, 8)
        assert out["coarse"][0].shape == (2, 4, 4, 4)

    def test_odd_sizes_are_padded_for_the_neurons_and_cropped(self):
        base = nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 12), nn.PixelShuffle(2))
        net = spikify(base, "VLIF", T=2).eval()
        assert (net.size_multiple, net.scale) == (2, 2)
        assert spikify(base, "LIF").size_multiple == 1
        x = torch.rand(1, 3, 7, 5)
        padded = F.pad(x, (0, 1, 0, 1), mode="reflect")
        assert torch.equal(net(x), net(padded)[..., :14, :10])

    def test_patches_that_do_not_divide_the_sample_s_size_are_padded_to(self):
        base = nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 12, stride=2), nn.ReLU(), conv(12, 3))
        net = spikify(base, {"type": "VLIFPixelNode", "r": 3}, T=2).eval()
        assert net.size_multiple == 6
        assert net(torch.rand(1, 3, 7, 5)).shape == (1, 3, 6, 3)

    def test_what_comes_out_lies_in_memory_as_what_went_in(self):
        class Viewing(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.relu = conv(3, 4), nn.ReLU()

            def forward(self, x):
                y = self.relu(self.conv(x))
                return y.view(len(y), -1).mean(1)

        assert spikify(Viewing(), "VLIF", T=2)(torch.rand(1, 3, 8, 8)).shape == (1,)

    @pytest.mark.parametrize("reentrant", [False, True])
    def test_turns_are_taken_in_forward_passes_only(self, reentrant):
        class Block(Shared):
            def forward(self, x):
                x = self.relu(self.first(x))
                return checkpoint(lambda x: self.relu(self.second(x)), x, use_reentrant=reentrant)

        net, x = spikify(Shared(), "NILIF", T=2), torch.rand(1, 3, 8, 8, requires_grad=True)
        gradients = []
        for y in (net(x), checkpoint(net, x, use_reentrant=reentrant)):
            net.zero_grad()
            y.square().sum().backward()
            gradients.append([p.grad for p in net.parameters()])
        assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
        said = "relu, use 1 of 2: is used outside of a forward pass .* activation checkpointing"
        with pytest.raises(OptionError, match=said):
            spikify(Block(), "NILIF", T=2)(x).sum().backward()
        with pytest.raises(OptionError, match="relu, use 1 of 3: is used outside"):
            net.base(x)


class TestNormalisation:
    @pytest.mark.parametrize(
        ("norm", "behind_conv", "behind_bn"),
        [
            ("auto", ThresholdDependentBatchNorm2d, nn.Identity),
            ("tdbn", ThresholdDependentBatchNorm2d, ThresholdDependentBatchNorm2d),
            ("affine", ChannelAffine, ChannelAffine),
            ("none", nn.Identity, nn.Identity),
        ],
    )
    def test_norm_says_what_stands_before_neurons(self, norm, behind_conv, behind_bn):
        base = nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 4), nn.BatchNorm2d(4), nn.ReLU())
        net = spikify(base, LIF, norm=norm)
        assert [type(m.norm) for m in net.spiking.values()] == [behind_conv, behind_bn]

    @pytest.mark.parametrize("norm", ["tdbn", "affine"])
    @pytest.mark.parametrize("neuron", [LIF, "LIFNode", "ILIF", "NILIF", "VLIF"])
    def test_neurons_fire_however_small_or_large_the_activations_are(self, norm, neuron):
        for scale in (1e-2, 1.0, 1e2):  # of each convolution: 1e-4 to 1e4 behind the second
            base = small()
            for layer in (base[0], base[2]):
                nn.init.normal_(layer.weight, std=0.2 * scale)
                nn.init.zeros_(layer.bias)
            found = rates(spikify(base, neuron, norm=norm).eval(), torch.rand(1, 3, 32, 32))
            assert all(0.02 < rate < 0.6 for rate in found.rates.values()), (scale, found.rates)

    @pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
    def test_what_comes_out_is_as_large_as_without_neurons(self, scale):
        base = nn.Sequential(conv(3, 32), nn.ReLU(), conv(32, 3, bias=False))
        base[0].weight.data *= scale
        x = torch.rand(1, 3, 32, 32)
        ratio = spikify(base, "NILIF").eval()(x).square().mean() / base(x).square().mean()
        assert 0.25 < ratio.sqrt() < 4  # a picture is no normal distribution

    def test_drive_is_the_deviation_in_events_of_the_neuron(self):
        for neuron, event in ((LIF, 0.15), ("NILIF", 1.0)):
            (layer,) = spikify(small(), neuron, names="1", drive=2.0).spiking.values()
            assert torch.equal(layer.norm.weight, torch.full((6,), 2 * event))

    def test_an_untrained_batchnorm_of_the_base_is_not_taken_at_its_word(self):
        base = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 3))
        gains = []
        for _ in range(
            2
        ):  # what BatchNorm hands on in training is as large, however large its input
            base[0].weight.data *= 0.1
            net = spikify(base, "NILIF")
            gains.append(net.spiking["2"].gain.item())
        assert gains[0] == pytest.approx(gains[1], rel=0.1)
        # ReLU's root mean square of a normal distribution is 0.71, that of quarters of it about 0.18
        assert 2 < gains[0] < 6
        assert not net.base[1].num_batches_tracked
        assert torch.equal(net.base[1].running_var, torch.ones(8))


class TestNeurons:
    @pytest.mark.parametrize("name", [n for n in NEURONS if n != "VLIFNode"])
    def test_every_neuron_that_keeps_the_shape_fits(self, name):
        net = spikify(small(), name, T=2)
        assert net(torch.rand(1, 3, 9, 8)).shape == (1, 3, 9, 8)
        assert all(isinstance(m.neuron, NEURONS[name]) for m in net.spiking.values())

    def test_short_names_are_the_shape_keeping_forms(self):
        kinds = {s: type(spikify(small(), s).base[1].neuron).__name__ for s in ("LIF", "VLIF")}
        assert kinds == {"LIF": "LIFNode", "VLIF": "VLIFPixelNode"}

    def test_a_neuron_may_be_given_as_an_example_a_class_or_a_function(self):
        example = LIFNode(tau=3.0)
        for neuron in (example, lambda: LIFNode(tau=3.0), LIFNode):
            net = spikify(small(), neuron)
            made = [m for m in net.modules() if isinstance(m, LIFNode)]
            assert len({id(m) for m in made} - {id(example)}) == 2
            assert {m.tau for m in made} == {2.0 if neuron is LIFNode else 3.0}

    def test_neurons_of_a_user_are_found_by_name(self, monkeypatch):
        class Sign(SpikingNeuron):
            def step(self, x, v):
                return (x > 0).to(x), v

        monkeypatch.setitem(NEURONS, "Sign", Sign)
        assert isinstance(spikify(small(), "Sign").base[1].neuron, Sign)

    @pytest.mark.parametrize(
        ("neuron", "message"),
        [
            ("LIFnod", r"neuron: no neuron is called 'LIFnod'; did you mean .*LIFNode"),
            ({"type": "LIFNode", "tua": 2}, r"neuron: LIFNode has no option 'tua'; did you mean tau"),
            ({"type": "LIFNode", "tau": 0}, "neuron: tau must be at least 1"),
            ({"r": 2}, "neuron: no neuron is called 'None'"),
            (None, "neuron is missing: it takes the place of 1"),
            (3, "neuron must be a name"),
            (lambda: 3, "makes int, which is no module"),
            ("VLIFNode", r"1: VLIFNode makes \(16, 8, 6, 1, 1\) .* take VLIFPixelNode"),
        ],
    )  # fmt: skip
    def test_what_is_no_neuron_for_an_activation_s_place_is_refused(self, neuron, message):
        with pytest.raises(OptionError, match=message):
            spikify(small(), neuron)

    @pytest.mark.parametrize("kind", ["LIFNode", "IFNode"])
    def test_neurons_that_do_not_begin_at_rest_are_refused(self, kind):
        of_others = pytest.importorskip("spikingjelly.activation_based.neuron")

        class FromRest(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = getattr(of_others, kind)(step_mode="m")

            def forward(self, x):
                self.inner.reset()
                return self.inner(x)

        for mode, message in (
            ("s", f"1: {kind} takes one timestep a call .* resets this one"),
            ("m", f"1: {kind} keeps state between calls, .* resets this one"),
        ):
            for T in (1, 4):
                with pytest.raises(OptionError, match=message):
                    spikify(small(), getattr(of_others, kind)(step_mode=mode), T=T)
        net = spikify(small(), FromRest(), T=2)
        x = torch.rand(1, 3, 8, 8)
        for _ in range(2):
            net(x).sum().backward()
        assert torch.equal(net(x), net(x))


class TestRefusals:
    """One line each, with what is at fault and what to do."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"types": ["GELU"]}, r"nothing to replace: Sequential has no GELU \(it has 3 Conv2d, 2 ReLU\).*F\.relu"),
            ({"names": "bod*"}, r"names: 'bod\*' matches none of 2 activations, which are 1, 3"),
            ({"names": "4"}, r"names: '4' matches none .* but 4 \(Conv2d\); name the class too"),
            ({"names": ["1", "!1"]}, "leave none of 2 activations"),
            ({"positions": 2}, "positions: 2 is not one of 2 activations, 0 to 1"),
            ({"T": 0}, "T must be a whole number of at least 1, got 0"),
            ({"size_multiple": 2.5}, "size_multiple must be a whole number"),
            ({"drive": -1}, "drive must be a number above 0"),
            ({"norm": "batch"}, "norm must be one of auto, tdbn, affine, none, got 'batch'"),
            ({"sample": (3, 64)}, "sample must be channels, height and width"),
            ({"sample": (1, 64, 64)}, r"cannot be tried on a picture of 1x64x64.*sample"),
            ({"types": ["Conv2d"]}, r"0: is no activation: it makes \(1, 6, 64, 64\) of \(1, 3, 64, 64\)"),
        ],
    )  # fmt: skip
    def test_options_that_no_network_fits(self, arguments, message):
        with pytest.raises(OptionError, match=message) as found:
            spikify(small(), LIF, **arguments)
        assert "\n" not in str(found.value)

    def test_functions_cannot_be_seen(self):
        class Functional(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = conv(3, 3)

            def forward(self, x):
                return F.relu(self.conv(x))

        with pytest.raises(OptionError, match=r"Functional has no .*it has 1 Conv2d.*F\.relu"):
            spikify(Functional(), LIF)

    def test_odd_maps_name_layer_size_and_neuron(self):
        net = spikify(small(), "VLIF", size_multiple=1)
        said = r"1: VLIFPixelNode with r=2 needs maps .* got 9x8; pad the image \(size_multiple\)"
        with pytest.raises(DataError, match=said):
            net(torch.rand(1, 3, 9, 8))

    def test_tokens_are_no_patches(self):
        with pytest.raises(OptionError, match=r"act: gets tokens, and VLIFPixelNode with r=2"):
            spikify(Tokens(), "VLIF")

    def test_pooled_maps_are_no_patches_and_can_be_left_out(self):
        base = nn.Sequential(conv(3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), conv(4, 4), nn.ReLU())
        with pytest.raises(OptionError, match=r"4: gets maps of 1x1.*leave this layer out"):
            spikify(base, "VLIF")
        assert spikify(base, "VLIF", names="!4").replaced == ("1",)

    def test_t_must_divide_what_a_layer_is_given(self):
        (layer,) = spikify(small(), LIF, names="3", T=4).spiking.values()
        with pytest.raises(DataError, match="3: T=4 does not divide the 6 images"):
            layer(torch.rand(6, 8, 4, 4))

    def test_layers_that_take_the_batch_apart_are_found_when_the_network_is_tried(self):
        class Halving(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.relu = conv(3, 3), nn.ReLU()

            def forward(self, x):
                return self.relu(self.conv(x))[:1]

        with pytest.raises(OptionError, match=r"makes \(1, 3, 64, 64\) of a batch.*T=4"):
            spikify(Halving(), LIF)


class TestWeights:
    def test_those_of_the_base_load_and_gains_follow(self):
        torch.manual_seed(5)
        trained = small(nn.PReLU)
        trained[0].weight.data *= 30
        net = spikify(small(nn.PReLU), "NILIF", T=2)
        state = net.checkpoint_filter(trained.state_dict())
        net.load_state_dict(state)
        expected = spikify(trained, "NILIF", T=2)
        assert expected.state_dict().keys() == state.keys()
        for key, value in expected.state_dict().items():
            torch.testing.assert_close(state[key], value)
        own = net.state_dict()
        assert all(torch.equal(v, own[k]) for k, v in net.checkpoint_filter(own).items())

    def test_those_of_another_network_are_refused_by_name(self):
        from vlif_plugin.archs import Checkpoint, load_strict

        net = spikify(small(), LIF)
        other = nn.Sequential(conv(3, 6), nn.ReLU(), conv(6, 8)).state_dict()
        with pytest.raises(CheckpointError, match=r"2 missing: base\.4\.weight, base\.4\.bias"):
            load_strict(net, Checkpoint("w.pth", other, None, None))

    def test_a_copy_and_a_network_of_the_same_weights_give_the_same(self):
        net = spikify(Shared(), "VLIF", T=2).eval()
        x = torch.rand(1, 3, 8, 8)
        assert torch.equal(copy.deepcopy(net)(x), net(x))
        other = spikify(Shared(), "VLIF", T=2).eval()
        assert not torch.equal(other(x), net(x))
        other.load_state_dict(net.state_dict())
        assert torch.equal(other(x), net(x))

    @pytest.mark.parametrize("norm", ["tdbn", "affine"])
    def test_every_parameter_learns(self, norm):
        net = spikify(Shared(), "VLIF", T=2, norm=norm).train()
        net(torch.rand(2, 3, 8, 8)).square().mean().backward()
        assert all(p.grad is not None and p.grad.any() for p in net.parameters())

    @pytest.mark.parametrize("base", [Shared, LastMaps])
    def test_it_can_be_exported_for_any_batch_and_size(self, base):
        net = spikify(base(), "NILIF", T=2).eval()
        sizes = {
            0: torch.export.Dim("b"),
            2: 4 * torch.export.Dim("h"),
            3: 4 * torch.export.Dim("w"),
        }
        program = torch.export.export(net, (torch.rand(2, 3, 8, 12),), dynamic_shapes=(sizes,))
        x = torch.rand(3, 3, 16, 8)
        assert rates(net, x).rate > 0.05
        torch.testing.assert_close(program.module()(x), net(x), rtol=0, atol=1e-6)


class TestEnergy:
    def test_convolutions_behind_neurons_are_counted_in_spikes(self):
        base = nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 5))
        net, x = spikify(base, "VLIF", T=3).eval(), torch.rand(1, 3, 8, 6)
        net.spiking["1"].growth.data.fill_(0.3)  # as training leaves it
        report = count_ops(net, x)
        spikes = []
        layer = net.spiking["1"]
        assert layer.gain < 1 < layer.worth
        layer.neuron.register_forward_hook(lambda _, __, out: spikes.append(out.detach()))
        net(x)
        events = (spikes[0] * 4).round().flatten(0, 1)  # VLIF counts in quarters
        reached = F.conv2d(events, torch.ones(5, 4, 3, 3), padding=1)
        first, last = report.layers
        assert (first.name, first.macs, first.sops) == ("base.0", 3 * 48 * 9 * 3 * 4, 0)
        assert (last.name, last.macs, last.sops) == ("base.2", 0, int(reached.sum()))
        assert last.sops > 1000
        assert [n.name for n in report.neurons] == ["base.1.neuron"]
        assert report.events == int(events.sum())

    @pytest.mark.parametrize("base", [Tokens, LastMaps])
    def test_so_are_linear_layers(self, base):
        report = count_ops(spikify(base(), "NILIF", T=2).eval(), torch.rand(1, 3, 8, 6))
        first, last = report.layers
        assert (first.macs, last.macs) == (2 * 48 * 15, 0)
        assert last.sops == report.events * 3 > 0


class TestActLayer:
    def test_a_network_waits_for_time(self):
        net = small(spiking_act(LIF))
        with pytest.raises(OptionError, match=r"wait for time: net = spikify\(net, T=4\)"):
            net(torch.rand(1, 3, 8, 8))
        spiking = spikify(net, T=2)
        assert isinstance(spiking, Spikified)
        assert spiking.replaced == ("1", "3")
        assert isinstance(spiking.base[1].neuron, LIFNode)

    def test_timm_s_networks_take_it(self):
        timm = pytest.importorskip("timm")
        net = timm.create_model("test_resnet", act_layer=spiking_act("LIFNode"), features_only=True)
        spiking = spikify(net, T=2).train()
        found = rates(spiking, torch.rand(2, 3, 64, 64))
        assert len(found.rates) > 5
        assert not found.dead
        assert all(isinstance(m.norm, nn.Identity) for m in spiking.spiking.values())  # BatchNorm
        features = spiking(torch.rand(2, 3, 64, 64))
        assert [f.shape[0] for f in features] == [2] * len(features)


def test_what_is_printed_names_the_steps():
    text = repr(spikify(LastMaps(), "VLIF", T=2))
    assert "T=2, size_multiple=2" in text
    assert re.search(r"act\): SpikingActivation\(\s+T=2, channels_last", text)


def test_the_page_s_examples_run_and_it_names_what_is_replaced():
    pytest.importorskip("timm")
    page = (Path(__file__).parents[2] / "docs" / "spikify.md").read_text()
    blocks = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "spikify.md", "exec"), {})
    of_torch = [name for name in ACTIVATIONS if hasattr(nn, name)]
    assert all(name in page for name in (*of_torch, *GATES, *get_args(Norm), *SHORT_NAMES))
