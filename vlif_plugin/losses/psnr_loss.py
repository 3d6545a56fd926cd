"""Negative PSNR as a training loss, as NAFNet's."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PSNRLoss(nn.Module):
    """``loss_weight * 10 log10(MSE + eps)``, averaged over the images: minus their PSNR in dB.

    That of HINet and NAFNet (Chen et al., CVPR Workshops 2021 and ECCV 2022). Computed in at least
    float32.

    Args:
        loss_weight: factor.
        eps: added to each image's mean squared error; keeps equal images finite.

    Shape:
        two (B, C, H, W), values in [0, 1], to a scalar.
    """

    def __init__(self, *, loss_weight: float = 1.0, eps: float = 1e-8) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.eps = eps

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch."""
        wide = torch.promote_types(pred.dtype, torch.float32)
        errors = (pred.to(wide) - target.to(wide)).square().flatten(1).mean(1)
        return self.loss_weight * 10 * torch.log10(errors + self.eps).mean()
