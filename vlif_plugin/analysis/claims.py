"""What the paper says of spiking neurons, beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vlif_plugin.analysis.activation import PUBLISHED
from vlif_plugin.analysis.figures import IMAGE, Analysis, Response
from vlif_plugin.analysis.indication import Indication

LIF = ("LIF of the network (threshold 0.15)", "LIF, threshold 1")
VLIF = "VLIF of the network, paper"


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper.

    Attributes:
        says: the claim.
        holds: whether it holds here; None where it could not be looked at.
        measured: the numbers that say so.
    """

    says: str
    holds: bool | None
    measured: str

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "holds", False: "does not hold", None: "not seen"}[self.holds]


def claims(found: Analysis) -> list[Claim]:
    """The paper's claims that the figures are about, in their order."""
    return [
        _saturation(found),
        _highlighting(found),
        _by_chance(found),
        _rather(found),
        _on_the_degradation(found),
        *(_fires_first(name, found.responses) for name in LIF),
        *(_fires_more(name, found.responses) for name in LIF),
        _fires_low(found.responses),
        _in_the_network(found),
    ]


def _saturation(found: Analysis) -> Claim:
    name, own = found.lif, found.repetitions[found.lif]
    norms = ", ".join(f"{entry.norm:.4g}" for entry in own.applications[1:])
    silent = own.applications[1].norm == 0
    return Claim(
        "Frequency saturation (eq. 1, t > 1): applied again, a LIF neuron changes nothing",
        None if silent else own.saturated,
        f"{name}: " + ("no spike" if silent else f"norms of x f^t(x) for t = 1, 2, ...: {norms}"),
    )


def _highlighting(found: Analysis) -> Claim:
    mark = found.mark
    silent = mark.rate == 0
    return Claim(
        "High-frequency highlighting (fig. 1): x f(x) has a smaller share of low frequencies than x",
        None if silent else mark.high_share_masked > mark.high_share,
        f"share of high frequencies {mark.high_share:.4f} in x, {mark.high_share_masked:.4f} in x f(x); "
        f"{mark.high_share_random:.4f} with as many spikes at random places"
        + _among(found, lambda m: m.high_share_masked > m.high_share),
    )


def _by_chance(found: Analysis) -> Claim:
    mark = found.mark
    where = "the image" if found.layer == IMAGE else found.layer
    return Claim(
        "High-frequency indication: spikes lie where high frequencies are",
        None if mark.lift_high is None else mark.lift_high > 1,
        f"{where}: {mark.rate:.2%} of the elements fire, and high frequencies have {_number(mark.lift_high)} times "
        "the energy there that they have on average"
        + _among(found, lambda m: (m.lift_high or 0) > 1),
    )


def _rather(found: Analysis) -> Claim:
    mark = found.mark
    return Claim(
        "... and mark them rather than low ones (in underwater images, the paper says, low ones)",
        None if mark.lift_high is None or mark.lift_low is None else mark.lift_high > mark.lift_low,
        f"low frequencies have {_number(mark.lift_low)} times their mean energy there"
        + _among(found, lambda m: (m.lift_high or 0) > (m.lift_low or 0)),
    )


def _on_the_degradation(found: Analysis) -> Claim:
    says = "Spikes lie on the degradation, as on rain"
    lifts = {layer.name: layer.lift_degradation for layer in found.layers}
    known = [lift for lift in lifts.values() if lift is not None]
    own = lifts.get(found.layer)
    if own is None:
        return Claim(says, None, "no clean image, or no layer that fires")
    return Claim(
        says,
        own > 1,
        f"{found.layer}: the degradation has {own:.3f} times its mean energy where the layer fires; above 1 in "
        f"{sum(lift > 1 for lift in known)} of {len(known)} layers that fire",
    )


def _among(found: Analysis, holds: Callable[[Indication], bool]) -> str:
    """In how many layers of the network that is so."""
    marks = [layer.indication for layer in found.layers if layer.indication is not None]
    alive = [mark for mark in marks if mark.lift_high is not None]
    return f"; so in {sum(map(holds, alive))} of {len(alive)} layers that fire" if alive else ""


def _fires_first(name: str, responses: Mapping[str, Response]) -> Claim:
    lif, visual = (responses[which].activations["first"].share for which in (name, VLIF))
    return Claim(
        "At the first timestep LIF is silent even at high input, and VLIF fires (fig. 2b)",
        lif == 0 and visual > 0,
        f"active at the first step: {name} {lif:.2%}, VLIF {visual:.2%}",
    )


def _fires_more(name: str, responses: Mapping[str, Response]) -> Claim:
    lif, visual = (responses[which].activations["ever"].share for which in (name, VLIF))
    return Claim(
        f"VLIF is active at more inputs than LIF (fig. 3: {PUBLISHED['vlif']:.2%} and {PUBLISHED['lif']:.2%})",
        visual > lif,
        f"{name} {lif:.2%}, VLIF {visual:.2%}",
    )


def _fires_low(responses: Mapping[str, Response]) -> Claim:
    shares = {name: responses[name].activations["ever"].shares[0] or 0.0 for name in (*LIF, VLIF)}
    return Claim(
        f"VLIF fires in the lowest range ({PUBLISHED['vlif_lowest']:.1%}), where LIF is silent (fig. 3)",
        shares[VLIF] > 0 and not all(shares[name] for name in LIF),
        ", ".join(f"{name} {share:.2%}" for name, share in shares.items()),
    )


def _in_the_network(found: Analysis) -> Claim:
    lif, visual = found.pooled(visual=False), found.pooled(visual=True)
    says = "VLIF fires at lower inputs than LIF in the network itself, on its own features"
    if lif is None or visual is None or not (lif.inputs[0] and visual.inputs[0]):
        return Claim(says, None, "the network has not both kinds of neurons")
    pixel, patch = lif.active[0] / lif.inputs[0], visual.active[0] / visual.inputs[0]
    return Claim(
        says,
        patch > pixel,
        f"updates on inputs in [{lif.edges[0]:.3f}, {lif.edges[1]:.3f}] that fire: neurons that see a pixel "
        f"{pixel:.2%}, VLIF {patch:.2%}",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
