"""Activations for libraries that build their networks around a class, such as timm's ``act_layer``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from vlif_plugin.errors import OptionError
from vlif_plugin.spiking.making import Neuron


class PendingActivation(nn.Module):
    """Keeps a place for a neuron until :func:`~vlif_plugin.spiking.spikify` knows channels and time.

    Args:
        neuron: see :data:`~vlif_plugin.spiking.Neuron`.
        inplace: that libraries ask activations for; has no effect.
    """

    def __init__(self, neuron: Neuron, inplace: bool = False) -> None:
        super().__init__()
        self.wanted = (
            neuron,
        )  # in a tuple, so that a neuron is not taken for a part of the network

    def forward(self, x: Tensor) -> Tensor:
        """Refuse to run: a neuron needs time.

        Raises:
            OptionError: always.
        """
        raise OptionError("this network's activations wait for time: net = spikify(net, T=4)")


def spiking_act(neuron: Neuron) -> Callable[..., PendingActivation]:
    """A class of activations: ``timm.create_model('resnet18', act_layer=spiking_act('LIFNode'))``.

    The network that is built runs once ``spikify(net, T=…)`` has given it time.

    Args:
        neuron: see :data:`~vlif_plugin.spiking.Neuron`.
    """
    return partial(PendingActivation, neuron)
