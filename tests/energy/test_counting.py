"""Operations counted against hands, other counters and the reference's figures."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import FORMS, SMALL, firing_rates, make_live
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vlif_plugin.archs import ARCHS, ESDNet, VLIFNet
from vlif_plugin.energy import PRESETS, EnergyCosts, Spikes, check_binary, costs_of, count_ops
from vlif_plugin.errors import DataError, OptionError
from vlif_plugin.layers.attention import Gate
from vlif_plugin.neurons import ILIFNode, LIFNode, NILIFNode, VLIFNode


class Given(nn.Module):
    """A neuron whose spikes are given."""

    def __init__(self, spikes):
        super().__init__()
        self.spikes = spikes

    def forward(self, x):
        return self.spikes


class Fed(nn.Module):
    """A layer that is fed with given spikes, through whatever lies between."""

    def __init__(self, spikes, layer, between=None):
        super().__init__()
        self.neuron = Given(spikes)
        self.between = between or (lambda x: x)
        self.layer = layer

    def forward(self, image):
        return self.layer(self.between(self.neuron(image)))


IMAGE = torch.zeros(1, 3, 8, 8)


def counted(spikes, layer, between=None, levels=1, unit=1.0):
    return count_ops(Fed(spikes, layer, between), IMAGE, neurons={Given: Spikes(levels, unit)})


def ones_oracle(layer, events):
    """Synaptic operations as the sum of a convolution whose weights are all one."""
    with torch.no_grad():
        nn.init.ones_(layer.weight)
        return round(float(layer.double()(events.double()).sum()))


def test_a_linear_layer_by_hand():
    spikes = torch.tensor([[1.0, 0, 1, 1], [0, 0, 1, 0]])
    report = counted(spikes, nn.Linear(4, 3, bias=False))
    (layer,) = report.layers
    assert (report.macs, report.sops, report.dense_macs) == (0, 4 * 3, 2 * 4 * 3)
    assert (layer.events, layer.inputs, layer.event_rate, layer.parameters) == (4, 8, 0.5, 12)
    assert (report.updates, report.events, report.firing_rate) == (8, 4, 0.5)
    energy = report.energy_uj(PRESETS["paper"])
    assert energy["sops"] == pytest.approx(12 * 0.077e-6, rel=1e-12)
    assert energy["signs"] == pytest.approx(8 * 3.7e-6, rel=1e-12)
    assert energy["total"] == pytest.approx(12 * 0.077e-6 + 8 * 3.7e-6, rel=1e-12)
    per_event = EnergyCosts(mac_pj=1, sop_pj=0, sign_pj=2, sign_per="event")
    assert report.energy_uj(per_event)["total"] == pytest.approx(4 * 2e-6, rel=1e-12)


@pytest.mark.parametrize(("at", "sops"), [((3, 4), 144), ((0, 4), 96), ((3, 7), 96), ((0, 0), 64)])
def test_one_event_reaches_fewer_outputs_at_the_border(at, sops):
    spikes = torch.zeros(1, 1, 8, 8)
    spikes[0, 0, at[0], at[1]] = 1
    assert counted(spikes, nn.Conv2d(1, 16, 3, padding=1)).sops == sops


def test_all_ones_are_the_exact_products_without_padding():
    layer = nn.Conv2d(8, 16, 3, padding=1)
    report = counted(torch.ones(2, 8, 20, 20), layer)
    assert (report.sops, report.dense_macs) == (861_184, 921_600)
    analog = count_ops(
        nn.Sequential(nn.Conv2d(8, 16, 3, padding=1)), torch.rand(1, 8, 20, 20) + 0.1
    )
    assert analog.layers[0].macs_valid == analog.layers[0].macs_nonzero == 861_184 // 2
    assert analog.macs == 921_600 // 2


CONVOLUTIONS = [
    (transposed, kernel, stride, padding, dilation, groups)
    for transposed, kernel, stride, padding, dilation, groups in product(
        (False, True), (1, 3, 4), (1, 2, 3), (0, 1, 2), (1, 2), (1, 2)
    )
    if padding <= dilation * (kernel - 1)
]


def test_every_geometry_equals_a_convolution_with_ones():
    """Stride, padding, dilation, groups, transposed or not; spikes of several levels."""
    generator = torch.Generator().manual_seed(0)
    assert len(CONVOLUTIONS) > 80
    for transposed, kernel, stride, padding, dilation, groups in CONVOLUTIONS:
        kind = nn.ConvTranspose2d if transposed else nn.Conv2d
        layer = kind(
            4,
            6,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        events = torch.randint(0, 4, (2, 4, 9, 11), generator=generator).float()
        report = counted(events / 3, layer, levels=3, unit=1 / 3)
        assert report.sops == ones_oracle(layer, events), (transposed, kernel, stride, padding)
        assert report.sops <= 3 * report.dense_macs
        assert report.macs == 0


@pytest.mark.parametrize("dimensions", [1, 3])
def test_convolutions_of_other_dimensions(dimensions):
    layer = [nn.Conv1d, nn.Conv2d, nn.Conv3d][dimensions - 1](
        2, 3, 3, padding=1, stride=2, bias=False
    )
    events = (torch.rand(2, 2, *[7] * dimensions) < 0.3).float()
    assert counted(events, layer).sops == ones_oracle(layer, events)


def test_integer_spikes_count_as_the_binary_ones_that_they_stand_for():
    k = torch.randint(0, 5, (2, 3, 6, 6))
    layer = nn.Conv2d(3, 5, 3, padding=1)
    whole = counted(k / 4, layer, levels=4, unit=0.25)
    unrolled = [counted((k > d).float(), layer) for d in range(4)]
    assert whole.sops == sum(report.sops for report in unrolled)
    assert whole.events == sum(report.events for report in unrolled) == int(k.sum())


def test_two_spike_tensors_count_their_coincidences():
    a, b = (torch.randint(0, 3, (2, 4, 5)).float() for _ in range(2))

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = Given(a), Given(b)

        def forward(self, image):
            return self.a(image) @ self.b(image).transpose(1, 2)

    report = count_ops(Product(), IMAGE, neurons={Given: Spikes(2)})
    by_hand = sum(
        int(a[n, i, k] * b[n, j, k])
        for n, i, j, k in product(range(2), range(4), range(4), range(5))
    )
    assert (report.sops, report.macs, report.dense_macs) == (by_hand, 0, 2 * 4 * 4 * 5)


def test_vectors_are_rows_and_columns():
    matrix, vector = torch.rand(3, 5), torch.tensor([1.0, 0, 1, 1, 0])
    report = counted(vector, nn.Identity(), lambda x: matrix @ x)
    assert (report.sops, report.macs, report.dense_macs) == (3 * 3, 0, 15)
    report = counted(vector, nn.Identity(), lambda x: torch.dot(x, vector.clone()))
    assert (report.sops, report.macs, report.dense_macs) == (3, 0, 5)


SURVIVES = {
    "views and permutations": lambda x: (
        x.permute(1, 0, 2, 3).transpose(0, 1).flatten(2).unflatten(2, (8, 8))
    ),
    "zero padding": lambda x: F.pad(x, (1, 2, 0, 1)),
    "reflection": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "pixel unshuffle and shuffle": lambda x: F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2),
    "slices": lambda x: x[:, :, 1:, ::2],
    "concatenation": lambda x: torch.cat([x[:, :2], x[:, 2:]], 1),
    "stacking": lambda x: torch.stack([x[:, :2], x[:, 2:]], 1).flatten(1, 2),
    "split": lambda x: torch.cat(x.split(2, 1), 1),
    "nearest up-sampling": lambda x: F.interpolate(x, scale_factor=2),
    "max pooling": lambda x: F.max_pool2d(x, 2),
    "casts": lambda x: x.double().float(),
    "a number": lambda x: x * 0.5,
    "division": lambda x: x / 4,
    "a tensor without dimensions": lambda x: x * torch.tensor(3.0),
    "contiguous copies": lambda x: x.transpose(2, 3).contiguous(),
    "the sum of two": lambda x: x + x,
    "channels by their numbers": lambda x: x[:, [2, 0, 3, 0]],
    "channels by a mask": lambda x: x[:, torch.tensor([True, False, True, True])].repeat(
        1, 2, 1, 1
    )[:, :4],
    "pixels by their numbers": lambda x: torch.ops.aten._unsafe_index(
        x, [None, None, torch.arange(7, 0, -1)]
    ),
    "gathering": lambda x: x.gather(
        1, torch.randint(4, x.shape, generator=torch.Generator().manual_seed(0))
    ),
    "taking along a dimension": lambda x: x.take_along_dim(
        torch.tensor([3, 1, 0, 2]).view(1, 4, 1, 1), 1
    ),
    "taking": lambda x: x.take(torch.arange(512).flip(0)).view(2, 4, 8, 8),
    "selecting by a mask": lambda x: x.masked_select(torch.ones(8, 8, dtype=torch.bool)).view(
        x.shape
    ),
    "a diagonal": lambda x: x.diagonal(0, 2, 3)[..., None].expand(-1, -1, -1, 3),
    "channel shuffling": lambda x: torch.channel_shuffle(x, 2),
    "native channel shuffling": lambda x: torch.native_channel_shuffle(x, 2),
    "rotation": lambda x: x.rot90(1, (2, 3)),
    "adaptive max pooling": lambda x: F.adaptive_max_pool2d(x, 5),
    "adaptive max pooling in three dimensions": lambda x: F.adaptive_max_pool3d(x, (4, 5, 5)),
    "exact nearest up-sampling": lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
    "exact nearest up-sampling of rows": lambda x: F.interpolate(
        x.flatten(2), scale_factor=2, mode="nearest-exact"
    ).unflatten(2, (8, 16)),
    "exact nearest up-sampling of volumes": lambda x: F.interpolate(
        x[None], (4, 8, 16), mode="nearest-exact"
    )[0],
    "circular padding": lambda x: F.pad(x, (1, 2, 1, 0), mode="circular"),
    "a tensor filled by parts": lambda x: _filled(torch.zeros(x.shape), x),
}
ENDS = {
    "bilinear up-sampling": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "average pooling": lambda x: F.avg_pool2d(x, 2),
    "scaling by channel": lambda x: x * torch.rand(1, 4, 1, 1),
    "adding a feature": lambda x: x + torch.rand_like(x),
    "adding a number": lambda x: x + 1,
    "subtraction": lambda x: x - x.flip(3),
    "in-place arithmetic": lambda x: x.clone().add_(0.25),
    "padding with ones": lambda x: F.pad(x, (1, 1), value=1.0),
    "a negative number": lambda x: x * -1,
    "a part of a feature": lambda x: _filled(torch.full((2, 4, 9, 8), 0.5), x),
}


def _filled(whole, x):
    whole[:, :2, :8] = x[:, :2]
    whole[:, 2:, :8] = x[:, 2:]
    return whole


@pytest.mark.parametrize("way", SURVIVES)
def test_spikes_stay_spikes_where_values_are_only_moved(way):
    events = (torch.rand(2, 4, 8, 8) < 0.4).float()
    layer = nn.Conv2d(4, 3, 3, bias=False)
    moved = SURVIVES[way](events)
    report = counted(events, layer, SURVIVES[way])
    assert report.macs == 0
    unit = 1 if way == "the sum of two" else float(moved[moved > 0].min())
    assert report.sops == ones_oracle(layer, moved / unit)


@pytest.mark.parametrize("way", ENDS)
def test_arithmetic_ends_spikes(way):
    report = counted((torch.rand(2, 4, 8, 8) < 0.4).float(), nn.Conv2d(4, 3, 3), ENDS[way])
    assert report.sops == 0
    assert report.macs == report.dense_macs > 0


def test_values_alone_do_not_make_spikes():
    layer = nn.Conv2d(3, 4, 3)
    for image in (torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)):
        report = count_ops(nn.Sequential(layer), image)
        assert (report.sops, report.layers[0].value_only) == (0, 3 * 64)
        assert any("comes from no neuron" in note for note in report.notes)
    assert count_ops(nn.Sequential(layer), torch.rand(1, 3, 8, 8)).layers[0].value_only == 0


def test_a_mark_is_checked_against_the_values():
    """A data-dependent write that no rule of marks sees: the values are not whole events."""

    def spoil(x):
        view = x.view(-1)
        view.mul_(0.3)
        return x

    report = counted((torch.rand(1, 4, 8, 8) < 0.4).float(), nn.Conv2d(4, 3, 3), spoil)
    assert report.sops == 0
    assert report.macs > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_events_of_16_bits_are_whole_where_no_value_is(dtype):
    events = torch.full((4, 3, 20, 20), 2.0)
    for layer in (nn.Conv2d(3, 2, 1), nn.Linear(20, 2)):
        report = counted((events / 3).to(dtype), layer.to(dtype), levels=3, unit=1 / 3)
        assert (report.layers[0].events, report.sops) == (9600, 19200)


def test_a_neuron_that_gives_something_else_is_refused():
    with pytest.raises(OptionError, match=r"neuron: Given gave values that are not k \* 1 "):
        counted(torch.full((1, 4), 0.5), nn.Linear(4, 2))
    with pytest.raises(OptionError, match="levels of at least 1"):
        Spikes(0)


NEURONS = {
    "lif": (LIFNode(v_threshold=0.5), 1, 1.0),
    "ilif": (ILIFNode(D=3), 3, 1.0),
    "nilif": (NILIFNode(D=4), 4, 0.25),
    "vlif": (VLIFNode(r=2, D=4), 4, 0.25),
}


@pytest.mark.parametrize("name", NEURONS)
def test_our_neurons_say_what_their_spikes_are(name):
    neuron, levels, unit = NEURONS[name]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron = neuron
            self.conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)

        def forward(self, image):
            return self.conv(self.neuron(image.expand(4, -1, -1, -1, -1) * 2).flatten(0, 1))

    image = torch.rand(1, 3, 8, 8)
    report = count_ops(Net(), image)
    spikes = neuron(image.expand(4, -1, -1, -1, -1) * 2)
    k = spikes / unit
    assert k.max() > (1 if levels > 1 else 0)
    (ops,) = report.neurons
    assert (ops.levels, ops.updates, ops.events) == (levels, spikes.numel(), int(k.sum()))
    assert ops.step_events == [int(step.sum()) for step in k]
    assert ops.firing_rate == pytest.approx(float((spikes > 0).float().mean()), abs=1e-7)
    assert report.sops == ones_oracle(nn.Conv2d(3, 2, 3, padding=1, bias=False), k.flatten(0, 1))
    assert report.macs == 0


@pytest.mark.parametrize("form", FORMS)
def test_dense_work_equals_pytorch_s_own_counter(form):
    name, options = FORMS[form]
    net = ARCHS[name](**options).eval()
    image = torch.rand(1, 3, 32, 40)
    report = count_ops(net, image)
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        net(image)
    assert report.dense_macs * 2 == flops.get_total_flops()
    assert report.parameters == sum(p.numel() for p in net.parameters())
    assert not report.not_counted


def test_dense_networks_of_other_kinds(monkeypatch):
    """Attention, functional calls, transposed convolutions, LayerNorm."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(8, 3, 3, 3))
            self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
            self.norm = nn.LayerNorm(8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, image):
            x = F.conv2d(image, self.weight, stride=2)
            tokens = self.norm(x.flatten(2).transpose(1, 2))
            x = x + self.attention(tokens, tokens, tokens)[0].transpose(1, 2).unflatten(
                2, x.shape[2:]
            )
            mean = torch.einsum("bchw,bchw->bc", x, x)
            return self.up(F.gelu(x)) + mean.sum()

    net = Mixed().eval()
    image = torch.rand(1, 3, 17, 17)
    report = count_ops(net, image)
    assert torch.backends.mha.get_fastpath_enabled()
    monkeypatch.setattr(
        torch.backends.mha, "_is_fastpath_enabled", False
    )  # PyTorch misses what it fuses
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        net(image)
    assert report.macs * 2 == flops.get_total_flops() > 0
    assert not report.not_counted
    assert report.elementwise["native_layer_norm"] == 7 * 64 * 8
    assert {layer.name for layer in report.layers} >= {"(network)", "up"}


def test_what_is_not_understood_is_listed():
    class Fourier(nn.Module):
        def forward(self, image):
            return torch.fft.irfft2(torch.fft.rfft2(image))

    report = count_ops(Fourier(), torch.rand(1, 3, 8, 8))
    assert set(report.not_counted) == {"_fft_r2c", "_fft_c2r"}


def test_element_wise_work_by_hand():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1))
    report = count_ops(net, torch.rand(1, 3, 8, 8))
    n = 3 * 64
    assert report.elementwise_total == 2 * n + n + 4 * n + n
    assert report.foldable == 2 * n
    assert report.energy_uj(PRESETS["paper"])["total"] == 0
    priced = EnergyCosts(mac_pj=1, sop_pj=0, sign_pj=0, elementwise_pj=2)
    assert report.energy_uj(priced)["elementwise"] == pytest.approx(8 * n * 2e-6, rel=1e-12)


LIVE_IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def live():
    torch.manual_seed(0)
    return make_live(VLIFNet(**SMALL, formulation="official"), torch.rand(2, 3, 32, 32))


def numbers(report):
    return [vars(layer) for layer in report.layers], [vars(neuron) for neuron in report.neurons]


def test_counting_changes_nothing(live):
    before = live(LIVE_IMAGE)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in live.modules()]
    report = count_ops(live, LIVE_IMAGE)
    assert report.sops > 0
    assert torch.equal(live(LIVE_IMAGE), before)
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in live.modules()] == hooks
    rates = firing_rates(live, LIVE_IMAGE)
    assert {n.name: pytest.approx(n.firing_rate, abs=1e-6) for n in report.neurons} == rates


def test_the_count_is_the_same_in_every_mode(live):
    expected = numbers(count_ops(live, LIVE_IMAGE))
    live.train()
    statistics = [m.running_mean.clone() for m in live.modules() if isinstance(m, nn.BatchNorm2d)]
    assert numbers(count_ops(live, LIVE_IMAGE)) == expected
    assert all(m.training for m in live.modules())
    after = [m.running_mean for m in live.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(map(torch.equal, statistics, after))
    live.eval()
    assert numbers(count_ops(torch.compile(live), LIVE_IMAGE)) == expected
    assert numbers(count_ops(live, LIVE_IMAGE[0])) == expected
    with torch.inference_mode():
        assert numbers(count_ops(live, LIVE_IMAGE)) == expected
    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = count_ops(live, LIVE_IMAGE)
    exact = count_ops(live, LIVE_IMAGE)
    assert (report.macs, report.dense_macs, report.updates) == (
        exact.macs,
        exact.dense_macs,
        exact.updates,
    )
    assert report.sops == pytest.approx(
        exact.sops, rel=0.05
    )  # bfloat16 moves some membranes over the threshold


def test_spikingjelly_counts_the_same():
    sj = pytest.importorskip("spikingjelly.activation_based")
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter

    assert sj
    net = nn.Sequential(
        layer.Conv2d(3, 8, 3, padding=1), neuron.LIFNode(v_threshold=0.1),
        layer.Conv2d(8, 6, 3, stride=2, padding=1, groups=2), neuron.IFNode(v_threshold=0.1),
        layer.Flatten(), layer.Linear(6 * 64, 10),
    )  # fmt: skip
    functional.set_step_mode(net, "m")

    class Repeated(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, image):
            functional.reset_net(self.net)
            return self.net(image[None].repeat(5, 1, 1, 1, 1)).mean(0)

    image = torch.rand(1, 3, 16, 16)
    report = count_ops(Repeated(), image)
    counter = SynOpCounter()
    with DispatchCounterMode([counter]), torch.no_grad():
        Repeated()(image)
    assert report.sops == counter.get_total() > 0
    assert report.macs == 5 * 8 * 27 * 256
    assert [len(n.step_events) for n in report.neurons] == [5, 5]
    assert any("same at all timesteps" in note and "net.0" in note for note in report.notes)


def test_single_step_neurons_of_spikingjelly():
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, neuron

    class Stepwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron = neuron.IFNode(v_threshold=0.6)
            self.fc = nn.Linear(12, 2)

        def forward(self, image):
            functional.reset_net(self)
            return sum(self.fc(self.neuron(image.flatten(1))) for _ in range(3))

    image = torch.rand(1, 3, 2, 2)
    report = count_ops(Stepwise(), image)
    v, events = torch.zeros(12), []
    for _ in range(3):
        v = v + image.flatten()
        events.append(int((v >= 0.6).sum()))
        v[v >= 0.6] = 0
    assert report.neurons[0].step_events == events
    assert report.sops == 2 * sum(events)


def test_neurons_of_others_begin_at_rest_and_keep_what_they_had():
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, neuron

    class Charged(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.neuron = neuron.LIFNode(v_threshold=0.6, step_mode="m", store_v_seq=True)
            self.last = nn.Conv2d(4, 2, 3)

        def forward(self, image):
            x = self.conv(image.expand(3, -1, -1, -1))[:, None]
            return self.last(self.neuron(x).flatten(0, 1))

    net, image = Charged(), torch.rand(1, 3, 8, 8)
    nn.init.uniform_(net.conv.weight, 0, 0.1)
    first = count_ops(net, image)
    assert net.neuron.v == 0.0
    net(image)
    v, had = net.neuron.v, net.neuron.v.clone()
    assert v.requires_grad
    assert v.any()
    assert numbers(count_ops(net, image)) == numbers(first)
    assert check_binary(net, image)[0] < 1e-12
    assert net.neuron.v is v
    assert torch.equal(v, had)
    functional.reset_net(net)
    assert numbers(count_ops(net, image)) == numbers(first)
    assert first.sops > 0


def test_a_neuron_may_give_its_state_behind_its_spikes():
    class Recurrent(nn.Module):  # as snnTorch's
        def forward(self, x, v=0.0):
            v = 0.9 * v + x
            spikes = (v > 0.5).to(x)
            return spikes, v - spikes

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron, self.fc = Recurrent(), nn.Linear(8, 2)

        def forward(self, image):
            x = image[0, 0]
            spikes, v = self.neuron(x)
            again, _ = self.neuron(x, v)
            return self.fc(spikes) + self.fc(again)

    net, image = Two(), torch.rand(1, 3, 8, 8)
    report = count_ops(net, image, neurons={Recurrent: Spikes()})
    events = sum(
        int((n > 0.5).sum()) for n in (image[0, 0], 1.9 * image[0, 0] - 0.9 * (image[0, 0] > 0.5))
    )
    assert (report.macs, report.sops, report.events) == (0, 2 * events, events)
    net.neuron.forward = lambda x, v=0.0: {"spikes": x}
    net.forward = lambda image: net.neuron(image)
    with pytest.raises(
        OptionError, match=r"^neuron: Recurrent is a neuron and gave a dict; it must give its"
    ):
        count_ops(net, image, neurons={Recurrent: Spikes()})
    net.neuron.forward = lambda x: x.no_such_method()
    with pytest.raises(DataError, match="no_such_method"):
        count_ops(net, image, neurons={Recurrent: Spikes()})


# properties of the released networks at 256x256 (their figures), and what ours do less: the image is
# embedded once and not at all four timesteps, and VLIF-C's 1x1 convolution runs before up-sampling
EMBED_AGAIN = 3 * 256**2 * 27 * 48
MIX_AT_FULL_SIZE = 3 * 4 * 128**2 * 192 * 48  # each SDEM of level 1; the same at levels 2 and 3
REFERENCE = {
    "VLIF": ({"use_refinement": False}, 395_740_904_896, 37_748_736_000, 364_904_448, 2_688_485_984, 86_507, 19),
    "VLIF with refinement": ({"use_refinement": True}, 470_639_118_080, 37_748_736_000, 465_567_744,
                             2_793_870_448, 87_763, 23),
    "ESDNet": (None, 492_309_840_736, 332_792_856_576, 408_944_640, 7_320_375_128, 165_911, 0),
}  # fmt: skip


def figures(net, side):
    report = count_ops(net, torch.rand(1, 3, side, side))
    assert any("untrained" in note for note in report.notes)
    assert report.paper_energy_uj(PRESETS["paper"]) == pytest.approx(
        report.paper.macs * 12.5e-6, rel=1e-12
    )
    numbers = (report.dense_macs, report.macs, report.updates, report.paper.macs)
    assert report.released_macs is not None
    return np.array([*numbers, report.released_macs]), report.paper.parameters


def at_256(net):
    """Each figure is a part for each pixel and a part for the image: two small images tell both."""
    (small, parameters), (larger, _) = figures(net, 32), figures(net, 64)
    return small + (larger - small) * (256**2 - 32**2) // (64**2 - 32**2), parameters


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize(
    "count", [at_256, pytest.param(partial(figures, side=256), marks=pytest.mark.slow)]
)
def test_the_figures_of_the_released_networks(name, count):
    options, dense, spiking, updates, paper_macs, paper_parameters, sdems = REFERENCE[name]
    net = ESDNet() if options is None else VLIFNet(formulation="official", **options)
    numbers, parameters = count(net)
    saved = EMBED_AGAIN + sdems * MIX_AT_FULL_SIZE
    moved = sdems * MIX_AT_FULL_SIZE // 3  # VLIF-C's convolution reads spikes here
    ours = dense - saved
    assert numbers.tolist() == [ours, ours - spiking - moved, updates, paper_macs, dense]
    assert parameters == paper_parameters
    if name == "ESDNet":
        assert round(numbers[3] * 12.5e-6) == 91_505  # the paper: 9.150e4


def test_only_released_networks_have_a_released_count():
    image = torch.rand(3, 16, 16)
    sizes = {"dim": 4, "en_num_blocks": (1, 1), "de_num_blocks": (1, 1)}
    lif = count_ops(VLIFNet(**sizes, formulation="official", neuron="lif"), image)
    assert lif.released_macs == lif.dense_macs + 3 * 16**2 * 27 * 4  # no VLIF-C; embedded again
    assert count_ops(VLIFNet(**sizes), image).released_macs is None
    assert count_ops(nn.Conv2d(3, 3, 1), image).released_macs is None


def test_the_paper_s_count_is_thop_s():
    """The rules for pooling, up-sampling and small layers, and plain networks, against thop itself."""
    thop = pytest.importorskip("thop")

    class Squeeze(nn.Module):
        """A gate as the released code has it: modules of torch.nn, the small ones used twice."""

        def __init__(self):
            super().__init__()
            self.mean, self.peak = nn.AdaptiveAvgPool3d(1), nn.AdaptiveMaxPool3d(1)
            self.mlp = nn.Sequential(
                nn.Conv3d(8, 2, 1, bias=False), nn.ReLU(), nn.Conv3d(2, 8, 1, bias=False)
            )

        def forward(self, x):
            return torch.sigmoid(self.mlp(self.mean(x)) + self.mlp(self.peak(x)))

    x = torch.rand(1, 8, 4, 6, 6)
    macs, parameters = thop.profile(Squeeze(), (x,), verbose=False)
    from vlif_plugin.energy.paper_count import gate_operations

    gate = Gate(8, 4)
    assert gate_operations(gate, 1, x[0, 0].numel()) == macs
    assert sum(p.numel() for p in gate.parameters()) == parameters

    up = nn.Upsample(scale_factor=2, mode="bilinear")
    macs, _ = thop.profile(up, (torch.rand(1, 3, 8, 8),), verbose=False)
    assert macs == 11 * 3 * 256

    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, groups=1),
        nn.Conv2d(8, 8, 3, groups=4),
        nn.Flatten(),
        nn.Linear(72, 5),
    )
    image = torch.rand(1, 3, 12, 12)
    macs, parameters = thop.profile(net, (image,), verbose=False)
    paper = count_ops(net, image).paper
    assert (paper.macs, paper.parameters) == (macs, parameters)


class NeedsMore(nn.Module):
    def forward(self, image, degradation):
        return image


WRONG = {
    "a batch": (lambda: count_ops(nn.Identity(), torch.rand(2, 3, 8, 8)), DataError, "one image of shape"),
    "no image": (lambda: count_ops(nn.Identity(), torch.rand(8, 8)), DataError, r"got \(8, 8\)"),
    "more than an image": (lambda: count_ops(NeedsMore(), IMAGE), DataError,
        "NeedsMore cannot be run on an image of 8x8 alone .*degradation"),
    "too small an image": (lambda: count_ops(nn.Conv2d(3, 4, 9), IMAGE), DataError,
                           "Conv2d cannot be run on an image of 8x8"),
    "a negative price": (lambda: EnergyCosts(mac_pj=-1, sop_pj=0, sign_pj=0), OptionError,
                         "mac_pj must be a number .*-1"),
    "no number": (lambda: EnergyCosts(mac_pj=1, sop_pj=float("nan"), sign_pj=0), OptionError, "sop_pj"),
    "text": (lambda: EnergyCosts(mac_pj=1, sop_pj=0, sign_pj="x"), OptionError, "sign_pj"),
    "no such sign": (lambda: EnergyCosts(mac_pj=1, sop_pj=0, sign_pj=0, sign_per="spike"), OptionError, "sign_per"),
    "no such preset": (lambda: costs_of("papr"), OptionError, "'papr'; did you mean paper"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_with_one_line(case):
    act, error, message = WRONG[case]
    with pytest.raises(error, match=message) as caught:
        act()
    assert "\n" not in str(caught.value)


def test_hooks_go_when_a_network_fails(live):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in live.modules()]
    with pytest.raises(DataError):
        count_ops(live, torch.rand(1, 4, 32, 32))
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in live.modules()] == hooks
