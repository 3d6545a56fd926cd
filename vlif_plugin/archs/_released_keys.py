"""Names of VLIFNet's parameters in the authors' released checkpoints, and what can be read off them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

# ours -> released; applied in order to "." + key
_RULES: tuple[tuple[str, str], ...] = (
    (r"^\.patch_embed\.", ".patch_embed.proj."),
    (r"^\.encoder(\d)\.", r".encoder_level\1."),
    (r"^\.decoder1\.0\.", ".decoder_level1."),
    (r"^\.decoder1\.1\.", ".additional_sunet_level1."),
    (r"^\.decoder([23])\.", r".decoder_level\1."),
    (r"^\.down1\.project\.", ".down1_2."),
    (r"^\.down2\.project\.", ".down2_3."),
    (r"^\.up2\.project\.", ".up3_2."),
    (r"^\.up1\.project\.", ".up2_1."),
    (r"^\.fuse(\d)\.project\.(conv|bn)\.", r".reduce_\2_level\1."),
    (r"^\.refinement\.", ".refinement_blocks."),
    (r"^\.output\.", ".output.0."),
    (r"^\.(\w+_level1)\.attention\.", r".\1.final_attn."),
    (r"\.base\.", ".initial_residual."),
    (r"\.unit(\d)\.project\.(conv|bn)\.", r".\2_\1."),
    (r"\.unit(\d)\.attention\.", r".attn_\1."),
    (r"\.stage(\d)\.alpha$", r".high_freq_scale_\1"),
    (r"\.stage(\d)\.beta$", r".low_freq_scale_\1"),
    (r"\.stage(\d)\.project\.(conv|bn)\.", r".\2\1."),
    (r"\.stage2\.neuron\.mix\.", ".lif_2.channel_adjust."),
    (r"\.shortcut\.conv\.", ".shortcut.0."),
    (r"\.shortcut\.bn\.", ".shortcut.1."),
    (r"\.neuron\.attention\.mlp\.", ".time_attention.sharedMLP."),
    (r"\.neuron\.compress\.", ".temporal_compress.0."),
    (r"\.attention\.", ".attn."),
    (r"\.temporal\.mlp\.", ".ta.sharedMLP."),
    (r"\.channel\.mlp\.", ".ca.sharedMLP."),
    (r"\.spatial\.", ".sa."),
    (r"\.fc1\.", ".0."),
    (r"\.fc2\.", ".2."),
)


def released_key(key: str) -> str:
    """The released code's name of our parameter ``key``."""
    key = "." + key
    for pattern, replacement in _RULES:
        key = re.sub(pattern, replacement, key)
    return key[1:]


def to_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict under the released names; the attention's weights become 1x1x1 convolutions."""
    renamed = {}
    for key, value in state.items():
        linear = key.endswith((".fc1.weight", ".fc2.weight"))
        renamed[released_key(key)] = value[:, :, None, None, None] if linear else value
    return renamed


def from_released(state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a released state dict to the names of the network whose state dict is ``ours``.

    Keys that the network does not have keep their name, so that a strict load reports them; a
    state dict that has our names already comes back as it is.
    """
    names = {released_key(key): key for key in ours}
    renamed = {}
    for key, value in state.items():
        name = names.get(key, key) if key not in ours else key
        linear = name.endswith((".fc1.weight", ".fc2.weight")) and value.dim() == 5
        renamed[name] = value.flatten(1) if linear else value
    return renamed


def infer_options(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The VLIFNet arguments that a state dict's names and shapes determine, under either naming.

    D, tau, thresholds and beta leave no trace in the weights; the caller's defaults apply.

    Returns:
        Keyword arguments for VLIFNet, or None when the state dict is not a VLIFNet's.
    """
    shapes = {released_key(key): tuple(value.shape) for key, value in state.items()}
    embed = shapes.get("patch_embed.proj.weight") or shapes.get("patch_embed.proj.proj.weight")
    if embed is None or not any(key.startswith("encoder_level1.") for key in shapes):
        return None

    def count(stage: str) -> int:
        return 1 + max(
            (int(m[1]) for key in shapes if (m := re.match(rf"{stage}\.(\d+)\.", key))), default=-1
        )

    def first(*suffixes: str) -> tuple[int, ...] | None:
        return next((s for key, s in shapes.items() if key.endswith(suffixes)), None)

    options: dict[str, Any] = {
        "inp_channels": embed[1],
        "out_channels": embed[1],
        "dim": embed[0],
        "en_num_blocks": [count("encoder_level2"), count("encoder_level3")],
        "de_num_blocks": [count("decoder_level2"), count("decoder_level3")],
        "formulation": "paper" if first("lif_2.channel_adjust.0.weight") else "official",
        "use_refinement": count("refinement_blocks") > 0,
        "num_smu_decoder": sum(
            any(key.startswith(name + ".") for key in shapes)
            for name in ("decoder_level1", "additional_sunet_level1")
        ),
    }
    if options["use_refinement"]:
        options["num_refinement_blocks"] = count("refinement_blocks")
    if options["formulation"] == "paper":
        options["use_temporal_embedding"] = any(key.startswith("temporal_embed.") for key in shapes)
    if (gate := first(".ta.sharedMLP.0.weight")) is not None:
        options["T"] = gate[1]
        if (steps := first("time_attention.sharedMLP.0.weight")) is not None:
            options["r"] = round((steps[1] / gate[1]) ** 0.5)
    return options
