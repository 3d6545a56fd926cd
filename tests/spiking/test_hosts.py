"""Networks of BasicSR with our neurons: trained, saved, and taken by every command; the same under mmengine."""

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import pytest
import torch
from helpers import photograph, small_options, write_options

from vlif_plugin import cli
from vlif_plugin.archs import ARCHS, BASES, build_network, load_strict, read_checkpoint
from vlif_plugin.basicsr_host import register_all, run
from vlif_plugin.energy import count_ops
from vlif_plugin.errors import OptionError

EDSR = {
    "type": "EDSR",
    "num_in_ch": 3,
    "num_out_ch": 3,
    "num_feat": 8,
    "num_block": 2,
    "upscale": 1,
}
NETWORK = {"type": "Spikified", "base": EDSR, "neuron": {"type": "VLIF", "r": 2, "D": 4}, "T": 2}


@pytest.fixture
def trained(fresh_basicsr):
    """The folder of a run of a few iterations."""
    opt = small_options(fresh_basicsr)
    opt["network_g"] = NETWORK
    opt["train"] |= {"total_iter": 12, "ema_decay": 0.9}
    opt["val"] |= {"val_freq": 12}
    opt["val"]["metrics"] |= {"sops": {"type": "snn_sops", "size": 24}}
    opt["logger"]["save_checkpoint_freq"] = 12
    assert run.train(["-opt", write_options(fresh_basicsr, opt)]) == 0
    return fresh_basicsr / "experiments" / "small"


def test_edsr_trains_by_its_option_file_and_its_weights_are_taken_by_every_command(
    trained, capsys, tmp_path
):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    losses = [line["l_pix"] for line in lines if "l_pix" in line]
    assert len(losses) == 12
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    (fired,) = (line["firing_rates"] for line in lines if "firing_rates" in line)
    assert list(fired) == ["base.body.0.relu.neuron", "base.body.1.relu.neuron"]
    assert all(0.05 < rate < 0.6 for rate in fired.values())
    (scored,) = (trained / "validation").glob("*.json")
    assert json.loads(scored.read_text())["metrics"]["sops"]["mean"] > 1000

    weights = trained / "models" / "net_g_12.pth"
    checkpoint = read_checkpoint(weights)
    assert checkpoint.network == NETWORK
    net = build_network(checkpoint.network).eval()
    load_strict(net, checkpoint)
    image = cv2.imread(str(_picture(tmp_path)))
    x = torch.from_numpy(image[..., ::-1] / 255).movedim(-1, 0)[None].float()
    with torch.no_grad():
        expected = (net(x).clamp(0, 1)[0] * 255).round().byte().movedim(0, -1).numpy()[..., ::-1]

    converted = tmp_path / "net.safetensors"
    assert cli.main(["convert", "-w", str(weights), "-o", str(converted)]) == 0
    for file in (weights, converted):
        words = ["derain", str(tmp_path / "rainy.png"), "-w", str(file), "-o", str(tmp_path / "o")]
        assert cli.main(words) == 0
        assert abs(cv2.imread(str(tmp_path / "o" / "rainy.png")).astype(int) - expected).max() <= 1
    assert cli.main(["energy", "-w", str(weights), "--size", "32"]) == 0
    out = capsys.readouterr().out
    assert "base.body.0.conv2 (conv 3x3)" in out
    assert "not counted: nothing" in out


def _picture(folder):
    cv2.imwrite(str(folder / "rainy.png"), photograph(37, 51))  # odd: patches need even sizes
    return folder / "rainy.png"


def test_weights_of_edsr_itself_begin_a_training(fresh_basicsr):
    register_all()
    from basicsr_model import build_model

    torch.manual_seed(3)
    edsr = BASES["basicsr"]("EDSR")(**{k: v for k, v in EDSR.items() if k != "type"})
    torch.save({"params": edsr.state_dict()}, fresh_basicsr / "edsr.pth")
    opt = small_options(fresh_basicsr)
    opt["network_g"] = NETWORK
    opt["path"]["pretrain_network_g"] = str(fresh_basicsr / "edsr.pth")
    net = build_model(fresh_basicsr, opt).net_g
    own = net.base.state_dict()
    assert all(torch.equal(own[key], value) for key, value in edsr.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": {"type": "EDSRR"}}, r"network_g: base: .*'EDSRR'; did you mean EDSR"),
        ({"base": EDSR | {"num_feats": 8}}, "network_g: base: EDSR has no option 'num_feats'; did"),
        ({"base": {"num_feat": 8}}, "network_g: base must be a section with a type"),
        ({"base": {"type": "PreNet"}}, "did you mean PReNet"),
        ({"neuron": "VLIFNode"}, r"network_g: body\.0\.relu: VLIFNode makes .*take VLIFPixelNode"),
        ({"neurn": "VLIF"}, "network_g: Spikified has no option 'neurn'; did you mean neuron"),
        ({"names": "body.*.act"}, "network_g: names: .* matches none of 2 activations"),
    ],
)
def test_what_is_wrong_in_the_section_is_said_in_one_line(changes, message):
    register_all()
    with pytest.raises(OptionError, match=message) as found:
        build_network(NETWORK | changes)
    assert "\n" not in str(found.value)


def test_a_base_that_is_unknown_without_a_toolbox_is_named(monkeypatch):
    monkeypatch.setattr("vlif_plugin.archs.spikified_arch.BASES", {})
    with pytest.raises(OptionError, match="network_g: base: no network is called 'EDSR'"):
        build_network(NETWORK)


def test_a_weights_file_does_not_choose_what_is_imported(tmp_path, capsys):
    section = NETWORK | {"base": {"type": "os.system", "command": "true"}}
    for network in (section, NETWORK | {"base": section}):
        torch.save({"params": {"x": torch.zeros(1)}, "network_g": network}, tmp_path / "w.pth")
        words = ["-w", str(tmp_path / "w.pth"), "-o", str(tmp_path / "o")]
        assert cli.main(["derain", str(_picture(tmp_path)), *words]) == 1
        said = capsys.readouterr().err
        assert "its network is made of 'os.system', and what a file names is not imported" in said
        assert said.count("\n") == 1


def test_mmengine_builds_the_same_network():
    from mmengine.registry import MODELS

    register_all()
    section = NETWORK | {"type": "vlif_plugin.Spikified"}
    ours = build_network(NETWORK)
    for name in (
        "EDSR",
        "basicsr.archs.edsr_arch.EDSR",
    ):  # registered, and by its path as mmengine allows
        net = MODELS.build(section | {"base": EDSR | {"type": name}})
        assert type(net) is ARCHS["Spikified"]
        net.load_state_dict(ours.state_dict())
        x = torch.rand(1, 3, 9, 8)
        assert torch.equal(net.eval()(x), ours.eval()(x))


@pytest.fixture(scope="module")
def benchmark():
    folder = Path(__file__).parents[2] / "benchmarks"
    spec = importlib.util.spec_from_file_location("spikify_benchmark", folder / "spikify.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    module.register()
    yield module
    from basicsr.utils.registry import ARCH_REGISTRY

    for names in (ARCHS, ARCH_REGISTRY._obj_map):
        del names["TimmRestorer"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EDSR", "MSRResNet x2", "SwinIR", "NAFNet", "timm's test_resnet"])
def test_every_worked_network_learns_and_fires(name, benchmark):
    worked = benchmark.WORKED[name]
    outcome = benchmark.train(worked, True, 40)
    report = count_ops(outcome.net, benchmark.batches(1, worked.scale, seed=2)[0][0][:1])
    before, after = outcome.held_out
    assert after < before
    assert sum(outcome.losses[-10:]) < sum(outcome.losses[:10])
    assert not outcome.rates.dead
    assert not outcome.rates.saturated
    assert report.events > 0
    assert not report.not_counted
    # a gate's product of spikes and values is real-valued, so what follows it multiplies
    assert (report.sops > 0) == (name != "NAFNet")
