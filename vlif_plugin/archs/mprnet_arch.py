"""MPRNet: Multi-Stage Progressive Image Restoration (Zamir et al., CVPR 2021)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vlif_plugin.archs._ported import PortedNetwork


class MPRNet(PortedNetwork):
    """Three stages, the last at full resolution, in spandrel's port. Needs the extra ``compare``.

    The defaults are the published deraining network. Only the last stage's image is given; the
    authors train with a loss on all three. Their licence (see ``spandrel_extra_arches``) is for
    academic use.

    Args:
        in_c: channels of the image.
        out_c: channels of the result.
        n_feat: channels of the features.
        scale_unetfeats: channels added at each level of the first two stages.
        scale_orsnetfeats: channels added in the last stage.
        num_cab: channel attention blocks in each block of the last stage.
        kernel_size: of the convolutions.
        reduction: of the channel attention.
        bias: of convolutions.

    Shape:
        (B, in_c, H, W), RGB in [0, 1], any size (padded by reflection to multiples of 8, as the
        authors' test does), to the same; the result is not clamped.

    Raises:
        OptionError: the extra is not installed.
    """

    port = ("spandrel_extra_arches.architectures.MPRNet", "MPRNet")
    size_multiple = 8

    def __init__(
        self,
        *,
        in_c: int = 3,
        out_c: int = 3,
        n_feat: int = 40,
        scale_unetfeats: int = 20,
        scale_orsnetfeats: int = 16,
        num_cab: int = 8,
        kernel_size: int = 3,
        reduction: int = 4,
        bias: bool = False,
    ) -> None:
        super().__init__(
            in_c=in_c,
            out_c=out_c,
            n_feat=n_feat,
            scale_unetfeats=scale_unetfeats,
            scale_orsnetfeats=scale_orsnetfeats,
            num_cab=num_cab,
            kernel_size=kernel_size,
            reduction=reduction,
            bias=bias,
        )

    def final(self, restored: Any) -> Tensor:
        """The last stage's image, which comes first."""
        return restored[0]
