"""A plain convolutional U-Net: what spiking networks of the same work are held against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from vlif_plugin.archs._checks import check_counts
from vlif_plugin.archs._restorer import darkening
from vlif_plugin.layers import crop, pad_to_multiple


class UNet(nn.Module):
    """3x3 convolutions and ReLUs, encoder and decoder from H/2 downwards, that predict a residual image.

    Ronneberger et al., MICCAI 2015, with what small restoration networks have today: unshuffled pixels
    instead of a level at full resolution, convolutions of stride 2 instead of pooling, shortcuts that are
    added, no normalisation.

    Args:
        inp_channels: channels of image and result.
        dims: widths of the levels, at H/2, H/4, ....
        en_num_blocks: convolutions of each level of the encoder.
        de_num_blocks: convolutions of each level of the decoder but the lowest.
        residual: ``rain`` only ever darkens, ``any`` adds what comes; see
            :class:`~vlif_plugin.archs.VLIFNetTiny`.

    Shape:
        (B, inp_channels, H, W), RGB in [0, 1], any size, to the same; the result is not clamped.

    Raises:
        ValueError: a value that no network can be built with, by name.
    """

    def __init__(
        self,
        *,
        inp_channels: int = 3,
        dims: Sequence[int] = (16, 24, 48),
        en_num_blocks: Sequence[int] = (1, 2, 3),
        de_num_blocks: Sequence[int] = (1, 2),
        residual: str = "rain",
    ) -> None:
        super().__init__()
        check_counts(inp_channels=inp_channels, dims=min(dims, default=0))
        if not len(dims) == len(en_num_blocks) == len(de_num_blocks) + 1:
            raise ValueError(
                f"dims and en_num_blocks need a number for each level, de_num_blocks for each but the lowest, "
                f"got {list(dims)}, {list(en_num_blocks)} and {list(de_num_blocks)}"
            )
        if residual not in ("rain", "any"):
            raise ValueError(f"residual must be one of rain, any, got {residual!r}")

        def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.ReLU())

        def stage(width: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(conv(width, width) for _ in range(count)))

        self.residual = residual
        self.size_multiple = 2 ** len(dims)
        levels = range(len(dims) - 1)
        self.head = conv(4 * inp_channels, dims[0])
        self.encoder = nn.ModuleList(map(stage, dims, en_num_blocks))
        self.down = nn.ModuleList(conv(dims[i], dims[i + 1], stride=2) for i in levels)
        self.up = nn.ModuleList(nn.Conv2d(dims[i + 1], dims[i], 1) for i in levels)
        self.decoder = nn.ModuleList(map(stage, dims, de_num_blocks))
        self.tail = nn.Conv2d(dims[0], 4 * inp_channels, 3, padding=1)
        with torch.no_grad():  # the result begins near the image
            self.tail.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore an image of any size."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.size_multiple)
        features = self.head(F.pixel_unshuffle(padded, 2))
        shortcuts = []
        for stage, down in zip(self.encoder, self.down, strict=False):
            shortcuts.append(stage(features))
            features = down(shortcuts[-1])
        features = self.encoder[-1](features)
        for level in reversed(range(len(shortcuts))):
            coarse = F.interpolate(self.up[level](features), scale_factor=2, mode="bilinear")
            features = self.decoder[level](shortcuts[level] + coarse)
        found = F.pixel_shuffle(self.tail(features), 2)
        found = darkening(found) if self.residual == "rain" else found
        return crop(found, height, width) + x
