"""What several tests share: reference arrays, live networks, a small BasicSR run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor, nn

from vlif_plugin.archs import ARCHS, ESDNet, Spikified, SpikingRestorer, VLIFNet
from vlif_plugin.data import add_rain, sample_layers, write_lmdb
from vlif_plugin.layers import ThresholdDependentBatchNorm2d
from vlif_plugin.neurons import VLIFT, SpikingNeuron

REFERENCE = Path(__file__).parent / "reference"
SMALL = {"dim": 16, "en_num_blocks": (1, 2), "de_num_blocks": (1, 1)}
TINY = {"dims": (8, 12, 16), "en_num_blocks": (1, 1, 1), "de_num_blocks": (1, 1)}
# every network of the list, small, in each of its forms: its name and its arguments
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "VLIFNet, paper": ("VLIFNet", SMALL),
    "VLIFNet, official": ("VLIFNet", SMALL | {"formulation": "official", "use_refinement": True}),
    "VLIFNetTiny": ("VLIFNetTiny", TINY),
    "VLIFNetTiny, no gate": (
        "VLIFNetTiny",
        {"dims": (8, 10, 12, 16), "en_num_blocks": (1, 1, 0, 1), "de_num_blocks": (1, 0, 1), "gate": False},
    ),
    "VLIFNetTiny, analog": ("VLIFNetTiny", TINY | {"spike_driven": False, "expansion": 2}),
    "ESDNet": ("ESDNet", {"dim": 16, "en_num_blocks": (1, 1, 2), "de_num_blocks": (1, 1, 1)}),
    "PReNet": ("PReNet", {"channels": 8, "num_blocks": 2}),
    "RESCAN": ("RESCAN", {"channels": 8, "depth": 5, "reduction": 2}),
    "UNet": ("UNet", {"dims": (8, 12), "en_num_blocks": (1, 2), "de_num_blocks": (1,)}),
    "NAFNet": ("NAFNet", {
        "width": 8, "enc_blk_nums": (1, 2), "middle_blk_num": 1, "dec_blk_nums": (2, 1),
    }),
    "Restormer": ("Restormer", {
        "dim": 8, "num_blocks": (1, 2, 1, 1), "num_refinement_blocks": 1, "heads": (1, 2, 2, 4),
    }),
    "MPRNet": ("MPRNet", {
        "n_feat": 8, "scale_unetfeats": 4, "scale_orsnetfeats": 4, "num_cab": 2, "reduction": 2,
    }),
    "Spikified": ("Spikified", {
        "base": {"type": "PReNet", "channels": 8, "num_blocks": 1, "stages": 2},
        "neuron": {"type": "VLIFPixelNode", "r": 2, "D": 4}, "T": 2,
    }),
}  # fmt: skip
SPIKING = [
    form
    for form, (name, _) in FORMS.items()
    if issubclass(ARCHS[name], (SpikingRestorer, Spikified))
]
RESTORERS = [form for form in SPIKING if issubclass(ARCHS[FORMS[form][0]], SpikingRestorer)]
COMPLETE = [name for name in ARCHS if name != "Spikified"]
"""Networks that can be built without being told anything, and are known by their weights alone."""


class Malicious:
    """Runs code when it is unpickled without care."""

    def __reduce__(self):
        return (print, ("this ran when it was loaded",))


def reference(name: str) -> dict[str, Tensor]:
    with np.load(REFERENCE / f"{name}.npz") as arrays:
        return {
            k: torch.from_numpy(arrays[k]) for k in arrays.files if arrays[k].dtype.kind in "fi"
        }


def part(arrays: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference in units of the largest expected value; absolute where all are 0."""
    scale = expected.abs().max().item() or 1.0
    return (actual - expected).abs().max().item() / scale


def firing_rates(net: nn.Module, x: Tensor) -> dict[str, float]:
    """Share of non-zero outputs of each neuron while ``net(x)`` runs."""
    rates: dict[str, float] = {}
    hooks = [
        module.register_forward_hook(
            lambda _, __, out, name=name: rates.__setitem__(name, (out != 0).double().mean().item())
        )
        for name, module in net.named_modules()
        if isinstance(module, SpikingNeuron)
    ]
    try:
        with torch.no_grad():
            net(x)
    finally:
        for hook in hooks:
            hook.remove()
    return rates


def make_live(net: nn.Module, x: Tensor, *, low: float = 0.01, high: float = 0.95) -> nn.Module:
    """Give a fresh network statistics with which every neuron fires on ``x``, and assert it.

    A freshly initialised VLIF hardly fires, and whatever is proved on it is proved of nothing.
    """
    norms = [m for m in net.modules() if isinstance(m, ThresholdDependentBatchNorm2d)]
    for norm in norms:
        nn.init.ones_(norm.weight)
        nn.init.constant_(norm.bias, 0.3)
        norm.momentum = 1.0
    for module in net.modules():
        if isinstance(module, VLIFT):  # no normalisation stands between it and the next neuron
            module.compress.weight.data.mul_(6)
    net.train()
    with torch.no_grad():
        net(x)
    for norm in norms:
        norm.momentum = 0.1
    net.eval()
    assert_live(net, x, low=low, high=high)
    return net


def assert_live(net: nn.Module, x: Tensor, *, low: float = 0.01, high: float = 0.95) -> None:
    rates = firing_rates(net, x)
    assert rates
    wrong = {name: rate for name, rate in rates.items() if not low <= rate <= high}
    assert not wrong, f"neurons that do not live: {wrong}"


def live_net(form: str, **arguments: Any) -> tuple[nn.Module, Tensor]:
    """A network of ``FORMS`` in which everything matters, and two images; eval mode, float64."""
    name, small = FORMS[form]
    x = torch.rand(2, 3, 24, 40)
    net = ARCHS[name](**small | arguments)
    if form in SPIKING:
        make_live(net, x)
    for parameter in [] if form in SPIKING else net.parameters():
        # NAFNet's blocks begin as identities, behind factors of zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    return net.eval().double(), x.double()


def result_and_gradients(net: nn.Module, x: Tensor) -> list[Tensor]:
    """What the network gives for ``x``, and a loss's gradients by ``x`` and its parameters."""
    net.zero_grad()
    leaf = x.clone().requires_grad_()
    out = net(leaf)
    (out * x).sum().backward()
    return [out.detach(), leaf.grad, *(p.grad for p in net.parameters())]  # pyright: ignore[reportReturnType]


def reference_net(name: str = "vlifnet_dim16_refine") -> tuple[nn.Module, dict[str, Tensor]]:
    """The small released network with the weights that the reference was made with, in float64."""
    arrays = reference(name)
    if name.startswith("esdnet"):
        net: nn.Module = ESDNet(dim=16, en_num_blocks=(1, 1, 2), de_num_blocks=(1, 1, 1))
    else:
        net = VLIFNet(**SMALL, formulation="official", use_refinement=name.endswith("refine"))
    net.load_state_dict(net.checkpoint_filter(part(arrays, "state/")))
    return net.double().eval(), arrays


def without(net: nn.Module, neuron: str) -> nn.Module:
    """A copy of the network in which one neuron puts out zeros."""
    mutant = copy.deepcopy(net)
    mutant.get_submodule(neuron).register_forward_hook(lambda _, __, out: torch.zeros_like(out))
    return mutant


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth colourful picture, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    waves = [
        np.sin(x * rng.uniform(0.5, 2) + y * rng.uniform(0.5, 2) + rng.uniform(0, 6))
        for _ in range(3)
    ]
    return np.round((np.dstack(waves) * 0.3 + 0.4) * 255).astype(np.uint8)


def degraded(picture: np.ndarray, kind: str) -> np.ndarray:
    """A picture as a camera, a lens or a file may leave it: clean, noise, blur or jpeg; uint8."""
    if kind == "noise":
        noise = np.random.default_rng(0).normal(0, 25, picture.shape)
        return np.clip(picture + noise, 0, 255).round().astype(np.uint8)
    if kind == "blur":
        return cv2.GaussianBlur(picture, (0, 0), 2)
    if kind == "jpeg":
        _, code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 10])
        return cv2.imdecode(code, cv2.IMREAD_COLOR)
    return picture


def make_pairs(folder: Path, sizes: list[tuple[int, int]], seed: int = 0) -> dict[str, str]:
    """Write ``input.lmdb`` and ``target.lmdb`` with rainy and clean pictures."""
    rainy, clean = [], []
    for index, (height, width) in enumerate(sizes):
        picture = photograph(height, width, seed + index)
        rng = np.random.default_rng([seed, index])
        wet = add_rain((picture / 255).astype(np.float32), sample_layers(rng), rng)
        clean.append((f"{index:03d}", picture))
        rainy.append((f"{index:03d}", np.round(wet * 255).astype(np.uint8)))
    write_lmdb(rainy, folder / "input.lmdb")
    write_lmdb(clean, folder / "target.lmdb")
    return {"dataroot_lq": str(folder / "input.lmdb"), "dataroot_gt": str(folder / "target.lmdb")}


TINY_NET = {
    "type": "VLIFNet",
    "dim": 8,
    "en_num_blocks": [1, 1],
    "de_num_blocks": [1, 1],
    "T": 2,
    "use_refinement": False,
}


def small_options(folder: Path) -> dict[str, Any]:
    """Options of a training run of seconds, with its data."""
    train = make_pairs(folder / "train", [(40, 48)] * 4)
    val = make_pairs(folder / "val", [(37, 51), (40, 45), (33, 33)], seed=50)
    psnr = {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": True}
    return {
        "name": "small",
        "model_type": "SNNRestorationModel",
        "num_gpu": 0,
        "manual_seed": 3,
        "datasets": {
            "train": {
                "name": "rain", "type": "PairedRainDataset", **train, "gt_size": 32, "use_hflip": True,
                "num_worker_per_gpu": 0, "batch_size_per_gpu": 2, "dataset_enlarge_ratio": 10,
            },
            "val": {"name": "rain_val", "type": "PairedRainDataset", **val},
        },
        "network_g": dict(TINY_NET),
        "path": {"experiments_root": str(folder / "experiments")},
        "train": {
            "total_iter": 4,
            "warmup_iter": -1,
            "optim_g": {"type": "AdamW", "lr": 1e-3},
            "scheduler": {"type": "CosineAnnealingRestartLR", "periods": [100], "eta_min": 1e-7},
            "pixel_opt": {"type": "SSIMLoss"},
        },
        "val": {"val_freq": 2, "save_img": False, "metrics": {"psnr_y": psnr}},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 2},
    }  # fmt: skip


def write_options(folder: Path, opt: dict[str, Any], name: str = "opt.yml") -> str:
    path = folder / name
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    return str(path)
