"""A neuron of one's own, wherever neurons are named."""

import pytest
import torch
from helpers import SMALL, TINY, firing_rates, make_live
from torch import nn

from vlif_plugin.archs import ARCHS, build_network
from vlif_plugin.energy import binary_inference, count_ops
from vlif_plugin.errors import OptionError
from vlif_plugin.neurons import (
    NEURONS,
    FiringRates,
    Learnable,
    LIFNode,
    SpikingNeuron,
    VLIFNode,
    build_neuron,
    integer_spike,
    learned_constants,
    positive,
)
from vlif_plugin.neurons.functional import run_sequence


class TernaryNode(SpikingNeuron):
    """Counts to two, in halves; its leak can be learned."""

    leak = Learnable(positive)
    parameters_shown = ("leak",)

    def __init__(self, *, leak=0.5, learn=()):
        super().__init__()
        self.leak = leak
        self.learn(learn)

    @property
    def levels(self):
        return 2

    @property
    def unit(self):
        return 0.5

    def step(self, x, v):
        u = v + x
        count = integer_spike(u, 2)
        return count / 2, self.leak * (u - count.detach())


@pytest.fixture
def ternary(monkeypatch):
    monkeypatch.setattr(NEURONS, "data", dict(NEURONS))
    NEURONS["TernaryNode"] = TernaryNode
    return TernaryNode


def own_neurons(net):
    return {name for name, m in net.named_modules() if isinstance(m, TernaryNode)}


@pytest.mark.parametrize("neuron", ["TernaryNode", {"type": "TernaryNode", "leak": 0.25}], ids=str)
@pytest.mark.parametrize(
    ("arch", "small", "others"), [("VLIFNetTiny", TINY, VLIFNode), ("VLIFNet", SMALL, LIFNode)]
)
def test_networks_take_it_by_name_or_with_arguments(ternary, arch, small, others, neuron):
    net = build_network({"type": arch, **small, "neuron": neuron})
    neurons = [m for m in net.modules() if isinstance(m, SpikingNeuron)]
    own = [m for m in neurons if isinstance(m, TernaryNode)]
    assert len(own) >= 6
    assert all(isinstance(m, (TernaryNode, others)) for m in neurons)
    assert {m.leak for m in own} == {0.5 if isinstance(neuron, str) else 0.25}


@pytest.mark.parametrize(
    ("arch", "small"),
    [
        ("VLIFNetTiny", TINY),
        ("VLIFNet", SMALL | {"use_refinement": False, "formulation": "official"}),
    ],
)
def test_it_fires_is_counted_and_learns_like_any_other(ternary, arch, small):
    section = {"type": "TernaryNode", "learn": ["leak"]}
    net = build_network({"type": arch, **small, "T": 2, "neuron": section})
    x = torch.rand(2, 3, 32, 32)
    make_live(net, x)
    own = own_neurons(net)
    assert own <= firing_rates(net, x).keys()
    with FiringRates(net) as rates, torch.no_grad():
        net(x)
    assert all(rates.counts()[name][0] > 0 for name in own)
    report = count_ops(net, x[:1])
    assert {neuron.levels for neuron in report.neurons if neuron.name in own} == {2}
    assert len(learned_constants(net)) == len(own)
    with torch.no_grad(), binary_inference(net) as run:
        net(x[:1])
    assert run.sops == report.sops
    net.train()(x).sum().backward()
    assert all(net.get_submodule(name).w_leak.grad.isfinite() for name in own)
    assert any(net.get_submodule(name).w_leak.grad != 0 for name in own)


def test_mmengine_s_registry_has_it_though_it_came_later(ternary, monkeypatch):
    registry = pytest.importorskip("mmengine.registry")
    from vlif_plugin.registry import MODELS

    registry.MODELS.build({"type": "vlif_plugin.LIFNode"})  # everything is imported
    monkeypatch.setattr(MODELS, "_module_dict", dict(MODELS._module_dict))
    neuron = registry.MODELS.build({"type": "vlif_plugin.TernaryNode", "leak": 0.75})
    assert type(neuron) is TernaryNode
    assert neuron.leak == 0.75
    net = registry.MODELS.build(
        {"type": "vlif_plugin.VLIFNetTiny", **TINY, "neuron": {"type": "TernaryNode"}}
    )
    assert own_neurons(net)
    with pytest.raises(OptionError, match="did you mean TernaryNode"):
        registry.MODELS.build({"type": "vlif_plugin.TernryNode"})


def test_a_class_that_is_defined_again_takes_its_place(ternary, monkeypatch):
    registry = pytest.importorskip("mmengine.registry")
    from vlif_plugin.registry import MODELS

    monkeypatch.setattr(MODELS, "_module_dict", dict(MODELS._module_dict))
    first = registry.MODELS.build({"type": "vlif_plugin.TernaryNode"})
    again = type("TernaryNode", (TernaryNode,), {"__qualname__": TernaryNode.__qualname__})
    again.__module__ = TernaryNode.__module__
    NEURONS["TernaryNode"] = again
    assert type(build_neuron("TernaryNode")) is again
    assert type(registry.MODELS.build({"type": "vlif_plugin.TernaryNode"})) is again
    assert type(first) is TernaryNode


def test_a_name_that_a_block_has_is_no_neuron_s(ternary, monkeypatch):
    registry = pytest.importorskip("mmengine.registry")
    from vlif_plugin.registry import MODELS

    registry.MODELS.build({"type": "vlif_plugin.LIFNode"})
    monkeypatch.setattr(MODELS, "_module_dict", dict(MODELS._module_dict))
    NEURONS["SDEM"] = TernaryNode
    with pytest.raises(RuntimeError, match=r"has a SDEM from .* the one from .* cannot be added"):
        registry.MODELS.build({"type": "vlif_plugin.LIFNode"})


class Stepless(SpikingNeuron):
    pass


@pytest.mark.parametrize(
    ("name", "neuron", "message"),
    [
        ("LIFNode", TernaryNode, r"'LIFNode'\]: the name is taken by vlif_plugin.neurons.lif.LIFNode; .*TernaryNode"),
        ("Ternary", TernaryNode(), r"'Ternary'\]: a class of modules is needed, got a TernaryNode"),
        ("Ternary", dict, "a class of modules is needed, got dict"),
        ("Stepless", Stepless, "Stepless defines no step"),
    ],
)  # fmt: skip
def test_what_is_no_neuron_is_refused_where_it_is_added(monkeypatch, name, neuron, message):
    monkeypatch.setattr(NEURONS, "data", dict(NEURONS))
    before = dict(NEURONS)
    with pytest.raises(OptionError, match=message):
        NEURONS[name] = neuron
    with pytest.raises(OptionError, match=message):
        NEURONS.update({name: neuron})
    assert dict(NEURONS) == before


def gives(result):
    """A neuron whose step gives what a function makes of its input."""

    class Wrong(SpikingNeuron):
        def step(self, x, v):
            return result(x, v)

    return Wrong


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (lambda x, v: x, r"got \(3, 5\)"),
        (lambda x, v: (x, v, v), r"got \(3, 5\) and \(3, 5\) and \(3, 5\)"),
        (lambda x, v: (x, None), r"got \(3, 5\) and NoneType"),
        (lambda x, v: (x.sum(), v), r"got \(\) and \(3, 5\)"),
        (lambda x, v: None, "got NoneType"),
        (lambda x, v: (), "got nothing"),
    ],
)
def test_a_step_that_gives_something_else_is_one_line(result, got):
    message = rf"Wrong.step must return a spike and the next potential, both of its input's shape \(3, 5\), {got}"
    with pytest.raises(OptionError, match=message):
        gives(result)()(torch.rand(4, 3, 5))
    with pytest.raises(OptionError, match="must return a spike and the next potential"):
        run_sequence(lambda x, v: x, torch.rand(4, 3))


@pytest.mark.parametrize("arch", ["VLIFNetTiny", "VLIFNet"])
@pytest.mark.parametrize(
    ("neuron", "message"),
    [
        ("TernryNode", "must be one of .* neuron in NEURONS, got 'TernryNode'; did you mean TernaryNode"),
        ({"type": "TernaryNode", "leek": 1}, "neuron: TernaryNode has no option 'leek'; did you mean leak"),
        ({"type": "TernaryNode", "learn": ["tau"]}, "neuron: learn: TernaryNode can learn leak, got 'tau'"),
        ({"leak": 1}, "or the name of a neuron in NEURONS, got 'None'"),
        (3, "or the name of a neuron in NEURONS, got '3'"),
        ("VLIFNode", r"a neuron is needed that keeps the shape, VLIFNode makes \(8, 1, 1, 2, 2\) of \(2, 1, 1, 4, 4\)"),
        ({"type": "VLIFC", "channels": 8}, "neuron: VLIFC is no SpikingNeuron"),
        ("Wrong", "neuron: .*Wrong.step must return a spike"),
    ],
    ids=str,
)  # fmt: skip
def test_networks_refuse_in_one_line_what_cannot_stand_there(ternary, arch, neuron, message):
    NEURONS["Wrong"] = gives(lambda x, v: x)
    with pytest.raises(OptionError, match=message):
        build_network(
            {"type": arch, **(TINY if arch == "VLIFNetTiny" else SMALL), "neuron": neuron}
        )


def test_patches_of_an_own_neuron_fit_into_any_image(monkeypatch):
    for arch, small in (("VLIFNetTiny", TINY), ("VLIFNet", SMALL | {"T": 1})):
        net = ARCHS[arch](**small, neuron={"type": "VLIFPixelNode", "r": 3}).eval()
        assert net.size_multiple % 3 == 0
        with torch.no_grad():
            assert net(torch.rand(1, 3, 13, 29)).shape == (1, 3, 13, 29)


def test_spikes_that_are_not_what_levels_and_unit_say_are_found(monkeypatch):
    monkeypatch.setattr(NEURONS, "data", dict(NEURONS))

    class Third(TernaryNode):
        def step(self, x, v):
            spike, v = super().step(x, v)
            return spike / 3, v

    class Net(nn.Sequential):
        def forward(self, image):
            return self[1](self[0](image[None])[0])

    net = Net(Third(), nn.Conv2d(3, 3, 1))
    image = 2 * torch.rand(1, 3, 8, 8) + 0.6
    message = r"0: Third gave values that are not k \* 0.5 with whole k from 0 to 2"
    with pytest.raises(OptionError, match=message):
        count_ops(net, image)
    with pytest.raises(OptionError, match=message), binary_inference(net):
        net(image)
