"""A BasicSR model without a run around it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from helpers import write_options


def build_model(folder: Path, opt: dict[str, Any], *, is_train: bool = True) -> Any:
    """Parse and check the options as a run does, and build the model that they name."""
    from basicsr.models import build_model as build

    from vlif_plugin.basicsr_host.options import parse_options

    argv = ["basicsr train.py", "-opt", write_options(folder, opt, "model.yml")]
    with mock.patch.object(sys, "argv", argv):
        parsed, _ = parse_options(str(folder), is_train=is_train)
    return build(parsed)


class Batch(dict):
    """What a loader gives: ``lq`` and ``gt`` of shape (count, 3, 32, 32)."""

    def __init__(self, count: int, dtype: torch.dtype = torch.float32) -> None:
        lq = torch.rand(count, 3, 32, 32, dtype=dtype)
        super().__init__(lq=lq, gt=lq.flip(-1), lq_path=[f"image{i}" for i in range(count)])


def read_log(run_folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(run_folder.glob("*.log")))
