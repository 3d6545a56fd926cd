"""An analysis as text for a terminal, as CSV and as JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vlif_plugin.analysis import PUBLISHED, Activation, Analysis, LayerActivity, claims
from vlif_plugin.machine import describe_machine
from vlif_plugin.records import strict_json

LAYERS_SHOWN = 12
MISSING = "-"


@dataclass(frozen=True)
class Subject:
    """What was analysed, in words.

    Attributes:
        image: its name.
        clean: name of the clean image; None where there is none.
        weights: the file, or what stands in its place.
    """

    image: str
    clean: str | None
    weights: str


def render(found: Analysis, subject: Subject) -> str:
    """What a terminal shows: claims, repetition, activation, the layers that fire most."""
    height, width = found.size
    lines = [
        f"{found.network} ({subject.weights}), {subject.image}, {width}x{height}; "
        f"x is the {'image' if found.layer == 'image' else 'input of ' + found.layer}; "
        f"high: above {found.cutoff:g} cycles for each pixel",
        "",
    ]
    for claim in claims(found):
        lines += [f"{claim.verdict:>14}  {claim.says}", f"{'':>14}  {claim.measured}"]
    lines += ["", f"{'applied to x':<46}{'t':>3} {'|x f^t(x)|':>11} {'rate':>8} {'high':>8}"]
    for name, repetition in found.repetitions.items():
        for entry in repetition.applications:
            lines.append(
                f"{name if entry.times == 0 else '':<46.46}{entry.times:>3} {entry.norm:>11.5g} "
                f"{entry.rate:>8.4f} {entry.high_share:>8.4f}"
            )
    lines += ["", f"{'active on the matrix (fig. 3)':<46}{'first':>9}{'ever':>9}{'lowest':>9}"]
    lines.append(
        f"{'published: LIF':<46}{MISSING:>9}{PUBLISHED['lif']:>9.2%}{PUBLISHED['lif_lowest']:>9.2%}"
    )
    lines.append(
        f"{'published: VLIF':<46}{MISSING:>9}{PUBLISHED['vlif']:>9.2%}{PUBLISHED['vlif_lowest']:>9.2%}"
    )
    for name, response in found.responses.items():
        first, ever = response.activations["first"], response.activations["ever"]
        lines.append(f"{name:<46}{first.share:>9.2%}{ever.share:>9.2%}{ever.shares[0]:>9.2%}")
    return "\n".join([*lines, "", *_layer_lines(found.layers)])


def _layer_lines(layers: Sequence[LayerActivity]) -> list[str]:
    if not layers:
        return ["no spiking neurons: there are no firing-rate maps"]
    head = f"{'layer':<46}{'rate':>9}{'high of x':>11}{'of x f(x)':>11}{'lift high':>11}{'low':>8}{'rain':>8}"
    lines = [head.replace("rain", "degr.")]
    for layer in sorted(layers, key=lambda layer: -layer.rate)[:LAYERS_SHOWN]:
        mark = layer.indication
        cells = [f"{layer.name:<46.46}{layer.rate:>9.4f}"]
        values = (
            (None,) * 4
            if mark is None
            else (mark.high_share, mark.high_share_masked, mark.lift_high, mark.lift_low)
        )
        widths = (11, 11, 11, 8, 8)
        for value, width in zip((*values, layer.lift_degradation), widths, strict=True):
            cells.append(f"{MISSING if value is None else f'{value:.3f}':>{width}}")
        lines.append("".join(cells))
    if len(layers) > LAYERS_SHOWN:
        lines.append(f"and {len(layers) - LAYERS_SHOWN} more layers (--output writes all)")
    return lines


def csv_files(found: Analysis) -> dict[str, bytes]:
    """The numbers of each figure as a table by file name."""
    repetition = [
        {"neuron": name, **_plain(entry)}
        for name, whole in found.repetitions.items()
        for entry in whole.applications
    ]
    spectra = [
        {"neuron": name, "times": entry.times, "frequency": frequency, "power": power}
        for name, whole in found.repetitions.items()
        for entry in whole.applications
        for frequency, power in zip(entry.spectrum.frequencies, entry.spectrum.power, strict=True)
    ]
    files = {
        "repetition.csv": _csv(repetition),
        "spectra.csv": _csv(spectra),
        "activation.csv": _csv(_activations(found)),
        "task.csv": _csv(
            [{"panel": panel.name, "high_share": panel.high_share} for panel in found.task]
        ),
    }
    if found.layers:
        files["layers.csv"] = _csv(map(layer_row, found.layers))
        files["rates.csv"] = _csv(
            {"layer": layer.name, "step": step, "rate": rate}
            for layer in found.layers
            for step, rate in enumerate(layer.rates, 1)
        )
    return files


def layer_row(layer: LayerActivity) -> dict[str, Any]:
    """What is known of a layer, but for its maps."""
    mark = {} if layer.indication is None else dataclasses.asdict(layer.indication)
    mark.pop("rate", None)
    steps, channels, height, width = layer.shape
    names = ("high_share", "high_share_masked", "high_share_random", "lift_high", "lift_low")
    return {
        "layer": layer.name, "kind": layer.kind, "steps": steps, "channels": channels,
        "height": height, "width": width, "rate": layer.rate,
        **{name: mark.get(name) for name in names},
        "lift_degradation": layer.lift_degradation,
    }  # fmt: skip


def pooled(found: Analysis) -> dict[str, Activation]:
    """Activation over the layers of the network, by the kind of their neurons."""
    both = {
        "all layers that see a pixel, in the network": found.pooled(visual=False),
        "all VLIF layers, in the network": found.pooled(visual=True),
    }
    return {name: counted for name, counted in both.items() if counted is not None}


def _activations(found: Analysis) -> list[dict[str, Any]]:
    rows = [
        (name, when, counted)
        for name, response in found.responses.items()
        for when, counted in response.activations.items()
    ]
    rows += [(name, "update", counted) for name, counted in pooled(found).items()]
    return [
        {
            "neuron": name, "active": when, "from": low, "to": high, "inputs": inputs,
            "active_inputs": fired, "share": share, "share_of_all": counted.share,
        }
        for name, when, counted in rows
        for low, high, inputs, fired, share in zip(
            counted.edges, counted.edges[1:], counted.inputs, counted.active, counted.shares,
            strict=False,
        )
    ]  # fmt: skip


def record(found: Analysis, subject: Subject) -> bytes:
    """All numbers as strict JSON."""
    return strict_json(
        {
            "network": found.network,
            **dataclasses.asdict(subject),
            "size": list(found.size),
            "cutoff": found.cutoff,
            "layer": found.layer,
            "channel": found.channel,
            "claims": [
                {"says": claim.says, "verdict": claim.verdict, "measured": claim.measured}
                for claim in claims(found)
            ],
            "repetitions": {
                name: dataclasses.asdict(whole) | {"saturated": whole.saturated}
                for name, whole in found.repetitions.items()
            },
            "mark": dataclasses.asdict(found.mark),
            "published": PUBLISHED,
            "responses": {
                name: {
                    "least_input": response.least_input,
                    "neuron": str(response.neuron),
                    **{when: _shares(c) for when, c in response.activations.items()},
                }
                for name, response in found.responses.items()
            },
            "in_the_network": {name: _shares(counted) for name, counted in pooled(found).items()},
            "task": {panel.name: panel.high_share for panel in found.task},
            "layers": [layer_row(layer) | {"rates": list(layer.rates)} for layer in found.layers],
            "machine": describe_machine("cpu"),
        }
    )


def _shares(counted: Activation) -> dict[str, Any]:
    return dataclasses.asdict(counted) | {
        "share": counted.share,
        "shares": list(counted.shares),
    }


def _plain(entry: Any) -> dict[str, Any]:
    """A dataclass' plain values by name."""
    values = dataclasses.asdict(entry)
    return {name: value for name, value in values.items() if not isinstance(value, dict)}


def _csv(rows: Iterable[dict[str, Any]]) -> bytes:
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
