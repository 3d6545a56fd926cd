"""What all blocks of one network share: timesteps, neuron constants, formulation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from vlif_plugin.neurons import (
    VLIFC,
    VLIFT,
    Formulation,
    ILIFNode,
    LIFNode,
    VLIFNode,
    build_activation,
    check_learn,
    learnable_of,
)

NeuronKind = Literal["hybrid", "lif", "ilif", "vlif_c", "vlif_t"]
_INTEGER = ("hybrid", "ilif", "vlif_c", "vlif_t")
Place = Literal["sdem", "smu"]


@dataclass(frozen=True)
class SpikingConfig:
    """Constants of a spiking network, with the values of the paper and the released code.

    Attributes:
        T: number of timesteps.
        D: number of virtual timesteps (levels of an integer spike).
        r: patch-to-time factor of VLIF.
        tau: membrane time constant of the LIF neurons, in timesteps.
        v_threshold: threshold of the LIF neurons, and of the tdBN layers before them.
        residual_scale: factor on that threshold in an SDEM's second tdBN (0.15 * 0.2 = 0.03).
        beta: leak of the integer neurons.
        alpha: steepness of the sigmoid surrogate.
        formulation: ``paper`` or ``official``.
        neuron: which neuron stands where VLIF stands in the paper (its ablation, table 2c):
            ``hybrid`` is VLIF-C in SDEM and VLIF-T in the SMU. Or a neuron of ``NEURONS`` that
            keeps the shape: its name, or a section of ``type`` and arguments.
        reduction_t: of the multi-dimensional attention, over time.
        reduction_c: of the multi-dimensional attention, over channels.
        learn: constants that each neuron layer learns, of those that it has: ``tau`` and
            ``v_threshold`` of LIF neurons, ``beta`` and ``v_threshold`` of integer ones.

    Raises:
        ValueError: a value that no network can be built with, by name.
    """

    T: int = 4
    D: int = 4
    r: int = 2
    tau: float = 2.0
    v_threshold: float = 0.15
    residual_scale: float = 0.2
    beta: float = 0.25
    alpha: float = 4.0
    formulation: Formulation = "paper"
    neuron: NeuronKind | str | Mapping[str, Any] = "hybrid"
    reduction_t: int = 4
    reduction_c: int = 16
    learn: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("T", "D", "r", "reduction_t", "reduction_c"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        for name in ("tau", "v_threshold", "residual_scale", "beta", "alpha"):
            value = getattr(self, name)
            if isinstance(value, (str, bool)) or not math.isfinite(value):
                raise ValueError(
                    f"{name} must be a number, got {value!r} (YAML: write 1e-4 as !!float 1e-4)"
                )
        for name in ("v_threshold", "residual_scale", "alpha"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)!r}")
        if self.tau < 1:
            raise ValueError(f"tau must be at least 1 timestep, got {self.tau!r}")
        if self.formulation not in get_args(Formulation):
            raise ValueError(
                f"formulation must be one of {', '.join(get_args(Formulation))}, "
                f"got {self.formulation!r}"
            )
        if self.neuron not in get_args(NeuronKind):
            build_activation(self.neuron, "neuron", get_args(NeuronKind))
        if "beta" in self.learn and self.neuron == "ilif" and self.T == 1:
            raise ValueError("learn: with T=1, neuron ilif has one step, and no use for beta")
        integer = [VLIFNode] if self.neuron in _INTEGER else []
        object.__setattr__(self, "learn", check_learn(self.learn, [LIFNode, *integer]))

    @property
    def official(self) -> bool:
        """Whether the released code is followed where it differs from the paper's text."""
        return self.formulation == "official"

    @property
    def patch(self) -> int:
        """Side of the patches that neurons at VLIF's place take a map apart into."""
        if self.neuron in get_args(NeuronKind):
            return self.r
        return math.lcm(self.r, build_activation(self.neuron).r)

    def lif(self) -> LIFNode:
        """The LIF neuron that the network uses everywhere but at VLIF's two places."""
        return LIFNode(
            tau=self.tau, v_threshold=self.v_threshold, decay_input=False, alpha=self.alpha,
            learn=self._learned_by(LIFNode),
        )  # fmt: skip

    def _learned_by(self, kind: type[nn.Module]) -> list[str]:
        return [name for name in self.learn if name in learnable_of(kind)]

    def visual_neuron(self, channels: int, place: Place) -> nn.Module:
        """The neuron at VLIF's place, as ``neuron`` says.

        Args:
            channels: C of the sequence that it is given.
            place: VLIF reduces H x W to H/r x W/r at both; where neurons that see one pixel stand
                in its place, ``sdem`` keeps H x W and ``smu`` has average pooling behind them.
        """
        kind = (
            {"sdem": "vlif_c", "smu": "vlif_t"}[place] if self.neuron == "hybrid" else self.neuron
        )
        if kind in ("vlif_c", "vlif_t"):
            build = VLIFC if kind == "vlif_c" else VLIFT
            return build(
                channels, T=self.T, r=self.r, D=self.D, beta=self.beta,
                formulation=self.formulation, full_size=False, learn=self._learned_by(VLIFNode),
            )  # fmt: skip
        if kind == "lif":
            node = self.lif()
        elif kind == "ilif":
            node = ILIFNode(D=self.D, beta=self.beta, learn=self._learned_by(ILIFNode))
        else:
            node = build_activation(self.neuron)
        return node if place == "sdem" else nn.Sequential(node, nn.AvgPool3d((1, self.r, self.r)))
