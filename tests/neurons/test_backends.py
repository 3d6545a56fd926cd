"""Who computes a neuron's sequence is a choice that changes no result."""

import copy
import pickle
import subprocess
import sys

import pytest
from helpers import live_net

from vlif_plugin.energy import count_ops
from vlif_plugin.errors import OptionError
from vlif_plugin.neurons import LIFNode, NILIFNode, SpikingNeuron, plain_neurons, use_backend
from vlif_plugin.neurons.base import plain_sequence


def test_without_a_gpu_the_fastest_is_the_plain_path():
    net, _ = live_net("VLIFNet, paper")
    assert use_backend(net) == "torch"
    assert all(m.sequence is plain_sequence for m in net.modules() if isinstance(m, SpikingNeuron))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("cupy", "backend must be one of auto, torch, compile, triton, got 'cupy'"),
        (
            "triton",
            "backend: triton does not work on cpu here \\(Triton has no kernels for CPUs\\)",
        ),
    ],
)
def test_what_does_not_work_is_refused_and_changes_nothing(choice, message):
    neuron = LIFNode()
    with pytest.raises(OptionError, match=message):
        use_backend(neuron, choice)
    assert neuron.sequence is plain_sequence


COMPILED = """
import torch
from torch._dynamo.utils import counters
from vlif_plugin.errors import OptionError
from vlif_plugin.neurons import LIFNode, use_backend
plain, neuron = (LIFNode(v_threshold=0.15, decay_input=False) for _ in range(2))
try:
    assert use_backend(neuron, "compile") == "compile"
except OptionError as error:
    raise SystemExit(f"no compiler: {error}")
before = counters["stats"]["unique_graphs"]
for width in (8, 12, 20, 28):
    results = []
    for node in (neuron, plain):
        x = torch.linspace(-1, 2, 4 * 6 * width).view(4, 6, width).requires_grad_()
        spikes = node(x)
        (spikes * x.detach()).sum().backward()
        results.append((spikes.detach(), x.grad))
    (spikes, grad), (expected, expected_grad) = results
    assert 0.05 < spikes.mean() < 0.95
    assert torch.equal(spikes, expected)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-6, atol=1e-6)
print(counters["stats"]["unique_graphs"] - before)
"""


def test_compiled_neurons_give_the_same_and_are_compiled_for_two_sizes_at_most():
    # in a process of its own: compilers keep tensors that other tests would see
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    if done.stderr.startswith("no compiler"):
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) <= 2


def test_a_choice_survives_copies_and_pickles():
    neuron = NILIFNode()
    use_backend(neuron, "torch")
    for other in (copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))):
        assert other.sequence is plain_sequence


def test_operators_are_counted_on_the_plain_path_whatever_was_chosen():
    net, x = live_net("VLIFNet, paper")
    net, image = net.float(), x[:1].float()
    expected = count_ops(net, image)
    asked = []

    def other(neuron, x_seq):
        asked.append(neuron)
        return plain_sequence(neuron, x_seq)

    for module in net.modules():
        if isinstance(module, SpikingNeuron):
            module.sequence = other
    assert count_ops(net, image).sops == expected.sops > 0
    assert not asked
    net(image)
    assert asked  # and afterwards as before
    with pytest.raises(ZeroDivisionError), plain_neurons(net):
        1 / 0  # noqa: B018
    assert net.encoder1.base.stage1.neuron.sequence is other
