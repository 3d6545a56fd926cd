"""Checks of arguments that several networks have."""

from __future__ import annotations


def check_counts(**counts: int) -> None:
    """Refuse what is no whole number of at least 1, by the argument's name.

    Raises:
        ValueError: names the argument.
    """
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
