"""What the authors' code computes for the result that ours gives with less."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from vlif_plugin.archs import ESDNet, VLIFNet
from vlif_plugin.energy.report import LayerOps
from vlif_plugin.neurons import VLIFC


def released_macs(network: nn.Module, layers: Iterable[LayerOps]) -> int | None:
    """All products of one image, as multiplications, in the released code of VLIF or ESDNet.

    That code embeds the image at each of T timesteps and not once, and runs VLIF-C's 1x1
    convolution behind the up-sampling, at r * r times as many places.

    Args:
        network: the network.
        layers: its products as they were counted.

    Returns:
        The number; None for networks of which there is no released code, and for those of others,
        which compute what their authors' code does.
    """
    if not isinstance(network, ESDNet) and not (
        isinstance(network, VLIFNet) and network.formulation == "official"
    ):
        return None
    again = {"patch_embed": network.T}
    for name, module in network.named_modules():
        if isinstance(module, VLIFC):
            again[f"{name}.mix"] = module.neuron.r**2
    return sum((layer.macs + layer.dense_macs) * again.get(layer.name, 1) for layer in layers)
