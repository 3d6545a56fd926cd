"""Build an object from a section of an option file, with errors that name what is wrong in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from vlif_plugin.errors import OptionError, PluginError, first_line, near_names

Built = TypeVar("Built")


def argument_names(function: Callable[..., Any]) -> set[str]:
    """Names of the arguments of a class or function; ``**kwargs`` is none."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def argument_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """The arguments of a class or function that may be left out, and what they are then."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def check_known(section: str, given: Collection[str], known: Collection[str]) -> None:
    """Refuse keys of ``given`` that are not ``known``; keys that begin with _ are the user's own.

    Raises:
        OptionError: names the section, the key, and the known keys that resemble it.
    """
    for key in given:
        if key not in known and not str(key).startswith("_"):
            raise OptionError(f"{section} has no option {key!r}{near_names(str(key), known)}")


def build_from(built: Callable[..., Built], options: Mapping[str, Any], section: str) -> Built:
    """Call a class with the options of a section, its ``type`` left out.

    Args:
        built: the class.
        options: its arguments, and perhaps ``type``.
        section: what to call the section in an error.

    Raises:
        OptionError: an argument that the class does not have, or a value that it refuses.
        PluginError: what the class raises of its own, the section named.
    """
    arguments = {key: value for key, value in options.items() if key != "type"}
    parameters = inspect.signature(built).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):  # a class that takes anything may
        name = getattr(getattr(built, "func", built), "__name__", built)  # a partial's class
        check_known(f"{section}: {name}", arguments, argument_names(built))
    return call_for(section, built, **arguments)


def call_for(section: str, function: Callable[..., Built], *args: Any, **kwargs: Any) -> Built:
    """Call a function, and let what it refuses name the section of the options that asked for it."""
    try:
        return function(*args, **kwargs)
    except PluginError as error:
        raise type(error)(f"{section}: {error}") from error
    except Exception as error:  # a class that is given nonsense may raise anything
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise OptionError(f"{section}: {kind}{first_line(error)}") from error
