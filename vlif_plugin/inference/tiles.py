"""Cutting an image into overlapping tiles and putting the results together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from vlif_plugin.errors import OptionError

Window = Literal["feather", "distance"]
Progress = Callable[[float], None]
"""Told the share of an image that is done, in (0, 1]."""


@dataclass(frozen=True)
class Tiling:
    """How an image is tiled.

    Attributes:
        size: side of a tile in pixels.
        overlap: how far neighbours overlap at least, in pixels, less than ``size``.
        window: how overlapping results are weighted. ``feather`` fades linearly over the overlap;
            ``distance`` is the released code's: 1 / sqrt(d^2 + 1e-3), d being the distance to the
            point (size/2, size/2) of the tile.
        balanced: whether tiles are made smaller where fewer pixels of overlap will do.

    Raises:
        OptionError: a size or overlap that cannot be, or an unknown window.
    """

    size: int
    overlap: int = 16
    window: Window = "feather"
    balanced: bool = False

    def __post_init__(self) -> None:
        for name in ("size", "overlap"):
            if not isinstance(getattr(self, name), int) or isinstance(getattr(self, name), bool):
                raise OptionError(
                    f"tile {name} must be a whole number of pixels, got {getattr(self, name)!r}"
                )
        if self.size < 1 or not 0 <= self.overlap < self.size:
            raise OptionError(f"tiles of {self.size} pixels cannot overlap by {self.overlap}")
        if self.window not in get_args(Window):
            raise OptionError(
                f"tile window must be one of {', '.join(get_args(Window))}, got {self.window!r}"
            )


OFFICIAL80 = Tiling(size=80, overlap=8, window="distance")
"""The released test script: 80x80 tiles overlapping by 8."""


def tile_side(length: int, tiling: Tiling) -> int:
    """Side of the tiles along one axis: that of the tiling, no more than the image, and less if balanced.

    Tiles of a fixed side overlap as they must to end with the image, up to nearly whole; balanced ones
    are as small as their number allows, in steps of 8 pixels.
    """
    if length <= tiling.size:
        return length
    if not tiling.balanced:
        return tiling.size
    count = -(-(length - tiling.overlap) // (tiling.size - tiling.overlap))
    side = -(-(length + (count - 1) * tiling.overlap) // count)
    return min(tiling.size, -(-side // 8) * 8)


def tile_starts(length: int, size: int, overlap: int) -> list[int]:
    """Where tiles begin along one axis: evenly stepped, the last one flush with the end."""
    if length <= size:
        return [0]
    return [*range(0, length - size, size - overlap), length - size]


def tile_window(height: int, width: int, tiling: Tiling) -> Tensor:
    """Weight of each pixel of a tile, shape (height, width), > 0, float32."""
    if tiling.window == "distance":
        y = torch.arange(height) - height / 2
        x = torch.arange(width) - width / 2
        return 1.0 / torch.sqrt(y[:, None] ** 2 + x[None] ** 2 + 1e-3)

    def ramp(length: int) -> Tensor:
        from_edge = torch.minimum(torch.arange(length), length - 1 - torch.arange(length)) + 1.0
        return (from_edge / (tiling.overlap + 1)).clamp(max=1.0)

    return ramp(height)[:, None] * ramp(width)[None]


def run_tiled(
    restore: Callable[[Tensor], Tensor],
    image: Tensor,
    tiling: Tiling,
    *,
    batch_size: int = 1,
    progress: Progress | None = None,
) -> Tensor:
    """Restore an image tile by tile.

    The canvas stays where ``image`` is (on the CPU, say) and ``restore`` sees tiles only. An image
    smaller than a tile along an axis is taken whole along it, so any size works.

    Args:
        restore: maps (N, C, h, w) to (N, C, h, w), on any device.
        image: shape (B, C, H, W).
        tiling: how to cut.
        batch_size: tiles for each call of ``restore``.
        progress: called with the share of the tiles that are done, after each call of ``restore``.

    Returns:
        Shape (B, C, H, W), on ``image``'s device.
    """
    b, _, height, width = image.shape
    h, w = tile_side(height, tiling), tile_side(width, tiling)
    window = tile_window(h, w, tiling).to(image)
    result, weight = torch.zeros_like(image), image.new_zeros(height, width)
    starts = [
        (top, left)
        for top in tile_starts(height, h, min(tiling.overlap, h - 1))
        for left in tile_starts(width, w, min(tiling.overlap, w - 1))
    ]
    done = 0
    for group in _groups(starts, batch_size):
        tiles = torch.cat([image[..., top : top + h, left : left + w] for top, left in group])
        restored = restore(tiles).to(image)
        for (top, left), tile in zip(group, restored.split(b), strict=True):
            result[..., top : top + h, left : left + w] += window * tile
            weight[top : top + h, left : left + w] += window
        done += len(group)
        if progress:
            progress(done / len(starts))
    return result / weight


def _groups(items: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
