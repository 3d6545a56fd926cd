"""From JSON's plain values back to dataclasses, strictly: what was not written so is refused.

A field with a default may be missing: what a version adds has one, and files of earlier versions lack it.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vlif_plugin.errors import DataError

_WORDS = ("inf", "-inf", "nan")  # what strict JSON says for numbers that it has no word for


def read_as(kind: Any, value: Any, where: str) -> Any:
    """A value as the type that it was written from.

    Args:
        kind: a dataclass, ``int``, ``float``, ``str``, ``bool``, ``Any``, or a tuple, dict, union or
            Literal of such.
        value: out of ``json.loads``.
        where: what to call it in an error.

    Raises:
        DataError: it is no such thing; names the place.
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    reader = _READERS.get(get_origin(kind))
    if reader is not None:
        return reader(get_args(kind), value, where)
    if kind is float:
        return _read_float(value, where)
    if type(value) is not kind:
        raise _refused(kind.__name__, value, where)
    return value


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _refused(kind.__name__, value, where)
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}
    missing = {name for name in fields.keys() - value.keys() if not _has_default(fields[name])}
    for problem, names in (("lacks", missing), ("has no", value.keys() - fields.keys())):
        if names:
            raise DataError(f"{where}: {kind.__name__} {problem} {', '.join(sorted(names))}")
    return kind(**{name: read_as(hints[name], value[name], f"{where}: {name}") for name in value})


def _has_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _read_float(value: Any, where: str) -> float:
    if type(value) in (int, float) or value in _WORDS:
        return float(value)
    raise _refused("number", value, where)


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _refused("list", value, where)
    kinds = (kinds[0],) * len(value) if kinds[-1] is Ellipsis else kinds
    if len(kinds) != len(value):
        raise _refused(f"list of {len(kinds)}", value, where)
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(read_as(kind, item, f"{where}[{i}]") for i, (kind, item) in pairs)


def _read_dict(kinds: tuple[Any, ...], value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused("section", value, where)
    return {key: read_as(kinds[1], item, f"{where}: {key}") for key, item in value.items()}


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    (kind,) = (k for k in kinds if k is not types.NoneType)  # ours are all X | None
    return read_as(kind, value, where)


def _read_literal(words: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in words:
        raise _refused(" or ".join(map(str, words)), value, where)
    return value


_READERS: dict[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    tuple: _read_tuple,
    dict: _read_dict,
    Union: _read_union,
    types.UnionType: _read_union,
    Literal: _read_literal,
}


def _refused(wanted: str, value: Any, where: str) -> DataError:
    return DataError(f"{where}: {wanted} expected, got {str(value)[:60]!r}")
