"""What an operation costs, in picojoule."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

from vlif_plugin.errors import OptionError, near_names

SignPer = Literal["update", "event"]


@dataclass(frozen=True)
class EnergyCosts:
    """Prices of operations. Memory traffic is not among them.

    Attributes:
        mac_pj: of a multiplication with accumulation.
        sop_pj: of a synaptic operation: one spike event reaching one output.
        sign_pj: of a sign operation of a neuron.
        elementwise_pj: of an element-wise operation; 0 in the published accounts.
        sign_per: whether a sign operation is due at each ``update`` of a neuron (each element at
            each step) or at each ``event`` only.

    Raises:
        OptionError: a price is no number of at least 0, or ``sign_per`` is something else.
    """

    mac_pj: float
    sop_pj: float
    sign_pj: float
    elementwise_pj: float = 0.0
    sign_per: SignPer = "update"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "sign_per":
                if value not in get_args(SignPer):
                    raise OptionError(f"sign_per must be update or event, got {value!r}")
            elif (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not math.isfinite(value)
                or value < 0
            ):
                raise OptionError(f"{field.name} must be a number of at least 0, got {value!r}")


PRESETS: dict[str, EnergyCosts] = {
    "paper": EnergyCosts(mac_pj=12.5, sop_pj=0.077, sign_pj=3.7),
    "45nm": EnergyCosts(mac_pj=4.6, sop_pj=0.9, sign_pj=0.9),
}
"""``paper``: Hu, Tang and Pan, 2021, taken over by ESDNet and VLIF: a Stratix 10 FPGA's multiplication
beside the ROLLS neuromorphic chip's synaptic operation; no source was found for the sign operation.
``45nm``: float32 in 45 nm, Horowitz, ISSCC 2014."""


def costs_of(name: str) -> EnergyCosts:
    """A preset by name.

    Raises:
        OptionError: there is none of that name.
    """
    if name not in PRESETS:
        raise OptionError(f"no energy constants are called {name!r}{near_names(name, PRESETS)}")
    return PRESETS[name]
