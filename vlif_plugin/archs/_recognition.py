"""Which network of ours a bare state dict belongs to, read off its names and shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from vlif_plugin.archs._released_keys import ESD_RULES, VLIF_RULES, released_key
from vlif_plugin.neurons import LIFNode, VLIFNode, learnable_of

Shapes = dict[str, tuple[int, ...]]


def infer_options(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The ``network_g`` options that a state dict's names and shapes determine.

    What leaves no trace in the weights is the network's default: D, tau, thresholds and beta of
    spiking networks, stages of recurrent ones.

    Args:
        state: of a network of ``ARCHS``, under our names or the released ones.

    Returns:
        ``{'type': name, **arguments}``, or None when it is none that we know.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    try:
        found = _infer(shapes)
    except _NOT_OURS:  # the names are a network's that we know, the shapes are not
        return None
    learned = [name for name in _LEARNABLE if any(key.endswith(f".w_{name}") for key in shapes)]
    return found | {"learn": learned} if found and learned else found


_LEARNABLE = sorted({*learnable_of(LIFNode), *learnable_of(VLIFNode)})


_NOT_OURS = (ArithmeticError, LookupError, TypeError, ValueError, StopIteration)


def _infer(shapes: Shapes) -> dict[str, Any] | None:
    for marks, read in _KNOWN:
        if all(mark in shapes for mark in marks):
            return read(shapes)
    if not any(key.startswith("patch_embed.") and len(s) == 4 for key, s in shapes.items()):
        return None
    if any(key.endswith(("stage1.alpha", "high_freq_scale_1")) for key in shapes):
        return _vlif({released_key(k, VLIF_RULES): s for k, s in shapes.items()})
    if any(key.startswith(("refinement.channel.", "refinement.ca.")) for key in shapes):
        return _esdnet({released_key(k, ESD_RULES): s for k, s in shapes.items()})
    return None


def _count(shapes: Shapes, stage: str) -> int:
    """How many numbered modules lie in ``stage``.

    Raises:
        ValueError: their numbers are not 0, 1, 2, …: nobody shall build what only a number claims.
    """
    found = (re.match(rf"{re.escape(stage)}\.(\d+)\.", key) for key in shapes)
    numbers = {int(match[1]) for match in found if match}
    if numbers != set(range(len(numbers))):
        raise ValueError(f"{stage} has gaps")
    return len(numbers)


def _first(shapes: Shapes, suffix: str) -> tuple[int, ...] | None:
    """Shape of the first weight of that name; None for what is no weight matrix."""
    return next((s for key, s in shapes.items() if key.endswith(suffix) and len(s) > 1), None)


def _spiking(shapes: Shapes) -> dict[str, Any]:
    width, channels = next(
        shape[:2]
        for key, shape in shapes.items()
        if key.startswith("patch_embed.") and len(shape) == 4
    )
    gate = _first(shapes, ".ta.sharedMLP.0.weight")
    return {"inp_channels": channels, "out_channels": channels, "dim": width} | (
        {"T": gate[1]} if gate else {}
    )


def _vlif(shapes: Shapes) -> dict[str, Any]:
    options: dict[str, Any] = {
        "type": "VLIFNet",
        **_spiking(shapes),
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


def _esdnet(shapes: Shapes) -> dict[str, Any]:
    return {
        "type": "ESDNet",
        **_spiking(shapes),
        "en_num_blocks": [_count(shapes, f"encoder_level{level}") for level in (1, 2, 3)],
        "de_num_blocks": [_count(shapes, f"decoder_level{level}") for level in (1, 2, 3)],
    }


def _tiny(shapes: Shapes) -> dict[str, Any]:
    width, channels = shapes["patch_embed.conv.weight"][:2]
    dims = [
        width,
        *(shapes[f"down.{level}.layer.conv.weight"][0] for level in range(_count(shapes, "down"))),
    ]
    spread = next(key for key in shapes if key.endswith(".spread.layer.conv.weight"))
    return {
        "type": "VLIFNetTiny",
        "inp_channels": channels,
        "out_channels": channels,
        "dims": dims,
        "en_num_blocks": _blocks(shapes, "encoder", len(dims)),
        "de_num_blocks": _blocks(shapes, "decoder", len(dims) - 1),
        "kernel_size": shapes[spread][-1],
        "expansion": shapes[spread][0] // shapes[spread.replace(".spread.", ".project.")][0],
        "gate": any(".gate." in key for key in shapes),
        "spike_driven": not any(key.endswith(".code.alpha") for key in shapes),
    }


def _blocks(shapes: Shapes, side: str, levels: int) -> list[int]:
    """Numbers of blocks of the levels of a side, some of which may have none."""
    return [_count(shapes, f"{side}.{level}") for level in range(levels)]


def _prenet(shapes: Shapes) -> dict[str, Any]:
    channels, inputs = shapes["conv0.0.weight"][:2]
    return {
        "type": "PReNet",
        "inp_channels": inputs // 2,
        "channels": channels,
        "num_blocks": sum(
            re.fullmatch(r"res_conv\d+\.0\.weight", key) is not None for key in shapes
        ),
    }


def _unet(shapes: Shapes) -> dict[str, Any]:
    width, channels = shapes["head.0.weight"][:2]
    below = [shapes[f"down.{level}.0.weight"][0] for level in range(_count(shapes, "down"))]
    return {
        "type": "UNet",
        "inp_channels": channels // 4,
        "dims": [width, *below],
        "en_num_blocks": _blocks(shapes, "encoder", len(below) + 1),
        "de_num_blocks": _blocks(shapes, "decoder", len(below)),
    }


def _rescan(shapes: Shapes) -> dict[str, Any]:
    channels, inputs = shapes["rnns.0.conv_xz.weight"][:2]
    return {
        "type": "RESCAN",
        "inp_channels": inputs,
        "channels": channels,
        "depth": _count(shapes, "rnns") + 2,
        "reduction": channels // shapes["dec.1.fc.0.weight"][0],
    }


def _nafnet(shapes: Shapes) -> dict[str, Any]:
    width, channels = shapes["intro.weight"][:2]
    levels = _count(shapes, "downs")
    return {
        "type": "NAFNet",
        "img_channel": channels,
        "width": width,
        "enc_blk_nums": _blocks(shapes, "encoders", levels),
        "middle_blk_num": _count(shapes, "middle_blks"),
        "dec_blk_nums": _blocks(shapes, "decoders", levels),
    }


def _restormer(shapes: Shapes) -> dict[str, Any]:
    dim, channels = shapes["patch_embed.proj.weight"][:2]
    levels = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
    hidden = shapes["encoder_level1.0.ffn.project_out.weight"][1]
    biased = "encoder_level1.0.norm1.body.bias" in shapes
    return {
        "type": "Restormer",
        "inp_channels": channels,
        "out_channels": shapes["output.weight"][0],
        "dim": dim,
        "num_blocks": [_count(shapes, level) for level in levels],
        "num_refinement_blocks": _count(shapes, "refinement"),
        "heads": [shapes[f"{level}.0.attn.temperature"][0] for level in levels],
        # the published factor, of which the network keeps whole channels, where it can be that one
        "ffn_expansion_factor": 2.66 if hidden == int(dim * 2.66) else hidden / dim,
        "bias": "encoder_level1.0.attn.qkv.bias" in shapes,
        "LayerNorm_type": "WithBias" if biased else "BiasFree",
    }


def _mprnet(shapes: Shapes) -> dict[str, Any]:
    features, channels, kernel = shapes["shallow_feat1.0.weight"][:3]
    return {
        "type": "MPRNet",
        "in_c": channels,
        "out_c": shapes["tail.weight"][0],
        "n_feat": features,
        "scale_unetfeats": shapes["stage1_encoder.encoder_level2.0.body.0.weight"][0] - features,
        "scale_orsnetfeats": shapes["tail.weight"][1] - features,
        "num_cab": _count(shapes, "stage3_orsnet.orb1.body") - 1,
        "kernel_size": kernel,
        "reduction": features // shapes["shallow_feat1.1.CA.conv_du.0.weight"][0],
        "bias": "shallow_feat1.0.bias" in shapes,
    }


# names that a state dict has all of, and what reads the rest
_KNOWN: tuple[tuple[tuple[str, ...], Callable[[Shapes], dict[str, Any]]], ...] = (
    # PReNet_r, whose blocks share their weights, has a first block only
    (("conv0.0.weight", "conv_i.0.weight", "conv_g.0.weight", "res_conv2.0.weight"), _prenet),
    (
        ("patch_embed.conv.weight", "down.0.layer.conv.weight", "up.0.project.layer.conv.weight"),
        _tiny,
    ),
    (("head.0.weight", "down.0.0.weight", "up.0.weight", "tail.weight"), _unet),
    (("rnns.0.conv_xz.weight", "rnns.0.se.fc.0.weight", "dec.1.fc.0.weight"), _rescan),
    (("intro.weight", "ending.weight", "middle_blks.0.sca.1.weight"), _nafnet),
    (
        (
            "patch_embed.proj.weight",
            "encoder_level1.0.attn.qkv_dwconv.weight",
            "latent.0.attn.temperature",
            "refinement.0.attn.temperature",
            "output.weight",
        ),
        _restormer,
    ),
    (("shallow_feat1.0.weight", "stage3_orsnet.orb1.body.0.body.0.weight", "tail.weight"), _mprnet),
)
