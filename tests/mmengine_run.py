"""Small runs under mmengine."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from helpers import TINY_NET, make_pairs
from mmengine.config import Config

_RUNS = itertools.count()


def small_config(folder: Path) -> dict[str, Any]:
    """A config of a run of seconds, with its data: the one of helpers.small_options for mmengine."""
    train = make_pairs(folder / "train", [(40, 48)] * 4)
    val = make_pairs(folder / "val", [(37, 51), (40, 45), (33, 33)], seed=50)
    paired = "vlif_plugin.PairedRainDataset"
    scored = {
        "batch_size": 1,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {"type": paired, "name": "rain_val", **val},
    }
    scores = {"type": "vlif_plugin.RestorationScores", "scores": {"psnr_y": {"type": "psnr_y"}}}
    return {
        "work_dir": str(folder / "work"),
        # mmengine keeps loggers and message hubs of a process by this name
        "experiment_name": f"small{next(_RUNS)}",
        "model": {
            "type": "vlif_plugin.SNNRestorationModel",
            "network_g": dict(TINY_NET),
            "pixel_opt": {"type": "SSIMLoss"},
        },
        "train_dataloader": {
            "batch_size": 2,
            "num_workers": 0,
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": {"type": paired, "name": "rain", **train, "gt_size": 32, "use_hflip": True},
        },
        "val_dataloader": scored,
        "test_dataloader": scored,
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 4, "val_interval": 2},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "val_evaluator": scores,
        "test_evaluator": scores,
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1e-3}},
        "param_scheduler": [{"type": "CosineAnnealingLR", "T_max": 100, "by_epoch": False}],
        "custom_hooks": [{"type": "vlif_plugin.RestorationHook"}],
        "default_hooks": {
            "logger": {"type": "LoggerHook", "interval": 1},
            "checkpoint": {
                "type": "CheckpointHook", "by_epoch": False, "interval": 2,
                "save_best": "psnr_y", "rule": "greater",
            },
        },
        "log_processor": {"by_epoch": False},
        "randomness": {"seed": 3},
    }  # fmt: skip


def write_config(folder: Path, config: dict[str, Any], name: str = "config.py") -> str:
    path = folder / name
    Config(config).dump(str(path))
    return str(path)
