"""PReNet and RESCAN, recomputed from their papers' equations with torch's functions."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers import live_net

from vlif_plugin.archs import RESCAN, PReNet


def prenet_by_equations(state, x, stages):
    """All stages' images; ``state`` under the authors' names."""

    def conv(name, features):
        return F.conv2d(features, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    blocks = sum(key.startswith("res_conv") and key.endswith(".0.bias") for key in state)
    cell = torch.zeros_like(conv("conv0.0", torch.cat([x, x], 1)))
    hidden, image, images = cell, x, []
    for _ in range(stages):
        seen = torch.cat([conv("conv0.0", torch.cat([x, image], 1)).relu(), hidden], 1)
        i, f, o = (conv(f"conv_{gate}.0", seen).sigmoid() for gate in "ifo")
        cell = f * cell + i * conv("conv_g.0", seen).tanh()
        hidden = o * cell.tanh()
        y = hidden
        for n in range(1, blocks + 1):
            inner = conv(f"res_conv{n}.2", conv(f"res_conv{n}.0", y).relu()).relu()
            y = (y + inner).relu()
        image = x + conv("conv.0", y)
        images.append(image)
    return images


def rescan_by_equations(state, x, stages):
    """All stages' images; ``state`` under the authors' names."""

    def conv(name, features, dilation=1):
        weight = state[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(features, weight, state[f"{name}.bias"], 1, padding, dilation)

    def excite(name, features):
        means = features.flatten(2).mean(2)
        inner = F.linear(means, state[f"{name}.fc.0.weight"], state[f"{name}.fc.0.bias"]).relu()
        gate = F.linear(inner, state[f"{name}.fc.2.weight"], state[f"{name}.fc.2.bias"]).sigmoid()
        return torch.einsum("bc,bchw->bchw", gate, features)

    dilations = [1, 1, 2, 4, 8][: len({k.split(".")[1] for k in state if k.startswith("rnns.")})]
    states, image, images = [None] * len(dilations), x, []
    for _ in range(stages):
        y = image
        for index, dilation in enumerate(dilations):
            name, h = f"rnns.{index}", states[index]
            z, r, n = (conv(f"{name}.conv_x{gate}", y, dilation) for gate in "zrn")
            if h is None:
                h = z.sigmoid() * n.tanh()
            else:
                z = (z + conv(f"{name}.conv_hz", h)).sigmoid()
                r = (r + conv(f"{name}.conv_hr", h)).sigmoid()
                n = (n + conv(f"{name}.conv_hn", r * h)).tanh()
                h = h + z * (n - h)
            y = states[index] = F.leaky_relu(excite(f"{name}.se", h), 0.2)
        y = F.leaky_relu(excite("dec.1", conv("dec.0", y)), 0.2)
        image = x - conv("dec.3", y)
        images.append(image)
    return images


RECURRENT = {"PReNet": prenet_by_equations, "RESCAN": rescan_by_equations}


@pytest.mark.parametrize("name", RECURRENT)
def test_the_equations_give_the_same(name):
    net, x = live_net(name, **({"num_blocks": 5} if name == "PReNet" else {"depth": 7}))
    ours = net.all_stages(x)
    theirs = RECURRENT[name](net.state_dict(), x, net.stages)
    assert len(ours) == net.stages == {"PReNet": 6, "RESCAN": 4}[name]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert (ours[-1] - x).abs().max() > 1e-2


@pytest.mark.parametrize("name", RECURRENT)
def test_the_result_is_the_last_stage_s_and_one_stage_fewer_gives_the_one_before(name):
    net, x = live_net(name)
    images = net.all_stages(x)
    assert torch.equal(net(x), images[-1])
    shorter, _ = live_net(name, stages=net.stages - 1)
    shorter.load_state_dict(net.state_dict())
    assert torch.equal(shorter(x), images[-2])
    changes = [(a - b).abs().max() for a, b in itertools.pairwise(images)]
    assert all(change > 1e-4 for change in changes)  # no stage stands still


@pytest.mark.parametrize("name", RECURRENT)
def test_state_is_carried_from_stage_to_stage_and_not_from_call_to_call(name):
    net, x = live_net(name)
    first, second = net.all_stages(x)[:2]
    alone, _ = live_net(name, stages=1)
    alone.load_state_dict(net.state_dict())
    assert torch.equal(alone(x), first)
    net(x.flip(-1))
    assert torch.equal(net.all_stages(x)[1], second)
    # a second stage without state is a first stage of what the first one left
    assert not torch.allclose(alone(first), second, atol=1e-4)


@pytest.mark.parametrize(("arch", "reach"), [(PReNet, 13), (RESCAN, 17)], ids=["PReNet", "RESCAN"])
def test_a_pixel_reaches_as_far_as_the_convolutions_do(arch, reach):
    """Counted by hand: PReNet has 13 convolutions of 3x3, RESCAN dilations 1, 1, 2, 4, 8 and 1."""
    net = arch(stages=1).double()
    for module in net.modules():  # a gate over the whole image reaches everywhere
        if type(module).__name__ == "SqueezeExcitation":
            module.forward = lambda x: x
    for parameter in net.parameters():
        parameter.data.abs_()
    x = torch.full((1, 3, 45, 45), 0.1, dtype=torch.float64, requires_grad=True)
    net(x)[..., 22, 22].sum().backward()
    rows = (x.grad[0, 0] != 0).any(1).nonzero().flatten()
    assert rows.min().item() == 22 - reach
    assert rows.max().item() == 22 + reach


def test_modules_have_the_authors_names_and_shapes():
    prenet = {"conv0.0": (32, 6), "conv.0": (3, 32)}
    prenet |= {f"conv_{gate}.0": (32, 64) for gate in "ifgo"}
    prenet |= {f"res_conv{n}.{part}": (32, 32) for n in range(1, 6) for part in (0, 2)}
    rescan = {"dec.0": (24, 24, 3, 3), "dec.1.fc.0": (6, 24), "dec.1.fc.2": (24, 6)}
    rescan |= {"dec.3": (3, 24, 1, 1)}
    for n in range(5):
        rescan |= {f"rnns.{n}.conv_x{g}": (24, 24 if n else 3, 3, 3) for g in "zrn"}
        rescan |= {f"rnns.{n}.conv_h{g}": (24, 24, 3, 3) for g in "zrn"}
        rescan |= {f"rnns.{n}.se.fc.0": (6, 24), f"rnns.{n}.se.fc.2": (24, 6)}
    for net, layers in (
        (PReNet(), {name: (*shape, 3, 3) for name, shape in prenet.items()}),
        (RESCAN(), rescan),
    ):
        expected = {f"{name}.weight": shape for name, shape in layers.items()}
        expected |= {f"{name}.bias": shape[:1] for name, shape in layers.items()}
        assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == expected


@pytest.mark.parametrize(
    ("arch", "arguments", "message"),
    [
        (PReNet, {"stages": 0}, "stages must be a whole number of at least 1, got 0"),
        (PReNet, {"channels": 3.5}, "channels must be"),
        (RESCAN, {"depth": 2}, "depth must be at least 3, got 2"),
        (RESCAN, {"reduction": True}, "reduction must be"),
    ],
)
def test_impossible_networks_are_refused(arch, arguments, message):
    with pytest.raises(ValueError, match=message):
        arch(**arguments)
