"""What all blocks of one network share: timesteps, neuron constants, formulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from vlif_plugin.neurons import VLIFC, VLIFT, Formulation, ILIFNode, LIFNode

NeuronKind = Literal["hybrid", "lif", "ilif", "vlif_c", "vlif_t"]
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
            ``hybrid`` is VLIF-C in SDEM and VLIF-T in the SMU.
        reduction_t: of the multi-dimensional attention, over time.
        reduction_c: of the multi-dimensional attention, over channels.

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
    neuron: NeuronKind = "hybrid"
    reduction_t: int = 4
    reduction_c: int = 16

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
        for name, allowed in (
            ("formulation", get_args(Formulation)),
            ("neuron", get_args(NeuronKind)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )

    @property
    def official(self) -> bool:
        """Whether the released code is followed where it differs from the paper's text."""
        return self.formulation == "official"

    def lif(self) -> LIFNode:
        """The LIF neuron that the network uses everywhere but at VLIF's two places."""
        return LIFNode(
            tau=self.tau, v_threshold=self.v_threshold, decay_input=False, alpha=self.alpha
        )

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
                formulation=self.formulation, full_size=False,
            )  # fmt: skip
        node = self.lif() if kind == "lif" else ILIFNode(D=self.D, beta=self.beta)
        return node if place == "sdem" else nn.Sequential(node, nn.AvgPool3d((1, self.r, self.r)))
