"""RESCAN: Recurrent Squeeze-and-Excitation Context Aggregation Net for Single Image Deraining.

Li et al., ECCV 2018; the variant that the paper finds best, with GRUs and the "Full" framework.
Written from the paper's section 3 and 4; outputs equal those of the authors' code, whose
checkpoints load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlif_plugin.archs._checks import check_counts


class SqueezeExcitation(nn.Module):
    """Weighs each channel by a gate that sees the means of all (Hu et al., CVPR 2018).

    Args:
        channels: C.
        reduction: hidden units are C / reduction.

    Shape:
        (B, C, H, W) to the same.
    """

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weigh."""
        return x * self.fc(x.mean((-2, -1)))[..., None, None]


class ContextGRU(nn.Module):
    """A convolutional GRU, dilated over its input and not over its state; then channel weights.

    The state that the next stage sees is the activated output.

    Args:
        in_channels: of the input.
        channels: C, of state and output.
        dilation: of the convolutions over the input.
        reduction: of the channel weights.

    Shape:
        (B, in_channels, H, W) and the last stage's (B, C, H, W), or None at first, to (B, C, H, W).
    """

    def __init__(self, in_channels: int, channels: int, *, dilation: int, reduction: int) -> None:
        super().__init__()

        def over_input() -> nn.Conv2d:
            return nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation)

        def over_state() -> nn.Conv2d:
            return nn.Conv2d(channels, channels, 3, padding=1)

        # update gate, reset gate, candidate
        self.conv_xz, self.conv_xr, self.conv_xn = over_input(), over_input(), over_input()
        self.conv_hz, self.conv_hr, self.conv_hn = over_state(), over_state(), over_state()
        self.se = SqueezeExcitation(channels, reduction=reduction)
        self.relu = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor, state: Tensor | None) -> Tensor:
        """One stage; the first has no state, and none of the terms that need one."""
        if state is None:
            fresh = torch.sigmoid(self.conv_xz(x)) * torch.tanh(self.conv_xn(x))
        else:
            update = torch.sigmoid(self.conv_xz(x) + self.conv_hz(state))
            reset = torch.sigmoid(self.conv_xr(x) + self.conv_hr(state))
            candidate = torch.tanh(self.conv_xn(x) + self.conv_hn(reset * state))
            fresh = (1 - update) * state + update * candidate
        return self.relu(self.se(fresh))


class RESCAN(nn.Module):
    """Dilated recurrent layers that predict the rain, which is taken away, stage by stage.

    Each stage sees the rainy image less the rain that the last stage found, and finds all the rain
    anew. The defaults are the published network, with 149,823 parameters; modules have the
    authors' names. The authors train it with a loss on every stage's rain (:meth:`all_stages`).

    Args:
        inp_channels: channels of image and result.
        channels: channels of the features.
        depth: layers with 3x3 convolutions and the last one, as the authors count: all but two are
            recurrent, with dilations 1, 1, 2, 4, 8 and so on.
        stages: how often the network is applied; leaves no trace in the weights.
        reduction: of the channel weights.

    Shape:
        (B, inp_channels, H, W), RGB in [0, 1], any size, to the same; the result is not clamped.

    Raises:
        ValueError: a count that is no whole number of at least 1, or a depth below 3.
    """

    def __init__(
        self,
        *,
        inp_channels: int = 3,
        channels: int = 24,
        depth: int = 7,
        stages: int = 4,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        check_counts(
            inp_channels=inp_channels, channels=channels, depth=depth, stages=stages, reduction=reduction
        )  # fmt: skip
        if depth < 3:
            raise ValueError(f"depth must be at least 3, got {depth}: two layers are not recurrent")
        self.stages = stages
        self.rnns = nn.ModuleList(
            ContextGRU(inputs, channels, dilation=dilation, reduction=reduction)
            for inputs, dilation in [
                (inp_channels, 1),
                *((channels, 2**level) for level in range(depth - 3)),
            ]
        )
        self.dec = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            SqueezeExcitation(channels, reduction=reduction),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, inp_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The last stage's image; see the class for shapes and ranges."""
        return self.all_stages(x)[-1]

    def all_stages(self, x: Tensor) -> list[Tensor]:
        """The images of all stages, each of ``x``'s shape; ``x`` less them is the rain found."""
        estimate, images = x, []
        states: list[Tensor | None] = [None] * len(self.rnns)
        for _ in range(self.stages):
            features = estimate
            for index, layer in enumerate(self.rnns):
                features = states[index] = layer(features, states[index])
            estimate = x - self.dec(features)
            images.append(estimate)
        return images
