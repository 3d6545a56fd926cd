"""Restormer: Efficient Transformer for High-Resolution Image Restoration (Zamir et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from vlif_plugin.archs._ported import PortedNetwork


class Restormer(PortedNetwork):
    """U-shaped Transformer with attention over channels, in spandrel's port. Needs the extra ``compare``.

    The defaults are the published deraining network, with 26,126,644 parameters. The authors'
    licence (see ``spandrel_extra_arches``) is for academic use.

    Args:
        inp_channels: channels of the image.
        out_channels: channels of the result; equal to ``inp_channels``, since the image is added.
        dim: channels at full resolution; doubled at each level.
        num_blocks: Transformer blocks of the four levels.
        num_refinement_blocks: blocks at the end.
        heads: attention heads of the four levels.
        ffn_expansion_factor: hidden channels of the feed-forward networks by their input's.
        bias: of convolutions.
        LayerNorm_type: ``WithBias`` or ``BiasFree``.

    Shape:
        (B, inp_channels, H, W), RGB in [0, 1], any size (padded by reflection to multiples of 8, as
        the authors' test does), to the same; the result is not clamped.

    Raises:
        OptionError: the extra is not installed.
    """

    port = ("spandrel_extra_arches.architectures.Restormer", "Restormer")
    size_multiple = 8
    live_tensors = 92  # measured: what the feed-forward networks and the attention hold of an image

    def __init__(
        self,
        *,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        LayerNorm_type: str = "WithBias",  # noqa: N803 (the authors' name)
    ) -> None:
        super().__init__(
            inp_channels=inp_channels,
            out_channels=out_channels,
            dim=dim,
            num_blocks=list(num_blocks),
            num_refinement_blocks=num_refinement_blocks,
            heads=list(heads),
            ffn_expansion_factor=ffn_expansion_factor,
            bias=bias,
            LayerNorm_type=LayerNorm_type,
        )
