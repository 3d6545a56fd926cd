"""Sections of ``gpu.py`` on what a network is made of: neurons and convolutions, against the device's ceilings."""

from __future__ import annotations

from collections import Counter

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from common import Result, ms, photograph
from gpu_bench import AMP, Bench, add, bandwidth, seconds_of, tf32, trying
from neurons import NEURONS, Row, fill
from neurons import NOTES as NEURON_NOTES
from neurons import measure as measure_neuron
from torch import Tensor, nn

from vlif_plugin.speed import folded

Shape = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], int]
"""Of a convolution: input, weight, stride, padding, groups."""


def neurons(bench: Bench, result: Result) -> None:
    """The measurements of ``neurons.py``, and the share of the memory's bandwidth that is reached."""
    ceiling = bandwidth(bench)
    print(f"a large copy moves {ceiling / 1e9:.0f} GB/s", flush=True)
    rows: list[Row] = []
    try:
        for name in NEURONS:
            bench.check_time()
            with trying(result, name):
                for row in measure_neuron(
                    name, 4, backends=bench.backends, device=bench.device, rounds=bench.rounds,
                    channels=bench.pick(48, 4), size=bench.pick(256, 16),
                ):  # fmt: skip
                    rows.append(row)
                    shown = row.failure or f"{ms(row.seconds or 0)} ms"
                    print(f"{row.case} | {row.candidate} | {shown}", flush=True)
    finally:
        fill(result, rows)
        timed = [row for row in rows if row.seconds]
        shares = {
            (row.case, row.candidate): (row.least_bytes, row.least_bytes / row.seconds)
            for row in timed
            if row.seconds
        }
        for index, cells in enumerate(result.rows):
            least, reached = shares[cells[0], cells[1]]
            result.rows[index] = [
                *cells, f"{least / 1e6:.0f}", f"{reached / 1e9:.0f}", f"{reached / ceiling:.0%}",
            ]  # fmt: skip
        result.notes += [
            *NEURON_NOTES,
            f"ceiling: {ceiling / 1e9:.0f} GB/s, a large copy on this device; least: the input and the "
            "spikes once each, and for the gradient input, spikes' gradient and result once more. A share "
            "may pass 100 % where a cache holds part of the sequence",
        ]
        if bench.cuda:
            result.notes.append(
                "calls replayed from a CUDA graph, so that Python is not in the times"
            )


def convolutions_of(bench: Bench) -> Counter[Shape]:
    """The convolutions of the network on an image, and how often each comes."""
    net = folded(bench.network()).to(bench.device)
    found: Counter[Shape] = Counter()

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(layer, (nn.Conv2d, nn.Conv3d))
        weight = tuple(layer.weight.shape)
        stride, padding = layer.stride, layer.padding
        if isinstance(layer, nn.Conv3d):  # steps beside channels: a 1x1 convolution
            weight, stride, padding = (weight[0], weight[1] * weight[2], 1, 1), (1, 1), (0, 0)
        assert not isinstance(padding, str)
        shape = tuple(inputs[0].shape), weight, tuple(stride), tuple(padding), layer.groups
        found[shape] += 1

    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            layer.register_forward_hook(note)
    side = bench.pick(256, 32)
    with torch.inference_mode():
        net(photograph(side, side, bench.device))
    return found


def convolutions(bench: Bench, result: Result) -> None:
    """Each distinct convolution against what the device can: arithmetic and memory."""
    bytes_a_second = bandwidth(bench)
    peaks: dict[str, float] = {}
    for precision in bench.precisions:
        with trying(result, f"peak of a product in {precision}"):
            peaks[precision] = product_peak(bench, precision)
            print(f"peak {precision}: {peaks[precision] / 1e12:.1f} TMAC/s", flush=True)
    whole = dict.fromkeys(peaks, 0.0)
    least = dict.fromkeys(peaks, 0.0)
    with torch.inference_mode():
        for shape, count in sorted(convolutions_of(bench).items(), reverse=True):
            size, weight_size, stride, padding, groups = shape
            what = f"{tuple(size)} * {tuple(weight_size)}, stride {stride[0]}"
            cells = [what, str(count)]
            for precision, peak in peaks.items():
                bench.check_time()
                cells.append("failed")
                with trying(result, f"{what}, {precision}"), tf32(precision == "TF32"):
                    dtype = AMP[precision]
                    x, weight = (
                        torch.randn(s, device=bench.device, dtype=dtype).contiguous(
                            memory_format=torch.channels_last
                        )
                        for s in (size, weight_size)
                    )
                    options = {"stride": stride, "padding": padding, "groups": groups}
                    out = F.conv2d(x, weight, **options)
                    seconds = seconds_of(
                        lambda x=x, w=weight, o=options: F.conv2d(x, w, **o), bench
                    )
                    macs = out.numel() * weight[0].numel()
                    moved = sum(t.numel() * t.element_size() for t in (x, weight, out))
                    ceiling = max(macs / peak, moved / bytes_a_second)
                    bound = "arithmetic" if macs / peak >= moved / bytes_a_second else "memory"
                    whole[precision] += count * seconds
                    least[precision] += count * ceiling
                    cells[-1] = f"{macs / seconds / 1e9:.0f} ({ceiling / seconds:.0%} of {bound})"
            add(result, *cells)
    for precision, seconds in whole.items():
        if seconds:
            result.ratios[f"all convolutions, {precision}, share of the ceiling"] = (
                least[precision] / seconds
            )
            result.notes.append(
                f"{precision}: all convolutions of one pass take {ms(seconds)} ms, at the ceilings "
                f"{ms(least[precision])} ms; peak of a large product {peaks[precision] / 1e9:.0f} GMAC/s"
            )
    result.notes.append(
        f"GMAC/s, and the share of the ceiling that binds; memory: {bytes_a_second / 1e9:.0f} GB/s of a large "
        "copy; channels last"
    )


def product_peak(bench: Bench, precision: str) -> float:
    """Multiplications with additions a second of a large matrix product."""
    side = bench.pick(8192, 512)
    a, b = (torch.randn(side, side, device=bench.device, dtype=AMP[precision]) for _ in range(2))
    kept = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "TF32"
    try:
        return side**3 / seconds_of(lambda: a @ b, bench)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = kept
