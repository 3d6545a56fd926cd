"""The tables of the VLIF paper (AAAI 2026), as printed; nothing of them was measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from vlif_plugin.comparison.rows import Kind, PublishedRow
from vlif_plugin.errors import OptionError, near_names

SYNTHETIC = ("rain12", "rain200l", "rain200h", "rain1200")
DATASETS = (*SYNTHETIC, "realrain", "euvp")
"""Datasets that the tables have scores on."""

_SKIPPED = "the counter behind parameters and FLOPs passes over the spiking convolutions; see docs/energy.md"
_RESTORMER = (
    "the energy is not 12.5 pJ x 12.33 G = 1.541e5 uJ, as in the other rows; and 12.33 G is not what "
    "Restormer takes at 256x256, which is 154.9 G"
)
_OURS = f"the energy is not 12.5 pJ x 2.794 G = 3.492e4 uJ, as in the other rows; {_SKIPPED}"
_MPRNET = "548.651 G is not what MPRNet of 3.637 M takes at 256x256, which is 141.0 G"
_NOTES = {"MPRNet": _MPRNET, "Restormer": _RESTORMER, "ESDNet": _SKIPPED, "Ours (VLIF)": _OURS}


def _synthetic(
    source: str,
    name: str,
    kind: Kind,
    scores: Sequence[float],
    size: tuple[float, float, float],
) -> PublishedRow:
    """A row of table 1, or of table 2 of the supplement.

    Args:
        source: the table.
        name: as printed.
        kind: as printed.
        scores: PSNR and SSIM on each of ``SYNTHETIC``.
        size: million parameters, FLOPs in G, energy in uJ.
    """
    pairs = zip(scores[::2], scores[1::2], strict=True)
    by_dataset = {
        dataset: {"PSNR": psnr, "SSIM": ssim}
        for dataset, (psnr, ssim) in zip(SYNTHETIC, pairs, strict=True)
    }
    return PublishedRow(name, kind, source, *size, by_dataset, _NOTES.get(name, ""))


def _real(name: str, kind: Kind, piqe: float, brisque: float) -> PublishedRow:
    scores = {"realrain": {"PIQE": piqe, "BRISQUE": brisque}}
    return PublishedRow(name, kind, "VLIF, table 2a", None, None, None, scores)


def _underwater(
    name: str, kind: Kind | None, psnr: float, ssim: float, parameters_m: float, flops_g: float
) -> PublishedRow:
    scores = {"euvp": {"PSNR": psnr, "SSIM": ssim}}
    note = _SKIPPED if name == "Ours (VLIF)" else ""
    return PublishedRow(name, kind, "VLIF, table 2d", parameters_m, flops_g, None, scores, note)


_main = partial(_synthetic, "VLIF, table 1")
_more = partial(_synthetic, "VLIF, supplement, table 2")
# fmt: off
PUBLISHED: tuple[PublishedRow, ...] = (
    _main("PReNet", "C", (36.32, 0.9593, 36.06, 0.9735, 27.18, 0.8698, 33.39, 0.9280), (0.168, 66.249, 82.81e4)),
    _main("Effderain", "C", (36.12, 0.9588, 36.06, 0.9731, 26.11, 0.8341, 32.85, 0.9147), (27.654, 52.915, 66.14e4)),
    _main("Restormer", "T", (37.33, 0.9672, 36.62, 0.9731, 27.93, 0.8823, 31.56, 0.9009), (26.10, 12.33, 11362e4)),
    _main("SmartAssign", "T", (36.87, 0.9618, 38.41, 0.9814, 27.71, 0.8536, 33.11, 0.9154), (1.359, 90.386, 112.9e4)),
    _main("ESDNet", "S", (36.38, 0.9610, 38.34, 0.9845, 28.39, 0.8944, 32.78, 0.9126), (0.165, 7.320, 9.150e4)),
    _main("Ours (VLIF)", "S", (36.70, 0.9649, 38.46, 0.9847, 28.63, 0.8935, 32.74, 0.9184), (0.088, 2.794, 1.166e4)),
    _more("RESCAN", "C", (35.48, 0.9499, 33.82, 0.9547, 26.22, 0.8219, 32.60, 0.9271), (0.149, 32.119, 4.014e5)),
    _more("PReNet", "C", (36.32, 0.9593, 36.06, 0.9735, 27.18, 0.8698, 33.39, 0.9280), (0.168, 66.249, 8.281e5)),
    _more("RCDNet", "C", (37.67, 0.9612, 38.84, 0.9854, 28.98, 0.8889, 32.68, 0.9189), (2.958, 194.501, 2.431e6)),
    _more("MPRNet", "C", (37.55, 0.9665, 39.82, 0.9863, 29.94, 0.8999, 34.50, 0.9369), (3.637, 548.651, 6.858e6)),
    _more("Effderain", "C", (36.12, 0.9588, 36.06, 0.9731, 26.11, 0.8341, 32.85, 0.9147), (27.654, 52.915, 6.614e5)),
    _more("NAFNet", "C", (37.53, 0.9639, 39.48, 0.9847, 29.19, 0.8880, 34.69, 0.9367), (29.102, 16.064, 2.008e5)),
    _more("SFNet", "C", (36.11, 0.9503, 39.50, 0.9850, 29.75, 0.9008, 34.51, 0.9383), (13.234, 124.439, 1.555e6)),
    _more("DRT", "T", (37.74, 0.9674, 38.81, 0.9830, 28.67, 0.8796, 33.88, 0.9283), (1.176, 166.045, 2.075e6)),
    _more("ELFformer", "T", (35.06, 0.9420, 38.85, 0.9800, 28.93, 0.8852, 33.54, 0.9360), (1.221, 23.667, 2.958e5)),
    _more("HPCNet", "T", (36.84, 0.9639, 39.14, 0.9847, 29.17, 0.8962, 34.46, 0.9378), (1.411, 29.540, 3.692e5)),
    _more("Restormer", "T", (37.33, 0.9672, 36.62, 0.9731, 27.93, 0.8823, 31.56, 0.9009), (26.10, 12.33, 113.62e6)),
    _more("SmartAssign", "T", (36.87, 0.9618, 38.41, 0.9814, 27.71, 0.8536, 33.11, 0.9154), (1.359, 90.386, 1.129e6)),
    _more("ESDNet", "S", (36.38, 0.9610, 38.34, 0.9845, 28.39, 0.8944, 32.78, 0.9126), (0.165, 7.320, 9.150e4)),
    _more("Ours (VLIF)", "S", (36.70, 0.9649, 38.46, 0.9847, 28.63, 0.8935, 32.74, 0.9184), (0.088, 2.7938, 1.166e4)),
    _real("Effderain", "C", 63.56, 75.28),
    _real("Restormer", "T", 32.58, 28.55),
    _real("ESDNet", "S", 26.10, 22.75),
    _real("Ours (VLIF)", "S", 24.26, 20.99),
    _underwater("TACL", None, 20.99, 0.782, 28.29, 240.06),
    _underwater("UIE-WD", None, 17.80, 0.760, 14.46, 102.76),
    _underwater("SFGNet", None, 22.68, 0.585, 1.30, 163.16),
    _underwater("UIR-PK", None, 26.42, 0.866, 1.84, 27.34),
    _underwater("Ours (VLIF)", "S", 25.69, 0.8817, 0.088, 2.7938),
)
# fmt: on
"""Every row of these tables. Parameters and FLOPs are what the table's counter gave, at a size that no
table states; the protocol behind PSNR and SSIM is not stated either. The kinds of table 2a and of VLIF in
table 2d are those of table 1; of the other methods of table 2d none is stated."""


def published_rows(datasets: Sequence[str]) -> tuple[PublishedRow, ...]:
    """The rows with scores on some datasets, with these scores.

    What the supplement repeats of table 1 is left out.

    Args:
        datasets: names of ``DATASETS``.

    Raises:
        OptionError: a name is unknown.
    """
    for dataset in datasets:
        if dataset not in DATASETS:
            raise OptionError(
                f"published: no table has scores on {dataset!r}{near_names(str(dataset), DATASETS)}"
            )
    rows: list[PublishedRow] = []
    known: set[tuple[str, str]] = set()
    for row in PUBLISHED:
        wanted = [dataset for dataset in datasets if dataset in row.scores]
        if any((row.name, dataset) not in known for dataset in wanted):
            rows.append(replace(row, scores={dataset: row.scores[dataset] for dataset in wanted}))
            known |= {(row.name, dataset) for dataset in wanted}
    return tuple(rows)
