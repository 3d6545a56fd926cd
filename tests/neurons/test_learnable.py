"""Learned constants: gradients against recurrences written out by hand and against SpikingJelly."""

import copy
import math

import pytest
import torch
from helpers import FORMS, live_net, result_and_gradients

from vlif_plugin.archs import ARCHS, ESDNet, VLIFNet, VLIFNetTiny, build_network, infer_options
from vlif_plugin.neurons import (
    ILIFNode,
    LIFNode,
    NILIFNode,
    SpikingNeuron,
    VLIFNode,
    VLIFPixelNode,
    learned_constants,
)
from vlif_plugin.speed.backends import _kernel

RESETS = pytest.mark.parametrize("v_reset", [0.0, None], ids=["hard", "soft"])
DETACHED = pytest.mark.parametrize("detach", [True, False], ids=["detached", "through_reset"])


@RESETS
@DETACHED
@pytest.mark.parametrize("decay_input", [True, False], ids=["decay_input", "plain_input"])
@pytest.mark.parametrize("tau", [2.0, 3.5])
def test_a_learned_tau_is_spikingjelly_s_plif(tau, decay_input, v_reset, detach):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    surrogate = pytest.importorskip("spikingjelly.activation_based.surrogate")
    theirs = neuron.ParametricLIFNode(
        init_tau=tau, decay_input=decay_input, v_threshold=0.4, v_reset=v_reset, detach_reset=detach,
        surrogate_function=surrogate.Sigmoid(alpha=4.0), step_mode="m",
    ).double()  # fmt: skip
    theirs.w.data.fill_(-math.log(tau - 1))  # in float64, as ours
    ours = LIFNode(
        tau=tau, decay_input=decay_input, v_threshold=0.4, v_reset=v_reset, detach_reset=detach,
        learn=["tau"],
    ).double()  # fmt: skip
    x_seq, weight = torch.randn(2, 8, 3, 50, dtype=torch.float64)
    results = []
    for node, w in ((ours, ours.w_tau), (theirs, theirs.w)):
        x = x_seq.clone().requires_grad_()
        spikes = node(x)
        (spikes * weight).sum().backward()
        results.append((spikes.detach(), x.grad, w.grad))
    assert 0.05 < results[0][0].mean() < 0.95
    assert abs(results[0][2]) > 1e-3
    for ours_, theirs_ in zip(*results, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=0, atol=1e-11)


@RESETS
@DETACHED
def test_gradients_of_lif_constants_by_hand(v_reset, detach):
    """The derivative by each weight carried forward through the recurrence, step by step."""
    tau, theta, alpha = 3.0, 0.4, 4.0
    neuron = LIFNode(
        tau=tau, v_threshold=theta, v_reset=v_reset, decay_input=False, detach_reset=detach,
        learn=["tau", "v_threshold"],
    ).double()  # fmt: skip
    x_seq, weight = torch.randn(2, 7, 40, dtype=torch.float64)
    spikes = neuron(x_seq)
    assert 0.1 < spikes.mean() < 0.9
    (spikes * weight).sum().backward()
    # 1/tau = sigmoid(w): d tau / dw = 1 - tau; threshold = start * exp(w): d theta / dw = theta
    for learned, d_tau, d_theta in (
        (neuron.w_tau, 1 - tau, 0.0),
        (neuron.w_v_threshold, 0.0, theta),
    ):
        v = dv = torch.zeros(40, dtype=torch.float64)
        expected = 0.0
        for x, g, spike in zip(x_seq, weight, spikes.detach(), strict=True):
            h, dh = v * (1 - 1 / tau) + x, dv * (1 - 1 / tau) + v * d_tau / tau**2
            s = torch.sigmoid(alpha * (h - theta))
            ds = alpha * s * (1 - s) * (dh - d_theta)
            expected += (ds * g).sum()
            through = 0 * ds if detach else ds
            if v_reset is None:
                v, dv = h - spike * theta, dh - through * theta - spike * d_theta
            else:
                v, dv = (1 - spike) * h, (1 - spike) * dh - through * h
        torch.testing.assert_close(learned.grad, expected, rtol=1e-11, atol=1e-11)


@DETACHED
@pytest.mark.parametrize("kind", [ILIFNode, NILIFNode])
def test_gradients_of_integer_constants_by_hand(kind, detach):
    D, beta, theta = 4, 0.25, 0.7
    neuron = kind(
        D=D, beta=beta, v_threshold=theta, detach_reset=detach, learn=["beta", "v_threshold"]
    )
    neuron = neuron.double()
    x_seq, weight = 2 * torch.randn(2, 7, 40, dtype=torch.float64)
    spikes = neuron(x_seq)
    assert 0.1 < (spikes > 0).double().mean() < 0.9
    (spikes * weight).sum().backward()
    for learned, d_beta, d_theta in (
        (neuron.w_beta, beta * (1 - beta), 0.0), (neuron.w_v_threshold, 0.0, theta),
    ):  # fmt: skip
        v = dv = torch.zeros(40, dtype=torch.float64)
        expected = 0.0
        for x, g, spike in zip(x_seq, weight, spikes.detach(), strict=True):
            u, du, k = v + x, dv, spike / neuron.unit
            inside = (u >= 0) & (u <= D * theta)
            dk = inside * (du / theta - u * d_theta / theta**2)  # straight through the rounding
            expected += (dk * neuron.unit * g).sum()
            through = 0 * dk if detach else dk
            left, dleft = u - theta * k, du - d_theta * k - theta * through
            v, dv = beta * left, beta * dleft + d_beta * left
        torch.testing.assert_close(learned.grad, expected, rtol=1e-11, atol=1e-11)


def test_a_threshold_s_gradient_is_the_slope_of_the_sigmoid():
    """Where no reset follows, by finite differences of the smooth stand-in."""
    neuron = LIFNode(v_threshold=0.15, decay_input=False, learn=["v_threshold"]).double()
    x = torch.randn(1, 200, dtype=torch.float64)
    neuron(x).sum().backward()

    def smooth(w):
        return torch.sigmoid(4.0 * (x - 0.15 * math.exp(w))).sum()

    step = 1e-5
    slope = (smooth(step) - smooth(-step)) / (2 * step)
    torch.testing.assert_close(neuron.w_v_threshold.grad, slope, rtol=1e-8, atol=0)


LEARNERS = [
    (LIFNode, {"tau": 2.0, "v_threshold": 0.15, "decay_input": False}, ["tau", "v_threshold"]),
    (LIFNode, {"tau": 2.0, "v_reset": None}, ["tau", "v_threshold"]),
    (ILIFNode, {"beta": 0.5}, ["beta", "v_threshold"]),
    (NILIFNode, {"v_threshold": 0.5}, ["v_threshold"]),
    (VLIFNode, {}, ["v_threshold"]),
    (VLIFPixelNode, {"r": 3}, ["v_threshold"]),
]


@pytest.mark.parametrize(("kind", "options", "learn"), LEARNERS)
def test_what_is_learned_begins_as_the_fixed_neuron_to_the_bit(kind, options, learn):
    x_seq = 2 * torch.randn(4, 2, 3, 6, 6)
    fixed, learned = kind(**options), kind(**options, learn=learn)
    results = []
    for neuron in (fixed, learned):
        x = x_seq.clone().requires_grad_()
        spikes = neuron(x)
        (spikes * torch.arange(spikes.numel()).view(spikes.shape).sin()).sum().backward()
        results.append((spikes.detach(), x.grad))
    assert 0.05 < (results[0][0] > 0).float().mean() < 0.95
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert list(fixed.state_dict()) == []
    assert sorted(learned.state_dict()) == sorted(f"w_{name}" for name in learn)
    assert all(p.shape == () and p.grad.abs() > 0 for p in learned.parameters())


def test_other_starts_agree_to_rounding():
    x_seq = torch.randn(6, 500, dtype=torch.float64)
    for options in ({"tau": 3.7}, {"tau": 1.01}):
        fixed, learned = LIFNode(**options), LIFNode(**options, learn=["tau"]).double()
        assert torch.equal(fixed(x_seq), learned(x_seq))
        assert learned.tau.item() == pytest.approx(options["tau"], rel=1e-13)
    assert NILIFNode(beta=0.1, learn=["beta"]).double().beta.item() == pytest.approx(0.1, rel=1e-14)


def test_training_moves_them_to_where_the_spikes_are():
    """A neuron of tau 4 and threshold 0.5 is found again from its spikes."""
    x_seq = torch.rand(8, 2000)
    target = LIFNode(tau=4.0, v_threshold=0.5, decay_input=False)(x_seq)
    neuron = LIFNode(tau=2.0, v_threshold=1.0, decay_input=False, learn=["tau", "v_threshold"])
    optimizer = torch.optim.AdamW(neuron.parameters(), lr=0.05, weight_decay=0.0)
    losses = []
    for _ in range(60):
        loss = (neuron(x_seq) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.3
    assert losses[-1] < 0.1 * losses[0]
    values = learned_constants(neuron)
    assert values["v_threshold"] == pytest.approx(0.5, rel=0.1)
    assert 1 < values["tau"] != 2.0


def test_no_step_leaves_the_range():
    lif = LIFNode(learn=["tau", "v_threshold"])
    integer = ILIFNode(learn=["beta", "v_threshold"])
    for sign in (10, -10):
        for parameter in (*lif.parameters(), *integer.parameters()):
            parameter.data.fill_(sign)
        assert 1 < lif.tau.item() < math.inf
        assert 0 < lif.v_threshold.item() < math.inf
        assert 0 < integer.beta.item() < 1
        assert integer(torch.randn(3, 50)).isfinite().all()


def test_weight_decay_draws_back_to_the_start_and_not_elsewhere():
    neuron = LIFNode(tau=3.0, v_threshold=0.15, learn=["tau", "v_threshold"])
    start = learned_constants(neuron)
    optimizer = torch.optim.AdamW(neuron.parameters(), lr=1.0, weight_decay=0.5)

    def decay():
        for parameter in neuron.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        return learned_constants(neuron)

    assert decay() == start
    for parameter in neuron.parameters():
        parameter.data.fill_(1.0)
    away = learned_constants(neuron)
    back = decay()
    assert all(abs(back[name] - start[name]) < abs(away[name] - start[name]) for name in start)


def test_weights_come_back_and_the_values_are_shown():
    neuron = LIFNode(tau=2.0, v_threshold=0.15, learn=["tau", "v_threshold"])
    neuron.w_tau.data.fill_(-math.log(3.0))  # 1/tau = 1/4
    neuron.w_v_threshold.data.fill_(math.log(2.0))
    twin = LIFNode(tau=2.0, v_threshold=0.15, learn=["v_threshold", "tau"])
    twin.load_state_dict(neuron.state_dict())
    for node in (neuron, twin, copy.deepcopy(neuron)):
        assert learned_constants(node) == pytest.approx({"tau": 4.0, "v_threshold": 0.3})
        assert "tau=4 (learned), v_threshold=0.3 (learned), v_reset=0.0" in repr(node)
    assert "tau=2.0, v_threshold=0.15, v_reset=0.0" in repr(LIFNode(v_threshold=0.15))
    twin.tau = 3.0
    assert twin.tau.item() == pytest.approx(3.0)
    assert "tau=learned" in repr(LIFNode(learn=["tau"]).to("meta"))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LIFNode(learn=["taw"]), "LIFNode can learn tau, v_threshold, got 'taw'; did you mean tau"),
        (lambda: LIFNode(learn="tau"), r"learn must be a list of names, as \[tau, v_threshold\], got 'tau'"),
        (lambda: LIFNode(learn=["beta"]), "LIFNode can learn tau, v_threshold, got 'beta'"),
        (lambda: LIFNode(tau=1.0, learn=["tau"]), "a learned tau must begin above 1, got 1.0"),
        (lambda: LIFNode(v_threshold=0.0, learn=["v_threshold"]), "must begin above 0, got 0.0"),
        (lambda: ILIFNode(beta=1.0, learn=["beta"]), "beta must begin above 0 and below 1, got 1.0"),
        (lambda: ILIFNode(v_threshold=0.0), "v_threshold must be above 0, got 0.0"),
        (lambda: ESDNet(learn=["beta"]), "LIFNode can learn tau, v_threshold, got 'beta'"),
        (lambda: VLIFNet(neuron="lif", learn=["beta"]), "got 'beta'"),
        (lambda: VLIFNet(learn=["alpha"]), "LIFNode and VLIFNode can learn beta, tau, v_threshold"),
        (lambda: VLIFNetTiny(learn=["tau"]), "VLIFNode can learn beta, v_threshold, got 'tau'"),
        (lambda: VLIFNetTiny(neuron="nilif", learn=["beta"]), "with T=1, neuron nilif has one step"),
        (lambda: VLIFNet(neuron="ilif", T=1, learn=["beta"]), "with T=1, neuron ilif has one step"),
        (lambda: VLIFNetTiny(beta=0.0, learn=["beta"]), "beta must begin above 0 and below 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused_in_one_line(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("form", "learn"),
    [
        ("VLIFNet, official", ["tau", "v_threshold", "beta"]),
        ("VLIFNetTiny", ["beta", "v_threshold"]),
        ("ESDNet", ["tau", "v_threshold"]),
    ],
)
def test_every_layer_of_a_network_learns_its_own(form, learn):
    smaller = {"use_refinement": False} if "VLIFNet," in form else {}
    net, x = live_net(form, learn=learn, **smaller)
    x = x[:1, :, :16, :16]
    name, options = FORMS[form]
    plain = ARCHS[name](**options | smaller).double().eval()
    own = {key: value for key, value in net.state_dict().items() if ".w_" not in key}
    plain.load_state_dict(own)
    assert plain.state_dict().keys() == own.keys()
    torch.testing.assert_close(net(x), plain(x), rtol=0, atol=1e-9)
    neurons = [m for m in net.modules() if isinstance(m, SpikingNeuron)]
    values = learned_constants(net)
    assert len(values) == len([key for key in net.state_dict() if ".w_" in key]) == 2 * len(neurons)
    result_and_gradients(net, x)
    weights = {key: p.grad for key, p in net.named_parameters() if ".w_" in key}
    assert len(weights) == len(values)
    assert all(g.isfinite() for g in weights.values())
    assert sum(bool(g) for g in weights.values()) > 0.9 * len(weights)
    found = infer_options(net.state_dict())
    assert sorted(found["learn"]) == sorted(learn)
    build_network(found).load_state_dict(net.state_dict())
    assert "learn" not in infer_options(plain.state_dict())


def test_kernels_are_for_fixed_neurons_with_the_usual_threshold():
    pytest.importorskip("triton")
    assert _kernel(LIFNode()) is not None
    assert _kernel(VLIFNode()) is not None
    for neuron in (
        LIFNode(learn=["tau"]), VLIFNode(learn=["beta"]), NILIFNode(v_threshold=0.5),
    ):  # fmt: skip
        assert _kernel(neuron) is None


def test_mixed_precision_widens_the_membrane_and_reaches_the_weight():
    neuron = LIFNode(v_threshold=0.15, learn=["v_threshold", "tau"])
    x = torch.randn(4, 100, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        spikes = neuron(x)
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes, LIFNode(v_threshold=0.15)(x))
    spikes.sum().backward()
    assert all(p.grad.abs() > 0 for p in neuron.parameters())
