"""Losses. ``LOSSES`` is the one list that hosts and tests loop over."""

from torch import nn

from vlif_plugin.losses.psnr_loss import PSNRLoss
from vlif_plugin.losses.ssim_loss import SSIMLoss, ssim

LOSSES: dict[str, type[nn.Module]] = {"SSIMLoss": SSIMLoss, "PSNRLoss": PSNRLoss}

__all__ = ["LOSSES", "PSNRLoss", "SSIMLoss", "ssim"]
