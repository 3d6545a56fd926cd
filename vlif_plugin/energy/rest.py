"""Neurons that keep their state between calls, as those of other libraries do: what is counted begins at rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from vlif_plugin.energy.flow import Neurons, spikes_of


@contextmanager
def at_rest(network: nn.Module, declared: Neurons) -> Iterator[None]:
    """Reset all that keeps state, and put the state back afterwards, whatever was run in between.

    That is neurons with a method ``reset``, and whatever else keeps what SpikingJelly calls memories.

    Args:
        network: any.
        declared: neurons by type; see :func:`~vlif_plugin.energy.flow.spikes_of`.
    """
    stateful = [module for module in network.modules() if _keeps_state(module, declared)]
    before = [dict(vars(module)) for module in stateful]
    try:
        for module in stateful:
            vars(module).update(_apart(vars(module)))
            module.reset()  # pyright: ignore[reportCallIssue]
        yield
    finally:
        for module, state in zip(stateful, before, strict=True):
            vars(module).clear()
            vars(module).update(state)


def _keeps_state(module: nn.Module, declared: Neurons) -> bool:
    if not callable(getattr(module, "reset", None)):
        return False
    return hasattr(module, "_memories") or spikes_of(module, declared) is not None


def _apart(state: dict[str, Any]) -> dict[str, Any]:
    """State in memory of its own, since a reset may write over it; weights are not copied."""
    apart = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            apart[name] = value.detach().clone()
        elif name in ("_memories", "_buffers"):
            apart[name] = value | _apart(value)
    return apart
