"""mmengine's config files, read with one clear line for what is wrong in them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from vlif_plugin.errors import OptionError, first_line


def read_config(path: str | os.PathLike[str]) -> Config:
    """Read a config file; one of Python is run, as mmengine does.

    Raises:
        OptionError: it is missing or cannot be read, or is an option file of BasicSR.
    """
    if not os.path.isfile(path):
        raise OptionError(f"{path}: no such config file")
    try:
        config = Config.fromfile(os.fspath(path))
    except Exception as error:  # the file's own code may raise anything
        raise OptionError(f"{path}{_line(error, path)}: {_what(error)}") from error
    if "model_type" in config or ("network_g" in config and "model" not in config):
        raise OptionError(
            f"{path}: is an option file of BasicSR; train with it by basicsr train.py -opt {path}"
        )
    return config


def override(config: Config, options: Mapping[str, Any] | None, source: str) -> None:
    """Apply ``--cfg-options``: dotted keys and values, which mmengine merges into the config.

    Raises:
        OptionError: a key does not lead to a section.
    """
    for key, value in (options or {}).items():
        try:
            config.merge_from_dict({key: value})
        except Exception as error:  # mmengine asserts, and raises KeyError and TypeError
            raise OptionError(f"{source}: --cfg-options {key}: {_what(error)}") from error


def default_work_dir(path: str) -> str:
    """The folder of a run whose config names none, as OpenMMLab's projects have it."""
    return os.path.join("work_dirs", Path(path).stem)


def _line(error: BaseException, path: str | os.PathLike[str]) -> str:
    """Where in the file it went wrong, as far as the error knows."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [f for f in frames if Path(f.filename).name == Path(path).name]
    return f", line {inside[-1].lineno}" if inside and inside[-1].lineno else ""


def _what(error: BaseException) -> str:
    kind = type(error).__name__
    return f"not a config that can be read ({kind}: {first_line(error)})"
