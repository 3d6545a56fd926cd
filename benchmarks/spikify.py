"""Networks of others with our neurons: each trains through BasicSR's model, with its activations and without.

    make bench-spikify       (python benchmarks/spikify.py; --iterations, --network)

Small forms of each, on patches of photographs in synthetic rain (MSRResNet, which enlarges, on patches at half size),
SSIM loss, AdamW. It shows that they learn, that they fire, and what that does to the operations; not how good
they get.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from common import Result
from torch import Tensor, nn

from vlif_plugin.archs import ARCHS
from vlif_plugin.basicsr_host import register_all
from vlif_plugin.data import add_rain, sample_layers
from vlif_plugin.energy import PRESETS, count_ops
from vlif_plugin.losses import SSIMLoss
from vlif_plugin.neurons import FiringRates, FiringReport

VLIF = {"type": "VLIFPixelNode", "r": 2, "D": 4}
NILIF = {"type": "NILIFNode", "D": 4}
PATCH, BATCH = 48, 4


class TimmRestorer(nn.Module):
    """An encoder of timm, whose finest features are brought to full size, added up, and added to the image.

    Args:
        model: timm's name of the encoder; it is not pretrained.
        width: channels in which features are added up.

    Shape:
        (B, 3, H, W), RGB in [0, 1], to the same.
    """

    def __init__(self, *, model: str = "test_resnet", width: int = 16) -> None:
        super().__init__()
        self.encoder = timm.create_model(
            model, features_only=True, out_indices=(0, 1, 2), pretrained=False
        )
        channels = self.encoder.feature_info.channels()
        self.project = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images."""
        features = self.encoder(x)
        parts = [
            F.interpolate(layer(f), x.shape[-2:], mode="bilinear")
            for layer, f in zip(self.project, features, strict=True)
        ]
        return x + self.last(torch.stack(parts).sum(0))


@dataclass(frozen=True)
class Worked:
    """A network and how it is made to spike.

    Attributes:
        base: section of the network.
        spikify: what its section ``Spikified`` has beside base and T.
        scale: by which it enlarges.
    """

    base: dict[str, Any]
    spikify: dict[str, Any]
    scale: int = 1


WORKED = {
    "EDSR": Worked(
        {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 32, "num_block": 4, "upscale": 1},
        {"neuron": VLIF},
    ),
    "MSRResNet x2": Worked(
        {"type": "MSRResNet", "num_feat": 32, "num_block": 4, "upscale": 2}, {"neuron": VLIF}, scale=2
    ),
    "SwinIR": Worked(
        {
            "type": "SwinIR", "img_size": 48, "window_size": 8, "depths": [2, 2], "embed_dim": 24,
            "num_heads": [2, 2], "mlp_ratio": 2, "upscale": 1, "upsampler": "", "img_range": 1.0,
        },
        {"neuron": NILIF, "size_multiple": 8},
    ),
    "NAFNet": Worked(
        {"type": "NAFNet", "width": 16, "enc_blk_nums": [1, 1], "middle_blk_num": 1, "dec_blk_nums": [1, 1]},
        {"neuron": VLIF, "types": ["SimpleGate"]},
    ),
    "timm's test_resnet": Worked({"type": "TimmRestorer"}, {"neuron": {"type": "LIFNode", "v_threshold": 0.5}}),
}  # fmt: skip


def register() -> None:
    """Make all networks known to BasicSR."""
    ARCHS.setdefault("TimmRestorer", TimmRestorer)
    register_all()


def batches(count: int, scale: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Rainy and clean patches of photographs that scikit-image ships, always the same."""
    import skimage.data

    draws = np.random.default_rng(seed)
    photographs = [
        (photo() / 255).astype(np.float32)
        for photo in (skimage.data.astronaut, skimage.data.coffee, skimage.data.chelsea)
    ]
    made = []
    for _ in range(count):
        pairs = [_pair(photographs[draws.integers(len(photographs))], draws) for _ in range(BATCH)]
        sides = (np.stack(side) for side in zip(*pairs, strict=True))
        lq, gt = (torch.from_numpy(side).movedim(-1, 1).contiguous() for side in sides)
        made.append((F.interpolate(lq, scale_factor=1 / scale, mode="area"), gt))
    return made


def _pair(photo: np.ndarray, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    top, left = (draws.integers(side - PATCH) for side in photo.shape[:2])
    clean = photo[top : top + PATCH, left : left + PATCH]
    return add_rain(clean, sample_layers(draws), draws).astype(np.float32), clean


def section_of(worked: Worked, spiking: bool, T: int = 2) -> dict[str, Any]:
    """Its section ``network_g``."""
    return (
        {"type": "Spikified", "base": worked.base, "T": T, **worked.spikify}
        if spiking
        else worked.base
    )


@dataclass(frozen=True)
class Outcome:
    """What training gave.

    Attributes:
        losses: of each iteration.
        held_out: SSIM loss of held-out patches before and after.
        rates: of the neurons on these, after.
        net: the network, in eval mode.
    """

    losses: Sequence[float]
    held_out: tuple[float, float]
    rates: FiringReport
    net: nn.Module


def train(worked: Worked, spiking: bool, iterations: int) -> Outcome:
    """Train one network by BasicSR's model of ours."""
    register()
    from basicsr.models import build_model

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(_options(section_of(worked, spiking), Path(folder)))
        test = batches(4, worked.scale, seed=1)
        before = score(model.net_g, test)[0]
        losses = []
        for iteration, (lq, gt) in enumerate(batches(iterations, worked.scale), 1):
            model.feed_data({"lq": lq, "gt": gt})
            model.optimize_parameters(iteration)
            losses.append(float(model.log_dict["l_pix"]))
    after, rates = score(model.net_g, test)
    return Outcome(losses, (before, after), rates, model.net_g.eval())


def score(net: nn.Module, test: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, FiringReport]:
    """Mean SSIM loss, and the firing rates."""
    net.eval()
    with torch.no_grad(), FiringRates(net) as rates:
        losses = [SSIMLoss()(net(lq), gt).item() for lq, gt in test]
    net.train()
    return float(np.mean(losses)), FiringReport.of(rates.counts())


def _options(network: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {
        "name": "spikify", "model_type": "SNNRestorationModel", "num_gpu": 0, "dist": False, "rank": 0,
        "world_size": 1, "is_train": True, "datasets": {"train": {}}, "network_g": network,
        "path": {"experiments_root": str(folder / "none")}, "logger": {"print_freq": 1},
        "train": {
            "optim_g": {"type": "AdamW", "lr": 1e-3}, "pixel_opt": {"type": "SSIMLoss"},
            "scheduler": {"type": "MultiStepLR", "milestones": [10**9]},
        },
    }  # fmt: skip


def main() -> None:
    """Train all, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--network", choices=WORKED, action="append")
    args = parser.parse_args()
    register()
    result = Result(
        "spikify",
        f"Networks of others, {args.iterations} iterations of {BATCH} patches of {PATCH}x{PATCH}, T = 2",
        ["network", "parameters", "loss before", "loss after", "firing, %", "MACs, M", "SOPs, M", "energy 45nm, uJ"],
    )  # fmt: skip
    for name in args.network or WORKED:
        for spiking in (False, True):
            row = _row(name, WORKED[name], spiking, args.iterations)
            print(" | ".join(row), flush=True)
            result.rows.append(row)
    result.notes += [
        "loss: 1 - SSIM of 16 held-out patches; before training, spiking forms have their neurons' layers fitted to "
        "a picture already",
        f"firing: lowest to highest layer on these; operations and energy (arithmetic only) of one {PATCH}x{PATCH} "
        "patch after training, the T timesteps of spiking forms included",
    ]
    result.write()


def _row(name: str, worked: Worked, spiking: bool, iterations: int) -> list[str]:
    outcome = train(worked, spiking, iterations)
    image = batches(1, worked.scale, seed=2)[0][0][:1]
    report = count_ops(outcome.net, image)
    rates = [100 * rate for rate in outcome.rates.rates.values()]
    before, after = outcome.held_out
    return [
        f"{name}, spiking" if spiking else name, f"{report.parameters:,}", f"{before:.3f}", f"{after:.3f}",
        f"{min(rates):.1f} to {max(rates):.1f}" if rates else "-", f"{report.macs / 1e6:.1f}",
        f"{report.sops / 1e6:.1f}" if rates else "-", f"{report.energy_uj(PRESETS['45nm'])['total']:.0f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
