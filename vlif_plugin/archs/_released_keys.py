"""Parameter names of the authors' released checkpoints, and what can be read off them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

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


def infer_options(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The ``network_g`` options that a state dict's names and shapes determine.

    D, tau, thresholds and beta leave no trace in the weights; the network's defaults apply.

    Args:
        state: of a VLIFNet or an ESDNet, under our names or the released ones.

    Returns:
        ``{'type': name, **arguments}``, or None when the state dict is of neither.
    """
    if not any(key.startswith("patch_embed.") and value.dim() == 4 for key, value in state.items()):
        return None
    if any(key.endswith(("stage1.alpha", "high_freq_scale_1")) for key in state):
        return _infer_vlif({released_key(k, VLIF_RULES): tuple(v.shape) for k, v in state.items()})
    if any(key.startswith(("refinement.channel.", "refinement.ca.")) for key in state):
        return _infer_esd({released_key(k, ESD_RULES): tuple(v.shape) for k, v in state.items()})
    return None


Shapes = dict[str, tuple[int, ...]]


def _count(shapes: Shapes, stage: str) -> int:
    found = (re.match(rf"{stage}\.(\d+)\.", key) for key in shapes)
    return 1 + max((int(m[1]) for m in found if m), default=-1)


def _first(shapes: Shapes, suffix: str) -> tuple[int, ...] | None:
    """Shape of the first weight of that name; None for what is no weight matrix."""
    return next((s for key, s in shapes.items() if key.endswith(suffix) and len(s) > 1), None)


def _common(shapes: Shapes) -> dict[str, Any]:
    width, channels = next(
        shape[:2]
        for key, shape in shapes.items()
        if key.startswith("patch_embed.") and len(shape) == 4
    )
    gate = _first(shapes, ".ta.sharedMLP.0.weight")
    return {"inp_channels": channels, "out_channels": channels, "dim": width} | (
        {"T": gate[1]} if gate else {}
    )


def _infer_vlif(shapes: Shapes) -> dict[str, Any]:
    options: dict[str, Any] = {
        "type": "VLIFNet",
        **_common(shapes),
        "en_num_blocks": [_count(shapes, f"encoder_level{level}") for level in (2, 3)],
        "de_num_blocks": [_count(shapes, f"decoder_level{level}") for level in (2, 3)],
        "formulation": "paper" if _first(shapes, "lif_2.channel_adjust.0.weight") else "official",
        "use_refinement": _count(shapes, "refinement_blocks") > 0,
        "num_smu_decoder": 1 + any(key.startswith("additional_sunet_level1.") for key in shapes),
    }
    if options["use_refinement"]:
        options["num_refinement_blocks"] = _count(shapes, "refinement_blocks")
    if options["formulation"] == "paper":
        options["use_temporal_embedding"] = any(k.startswith("temporal_embed.") for k in shapes)
    steps = _first(shapes, "time_attention.sharedMLP.0.weight")
    if steps is not None and "T" in options:
        options["r"] = round((steps[1] / options["T"]) ** 0.5)
    return options


def _infer_esd(shapes: Shapes) -> dict[str, Any]:
    return {
        "type": "ESDNet",
        **_common(shapes),
        "en_num_blocks": [_count(shapes, f"encoder_level{level}") for level in (1, 2, 3)],
        "de_num_blocks": [_count(shapes, f"decoder_level{level}") for level in (1, 2, 3)],
    }
