import copy

import pytest
import torch
from helpers import reference, relative_error

from vlif_plugin.neurons import (
    ILIFNode,
    LIFNode,
    NILIFNode,
    ilif_sequence,
    integer_spike,
    lif_sequence,
    lif_step,
    nilif_sequence,
    sigmoid_spike,
)


def test_lif_soft_reset_trace_by_hand():
    # dyadic numbers are exact in float32, so there is no tolerance
    x_seq = torch.tensor([0.5, 0.25, 0.75, 0.125, 1.0, 0.0]).view(6, 1)
    spikes, v = lif_sequence(x_seq, tau=2.0, v_threshold=1.0, v_reset=None, decay_input=False)
    assert spikes.flatten().tolist() == [0, 0, 1, 0, 1, 0]
    assert v.item() == 0.03125


def test_lif_hard_reset_trace_by_hand():
    x_seq = torch.tensor([0.5, 0.75, 0.5, 0.25]).view(4, 1)
    spikes, v = lif_sequence(x_seq, tau=2.0, v_threshold=1.0, v_reset=0.0, decay_input=False)
    # 0.5 | 0.25 + 0.75 fires, to 0 | 0.5 | 0.25 + 0.25
    assert spikes.flatten().tolist() == [0, 1, 0, 0]
    assert v.item() == 0.5


@pytest.mark.parametrize(
    ("subtract_count", "state"),
    [(True, -0.185546875), (False, 0.0078125)],
    ids=["paper", "released"],
)
def test_nilif_trace_by_hand(subtract_count, state):
    x_seq = torch.tensor([1.5, 0.25, 5.0, -1.0]).view(4, 1)
    spikes, v = nilif_sequence(x_seq, D=4, beta=0.25, subtract_count=subtract_count)
    # half rounds to even: 1.5 counts 2, and with the released reset 0.25 + 0.25 counts 0
    assert spikes.flatten().tolist() == [0.5, 0.0, 1.0, 0.0]
    assert v.item() == state


def test_ilif_is_nilif_times_d():
    x_seq = torch.randn(6, 40) * 3
    counts, v = ilif_sequence(x_seq, D=5, beta=0.5)
    spikes, v_normalised = nilif_sequence(x_seq, D=5, beta=0.5)
    assert set(counts.unique().tolist()) == {0, 1, 2, 3, 4, 5}
    assert torch.equal(counts / 5, spikes)
    assert torch.equal(v, v_normalised)


@pytest.mark.parametrize("tau", [2.0, 4.0])
@pytest.mark.parametrize("v_reset", [0.0, None, 0.125], ids=["hard", "soft", "to_0.125"])
@pytest.mark.parametrize("decay_input", [True, False], ids=["decay_input", "plain_input"])
@pytest.mark.parametrize("detach_reset", [True, False], ids=["detached", "through_reset"])
def test_lif_equals_spikingjelly(tau, v_reset, decay_input, detach_reset):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    theirs = neuron.LIFNode(
        tau=tau, decay_input=decay_input, v_threshold=0.15, v_reset=v_reset, detach_reset=detach_reset,
        surrogate_function=surrogate.Sigmoid(alpha=4.0), step_mode="m",
    )  # fmt: skip
    ours = LIFNode(
        tau=tau,
        decay_input=decay_input,
        v_threshold=0.15,
        v_reset=v_reset,
        detach_reset=detach_reset,
    )
    single = torch.randn(8, 3, 50)
    spikes = ours(single)
    assert 0.05 < spikes.mean() < 0.95
    assert torch.equal(spikes, theirs(single))

    double, weight = (
        torch.randn(8, 3, 50, dtype=torch.float64),
        torch.randn(8, 3, 50, dtype=torch.float64),
    )
    gradients = []
    for node in (ours, theirs):
        if node is theirs:
            theirs.reset()
        x = double.clone().requires_grad_()
        (node(x) * weight).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["lif", "nilif"])
def test_released_neurons_are_reproduced(name):
    arrays = reference(name)
    x = arrays["x"].requires_grad_()
    if name == "lif":
        y, _ = lif_sequence(x, tau=2.0, v_threshold=0.15, decay_input=False, alpha=4.0)
    else:
        y, _ = nilif_sequence(x, D=4, beta=0.25, subtract_count=False)
    (y * arrays["w"]).sum().backward()
    assert 0.05 < (y != 0).double().mean() < 0.95
    assert torch.equal(y, arrays["y"])
    assert relative_error(x.grad, arrays["grad_x"]) < 1e-9


def test_sigmoid_gradient_is_that_of_the_sigmoid():
    x = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    sigmoid_spike(x, 2.5).sum().backward()
    smooth = x.detach().clone().requires_grad_()
    torch.sigmoid(2.5 * smooth).sum().backward()
    torch.testing.assert_close(x.grad, smooth.grad, rtol=0, atol=1e-12)


def test_sigmoid_spike_fires_at_the_threshold_and_survives_large_inputs():
    x = torch.tensor([-1e30, -1e-6, 0.0, 1e30], requires_grad=True)
    spike = sigmoid_spike(x)
    assert spike.tolist() == [0, 0, 1, 1]
    spike.sum().backward()
    assert x.grad.isfinite().all()


def test_integer_gradient_passes_inside_the_range_ends_included():
    u = torch.tensor([-0.01, 0.0, 0.5, 4.0, 4.01], requires_grad=True)
    integer_spike(u, 4).sum().backward()
    assert u.grad.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("sequence", [lif_sequence, ilif_sequence, nilif_sequence])
def test_split_sequence_equals_whole(sequence):
    x_seq = torch.randn(6, 4, 5) * 2
    whole, last = sequence(x_seq)
    first, v = sequence(x_seq[:3])
    second, v = sequence(x_seq[3:], v)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(v, last)


@pytest.mark.parametrize(
    "node", [LIFNode(), ILIFNode(), NILIFNode()], ids=lambda n: type(n).__name__
)
def test_nothing_is_kept_between_calls(node):
    x_seq = torch.randn(5, 2, 30) * 2
    first = node(x_seq)
    assert first.any()
    assert torch.equal(node(x_seq), first)
    assert not list(node.buffers())
    assert torch.equal(copy.deepcopy(node)(x_seq[:, :1]), first[:, :1])


@pytest.mark.parametrize("node", [LIFNode(), NILIFNode()], ids=lambda n: type(n).__name__)
def test_membranes_stay_in_float32_for_bfloat16_input(node):
    x_seq = (torch.rand(64, 1, 200) * 0.3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        spikes = node(x_seq)
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), node(x_seq.float()))


def test_an_infinite_tau_integrates():
    spike, v = lif_step(
        torch.ones(1), torch.ones(1), tau=float("inf"), v_threshold=3.0, decay_input=False
    )
    assert (spike.item(), v.item()) == (0, 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LIFNode(tau=0.5), "tau"),
        (lambda: ILIFNode(D=0), "D"),
        (lambda: NILIFNode(D=-1), "D"),
    ],
)
def test_impossible_parameters_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_an_empty_sequence_is_refused():
    with pytest.raises(ValueError, match="T >= 1"):
        lif_sequence(torch.zeros(0, 3))


def test_whole_numbers_are_refused_as_input():
    with pytest.raises(ValueError, match="floating-point"):
        NILIFNode()(torch.ones(2, 3, dtype=torch.int64))


def test_parameters_are_shown():
    assert "tau=3.0" in repr(LIFNode(tau=3.0))
    assert "D=8" in repr(NILIFNode(D=8))
