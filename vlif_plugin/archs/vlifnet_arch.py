"""VLIFNet: Exploring the Potentials of Spiking Neural Networks for Image Deraining (AAAI 2026).

Paper and released code differ; ``formulation`` chooses, and everything else is an argument.

===================  =====================================  =====================================
part                 ``paper``                              ``official`` (released code)
===================  =====================================  =====================================
temporal embedding   3x3 convolution, temporal attention    3x3 convolution
NI-LIF reset         subtracts the count S * D              subtracts the normalised spike S
VLIF-C               temporal attention, two-layer MLP      one 1x1 convolution
VLIF-T               no activation                          ReLU behind its convolution
SDEM                 eq. 8 to 14                            see :mod:`vlif_plugin.blocks.decomposition`
SMUs                 one in the encoder, one in the decoder a third one after the decoder's
refinement           four SDEMs, always                     only in the Rain200L model
===================  =====================================  =====================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from vlif_plugin.archs._released_keys import from_released
from vlif_plugin.blocks import (
    SDEM,
    SMU,
    DownSampling,
    NeuronKind,
    SkipFusion,
    SpikingConfig,
    SpikingResidualBlock,
    UpSampling,
)
from vlif_plugin.layers import TemporalAttention, pad_to_multiple
from vlif_plugin.neurons import Formulation


class VLIFNet(nn.Module):
    """Three-level spiking encoder-decoder that predicts a residual image.

    Args:
        inp_channels: channels of the image.
        out_channels: channels of the result; equal to ``inp_channels``, since the image is added.
        dim: width of level 1; levels 2 and 3 have twice and four times as many channels.
        en_num_blocks: SDEMs at encoder levels 2 and 3.
        de_num_blocks: SDEMs at decoder levels 2 and 3. The paper's [4, 10, 2] is 4, 8 + 2, 2.
        T: number of timesteps; the image is presented T times (direct encoding).
        D: number of virtual timesteps of VLIF.
        r: patch-to-time factor of VLIF.
        formulation: ``paper`` or ``official``.
        neuron: ``hybrid`` (the paper's), or one neuron at both places of VLIF: ``lif``, ``ilif``,
            ``vlif_c``, ``vlif_t`` (paper, table 2c).
        use_temporal_embedding: temporal attention behind the first convolution (paper, table 2b:
            T-EMB); the ``official`` formulation has none.
        use_sdem: SDEMs; else residual blocks of plain LIF neurons (table 2b, model a).
        use_smu: SMUs at level 1; else the block that an SMU begins with.
        num_smu_decoder: SMUs after each other in the decoder; None: 1 (paper) or 2 (official).
        use_refinement: SDEMs at the end; None: True (paper) or False (official).
        num_refinement_blocks: how many.
        tau: membrane time constant of the LIF neurons, in timesteps.
        v_threshold: their threshold.
        beta: leak of the integer neurons.
        alpha: steepness of the sigmoid surrogate.

    Shape:
        (B, inp_channels, H, W), RGB in [0, 1], any size, to the same; the result is not clamped.

    Raises:
        ValueError: a value that no network can be built with, by name.
    """

    def __init__(
        self,
        *,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        en_num_blocks: Sequence[int] = (4, 8),
        de_num_blocks: Sequence[int] = (2, 2),
        T: int = 4,
        D: int = 4,
        r: int = 2,
        formulation: Formulation = "paper",
        neuron: NeuronKind = "hybrid",
        use_temporal_embedding: bool = True,
        use_sdem: bool = True,
        use_smu: bool = True,
        num_smu_decoder: int | None = None,
        use_refinement: bool | None = None,
        num_refinement_blocks: int = 4,
        tau: float = 2.0,
        v_threshold: float = 0.15,
        beta: float = 0.25,
        alpha: float = 4.0,
    ) -> None:
        super().__init__()
        config = SpikingConfig(
            T=T, D=D, r=r, tau=tau, v_threshold=v_threshold, beta=beta, alpha=alpha,
            formulation=formulation, neuron=neuron,
        )  # fmt: skip
        _check_sizes(inp_channels, out_channels, dim, en_num_blocks, de_num_blocks)
        if num_smu_decoder is None:
            num_smu_decoder = 2 if config.official else 1
        if use_refinement is None:
            use_refinement = not config.official

        def block(channels: int) -> nn.Module:
            return SDEM(channels, config) if use_sdem else SpikingResidualBlock(channels, config)

        def stage(channels: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(block(channels) for _ in range(count)))

        def level1() -> nn.Module:
            return SMU(dim, config, base=block(dim)) if use_smu else block(dim)

        self.T = T
        self.size_multiple = 4 * r  # level 3 runs at H/4, and VLIF there needs multiples of r
        self.patch_embed = nn.Conv2d(inp_channels, dim, 3, padding=1, bias=False)
        self.temporal_embed = (
            TemporalAttention(T)
            if use_temporal_embedding and not config.official
            else nn.Identity()
        )
        self.encoder1 = level1()
        self.down1 = DownSampling(dim, config)
        self.encoder2 = stage(dim * 2, en_num_blocks[0])
        self.down2 = DownSampling(dim * 2, config)
        self.encoder3 = stage(dim * 4, en_num_blocks[1])
        self.decoder3 = stage(dim * 4, de_num_blocks[1])
        self.up2 = UpSampling(dim * 4, config)
        self.fuse2 = SkipFusion(dim * 2, config)
        self.decoder2 = stage(dim * 2, de_num_blocks[0])
        self.up1 = UpSampling(dim * 2, config)
        self.fuse1 = SkipFusion(dim, config)
        self.decoder1 = nn.Sequential(*(level1() for _ in range(num_smu_decoder)))
        self.refinement = stage(dim, num_refinement_blocks if use_refinement else 0)
        self.output = nn.Conv2d(dim, out_channels, 3, padding=1)

    def forward_features(self, x_seq: Tensor) -> Tensor:
        """The spiking body: (T, B, dim, H, W) to the same; H and W multiples of ``size_multiple``."""
        level1 = self.encoder1(x_seq)
        level2 = self.encoder2(self.down1(level1))
        level3 = self.decoder3(self.encoder3(self.down2(level2)))
        level2 = self.decoder2(self.fuse2(self.up2(level3), level2))
        level1 = self.decoder1(self.fuse1(self.up1(level2), level1))
        return self.refinement(level1)

    def forward(self, x: Tensor) -> Tensor:
        """Restore an image; see the class for shapes and ranges."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.size_multiple)
        # the image is the same at all timesteps, so its embedding is computed once
        embedded = self.patch_embed(padded).expand(self.T, -1, -1, -1, -1)
        features = self.forward_features(self.temporal_embed(embedded))
        return (self.output(features.mean(0)) + padded)[..., :height, :width]

    def checkpoint_filter(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename a released state dict to this network's names; one of ours comes back as it is."""
        return from_released(state, self.state_dict())


def _check_sizes(
    inp_channels: int,
    out_channels: int,
    dim: int,
    en_num_blocks: Sequence[int],
    de_num_blocks: Sequence[int],
) -> None:
    if inp_channels != out_channels:
        raise ValueError(
            f"out_channels ({out_channels}) must equal inp_channels ({inp_channels}): the image is added to the result"
        )
    if not isinstance(dim, int) or dim < 1:
        raise ValueError(f"dim must be a whole number of at least 1, got {dim!r}")
    for name, counts in (("en_num_blocks", en_num_blocks), ("de_num_blocks", de_num_blocks)):
        if (
            isinstance(counts, (str, int))
            or len(counts) != 2
            or any(int(n) != n or n < 0 for n in counts)
        ):
            raise ValueError(
                f"{name} must be two counts, the SDEMs at levels 2 and 3, got {counts!r} "
                "(of the released code's four-entry lists only the second and third are used)"
            )
