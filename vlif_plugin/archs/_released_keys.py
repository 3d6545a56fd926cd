"""Parameter names of the released checkpoints of VLIF and ESDNet, and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

Rules = tuple[tuple[str, str], ...]
"""Pattern and replacement, ours to released, applied in order to "." + key."""

_LEVELS: Rules = (
    (r"^\.patch_embed\.", ".patch_embed.proj."),
    (r"^\.encoder(\d)\.", r".encoder_level\1."),
    (r"^\.output\.", ".output.0."),
    (r"\.shortcut\.conv\.", ".shortcut.0."),
    (r"\.shortcut\.bn\.", ".shortcut.1."),
)
_ATTENTION: Rules = (
    (r"\.attention\.", ".attn."),
    (r"\.temporal\.mlp\.", ".ta.sharedMLP."),
    (r"\.channel\.mlp\.", ".ca.sharedMLP."),
    (r"\.spatial\.conv\.", ".sa.conv."),
    (r"\.fc1\.", ".0."),
    (r"\.fc2\.", ".2."),
)
VLIF_RULES: Rules = (
    *_LEVELS,
    (r"^\.decoder1\.0\.", ".decoder_level1."),
    (r"^\.decoder1\.1\.", ".additional_sunet_level1."),
    (r"^\.decoder([23])\.", r".decoder_level\1."),
    (r"^\.down1\.project\.", ".down1_2."),
    (r"^\.down2\.project\.", ".down2_3."),
    (r"^\.up2\.project\.", ".up3_2."),
    (r"^\.up1\.project\.", ".up2_1."),
    (r"^\.fuse(\d)\.project\.(conv|bn)\.", r".reduce_\2_level\1."),
    (r"^\.refinement\.", ".refinement_blocks."),
    (r"^\.(\w+_level1)\.attention\.", r".\1.final_attn."),
    (r"\.base\.", ".initial_residual."),
    (r"\.unit(\d)\.project\.(conv|bn)\.", r".\2_\1."),
    (r"\.unit(\d)\.attention\.", r".attn_\1."),
    (r"\.stage(\d)\.alpha$", r".high_freq_scale_\1"),
    (r"\.stage(\d)\.beta$", r".low_freq_scale_\1"),
    (r"\.stage(\d)\.project\.(conv|bn)\.", r".\2\1."),
    (r"\.stage2\.neuron\.mix\.", ".lif_2.channel_adjust."),
    (r"\.neuron\.attention\.mlp\.", ".time_attention.sharedMLP."),
    (r"\.neuron\.compress\.", ".temporal_compress.0."),
    *_ATTENTION,
)
ESD_RULES: Rules = (
    *_LEVELS,
    (r"^\.decoder(\d)\.", r".decoder_level\1."),
    (r"^\.down1\.project\.", ".down1_2.maxpool_conv."),
    (r"^\.down2\.project\.", ".down2_3.maxpool_conv."),
    (r"^\.up2\.project\.", ".up3_2.up."),
    (r"^\.up1\.project\.", ".up2_1.up."),
    (r"^\.fuse2\.project\.", ".reduce_chan_level2."),
    (r"^(\.(?:down|up|reduce)\w+(?:\.maxpool_conv|\.up)?)\.conv\.", r"\1.1."),
    (r"^(\.(?:down|up|reduce)\w+(?:\.maxpool_conv|\.up)?)\.bn\.", r"\1.2."),
    (r"\.body\.1\.conv\.", ".residual.1."),
    (r"\.body\.1\.bn\.", ".residual.2."),
    (r"\.body\.3\.conv\.", ".residual.4."),
    (r"\.body\.3\.bn\.", ".residual.5."),
    (r"^\.refinement\.channel\.", ".refinement.ca."),
    (r"^\.refinement\.spatial\.", ".refinement.sa."),
    *_ATTENTION,
)


def released_key(key: str, rules: Rules) -> str:
    """The released code's name of our parameter ``key``."""
    key = "." + key
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key[1:]


def to_released(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Our state dict under the released names; gates' weights become 1x1x1 convolutions."""
    renamed = {}
    for key, value in state.items():
        linear = key.endswith((".fc1.weight", ".fc2.weight"))
        renamed[released_key(key, rules)] = value[:, :, None, None, None] if linear else value
    return renamed


def from_released(
    state: Mapping[str, Tensor], ours: Mapping[str, Tensor], rules: Rules
) -> dict[str, Tensor]:
    """Rename a released state dict to the names of the network whose state dict is ``ours``.

    Keys that the network does not have keep their name, so that a strict load reports them; a
    state dict that has our names already comes back as it is.
    """
    names = {released_key(key, rules): key for key in ours}
    renamed = {}
    for key, value in state.items():
        name = names.get(key, key) if key not in ours else key
        linear = name.endswith((".fc1.weight", ".fc2.weight")) and value.dim() == 5
        renamed[name] = value.flatten(1) if linear else value
    return renamed
