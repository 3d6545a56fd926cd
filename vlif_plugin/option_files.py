"""YAML option files, read safely."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from vlif_plugin.errors import OptionError


class _Loader(yaml.SafeLoader):
    """YAML that reads ``1e-4`` as a number and refuses a key that stands twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            line = node.start_mark.line + 1
            raise OptionError(f"section at line {line}: {', '.join(sorted(twice))} stands twice")
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_option_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML option file.

    Raises:
        OptionError: it is missing, is no YAML, or is no mapping.
    """
    if Path(path).suffix == ".py" and os.path.isfile(path):
        raise OptionError(
            f"{path}: is a config of mmengine; train with it by python -m vlif_plugin.mm_train {path}"
        )
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"{path}: no readable option file ({getattr(error, 'strerror', None) or error})"
        ) from error
    try:
        opt = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except OptionError as error:
        raise OptionError(f"{path}, {error}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise OptionError(
            f"{path}{line}: not valid YAML ({getattr(error, 'problem', None) or error})"
        ) from error
    if not isinstance(opt, dict):
        raise OptionError(f"{path}: an option file is a mapping of keys to values")
    return opt


def network_options(opt: str) -> dict[str, Any]:
    """The ``network_g`` section of an option file.

    Raises:
        OptionError: the file is unreadable, or has no such section.
    """
    options = read_option_file(opt).get("network_g")
    if not isinstance(options, dict):
        raise OptionError(f"{opt}: has no network_g section")
    return options


def read_value(text: str) -> Any:
    """A single value as an option file would have it.

    Raises:
        OptionError: it is no YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise OptionError(f"{text!r} is no YAML value") from error
