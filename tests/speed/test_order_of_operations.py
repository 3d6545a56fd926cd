"""The blocks' order of operations against the released code's, and the order of memory."""

import importlib.util
from pathlib import Path

import pytest
import torch
from helpers import RESTORERS, live_net, result_and_gradients
from torch import nn

from vlif_plugin.layers import (
    MultiDimensionalAttention,
    join_channels,
    over_time,
    patch_to_time,
    stack_time,
    upsample,
)
from vlif_plugin.layers.patch_time import patch_steps


def benchmark(name):
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("form", ["VLIFNet, official", "ESDNet"])
@pytest.mark.parametrize("training", [False, True])
def test_the_released_order_gives_the_same_result_and_gradients(form, training):
    net, x = live_net(form)
    nets = net.train(training), benchmark("released_order").released_order(net).train(training)
    results = [result_and_gradients(network, x) for network in nets]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("branch", ["none", "same size", "half size"])
@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_the_lean_attention_is_the_three_in_turn(branch, identity, training):
    attention = MultiDimensionalAttention(3, 8, reduction_c=2).double()
    x, same, residual = torch.randn(3, 3, 2, 8, 6, 4, dtype=torch.float64)
    # what spikes are convolved to ties often, and of equal maxima one gets the gradient
    x, same = (x * 2).round(), (same * 2).round()
    half = torch.randn(3, 2, 8, 3, 2, dtype=torch.float64)
    added = {"none": None, "same size": same, "half size": half}[branch]
    x.requires_grad_()
    with torch.set_grad_enabled(training):
        out = attention(x, added, residual=residual, identity=identity)
        whole = x if added is None else x + (upsample(half, 2) if branch == "half size" else same)
        steps = attention.spatial(attention.channel(attention.temporal(whole)))
        expected = torch.relu(steps) + residual + (whole if identity else 0)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    if training:
        weights = [x, *attention.parameters()]
        gradients = [torch.autograd.grad((y * same).sum(), weights) for y in (out, expected)]
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", RESTORERS)
def test_channels_lie_last_in_memory_from_the_first_convolution_to_the_last(form):
    net, x = live_net(form)
    seen = []

    def look(name, inputs):
        seen.append((name, inputs[0].is_contiguous(memory_format=torch.channels_last)))

    for name, module in net.named_modules():
        if (
            isinstance(module, nn.Conv2d)
            and not name.startswith("patch_embed")
            and module.in_channels > 2
        ):
            module.register_forward_pre_hook(lambda _, given, name=name: look(name, given))
    for network in (net.eval(), net.train()):
        network(x)
    assert len(seen) > 20
    assert [name for name, last in seen if not last] == []


def test_steps_of_patches_are_views():
    x = torch.rand(2, 1, 3, 4, 6)
    steps = patch_steps(x, 2)
    assert torch.equal(torch.stack(steps), patch_to_time(x, 2))
    assert {step.untyped_storage().data_ptr() for step in steps} == {x.untyped_storage().data_ptr()}


def test_sequences_keep_the_order_of_their_memory():
    last = torch.rand(3, 2, 4, 6, 5).movedim(-1, 2)
    plain = last.contiguous()
    for act in (
        lambda x: stack_time(list(x)),
        lambda x: upsample(x, 2),
        lambda x: over_time(nn.Identity(), x),
    ):
        assert act(last).stride(2) == 1
        assert act(plain).stride(2) != 1
        torch.testing.assert_close(act(last), act(plain))
    assert join_channels(last, last).stride(2) == 1
    assert torch.equal(join_channels(plain, last), torch.cat([plain, plain], 2))
    repeated = last[:1].expand(3, -1, -1, -1, -1)
    assert over_time(nn.Identity(), repeated).stride(2) == 1
