"""The shell around a neuron's dynamics: parameters, nothing else."""

from __future__ import annotations

from torch import Tensor, nn

from vlif_plugin.neurons.functional import run_sequence


class SpikingNeuron(nn.Module):
    """A neuron without memory between calls.

    ``forward`` takes a whole sequence and starts at rest. A restorer sees unrelated images, and
    its forward is called from many places (EMA, tiles, validation, DDP, ``deepcopy``), so there is
    no hidden state that one could forget to reset. To carry a potential from one call to the next,
    as for video, use :meth:`step` or the functions of :mod:`vlif_plugin.neurons.functional`.

    Subclasses define :meth:`step` and list their parameters in ``parameters_shown``;
    ``rest`` is the potential that a sequence starts from.
    """

    parameters_shown: tuple[str, ...] = ()
    rest: float = 0.0

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

    def forward(self, x_seq: Tensor) -> Tensor:
        """Spikes of a sequence from rest; (T, ...) to (T, ...)."""
        return run_sequence(self.step, x_seq, rest=self.rest)[0]

    def extra_repr(self) -> str:
        """Show the parameters, as torch.nn's layers do."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.parameters_shown)
