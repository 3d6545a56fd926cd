import json

import pytest
import torch
from helpers import (
    FORMS,
    REFERENCE,
    SMALL,
    SPIKING,
    TINY,
    firing_rates,
    live_net,
    make_live,
    part,
    reference,
    reference_net,
    relative_error,
    without,
)

from vlif_plugin.archs import ESDNet, VLIFNet, VLIFNetTiny
from vlif_plugin.archs._released_keys import released_key
from vlif_plugin.losses import SSIMLoss
from vlif_plugin.neurons import SpikingNeuron

NETS = ["vlifnet_dim16", "vlifnet_dim16_refine", "esdnet_dim16"]


@pytest.mark.parametrize("name", NETS)
def test_released_network_is_reproduced(name):
    net, arrays = reference_net(name)
    x = arrays["x"]
    # the image is added to the result, so the residual is what must agree
    assert relative_error(net(x) - x, arrays["y_eval"] - x) < 1e-9
    y = net.train()(x)
    assert relative_error(y - x, arrays["y_train"] - x) < 1e-9
    loss = SSIMLoss()(y, arrays["target"])
    assert abs(loss.item() / arrays["loss"].item() - 1) < 1e-9
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in net.parameters()]).norm()
    assert abs(norm.item() / arrays["grad_norm"].item() - 1) < 1e-9
    stored = part(arrays, "grad/")
    assert stored
    gradients = {released_key(key, net.released_rules): p.grad for key, p in net.named_parameters()}
    for key, expected in stored.items():  # stored in float32
        assert relative_error(gradients[key].view_as(expected), expected.double()) < 1e-6, key


@pytest.mark.parametrize("name", NETS)
def test_released_firing_rates_are_reproduced(name):
    net, arrays = reference_net(name)
    rates = list(firing_rates(net, arrays["x"]).values())
    expected = arrays["firing_rate"].tolist()
    assert (torch.tensor(expected) > 0.01).double().mean() > 0.9
    assert rates == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "build", "count"),
    [
        ("vlif_refine", lambda: VLIFNet(formulation="official", use_refinement=True), 14_312_031),
        ("vlif", lambda: VLIFNet(formulation="official"), 14_023_911),
        ("esdnet", ESDNet, 12_811_463),
    ],
)
def test_full_size_network_has_the_released_parameters_and_names(name, build, count):
    net = build()
    assert sum(p.numel() for p in net.parameters()) == count
    expected = json.loads((REFERENCE / "official_state_dict_keys.json").read_text())[name]
    assert {k: list(v.shape) for k, v in net.released_state_dict().items()} == expected


def test_the_papers_formulation_has_no_released_names():
    for arguments in (
        {},
        {"formulation": "official", "D": 8},
        {"formulation": "official", "num_smu_decoder": 1},
    ):
        with pytest.raises(ValueError, match="no released names but in the official formulation"):
            VLIFNet(**SMALL, **arguments).released_state_dict()


def test_networks_that_the_released_code_does_not_have_have_no_released_names():
    small = FORMS["ESDNet"][1]
    for arguments in ({"tau": 4.0}, {"v_threshold": 0.3}, {"learn": ["tau"]}):
        with pytest.raises(
            ValueError,
            match=r"^ESDNet has no released names but with the released code's constants",
        ):
            ESDNet(**small, **arguments).released_state_dict()
    assert ESDNet(**small, T=2, learn=[]).released_state_dict()
    with pytest.raises(ValueError, match=r"^VLIFNetTiny has no released names$"):
        VLIFNetTiny(**TINY).released_state_dict()


@pytest.mark.parametrize("form", SPIKING)
@torch.no_grad()
def test_every_neuron_counts(form):
    net, x = live_net(form)
    x = x[:1, :, :16, :24]
    whole = net(x)
    scale = (whole - x).abs().max()
    names = [name for name, module in net.named_modules() if isinstance(module, SpikingNeuron)]
    assert (
        len(names)
        == {
            "VLIFNet, paper": 34,
            "VLIFNet, official": 39,
            "ESDNet": 19,
            "VLIFNetTiny": 15,
            "VLIFNetTiny, no gate": 17,
            "VLIFNetTiny, analog": 20,
            "Spikified": 2 * 3,  # each ReLU in both stages
        }[form]
    )
    for neuron in names:
        assert (without(net, neuron)(x) - whole).abs().max() > 1e-6 * scale, neuron


def test_formulations_differ_on_the_same_weights():
    official, x = live_net("VLIFNet, official", num_smu_decoder=1)
    paper, _ = live_net("VLIFNet, paper", use_temporal_embedding=False)
    shared = {k: v for k, v in official.state_dict().items() if k in paper.state_dict()}
    assert len(shared) > 0.9 * len(official.state_dict())
    before = paper(x)
    paper.load_state_dict(shared, strict=False)
    assert not torch.equal(paper(x), before)
    assert (paper(x) - official(x)).abs().max() > 1e-3


@pytest.mark.parametrize("neuron", ["lif", "ilif", "vlif_c", "vlif_t"])
def test_ablated_neurons_live_and_learn(neuron):
    x = torch.rand(2, 3, 16, 16)
    net = make_live(VLIFNet(**SMALL, neuron=neuron), x, low=0.0, high=1.0).train()
    SSIMLoss()(net(x), torch.rand_like(x)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_ablation_switches_take_their_parts_away():
    sizes = {
        switch: sum(p.numel() for p in VLIFNet(**SMALL, **{switch: False}).parameters())
        for switch in ("use_temporal_embedding", "use_sdem", "use_smu", "use_refinement")
    }
    whole = sum(p.numel() for p in VLIFNet(**SMALL).parameters())
    assert whole - sizes["use_temporal_embedding"] == 2 * 4  # one gate: 4 -> 1 -> 4
    assert all(size < whole for size in sizes.values())
    baseline = VLIFNet(
        **SMALL, use_temporal_embedding=False, use_sdem=False, use_smu=False, use_refinement=False
    )
    assert not any("VLIF" in type(m).__name__ for m in list(baseline.modules())[1:])
    x = torch.rand(1, 3, 16, 16)
    assert make_live(baseline, x)(x).shape == x.shape


@pytest.mark.parametrize(("T", "D", "r"), [(1, 4, 2), (2, 1, 1), (3, 8, 3)])
def test_other_constants_build_and_run(T, D, r):
    net = VLIFNet(
        dim=8, en_num_blocks=(1, 1), de_num_blocks=(0, 1), T=T, D=D, r=r, use_refinement=False
    )
    x = torch.rand(1, 3, 13, 7)
    assert net(x).shape == x.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "dim must"),
        ({"out_channels": 1}, "out_channels"),
        ({"en_num_blocks": [4, 4, 8, 8]}, "levels 2 and 3"),
        ({"de_num_blocks": [2]}, "de_num_blocks"),
        ({"T": 0}, "T must"),
        ({"formulation": "other"}, "formulation"),
        ({"init": "xavier"}, "init must be one of released, firing"),
    ],
)
def test_impossible_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VLIFNet(**arguments)


def test_weights_for_another_t_fail_with_both_numbers():
    net = VLIFNet(**SMALL, T=4)
    net.T = 6
    with pytest.raises(ValueError, match=r"T=4.*6"):
        net(torch.rand(1, 3, 16, 16))


def test_reference_arrays_are_all_read():
    assert {p.stem for p in REFERENCE.glob("*.npz")} >= set(NETS)
    assert all(reference(p.stem) for p in REFERENCE.glob("*.npz"))
