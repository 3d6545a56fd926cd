import copy
import gc
import math
import weakref

import numpy as np
import pytest
import torch
import torch.distributed as dist
from helpers import FORMS, SMALL, SPIKING, live_net
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlif_plugin.archs import ARCHS, VLIFNet
from vlif_plugin.neurons import (
    FiringRates,
    FiringReport,
    ILIFNode,
    LIFNode,
    NILIFNode,
    SpikingNeuron,
    gather_counts,
    sum_counts,
)


class Two(nn.Module):
    """Two neurons in a row; an optional one that is never run."""

    def __init__(self, first, second, idle=None):
        super().__init__()
        self.first, self.second, self.idle = first, second, idle

    def forward(self, x):
        return self.second(self.first(x))


def passer():
    """Fires where its input is positive, and forgets at once."""
    return LIFNode(tau=1.0, v_threshold=1e-6, decay_input=False)


def by_hand(net, batches):
    """Spikes and updates of each neuron, from all of its outputs kept."""
    net = copy.deepcopy(net)
    kept: dict[str, list[np.ndarray]] = {}
    for name, module in net.named_modules():
        if isinstance(module, SpikingNeuron):
            rows = kept.setdefault(name, [])
            module.register_forward_hook(lambda _, __, out, rows=rows: rows.append(out.numpy()))
    with torch.no_grad():
        for batch in batches:
            net(batch)
    return {
        name: (
            sum(int((out != 0).sum()) for out in outs),
            sum(math.prod(out.shape) for out in outs),
        )
        for name, outs in kept.items()
    }


@pytest.mark.parametrize("form", SPIKING)
def test_counts_of_several_batches_are_those_counted_by_hand(form):
    net, x = live_net(form)
    batches = [x[:1], x[1:, :, :13].flip(-1), 0.5 * x[1:]]  # of several sizes, one of them padded
    firing = FiringRates(net)
    with firing, torch.no_grad():
        for batch in batches:
            net(batch)
    expected = by_hand(net, batches)
    assert firing.counts() == expected
    assert list(firing.counts()) == list(expected)
    report = FiringReport.of(firing.counts())
    assert len(set(report.rates.values())) > 0.8 * len(expected)
    assert report.rates == {name: spikes / updates for name, (spikes, updates) in expected.items()}
    spikes, updates = map(sum, zip(*expected.values(), strict=True))
    assert report.rate == spikes / updates


def test_a_spike_of_several_events_is_one_spike():
    x = torch.tensor([[-1.0, 0.4, 0.6, 1.0, 2.6, 9.0]])
    for neuron, outputs in (
        (NILIFNode(D=4), [0, 0, 0.25, 0.25, 0.75, 1]),
        (ILIFNode(D=4), [0, 0, 1, 1, 3, 4]),
    ):
        firing = FiringRates(neuron)
        with firing:
            assert neuron(x).flatten().tolist() == outputs
        assert firing.counts() == {"": (4, 6)}


def test_two_halves_summed_are_the_whole():
    net, x = live_net("ESDNet", T=2)
    images = [x[:1], x[1:], x[:1, :, :13]]
    whole, *halves = (FiringRates(net) for _ in range(3))
    with torch.no_grad():
        for firing, share in zip((whole, *halves), (images, images[:1], images[1:]), strict=True):
            for image in share:
                with firing:
                    net(image)
                net(image)  # what runs outside is not counted
    first, second = (half.counts() for half in halves)
    assert first != second
    assert sum_counts([first, second]) == whole.counts()


def test_each_process_gets_the_counts_of_all(monkeypatch):
    mine, other = {"a": (1, 10), "b": (0, 0)}, {"a": (3, 30), "b": (2, 4)}
    assert gather_counts(mine) == mine

    def all_gather(into, given):
        assert given == mine
        into[:] = [given, other]

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", all_gather)
    assert gather_counts(mine) == {"a": (4, 40), "b": (2, 4)}


def elements_alive():
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)]
    return sum(tensor.numel() for tensor in tensors)


def test_no_spikes_are_kept_and_what_is_kept_does_not_grow():
    net = Two(passer(), passer())
    firing = FiringRates(net)
    outputs = []
    before = elements_alive()
    with firing, torch.no_grad():
        for neuron in (net.first, net.second):
            neuron.register_forward_hook(lambda _, __, out: outputs.append(weakref.ref(out)))
        for passes in range(1, 4):
            net(torch.rand(2, 5, 7))
            assert len(outputs) == 2 * passes
            assert not any(output() is not None for output in outputs)
            assert elements_alive() == before + 2  # an integer each
    assert firing.counts()["second"][1] == 3 * 70


def test_it_counts_while_it_is_entered_once_and_leaves_nothing():
    net, x = Two(passer(), passer()), torch.ones(1, 3)
    firing = FiringRates(net)
    net(x)
    with firing:
        firing.attach()
        net(x)
    net(x)
    with pytest.raises(KeyError), firing:
        raise KeyError
    assert firing.counts() == {"first": (3, 3), "second": (3, 3)}
    assert not any(module._forward_hooks for module in net.modules())
    with firing:
        net(x)
    firing.detach()
    assert firing.counts()["first"] == (6, 6)


def test_modes_may_change_between_calls():
    net, x = Two(passer(), passer()), torch.ones(2, 3)
    firing = FiringRates(net)
    with firing:
        with torch.inference_mode():
            net(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            net(x.bfloat16())
        with torch.no_grad():
            net(x.double())
        net(x.requires_grad_()).sum().backward()
    assert firing.counts()["second"] == (24, 24)


def test_what_activation_checkpointing_runs_again_within_the_context_counts_twice():
    net, x = Two(passer(), passer()), torch.ones(2, 3, requires_grad=True)
    for inside, expected in ((True, (12, 12)), (False, (6, 6))):
        firing = FiringRates(net)
        with firing:
            out = checkpoint(net, x, use_reentrant=False)
            assert isinstance(out, Tensor)
            if inside:
                out.sum().backward()
        if not inside:
            out.sum().backward()
        assert firing.counts()["first"] == expected


def test_the_limits_themselves_are_neither_dead_nor_saturated():
    report = FiringReport.of({
        "silent": (0, 1000), "under": (999, 1_000_000), "low": (1, 1000),
        "high": (900, 1000), "over": (901, 1000), "always": (7, 7),
    })  # fmt: skip
    assert report.dead == ("silent", "under")
    assert report.saturated == ("over", "always")
    assert report.warnings() == [
        "2 of 6 spiking layers are dead (below 0.1 % of updates with a spike): silent 0 %, under 0.0999 %",
        "2 of 6 spiking layers are saturated (above 90 %): over 90.1 %, always 100 %",
    ]
    assert report.summary() == "6 spiking layers fire at 0 to 100 %, median 45.1 %"


def test_a_sound_network_has_one_line_and_no_warning():
    report = FiringReport.of({"a": (2, 1000), "b": (43, 100), "c": (71, 1000)})
    assert report.summary() == "3 spiking layers fire at 0.2 to 43 %, median 7.1 %"
    assert report.warnings() == []
    assert report.scalars() == {
        "firing/rate": 116 / 2100, "firing/dead": 0, "firing/saturated": 0,
    }  # fmt: skip
    layers = {"firing/layer/a": 0.002, "firing/layer/b": 0.43, "firing/layer/c": 0.071}
    assert report.scalars(per_layer=True) == report.scalars() | layers
    assert FiringReport.of({"a": (1, 4)}).summary() == "1 spiking layer fires at 25 %"


def test_a_layer_that_did_not_run_is_neither_dead_nor_forgotten():
    net = Two(passer(), passer(), idle=passer())
    with FiringRates(net) as firing:
        net(torch.ones(1, 3))
    report = FiringReport.of(firing.counts())
    assert (report.dead, report.not_run) == ((), ("idle",))
    assert report.rates == {"first": 1.0, "second": 1.0}
    assert report.warnings()[-1] == "1 of 3 spiking layers is not seen to run: idle"
    unseen = FiringReport.of(FiringRates(net).counts())
    assert (unseen.summary(), unseen.rate, unseen.scalars()) == ("no spiking layer ran", None, {})
    assert len(unseen.warnings()) == 1


def test_a_network_without_neurons_has_nothing_to_report():
    with FiringRates(nn.Conv2d(3, 3, 1)) as firing:
        pass
    report = FiringReport.of(firing.counts())
    assert (firing.counts(), report.summary(), report.warnings()) == ({}, "no spiking layers", [])


def test_a_fresh_network_is_reported_dead_by_its_layers_names():
    net = VLIFNet(**SMALL).eval()
    with FiringRates(net) as firing, torch.no_grad():
        net(torch.rand(1, 3, 24, 24))
    report = FiringReport.of(firing.counts())
    names = [name for name, module in net.named_modules() if isinstance(module, SpikingNeuron)]
    assert set(report.dead) <= set(names)
    assert len(report.dead) > 0.8 * len(names)
    (line,) = report.warnings()
    assert line.startswith(f"{len(report.dead)} of {len(names)} spiking layers are dead")
    assert f": {report.dead[0]} 0 %, {report.dead[1]} 0 %, " in line


@pytest.mark.parametrize("form", [form for form in FORMS if form not in SPIKING])
def test_networks_that_do_not_spike_have_no_layers(form):
    name, small = FORMS[form]
    assert FiringRates(ARCHS[name](**small)).counts() == {}
