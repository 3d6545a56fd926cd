"""`vlif energy`: what a network does with an image, counted in full, and what it would cost."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
from pathlib import Path

from torch import Tensor, nn
from tqdm import tqdm

from vlif_plugin.cli import inputs
from vlif_plugin.data import write_atomically
from vlif_plugin.energy import (
    PRESETS,
    EnergyCosts,
    EnergyMeter,
    EnergyReport,
    check_binary,
    costs_of,
    count_ops,
)
from vlif_plugin.errors import OptionError

LAYERS_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    inputs.add_arguments(parser, folders=True)
    parser.add_argument(
        "--costs",
        default="paper",
        help=f"{', '.join(PRESETS)} (default: paper), or MAC,SOP,SIGN in pJ",
    )
    parser.add_argument(
        "--sign-per",
        default="update",
        choices=("update", "event"),
        help="when a sign operation is due",
    )
    parser.add_argument(
        "--elementwise",
        action="store_true",
        help="price element-wise operations as multiplications",
    )
    parser.add_argument(
        "--binary",
        action="store_true",
        help="also run it on binary spikes, and hold the results against each other (float64)",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="for energy.json, layers.csv and pictures"
    )


def run(args: argparse.Namespace) -> int:
    """Count, print the table, and write files where asked."""
    costs = _costs(args)
    net, _ = inputs.network(args)
    images = inputs.images(args.input, args.size)
    inputs.calibrate(args, net, images.values())
    meter = EnergyMeter(costs)
    report = None
    for image in tqdm(images.values(), desc="count", unit="image"):
        report = count_ops(net, image)
        meter.add(report)
    assert report is not None
    if args.calibrate:
        report.notes.append(
            "not trained: BatchNorm statistics were set to those of the images counted"
        )
    print(render(report, meter, costs))
    if args.binary:
        print(f"\n{compared(net, list(images.values())[-1])}")
    if args.output:
        write_files(Path(args.output), report, meter, costs, list(images))
    return 0


def _costs(args: argparse.Namespace) -> EnergyCosts:
    if "," in args.costs:
        try:
            mac, sop, sign = map(float, args.costs.split(","))
        except ValueError as error:
            raise OptionError(
                f"--costs: three numbers are needed, MAC,SOP,SIGN in pJ, got {args.costs!r}"
            ) from error
        costs = EnergyCosts(mac_pj=mac, sop_pj=sop, sign_pj=sign)
    else:
        costs = costs_of(args.costs)
    priced = costs.mac_pj if args.elementwise else 0.0
    return dataclasses.replace(costs, sign_per=args.sign_per, elementwise_pj=priced)


def render(report: EnergyReport, meter: EnergyMeter, costs: EnergyCosts) -> str:
    """The table for a terminal: the layers that matter, totals, both counts, what was left out.

    Args:
        report: of the last image, for names and what does not depend on the image.
        meter: of all images.
        costs: prices.
    """
    height, width = report.size
    totals = {name: spread.mean for name, spread in meter.totals.items()}
    images = meter.totals["macs"].count
    energy = totals["energy_uj"]
    lines = [
        f"{report.network}, {width}x{height}, mean of {images} image{'s' * (images > 1)}; prices in pJ: "
        f"MAC {costs.mac_pj:g}, SOP {costs.sop_pj:g}, sign {costs.sign_pj:g} per {costs.sign_per}, "
        f"element-wise {costs.elementwise_pj:g}",
        "",
        f"{'layer':<48} {'input':<7} {'MACs':>10} {'SOPs':>10} {'events':>7} {'uJ':>10} {'share':>6}",
    ]
    by_energy = sorted(
        report.layers,
        key=lambda layer: -meter.layers[f"{layer.name} {layer.kind}"]["energy_uj"].mean,
    )
    for layer in by_energy[:LAYERS_SHOWN]:
        spreads = meter.layers[f"{layer.name} {layer.kind}"]
        rate = f"{spreads['event_rate'].mean:.3f}" if "event_rate" in spreads else ""
        uj = spreads["energy_uj"].mean
        kind = "spikes" if layer.sops or layer.dense_macs else "real"
        lines.append(
            f"{f'{layer.name} ({layer.kind})'[:48]:<48} {kind:<7} {short(layer.macs):>10} "
            f"{short(spreads['sops'].mean):>10} {rate:>7} {uj:>10.4g} {uj / energy if energy else 0:>6.1%}"
        )
    if len(by_energy) > LAYERS_SHOWN:
        lines.append(f"and {len(by_energy) - LAYERS_SHOWN} more layers (--output writes all)")
    spike_driven = totals["dense_macs"] - totals["macs"]
    lines += [
        "",
        f"{'':<26} {'full count':>14}   paper's count (skips the spiking convolutions; no energy estimate)",
        f"{'parameters':<26} {report.parameters:>14,}   {report.paper.parameters:,}",
        f"{'MACs on real values':<26} {short(totals['macs']):>14}   {short(report.paper.macs)}",
        f"{'MACs that spikes replace':<26} {short(spike_driven):>14}",
        f"{'synaptic operations':<26} {short(totals['sops']):>14}{spread_of(meter, 'sops')}",
        f"{'sign operations':<26} {short(totals['signs']):>14}",
        f"{'firing rate':<26} {totals['firing_rate']:>14.4f}{spread_of(meter, 'firing_rate')}",
        f"{'element-wise operations':<26} {short(totals['elementwise']):>14}   of which BatchNorm, foldable: "
        f"{short(report.foldable)}",
        f"{'energy, uJ':<26} {energy:>14.4g}   {report.paper_energy_uj(costs):.4g}",
    ]
    uncounted = ", ".join(f"{name} ({calls} calls)" for name, calls in report.not_counted.items())
    lines += [
        "",
        f"not counted: {uncounted or 'nothing'}",
        *(f"note: {note}" for note in report.notes),
    ]
    return "\n".join(lines)


def compared(net: nn.Module, image: Tensor) -> str:
    """What runs on binary spikes, and how far the result is from that of integer ones."""
    difference, run = check_binary(net, image)
    return f"{run.summary()}\nlargest difference from integer spikes: {difference:.3g}"


def spread_of(meter: EnergyMeter, name: str) -> str:
    """The standard deviation over images, where there are several."""
    spread = meter.totals[name]
    value = short(spread.std) if spread.std >= 1 else f"{spread.std:.2g}"
    return f"   +- {value} over images" if spread.count > 1 else ""


def short(value: float) -> str:
    """A count with its power of a thousand."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.4g} {unit}"
    return f"{value:.4g}"


def write_files(
    folder: Path, report: EnergyReport, meter: EnergyMeter, costs: EnergyCosts, images: list[str]
) -> None:
    """Write ``energy.json``, ``layers.csv``, ``energy.png`` and ``rates.png``.

    Args:
        folder: made if missing.
        report: of the last image.
        meter: of all images.
        costs: prices.
        images: names of the images.

    Raises:
        DataError: a file cannot be written.
    """
    from vlif_plugin.cli.energy_pictures import draw_energy, draw_rates

    record = meter.record(report, images)
    write_atomically(folder / "energy.json", json.dumps(record, indent=1).encode())
    text = io.StringIO()
    fields = [field.name for field in dataclasses.fields(report.layers[0])] if report.layers else []
    writer = csv.DictWriter(text, [*fields, "event_rate", "energy_uj"], lineterminator="\n")
    writer.writeheader()
    for layer in report.layers:
        energy = sum(layer.energy_uj(costs))
        row = dataclasses.asdict(layer) | {"event_rate": layer.event_rate, "energy_uj": energy}
        writer.writerow(row)
    write_atomically(folder / "layers.csv", text.getvalue().encode())
    write_atomically(folder / "energy.png", draw_energy(report, costs))
    written = "energy.json, layers.csv, energy.png"
    if meter.steps:
        write_atomically(folder / "rates.png", draw_rates(meter))
        written += ", rates.png"
    print(f"written to {folder}: {written}")
