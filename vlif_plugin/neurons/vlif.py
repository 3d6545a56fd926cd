"""Visual LIF neurons (paper, section "Vision-LIF"): NI-LIF neurons that see an r x r patch.

``VLIFNode`` is the neuron proper: patches become time, an NI-LIF neuron integrates them. The two
variants of the paper compress its T*r*r steps back to T: ``VLIFC`` over channels (used in SDEM),
``VLIFT`` over time (used in the SMU). Where the paper's text and the released code differ, the
argument ``formulation`` chooses; the table is in the README.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from vlif_plugin.layers.attention import TemporalAttention
from vlif_plugin.layers.patch_time import patch_to_time, time_to_channel
from vlif_plugin.layers.time_batch import over_time, upsample
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
        subtract_count: see :class:`~vlif_plugin.neurons.lif.NILIFNode`.
        detach_reset: see :class:`~vlif_plugin.neurons.lif.NILIFNode`.

    Shape:
        (T, B, C, H, W) to (T*r*r, B, C, H/r, W/r), values in {0, 1/D, ..., 1}; r divides H and W.

    Raises:
        ValueError: r or D is below 1.
    """

    parameters_shown = ("r", *NILIFNode.parameters_shown)

    def __init__(
        self,
        *,
        r: int = 2,
        D: int = 4,
        beta: float = 0.25,
        subtract_count: bool = True,
        detach_reset: bool = True,
    ) -> None:
        super().__init__(D=D, beta=beta, subtract_count=subtract_count, detach_reset=detach_reset)
        if r < 1:
            raise ValueError(f"r must be at least 1, got {r}")
        self.r = r

    def arrange(self, x_seq: Tensor) -> Tensor:
        """Each patch becomes r*r steps of time."""
        return patch_to_time(x_seq, self.r)


class VLIFC(nn.Module):
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
    ) -> None:
        super().__init__()
        check_formulation(formulation)
        self.neuron = VLIFNode(r=r, D=D, beta=beta, subtract_count=formulation == "paper")
        self.factor = r if full_size else 1
        self.attention: nn.Module
        self.mix: nn.Module
        if formulation == "paper":
            self.attention = TemporalAttention(T * r * r)
            self.mix = nn.Sequential(
                nn.Conv2d(channels * r * r, channels, 1, bias=False),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 1, bias=False),
            )
        else:
            self.attention = nn.Identity()
            self.mix = nn.Conv2d(channels * r * r, channels, 1, bias=False)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Fire over patches, mix each patch's channels, return to the image's size."""
        spikes = self.attention(self.neuron(x_seq))
        return upsample(over_time(self.mix, time_to_channel(spikes, self.neuron.r)), self.factor)


class VLIFT(nn.Module):
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
    ) -> None:
        super().__init__()
        check_formulation(formulation)
        steps = r * r
        self.neuron = VLIFNode(r=r, D=D, beta=beta, subtract_count=formulation == "paper")
        self.factor = r if full_size else 1
        self.attention = TemporalAttention(T * steps)
        self.compress = nn.Conv3d(
            channels, channels, (steps, 1, 1), stride=(steps, 1, 1), bias=False
        )
        self.activation = nn.ReLU() if formulation == "official" else nn.Identity()

    def forward(self, x_seq: Tensor) -> Tensor:
        """Fire over patches, weigh the steps, compress each patch's steps into one."""
        spikes = self.attention(self.neuron(x_seq))
        compressed = self.activation(
            self.compress(spikes.permute(1, 2, 0, 3, 4))
        )  # (B, C, T, h, w)
        return upsample(compressed.permute(2, 0, 1, 3, 4), self.factor)
