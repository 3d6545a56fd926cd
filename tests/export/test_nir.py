"""Parts of networks as NIR graphs, run by a small interpreter of NIR that knows nothing of ours."""

import math
import sys

import nir
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from vlif_plugin import cli
from vlif_plugin.blocks import SDEM, SkipFusion, SpikingResidualBlock, SpikingUnit, UpSampling
from vlif_plugin.errors import ExportError, OptionError
from vlif_plugin.export import export_nir, nir_graph
from vlif_plugin.layers import ConvBN, over_time
from vlif_plugin.neurons import ILIFNode, LIFNode, NILIFNode, VLIFNode, VLIFPixelNode


class Each(nn.Module):
    """A layer at each timestep."""

    def __init__(self, layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x_seq):
        return over_time(self.layer, x_seq)


class Classifier(nn.Module):
    """What is trained on neuromorphic chips: convolution, pooling, linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            Each(nn.Conv2d(2, 6, 3, padding=1)),
            LIFNode(tau=3.0, v_threshold=0.2),
            Each(nn.AvgPool2d(2)),
            Each(nn.Conv2d(6, 4, 3, dilation=2, padding="same", bias=False)),
            LIFNode(tau=1.5, v_threshold=0.05, v_reset=-0.1),
        )
        self.hidden = nn.Linear(4 * 4 * 5, 12)
        self.neuron = LIFNode(tau=4.0, v_threshold=0.1, decay_input=False, v_reset=0.02)
        self.last = nn.Linear(12, 3, bias=False)

    def forward(self, x_seq):
        hidden = self.hidden(self.features(x_seq).flatten(2))
        return self.last(self.neuron(hidden))


def simulate(graph, x_seq, dt):
    """Euler steps of what NIR defines; (T, *shape) to each node's output, (T, ...), float64."""

    def tensor(value):
        return torch.as_tensor(np.asarray(value)).double()

    def sizes(value):
        return value.decode() if isinstance(value, bytes) else np.asarray(value).tolist()

    order, sources = list(graph.nodes), {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        sources[target].append(source)
    voltages = {n: tensor(node.v_leak) for n, node in graph.nodes.items() if type(node) is nir.LIF}
    history = {name: [] for name in order}
    for x in x_seq:
        out = {}
        while len(out) < len(order):
            name = next(n for n in order if n not in out and all(s in out for s in sources[n]))
            node = graph.nodes[name]
            given = sum(out[s] for s in sources[name]) if sources[name] else x
            match node:
                case nir.Input() | nir.Output():
                    result = given
                case nir.Conv2d():
                    padding = node.padding if isinstance(node.padding, str) else sizes(node.padding)
                    result = F.conv2d(
                        given[None], tensor(node.weight), tensor(node.bias), sizes(node.stride),
                        padding, sizes(node.dilation), int(node.groups),
                    )[0]  # fmt: skip
                case nir.Affine():
                    result = tensor(node.weight) @ given + tensor(node.bias)
                case nir.Linear():
                    result = tensor(node.weight) @ given
                case nir.AvgPool2d():
                    result = F.avg_pool2d(
                        given, sizes(node.kernel_size), sizes(node.stride), sizes(node.padding)
                    )
                case nir.Flatten():
                    end = node.end_dim % given.dim()
                    result = given.flatten(int(node.start_dim), int(end))
                case nir.LIF():
                    v = voltages[name]
                    change = tensor(node.v_leak) - v + tensor(node.r) * given
                    v = v + dt / tensor(node.tau) * change
                    result = (v > tensor(node.v_threshold)).double()
                    voltages[name] = torch.where(result > 0, tensor(node.v_reset), v)
                case _:
                    raise AssertionError(f"no interpretation of {type(node).__name__}")
            out[name] = result
            history[name].append(result)
    return {name: torch.stack(steps) for name, steps in history.items()}


def live(part, x_seq):
    """BatchNorm statistics of the input, so that neurons fire."""
    norms = [m for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.ones_(norm.weight)
        nn.init.constant_(norm.bias, 0.3)
        norm.momentum = 1.0
    with torch.no_grad():
        part.train()(x_seq)
    return part.eval()


def learned(neuron):
    """As if trained: a longer memory and a lower threshold than it began with."""
    neuron.w_tau.data.fill_(-0.4)
    neuron.w_v_threshold.data.fill_(-1.1)
    return neuron


PARTS = {
    "classifier": (Classifier, (2, 8, 10)),
    "residual block": (lambda: SpikingResidualBlock(4), (4, 6, 9)),
    "down-sampling": (
        lambda: nn.Sequential(LIFNode(v_threshold=0.3), ConvBN(3, 5, stride=2), LIFNode()),
        (3, 7, 8),
    ),
    "one neuron": (lambda: LIFNode(v_threshold=0.4), (5,)),
    "learned constants": (lambda: learned(LIFNode(learn=["tau", "v_threshold"])), (5,)),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("dt", [1e-4, 1.0])
def test_a_file_fires_as_the_part_does(name, dt, tmp_path):
    build, shape = PARTS[name]
    torch.manual_seed(1)
    x_seq = torch.rand(8, 2, *shape)
    part = live(build(), x_seq)
    export_nir(part, tmp_path / "part.nir", shape, dt=dt)
    graph = nir.read(tmp_path / "part.nir")
    spikes = {}
    wide = part.double()
    neurons = [(n, m) for n, m in wide.named_modules() if isinstance(m, LIFNode)]
    hooks = [
        m.register_forward_hook(lambda _, __, out, n=n: spikes.__setitem__(n, out))
        for n, m in neurons
    ]
    with torch.no_grad():
        expected = wide(x_seq.double())
    assert hooks
    for image in range(2):
        found = simulate(graph, x_seq[:, image].double(), dt)
        assert (found["output"] - expected[:, image]).abs().max() < 1e-6
        for neuron, of_neuron in spikes.items():
            node = neuron.replace(".", "_") or "lif"
            assert torch.equal(found[node], of_neuron[:, image].reshape(found[node].shape))
            assert 0.02 < of_neuron.mean() < 0.98


def test_a_neuron_fires_at_its_threshold_as_ours_does():
    graph = nir_graph(LIFNode(v_threshold=1.0, decay_input=False), (1,))
    ties = torch.tensor([[1.0], [0.5], [0.75], [0.99]])  # 0.5 / 2 + 0.75 = 1
    ours = LIFNode(v_threshold=1.0, decay_input=False)(ties)
    assert ours.flatten().tolist() == [1, 0, 1, 0]
    assert torch.equal(simulate(graph, ties.double(), 1e-4)["output"], ours.double())


def test_constants_are_those_that_other_simulators_expect():
    shape = (2, 3, 4)
    graph = nir_graph(LIFNode(tau=3.0, v_threshold=0.5, decay_input=False), shape, dt=1e-3)
    node = graph.nodes["lif"]
    assert node.tau.shape == node.v_threshold.shape == shape
    assert np.allclose(node.tau, 3e-3, rtol=1e-12)
    assert np.all(node.r == 3.0)  # tau / dt: the input is not divided by tau
    assert math.isclose(node.v_threshold.max(), 0.5, rel_tol=1e-7)
    assert node.v_threshold.max() < 0.5
    divided = nir_graph(LIFNode(tau=3.0, v_reset=0.25), shape).nodes["lif"]
    assert np.all(divided.r == 1.0)
    assert np.all(divided.v_leak == 0.25)
    assert np.all(divided.v_reset == 0.25)


def test_sums_meet_where_they_are_read():
    graph = nir_graph(live(SpikingResidualBlock(2), torch.rand(4, 1, 2, 8, 8)), (2, 8, 8))
    assert sorted(source for source, target in graph.edges if target == "output") == [
        "body_3_conv", "shortcut_conv",
    ]  # fmt: skip
    assert graph.metadata["dt"] == 1e-4


def constant(x_seq):
    return x_seq + 1


def turned(x_seq):
    return over_time(nn.Conv2d(2, 2, 1).requires_grad_(False), x_seq.flip(-1))


def swapped(x_seq):
    return over_time(nn.Conv2d(2, 2, 1).requires_grad_(False), x_seq.transpose(-1, -2))


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x_seq):
        return self.function(x_seq)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (VLIFNode(), "the part: NIR has no VLIFNode"),
        (nn.Sequential(VLIFPixelNode()), "0: NIR has no VLIFPixelNode"),
        (nn.Sequential(LIFNode(), NILIFNode()), "1: NIR has no NILIFNode"),
        (ILIFNode(), "NIR has no ILIFNode"),
        (nn.Sequential(LIFNode(v_reset=None)), "0: NIR has no soft reset"),
        (SpikingUnit(2), "attention: NIR has no MultiDimensionalAttention"),
        (SDEM(2).stage1, "NIR has no mul"),
        (UpSampling(2), "NIR has no upsample_bilinear2d"),
        (Function(lambda x: SkipFusion(2)(x, x)), "NIR has no cat"),
        (Each(nn.BatchNorm2d(2)), r"layer \(BatchNorm2d\): NIR has no batch_norm; only that of"),
        (Each(nn.ReLU()), r"layer \(ReLU\): NIR has no relu"),
        (Each(nn.Conv2d(2, 2, (1, 3))), r"layer \(Conv2d\): .* not square"),
        (Each(nn.Conv2d(2, 2, 3, groups=2)), r"layer \(Conv2d\): grouped convolutions"),
        (Each(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")), "NIR has no pad"),
        (Each(nn.AvgPool2d(2, padding=1)), r"layer \(AvgPool2d\): .*padding"),
        (Each(nn.MaxPool2d(2)), r"NIR has no max_pool2d"),
        (Each(nn.AvgPool2d(2, divisor_override=3)), r"pooling with padding, ceil_mode or divisor_override is not"),
        (Each(nn.AvgPool2d(2, ceil_mode=True)), r"pooling with padding, ceil_mode or divisor_override is not"),
        (nn.Linear(4, 4), r"Linear: it reads \(4,\) of steps of shape \(2, 4, 4\)"),
        (Function(constant), "NIR adds signals only, no constants"),
        (Function(lambda x: x + x), "NIR cannot add a signal to itself"),
        (Function(lambda x: x + x.flip(-1)), "NIR has no flip"),
        (Function(lambda x: x + x.transpose(-1, -2)), "NIR adds only what lies alike"),
        (Function(turned), "NIR has no flip"),
        (Function(swapped), "what it reads is rearranged"),
        (Function(lambda x: x.mean(0)), "NIR has no mean"),
        (Function(lambda x: x.transpose(-1, -2)), "output is no sequence"),
    ],
)  # fmt: skip
def test_what_nir_cannot_hold_is_refused_by_name(part, said, tmp_path):
    with pytest.raises(ExportError, match=said) as error:
        export_nir(part, tmp_path / "part.nir", (2, 4, 4))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_are_named(tmp_path, monkeypatch):
    with pytest.raises(OptionError, match=r"the name must end in \.nir"):
        export_nir(LIFNode(), tmp_path / "part.h5", (2,))
    with pytest.raises(OptionError, match="dt must be a length of time in seconds, got 0"):
        nir_graph(LIFNode(), (2,), dt=0)
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(OptionError, match="NIR comes with the extra 'export'"):
        nir_graph(LIFNode(), (2,))


def test_the_command_writes_a_part_of_a_network(tmp_path, capsys):
    network = {"type": "ESDNet", "dim": 8, "en_num_blocks": [1, 1, 1], "de_num_blocks": [1, 1, 1]}
    (tmp_path / "net.yml").write_text(yaml.safe_dump({"network_g": network}))
    words = ["export", "--opt", str(tmp_path / "net.yml"), "-o", str(tmp_path / "part.nir")]
    assert cli.main([*words, "--part", "encoder2.0.body", "--size", "12"]) == 0
    assert "encoder2.0.body, 6 nodes, for steps of 16x6x6, dt 0.0001 s" in capsys.readouterr().out
    graph = nir.read(tmp_path / "part.nir")
    kinds = [type(node).__name__ for node in graph.nodes.values()]
    assert kinds.count("LIF") == kinds.count("Conv2d") == 2
