"""NAFNet: Simple Baselines for Image Restoration (Chen et al., ECCV 2022), in spandrel's port."""

from __future__ import annotations

from collections.abc import Sequence

from vlif_plugin.archs._ported import PortedNetwork


class NAFNet(PortedNetwork):
    """U-shaped network without activations: gates in place of them. Needs the extra ``compare``.

    The defaults are the published network of width 32, with 29,159,715 parameters.

    Args:
        img_channel: channels of image and result.
        width: channels at full resolution; doubled at each level.
        enc_blk_nums: blocks of each encoder level.
        middle_blk_num: blocks at the lowest resolution.
        dec_blk_nums: blocks of each decoder level, the lowest resolution first.

    Shape:
        (B, img_channel, H, W), RGB in [0, 1], any size (the port pads with zeros, as the authors'
        code does), to the same; the result is not clamped.

    Raises:
        OptionError: the extra is not installed.
    """

    port = ("spandrel.architectures.NAFNet", "NAFNet")

    def __init__(
        self,
        *,
        img_channel: int = 3,
        width: int = 32,
        enc_blk_nums: Sequence[int] = (2, 2, 4, 8),
        middle_blk_num: int = 12,
        dec_blk_nums: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__(
            img_channel=img_channel,
            width=width,
            enc_blk_nums=list(enc_blk_nums),
            middle_blk_num=middle_blk_num,
            dec_blk_nums=list(dec_blk_nums),
        )
