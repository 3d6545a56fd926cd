"""mmengine's checkpoints: read without running code, written whole, the newest good one found.

mmengine 0.10.7 pickles its histories of logged values with their class, which ``weights_only``
refuses. Ours are written as tensors; those of others are read through stand-ins that hold what the
file says and do nothing with it.
"""

from __future__ import annotations

import copy
import inspect
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import checkpoint as _checkpoint
from torch import Tensor

from vlif_plugin.archs import load_tensors, save_atomically
from vlif_plugin.errors import CheckpointError, TrainingError, first_line

# mmengine's own, even if this module is executed again when its function is replaced
_save_elsewhere = inspect.unwrap(_checkpoint.save_checkpoint)
F = TypeVar("F", bound=Callable[..., Any])
_KIND = "mmengine.logging.HistoryBuffer"
_PLAIN: tuple[type[Any], ...] = (bool, int, float, str)


def instead_of(own: Callable[..., Any]) -> Callable[[F], F]:
    """Mark a replacement with what it replaces, where ``inspect.unwrap`` finds it."""

    def mark(replacement: F) -> F:
        replacement.__wrapped__ = own  # type: ignore[attr-defined]
        return replacement

    return mark


class _History:
    """Stands for a pickled ``HistoryBuffer``, whose own would change the class as the file says."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _DType:
    """Stands for ``numpy.dtype``."""

    order = "="

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Array:
    """Stands for ``numpy.ndarray``."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """The array, where it is one of numbers or text.

        Raises:
            ValueError: it is not.
        """
        _, shape, kind, fortran, data = self.state
        if not isinstance(kind, _DType):
            raise ValueError("an array without a type")
        name = f"{kind.order}{kind.name}"
        if not re.fullmatch(r"[<>=|][biufcSU]\d+", name):
            raise ValueError(f"an array of type {name}, which is neither of numbers nor of text")
        flat = np.frombuffer(data, np.dtype(name))
        return flat.reshape(shape, order="F" if fortran else "C").copy()


class _Scalar(_Array):
    """Stands for a numpy number."""


def _new_array(*_: Any) -> _Array:
    return _Array()


def _new_scalar(kind: Any, data: Any) -> _Scalar:
    scalar = _Scalar()
    scalar.state = (1, (), kind, False, data)
    return scalar


def _no_attribute(*_: Any) -> None:
    """Stands for ``getattr``, with which HistoryBuffers name their methods: we have them already."""


def _no_bytes() -> bytes:
    """Stands for ``bytes``, by which an empty array is pickled."""
    return b""


_STAND_INS: list[Any] = [
    (_History, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_no_attribute, "builtins.getattr"),
    (_no_bytes, "builtins.bytes"),
    (_Array, "numpy.ndarray"),
    (_DType, "numpy.dtype"),
    *(
        (stand_in, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")  # numpy 1 and numpy 2
        for stand_in, name in ((_new_array, "_reconstruct"), (_new_scalar, "scalar"))
    ),
]


def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint file; tensors and plain types, numpy's numbers, HistoryBuffers, no more.

    Args:
        filename: written by us, by mmengine, by BasicSR or by ``torch.save`` of a state dict.
        map_location: as for ``torch.load``; None leaves tensors where they were saved, or on the
            CPU where there is no GPU.

    Returns:
        The content, with an entry ``state_dict`` where it has weights (BasicSR's averaged ones before
        the others), without ``meta['config']``, which mmengine would run when it resumes.

    Raises:
        CheckpointError: the file is missing, damaged, or holds anything else.
    """
    path = os.path.expanduser(filename)
    if map_location is None and not torch.cuda.is_available():
        map_location = "cpu"
    with torch.serialization.safe_globals(_STAND_INS):
        content = load_tensors(path, map_location)
    try:
        content = _restored(content)
    except Exception as error:  # a hostile file can hold anything in the place of anything
        raise CheckpointError(f"{path}: not a readable checkpoint ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    if isinstance(meta := content.get("meta"), dict):
        meta.pop("config", None)
    optimizer = content.get("optimizer")
    if isinstance(optimizer, dict) and optimizer.get("loss_scaler") == {}:
        del optimizer["loss_scaler"]  # of a run on the CPU; a scaler on a GPU refuses it
    if "state_dict" not in content:
        found = (content.get(key) for key in ("params_ema", "params"))
        state = next((value for value in found if isinstance(value, dict)), None)
        if state is None and content and all(isinstance(v, Tensor) for v in content.values()):
            state = copy.copy(content)  # not dict(): torch keeps versions in an attribute
        if state is not None:
            content["state_dict"] = state
    return content


def load_from_http(
    filename: str,
    map_location: Any = None,
    model_dir: str | None = None,
    progress: bool = os.isatty(0),
) -> dict[str, Any]:
    """Download a checkpoint, unless it was before, and read it like :func:`load_from_local`.

    Args:
        filename: its address.
        map_location: as for :func:`load_from_local`.
        model_dir: where it is kept; torch.hub's folder by default.
        progress: show a bar.

    Raises:
        CheckpointError: it cannot be had or read.
    """
    folder = Path(model_dir or Path(torch.hub.get_dir(), "checkpoints"))
    path = folder / Path(urlparse(filename).path).name
    rank, world_size = get_dist_info()
    if rank == 0:
        _download(filename, path, progress)
    if world_size > 1:
        torch.distributed.barrier()
    _download(filename, path, progress)  # for a machine that does not share rank 0's disk
    return load_from_local(str(path), map_location)


@instead_of(_save_elsewhere)
def save_checkpoint(
    checkpoint: Mapping[str, Any],
    filename: str,
    file_client_args: dict[str, Any] | None = None,
    backend_args: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint of tensors and plain types, whole or not at all.

    Args:
        checkpoint: what mmengine gathered. HistoryBuffers become dictionaries, which
            :func:`load_from_local` turns back; numpy's arrays and numbers become tensors and
            Python's; tensors go to the CPU; what has no such form is left out with a warning.
        filename: a local path; any other goes to mmengine's own function.
        file_client_args: as for mmengine's.
        backend_args: as for mmengine's.

    Raises:
        TrainingError: the file cannot be written; no part of it is left.
    """
    content = _plain(checkpoint, "checkpoint")
    backend = (file_client_args or backend_args or {}).get("backend", "local")
    if "://" in filename or backend not in ("local", "disk"):
        _save_elsewhere(content, filename, file_client_args, backend_args)
        return
    try:
        Path(filename).parent.mkdir(parents=True, exist_ok=True)
        save_atomically(content, filename)
    except OSError as error:
        raise TrainingError(f"{filename}: cannot be written ({error.strerror or error})") from error


def _download(url: str, path: Path, progress: bool) -> None:
    if path.is_file():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=progress)
    except Exception as error:  # each layer of the network has its own
        raise CheckpointError(f"{url}: cannot be downloaded ({first_line(error)})") from error


def _restored(value: Any) -> Any:
    """What a file holds, stand-ins and marked dictionaries replaced by what they stand for."""
    if isinstance(value, _History):
        state = _restored(value.state)
        return _history(state["_log_history"], state["_count_history"], state["max_length"])
    if isinstance(value, _Scalar):
        return value.array().item()
    if isinstance(value, _Array):
        return value.array()
    if isinstance(value, dict):
        if value.get("kind") == _KIND:
            log, count = (value[key].cpu().numpy() for key in ("log_history", "count_history"))
            return _history(log, count, value["max_length"])
        for key in value:  # in place, because torch keeps versions in an attribute
            value[key] = _restored(value[key])
    elif type(value) is list:
        value[:] = map(_restored, value)
    elif type(value) is tuple:
        return tuple(map(_restored, value))
    return value


def _history(log: np.ndarray, count: np.ndarray, max_length: int) -> HistoryBuffer:
    if not isinstance(log, np.ndarray) or not isinstance(count, np.ndarray):
        raise ValueError("a history that is not of numbers")
    return HistoryBuffer(log, count, int(max_length))  # type: ignore[arg-type]  # arrays will do


class _NotPlainError(Exception):
    """A value that has no form in tensors and plain types."""


def _plain(value: Any, where: str) -> Any:
    """A copy in tensors and plain types; entries that have no such form are left out."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, HistoryBuffer):
        log, count = (torch.from_numpy(array.copy()) for array in value.data)
        return {
            "kind": _KIND, "log_history": log, "count_history": count, "max_length": value.max_length,
        }  # fmt: skip
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biufc" and value.dtype.isnative:
            return torch.from_numpy(value.copy())
        return _plain(value.tolist(), where)
    if isinstance(value, np.generic):  # before float, of which numpy's is one
        return _plain(value.item(), where)
    if value is None or isinstance(value, torch.dtype | torch.device | torch.Size):
        return value
    for kind in _PLAIN:
        if isinstance(value, kind):  # perhaps of a class of someone's own
            return value if type(value) is kind else kind(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    if isinstance(value, list | tuple | set | frozenset):
        kind = next((k for k in (list, tuple) if isinstance(value, k)), set)
        return kind(_or_none(item, f"{where}[{index}]") for index, item in enumerate(value))
    raise _NotPlainError(type(value).__name__)


def _plain_mapping(value: Mapping[Any, Any], where: str) -> dict[Any, Any]:
    plain = OrderedDict() if isinstance(value, OrderedDict) else {}
    if isinstance(plain, OrderedDict) and hasattr(value, "_metadata"):
        plain._metadata = value._metadata  # type: ignore[attr-defined]  # versions of torch's layers
    for key, item in value.items():
        if inspect.isroutine(item):
            continue  # of a schedule, which has its functions in the code that resumes it
        try:
            plain[_plain(key, where)] = _plain(item, f"{where}.{key}")
        except _NotPlainError as error:
            _warn(f"{where}.{key} is left out of the checkpoint: a {error} is no plain type")
    return plain


def _or_none(value: Any, where: str) -> Any:
    try:
        return _plain(value, where)
    except _NotPlainError as error:
        _warn(f"{where} is None in the checkpoint: a {error} is no plain type")
        return None


def _warn(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)
