"""PReNet: Progressive Image Deraining Networks: A Better and Simpler Baseline (Ren et al., CVPR 2019).

Written from the paper's equations (5) and (6) and section 3.2; outputs equal those of the authors'
code, whose checkpoints load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlif_plugin.archs._checks import check_counts


class PReNet(nn.Module):
    """A small residual network with a convolutional LSTM, applied again and again to its own result.

    Each stage sees the rainy image beside the last estimate, and adds what it finds to the rainy
    image. All stages share their weights. The defaults are the published network, with 168,963
    parameters; modules have the authors' names. The authors train it with a loss on the last
    stage's image alone, which is what :meth:`forward` gives.

    Args:
        inp_channels: channels of image and result.
        channels: channels of the features.
        num_blocks: residual blocks in a stage.
        stages: how often the network is applied; leaves no trace in the weights.

    Shape:
        (B, inp_channels, H, W), RGB in [0, 1], any size, to the same; the result is not clamped.

    Raises:
        ValueError: a count that is no whole number of at least 1.
    """

    def __init__(
        self, *, inp_channels: int = 3, channels: int = 32, num_blocks: int = 5, stages: int = 6
    ) -> None:
        super().__init__()
        check_counts(
            inp_channels=inp_channels, channels=channels, num_blocks=num_blocks, stages=stages
        )

        def conv(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, 3, padding=1)

        self.channels = channels
        self.stages = stages
        self.conv0 = nn.Sequential(conv(2 * inp_channels, channels), nn.ReLU())
        # the gates of the LSTM (input, forget, cell, output) see features and hidden state
        self.conv_i = nn.Sequential(conv(2 * channels, channels), nn.Sigmoid())
        self.conv_f = nn.Sequential(conv(2 * channels, channels), nn.Sigmoid())
        self.conv_g = nn.Sequential(conv(2 * channels, channels), nn.Tanh())
        self.conv_o = nn.Sequential(conv(2 * channels, channels), nn.Sigmoid())
        self.block_names = [f"res_conv{number}" for number in range(1, num_blocks + 1)]
        for name in self.block_names:
            self.add_module(
                name,
                nn.Sequential(
                    conv(channels, channels), nn.ReLU(), conv(channels, channels), nn.ReLU()
                ),
            )
        self.conv = nn.Sequential(conv(channels, inp_channels))

    def forward(self, x: Tensor) -> Tensor:
        """The last stage's image; see the class for shapes and ranges."""
        return self.all_stages(x)[-1]

    def all_stages(self, x: Tensor) -> list[Tensor]:
        """The images of all stages, each of ``x``'s shape."""
        estimate, images = x, []
        cell = hidden = x.new_zeros(x.shape[0], self.channels, *x.shape[-2:])
        for _ in range(self.stages):
            features = self.conv0(torch.cat([x, estimate], dim=1))
            features = torch.cat([features, hidden], dim=1)
            cell = self.conv_f(features) * cell + self.conv_i(features) * self.conv_g(features)
            hidden = self.conv_o(features) * torch.tanh(cell)
            features = hidden
            for name in self.block_names:
                features = torch.relu(self.get_submodule(name)(features) + features)
            estimate = self.conv(features) + x
            images.append(estimate)
        return images
