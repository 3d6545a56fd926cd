"""Which device to run on."""

from __future__ import annotations

import torch

from vlif_plugin.errors import OptionError


def choose_device(name: str) -> torch.device:
    """The device to run on.

    Raises:
        OptionError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"--device {name}: not available here; use --device cpu") from error
    return device
