"""A comparison made by hand, with everything that can be missing or odd in one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vlif_plugin.comparison.rows import (
    Comparison,
    Cost,
    CurvePoint,
    ImageValues,
    MeasuredRow,
    MetricInfo,
    Picture,
    PublishedRow,
    Scores,
    Training,
)

SPOT = (slice(60, 80), slice(90, 120))  # where the second picture's input is wrong: rows, columns
METRICS = (
    MetricInfo("psnr_y", "Y in floating point, no border; SSIM 11x11 Gaussian", False, "dB"),
    MetricInfo("ssim_y", "Y in floating point, no border; SSIM 11x11 Gaussian", False),
    MetricInfo("lpips", "RGB; LPIPS 0.1, backbone alex", True),
)


def cost(**changes: Any) -> Cost:
    values: dict[str, Any] = {
        "size": (256, 256),
        "images": 1,
        "parameters": 14_312_031,
        "macs": 377_112_345_678.0,
        "sops": 5_408_000_000.0,
        "dense_macs": 428_700_000_000.0,
        "released_macs": 470_639_118_080,
        "signs": 465_600_000.0,
        "firing_rate": 0.067,
        "elementwise": 12_345_678_901.0,
        "not_counted": {},
        "energy_uj": {"paper": 4_716_000.0, "45nm": 1_740_000.0},
        "paper_parameters": 87_763,
        "paper_macs": 2_793_870_448,
        "paper_energy_uj": 34_923.4,
        "calibrated": False,
        "seconds": (9.98, 9.71, 10.61),
        "peak_memory": 1_006_000_000,
    }
    return Cost(**(values | changes))


def dense(parameters: int, macs: float, seconds: tuple[float, ...], **changes: Any) -> Cost:
    """The cost of a network without neurons."""
    same = {
        "macs": macs,
        "dense_macs": macs,
        "sops": 0.0,
        "signs": 0.0,
        "firing_rate": None,
        "released_macs": None,
    }
    energy = {"paper": macs * 12.5e-6, "45nm": macs * 4.6e-6}
    paper = {"paper_parameters": parameters, "paper_macs": int(macs)}
    paper["paper_energy_uj"] = macs * 12.5e-6
    return cost(
        parameters=parameters, energy_uj=energy, seconds=seconds, **(same | paper | changes)
    )


def scores(dataset: str, psnr: float, ssim: float, lpips: float | None, **odd: Any) -> Scores:
    means = {"psnr_y": psnr, "ssim_y": ssim} | ({} if lpips is None else {"lpips": lpips})
    images = tuple(
        ImageValues(
            name, {"psnr_y": psnr + shift, "ssim_y": min(ssim + shift / 100, 1.0), "lpips": lpips}
        )
        for name, shift in (("norain-1", -1.25), ("norain-2", 1.25))
    )
    return Scores(dataset, odd.get("fingerprint", "3f9a0c77d1e2"), means, images, 61.2)


def curve(*values: float) -> dict[str, tuple[CurvePoint, ...]]:
    return {
        "Rain200H": tuple(
            CurvePoint(1000 * (index + 1), {"psnr_y": value}) for index, value in enumerate(values)
        )
    }


def measured() -> tuple[MeasuredRow, ...]:
    vlif = MeasuredRow(
        "VLIF, official, with refinement",
        "VLIFNet",
        {"dim": 48, "en_num_blocks": [4, 8], "formulation": "official"},
        "models/vlif.pth",
        "9b" * 32,
        "official80",
        cost(notes=("Counted at T = 4.",)),
        (scores("Rain200H", 28.4412, 0.8871, 0.1162), scores("Rain200L", 37.9, 0.9801, 0.021)),
        Training(
            "options/train_vlif.yml", 5000, 11_640.0, 22_000.0, 0, curve(21, 24.5, 26, 27.5, 28.44)
        ),
    )
    return (
        MeasuredRow(
            "degraded images",
            None,
            {},
            scores=(
                scores("Rain200H", 13.0745, 0.3733, 0.5414),
                scores("Rain200L", 26.7121, 0.8438, 0.1881),
            ),
        ),
        vlif,
        MeasuredRow(
            "ESDNet",
            "ESDNet",
            {"dim": 48},
            cost=cost(
                parameters=12_811_463,
                macs=159.3e9,
                sops=40.8e9,
                dense_macs=492.1e9,
                released_macs=492_309_840_736,
                firing_rate=0.133,
                energy_uj={"paper": 1_995_000.0, "45nm": 770_100.0},
                paper_parameters=165_911,
                paper_macs=7_320_375_128,
                paper_energy_uj=91_504.7,
                calibrated=True,
                seconds=(8.23, 8.2, 8.4),
                peak_memory=None,
                not_counted={"aten::special": 2},
            ),
            failures=("Rain200H: no weights, so nothing to score",),
        ),
        MeasuredRow(
            "NAFNet, width 32",
            "NAFNet",
            {"width": 32},
            "models/nafnet.pth",
            "ab" * 32,
            cost=dense(29_159_715, 16.05e9, (0.482, 0.479, 0.51)),
            scores=(
                scores("Rain200H", 29.0133, 0.8912, None),
                scores("Rain200L", 38.91, 0.9855, 0.0166),
            ),
            training=Training(
                "options/train_nafnet.yml", 5000, None, None, None, curve(24, 27, 28.2, 29)
            ),
        ),
        MeasuredRow(
            "Restormer",
            "Restormer",
            {},
            "models/restormer.pth",
            "cd" * 32,
            cost=dense(26_126_644, 154.9e9, (4.61, 4.55, 4.9), peak_memory=2_210_000_000),
            scores=(
                scores("Rain200H", 29.1049, 0.8934, 0.0987),
                scores("Rain200L", math.inf, 1.0, 0.0),
            ),
        ),
        MeasuredRow(
            "out of memory",
            "Restormer",
            {"dim": 480},
            failures=("cost: the system ended the process at 23.9 GB", "Rain200H: not tried"),
        ),
    )


def published() -> tuple[PublishedRow, ...]:
    table = "Table 1 of Song et al., AAAI 2026"
    return (
        PublishedRow(
            "VLIF (paper)",
            "S",
            table,
            0.088,
            2.794,
            1.166e4,
            {"Rain200H": {"PSNR": 28.77, "SSIM": 0.8965}, "Rain12": {"PSNR": 36.4}},
            "The energy cannot be derived from the table's own FLOPs.",
        ),
        PublishedRow("Restormer (paper)", "T", table, 26.1, 12.33, 1.136e8, {}, ""),
        PublishedRow("Old method", None, table, None, None, None, {"Rain200H": {"PSNR": 14.26}}),
    )


def photograph(height: int = 160, width: int = 240, seed: int = 0) -> np.ndarray:
    """Smooth shapes with some texture, RGB."""
    down, across = np.mgrid[:height, :width].astype(np.float32)
    rng = np.random.default_rng(seed)
    image = np.stack(
        [
            120 + 80 * np.sin(across / 23 + seed) * np.cos(down / 31),
            110 + 70 * np.cos(across / 37 - seed) * np.sin(down / 17),
            140 + 60 * np.sin((across + down) / 41),
        ],
        axis=2,
    )
    image += rng.normal(0, 3, image.shape)
    cv2.circle(image, (width // 3, height // 2), height // 5, (230, 200, 90), -1)
    return image.clip(0, 255).astype(np.uint8)


def save(image: np.ndarray, folder: Path, name: str) -> str:
    path = folder / "pictures" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return f"pictures/{name}"


def pictures(folder: Path) -> tuple[Picture, ...]:
    """Two pictures with ground truth, the second wrong in one spot, and one without."""
    clean = photograph()
    rng = np.random.default_rng(1)
    streaks = cv2.blur((rng.random(clean.shape[:2]) > 0.97).astype(np.float32), (1, 15)) * 255
    rainy = (clean + streaks[..., None]).clip(0, 255).astype(np.uint8)
    better = (clean + 0.25 * streaks[..., None]).clip(0, 255).astype(np.uint8)
    best = (clean + 0.08 * streaks[..., None]).clip(0, 255).astype(np.uint8)
    other = photograph(seed=3)
    spotted = other.copy()
    spotted[SPOT] = 255 - spotted[SPOT]
    paths = {
        name: save(image, folder, f"{name}.png")
        for name, image in {
            "clean": clean, "rainy": rainy, "better": better, "best": best, "other": other,
            "spotted": spotted, "alone": photograph(90, 60, 5),
        }.items()
    }  # fmt: skip
    rows = ("VLIF, official, with refinement", "NAFNet, width 32", "Restormer")
    return (
        Picture(
            "Rain200H",
            "norain-1",
            paths["rainy"],
            paths["clean"],
            dict(zip(rows, (paths["better"], paths["best"], paths["clean"]), strict=True)),
        ),
        Picture(
            "Rain200H", "norain-2", paths["spotted"], paths["other"], {rows[0]: paths["other"]}
        ),
        Picture("Rain200L", "alone.png", paths["alone"], None, {rows[2]: paths["alone"]}),
    )


def comparison(folder: Path | None = None, **changes: Any) -> Comparison:
    """The example; with pictures where a folder is given."""
    values: dict[str, Any] = {
        "name": "Deraining on two cores",
        "command": "vlif compare --opt options/compare/rain.yml -o results/rain",
        "date": "2026-01-15",
        "machine": {
            "processor": "AMD EPYC 7763, 2 threads",
            "device": "cpu",
            "PyTorch": "2.9.1",
            "vlif_plugin": "0.9",
        },
        "datasets": {"Rain200H": 2, "Rain200L": 2},
        "sections": {},
        "metrics": METRICS,
        "cost_images": ("norain-1",),
        "measured": measured(),
        "published": published(),
        "pictures": pictures(folder) if folder else (),
        "notes": ("Trainings are far shorter than the paper's.",),
    }
    return Comparison(**(values | changes))
