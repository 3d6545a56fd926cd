"""What a fresh network does, and what ``init: firing`` makes of it."""

from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
import torch
from helpers import FORMS, SMALL
from torch import Tensor, nn

from vlif_plugin.archs import ARCHS, VLIFNet, build_network, infer_options, save_atomically
from vlif_plugin.blocks import SMU, initialise_firing
from vlif_plugin.cli.weights import load_network
from vlif_plugin.data import rainy_photograph
from vlif_plugin.errors import OptionError
from vlif_plugin.layers import MultiDimensionalAttention, ThresholdDependentBatchNorm2d
from vlif_plugin.losses import SSIMLoss
from vlif_plugin.neurons import FiringRates, FiringReport, LIFNode, NILIFNode

PHOTOGRAPH = rainy_photograph()
ABLATIONS = [
    {"neuron": "lif"}, {"neuron": "ilif"}, {"neuron": "vlif_c"}, {"neuron": "vlif_t"},
    {"use_sdem": False}, {"use_smu": False}, {"T": 1}, {"T": 6}, {"D": 1}, {"r": 3},
    {"v_threshold": 1.0}, {"beta": 0.75}, {"num_smu_decoder": 3},
]  # fmt: skip


def crops(count: int, size: int, seed: int = 0) -> Tensor:
    """Parts of a photograph in the rain, (count, 3, size, size)."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 512 - size, (count, 2))
    return torch.cat([PHOTOGRAPH[..., y : y + size, x : x + size] for y, x in corners])


def first_pass(net: nn.Module, images: Tensor, *, train: bool = True) -> FiringReport:
    with FiringRates(net.train(train)) as firing, torch.no_grad():
        net(images)
    return FiringReport.of(firing.counts())


def quiet(report: FiringReport) -> float:
    """Share of layers that fire at less than 1 %."""
    return sum(rate < 0.01 for rate in report.rates.values()) / len(report.rates)


@pytest.mark.parametrize("form", ["VLIFNet, paper", "VLIFNet, official"])
def test_a_fresh_released_network_is_nearly_silent(form):
    net, images = VLIFNet(**FORMS[form][1]), crops(2, 32)
    at_rest = first_pass(net, images, train=False)
    training = first_pass(net, images)
    assert quiet(at_rest) > 0.9
    assert 0.4 < quiet(training) < 0.8
    assert {f"decoder1.0.unit{i}.neuron" for i in (1, 2)} <= set(training.dead)


def test_a_fresh_esdnet_fires_in_training_by_itself():
    assert quiet(first_pass(ARCHS["ESDNet"](**FORMS["ESDNet"][1]), crops(2, 32))) == 0


def assert_alive(net: nn.Module, images: Tensor) -> None:
    report = first_pass(net, images)
    wrong = {name: rate for name, rate in report.rates.items() if not 0.01 <= rate <= 0.9}
    assert not wrong
    assert not report.warnings()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("form", ["VLIFNet, paper", "VLIFNet, official"])
def test_every_layer_fires_at_the_first_pass_in_training(form, seed):
    torch.manual_seed(seed)
    assert_alive(VLIFNet(**FORMS[form][1], init="firing"), crops(2, 32, seed))


@pytest.mark.parametrize("formulation", ["paper", "official"])
@pytest.mark.parametrize("ablation", ABLATIONS, ids=str)
def test_so_it_does_with_other_parts_and_constants(ablation, formulation):
    small = {"dim": 16, "en_num_blocks": (1, 1), "de_num_blocks": (1, 1), "use_refinement": False}
    net = VLIFNet(**small | ablation, formulation=formulation, init="firing")
    assert_alive(net, crops(2, 24))


@pytest.mark.slow
@pytest.mark.parametrize("form", [{}, {"formulation": "official", "use_refinement": True}], ids=str)
def test_so_it_does_in_full_size(form):
    assert_alive(VLIFNet(**form, init="firing"), crops(4, 64))


def test_in_eval_mode_a_fresh_network_is_nearly_silent_all_the_same():
    assert quiet(first_pass(VLIFNet(**SMALL, init="firing"), crops(2, 32), train=False)) > 0.9


def test_a_constant_input_of_tdbns_size_makes_lif_fire_at_14_and_nilif_at_9_or_12_percent():
    above = NormalDist().cdf
    x = torch.tensor([NormalDist().inv_cdf((i + 0.5) / 20_000) for i in range(20_000)])
    lif = LIFNode(v_threshold=0.15, decay_input=False)
    spikes = lif((0.5**0.5 * 0.15 * x).expand(4, -1))
    # the potential grows to 1, 1.5, 1.75, 1.875 times the input: fires at each, second, ... step
    reach = [1 - above(2**0.5 / gain) for gain in (1, 1.5, 1.75, 1.875)]
    shares = [reach[0], *(b - a for a, b in pairwise(reach))]
    expected = sum(share * rate for share, rate in zip(shares, (1, 0.5, 0.25, 0.25), strict=True))
    assert spikes.mean().item() == pytest.approx(expected, abs=1e-3)
    assert expected == pytest.approx(0.14, abs=0.005)
    for subtract_count, rate in ((True, 0.09), (False, 0.12)):
        nilif = NILIFNode(subtract_count=subtract_count)
        spikes = nilif((0.5**0.5 * 0.5 * x).expand(16, -1))
        assert (spikes != 0).float().mean().item() == pytest.approx(rate, abs=0.005)


def scale_of(conv_bn: nn.Module) -> float:
    norm = conv_bn.bn
    assert isinstance(norm, ThresholdDependentBatchNorm2d)
    assert not norm.bias.any()
    (scale,) = set(norm.weight.tolist())
    return scale / 0.5**0.5


@pytest.mark.parametrize(("formulation", "shortcut"), [("paper", 0.6), ("official", 9.6)])
def test_scales_are_thresholds_over_what_the_gates_leave(formulation, shortcut):
    net = VLIFNet(**SMALL, formulation=formulation, init="firing")
    for smu in (m for m in net.modules() if isinstance(m, SMU)):
        assert scale_of(smu.base.stage1.project) == pytest.approx(0.5)  # NI-LIF rounds up from here
        assert scale_of(smu.base.shortcut) == pytest.approx(shortcut)  # 8 * 0.15 halved, or * 8
        assert scale_of(smu.unit1.project) == scale_of(smu.unit2.project) == pytest.approx(1.2)
    assert scale_of(net.encoder2[0].stage1.project) == pytest.approx(0.5)
    for untouched in (net.encoder2[0].shortcut, net.down1.project, net.fuse1.project):
        assert scale_of(untouched) == pytest.approx(0.15)
    # it stays when tdBN is reset
    net.encoder2[0].stage1.project.bn.reset_parameters()
    assert scale_of(net.encoder2[0].stage1.project) == pytest.approx(0.5)


@pytest.mark.parametrize("formulation", ["paper", "official"])
@pytest.mark.parametrize("neuron", ["hybrid", "vlif_c"])
def test_behind_vlif_arrives_what_the_next_neuron_needs(neuron, formulation):
    net = VLIFNet(dim=48, en_num_blocks=(0, 0), de_num_blocks=(0, 0), formulation=formulation,
                  use_refinement=False, neuron=neuron, init="firing")  # fmt: skip
    visual = net.encoder1.neuron
    convolutions = [m for m in visual.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    seen = []
    convolutions[-1].register_forward_hook(lambda _, __, out: seen.append(out.square().mean()))
    x = (
        0.5**0.5
        * 1.2
        * torch.randn(1, 1, 48, 40, 40).repeat_interleave(2, 3).repeat_interleave(2, 4)
    )
    visual(x.expand(4, -1, -1, -1, -1))
    assert seen[0].sqrt().item() == pytest.approx(0.5**0.5 * 0.15, rel=0.2)


def test_nothing_else_differs_from_the_released_initialisation():
    nets, after = [], []
    for init in ("released", "firing"):
        torch.manual_seed(5)
        nets.append(VLIFNet(**SMALL, init=init))
        after.append(torch.rand(1))
    assert torch.equal(*after)  # nothing random is drawn
    released, firing = (dict(net.named_parameters()) for net in nets)
    different = {name for name in released if not torch.equal(released[name], firing[name])}
    kinds = (
        "bn.weight",
        "fc2.weight",
        "spatial.conv.weight",
        "compress.weight",
        "patch_embed.weight",
    )
    assert different
    assert all(name.endswith(kinds) for name in different)
    for name in ("encoder1.neuron.compress.weight", "patch_embed.weight"):  # directions stay
        ratio = firing[name] / released[name]
        assert ratio.min().item() == pytest.approx(ratio.max().item(), rel=1e-5)
    assert ratio.mean().item() == pytest.approx(2)  # what the temporal attention takes


def test_gates_begin_half_open_for_any_input_and_learn_from_the_first_step():
    net = VLIFNet(**SMALL, init="firing")
    x = 50 * torch.randn(4, 2, 16, 8, 8)
    attention = net.encoder1.attention
    assert isinstance(attention, MultiDimensionalAttention)
    assert torch.equal(attention(x), torch.relu(x) / 8)
    images = crops(2, 32)
    SSIMLoss()(net.train()(images), images.flip(-1)).backward()
    gates = [m for m in net.modules() if isinstance(m, MultiDimensionalAttention)]
    for gate in gates:
        assert gate.channel.mlp.fc2.weight.grad.any()
        assert gate.spatial.conv.weight.grad.any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_network_may_be_initialised_later():
    torch.manual_seed(1)
    net = VLIFNet(**SMALL, use_temporal_embedding=False)
    initialise_firing(net)
    torch.manual_seed(1)
    made = VLIFNet(**SMALL, use_temporal_embedding=False, init="firing")
    assert all(map(torch.equal, net.parameters(), made.parameters()))


def test_the_option_travels_in_checkpoints_and_leaves_no_trace_in_weights(tmp_path):
    options = {"type": "VLIFNet", **SMALL, "formulation": "official", "init": "firing"}
    net, x = build_network(options).eval(), crops(1, 20)
    expected = net(x)
    save_atomically({"params": net.state_dict(), "network_g": options}, tmp_path / "net.pth")
    save_atomically(net.state_dict(), tmp_path / "bare.pth")
    inferred = infer_options(net.state_dict())
    assert inferred is not None
    assert "init" not in inferred
    for name, known in (("net.pth", options), ("bare.pth", inferred)):
        loaded, _, found = load_network(str(tmp_path / name), None, None)
        assert torch.equal(loaded(x), expected)
        assert found == known
    assert net.released_state_dict()  # it is still of the released form


def test_an_unknown_initialisation_is_refused_by_name():
    with pytest.raises(
        OptionError, match=r"network_g: init must be one of released, firing, got 'he'"
    ):
        build_network({"type": "VLIFNet", **SMALL, "init": "he"})
