"""LPIPS against its formula written out, on networks with random weights."""

from pathlib import Path
from urllib.error import URLError

import lpips as package
import numpy as np
import pytest
import torch
from helpers import Malicious, photograph
from torch.nn.functional import normalize
from torchvision import models

from vlif_plugin.errors import CheckpointError, DataError, OptionError
from vlif_plugin.metrics import _lpips, lpips

# where the paper's five (squeeze: seven) activations are in torchvision's features
TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29), "squeeze": (1, 4, 7, 9, 10, 11, 12)}


@pytest.fixture(autouse=True)
def _no_network_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    _lpips._network.cache_clear()
    yield
    _lpips._network.cache_clear()


def features_of(backbone):
    if backbone == "vgg":  # without the classifier, which takes seconds to draw
        from torchvision.models.vgg import cfgs, make_layers

        return make_layers(cfgs["D"])
    return {"alex": models.alexnet, "squeeze": models.squeezenet1_1}[backbone]().features


def save_features(backbone, path):
    features = features_of(backbone)
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, path)
    return features.eval()


def by_formula(features, backbone, a, b):
    path = Path(package.__file__).parent / "weights" / "v0.1" / f"{backbone}.pth"
    linear = torch.load(path, map_location="cpu")
    mean = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    maps = []
    for image in (a, b):
        x = (torch.tensor(image.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1 - mean) / scale
        taps, x = [], x[None]
        for index, layer in enumerate(features[: TAPS[backbone][-1] + 1]):
            x = layer(x)
            # most activations work in place
            taps += [x.clone()] if index in TAPS[backbone] else []
        maps.append(taps)
    total = 0.0
    for layer, (one, other) in enumerate(zip(*maps, strict=True)):
        difference = (normalize(one, dim=1) - normalize(other, dim=1)) ** 2
        weight = linear[f"lin{layer}.model.1.weight"].view(-1, 1, 1)
        total += (difference * weight).sum(1).mean().item()
    return total


def pair(height=48, width=57):
    clean = photograph(height, width)
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    return np.clip(clean + noise, 0, 255).round().astype(np.uint8), clean


@pytest.mark.parametrize("backbone", TAPS)
@torch.no_grad()
def test_the_distance_is_the_papers(backbone, tmp_path):
    features = save_features(backbone, tmp_path / "weights.pth")
    a, b = pair()
    value = lpips(a, b, backbone, tmp_path / "weights.pth")
    assert value == pytest.approx(by_formula(features, backbone, a, b), rel=1e-4)
    assert value > 1e-4
    assert lpips(b, b, backbone, tmp_path / "weights.pth") == 0


def test_whole_weights_files_of_torchvision_fit(tmp_path):
    network = models.squeezenet1_1()
    torch.save(network.state_dict(), tmp_path / "squeeze.pth")
    a, b = pair()
    expected = by_formula(network.eval().features, "squeeze", a, b)
    assert lpips(a, b, "squeeze", str(tmp_path / "squeeze.pth")) == pytest.approx(
        expected, rel=1e-4
    )


def test_the_network_is_built_once_and_draws_nothing(tmp_path, monkeypatch):
    save_features("squeeze", tmp_path / "weights.pth")
    built = []
    original = package.LPIPS
    monkeypatch.setattr(package, "LPIPS", lambda **kwargs: built.append(1) or original(**kwargs))
    state = torch.random.get_rng_state()
    a, b = pair()
    values = {lpips(a, b, "squeeze", tmp_path / "weights.pth") for _ in range(3)}
    assert len(values) == len(built) == 1
    assert torch.equal(torch.random.get_rng_state(), state)


def test_torch_hubs_cache_is_looked_into(tmp_path):
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cached.parent.mkdir(parents=True)
    save_features("squeeze", cached)
    a, b = pair()
    assert lpips(a, b, "squeeze") == lpips(a, b, "squeeze", weights=cached) > 0
    cached.write_text("half a download")
    _lpips._network.cache_clear()
    with pytest.raises(
        CheckpointError, match=r"squeezenet1_1-b8a52dc0\.pth: not readable as weights"
    ):
        lpips(a, b, "squeeze")


def test_weights_that_cannot_be_had_are_named_in_one_line(monkeypatch):
    def offline(url, *_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(OptionError) as caught:
        lpips(*pair())
    message = str(caught.value)
    assert message.startswith("lpips needs alexnet-owt-7be5be79.pth, which ")
    assert "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth" in message
    assert "no route to host" in message
    assert message.endswith("weights: can name a local copy")
    assert "\n" not in message


def test_a_download_is_checked_by_its_hash(monkeypatch):
    asked = []
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda url, path, prefix, **_: asked.append(prefix)
    )
    with pytest.raises(OptionError):
        lpips(*pair())
    assert asked == ["7be5be79"]


def test_wrong_files_are_refused_in_one_line(tmp_path):
    (tmp_path / "text.pth").write_text("not weights")
    torch.save({"features.0.weight": Malicious()}, tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    save_features("squeeze", tmp_path / "other.pth")
    for name, kind, message in (
        ("none.pth", OptionError, "none.pth: no such file; it can be had at https://"),
        ("text.pth", CheckpointError, "text.pth: refused"),
        ("code.pth", CheckpointError, "code.pth: refused, because reading it would run code"),
        ("list.pth", CheckpointError, "list.pth: not torchvision's AlexNet_Weights.IMAGENET1K_V1"),
        ("other.pth", CheckpointError, "missing or of another shape are features 0.weight, "),
    ):
        with pytest.raises(kind) as caught:
            lpips(*pair(), weights=tmp_path / name)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_refused(tmp_path):
    state = {f"features.{k}": v for k, v in features_of("squeeze").state_dict().items()}
    state["features.3.squeeze.weight"] = torch.zeros(16, 65, 1, 1)
    torch.save(state, tmp_path / "wide.pth")
    with pytest.raises(CheckpointError, match=r"another shape are features 3\.squeeze\.weight$"):
        lpips(*pair(), "squeeze", tmp_path / "wide.pth")


@pytest.mark.parametrize("wrong", ["alexnet", ["alex"], None])
def test_an_unknown_network_is_refused(wrong):
    with pytest.raises(OptionError, match="backbone must be alex, vgg, squeeze, got"):
        lpips(*pair(), wrong)


@pytest.mark.parametrize(("backbone", "side"), [("alex", 31), ("vgg", 16), ("squeeze", 17)])
def test_the_smallest_images_are_scored_and_smaller_ones_refused(backbone, side, tmp_path):
    save_features(backbone, tmp_path / "weights.pth")
    assert lpips(*pair(side, side), backbone, tmp_path / "weights.pth") > 0
    with pytest.raises(
        DataError, match=rf"at least {side}x{side} pixels, got \({side - 1}, 40, 3\)"
    ):
        lpips(*pair(side - 1, 40), backbone, tmp_path / "weights.pth")


def test_images_of_two_sizes_are_refused():
    with pytest.raises(DataError, match="two images of one size"):
        lpips(photograph(40, 40), photograph(40, 41))


def test_constant_and_grey_images_have_a_distance(tmp_path):
    save_features("squeeze", tmp_path / "weights.pth")
    black, white = (np.full((40, 40, 3), level, np.uint8) for level in (0, 255))
    assert lpips(black, white, "squeeze", tmp_path / "weights.pth") > 0
    assert lpips(white, white, "squeeze", tmp_path / "weights.pth") == 0
