"""Whether a state is of the run that wants to go on from it, and what was changed since."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vlif_plugin.building import argument_defaults
from vlif_plugin.errors import OptionError
from vlif_plugin.records import strict

LEFT_OUT = "left out"


def filled(network: Mapping[str, Any], kind: Callable[..., Any] | None) -> dict[str, Any]:
    """A section ``network_g`` with the defaults of what it leaves out; lists stand for tuples.

    Args:
        network: the section.
        kind: the class that it names; None where it is not known.
    """
    return strict((argument_defaults(kind) if kind is not None else {}) | dict(network))


def refuse_other_network(
    source: str, then: Mapping[str, Any], now: Mapping[str, Any], way_out: str
) -> None:
    """Refuse a state of another network.

    Args:
        source: the state's file.
        then: the state's network, see :func:`filled`; empty where it is not known.
        now: this run's.
        way_out: what the user can do.

    Raises:
        OptionError: names what differs, then and now.
    """
    differing = [key for key in {**then, **now} if then.get(key) != now.get(key)]
    if then and now and differing:
        said = ", ".join(f"{k} {then.get(k)!r}, here {now.get(k)!r}" for k in differing)
        raise OptionError(f"{source}: is of another network ({said}); {way_out}")


def refuse_other_optimizer(source: str, then: str | None, now: str | None, way_out: str) -> None:
    """Refuse a state of another optimiser, which gathers other things.

    Args:
        source: the state's file.
        then: the name of the state's optimiser; None where it is not known.
        now: of this run's.
        way_out: what the user can do.

    Raises:
        OptionError: names both.
    """
    if None not in (then, now) and then != now:
        raise OptionError(f"{source}: is of a run with the optimiser {then}, not {now}; {way_out}")


def refuse_other_images(
    source: str, then: Mapping[str, Any], now: Mapping[str, Any], where: str, way_out: str
) -> None:
    """Refuse a state of a run with other images.

    Args:
        source: the state's file.
        then: fingerprints of the state's datasets, by name; None for one that is not known.
        now: of this run's.
        where: what a dataset is called in the options, with ``{}`` for its name.
        way_out: what the user can do.

    Raises:
        OptionError: names the dataset.
    """
    for name, was in then.items():
        here = now.get(name)
        if None not in (was, here) and was != here:
            raise OptionError(
                f"{source}: is of a run with other images in {where.format(name)} (fingerprint {was}, "
                f"here {here}); {way_out}"
            )


def changed_options(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two nested options differ in.

    Returns:
        ``section: key``, and the values then and now, :data:`LEFT_OUT` for none. Lists of sections
        go by their places.
    """
    was, here = dict(_flat(then)), dict(_flat(now))
    return {
        key: (was.get(key, LEFT_OUT), here.get(key, LEFT_OUT))
        for key in sorted({*was, *here})
        if was.get(key) != here.get(key)
    }


def _flat(options: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    inner: Any
    if isinstance(options, Mapping):
        inner = options.items()
    elif isinstance(options, list) and any(isinstance(item, Mapping) for item in options):
        inner = enumerate(options)
    else:
        if options is not None:
            yield name, options
        return
    for key, value in inner:
        yield from _flat(value, f"{name}: {key}" if name else str(key))
