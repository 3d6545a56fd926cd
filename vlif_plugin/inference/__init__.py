"""Restoring whole images, tiled or not."""

from vlif_plugin.inference.devices import choose_device
from vlif_plugin.inference.restorer import TileChoice, choose_tile, parse_tile, restore_image
from vlif_plugin.inference.tiles import (
    OFFICIAL80,
    Progress,
    Tiling,
    run_tiled,
    tile_starts,
    tile_window,
)

__all__ = [
    "OFFICIAL80",
    "Progress",
    "TileChoice",
    "Tiling",
    "choose_device",
    "choose_tile",
    "parse_tile",
    "restore_image",
    "run_tiled",
    "tile_starts",
    "tile_window",
]
