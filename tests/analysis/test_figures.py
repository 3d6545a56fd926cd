"""All figures of a network and an image, and the claims beside them."""

from dataclasses import replace

import pytest
import torch
from helpers import live_net
from torch import nn

from vlif_plugin.analysis import (
    IMAGE,
    Activation,
    Indication,
    analyse,
    claims,
    high_frequency_share,
    indication,
    observe,
)
from vlif_plugin.errors import DataError, OptionError
from vlif_plugin.neurons import LIFNode


@pytest.fixture(scope="module")
def live():
    torch.manual_seed(0)
    net, x = live_net("VLIFNet, paper")
    return net.float(), x[:1].float()


@pytest.fixture(scope="module")
def found(live):
    net, x = live
    return analyse(net, x, clean=x / 2, times=3)


def test_the_first_lif_layer_is_looked_at(live, found):
    net, x = live
    first = next(name for name, m in net.named_modules() if isinstance(m, LIFNode))
    assert found.layer == first
    seen = observe(net, x, keep=first)
    own = next(iter(found.repetitions.values()))
    assert own.applications[0].norm == pytest.approx(seen.features.double().norm().item())
    with torch.no_grad():
        spikes = net.get_submodule(first)(seen.features)
    assert own.applications[1].norm == pytest.approx(
        (seen.features * spikes).double().norm().item()
    )
    assert found.mark == indication(seen.features, spikes)
    loudness = (seen.features * spikes).square().sum((0, 1, 3, 4))
    assert found.channel == int(loudness.argmax())


def test_panels_are_in_the_papers_order(live, found):
    net, x = live
    assert [p.name for p in found.applied] == ["x", "x · f(x)", "x · f²(x)", "x · f³(x)"]
    own = next(iter(found.repetitions.values()))
    assert [p.high_share for p in found.applied] == [
        pytest.approx(entry.high_share) for entry in own.applications
    ]
    names = ["input", "features before the neuron", "its spikes", "features where spikes are"]
    names += ["result", "clean image"]
    assert [p.name for p in found.task] == names
    assert torch.equal(found.task[0].maps, x[0])
    assert torch.equal(found.task[5].maps, x[0] / 2)
    assert found.task[0].high_share == pytest.approx(high_frequency_share(x))
    with torch.no_grad():
        assert torch.equal(found.task[4].maps, net(x)[0].clamp(0, 1))


def test_a_visual_layer_can_be_looked_at(live):
    net, x = live
    found = analyse(net, x, layer="encoder1.neuron.neuron", times=2)
    assert next(iter(found.repetitions)) == "VLIFNode of encoder1.neuron.neuron"
    assert found.lif == "LIF, threshold 0.15"  # of which the paper says that it saturates
    assert found.repetitions[found.lif].saturated
    assert found.mark.rate == pytest.approx(
        next(e.rate for e in found.layers if e.name == found.layer), rel=1e-6
    )


def test_without_neurons_the_image_takes_the_place_of_features():
    net = nn.Conv2d(3, 3, 3, padding=1)
    image = torch.rand(1, 3, 17, 21)
    found = analyse(net, image)
    assert found.layer == IMAGE
    assert found.layers == ()
    assert len(found.task) == 5  # no clean image
    # presented four times, an odd row and column left out
    expected = image[..., :16, :20].double().square().sum().mul(4).sqrt().item()
    own = next(iter(found.repetitions.values()))
    assert own.applications[0].norm == pytest.approx(expected)
    assert own.saturated
    verdicts = {claim.says: claim.verdict for claim in claims(found)}
    assert (
        verdicts["VLIF fires at lower inputs than LIF in the network itself, on its own features"]
        == "not seen"
    )


def test_the_image_can_be_asked_for_in_a_spiking_network(live):
    net, x = live
    found = analyse(net, x, layer=IMAGE, times=1)
    assert found.layer == IMAGE
    assert len(found.layers) > 10


def test_what_cannot_be_analysed_is_refused(live):
    net, x = live
    with pytest.raises(
        DataError, match="an image of 40x15 pixels is too small for spectra; at least 16x16"
    ):
        analyse(net, torch.rand(1, 3, 15, 40))
    with pytest.raises(DataError, match="the clean image has 8x8 pixels, the degraded one 40x24"):
        analyse(net, x, clean=torch.rand(1, 3, 8, 8))
    with pytest.raises(OptionError, match="no neuron layer 'nothing'"):
        analyse(net, x, layer="nothing")


def test_layers_are_pooled_by_what_their_neurons_see(found):
    for visual in (False, True):
        layers = [e.activation for e in found.layers if e.visual == visual]
        pooled = found.pooled(visual=visual)
        assert pooled.all_inputs == sum(e.all_inputs for e in layers)
        assert pooled.active == tuple(
            sum(values) for values in zip(*(e.active for e in layers), strict=True)
        )


def verdict(found, words):
    (claim,) = [claim for claim in claims(found) if words in claim.says]
    return claim.holds


def test_verdicts_follow_the_numbers(found):
    def marked(**changes):
        mark = Indication(0.1, 0.2, 0.3, 0.4, 1.5, 1.2)
        return replace(found, mark=replace(mark, **changes))

    highlights, indicates, rather = (
        "High-frequency highlighting",
        "High-frequency indication",
        "rather than low",
    )
    assert [verdict(marked(), words) for words in (highlights, indicates, rather)] == [True] * 3
    assert verdict(marked(high_share_masked=0.1), highlights) is False
    assert verdict(marked(lift_high=0.9, lift_low=0.5), indicates) is False
    assert verdict(marked(lift_low=1.6), rather) is False
    silent = marked(rate=0.0, lift_high=None, lift_low=None)
    assert [verdict(silent, words) for words in (highlights, indicates, rather)] == [None] * 3

    assert verdict(found, "Frequency saturation") is True
    own, *others = found.repetitions.items()
    changed = replace(own[1].applications[2], norm=own[1].applications[2].norm * 1.01)
    entries = (*own[1].applications[:2], changed, *own[1].applications[3:])
    spoilt = {own[0]: replace(own[1], applications=entries), **dict(others)}
    assert verdict(replace(found, repetitions=spoilt), "Frequency saturation") is False


def test_firing_on_the_degradation_is_told_where_it_is_known(found):
    def with_lift(value):
        first, *others = found.layers
        assert first.name == found.layer
        return replace(found, layers=(replace(first, lift_degradation=value), *others))

    words = "on the degradation"
    assert [verdict(with_lift(lift), words) for lift in (1.1, 0.9, None)] == [True, False, None]


def test_the_network_itself_is_compared_in_its_lowest_range(found):
    def with_shares(pixel, patch):
        def changed(layer):
            active = (patch if layer.visual else pixel, 0)
            return replace(
                layer, activation=Activation((0.0, 0.1, 1.0), (100, 100), active, 200, 0)
            )

        return replace(found, layers=tuple(map(changed, found.layers)))

    words = "in the network itself"
    assert verdict(with_shares(10, 20), words) is True
    assert verdict(with_shares(20, 10), words) is False
