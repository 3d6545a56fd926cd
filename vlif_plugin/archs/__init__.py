"""Networks. ``ARCHS`` is the one list that hosts, tests and commands loop over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from vlif_plugin.archs._checkpoint import (
    Checkpoint,
    find_weights,
    fitting_state,
    load_strict,
    read_checkpoint,
    save_atomically,
)
from vlif_plugin.archs._recognition import infer_options
from vlif_plugin.archs._restorer import SpikingRestorer
from vlif_plugin.archs._safetensors import is_safetensors, save_safetensors
from vlif_plugin.archs._tensor_files import check_intact, load_tensors
from vlif_plugin.archs.esdnet_arch import ESDNet
from vlif_plugin.archs.mprnet_arch import MPRNet
from vlif_plugin.archs.nafnet_arch import NAFNet
from vlif_plugin.archs.prenet_arch import PReNet
from vlif_plugin.archs.rescan_arch import RESCAN
from vlif_plugin.archs.restormer_arch import Restormer
from vlif_plugin.archs.spikified_arch import BASES, Spikified
from vlif_plugin.archs.unet_arch import UNet
from vlif_plugin.archs.vlifnet_arch import VLIFNet
from vlif_plugin.archs.vlifnet_tiny_arch import VLIFNetTiny
from vlif_plugin.building import build_from
from vlif_plugin.errors import OptionError, near_names

ARCHS: dict[str, type[nn.Module]] = {
    "VLIFNet": VLIFNet,
    "VLIFNetTiny": VLIFNetTiny,
    "ESDNet": ESDNet,
    "PReNet": PReNet,
    "RESCAN": RESCAN,
    "UNet": UNet,
    "NAFNet": NAFNet,
    "Restormer": Restormer,
    "MPRNet": MPRNet,
    "Spikified": Spikified,
}


def build_network(options: Mapping[str, Any]) -> nn.Module:
    """Build a network of ``ARCHS`` from an option file's ``network_g``.

    Args:
        options: ``{'type': name, **arguments}``.

    Raises:
        OptionError: an unknown name or argument (near names are shown), or a value that it refuses.
    """
    name = options.get("type")
    if not isinstance(name, str) or name not in ARCHS:
        raise OptionError(
            f"network_g: no network is called {str(name)[:100]!r}{near_names(str(name)[:100], ARCHS)}"
        )
    return build_from(ARCHS[name], options, "network_g")


__all__ = [
    "ARCHS",
    "BASES",
    "RESCAN",
    "Checkpoint",
    "ESDNet",
    "MPRNet",
    "NAFNet",
    "PReNet",
    "Restormer",
    "Spikified",
    "SpikingRestorer",
    "UNet",
    "VLIFNet",
    "VLIFNetTiny",
    "build_network",
    "check_intact",
    "find_weights",
    "fitting_state",
    "infer_options",
    "is_safetensors",
    "load_strict",
    "load_tensors",
    "read_checkpoint",
    "save_atomically",
    "save_safetensors",
]
