"""Blocks with membrane shortcuts: every convolution reads spikes, and what they add up to is a membrane.

The shortcut is that of MS-ResNet (Hu et al., Advancing Spiking Neural Networks Toward Deep Residual
Learning, 2024): potentials are added, and a neuron stands before each convolution. VLIF's own blocks
convolve real values (its SDEM's mix and shortcuts); here these are choices of :class:`Coding`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from vlif_plugin.blocks.decomposition import fire_and_mix
from vlif_plugin.layers import ConvBN, NormedConv, upsample
from vlif_plugin.neurons import SpikingNeuron, VLIFNode
from vlif_plugin.neurons.vlif import PatchConv2d, fire_by_patch
from vlif_plugin.parts import Fusible

NeuronFactory = Callable[[], SpikingNeuron]

SHARE = 0.5
"""What a unit's branch has at first of the membrane that it is added to."""

STAYS = 0.5
"""What a leaking unit keeps of its membrane at first."""


class Coding(Fusible):
    """What a convolution reads of a membrane: the spikes of a neuron, or a mix of both.

    ``spike_driven=False`` is SDEM's mix in the paper's form (eq. 8 to 10), real-valued.

    Args:
        neuron: keeps the shape.
        spike_driven: spikes alone.

    Shape:
        (T, B, C, H, W) to the same.
    """

    official = False

    def __init__(self, neuron: SpikingNeuron, *, spike_driven: bool = True) -> None:
        super().__init__()
        self.neuron = neuron
        self.spike_driven = spike_driven
        if not spike_driven:
            self.alpha = nn.Parameter(torch.ones(1))
            self.beta = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Fire, and mix where asked."""
        return self.neuron(x) if self.spike_driven else self.run(fire_and_mix, x)


class MembraneUnit(nn.Module):
    """A separable convolution beside a membrane shortcut: ``u + BN(P(code(BN(K(code(u))))))``.

    K is a depthwise convolution, P a 1x1 convolution. With ``expansion`` above 1, another 1x1
    convolution widens the features before K.

    Args:
        channels: C.
        neuron: makes a neuron that keeps the shape.
        kernel_size: of K, odd.
        expansion: width of K in units of C.
        drive: standard deviation of what neurons inside are given at first, in their own units.
        spike_driven: see :class:`Coding`.
        gate: scale the branch by :class:`RateGate`.
        leak: of the membrane, what stays of each channel is a learned factor, ``leak * u`` for ``u``. Where
            a neuron follows that fires for the image, it need not drown what earlier units have left.

    Shape:
        (T, B, C, H, W) to the same.
    """

    def __init__(
        self,
        channels: int,
        neuron: NeuronFactory,
        *,
        kernel_size: int = 3,
        expansion: int = 1,
        drive: float = 1.0,
        spike_driven: bool = True,
        gate: bool = False,
        leak: bool = False,
    ) -> None:
        super().__init__()
        width = channels * expansion

        def read(
            inputs: int, outputs: int, size: int, scale: float, groups: int = 1, gate: bool = False
        ) -> nn.Module:
            return CodedConv(
                neuron, inputs, outputs, kernel_size=size, groups=groups, scale=scale,
                spike_driven=spike_driven, gate=gate,
            )  # fmt: skip

        self.expand = read(channels, width, 1, drive) if expansion > 1 else nn.Identity()
        self.spread = read(width, width, kernel_size, drive, groups=width)
        self.project = read(width, channels, 1, drive * SHARE, gate=gate)
        self.leak = nn.Parameter(torch.full((channels, 1, 1), STAYS)) if leak else None

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the membrane, or to what stays of it."""
        branch = self.project(self.spread(self.expand(x)))
        return branch + (x if self.leak is None else self.leak * x)


class RateGate(nn.Module):
    """A factor for each channel, from how often channels fire in the whole image.

    Squeeze and excitation (Hu et al., CVPR 2018) of spikes. Counting adds, and the two small matrices
    are multiplied once per image; as the factor might as well multiply the weights of the convolution that
    read the spikes, that one stays driven by spikes.

    Args:
        in_channels: C, of the spikes.
        out_channels: C', of what is scaled.

    Shape:
        spikes (T, B, C, H, W) to factors (1, B, C', 1, 1), about 1 at first.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        width = max(in_channels // 4, 1)
        self.squeeze = nn.Linear(in_channels, width)
        self.excite = nn.Linear(width, out_channels)
        with torch.no_grad():
            self.excite.weight.mul_(0.3)
            self.excite.bias.fill_(1.0)

    def forward(self, spikes: Tensor) -> Tensor:
        """Factors of the channels of each image."""
        rates = spikes.mean((0, 3, 4))
        return self.excite(F.relu(self.squeeze(rates)))[None, :, :, None, None]


class CodedConv(nn.Module):
    """Coding, convolution, BatchNorm, and where asked a gate.

    Args:
        neuron: makes a neuron that keeps the shape.
        in_channels: C.
        out_channels: C'.
        kernel_size: odd; the padding keeps the size.
        groups: of the convolution.
        scale: that BatchNorm begins with.
        spike_driven: see :class:`Coding`.
        gate: scale the result by :class:`RateGate`.

    Shape:
        (T, B, C, H, W) to (T, B, C', H, W).
    """

    def __init__(
        self,
        neuron: NeuronFactory,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 1,
        groups: int = 1,
        scale: float = 1.0,
        spike_driven: bool = True,
        gate: bool = False,
    ) -> None:
        super().__init__()
        self.code = Coding(neuron(), spike_driven=spike_driven)
        self.layer = ConvBN(
            in_channels, out_channels, kernel_size=kernel_size, groups=groups,
            v_threshold=scale, alpha=1.0,
        )  # fmt: skip
        self.gate = RateGate(in_channels, out_channels) if gate else None

    def forward(self, x: Tensor) -> Tensor:
        """Code, convolve, normalise, scale."""
        coded = self.code(x)
        result = self.layer(coded)
        return result if self.gate is None else self.gate(coded) * result


class VisualDown(nn.Module):
    """VLIF over patches; a 1x1 convolution over each patch's steps makes the next level's membrane.

    Args:
        channels: C.
        out_channels: C'.
        neuron: VLIF, whose r divides H and W.
        scale: that BatchNorm begins with.

    Shape:
        (T, B, C, H, W) to (T, B, C', H/r, W/r).
    """

    def __init__(
        self, channels: int, out_channels: int, neuron: VLIFNode, *, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.neuron = neuron
        compress = PatchConv2d(channels, out_channels, neuron.r**2)
        self.layer = NormedConv(compress, v_threshold=scale, alpha=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Fire, compress, normalise."""
        return self.layer(self.neuron.run(fire_by_patch, x).flatten(-2).movedim(-1, 2))


class MembraneUp(nn.Module):
    """From a coarser level: coded 1x1 convolution, bilinear enlargement, added to the finer membrane.

    Args:
        channels: C, of the coarser level.
        out_channels: C', of the finer one.
        neuron: makes a neuron that keeps the shape.
        factor: between the levels.
        scale: that BatchNorm begins with.
        spike_driven: see :class:`Coding`.

    Shape:
        (T, B, C, H, W) and (T, B, C', factor*H, factor*W) to the latter.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        neuron: NeuronFactory,
        *,
        factor: int,
        scale: float = 1.0,
        spike_driven: bool = True,
    ) -> None:
        super().__init__()
        self.factor = factor
        self.project = CodedConv(
            neuron, channels, out_channels, scale=scale, spike_driven=spike_driven
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Project, enlarge, add."""
        return fine + upsample(self.project(coarse), self.factor)
