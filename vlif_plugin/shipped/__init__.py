"""Weights that come with the package, each with a card that says what it is, and what it is not.

A card is the file ``NAME.md`` beside ``NAME.safetensors``: data, recipe, seed, time, scores by
protocol, energy, limits, licence.
"""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from vlif_plugin.archs import build_network, load_strict, read_checkpoint
from vlif_plugin.errors import CheckpointError, near_names

SHIPPED: dict[str, str] = {
    "derain": "light and heavy rain",
    "underwater": "a demonstration",
}
"""Names, and what each is for."""

_FOLDER = Path(__file__).parent


def weights_path(name_or_file: str | os.PathLike[str]) -> Path:
    """The file of shipped weights, or the file that is named.

    Args:
        name_or_file: a name of ``SHIPPED``; anything with a suffix or a folder is a file.

    Raises:
        CheckpointError: neither a name nor a path; near names are shown.
    """
    name = os.fspath(name_or_file)
    if name in SHIPPED:
        return _FOLDER / f"{name}.safetensors"
    path = Path(name)
    if not path.suffix and path.name == name and not path.exists():
        raise CheckpointError(
            f"{name}: neither a file nor weights that come with the package ({', '.join(SHIPPED)})"
            f"{near_names(name, SHIPPED)}"
        )
    return path


def load_shipped(name: str = "derain") -> nn.Module:
    """A network with its shipped weights, in eval mode: RGB images in [0, 1], (B, 3, H, W), to the same.

    Raises:
        CheckpointError: no weights of that name come with the package.
    """
    if name not in SHIPPED:
        raise CheckpointError(f"no weights are called {name!r}{near_names(name, SHIPPED)}")
    checkpoint = read_checkpoint(weights_path(name))
    assert checkpoint.network is not None  # a test reads every file
    net = build_network(checkpoint.network)
    load_strict(net, checkpoint)
    return net.eval()
