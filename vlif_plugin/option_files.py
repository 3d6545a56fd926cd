"""YAML option files, read safely."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vlif_plugin.errors import UNFIT, OptionError, first_line
from vlif_plugin.files import read_at_most

# ours have 5 kB, 5 levels and some 100 values
_LARGEST_FILE = 2**17
_DEEPEST = 50
_MOST_VALUES = 20_000
_LONGEST_NUMBER = 100  # digits
_TAG = "tag:yaml.org,2002:"
_PLAIN = ("str", "int", "float", "bool", "null", "seq", "map")
# what garbles a terminal, or no file can have in its name; text of several lines is text
_CONTROLS = re.compile(f"[{UNFIT}]")


class _Loader(yaml.SafeLoader):
    """YAML of plain types only, in bounds: what it gives can be walked, copied and shown.

    ``1e-4`` is a number and ``2001-01-01`` is text; keys are text, and none stands twice.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._extents: dict[yaml.Node, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, if it is not too deep and, with all that its aliases repeat, not too large."""
        line = _line(self.peek_event())
        is_alias = self.check_event(yaml.AliasEvent)
        if self._depth == _DEEPEST:
            raise OptionError(f"{line}: more than {_DEEPEST} levels deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if is_alias and node not in self._extents:
            raise OptionError(f"{line}: an alias of the section that it stands in")
        values, levels = self._extents.setdefault(node, self._extent(node))
        if values > _MOST_VALUES or levels > _DEEPEST:
            raise OptionError(
                f"{line}: more than {_MOST_VALUES} values or {_DEEPEST} levels, aliases counted"
            )
        return node

    def _extent(self, node: yaml.Node) -> tuple[int, int]:
        """How many values a node has in it, and how many levels."""
        if isinstance(node, yaml.ScalarNode):
            return 1, 1
        inner = [part for pair in node.value for part in (pair if type(pair) is tuple else (pair,))]
        extents = [self._extents[part] for part in inner]
        return 1 + sum(v for v, _ in extents), 1 + max((depth for _, depth in extents), default=0)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A section whose keys are text, each of its own."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == _TAG + "merge":
                continue
            if key.tag != _TAG + "str" or not isinstance(key, yaml.ScalarNode):
                shown = f"{key.value} " if isinstance(key, yaml.ScalarNode) else ""
                raise OptionError(f"{_line(key)}: {shown}cannot be a key; put it in quotes")
            if _CONTROLS.search(key.value):
                raise OptionError(f"{_line(key)}: the key {key.value!r} has control characters")
            if key.value in seen:
                raise OptionError(f"{_line(key)}: {key.value} stands twice in its section")
            seen.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value; what its tag says and it is not is refused."""
        try:
            if node.tag in (_TAG + "int", _TAG + "float") and len(node.value) > _LONGEST_NUMBER:
                raise ValueError("a number that is too long")
            value = super().construct_object(node, deep)
            if isinstance(value, int) and abs(value) >= 2**63:
                raise ValueError("a number that is too large")
            if isinstance(value, str) and _CONTROLS.search(re.sub(r"[\n\t]", "", value)):
                raise ValueError(f"control characters in {value[:100]!r}")
        except (OptionError, yaml.YAMLError):
            raise
        except Exception as error:  # PyYAML converts what an explicit tag stands before unchecked
            raise OptionError(f"{_line(node)}: not valid YAML ({first_line(error)})") from error
        return value


def _line(place: Any) -> str:
    return f"line {place.start_mark.line + 1}"


_Loader.add_implicit_resolver(
    _TAG + "float",
    # no digit can be read in two ways, or a long number would take minutes
    re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] != _TAG + "timestamp"]
    for first, rules in _Loader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: made
    for tag, made in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in _PLAIN
}


def read_option_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML option file.

    Returns:
        Text, numbers of 64 bits, booleans, None, and lists and sections of them, in bounds that
        allow to walk them; keys are text.

    Raises:
        OptionError: it is missing, is no YAML, is no mapping, or holds anything else; one line.
    """
    if Path(path).suffix == ".py" and os.path.isfile(path):
        raise OptionError(
            f"{path}: is a config of mmengine; train with it by python -m vlif_plugin.mm_train {path}"
        )
    try:
        text = read_at_most(path, _LARGEST_FILE).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"{path}: no readable option file ({getattr(error, 'strerror', None) or error})"
        ) from error
    try:
        opt = _load(text)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    if not isinstance(opt, dict):
        raise OptionError(f"{path}: an option file is a mapping of keys to values")
    return opt


def _load(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except OptionError:
        raise
    # a character's number that is none is a ValueError or an OverflowError
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f"line {mark.line + 1}: "
        why = getattr(error, "problem", None) or first_line(error)
        raise OptionError(f"{line}not valid YAML ({why})") from error


def read_forced(path: str | os.PathLike[str], entries: Sequence[str]) -> dict[str, Any]:
    """An option file with what ``--force_yml`` puts over it.

    Args:
        path: of the file.
        entries: ``section:key=value`` each; the sections must exist, values are read as YAML.

    Raises:
        OptionError: see :func:`read_option_file`, or an entry that is not of this form; it is shown.
    """
    opt = read_option_file(path)
    for entry in entries:
        keys, equals, text = entry.partition("=")
        *sections, last = (part.strip() for part in keys.split(":"))
        place: Any = opt
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict):
            raise OptionError(
                f"--force_yml {entry}: must be section:key=value with a section of the option file"
            )
        try:
            value = read_value(text)
        except OptionError as error:
            raise OptionError(f"--force_yml {entry}: {error}") from error
        place[last] = None if isinstance(value, str) and value.lower() == "none" else value
    return opt


def network_options(opt: str) -> dict[str, Any]:
    """The ``network_g`` section of an option file.

    Raises:
        OptionError: the file is unreadable, or has no such section.
    """
    return network_section(read_option_file(opt), opt)


def network_section(options: Mapping[str, Any], opt: str) -> dict[str, Any]:
    """The ``network_g`` section of options that were read from the file ``opt``.

    Raises:
        OptionError: there is none.
    """
    network = options.get("network_g")
    if not isinstance(network, dict):
        raise OptionError(f"{opt}: has no network_g section")
    return network


def section(opt: Mapping[str, Any], key: str, where: str | None = None) -> dict[str, Any]:
    """A section of an option file; empty where it is left out.

    Raises:
        OptionError: it is no section.
    """
    value = opt.get(key)
    if value is not None and not isinstance(value, dict):
        raise OptionError(f"{where or key} must be a section of keys and values, got {value!r}")
    return value or {}


def read_value(text: str) -> Any:
    """A single value as an option file would have it.

    Raises:
        OptionError: it is no YAML, or nothing that an option file may hold.
    """
    try:
        return _load(text)
    except OptionError as error:
        raise OptionError(f"{text[:100]!r} is no YAML value ({error})") from error
