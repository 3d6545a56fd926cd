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
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from vlif_plugin.archs._released_keys import VLIF_RULES, Rules
from vlif_plugin.archs._restorer import SpikingRestorer, check_sizes
from vlif_plugin.blocks import (
    GATE,
    SDEM,
    SMU,
    DownSampling,
    Initialisation,
    NeuronKind,
    SkipFusion,
    SpikingConfig,
    SpikingResidualBlock,
    UpSampling,
    check_initialisation,
    initialise_firing,
)
from vlif_plugin.layers import TemporalAttention
from vlif_plugin.neurons import Formulation


class VLIFNet(SpikingRestorer):
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
            ``vlif_c``, ``vlif_t`` (paper, table 2c), or one of ``NEURONS`` that keeps the shape, by
            its name or as a section of ``type`` and arguments.
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
        init: ``released``, with which half of a fresh network's neuron layers fire at less than 1 %
            in training, or ``firing``: :func:`~vlif_plugin.blocks.initialise_firing`. It leaves no
            trace in the weights' names and shapes.
        learn: constants that each neuron layer learns: ``tau``, ``v_threshold``, ``beta``.

    Shape:
        (B, inp_channels, H, W), RGB in [0, 1], any size, to the same; the result is not clamped.

    Raises:
        ValueError: a value that no network can be built with, by name.
    """

    released_rules: ClassVar[Rules] = VLIF_RULES
    released_as: ClassVar[str] = "in the official formulation, unablated and with its own constants"

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
        neuron: NeuronKind | str | Mapping[str, Any] = "hybrid",
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
        init: Initialisation = "released",
        learn: Sequence[str] = (),
    ) -> None:
        super().__init__()
        config = SpikingConfig(
            T=T, D=D, r=r, tau=tau, v_threshold=v_threshold, beta=beta, alpha=alpha,
            formulation=formulation, neuron=neuron, learn=learn,
        )  # fmt: skip
        blocks = {"en_num_blocks": en_num_blocks, "de_num_blocks": de_num_blocks}
        check_sizes(inp_channels, out_channels, dim, blocks, levels=2)
        check_initialisation(init)
        if num_smu_decoder is None:
            num_smu_decoder = 2 if config.official else 1
        if use_refinement is None:
            use_refinement = not config.official
        for name, count in (
            ("num_smu_decoder", num_smu_decoder),
            ("num_refinement_blocks", num_refinement_blocks),
        ):
            if not isinstance(count, int) or count < 0:
                raise ValueError(f"{name} must be a whole number of at least 0, got {count!r}")

        def block(channels: int) -> nn.Module:
            return SDEM(channels, config) if use_sdem else SpikingResidualBlock(channels, config)

        def stage(channels: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(block(channels) for _ in range(count)))

        def level1() -> nn.Module:
            return SMU(dim, config, base=block(dim)) if use_smu else block(dim)

        self.T = T
        self.formulation = config.formulation
        # the released code has one network of each kind, and its constants leave no trace in a file
        self.has_released_form = (
            replace(config, T=4, r=2) == SpikingConfig(formulation="official")
            and use_sdem
            and use_smu
            and num_smu_decoder == 2
        )
        self.size_multiple = (
            4 * config.patch
        )  # level 3 runs at H/4, and VLIF there needs whole patches
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
        if init == "firing":
            initialise_firing(self)
            if isinstance(self.temporal_embed, TemporalAttention):
                self.patch_embed.weight.data.div_(GATE)  # gives back what its gates take

    def forward_features(self, x_seq: Tensor) -> Tensor:
        """The spiking body: (T, B, dim, H, W) to the same; H and W multiples of ``size_multiple``."""
        level1 = self.encoder1(x_seq)
        level2 = self.encoder2(self.down1(level1))
        level3 = self.decoder3(self.encoder3(self.down2(level2)))
        level2 = self.fuse2(self.up2(level3), level2)
        joined = self.fuse1(self.up1(self.decoder2(level2)), level1)
        del level1, level2, level3  # what follows needs the memory
        return self.refinement(self.decoder1(joined))

    def embed(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (T, B, dim, H, W)."""
        return self.temporal_embed(super().embed(image))
