"""Life for a network without trained weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vlif_plugin.energy.rest import at_rest
from vlif_plugin.layers import gathering, in_eval_mode


def calibrate_batchnorm(network: nn.Module, images: Iterable[Tensor]) -> int:
    """Set BatchNorm statistics to those of some images, so that an untrained network fires.

    A freshly initialised spiking network is nearly silent, because its statistics are those of no
    image: counting it says nothing about spikes. Weights stay as they are, so this stands for no
    trained network either; it is for comparing what cannot be trained first.

    Args:
        network: its statistics are replaced; its mode is restored.
        images: shape (1, C, H, W) or (B, C, H, W) each.

    Returns:
        The number of BatchNorm layers that were set.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
    with in_eval_mode(network), torch.no_grad(), gathering(norms):
        for image in images:
            with at_rest(network, {}):
                network(image)
    return len(norms)
