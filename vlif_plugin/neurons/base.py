"""The shell around a neuron's dynamics: parameters, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from vlif_plugin.layers.time_batch import stack_time
from vlif_plugin.neurons.functional import check_sequence, run_steps
from vlif_plugin.neurons.learnable import check_learn, learnable_of
from vlif_plugin.parts import Fusible


def fire(neuron: SpikingNeuron, x_seq: Tensor) -> Tensor:
    """The part of a neuron: its spikes for a sequence, from rest."""
    return neuron.gather(spike_steps(neuron, x_seq))


def spike_steps(neuron: SpikingNeuron, x_seq: Tensor) -> list[Tensor]:
    """What :func:`fire` puts together."""
    check_sequence(x_seq)
    return run_steps(neuron.step, neuron.arrange(x_seq), rest=neuron.rest)[0]


class SpikingNeuron(Fusible):
    """A neuron without memory between calls.

    ``forward`` takes a whole sequence and starts at rest. A restorer sees unrelated images, and
    its forward is called from many places (EMA, tiles, validation, DDP, ``deepcopy``), so there is
    no hidden state that one could forget to reset. To carry a potential from one call to the next,
    as for video, use :meth:`step` or the functions of :mod:`vlif_plugin.neurons.functional`.

    Subclasses define :meth:`step` and list their parameters in ``parameters_shown``;
    ``rest`` is the potential that a sequence starts from, and ``r`` the side of the patches that
    :meth:`arrange` takes H and W apart into. What a layer may learn they declare as
    :class:`~vlif_plugin.neurons.Learnable`.
    """

    parameters_shown: tuple[str, ...] = ()
    rest: float = 0.0
    r: int = 1

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

    def arrange(self, x_seq: Tensor) -> Sequence[Tensor]:
        """The steps that a neuron makes of its input, (T, ...): views of it, T' in number."""
        return x_seq.unbind(0)

    def gather(self, spikes: Sequence[Tensor]) -> Tensor:
        """The sequence that the spikes of all steps become."""
        return stack_time(spikes)

    def forward(self, x_seq: Tensor) -> Tensor:
        """Spikes of a sequence from rest; (T, ...) to (T', ...), T' = T but for :meth:`arrange`."""
        return self.run(fire, x_seq)

    def learn(self, names: Iterable[str]) -> None:
        """Let the layer learn some of its constants, from the values that they have.

        Args:
            names: of constants that the class declares as :class:`~vlif_plugin.neurons.Learnable`.

        Raises:
            OptionError: one of them it has not, or its value is none that can be learned.
        """
        constants = learnable_of(type(self))
        for name in check_learn(names, [type(self)]):
            constants[name].learn(self)

    def extra_repr(self) -> str:
        """Show the parameters, as torch.nn's layers do; learned ones as they are now."""
        return ", ".join(f"{n}={_shown(getattr(self, n))}" for n in self.parameters_shown)


def _shown(value: object) -> str:
    if not isinstance(value, Tensor):
        return str(value)
    return "learned" if value.is_meta else f"{float(value.detach()):.4g} (learned)"
