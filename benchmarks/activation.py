"""Under which settings the activations that the paper prints (fig. 3) come out; CPU, a minute.

The matrix is that of :func:`vlif_plugin.analysis.decay_matrix`, the neurons are the plugin's. Varied are what the
paper leaves open: thresholds, how inputs are scaled, D, leak, reset, patch size, timesteps, and what counts as
active: an input that fires at any step, each step for itself, the first step, or a place that spikes reach after
the bilinear up-sampling that VLIF-C ends with.

    python benchmarks/activation.py
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor

from vlif_plugin.analysis import PUBLISHED, active, at_pixels, decay_matrix, equal_ranges
from vlif_plugin.neurons import LIFNode, SpikingNeuron, VLIFNode

NEAREST = 12
NETWORK = {
    "LIF": "threshold 0.15, input does not decay, hard reset",
    "VLIF": "r 2, D 4, beta 0.25, input x 1, ",
}
TIMES = (1, 2, 4, 8)


def lif_neurons() -> Iterator[tuple[str, float, SpikingNeuron]]:
    """Name, scale of the input, neuron."""
    for threshold, decays, soft in itertools.product(
        (0.15, 0.25, 0.3, 0.5, 0.75, 1.0), (False, True), (False, True)
    ):
        neuron = LIFNode(v_threshold=threshold, decay_input=decays, v_reset=None if soft else 0.0)
        name = f"threshold {threshold}, input {'decays' if decays else 'does not decay'}"
        yield f"{name}, {'soft' if soft else 'hard'} reset", 1.0, neuron


def vlif_neurons() -> Iterator[tuple[str, float, SpikingNeuron]]:
    """Name, scale of the input, neuron."""
    for r, D, beta, counts, scale in itertools.product(
        (2, 4, 8), (1, 2, 4, 8), (0.25, 0.5, 0.75, 1.0), (True, False), (1, 1.5, 2, 3, 4, 1 / 0.15, 8)
    ):  # fmt: skip
        neuron = VLIFNode(r=r, D=D, beta=beta, subtract_count=counts)
        name = f"r {r}, D {D}, beta {beta}, input x {scale:.3g}, {'count' if counts else 'spike'} subtracted"
        yield name, float(scale), neuron


def shares(
    neuron: SpikingNeuron, x: Tensor, low: Tensor, T: int
) -> Iterator[tuple[str, float, float]]:
    """What counts as active; share of all inputs, and of those in the lowest range."""
    x_seq = x.expand(T, 1, 1, *x.shape)
    with torch.no_grad():
        spikes = neuron(x_seq)
    placed = at_pixels(neuron, spikes, x_seq)[:, 0, 0]
    found = {"at any step": active(placed)[None], "each step": placed != 0}
    found["at the first"] = active(placed, "first")[None]
    if isinstance(neuron, VLIFNode):
        steps = F.interpolate(spikes[:, :, 0], x.shape, mode="bilinear", align_corners=False)[:, 0]
        found["up-sampled, at any step"] = steps.sum(0)[None] > 0
        found["up-sampled, each step"] = steps > 0
    for when, on in found.items():
        wide = on.double()
        yield when, wide.mean().item(), wide[:, low].mean().item()


def main() -> None:
    """Print what matches, and what comes nearest."""
    torch.set_num_threads(1)
    matrix = decay_matrix()
    low = matrix < equal_ranges(matrix)[1]
    published = {
        "LIF": (lif_neurons, PUBLISHED["lif"], PUBLISHED["lif_lowest"]),
        "VLIF": (vlif_neurons, PUBLISHED["vlif"], PUBLISHED["vlif_lowest"]),
    }
    for kind, (neurons, share, lowest) in published.items():
        found: dict[tuple[str, float, float], list[int]] = {}
        for name, scale, neuron in neurons():
            for T in TIMES:
                for when, whole, part in shares(neuron, matrix * scale, low, T):
                    found.setdefault((f"{name}; {when}", whole, part), []).append(T)
        alike = [key for key in found if f"{key[1]:.4f}" == f"{share:.4f}"]
        both = [key for key in alike if f"{key[2]:.3f}" == f"{lowest:.3f}"]
        count = sum(map(len, found.values()))
        print(f"{kind}: {share:.2%} published, {lowest:.1%} in the lowest range; {count} settings")
        known = [key for key in found if key[0].startswith(NETWORK[kind])]
        print("  of the network, T 4:")
        for key in known:
            if 4 in found[key]:
                print(f"    {key[1]:.2%} and {key[2]:.1%}: {key[0].rpartition('; ')[2]}")
        for title, keys in (
            ("give both", both),
            ("give the first alone", [key for key in alike if key not in both]),
            ("nearest", [] if both else sorted(found, key=lambda key: _away(key, share, lowest))),
        ):
            times = sum(len(found[key]) for key in keys)
            print(f"  {title}:" if title == "nearest" else f"  {times} {title}")
            for key in keys[:NEAREST]:
                names = ", ".join(map(str, found[key]))
                print(f"    {key[1]:.2%} and {key[2]:.1%}: T {names}; {key[0]}")


def _away(key: tuple[str, float, float], share: float, lowest: float) -> float:
    return abs(key[1] - share) + abs(key[2] - lowest)


if __name__ == "__main__":
    main()
