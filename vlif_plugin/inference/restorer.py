"""From an image to a restored image with any network: whole or tiled, within the machine's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vlif_plugin.errors import OptionError
from vlif_plugin.inference.tiles import OFFICIAL80, Progress, Tiling, run_tiled

_CPU_MEMORY = 3 * 2**30
"""Of a CPU's memory no more is planned for a tile: larger ones are no faster."""

_OVERLAP = 24
"""Pixels by which tiles of a chosen size overlap."""

TileChoice = Tiling | Literal["auto"] | None

_LIVE_TENSORS = 28
"""Full-resolution (T, dim) float32 tensors that VLIFNet and ESDNet hold at their peak: 20 to 28 were
measured for widths 16 and 48 and T of 2 and 4, and 11 to 30 for PReNet, RESCAN, NAFNet and MPRNet. A
network that holds more says so in ``live_tensors``."""


def parse_tile(choice: object) -> TileChoice:
    """Read a tile option: ``none``, ``auto``, ``official80``, a size, or {size, overlap, window}.

    Without an ``overlap`` tiles overlap by 16 pixels, or a quarter of smaller tiles.

    Raises:
        OptionError: anything else.
    """
    if choice is None or choice is False or choice == "none":
        return None
    if choice == "auto":
        return "auto"
    if choice == "official80":
        return OFFICIAL80
    if isinstance(choice, str) and choice.isascii() and choice.isdigit():
        choice = int(choice)
    if isinstance(choice, int) and not isinstance(choice, bool):
        choice = {"size": choice}
    if (
        isinstance(choice, Mapping)
        and "size" in choice
        and set(choice) <= {"size", "overlap", "window"}
    ):
        size = choice["size"]
        overlap = min(16, size // 4) if isinstance(size, int) else Tiling.overlap
        options: dict[str, Any] = {"overlap": overlap, **choice}
        return Tiling(**options)
    raise OptionError(
        f"tile must be none, auto, official80, a size in pixels or {{size, overlap, window}}, got {choice!r}"
    )


def available_memory(device: torch.device) -> int:
    """Bytes that are free on a device now; for the CPU, what the system can give without swapping.

    On a GPU, what torch keeps for its next tensors is free as well.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 4 * 2**30  # no way to ask: assume a small machine


def memory_per_pixel(net: nn.Module) -> int:
    """Bytes that one pixel of input takes at a network's peak, estimated from its width and T.

    A network may have an attribute ``live_tensors``: how many tensors of full size and width it
    holds at its peak.
    """
    width = next((m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)), 64)
    steps = getattr(net, "T", 1)
    return getattr(net, "live_tensors", _LIVE_TENSORS) * width * steps * 4


def choose_tile(net: nn.Module, height: int, width: int, device: torch.device) -> Tiling | None:
    """The largest tile that the memory to be used holds; None when it holds the whole image."""
    pixels = _memory_to_use(device) // memory_per_pixel(net)
    if height * width <= pixels:
        return None
    side = max(64, int(pixels**0.5) // 16 * 16)
    return Tiling(side, overlap=min(_OVERLAP, side // 4), balanced=True)


def tiles_at_once(net: nn.Module, tiling: Tiling, device: torch.device) -> int:
    """How many tiles go through the network together: on GPUs, which small tiles leave idle, up to 16."""
    if device.type == "cpu":
        return 1
    tiles = _memory_to_use(device) // (memory_per_pixel(net) * tiling.size**2)
    return max(1, min(16, tiles))


def _memory_to_use(device: torch.device) -> int:
    half = available_memory(device) // 2
    return min(half, _CPU_MEMORY) if device.type == "cpu" else half


def _in_words(tiling: Tiling | None) -> str:
    if tiling is None:
        return "whole"
    return f"{tiling.size}x{tiling.size}, overlap {tiling.overlap}"


@torch.inference_mode()
def restore_image(
    net: nn.Module,
    image: Tensor,
    *,
    tile: TileChoice = None,
    device: torch.device | None = None,
    bf16: bool = False,
    progress: Progress | None = None,
    tell_tiling: Callable[[str], object] | None = None,
) -> Tensor:
    """Restore one image and clamp it to [0, 1].

    The image stays where it is; what the network is given is moved to ``device``. With
    ``tile="auto"`` a tile is chosen by memory, and halved when a GPU runs out of it all the same.
    Attention in VLIF pools over the image, so whole and tiled results differ slightly.

    Args:
        net: in eval mode, maps (B, C, H, W) in [0, 1] to the same.
        image: shape (B, C, H, W), values in [0, 1].
        tile: how to tile; None runs the whole image.
        device: where ``net`` is; None asks its first parameter.
        bf16: compute in bfloat16 (autocast): faster where the hardware has it. Membranes of neurons stay
            in float32, and the image that the network's result is added to as it is.
        progress: told the share that is done; see :func:`~vlif_plugin.inference.run_tiled`.
        tell_tiling: told how the image was tiled in the end, ``whole`` or like ``384x384, overlap 24``.

    Returns:
        Shape (B, C, H, W), on ``image``'s device and in its dtype, in [0, 1].
    """
    where = device or next(net.parameters()).device

    def restore(tiles: Tensor) -> Tensor:
        with torch.autocast(where.type, torch.bfloat16, enabled=bf16):
            return net(tiles.to(where))

    tiling = choose_tile(net, image.shape[-2], image.shape[-1], where) if tile == "auto" else tile
    while True:
        try:
            if tiling is None:
                whole = restore(image)
            else:
                together = tiles_at_once(net, tiling, where)
                whole = run_tiled(restore, image, tiling, batch_size=together, progress=progress)
            if tell_tiling:
                tell_tiling(_in_words(tiling))
            return whole.to(image).clamp(0, 1)
        except torch.OutOfMemoryError:
            side = min(image.shape[-2:]) if tiling is None else tiling.size
            if tile != "auto" or side < 64:
                raise
            tiling = Tiling(side // 2, overlap=min(_OVERLAP, side // 8), balanced=True)
