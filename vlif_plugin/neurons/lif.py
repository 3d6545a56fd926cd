"""Neurons that see one pixel: LIF, I-LIF and NI-LIF."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from vlif_plugin.neurons.base import SpikingNeuron
from vlif_plugin.neurons.functional import ilif_step, lif_step, nilif_step
from vlif_plugin.neurons.learnable import Learnable, positive, share, time_constant


class LIFNode(SpikingNeuron):
    """Leaky integrate-and-fire neuron; see :func:`~vlif_plugin.neurons.functional.lif_step`.

    The defaults are the field's (SpikingJelly's). VLIF uses ``v_threshold=0.15`` and
    ``decay_input=False``.

    Args:
        tau: membrane time constant in timesteps, >= 1.
        v_threshold: firing threshold.
        v_reset: potential after a spike; None for a soft reset.
        decay_input: whether the input is divided by tau too.
        detach_reset: keep gradients from flowing through the reset.
        alpha: steepness of the sigmoid surrogate.
        learn: of ``tau`` and ``v_threshold`` those that the layer learns, a weight each.

    Shape:
        (T, ...) to (T, ...), values in {0, 1}.

    Raises:
        ValueError: tau is below 1, or ``learn`` asks for what cannot be.
    """

    tau = Learnable(time_constant)
    v_threshold = Learnable(positive)
    parameters_shown = ("tau", "v_threshold", "v_reset", "decay_input", "detach_reset", "alpha")

    def __init__(
        self,
        *,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        detach_reset: bool = False,
        alpha: float = 4.0,
        learn: Iterable[str] = (),
    ) -> None:
        super().__init__()
        if tau < 1:
            raise ValueError(f"tau must be at least 1 timestep, got {tau}")
        self.tau = tau
        self.v_threshold = v_threshold
        self.v_reset = v_reset
        self.rest = v_reset or 0.0
        self.decay_input = decay_input
        self.detach_reset = detach_reset
        self.alpha = alpha
        self.learn(learn)

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One timestep; see :func:`~vlif_plugin.neurons.functional.lif_step`."""
        return lif_step(
            x, v, tau=self.tau, v_threshold=self.v_threshold, v_reset=self.v_reset,
            decay_input=self.decay_input, detach_reset=self.detach_reset, alpha=self.alpha,
        )  # fmt: skip


class ILIFNode(SpikingNeuron):
    """Integer-valued LIF neuron; see :func:`~vlif_plugin.neurons.functional.ilif_step`.

    Args:
        D: largest spike count, >= 1.
        beta: leak.
        v_threshold: potential of one count, > 0.
        detach_reset: keep gradients from flowing through the subtraction.
        learn: of ``beta`` and ``v_threshold`` those that the layer learns, a weight each.

    Shape:
        (T, ...) to (T, ...), values in {0, 1, ..., D}.

    Raises:
        ValueError: D is below 1, the threshold not above 0, or ``learn`` asks for what cannot be.
    """

    beta = Learnable(share)
    v_threshold = Learnable(positive)
    parameters_shown = ("D", "beta", "v_threshold", "detach_reset")

    def __init__(
        self,
        *,
        D: int = 4,
        beta: float = 0.25,
        v_threshold: float = 1.0,
        detach_reset: bool = True,
        learn: Iterable[str] = (),
    ) -> None:
        super().__init__()
        if D < 1:
            raise ValueError(f"D must be at least 1 level, got {D}")
        if v_threshold <= 0:
            raise ValueError(f"v_threshold must be above 0, got {v_threshold}")
        self.D = D
        self.beta = beta
        self.v_threshold = v_threshold
        self.detach_reset = detach_reset
        self.learn(learn)

    @property
    def levels(self) -> int:
        """D."""
        return self.D

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One timestep; see :func:`~vlif_plugin.neurons.functional.ilif_step`."""
        return ilif_step(
            x, v, D=self.D, beta=self.beta, v_threshold=self.v_threshold,
            detach_reset=self.detach_reset,
        )  # fmt: skip


class NILIFNode(ILIFNode):
    """Normalised I-LIF neuron; see :func:`~vlif_plugin.neurons.functional.nilif_step`.

    Args:
        D: number of virtual timesteps, >= 1.
        beta: leak.
        v_threshold: potential of one count, > 0.
        subtract_count: subtract the count (paper, eq. 5) or the normalised spike (released code).
        detach_reset: keep gradients from flowing through the subtraction.
        learn: see :class:`ILIFNode`.

    Shape:
        (T, ...) to (T, ...), values in {0, 1/D, ..., 1}.

    Raises:
        ValueError: as for :class:`ILIFNode`.
    """

    parameters_shown = ("D", "beta", "v_threshold", "subtract_count", "detach_reset")

    def __init__(
        self,
        *,
        D: int = 4,
        beta: float = 0.25,
        v_threshold: float = 1.0,
        subtract_count: bool = True,
        detach_reset: bool = True,
        learn: Iterable[str] = (),
    ) -> None:
        super().__init__(
            D=D, beta=beta, v_threshold=v_threshold, detach_reset=detach_reset, learn=learn
        )
        self.subtract_count = subtract_count

    @property
    def unit(self) -> float:
        """1 / D."""
        return 1 / self.D

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One timestep; see :func:`~vlif_plugin.neurons.functional.nilif_step`."""
        return nilif_step(
            x, v, D=self.D, beta=self.beta, v_threshold=self.v_threshold,
            subtract_count=self.subtract_count, detach_reset=self.detach_reset,
        )  # fmt: skip
