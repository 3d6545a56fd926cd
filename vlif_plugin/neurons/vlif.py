"""Visual LIF neurons (paper, section "Vision-LIF"): NI-LIF neurons that see an r x r patch.

``VLIFNode`` is the neuron proper: patches become time, an NI-LIF neuron integrates them;
``VLIFPixelNode`` puts its spikes back into space. The two variants of the paper compress its T*r*r
steps back to T: ``VLIFC`` over channels (used in SDEM), ``VLIFT`` over time (used in the SMU). Where the
paper's text and the released code differ, the argument ``formulation`` chooses; the table is in the README.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from vlif_plugin.layers.attention import TemporalAttention
from vlif_plugin.layers.patch_time import patch_steps, time_to_patch
from vlif_plugin.layers.time_batch import over_time, upsample
from vlif_plugin.neurons.base import spike_steps
from vlif_plugin.neurons.lif import NILIFNode

Formulation = Literal["paper", "official"]


def check_formulation(formulation: str) -> None:
    """Refuse a formulation that does not exist.

    Raises:
        ValueError: it is neither ``paper`` nor ``official``.
    """
    if formulation not in get_args(Formulation):
        raise ValueError(
            f"formulation must be one of {', '.join(get_args(Formulation))}, got {formulation!r}"
        )


class VLIFNode(NILIFNode):
    """Patch-to-time reorganisation, then an NI-LIF neuron over the T*r*r steps (eq. 2 to 5).

    Args:
        r: patch-to-time factor, >= 1.
        D: number of virtual timesteps.
        beta: leak.
        v_threshold: see :class:`~vlif_plugin.neurons.lif.NILIFNode`, as the others.
        subtract_count: see there.
        detach_reset: see there.
        learn: see there.

    Shape:
        (T, B, C, H, W) to (T*r*r, B, C, H/r, W/r), values in {0, 1/D, ..., 1}; r divides H and W.

    Raises:
        ValueError: r is below 1, or as for :class:`~vlif_plugin.neurons.lif.NILIFNode`.
    """

    parameters_shown = ("r", *NILIFNode.parameters_shown)

    def __init__(
        self,
        *,
        r: int = 2,
        D: int = 4,
        beta: float = 0.25,
        v_threshold: float = 1.0,
        subtract_count: bool = True,
        detach_reset: bool = True,
        learn: Iterable[str] = (),
    ) -> None:
        super().__init__(
            D=D, beta=beta, v_threshold=v_threshold, subtract_count=subtract_count,
            detach_reset=detach_reset, learn=learn,
        )  # fmt: skip
        if r < 1:
            raise ValueError(f"r must be at least 1, got {r}")
        self.r = r

    def arrange(self, x_seq: Tensor) -> list[Tensor]:
        """Each patch becomes r*r steps of time."""
        return patch_steps(x_seq, self.r)


class VLIFPixelNode(VLIFNode):
    """VLIF whose spikes return to the pixels that they came from: an activation that keeps the shape.

    Each pixel's membrane holds what is left of the pixels before it in its patch. Ours: nothing is
    compressed, so that a convolution behind it reads spikes at full resolution.

    Args:
        r: patch-to-time factor, >= 1.
        D: number of virtual timesteps.
        beta: leak.
        v_threshold: see :class:`~vlif_plugin.neurons.lif.NILIFNode`, as the others.
        subtract_count: see there.
        detach_reset: see there.
        learn: see there.

    Shape:
        (T, B, C, H, W) to the same, values in {0, 1/D, ..., 1}; r divides H and W.

    Raises:
        ValueError: r is below 1, or as for :class:`~vlif_plugin.neurons.lif.NILIFNode`.
    """

    def gather(self, spikes: Sequence[Tensor]) -> Tensor:
        """Steps become space again."""
        return time_to_patch(spikes, self.r)


class PatchConv2d(nn.Conv2d):
    """1x1 convolution over the C*r*r channels of a patch.

    Its weight stands in the order of :func:`~vlif_plugin.layers.time_to_channel`, as in the released
    code, and its input in the order in which neurons write it: the r*r steps of a patch one after the
    other, C channels each.

    Args:
        channels: C.
        out_channels: of the output.
        steps: r*r.

    Shape:
        (N, r*r*C, H, W) to (N, out_channels, H, W).
    """

    def __init__(self, channels: int, out_channels: int, steps: int) -> None:
        super().__init__(channels * steps, out_channels, 1, bias=False)
        self.steps = steps

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        weight = self.weight.unflatten(1, (-1, self.steps)).transpose(1, 2).flatten(1, 2)
        return F.conv2d(input, weight, self.bias)


class StepConv3d(nn.Conv3d):
    """Convolution of kernel and stride r*r x 1 x 1: each patch's steps become one.

    To whom the steps of a patch come side by side in the channels, this is a 1x1 convolution.

    Args:
        channels: C.
        steps: r*r.

    Shape:
        (N, r*r*C, H, W), steps one after the other, to (N, C, H, W).
    """

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__(channels, channels, (steps, 1, 1), stride=(steps, 1, 1), bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        return F.conv2d(input, self.weight.transpose(1, 2).flatten(1, 2))


class _Compressed(nn.Module):
    """A VLIF neuron whose T*r*r steps are weighed by an attention and become T again.

    Subclasses set ``neuron``, ``attention`` and ``factor``, and define :meth:`compression`.
    """

    neuron: VLIFNode
    attention: nn.Module
    factor: int

    def compression(self, patches: Tensor) -> Tensor:
        """(N, r*r*C, H/r, W/r), the steps of a patch one after the other, to (N, C, H/r, W/r)."""
        raise NotImplementedError(f"{type(self).__name__} defines no compression")

    def forward(self, x_seq: Tensor) -> Tensor:
        """Fire over patches, weigh the steps, compress each patch's, enlarge where asked."""
        spikes = self.neuron.run(fire_by_patch, x_seq)  # (T, B, H/r, W/r, r*r, C)
        spikes = self.attention(spikes.permute(0, 4, 1, 5, 2, 3))
        patches = spikes.transpose(1, 2).flatten(2, 3)
        return upsample(over_time(self.compression, patches), self.factor)


def fire_by_patch(neuron: VLIFNode, x_seq: Tensor) -> Tensor:
    """Spikes, (T, B, H/r, W/r, r*r, C): the steps of a patch beside each other, as convolutions like it."""
    steps = neuron.r**2
    if torch.compiler.is_compiling():  # written there at once; hooks of the neuron see nothing
        spikes = [step.movedim(1, -1) for step in spike_steps(neuron, x_seq)]
        patches = [torch.stack(spikes[t : t + steps], 3) for t in range(0, len(spikes), steps)]
        return torch.stack(patches)
    spikes = neuron(x_seq).unflatten(0, (-1, steps))
    return spikes.permute(0, 2, 4, 5, 1, 3).contiguous()


class VLIFC(_Compressed):
    """VLIF with channel compression (eq. 7).

    ``paper``: temporal attention over the T*r*r steps, then a two-layer MLP over the C*r*r
    channels of each timestep (hidden width C), then bilinear up-sampling. The text leaves the
    depth of the MLP open; two layers is what "MLP" means in the attention it uses.
    ``official``: no attention, one 1x1 convolution. The released code up-samples first; a 1x1
    convolution commutes with bilinear up-sampling, so doing it at low resolution gives the same
    result with r*r times less work.

    Args:
        channels: C.
        T: number of timesteps; the attention's weights depend on it.
        r: patch-to-time factor.
        D: number of virtual timesteps.
        beta: leak.
        formulation: ``paper`` or ``official``.
        full_size: up-sample back to H x W; False stays at H/r x W/r.
        learn: what the neuron learns; see :class:`~vlif_plugin.neurons.lif.NILIFNode`.

    Shape:
        (T, B, C, H, W) to (T, B, C, H, W), or (T, B, C, H/r, W/r); real values.
    """

    def __init__(
        self,
        channels: int,
        *,
        T: int = 4,
        r: int = 2,
        D: int = 4,
        beta: float = 0.25,
        formulation: Formulation = "paper",
        full_size: bool = True,
        learn: Iterable[str] = (),
    ) -> None:
        super().__init__()
        check_formulation(formulation)
        self.neuron = VLIFNode(
            r=r, D=D, beta=beta, subtract_count=formulation == "paper", learn=learn
        )
        self.factor = r if full_size else 1
        self.attention: nn.Module
        self.mix: nn.Module
        if formulation == "paper":
            self.attention = TemporalAttention(T * r * r)
            self.mix = nn.Sequential(
                PatchConv2d(channels, channels, r * r),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 1, bias=False),
            )
        else:
            self.attention = nn.Identity()
            self.mix = PatchConv2d(channels, channels, r * r)

    def compression(self, patches: Tensor) -> Tensor:
        """Mix each patch's channels."""
        return self.mix(patches)


class VLIFT(_Compressed):
    """VLIF with temporal compression (eq. 6): temporal attention, then an r*r x 1 x 1 convolution.

    The convolution has stride r*r, so that each patch's steps become one. ``official`` puts a
    ReLU behind it.

    Args:
        channels: C.
        T: number of timesteps; the attention's weights depend on it.
        r: patch-to-time factor.
        D: number of virtual timesteps.
        beta: leak.
        formulation: ``paper`` or ``official``.
        full_size: up-sample back to H x W; False stays at H/r x W/r.
        learn: what the neuron learns; see :class:`~vlif_plugin.neurons.lif.NILIFNode`.

    Shape:
        (T, B, C, H, W) to (T, B, C, H/r, W/r), or (T, B, C, H, W); real values.
    """

    def __init__(
        self,
        channels: int,
        *,
        T: int = 4,
        r: int = 2,
        D: int = 4,
        beta: float = 0.25,
        formulation: Formulation = "paper",
        full_size: bool = False,
        learn: Iterable[str] = (),
    ) -> None:
        super().__init__()
        check_formulation(formulation)
        steps = r * r
        self.neuron = VLIFNode(
            r=r, D=D, beta=beta, subtract_count=formulation == "paper", learn=learn
        )
        self.factor = r if full_size else 1
        self.attention = TemporalAttention(T * steps)
        self.compress = StepConv3d(channels, steps)
        self.activation = nn.ReLU() if formulation == "official" else nn.Identity()

    def compression(self, patches: Tensor) -> Tensor:
        """Compress each patch's steps into one."""
        return self.activation(self.compress(patches))
