"""Losses. ``LOSSES`` is the one list that hosts and tests loop over."""

from torch import nn

from vlif_plugin.losses.ssim_loss import SSIMLoss, ssim

LOSSES: dict[str, type[nn.Module]] = {"SSIMLoss": SSIMLoss}

__all__ = ["LOSSES", "SSIMLoss", "ssim"]
