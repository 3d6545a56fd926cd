"""The shell around a neuron's dynamics: parameters, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from vlif_plugin.neurons.functional import run_sequence

Sequence = Callable[[Any, Tensor], Tensor]
"""A neuron and its input over time, to its spikes: see :attr:`SpikingNeuron.sequence`."""


def plain_sequence(neuron: SpikingNeuron, x_seq: Tensor) -> Tensor:
    """Spikes of a sequence from rest, step by step in plain PyTorch."""
    return run_sequence(neuron.step, neuron.arrange(x_seq), rest=neuron.rest)[0]


class SpikingNeuron(nn.Module):
    """A neuron without memory between calls.

    ``forward`` takes a whole sequence and starts at rest. A restorer sees unrelated images, and
    its forward is called from many places (EMA, tiles, validation, DDP, ``deepcopy``), so there is
    no hidden state that one could forget to reset. To carry a potential from one call to the next,
    as for video, use :meth:`step` or the functions of :mod:`vlif_plugin.neurons.functional`.

    Subclasses define :meth:`step` and list their parameters in ``parameters_shown``;
    ``rest`` is the potential that a sequence starts from. What computes a sequence is
    :attr:`sequence`, which :func:`~vlif_plugin.neurons.backends.use_backend` sets.
    """

    parameters_shown: tuple[str, ...] = ()
    rest: float = 0.0
    sequence: Sequence = staticmethod(plain_sequence)

    @property
    def levels(self) -> int:
        """Largest number of binary events that one spike stands for; a spike is k * unit, k <= levels."""
        return 1

    @property
    def unit(self) -> float:
        """Value of one event."""
        return 1.0

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One timestep: input and membrane potential to spike and next potential, same shapes."""
        raise NotImplementedError(f"{type(self).__name__} defines no step")

    def arrange(self, x_seq: Tensor) -> Tensor:
        """What a neuron makes of its input before the first step: (T, ...) to (T', ...)."""
        return x_seq

    def forward(self, x_seq: Tensor) -> Tensor:
        """Spikes of a sequence from rest; (T, ...) to (T', ...), T' = T but for :meth:`arrange`."""
        return self.sequence(self, x_seq)

    def extra_repr(self) -> str:
        """Show the parameters, as torch.nn's layers do."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.parameters_shown)
