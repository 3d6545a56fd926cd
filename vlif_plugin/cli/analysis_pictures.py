"""Pictures of an analysis: panels with their spectra, responses, activations, maps of firing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vlif_plugin.analysis import PUBLISHED, Analysis, LayerActivity, Panel, power_spectrum
from vlif_plugin.cli.pictures import Pixels, figure, grey, heat, png, resized
from vlif_plugin.data import to_bytes

# Okabe and Ito's colours: told apart with any kind of colour vision
COLOURS = ("#0072b2", "#56b4e9", "#999999", "#d55e00", "#e69f00")
TILE = 96


def panel_pixels(panel: Panel) -> Pixels:
    """A panel as it is shown."""
    return to_bytes(panel.maps) if panel.is_image else grey(panel.maps[0].numpy())


def spectrum_pixels(panel: Panel) -> Pixels:
    """The spectrum of what a panel shows, frequency zero in the middle, bright for much power."""
    power = torch.fft.fftshift(power_spectrum(panel.maps)).numpy()
    low = power.max() * 1e-8
    if low == 0:
        return heat(np.zeros(power.shape), 1)
    decades = np.log10(np.maximum(power, low) / low)
    return heat(decades, float(decades.max()))


def response_pixels(found: Analysis) -> list[tuple[str, Pixels]]:
    """The matrix, and for each neuron where it fires: never, not at the first timestep, at the first."""
    shown = [("the matrix", grey(found.matrix.numpy()))]
    for name, response in found.responses.items():
        fired = (response.spikes != 0).float()
        levels = (fired.any(0).float() + fired[0]).numpy()
        shown.append((name, heat(levels, 2)))
    return shown


def strip(layer: LayerActivity, tile: int = TILE) -> Pixels:
    """Maps of all timesteps beside each other, black to bright from 0 to the largest rate."""
    top = float(layer.maps.max())
    shown = [resized(heat(single, top), tile) for single in layer.maps]
    gap = np.full((shown[0].shape[0], 2, 3), 128, np.uint8)
    return np.hstack([part for image in shown for part in (image, gap)][:-1])


def draw_panels(panels: Sequence[Panel], title: str) -> bytes:
    """Panels above their spectra; a PNG."""
    drawn = figure(2.1 * len(panels), 4.9)
    drawn.suptitle(title, fontsize=10)
    grid = drawn.subplots(2, len(panels), squeeze=False)
    for column, panel in enumerate(panels):
        above, below = grid[0][column], grid[1][column]
        above.imshow(panel_pixels(panel))
        below.imshow(spectrum_pixels(panel), interpolation="nearest")
        above.set_title(panel.name, fontsize=8)
        below.set_title(f"high: {panel.high_share:.4f}", fontsize=8)
        for axes in (above, below):
            axes.set_axis_off()
    return png(drawn)


def draw_spectra(found: Analysis) -> bytes:
    """Radial power of x and of x f^t(x), by neuron; a PNG."""
    drawn = figure(3.4 * len(found.repetitions), 3.4)
    grid = drawn.subplots(1, len(found.repetitions), squeeze=False, sharey=True)[0]
    for axes, (name, repetition) in zip(grid, found.repetitions.items(), strict=True):
        for entry in repetition.applications:
            if entry.norm == 0:
                continue
            style = "-" if entry.times < 2 else "--"
            label = "x" if entry.times == 0 else f"x f^{entry.times}(x)"
            axes.semilogy(
                entry.spectrum.frequencies, entry.spectrum.power, style, label=label, lw=1.3
            )
        axes.axvline(found.cutoff, color="#888888", lw=0.6)
        axes.set_title(name, fontsize=8)
        axes.set_xlabel("cycles for each pixel", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7, frameon=False)
    grid[0].set_ylabel("power", fontsize=8)
    return png(drawn)


def draw_response(found: Analysis) -> bytes:
    """Where each neuron fires on the synthetic matrix; a PNG."""
    shown = response_pixels(found)
    drawn = figure(2.2 * len(shown), 3.2)
    for axes, (name, pixels) in zip(drawn.subplots(1, len(shown)), shown, strict=True):
        axes.imshow(pixels, interpolation="nearest")
        response = found.responses.get(name)
        below = "" if response is None else f"\n{response.activations['ever'].share:.2%} active"
        axes.set_title(name.replace(", ", ",\n", 1).replace(" (", "\n(") + below, fontsize=7)
        axes.set_axis_off()
    drawn.supxlabel(
        "dark: silent; green: fires, but not at the first timestep; yellow: at the first",
        fontsize=8,
    )
    return png(drawn)


def draw_activation(found: Analysis) -> bytes:
    """Share of active inputs by range, with what is published; a PNG."""
    drawn = figure(9, 4.9)
    axes = drawn.subplots()
    first = next(iter(found.responses.values())).activations["ever"]
    places = np.arange(len(first.edges) - 1)
    width = 0.8 / len(found.responses)
    for index, (name, response) in enumerate(found.responses.items()):
        counted = response.activations["ever"]
        shares = [100 * (share or 0) for share in counted.shares]
        axes.bar(
            places + (index - 2) * width, shares, width, color=COLOURS[index],
            label=f"{name}: {counted.share:.2%} of all",
        )  # fmt: skip
    axes.plot(
        [-0.4, 0.4], [100 * PUBLISHED["vlif_lowest"]] * 2, color="black", lw=1.2,
        label=f"published of VLIF in this range ({PUBLISHED['vlif']:.2%} of all; LIF {PUBLISHED['lif']:.2%})",
    )  # fmt: skip
    names = [f"{a:.3f}\nto {b:.3f}" for a, b in zip(first.edges, first.edges[1:], strict=False)]
    axes.set_xticks(places, names, fontsize=7)
    axes.tick_params(labelsize=7)
    axes.set_ylabel("active at any of 4 timesteps, %", fontsize=8)
    axes.set_xlabel("input", fontsize=8)
    drawn.legend(fontsize=7, frameon=False, loc="outside lower center", ncols=2)
    return png(drawn)


def draw_rates(layers: Sequence[LayerActivity]) -> bytes:
    """Maps of firing, a row for each layer and a column for each timestep; a PNG."""
    tile = 48
    steps = max(len(layer.rates) for layer in layers)
    canvas = np.full((len(layers) * (tile + 3), steps * (tile + 2), 3), 255, np.uint8)
    for row, layer in enumerate(layers):
        image = strip(layer, tile)
        top = row * (tile + 3)
        canvas[top : top + image.shape[0], : image.shape[1]] = image
    names = [f"{layer.name}, up to {layer.maps.max():.2g}" for layer in layers]
    beside = 0.4 + 0.07 * max(map(len, names))  # inches
    drawn = figure(beside + max(canvas.shape[1] / 100, 3.5), 0.9 + canvas.shape[0] / 100)
    axes = drawn.subplots()
    axes.imshow(canvas, interpolation="nearest")
    places = [row * (tile + 3) + tile / 2 for row in range(len(layers))]
    axes.set_yticks(places, names, fontsize=6)
    axes.set_xticks([(s + 0.5) * (tile + 2) for s in range(steps)], range(1, steps + 1), fontsize=7)
    axes.set_xlabel("timestep (r x r for each of the image's, in VLIF)", fontsize=8)
    axes.set_title("firing rate: dark 0, bright the layer's largest", fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return png(drawn)
