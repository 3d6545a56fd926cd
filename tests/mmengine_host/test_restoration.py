"""The restoration model under mmengine, and what it shares with BasicSR's side."""

import copy
import subprocess
import sys
import types

import pytest
import torch
from basicsr_model import Batch, build_model
from helpers import (
    SPIKING,
    TINY_NET,
    firing_rates,
    live_net,
    make_live,
    small_options,
)
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import OptimWrapper
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.structures import BaseDataElement

from vlif_plugin import registry, scoring
from vlif_plugin.archs import ARCHS, build_network, load_strict, save_safetensors
from vlif_plugin.blocks import SDEM
from vlif_plugin.data import DATASETS as OUR_DATASETS
from vlif_plugin.errors import CheckpointError, DataError, OptionError, TrainingError
from vlif_plugin.losses import LOSSES
from vlif_plugin.mmengine_host.restoration_model import SNNRestorationModel
from vlif_plugin.parts import Fusible
from vlif_plugin.speed import backends


def build_restorer(**arguments):
    section = {"network_g": TINY_NET, "pixel_opt": {"type": "SSIMLoss"}} | arguments
    return MODELS.build({"type": "vlif_plugin.SNNRestorationModel", **section})


def batch_of(count, dtype=torch.float64):
    """The same batch for both toolboxes."""
    return Batch(count, dtype=dtype)


def test_loss_and_gradients_are_those_of_basicsrs_model(fresh_basicsr):
    """In float64, in both modes of BatchNorm, on a network that fires."""
    opt = small_options(fresh_basicsr)
    ours = build_model(fresh_basicsr, opt)
    batch = batch_of(3)
    make_live(ours.net_g, batch["lq"].float())
    state = copy.deepcopy(ours.net_g.state_dict())
    for training in (True, False):
        ours.net_g.load_state_dict(state)
        theirs = build_restorer()
        theirs.load_state_dict({f"net_g.{k}": v for k, v in state.items()})
        for net in (ours.net_g, theirs.net_g):
            net.double().train(training)
        ours.feed_data(batch)
        ours.optimize_parameters(1)
        wrapper = OptimWrapper(torch.optim.SGD(theirs.parameters(), lr=0))
        wrapper.zero_grad = lambda **_: None  # leave the gradients to be looked at
        losses = theirs.train_step(dict(batch), wrapper)
        assert losses["loss"].item() > 0.01
        assert losses["loss"].item() == pytest.approx(ours.log_dict["l_pix"], rel=1e-12)
        gradients = dict(theirs.net_g.named_parameters())
        assert min(firing_rates(theirs.net_g.eval(), batch["lq"]).values()) > 0
        moved = 0
        for name, parameter in ours.net_g.named_parameters():
            torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-12, atol=1e-12)
            moved += bool((parameter.grad != 0).any())
        assert moved > 0.8 * len(gradients)


@pytest.mark.parametrize("kind", ["lists", "stacked"])
def test_a_training_batch_is_stacked_however_it_was_collated(kind):
    items = [
        {"lq": torch.rand(3, 8, 9), "gt": torch.rand(3, 8, 9), "lq_path": f"p{i}", "index": i}
        for i in range(2)
    ]
    collate = {"lists": pseudo_collate, "stacked": default_collate}[kind]
    made = build_restorer().data_preprocessor(collate(items), training=True)
    torch.testing.assert_close(made["inputs"], torch.stack([i["lq"] for i in items]))
    for item, sample in zip(items, made["data_samples"], strict=True):
        assert torch.equal(sample.gt, item["gt"])
        assert (sample.lq_path, sample.index) == (item["lq_path"], item["index"])
        assert type(sample.index) is int


def test_patches_of_different_sizes_are_refused_and_whole_images_are_not():
    items = [{"lq": torch.rand(3, 8, 8 + i), "index": i} for i in range(2)]
    preprocess = build_restorer().data_preprocessor
    with pytest.raises(DataError, match="patches of one size, got 8x8, 8x9; give gt_size"):
        preprocess(pseudo_collate(items), training=True)
    whole = preprocess(pseudo_collate(items), training=False)
    assert [tuple(image.shape) for image in whole["inputs"]] == [(3, 8, 8), (3, 8, 9)]


def test_prediction_is_the_networks_result_tiled_as_asked():
    net, x = live_net(SPIKING[0])
    options = {"type": "VLIFNet", "dim": 16, "en_num_blocks": [1, 2], "de_num_blocks": [1, 1]}
    image = x[0].clamp(0, 1)
    results = {}
    for tile in ("none", {"size": 16, "overlap": 4}):
        model = build_restorer(network_g=options, tile=tile).eval()
        load_strict(model.net_g, types.SimpleNamespace(path="w", state=net.state_dict()))
        model.double()
        (sample,) = model.val_step({"lq": [image], "gt": [image], "lq_path": ["a"], "index": [0]})
        results[str(tile)] = sample.output
        assert sample.tiling == ("whole" if tile == "none" else "16x16, overlap 4")
        assert torch.equal(sample.lq, image)
    with torch.inference_mode():
        torch.testing.assert_close(results["none"], net(image[None])[0].clamp(0, 1))
    assert results["none"].shape == image.shape
    assert not torch.equal(*results.values())
    tensors = model(image[None], mode="tensor")
    assert tensors.shape == (1, *image.shape)


def test_a_loss_that_is_not_finite_names_the_images():
    model = build_restorer()
    model.net_g.output.weight.data.fill_(float("nan"))
    sample = BaseDataElement(metainfo={"lq_path": "rain/7.png"}, gt=torch.rand(3, 32, 32))
    with pytest.raises(TrainingError, match=r"the loss is nan at iteration .*batch: rain/7\.png"):
        model(torch.rand(1, 3, 32, 32), [sample], mode="loss")


def test_the_loss_stays_in_float32_under_autocast():
    model = build_restorer()
    seen = []
    model.cri_pix.register_forward_pre_hook(lambda _, args: seen.extend(a.dtype for a in args))
    sample = BaseDataElement(gt=torch.rand(3, 32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.rand(1, 3, 32, 32), [sample], mode="loss")["loss_pix"]
    assert seen == [torch.float32, torch.float32]
    assert loss.dtype == torch.float32


def test_the_registry_module_imports_by_itself_and_fills_itself():
    """mmengine takes an ImportError in it for a name that is not registered."""
    program = """
import sys
import vlif_plugin.registry as r
assert 'vlif_plugin.mmengine_host' not in sys.modules
from mmengine.registry import MODELS, DATASETS, METRICS, HOOKS
net = MODELS.build(dict(type='vlif_plugin.VLIFNet', dim=8, en_num_blocks=[1, 1], de_num_blocks=[1, 1]))
assert type(net).__module__ == 'vlif_plugin.archs.vlifnet_arch'
assert METRICS.get('vlif_plugin.psnr_y') and HOOKS.get('vlif_plugin.RestorationHook')
assert DATASETS.get('vlif_plugin.PairedRainDataset') and 'basicsr' not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_mean_the_same_in_both_toolboxes(fresh_basicsr):
    from basicsr.utils import registry as basicsr

    for name, arch in ARCHS.items():
        assert MODELS.get(f"vlif_plugin.{name}") is arch is basicsr.ARCH_REGISTRY.get(name)
    for name, loss in LOSSES.items():
        assert MODELS.get(f"vlif_plugin.{name}") is loss is basicsr.LOSS_REGISTRY.get(name)
    for name, dataset in OUR_DATASETS.items():
        assert DATASETS.get(f"vlif_plugin.{name}") is dataset
        assert issubclass(basicsr.DATASET_REGISTRY.get(name), dataset)
    for name in scoring.METRICS:
        metric = METRICS.build({"type": f"vlif_plugin.{name}"})
        assert metric.metrics[0].function is basicsr.METRIC_REGISTRY.get(name)
    assert basicsr.MODEL_REGISTRY.get("SNNRestorationModel")
    assert MODELS.get("vlif_plugin.SNNRestorationModel") is SNNRestorationModel


def test_neurons_blocks_and_attention_build_by_type_and_run():
    x = torch.rand(4, 1, 16, 8, 8)
    for section, shape in (
        ({"type": "VLIFNode", "r": 2, "D": 4}, (16, 1, 16, 4, 4)),
        ({"type": "LIFNode", "tau": 2.0}, x.shape),
        ({"type": "SDEM", "channels": 16, "config": {"T": 4, "neuron": "lif"}}, x.shape),
        ({"type": "SMU", "channels": 16}, x.shape),
        ({"type": "ChannelAttention", "channels": 16}, None),
    ):
        made = MODELS.build({**section, "type": f"vlif_plugin.{section['type']}"})
        if shape is not None:
            assert made(x).shape == shape
    assert isinstance(MODELS.build({"type": "vlif_plugin.SDEM", "channels": 16}), SDEM)
    with pytest.raises(OptionError, match=r"SDEM: config: SpikingConfig has no option 'tua'.*tau"):
        MODELS.build({"type": "vlif_plugin.SDEM", "channels": 16, "config": {"tua": 2.0}})


def test_an_unknown_type_names_its_neighbours():
    for kind, wrong, near in (
        (MODELS, "vlif_plugin.VLIFNett", "VLIFNet"),
        (METRICS, "vlif_plugin.psnr_yy", "psnr_y"),
        (DATASETS, "vlif_plugin.PairedRainDataset2", "PairedRainDataset"),
        (HOOKS, "vlif_plugin.FiringRatesHook", "FiringRateHook"),
    ):
        with pytest.raises(OptionError, match=f"did you mean .*{near}"):
            kind.build({"type": wrong})
    # a dotted path needs no registry, and mmengine's own names are found
    assert registry.MODELS.get("vlif_plugin.archs.VLIFNet") is ARCHS["VLIFNet"]
    assert registry.HOOKS.get("EMAHook") is HOOKS.get("EMAHook")


def test_metrics_score_each_image_once_whoever_scored_it_first():
    metric = METRICS.build({"type": "vlif_plugin.psnr_y"})
    evaluator = Evaluator([metric])
    samples = [
        {"output": torch.rand(3, 16, 16), "lq": torch.rand(3, 16, 16), "gt": torch.rand(3, 16, 16),
         "lq_path": f"{i}.png", "index": i}
        for i in range(3)
    ]  # fmt: skip
    evaluator.process([samples[2], samples[0]])
    evaluator.process([samples[1], samples[0]])
    found = evaluator.evaluate(3)["psnr_y"]
    expected = []
    for sample in samples:
        pair = (sample[k][None] for k in ("output", "gt", "lq"))
        available = scoring.score_inputs(*pair, None)
        expected.append(scoring.METRICS["psnr_y"](available["img"], available["img2"]))
    assert found == sum(expected) / 3
    assert evaluator.metrics[0].scored == []


def test_a_metric_of_the_network_says_what_it_lacks():
    metric = METRICS.build({"type": "vlif_plugin.snn_energy"})
    with pytest.raises(OptionError, match="RestorationHook"):
        metric.process(None, [{}])


WRONG_METRICS = {
    "protocol": (
        {"protocols": ["y_restromer"]},
        "no protocol is called 'y_restromer'.*y_restormer",
    ),
    "type": ({"scores": {"a": {"type": "psnr"}}}, "no metric of vlif_plugin is called 'psnr'"),
    "key": ({"scores": {"a": {"type": "lpips", "net": "vgg"}}}, "a has no option 'net'"),
    "nothing": ({}, "neither protocols nor scores"),
}


@pytest.mark.parametrize("case", WRONG_METRICS)
def test_wrong_metrics_are_named(case):
    section, message = WRONG_METRICS[case]
    with pytest.raises(OptionError, match=message):
        METRICS.build({"type": "vlif_plugin.RestorationScores", **section})


def weights_of(model):
    return {k: v.clone() for k, v in model.net_g.state_dict().items()}


FORMS = {
    "ours": lambda state: {f"net_g.{k}": v for k, v in state.items()},
    "BasicSR": lambda state: {"params": state, "network_g": dict(TINY_NET)},
    "BasicSR with EMA": lambda state: {
        "params": {k: v * 0 for k, v in state.items()},
        "params_ema": state,
    },
    "bare": dict,
    "wrapped": lambda state: {f"module.{k}": v for k, v in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_any_origin_load(form, tmp_path):
    from mmengine.runner import load_checkpoint

    source, target = build_restorer(), build_restorer()
    state = weights_of(source)
    torch.save(FORMS[form](state), tmp_path / "w.pth")
    load_checkpoint(target, str(tmp_path / "w.pth"), map_location="cpu")
    found = weights_of(target)
    assert all(torch.equal(found[k], state[k]) for k in state)


def test_safetensors_load(tmp_path):
    from mmengine.runner import load_checkpoint

    source, target = build_restorer(), build_restorer()
    state = weights_of(source)
    save_safetensors(state, TINY_NET, tmp_path / "w.safetensors")
    load_checkpoint(target, str(tmp_path / "w.safetensors"), map_location="cpu")
    assert all(torch.equal(v, state[k]) for k, v in weights_of(target).items())


def test_weights_that_do_not_fit_are_refused_and_what_fits_is_taken_where_asked(tmp_path):
    from mmengine.runner import load_checkpoint

    other = build_network({**TINY_NET, "dim": 16})
    torch.save({"params": other.state_dict()}, tmp_path / "w.pth")
    model = build_restorer()
    before = weights_of(model)
    with pytest.raises(
        CheckpointError,
        match=r"does not fit VLIFNet \(the file has dim 16; the network has dim 8\)",
    ):
        load_checkpoint(model, str(tmp_path / "w.pth"))
    assert all(torch.equal(v, before[k]) for k, v in weights_of(model).items())
    lenient = build_restorer(strict_load_g=False)
    load_checkpoint(lenient, str(tmp_path / "w.pth"))
    ours, theirs = weights_of(lenient), other.state_dict()
    same = [k for k in ours if ours[k].shape == theirs[k].shape]
    assert 0 < len(same) < len(ours)
    assert all(torch.equal(ours[k], theirs[k]) for k in same)


def test_a_backend_is_taken_where_the_network_is(monkeypatch):
    asked = []
    monkeypatch.setattr(
        backends, "why_not", lambda backend, device: asked.append((backend, device))
    )
    model = build_restorer(backend="compile")
    assert not asked
    assert model.take_backend() == "compile"
    assert asked == [("compile", "cpu")]
    runners = {m.runner for m in model.modules() if isinstance(m, Fusible)}
    assert runners == {backends.run_compiled}
    with pytest.raises(OptionError, match=r"backend must be one of auto, torch, .* got 'fast'"):
        build_restorer(backend="fast")
