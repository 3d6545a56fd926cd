"""The Triton kernels in Triton's interpreter, against the plain path; on a GPU benchmarks/gpu.py does it."""

import importlib
import sys

import pytest
import torch
from helpers import TINY_NET, make_live

from vlif_plugin.archs import VLIFNet
from vlif_plugin.layers import patch_to_time
from vlif_plugin.neurons import (
    ILIFNode,
    LIFNode,
    NILIFNode,
    VLIFNode,
    ilif_sequence,
    lif_sequence,
    nilif_sequence,
)
from vlif_plugin.neurons.base import fire
from vlif_plugin.parts import Fusible, run_plain
from vlif_plugin.speed.backends import _kernel, run_kernels

pytest.importorskip("triton")


@pytest.fixture(scope="module")
def kernels():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        sys.modules.pop("vlif_plugin.neurons.triton_kernels", None)
        yield importlib.import_module("vlif_plugin.neurons.triton_kernels")
    sys.modules.pop("vlif_plugin.neurons.triton_kernels", None)


LIF = [
    {"tau": tau, "v_threshold": 0.15, "v_reset": v_reset, "decay_input": decay, "detach_reset": detach, "alpha": 4.0}
    for tau in (2.0, 3.0)
    for v_reset in (0.0, None, 0.125)
    for decay in (True, False)
    for detach in (True, False)
]  # fmt: skip


def compared(ours, theirs, x):
    """Spikes and gradients of two functions."""
    results = []
    for function in (ours, theirs):
        leaf = x.detach().requires_grad_()
        spikes = function(leaf)
        torch.manual_seed(3)
        weight = torch.randn(spikes.shape, dtype=spikes.dtype)
        (spikes * weight).sum().backward()
        results.append((spikes.detach(), leaf.grad))
    (spikes, grad), (their_spikes, their_grad) = results
    assert 0.02 < (spikes != 0).double().mean() < 0.98
    assert torch.equal(spikes, their_spikes)
    assert grad.dtype == x.dtype
    rtol, atol = (1e-12, 1e-12) if x.dtype == torch.float64 else (1e-5, 1e-6)
    if x.dtype == torch.bfloat16:
        rtol, atol = 2e-2, 1e-3
    torch.testing.assert_close(grad, their_grad, rtol=rtol, atol=atol)


@pytest.mark.parametrize("options", LIF, ids=str)
def test_lif(kernels, options):
    x = torch.randn(6, 2, 3, 5, 7, dtype=torch.float64)
    compared(lambda x: kernels.lif(x, **options), lambda x: lif_sequence(x, **options)[0], x)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("subtract_count", [True, False], ids=["paper", "released"])
@pytest.mark.parametrize("D", [1, 4])
def test_nilif(kernels, D, subtract_count, detach):
    x = 2 * torch.randn(6, 2, 3, 5, 7, dtype=torch.float64)
    options = {"D": D, "beta": 0.25, "subtract_count": subtract_count, "detach_reset": detach}
    compared(
        lambda x: kernels.integer(x, levels=D, **options),
        lambda x: nilif_sequence(x, **options)[0],
        x,
    )


def test_ilif(kernels):
    x = 3 * torch.randn(5, 60, dtype=torch.float64)  # no images: (T, N)
    options = {"D": 4, "beta": 0.25, "detach_reset": False}
    compared(
        lambda x: kernels.integer(x, levels=1, subtract_count=True, **options),
        lambda x: ilif_sequence(x, **options)[0],
        x,
    )


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "cut out", "repeated"])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_patches_become_time_by_strides_in_any_layout(kernels, r, layout):
    x = torch.randn(2, 2, 5, 2 * r, 3 * r, dtype=torch.float64)
    if layout == "channels_last":
        x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    elif layout == "cut out":
        x = torch.randn(2, 3, 5, 2 * r + 1, 3 * r + 2, dtype=torch.float64)[:, 1:, :, 1:, 2:]
    elif layout == "repeated":  # as the embedded image is
        x = x[:1].expand(3, -1, -1, -1, -1)
    options = {"D": 4, "beta": 0.25, "detach_reset": True, "subtract_count": True}
    compared(
        lambda x: kernels.integer(x, levels=4, r=r, **options),
        lambda x: nilif_sequence(patch_to_time(x, r), **options)[0],
        x,
    )
    if layout == "channels_last":
        spikes = kernels.integer(x, levels=4, r=r, **options)
        assert spikes.stride(2) == 1  # what comes in by channels goes out by channels


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_types_are_integrated_in_float32(kernels, dtype):
    x = torch.randn(8, 1, 4, 6, 6).to(dtype)
    lif = LIF[0]
    compared(lambda x: kernels.lif(x, **lif), lambda x: lif_sequence(x, **lif)[0], x)
    options = {"D": 4, "beta": 0.25, "detach_reset": True, "subtract_count": False}
    compared(
        lambda x: kernels.integer(x, levels=4, **options),
        lambda x: nilif_sequence(x, **options)[0],
        x,
    )


def test_halves_round_to_even_and_ends_pass_gradients(kernels):
    x = torch.tensor([[-0.0, 0.5, 1.5, 2.5, 3.5, 4.0, 4.5, -1.0]], requires_grad=True)
    options = {"D": 4, "beta": 0.25, "subtract_count": True, "detach_reset": True}
    counts = kernels.integer(x, levels=1, **options)
    assert counts.tolist() == [[0, 0, 2, 2, 4, 4, 4, 0]]
    counts.sum().backward()
    assert x.grad.tolist() == [[1, 1, 1, 1, 1, 1, 0, 0]]


def test_nothing_in_is_nothing_out(kernels):
    assert kernels.lif(torch.zeros(4, 0, 3, 5, 5), **LIF[0]).shape == (4, 0, 3, 5, 5)


def test_a_live_network_gives_the_same_by_kernels(kernels):
    x = torch.rand(1, 3, 16, 16)
    net = VLIFNet(**{k: v for k, v in TINY_NET.items() if k != "type"})
    net, x = make_live(net, x).double(), x.double()
    results = []
    for runner in (run_plain, run_kernels):
        for module in net.modules():
            if isinstance(module, Fusible):
                module.runner = runner
        net.zero_grad()
        out = net(x)
        (out * x).sum().backward()
        results.append([out.detach(), *(p.grad for p in net.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_each_neuron_has_its_kernel_and_a_neuron_of_ones_own_none(kernels):
    class Own(LIFNode):
        def step(self, x, v):
            spike, v = super().step(x, v)
            return 2 * spike, v

    x = torch.randn(4, 1, 3, 4, 6)
    for neuron, steps in (
        (LIFNode(tau=3.0), 4), (ILIFNode(D=3), 4), (NILIFNode(subtract_count=False), 4), (VLIFNode(r=2), 16),
    ):  # fmt: skip
        assert _kernel(neuron) is not None
        spikes = run_kernels(fire, neuron, x)
        assert spikes.shape[0] == steps
        assert torch.equal(spikes, neuron(x))
    assert _kernel(Own()) is None
    assert torch.equal(run_kernels(fire, Own(), x), Own()(x))
    with pytest.raises(ValueError, match="floating-point"):
        run_kernels(fire, LIFNode(), torch.zeros(4, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="4x5"):
        run_kernels(fire, VLIFNode(r=2), torch.zeros(1, 1, 1, 4, 5))
