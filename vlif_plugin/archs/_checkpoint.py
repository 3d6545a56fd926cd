"""Reading and writing weights: safely, strictly, and with messages that say what does not fit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlif_plugin.archs._recognition import infer_options
from vlif_plugin.archs._tensor_files import is_name, load_tensors, plain_tensor
from vlif_plugin.errors import CheckpointError, first_names
from vlif_plugin.files import written_whole

_WRAPPINGS = ("params_ema", "params", "state_dict", "model", "net", "network")
# of wrappers, perhaps one in another, and of our model in mmengine
_PREFIXES = re.compile(r"^(?:module\.|net_g\.|_orig_mod\.)+")


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds.

    Attributes:
        path: the file.
        state: names and tensors, wrappers' prefixes removed.
        key: the entry that ``state`` was found under; None for a bare state dict.
        network: the ``network_g`` options stored by this plugin, if any.
    """

    path: Path
    state: dict[str, Tensor]
    key: str | None
    network: dict[str, Any] | None


def read_checkpoint(path: str | os.PathLike[str], param_key: str | None = None) -> Checkpoint:
    """Read weights in any of the usual wrappings.

    Args:
        path: a file of safetensors, by its ending; else one written by ``torch.save``: a bare state
            dict, or one under ``params_ema``, ``params``, ``state_dict``, ``model``, ``net`` or
            ``network``. Names perhaps behind ``module.``, ``net_g.`` and ``_orig_mod.``, in any order.
        param_key: the entry wanted; None takes the first of the above. ``params`` and
            ``params_ema`` stand in for each other, as in BasicSR.

    Raises:
        CheckpointError: unreadable, unsafe, or without weights.
    """
    content = load_tensors(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a state dict")
    return find_weights(content, path, param_key)


def find_weights(
    content: Mapping[str, Any], path: str | os.PathLike[str], param_key: str | None = None
) -> Checkpoint:
    """The weights in what a file holds; see :func:`read_checkpoint`.

    Args:
        content: of the file.
        path: what to call it in an error.
        param_key: the entry wanted, or None.

    Raises:
        CheckpointError: there are no weights in it.
    """
    if param_key not in (None, "params", "params_ema") and param_key not in content:
        raise CheckpointError(f"{path}: has no entry {param_key!r} (it has {_shown(content)})")
    network = content.get("network_g")
    wanted = _WRAPPINGS if param_key is None else (param_key, *_WRAPPINGS)
    key = next((k for k in wanted if isinstance(content.get(k), Mapping)), None)
    state = content if key is None else content[key]
    plain = {name: plain_tensor(value) for name, value in state.items() if is_name(name)}
    tensors = {
        _PREFIXES.sub("", name, 1): value for name, value in plain.items() if value is not None
    }
    if not tensors or len(tensors) != len(state):
        odd = [name for name in state if plain.get(name) is None]
        raise CheckpointError(
            f"{path}: holds no state dict, which is dense tensors by name (found: "
            f"{_shown(odd or state) or 'nothing'})"
        )
    return Checkpoint(
        Path(path), tensors, key, dict(network) if isinstance(network, Mapping) else None
    )


def load_strict(net: nn.Module, checkpoint: Checkpoint) -> None:
    """Load weights that fit exactly; see :func:`fitting_state`.

    Raises:
        CheckpointError: they do not fit; the network is left as it was.
    """
    net.load_state_dict(fitting_state(net, checkpoint))


def fitting_state(net: nn.Module, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Weights under the network's own names, all of them and no others.

    A network that has other names than its released checkpoints offers ``checkpoint_filter``, which
    maps a state dict with either names to one with its own.

    Raises:
        CheckpointError: a short list of what is missing, unexpected or of another shape.
    """
    ours = net.state_dict()
    translate = getattr(net, "checkpoint_filter", dict)
    state: dict[str, Tensor] = translate(checkpoint.state)
    missing = [k for k in ours if k not in state]
    unexpected = [k for k in state if k not in ours]
    reshaped = [
        f"{k} {list(state[k].shape)} instead of {list(ours[k].shape)}"
        for k in ours
        if k in state and state[k].shape != ours[k].shape
    ]
    problems = [
        f"{len(found)} {what}: {first_names(found, 3)}"
        for what, found in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", reshaped),
        )
        if found
    ]
    if problems:
        raise CheckpointError(
            f"{checkpoint.path}: does not fit {type(net).__name__}{_option_diff(net, checkpoint.state)}; "
            + "; ".join(problems)
        )
    return state


def save_atomically(content: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """``torch.save`` that leaves either the old file or the whole new one, never a part.

    Raises:
        OSError: the file could not be written; nothing is left behind.
    """
    with written_whole(path) as file:
        try:
            torch.save(dict(content), file)
        except RuntimeError as error:
            # where the disk is full, torch's writer stumbles over its own position in the file next
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _option_diff(net: nn.Module, state: Mapping[str, Tensor]) -> str:
    """What differs in options, where both are of a family that we can read; else nothing."""
    theirs, ours = infer_options(state), infer_options(net.state_dict())
    if theirs is None or ours is None:
        return ""
    different = [k for k in theirs | ours if theirs.get(k) != ours.get(k)]
    if not different:
        return ""
    sides = [
        "; ".join(f"{k} {options.get(k, 'none')}" for k in different) for options in (theirs, ours)
    ]
    return f" (the file has {sides[0]}; the network has {sides[1]})"


def _shown(keys: Iterable[object]) -> str:
    """The first names, with nothing in them that would break a line."""
    return first_names([key if is_name(key) else repr(key)[:100] for key in keys])
