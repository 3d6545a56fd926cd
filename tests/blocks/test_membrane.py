"""Blocks with membrane shortcuts, against what their texts say, and the network made of them."""

import pytest
import torch
import torch.nn.functional as F
from helpers import live_net, make_live

from vlif_plugin.archs import VLIFNetTiny
from vlif_plugin.blocks.membrane import (
    CodedConv,
    Coding,
    MembraneUnit,
    MembraneUp,
    RateGate,
    VisualDown,
)
from vlif_plugin.energy import PRESETS, count_ops
from vlif_plugin.neurons import NILIFNode, VLIFNode, VLIFPixelNode

PAPER = {"parameters": 0.088e6, "macs": 2.79e9, "energy": 1.166e4}  # table 1: M, G, uJ


def node():
    return VLIFPixelNode(r=2, D=4)


def membrane(channels=6, steps=2):
    return torch.randn(steps, 2, channels, 8, 12, dtype=torch.float64) * 2


def convolved(layer, x_seq):
    """Convolution and BatchNorm in eval mode, by hand."""
    conv, bn = layer.conv, layer.bn
    y = F.conv2d(x_seq.flatten(0, 1), conv.weight, padding=conv.padding, groups=conv.groups)
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    shift = bn.bias - scale * bn.running_mean
    return (y * scale[:, None, None] + shift[:, None, None]).unflatten(0, x_seq.shape[:2])


def lively(module):
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
            m.bias.data.normal_()
    return module.double().eval()


@pytest.mark.parametrize("expansion", [1, 2])
def test_a_unit_adds_what_its_spikes_are_convolved_to(expansion):
    unit = lively(MembraneUnit(6, node, kernel_size=5, expansion=expansion))
    u = membrane()
    x = u
    layers = [unit.spread.layer, unit.project.layer]
    for layer in layers if expansion == 1 else [unit.expand.layer, *layers]:
        spikes = VLIFPixelNode(r=2, D=4)(x)
        assert 0.05 < (spikes != 0).double().mean() < 0.95
        x = convolved(layer, spikes)
    torch.testing.assert_close(unit(u), u + x, rtol=1e-12, atol=1e-12)
    assert unit.spread.layer.conv.groups == 6 * expansion


def test_a_gate_weighs_channels_by_the_rates_of_each_image():
    unit = lively(MembraneUnit(6, node, gate=True))
    gate, u = unit.project.gate, membrane()
    assert isinstance(gate, RateGate)
    torch.nn.init.normal_(gate.excite.weight)
    spikes = node()(convolved(unit.spread.layer, node()(u)))
    factors = []
    for image in range(2):  # one after the other: images do not see each other
        rates = spikes[:, image].movedim(1, 0).flatten(1).mean(1)
        hidden = (gate.squeeze.weight @ rates + gate.squeeze.bias).clamp(min=0)
        factors.append(gate.excite.weight @ hidden + gate.excite.bias)
    assert (factors[0] - factors[1]).abs().max() > 1e-3
    scaled = convolved(unit.project.layer, spikes) * torch.stack(factors)[..., None, None]
    torch.testing.assert_close(unit(u), u + scaled, rtol=1e-12, atol=1e-12)
    # the same as other weights of the convolution for each image, so that it reads spikes as before
    conv, bn = unit.project.layer.conv, unit.project.layer.bn
    scale = factors[1] * bn.weight / (bn.running_var + bn.eps).sqrt()
    shift = factors[1] * bn.bias - scale * bn.running_mean
    by_weights = F.conv2d(spikes[:, 1], scale[:, None, None, None] * conv.weight, shift)
    torch.testing.assert_close(unit(u)[:, 1], u[:, 1] + by_weights, rtol=1e-12, atol=1e-12)


def test_a_leaking_unit_adds_to_what_stays_of_each_channel():
    unit = lively(MembraneUnit(6, node, leak=True))
    plain = MembraneUnit(6, node).double().eval()
    plain.load_state_dict({k: v for k, v in unit.state_dict().items() if k != "leak"})
    u = membrane()
    assert unit.leak is not None
    torch.nn.init.uniform_(unit.leak)
    branch = plain(u) - u
    expected = branch + torch.stack([unit.leak[c] * u[:, :, c] for c in range(6)], 2)
    torch.testing.assert_close(unit(u), expected, rtol=1e-12, atol=1e-12)


def test_between_levels_spikes_of_patches_are_convolved_with_stride():
    down = lively(VisualDown(6, 9, VLIFNode(r=2, D=4)))
    u = membrane()
    spikes = VLIFPixelNode(r=2, D=4)(u)
    # channel c*4 + p reads c at place p of a patch
    weight = down.layer.conv.weight.view(9, 6, 2, 2)
    strided = F.conv2d(spikes.flatten(0, 1), weight, stride=2).unflatten(0, (2, 2))
    bn = down.layer.bn
    expected = F.batch_norm(
        strided.flatten(0, 1), bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps
    )
    torch.testing.assert_close(down(u).flatten(0, 1), expected, rtol=1e-12, atol=1e-12)


def test_on_the_way_up_a_coarse_membrane_is_added():
    up = lively(MembraneUp(9, 6, node, factor=2))
    coarse, fine = membrane(9), torch.randn(2, 2, 6, 16, 24, dtype=torch.float64)
    small = convolved(up.project.layer, node()(coarse))
    large = F.interpolate(small.flatten(0, 1), scale_factor=2, mode="bilinear").view_as(fine)
    torch.testing.assert_close(up(coarse, fine), fine + large, rtol=1e-12, atol=1e-12)


def test_the_analog_form_reads_the_paper_s_mix():
    coding = Coding(NILIFNode(), spike_driven=False).double()
    coding.alpha.data.fill_(0.7)
    coding.beta.data.fill_(1.3)
    u = membrane()
    x_h = 0.7 * NILIFNode()(u)
    torch.testing.assert_close(coding(u), x_h * u + 1.3 * (u - x_h) + u, rtol=1e-12, atol=1e-12)
    assert torch.equal(Coding(NILIFNode())(u), NILIFNode()(u))
    assert isinstance(CodedConv(node, 4, 4).code, Coding)


def test_every_convolution_but_the_first_reads_spikes():
    net, x = live_net("VLIFNetTiny", T=2)
    report = count_ops(net, x[:1])
    real = [layer.name for layer in report.layers if layer.macs]
    assert [name for name in real if ".gate." not in name] == ["patch_embed.conv"]
    gates = {name for name, _ in net.named_modules() if name.endswith((".squeeze", ".excite"))}
    assert {name for name in real if ".gate." in name} == gates  # once for an image
    assert all(layer.sops > 0 for layer in report.layers if not layer.macs)
    analog, _ = live_net("VLIFNetTiny, analog")
    driven = [layer.name for layer in count_ops(analog, x[:1]).layers if layer.sops]
    assert driven == ["down.0.layer.conv", "down.1.layer.conv"]


@pytest.mark.parametrize("residual", ["rain", "any"])
def test_the_result_is_what_spikes_of_the_last_membrane_add_to_the_image(residual):
    net, x = live_net("VLIFNetTiny", T=2, residual=residual)
    x = x[..., :16, :32]  # multiples of size_multiple: nothing is padded
    assert isinstance(net, VLIFNetTiny)
    leaking = [
        n for n, m in net.named_modules() if isinstance(m, MembraneUnit) and m.leak is not None
    ]
    assert leaking == [f"decoder.0.{len(net.decoder[0]) - 1}"]
    spikes = node()(net.forward_features(net.embed(x)))
    conv = net.output[0]
    steps = [F.pixel_shuffle(F.conv2d(s, conv.weight, conv.bias, padding=1), 2) for s in spikes]
    added = (steps[0] + steps[1]) / 2
    assert (added > 0).any()
    assert (added < 0).any()
    expected = x + (added.clamp(max=0) if residual == "rain" else added)
    torch.testing.assert_close(net(x), expected, rtol=1e-12, atol=1e-12)


def test_the_default_keeps_to_the_paper_s_size_by_the_full_count():
    net = make_live(VLIFNetTiny(), torch.rand(2, 3, 64, 64))
    assert sum(p.numel() for p in net.parameters()) <= PAPER["parameters"]
    report = count_ops(net, torch.rand(1, 3, 64, 64))
    assert report.firing_rate > 0.05
    assert 16 * report.dense_macs <= PAPER["macs"]
    assert 16 * report.energy_uj(PRESETS["paper"])["total"] <= PAPER["energy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": (8,)}, "dims must be whole numbers, one for each of at least 2 levels"),
        ({"dims": 8}, "dims must be whole numbers"),
        ({"dims": (8, 16, 0)}, "dims must be 3 whole numbers of at least 1"),
        ({"dims": (8, 16)}, "en_num_blocks must be 2 whole numbers of at least 0"),
        ({"en_num_blocks": 2}, "en_num_blocks must be 4"),
        ({"de_num_blocks": (1, 1)}, "de_num_blocks must be 3"),
        ({"neuron": "lif"}, "neuron must be one of vlif, nilif"),
        ({"T": 0}, "T must be a whole number of at least 1"),
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"out_channels": 1}, "must equal inp_channels"),
    ],
)
def test_impossible_sizes_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        VLIFNetTiny(**arguments)
