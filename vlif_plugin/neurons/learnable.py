"""Constants of a neuron that a layer can learn: tau, beta, thresholds.

A learned constant is a function of one weight w of the layer, any real number, that begins at 0; w = 0
is the value that the neuron was given. So the value stays in its range whatever an optimiser does,
steps are relative to its size, and weight decay, which draws weights to 0, draws it back to where it
began: no optimiser has to leave these weights out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Self, overload

import torch
from torch import Tensor, nn

from vlif_plugin.errors import OptionError, near_names

Rule = Callable[[float, Tensor], Tensor]
"""``rule(start, w)``: the value, ``start`` for w = 0."""


def positive(start: float, w: Tensor) -> Tensor:
    """``start * exp(w)``, above 0: a threshold and the potentials that it is held against scale together."""
    return start * w.exp()


def share(start: float, w: Tensor) -> Tensor:
    """``sigmoid(logit(start) + w)``, between 0 and 1."""
    return torch.sigmoid(w + math.log(start / (1 - start)))


def time_constant(start: float, w: Tensor) -> Tensor:
    """``1 / sigmoid(-log(start - 1) + w)``, above 1 (PLIF: Fang et al., ICCV 2021)."""
    return 1 / torch.sigmoid(w - math.log(start - 1))


_RANGES: dict[Rule, tuple[float, float]] = {
    positive: (0.0, math.inf),
    share: (0.0, 1.0),
    time_constant: (1.0, math.inf),
}


class Learnable:
    """A constant of a neuron: a class attribute, to which the constructor assigns a number.

    Read, it is that number, or where :meth:`~vlif_plugin.neurons.SpikingNeuron.learn` made it
    learned, a tensor without dimensions. The weight of ``tau`` is the parameter ``w_tau``.

    Args:
        rule: :func:`positive`, :func:`share` or :func:`time_constant`.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.low, self.high = _RANGES[rule]

    def __set_name__(self, owner: type, name: str) -> None:
        """Take the attribute's name."""
        self.name = name
        self.start = f"start_{name}"
        self.weight = f"w_{name}"

    @overload
    def __get__(self, neuron: None, owner: type) -> Self: ...

    @overload
    def __get__(self, neuron: nn.Module, owner: type) -> float | Tensor: ...

    def __get__(self, neuron: nn.Module | None, owner: type) -> Self | float | Tensor:
        """The value as it is now."""
        if neuron is None:
            return self
        start: Any = getattr(neuron, self.start)
        weight: Any = getattr(neuron, self.weight)
        return start if weight is None else self.rule(start, weight)

    def __set__(self, neuron: nn.Module, value: float) -> None:
        """Begin at ``value``; whether it is learned stays as it is."""
        weight = neuron._parameters.get(self.weight)
        if weight is None:
            neuron.register_parameter(self.weight, None)
        else:
            self._check(neuron, value)
            nn.init.zeros_(weight)
        setattr(neuron, self.start, value)

    def learn(self, neuron: nn.Module) -> None:
        """Make it a parameter of the neuron.

        Raises:
            OptionError: its value is not inside the range of what can be learned.
        """
        self._check(neuron, getattr(neuron, self.start))
        neuron.register_parameter(self.weight, nn.Parameter(torch.zeros(())))

    def _check(self, neuron: nn.Module, value: float) -> None:
        if not self.low < value < self.high:
            where = f"above {self.low:g}" + (f" and below {self.high:g}" * (self.high < math.inf))
            raise OptionError(
                f"{type(neuron).__name__}: a learned {self.name} must begin {where}, got {value}"
            )


def learnable_of(kind: type) -> dict[str, Learnable]:
    """The constants that neurons of a class can learn, by name."""
    found = {name: x for base in reversed(kind.__mro__) for name, x in vars(base).items()}
    return {name: x for name, x in found.items() if isinstance(x, Learnable)}


def learned_constants(net: nn.Module) -> dict[str, float]:
    """What the neurons of a network have learned: values by their path, as ``encoder.0.neuron.tau``."""
    with torch.no_grad():
        return {
            f"{path}.{name}" if path else name: float(getattr(module, name))
            for path, module in net.named_modules()
            for name, constant in learnable_of(type(module)).items()
            if getattr(module, constant.weight) is not None
        }


def check_learn(names: object, kinds: Iterable[type]) -> tuple[str, ...]:
    """What ``learn`` asks for.

    Args:
        names: a list of names of constants.
        kinds: classes of neurons, of which at least one must have each.

    Raises:
        OptionError: it is no list, or names what none of the neurons can learn.
    """
    known = {name for kind in kinds for name in learnable_of(kind)}
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise OptionError(
            f"learn must be a list of names, as [{', '.join(sorted(known))}], got {names!r}"
        )
    asked = tuple(names)
    for name in asked:
        if name not in known:
            can = f"can learn {', '.join(sorted(known))}" if known else "has nothing to learn"
            kind = " and ".join(kind.__name__ for kind in kinds)
            raise OptionError(f"learn: {kind} {can}, got {name!r}{near_names(str(name), known)}")
    return asked
