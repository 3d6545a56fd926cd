"""VLIFNetTiny: VLIF's ideas within the size that the paper claims, and convolutions that read spikes.

Counted in full, the published network has 14.3 M parameters and 470 GMAC for a 256x256 image, most of
them on real values; the paper claims 0.088 M, 2.79 G and 11.66 mJ. This network keeps to these by the full
count, all timesteps included. It is ours: patch-to-time VLIF as activation and between the levels,
the decomposition by spikes as an option, training by SSIM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vlif_plugin.archs._restorer import SpikingRestorer, check_channels, darkening
from vlif_plugin.blocks.membrane import Coding, MembraneUnit, MembraneUp, VisualDown
from vlif_plugin.layers import ConvBN, mean_over_time, over_time, stack_time
from vlif_plugin.neurons import (
    NILIFNode,
    SpikingNeuron,
    VLIFNode,
    VLIFPixelNode,
    build_activation,
    check_learn,
)


class VLIFNetTiny(SpikingRestorer):
    """Encoder-decoder of membranes at H/2, H/4, H/8, ... that predicts a residual image.

    Every convolution but the first, 3x3 with stride 2, reads spikes: membranes are added
    (:mod:`vlif_plugin.blocks.membrane`), VLIF compresses patches from level to level, and the last
    unit's membrane leaks before its spikes become the residual image.

    Args:
        inp_channels: channels of the image.
        out_channels: channels of the result; equal to ``inp_channels``, since the image is added.
        dims: widths of the levels, at least two.
        en_num_blocks: units of each level of the encoder.
        de_num_blocks: units of each level of the decoder, which has all but the coarsest.
        T: number of timesteps; the image is presented T times (direct encoding).
        D: number of virtual timesteps: a spike is k/D, and counts as k events.
        r: patch-to-time factor of VLIF.
        beta: leak of the neurons.
        neuron: before convolutions at full resolution: ``vlif``, whose membranes see a patch, or
            ``nilif``, which see a pixel, or one of ``NEURONS`` that keeps the shape, by its name or
            as a section of ``type`` and arguments; between levels it is VLIF in any case.
        kernel_size: of the depthwise convolutions.
        expansion: of the units; see :class:`~vlif_plugin.blocks.membrane.MembraneUnit`.
        drive: standard deviation of what neurons are given at first, in units of one event.
        residual: ``rain`` only ever darkens: rain is light before the scene (O = B + R, R >= 0), and where
            none is found the image stays as it is, to the bit; ``any`` adds what comes, as VLIF does.
        gate: scale what each unit adds by firing rates of the whole image, channel by channel
            (:class:`~vlif_plugin.blocks.membrane.RateGate`).
        spike_driven: False lets convolutions read SDEM's real-valued mix of spikes and membrane, all but
            those between levels: the analog form.
        learn: constants that each neuron layer learns: ``beta``, ``v_threshold``.

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
        dims: Sequence[int] = (32, 40, 48, 56),
        en_num_blocks: Sequence[int] = (3, 2, 2, 2),
        de_num_blocks: Sequence[int] = (4, 2, 2),
        T: int = 1,
        D: int = 4,
        r: int = 2,
        beta: float = 0.25,
        neuron: str | Mapping[str, Any] = "vlif",
        kernel_size: int = 3,
        expansion: int = 1,
        drive: float = 1.5,
        residual: str = "rain",
        gate: bool = True,
        spike_driven: bool = True,
        learn: Sequence[str] = (),
    ) -> None:
        super().__init__()
        check_channels(inp_channels, out_channels)
        _check(dims, en_num_blocks, de_num_blocks)
        if residual not in ("rain", "any"):
            raise ValueError(f"residual must be one of rain, any, got {residual!r}")
        learn = check_learn(learn, [VLIFNode])
        if "beta" in learn and neuron == "nilif" and T == 1:
            raise ValueError("learn: with T=1, neuron nilif has one step, and no use for beta")
        for name, value in (
            ("T", T), ("D", D), ("r", r), ("kernel_size", kernel_size), ("expansion", expansion),
        ):  # fmt: skip
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")

        def node() -> SpikingNeuron:
            if neuron == "vlif":
                return VLIFPixelNode(r=r, D=D, beta=beta, learn=learn)
            if neuron == "nilif":
                return NILIFNode(D=D, beta=beta, learn=learn)
            return build_activation(neuron, "neuron", ("vlif", "nilif"))

        def stage(level: int, count: int, *, last: bool = False) -> nn.Sequential:
            units = (
                MembraneUnit(
                    dims[level], node, kernel_size=kernel_size, expansion=expansion, drive=drive,
                    spike_driven=spike_driven, gate=gate, leak=last and unit == count,
                )
                for unit in range(1, count + 1)
            )  # fmt: skip
            return nn.Sequential(*units)

        def down(level: int) -> VisualDown:
            patches = VLIFNode(r=2, D=D, beta=beta, learn=learn)
            return VisualDown(dims[level], dims[level + 1], patches, scale=drive)

        def up(level: int) -> MembraneUp:
            return MembraneUp(
                dims[level + 1], dims[level], node, factor=2, scale=drive, spike_driven=spike_driven
            )

        self.T = T
        self.residual = residual
        self.size_multiple = 2 ** len(dims) * node().r
        # measured: 3 to 4.3, and 6 of the analog form with expansion 2
        self.live_tensors = 5 * expansion
        self.patch_embed = ConvBN(inp_channels, dims[0], stride=2, v_threshold=drive, alpha=1.0)
        self.encoder = nn.ModuleList(stage(level, n) for level, n in enumerate(en_num_blocks))
        self.down = nn.ModuleList(down(level) for level in range(len(dims) - 1))
        self.up = nn.ModuleList(up(level) for level in range(len(dims) - 1))
        self.decoder = nn.ModuleList(
            stage(level, n, last=level == 0) for level, n in enumerate(de_num_blocks)
        )
        self.code = Coding(node(), spike_driven=spike_driven)
        last = nn.Conv2d(dims[0], 4 * out_channels, 3, padding=1)
        with torch.no_grad():  # the result begins near the image
            last.weight.mul_(0.1)
            # below zero, so that at first all pixels learn
            at_first = -0.03 if residual == "rain" else 0.0
            last.bias = nn.Parameter(torch.full((4 * out_channels,), at_first))
        self.output = nn.Sequential(last, nn.PixelShuffle(2))

    def embed(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (T, B, dims[0], H/2, W/2)."""
        image = image.contiguous(memory_format=torch.channels_last)
        (membrane,) = self.patch_embed(image[None])
        return stack_time([membrane] * self.T)

    def reconstruct(self, features: Tensor) -> Tensor:
        """(T, B, C, H/2, W/2) to the residual image, (B, out_channels, H, W)."""
        residual = mean_over_time(over_time(self.output, self.code(features)))
        return darkening(residual) if self.residual == "rain" else residual

    def forward_features(self, x_seq: Tensor) -> Tensor:
        """Membranes of level 1 to those of level 1 behind the decoder, (T, B, C, H/2, W/2)."""
        membranes: list[Tensor] = []
        x = x_seq
        for level, stage in enumerate(self.encoder):
            x = stage(x if level == 0 else self.down[level - 1](x))
            membranes.append(x)
        for level in reversed(range(len(self.up))):
            x = self.decoder[level](self.up[level](x, membranes[level]))
        return x


def _check(
    dims: Sequence[int],
    en_num_blocks: Sequence[int],
    de_num_blocks: Sequence[int],
) -> None:
    if isinstance(dims, (str, int)) or len(dims) < 2:
        raise ValueError(
            f"dims must be whole numbers, one for each of at least 2 levels, got {dims!r}"
        )
    levels = len(dims)
    for name, values, length, least in (
        ("dims", dims, levels, 1),
        ("en_num_blocks", en_num_blocks, levels, 0),
        ("de_num_blocks", de_num_blocks, levels - 1, 0),
    ):
        if (
            isinstance(values, (str, int))
            or len(values) != length
            or any(not isinstance(n, int) or n < least for n in values)
        ):
            raise ValueError(
                f"{name} must be {length} whole numbers of at least {least}, got {values!r}"
            )
