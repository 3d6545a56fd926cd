"""A network on binary spikes gives what it gives on integer ones, and says where it cannot be binary."""

import pytest
import torch
import torch.nn.functional as F
from helpers import SPIKING, TINY, firing_rates, live_net
from torch import nn

from vlif_plugin.archs import NAFNet
from vlif_plugin.energy import Spikes, binary, binary_inference, check_binary, count_ops
from vlif_plugin.errors import OptionError
from vlif_plugin.neurons import ILIFNode, LIFNode, NILIFNode


def odd_weights(net):
    """Weights of 53 bits: of 24, float64 adds up so exactly that the order makes no difference."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1 + 1e-3 * torch.rand_like(parameter))
    return net


# modules in which spikes become real values: some of them
ENDS = {
    "VLIFNet, paper": {
        "encoder1.base.stage1": {"mul"},
        "encoder1.base.stage2.neuron.attention": {"amax", "mean", "mul"},
        "encoder1.neuron.attention": {"amax", "mean", "mul"},
    },
    "VLIFNet, official": {
        "encoder1.base.stage1": {"mul", "sub"},
        "encoder1.neuron.attention": {"amax", "mean", "mul"},
    },
    "VLIFNetTiny": {"encoder.0.0.project.gate": {"mean"}},
    "VLIFNetTiny, no gate": {},
    "VLIFNetTiny, analog": {"encoder.0.0.spread.code": {"mul"}},
    "ESDNet": {},
    "Spikified": {"base": {"add", "cat"}},
}


@pytest.mark.parametrize("form", SPIKING)
def test_the_result_is_that_of_integer_spikes(form):
    net, x = live_net(form, **({"use_refinement": False} if "VLIFNet," in form else {}))
    odd_weights(net)
    x = x[:1, :, :16, :16]
    assert min(firing_rates(net, x).values()) > 0
    with torch.no_grad():
        expected = net(x)
        with binary_inference(net) as run:
            given = net(x)
    report = count_ops(net, x)
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-12)
    levels = 1 if form in ("VLIFNet, paper", "ESDNet") else 4
    assert max(layer.levels for layer in run.driven.values()) == levels
    assert run.sops == report.sops > 0
    spiking = [layer for layer in report.layers if layer.events]
    assert {layer.name: layer.events for layer in run.driven.values()} == {
        layer.name: layer.events for layer in spiking
    }
    assert {layer.name: layer.sops for layer in run.driven.values()} == {
        layer.name: layer.sops for layer in spiking
    }
    assert {name for name, _ in run.real} == {layer.name for layer in report.layers if layer.macs}
    assert ENDS[form].items() <= run.ends.items()
    assert bool(ENDS[form]) == bool(run.ends)
    with torch.no_grad():
        assert torch.equal(net(x), expected)  # nothing is left behind


def test_weights_of_single_precision_give_the_same_to_the_bit():
    net, x = live_net("VLIFNetTiny")
    difference, run = check_binary(net.float(), x[:1].float())
    assert difference == 0
    assert run.events > 1000
    assert next(net.parameters()).dtype == torch.float32


def test_a_virtual_timestep_that_is_left_out_is_seen(monkeypatch):
    net, x = live_net("VLIFNetTiny")
    whole = binary._Trains.summed

    def first_only(trains, layer):
        counts = trains.counts.clamp(max=1)
        return whole(binary._Trains(counts, trains.levels, trains.unit, trains.dtype), layer)

    monkeypatch.setattr(binary._Trains, "summed", first_only)
    assert check_binary(net, x)[0] > 1e-3


def test_layers_see_zeros_and_ones_only():
    """What reaches each convolution, recorded below everything else."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.overloadpacket.__name__ == "convolution":
                seen.append(set(args[0].unique().tolist()) <= {0.0, 1.0})
            return func(*args, **(kwargs or {}))

    net, x = live_net("VLIFNetTiny, no gate")
    with Recorder(), torch.no_grad(), binary_inference(net) as run:
        net(x[:1])
    assert sum(not binary_ for binary_ in seen) == len(run.real) == 1
    assert len(seen) - 1 > 2 * len(run.driven)
    assert {name for name, _ in run.real} == {"patch_embed.conv"}
    assert not run.ends


def test_the_summary_says_what_is_binary_and_what_is_not():
    net, x = live_net("VLIFNetTiny, analog", gate=False)
    with torch.no_grad(), binary_inference(net) as run:
        net(x[:1])
    assert run.summary().splitlines() == [
        f"driven by binary spikes: 2 layers, at most 4 binary spikes for one spike, {run.events:,} "
        f"events, {run.sops:,} synaptic operations",
        "on real values: 19 layers: patch_embed.conv, encoder.0.0.expand.layer.conv, "
        "encoder.0.0.spread.layer.conv, encoder.0.0.project.layer.conv, encoder.1.0.expand.layer.conv and 14 more",
        "spikes become real values in 18 modules: encoder.0.0.expand.code (mul), encoder.0.0.spread.code (mul), "
        "encoder.0.0.project.code (mul), encoder.1.0.expand.code (mul), encoder.1.0.spread.code (mul) and 13 more",
    ]


class Fed(nn.Module):
    """A layer behind a neuron, on an image's rows or the image."""

    def __init__(self, neuron, between, layer):
        super().__init__()
        self.neuron, self.between, self.layer = neuron, between, layer

    def forward(self, image):
        return self.layer(self.between(self.neuron(3 * image)))


class Product(nn.Module):
    """A matrix product of the spikes with something."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, x):
        return self.function(x, self.weight)


def rows(x):
    return x.flatten(0, 2)


LAYERS = {
    "linear with bias": (rows, nn.Linear(8, 5)),
    "linear": (rows, nn.Linear(8, 5, bias=False)),
    "convolution with bias": (lambda x: x, nn.Conv2d(3, 6, 3, padding=1, groups=3)),
    "strided": (lambda x: x, nn.Conv2d(3, 6, 3, stride=2, dilation=2)),
    "transposed": (lambda x: x, nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1)),
    "one dimension": (lambda x: x.flatten(0, 1), nn.Conv1d(8, 4, 3)),
    "three dimensions": (lambda x: x[None], nn.Conv3d(1, 4, (1, 3, 3))),
    "the right operand": (rows, Product(lambda x, w: w[:, :6] @ x[:6])),
    "both operands": (rows, Product(lambda x, w: x @ x.T)),
    "batched": (lambda x: x[0], Product(lambda x, w: torch.bmm(x, w.expand(3, 8, 8)))),
    "batched, both": (lambda x: x[0], Product(lambda x, w: x @ x.transpose(1, 2))),
    "a vector": (rows, Product(lambda x, w: x[0] @ w)),
    "onto something": (rows, Product(lambda x, w: torch.addmm(w, x[:8], w, beta=0.5, alpha=2))),
    "batches onto something": (
        lambda x: x[0], Product(lambda x, w: torch.addbmm(w, x, w.expand(3, 8, 8), beta=2, alpha=3)),
    ),
    "a sum of spikes": (lambda x: x + x.flip(3), nn.Conv2d(3, 4, 3)),
    "circular": (lambda x: x, nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")),
    "pooled and padded": (lambda x: F.pad(F.max_pool2d(x, 2), (1, 1)), nn.Conv2d(3, 4, 3)),
}  # fmt: skip


@pytest.mark.parametrize("neuron", [LIFNode(), ILIFNode(D=3), NILIFNode(D=4)], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer(name, neuron):
    between, layer = LAYERS[name]
    net = Fed(neuron, between, layer).double()
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    report = count_ops(net, image)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            expected = net(image)
            with binary_inference(net) as run:
                given = net(image)
        torch.testing.assert_close(given, expected, rtol=0, atol=1e-12)
        assert not run.real
        ((_, counted),) = run.driven.items()
        assert (run.sops, counted.events) == (report.sops, report.layers[0].events)
        assert run.events > 3


def test_gradients_are_those_of_integer_spikes():
    net, x = live_net("VLIFNetTiny")
    net(x).sum().backward()
    expected = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    with binary_inference(net):
        y = net(x)
    y.sum().backward()
    for parameter, grad in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-9, atol=1e-9)


def test_a_network_without_neurons_has_nothing_binary():
    net = NAFNet(width=8, enc_blk_nums=(1,), middle_blk_num=1, dec_blk_nums=(1,))
    difference, run = check_binary(net, torch.rand(1, 3, 16, 16))
    assert (difference, run.driven, run.ends) == (0, {}, {})
    assert "driven by binary spikes: 0 layers" in run.summary()


def test_neurons_of_others_are_declared_as_for_the_count():
    class Halves(nn.Module):
        def forward(self, x):
            return (2 * x).round().clamp(0, 4) / 2

    net = Fed(Halves(), lambda x: x, nn.Conv2d(3, 2, 3))
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad(), binary_inference(net) as undeclared:
        net(image)
    assert not undeclared.driven
    with torch.no_grad(), binary_inference(net, neurons={Halves: Spikes(4, 0.5)}) as run:
        given = net(image)
    torch.testing.assert_close(given, net(image), rtol=0, atol=1e-5)
    assert run.sops == count_ops(net, image, neurons={Halves: Spikes(4, 0.5)}).sops > 0
    wrong = {Halves: Spikes(4, 1.0)}
    message = r"neuron: Halves gave values that are not k \* 1"
    with pytest.raises(OptionError, match=message), binary_inference(net, neurons=wrong):
        net(image)
    assert not net.neuron._forward_hooks
    assert torch.backends.mha.get_fastpath_enabled()


def test_learned_thresholds_keep_the_unit():
    from vlif_plugin.archs import VLIFNetTiny

    net = VLIFNetTiny(**TINY, learn=["v_threshold", "beta"])
    for name, parameter in net.named_parameters():
        if ".w_" in name:
            parameter.data.normal_(0, 0.3)
    image = torch.rand(1, 3, 16, 16)
    net.train()(image)
    difference, run = check_binary(net, image)
    assert difference < 1e-12
    assert run.sops == count_ops(net.double(), image.double()).sops > 0
