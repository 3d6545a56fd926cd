"""Pictures of an energy count: energy by layer, and firing by layer and timestep."""

from __future__ import annotations

import numpy as np

from vlif_plugin.cli.pictures import figure, png
from vlif_plugin.energy import EnergyCosts, EnergyMeter, EnergyReport

REAL, SPIKES = "#c44e52", "#4c72b0"
BARS = 40


def draw_energy(report: EnergyReport, costs: EnergyCosts) -> bytes:
    """Energy of each layer as bars, in the order of the network; a PNG.

    Where there are too many layers, those of one block share a bar.

    Args:
        report: what was counted.
        costs: prices.
    """
    rows = _grouped(report, costs)
    energy = report.energy_uj(costs)
    rows.append(("neurons (sign operations)", 0.0, energy["signs"]))
    drawn = figure(9, 1.2 + 0.22 * len(rows))
    axes = drawn.subplots()
    places = np.arange(len(rows))
    real = np.array([row[1] for row in rows])
    spikes = np.array([row[2] for row in rows])
    axes.barh(places, real, color=REAL, label="on real values")
    axes.barh(places, spikes, left=real, color=SPIKES, label="on spikes, and signs")
    axes.set_yticks(places, [row[0] for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("energy, uJ (arithmetic only)")
    axes.set_title(
        f"{report.network}, {report.size[1]}x{report.size[0]}: {energy['total']:.4g} uJ",
        fontsize=10,
    )
    axes.legend(fontsize=8)
    return png(drawn)


def draw_rates(meter: EnergyMeter) -> bytes:
    """Event rate of each neuron layer at each timestep as a map; a PNG.

    Layers of fewer timesteps than others leave cells empty.

    Args:
        meter: with at least one neuron.
    """
    names = list(meter.steps)
    steps = max(len(rates) for rates in meter.steps.values())
    rates = np.full((len(names), steps), np.nan)
    for row, name in enumerate(names):
        values = [spread.mean for spread in meter.steps[name]]
        rates[row, : len(values)] = values
    drawn = figure(7, 1.2 + 0.18 * len(names))
    axes = drawn.subplots()
    shown = axes.imshow(rates, aspect="auto", cmap="viridis", vmin=0, interpolation="nearest")
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set_xticks(range(steps), range(1, steps + 1))
    axes.set_xlabel("timestep (r x r for each of the image's, in VLIF)")
    axes.set_title("events for each neuron update", fontsize=10)
    drawn.colorbar(shown, ax=axes)
    return png(drawn)


def _grouped(report: EnergyReport, costs: EnergyCosts) -> list[tuple[str, float, float]]:
    """Name, and energy on real values and on spikes in uJ, of layers or of the blocks around them."""
    paths = [layer.name.split(".") for layer in report.layers]
    depth = max(map(len, paths), default=1)
    while depth > 1 and len({tuple(path[:depth]) for path in paths}) > BARS:
        depth -= 1
    energies: dict[str, list[float]] = {}
    for layer, path in zip(report.layers, paths, strict=True):
        bar = energies.setdefault(".".join(path[:depth]), [0.0, 0.0])
        for side, energy in enumerate(layer.energy_uj(costs)):
            bar[side] += energy
    return [(name, real, spikes) for name, (real, spikes) in energies.items()]
