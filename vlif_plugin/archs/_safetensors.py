"""Weights as safetensors: tensors by name and a line of text, and nothing that could run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vlif_plugin.errors import CheckpointError, first_line
from vlif_plugin.files import written_whole

_NETWORK = "network_g"  # of the file's metadata, in JSON


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says so."""
    return os.fspath(path).endswith(".safetensors")


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tensors of a file under ``params`` and, if this plugin wrote it, the network's options.

    Raises:
        CheckpointError: the file is damaged.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            content: dict[str, Any] = {"params": {key: file.get_tensor(key) for key in file.keys()}}  # noqa: SIM118
            network = json.loads((file.metadata() or {}).get(_NETWORK, "null"))
    except Exception as error:  # a library's own kinds on damaged files
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({first_line(error)})"
        ) from error
    return content | ({} if network is None else {_NETWORK: network})


def save_safetensors(
    state: Mapping[str, Tensor], network: Mapping[str, Any], path: str | os.PathLike[str]
) -> None:
    """Write weights and the options of their network; either the whole file or nothing.

    Args:
        state: dense tensors by name.
        network: ``{'type': name, **arguments}``.
        path: of the file.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import save

    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    content = save(tensors, {"format": "pt", _NETWORK: json.dumps(dict(network))})
    with written_whole(path) as file:
        file.write(content)
