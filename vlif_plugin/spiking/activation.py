"""A neuron where an activation stood: time is unfolded for it, and folded again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlif_plugin.errors import DataError, OptionError

RATE = 10
"""How much faster than itself a gain's logarithm grows: as fast as do weights of a tenth under Adam. A network whose
activations begin at 1e-4 has to make them a thousand times as large."""


class SpikingActivation(nn.Module):
    """Normalisation, neuron, gain, at the place of an activation.

    All timesteps of a batch come as one batch, T outermost, as layers without time want them.

    Args:
        neuron: keeps the shape of (T, B, C, H, W).
        norm: maps (N, C, H, W) to the same.
        T: timesteps.
        channels_last: whether the input's last dimension are its channels, and not the second.
        gate: the input has twice the channels; its first half is multiplied by the spikes of the second.
        multiple: what must divide height and width of the maps that the neuron is given.
        name: the layer's, for errors.

    Attributes:
        gain: what one unit of the neuron's output is worth here at first: spikes become as large as the
            activation was.
        growth: a parameter; ``gain * exp(RATE * growth)``, one positive number, is what spikes are
            multiplied by. It scales the weights behind it, and inference could put it into them.

    Shape:
        (T*B, C, H, W), tokens (T*B, L, C) or (T*B, H, W, C), vectors (T*B, C); the same comes out, half
        the channels of a gate.

    Raises:
        DataError: T does not divide the leading size, or ``multiple`` height and width.
    """

    gain: Tensor

    def __init__(
        self,
        neuron: nn.Module,
        norm: nn.Module,
        *,
        T: int,
        channels_last: bool = False,
        gate: bool = False,
        multiple: int = 1,
        name: str = "",
    ) -> None:
        super().__init__()
        self.norm = norm
        self.neuron = neuron
        self.register_buffer("gain", torch.ones(()))
        self.growth = nn.Parameter(torch.zeros(()))
        self.T = T
        self.channels_last = channels_last
        self.gate = gate
        self.multiple = multiple
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of all timesteps."""
        value, drive = self.split(x)
        maps = self.to_maps(drive)
        self._check(maps)
        spikes = self.neuron(self.norm(maps).unflatten(0, (self.T, -1))).flatten(0, 1)
        fired = self._from_maps(spikes, drive.dim()) * self.worth
        if value is not None:
            return value * fired
        # what an activation gives lies in memory as what it was given, and code may rest on that
        return fired.contiguous() if x.is_contiguous() else fired

    @property
    def worth(self) -> Tensor:
        """What spikes are multiplied by."""
        return self.gain * (RATE * self.growth).exp()

    def rectified(self, x: Tensor) -> Tensor:
        """What the network had here without neurons, or nearly so: ReLU, or the gate's product."""
        value, drive = self.split(x)
        return drive.relu() if value is None else value * drive

    def split(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """What a gate lets through, if this is one, and what drives the neuron."""
        if not self.gate:
            return None, x
        value, drive = x.chunk(2, -1 if self.channels_last else 1)
        return value, drive

    def to_maps(self, x: Tensor) -> Tensor:
        """Any layout to (N, C, H, W); tokens are maps of width 1."""
        if self.channels_last:
            x = x.movedim(-1, 1)
        return x[(...,) + (None,) * (4 - x.dim())]

    def _from_maps(self, maps: Tensor, dimensions: int) -> Tensor:
        x = maps.flatten(dimensions - 1) if dimensions < 4 else maps
        return x.movedim(1, -1) if self.channels_last else x

    def _check(self, maps: Tensor) -> None:
        if maps.shape[0] % self.T:
            raise DataError(
                f"{self.name}: T={self.T} does not divide the {maps.shape[0]} images that it is given; "
                "what spikify made repeats them, and layers before must not mix them"
            )
        height, width = maps.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise DataError(
                f"{self.name}: {type(self.neuron).__name__} with r={self.multiple} needs maps whose height and "
                f"width r divides, got {height}x{width}; pad the image (size_multiple), take a neuron "
                "that sees one pixel, such as LIFNode or NILIFNode, or leave this layer out (names)"
            )

    def extra_repr(self) -> str:
        """Show T, and what is not usual."""
        flags = [flag for flag in ("channels_last", "gate") if getattr(self, flag)]
        return ", ".join([f"T={self.T}", *flags])


class InTurn(nn.ModuleList):
    """One activation that a network uses several times in a forward pass: a neuron for each time.

    Each use has sizes and statistics of its own. The order of the uses is that of the network,
    which :class:`~vlif_plugin.spiking.Spikified` begins anew at each call.

    Attributes:
        turn: whose turn it is; None outside of a call of that.

    Raises:
        OptionError: nobody's turn it is: a block is run again, for instance.
    """

    turn: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of the one whose turn it is."""
        if self.turn is None or self.turn == len(self):
            raise OptionError(
                f"{self[0].name}: is used outside of a forward pass of what spikify made, or once more than when it "
                "was tried, and has no neuron for that; activation checkpointing of the whole network is possible, "
                "that of a block where the network gives each place an activation of its own"
            )
        turn, self.turn = self.turn, self.turn + 1
        return self[turn](x)
