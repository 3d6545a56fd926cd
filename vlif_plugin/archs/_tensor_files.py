"""Reading files of ``torch.save`` that anybody may have made: tensors and plain types, in bounds."""

from __future__ import annotations

import os
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from typing import Any, BinaryIO, TypeGuard

import torch
from torch import Tensor, nn

from vlif_plugin.archs._safetensors import is_safetensors, load_safetensors
from vlif_plugin.errors import UNFIT, CheckpointError, first_line

_DEEPEST = 100  # levels; a training state has six
_MOST_VALUES = 10**7  # counted as often as they can be reached
_CHUNK = 2**20


def load_tensors(path: str | os.PathLike[str], map_location: Any = "cpu") -> Any:
    """``torch.load`` that accepts tensors and plain types only; files of safetensors by their ending.

    What it gives can be walked: nothing holds itself, or is nested or repeated beyond bounds, and
    no more memory is taken than the file has bytes. Damage that changes values alone is not noticed,
    by PyTorch neither; see :func:`check_intact`.

    Args:
        path: the file.
        map_location: where the tensors go, as for ``torch.load``; the CPU by default. Those of
            safetensors are on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, would run code when read, or is a trap.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: no such weights file")
    if is_safetensors(path):
        return load_safetensors(path)
    try:
        _check_traps(path)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # PyTorch's, of files that it refuses in the same breath
            content = torch.load(path, map_location=map_location, weights_only=True)
        _check_content(content, os.path.getsize(path))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, because reading it would run code or it is no checkpoint "
            "(only tensors and plain types are loaded); re-save it as a plain state dict"
        ) from error
    except _TrapError as error:
        raise CheckpointError(f"{path}: refused, because {error}") from error
    except Exception as error:  # torch raises many kinds on damaged files
        raise CheckpointError(f"{path}: not a readable checkpoint ({first_line(error)})") from error
    return content


def check_intact(path: str | os.PathLike[str]) -> None:
    """Compare every record of a file with the checksum that it was written with.

    ``torch.load`` does not: a flipped bit gives another number, and no error. A file that was saved
    with ``torch.serialization.set_crc32_options(False)`` has no checksums and fails.

    Args:
        path: a file of ``torch.save``.

    Raises:
        CheckpointError: it is missing, no such file, or damaged; names the record.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: no such weights file")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_records(archive, path)
            damaged = archive.testzip()
    except _TrapError as error:
        raise CheckpointError(f"{path}: damaged ({error})") from error
    except Exception as error:  # zipfile raises many kinds on damaged files
        raise CheckpointError(f"{path}: damaged ({first_line(error)})") from error
    if damaged is not None:
        raise CheckpointError(f"{path}: damaged (record {damaged!r} fails its checksum)")


class _TrapError(Exception):
    """A file that would take more than it has."""


def _check_traps(path: str | os.PathLike[str]) -> None:
    """Refuse what takes memory before there is anything to look at."""
    with open(path, "rb") as file:
        if file.read(4) == b"PK\3\4":  # how torch.load tells its own from older files
            with zipfile.ZipFile(file) as archive:
                _check_records(archive, path)
                for info in archive.infolist():
                    if info.filename.lower().endswith(".pkl"):  # torch.load minds no case
                        # not by archive.open, which wants the checksum that a file may not have
                        file.seek(info.header_offset + 26)
                        file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
                        _check_names(file, info.file_size)
        else:
            file.seek(0)
            _check_names(file, os.path.getsize(path))


def _check_records(archive: zipfile.ZipFile, path: str | os.PathLike[str]) -> None:
    infos = archive.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise _TrapError("its records are compressed, which torch.save's are not")
    if sum(info.file_size for info in infos) > os.path.getsize(path):
        raise _TrapError("its records are longer than the file")


def _check_names(file: BinaryIO, length: int) -> None:
    """Refuse ``bytearray``, which torch.load lets a pickle call: with a number, it fills the memory."""
    last = b""
    while chunk := file.read(min(_CHUNK, length)):
        if b"\nbytearray\n" in last + chunk:
            raise _TrapError("it makes a bytearray, which no checkpoint needs")
        last = chunk[-16:]
        length -= len(chunk)


def _check_content(content: Any, size: int) -> None:
    """Refuse content that cannot be walked, and memory that the file has not; drop odd attributes.

    An OrderedDict and a tensor may bring attributes, which can hide their methods from the reader.
    """
    extents: dict[int, tuple[int, int]] = {}
    storages: dict[int, int] = {}
    begun: set[int] = set()
    waiting = [(content, False)]
    while waiting:
        value, whole = waiting.pop()
        inner = _inner(value)
        if whole:
            found = [extents.get(id(part), (1, 1)) for part in inner]
            values = 1 + sum(count for count, _ in found)
            levels = 1 + max((depth for _, depth in found), default=0)
            if values > _MOST_VALUES or levels > _DEEPEST:
                raise _TrapError(f"it has {values} values in {levels} levels")
            extents[id(value)] = values, levels
        elif id(value) not in extents:
            if id(value) in begun:
                raise _TrapError("it holds itself")
            begun.add(id(value))
            _tidy(value, storages)
            waiting.append((value, True))
            waiting.extend((part, False) for part in inner if isinstance(part, _WALKED))
    if sum(storages.values()) > size:
        raise _TrapError(f"its tensors have {sum(storages.values())} bytes, the file has {size}")


_WALKED = (dict, list, tuple, set, Tensor)


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):  # its own methods may be hidden
        return [*dict.keys(value), *dict.values(value)]
    return list(value) if isinstance(value, (list, tuple, set)) else []


def _tidy(value: Any, storages: dict[int, int]) -> None:
    if isinstance(value, OrderedDict):
        versions = vars(value).get("_metadata")  # torch's, of its layers
        vars(value).clear()
        if isinstance(versions, dict) and all(isinstance(v, dict) for v in versions.values()):
            vars(value)["_metadata"] = versions
    elif type(value) in (Tensor, nn.Parameter):
        vars(value).clear()
        if value.layout is torch.strided and not value.is_meta:
            storage = value.untyped_storage()
            storages[storage._cdata] = storage.nbytes()


_NUMBERS = frozenset(
    (
        torch.float64, torch.float32, torch.float16, torch.bfloat16,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
)  # fmt: skip
_NAME = re.compile(f"[^{UNFIT}]{{1,500}}")


def is_name(key: object) -> TypeGuard[str]:
    """Whether a key can be the name of a parameter, and be shown."""
    return isinstance(key, str) and _NAME.fullmatch(key) is not None


def plain_tensor(value: object) -> Tensor | None:
    """A dense tensor of real numbers in memory of its own, without history and attributes.

    None for everything else: sparse, quantised, nested or complex tensors, those of no device, and
    views that repeat a few numbers, of which a small file can hold some of any size.
    """
    if type(value) not in (Tensor, nn.Parameter) or not isinstance(value, Tensor):
        return None
    tensor = torch.Tensor.detach(value)
    dense = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested
    if not dense or tensor.is_meta or tensor.dtype not in _NUMBERS:
        return None
    needed = tensor.numel() * tensor.element_size()
    return tensor if needed <= tensor.untyped_storage().nbytes() else None
