"""Laws that every network of the list keeps, at small sizes, and what each is known by."""

import copy
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from helpers import COMPLETE, FORMS, live_net

from vlif_plugin.archs import ARCHS, build_network, infer_options, load_strict, read_checkpoint
from vlif_plugin.archs._ported import PortedNetwork
from vlif_plugin.errors import CheckpointError
from vlif_plugin.inference.restorer import memory_per_pixel
from vlif_plugin.losses import SSIMLoss

PUBLISHED = {  # parameters of the published networks
    "VLIFNet": 14_628_635,
    "VLIFNetTiny": 87_784,
    "ESDNet": 12_811_463,
    "PReNet": 168_963,
    "UNet": 106_780,
    "RESCAN": 149_823,
    "NAFNet": 29_159_715,
    "Restormer": 26_126_644,
    "MPRNet": 3_637_249,
}
PORTED = [name for name, arch in ARCHS.items() if issubclass(arch, PortedNetwork)]


def test_every_network_of_the_list_is_tested():
    assert {name for name, _ in FORMS.values()} == set(ARCHS)
    assert set(COMPLETE) == set(PUBLISHED)
    assert PORTED == ["NAFNet", "Restormer", "MPRNet"]


@pytest.mark.parametrize("name", COMPLETE)
def test_the_defaults_are_the_published_network(name):
    net = ARCHS[name]()
    assert sum(p.numel() for p in net.parameters()) == PUBLISHED[name]
    if name not in ("VLIFNet", "ESDNet"):  # what theirs tells is tested with their checkpoints
        assert type(build_network(infer_options(net.state_dict()))) is ARCHS[name]


@pytest.mark.parametrize("form", FORMS)
class TestLawsOfEveryNetwork:
    """On live networks; float64, so that a pixel that sits on a threshold cannot blur a law."""

    def test_a_batch_is_its_images(self, form):
        net, x = live_net(form)
        singles = torch.cat([net(image[None]) for image in x])
        torch.testing.assert_close(net(x), singles, rtol=0, atol=1e-9)

    def test_a_second_call_gives_the_same(self, form):
        net, x = live_net(form)
        assert torch.equal(net(x), net(x))

    def test_a_copy_made_after_a_call_gives_the_same(self, form):
        net, x = live_net(form)
        expected = net(x)
        assert torch.equal(copy.deepcopy(net)(x), expected)

    @pytest.mark.parametrize("size", [(1, 1), (5, 9), (31, 17), (24, 40)])
    def test_any_size_works(self, form, size):
        net, x = live_net(form)
        y = net(x.repeat(1, 1, 2, 2)[..., : size[0], : size[1]])
        assert y.shape == (2, 3, *size)
        assert y.isfinite().all()

    def test_padding_is_the_only_thing_done_to_odd_sizes(self, form):
        net, x = live_net(form)
        cut = x[..., :21, :38]
        multiple, mode = getattr(net, "size_multiple", 1), "reflect"
        if form == "NAFNet":  # pads by itself: with zeros, and two levels halve the image twice
            multiple, mode = 4, "constant"
        by_hand = F.pad(cut, (0, -38 % multiple, 0, -21 % multiple), mode=mode)
        assert (by_hand.shape == cut.shape) == (form in ("PReNet", "RESCAN"))
        assert torch.equal(net(cut), net(by_hand)[..., :21, :38])

    def test_every_parameter_learns(self, form):
        net, x = live_net(form)
        SSIMLoss()(net.train()(x), torch.rand_like(x)).backward()
        gradients = {key: p.grad for key, p in net.named_parameters()}
        assert all(g is not None and g.isfinite().all() for g in gradients.values())
        still = [key for key, g in gradients.items() if not g.any()]
        # a gate has few hidden units at this width, and their ReLU may be off for random weights
        gates = [
            key for key in gradients if ".mlp.fc" in key or ".fc." in key or ".conv_du." in key
        ]
        assert set(still) <= set(gates), still
        assert len(still) <= 0.5 * len(gates)

    def test_autocast_keeps_the_picture(self, form):
        net, x = live_net(form)
        net, x = net.float(), x.float()
        with torch.autocast("cpu", torch.bfloat16):
            half = net(x)
        assert half.isfinite().all()
        residuals = torch.stack([(y.float() - x).flatten() for y in (half, net(x))])
        # random weights put many potentials near a threshold, where bfloat16 flips spikes
        assert 0.5 < torch.corrcoef(residuals)[0, 1] < 1 - 1e-9

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_weights_in_16_bits_keep_the_picture(self, form, dtype):
        net, x = live_net(form)
        with torch.no_grad():
            expected = net(x) - x
            half = net.to(dtype)(x.to(dtype))
        assert half.dtype == dtype
        residuals = torch.stack([(half.double() - x).flatten(), expected.flatten()])
        # as many spikes flip as where autocast narrows
        assert 0.5 < torch.corrcoef(residuals)[0, 1] < 1 - 1e-9


@pytest.mark.parametrize("form", [form for form, (name, _) in FORMS.items() if name in COMPLETE])
class TestWhatWeightsTell:
    @pytest.mark.parametrize("prefix", ["", "module."])
    def test_weights_come_back_from_a_file_that_says_nothing_else(self, form, prefix, tmp_path):
        net, x = live_net(form)
        state = {prefix + key: value for key, value in net.state_dict().items()}
        torch.save({"params": state}, tmp_path / "net.pth")
        checkpoint = read_checkpoint(tmp_path / "net.pth")
        assert checkpoint.state.keys() == net.state_dict().keys()
        twin = build_network(infer_options(checkpoint.state)).double().eval()
        assert not torch.equal(twin(x), net(x))
        load_strict(twin, checkpoint)
        assert torch.equal(twin(x), net(x))

    def test_weights_of_another_width_are_refused_with_both(self, form, tmp_path):
        name, small = FORMS[form]
        width = {"PReNet": "channels", "RESCAN": "channels", "NAFNet": "width", "MPRNet": "n_feat"}
        key = width.get(name, "dims" if "dims" in small else "dim")
        torch.save(ARCHS[name](**small).state_dict(), tmp_path / "net.pth")
        was, wider = small[key], [24, *small[key][1:]] if key == "dims" else 24
        was = list(was) if key == "dims" else was
        other = ARCHS[name](**small | {key: wider})
        said = f"{re.escape(f'{key} {was}')}.*{re.escape(f'{key} {wider}')}"
        with pytest.raises(CheckpointError, match=said):
            load_strict(other, read_checkpoint(tmp_path / "net.pth"))


@pytest.mark.parametrize("form", PORTED)
def test_ported_networks_keep_their_authors_names(form):
    net, x = live_net(form)
    port = net.net  # the port by itself, whose names are the authors'
    assert list(net.state_dict()) == list(port.state_dict())
    assert not any(key.startswith("net.") for key in net.state_dict())
    whole = torch.nn.Sequential(net)
    assert list(whole.state_dict()) == [f"0.{key}" for key in port.state_dict()]
    fresh = torch.nn.Sequential(ARCHS[form](**FORMS[form][1])).double().eval()
    fresh.load_state_dict(whole.state_dict())
    assert torch.equal(fresh(x), net(x))
    given = port(x)
    assert torch.equal(net(x), given[0] if form == "MPRNet" else given)


def test_ported_networks_name_the_extra_where_it_is_missing():
    program = """
import sys
sys.modules['spandrel'] = sys.modules['spandrel_extra_arches'] = None
from vlif_plugin.archs import build_network
from vlif_plugin.errors import OptionError
for name in sys.argv[1:]:
    try:
        build_network({'type': name})
    except OptionError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *PORTED], capture_output=True, text=True, check=True
    )
    for name, line in zip(PORTED, done.stdout.splitlines(), strict=True):
        assert line.startswith(f"network_g: {name} comes with the extra 'compare'")
        assert 'pip install "vlif_plugin[compare]"' in line


def test_memory_is_estimated_by_what_a_network_says_it_holds():
    small = FORMS["Restormer"][1]
    assert (
        memory_per_pixel(ARCHS["Restormer"](**small)) == 92 * small["dim"] * 4
    )  # 3.3 times VLIF's
    assert memory_per_pixel(ARCHS["PReNet"]()) == 28 * 32 * 4


def test_a_network_that_offers_a_filter_is_asked_for_its_own_names(tmp_path):
    class Renamed(torch.nn.Linear):
        def checkpoint_filter(self, state):
            return {key.replace("kernel", "weight"): value for key, value in state.items()}

    kernel = torch.rand(1, 2)
    torch.save({"kernel": kernel, "bias": torch.zeros(1)}, tmp_path / "net.pth")
    net = Renamed(2, 1)
    load_strict(net, read_checkpoint(tmp_path / "net.pth"))
    assert torch.equal(net.weight, kernel)
    with pytest.raises(CheckpointError, match="1 missing: weight; 1 unexpected: kernel"):
        load_strict(torch.nn.Linear(2, 1), read_checkpoint(tmp_path / "net.pth"))


def test_variants_of_prenet_and_rescan_that_are_not_here_are_not_taken_for_them():
    shared = ARCHS["PReNet"](num_blocks=1).state_dict()
    assert infer_options(shared) is None  # PReNet_r, whose one block is applied five times
    rnn = {k.replace("xz", "x"): v for k, v in ARCHS["RESCAN"]().state_dict().items()}
    assert infer_options(rnn) is None  # RESCAN with plain recurrence
