"""BatchNorm statistics of weights that were not trained with them: averaged ones, and untrained ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

BATCHES = 50
"""How many of the last batches averaged weights take their statistics from."""


@contextmanager
def gathering(norms: Iterable[_BatchNorm], last: int | None = None) -> Iterator[None]:
    """Let BatchNorms normalise by what they are given, and put it into their running statistics.

    Args:
        norms: layers that track statistics; their momentum and mode come back as they were.
        last: the mean goes over all batches since statistics were reset, or, once there are more
            than this number, exponentially over about as many.
    """
    kept = [(norm, norm.momentum, norm.training) for norm in norms]
    for norm, _, _ in kept:
        seen = 0 if norm.num_batches_tracked is None else int(norm.num_batches_tracked)
        # None stands for the plain mean
        norm.momentum = 1 / last if last is not None and seen >= last else None
        norm.training = True
    try:
        yield
    finally:
        for norm, momentum, training in kept:
            norm.momentum, norm.training = momentum, training


@contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Put a network in eval mode; each module's own mode comes back."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class AveragedStatistics:
    """Gives averaged weights BatchNorm statistics of their own, when they are about to be used.

    Those of the trained weights do not fit the average of weights, and neither does an average of
    statistics, because activations of averaged weights vary less: validations in the middle of a
    training are decibels off. So the averaged network is run in inference mode, but for BatchNorm,
    on the last batches before each use (Izmailov et al., "Averaging Weights Leads to Wider Optima",
    2018, section 3.2). All that it needs is in the network's buffers and the number of the iteration,
    so that a resumed run goes on to the bit; random states are left as they are.

    Args:
        averaged: in eval mode; of the same structure as ``trained``.
        trained: the network that is averaged. Its layers that are in eval mode are frozen: their
            statistics are copied.
        periods: the averaged network is used at iterations that these numbers divide.
        total: iterations; it is used after the last one, too.
    """

    def __init__(
        self, averaged: nn.Module, trained: nn.Module, periods: Iterable[int], total: int
    ) -> None:
        self.periods = list(periods)
        self._total = total
        self._kept: list[Tensor] = []
        others = dict(trained.named_modules())
        self._norms = [
            (module, others[name])
            for name, module in averaged.named_modules()
            if isinstance(module, _BatchNorm) and module.num_batches_tracked is not None
        ]

    def keep(self, iteration: int) -> None:
        """Remember what was gathered: toolboxes copy or average buffers when they update weights.

        Args:
            iteration: that was trained, from 1; before the averaged network is updated.
        """
        self._kept = [b.clone() for b in self._buffers()] if self.gathers(iteration) else []

    def gather(self, iteration: int, run: Callable[[], object]) -> None:
        """Bring statistics up to date after the averaged weights; every process must call this.

        Args:
            iteration: the same.
            run: gives the averaged network the iteration's batch. It is called, without gradients,
                in the last iterations before a use only.
        """
        if not self.gathers(iteration) or not (norms := self._own()):
            return
        for buffer, kept in zip(self._buffers(), self._kept, strict=True):
            buffer.copy_(kept)
        if not self.gathers(iteration - 1):
            for norm in norms:
                norm.reset_running_stats()
        devices = {b.device for b in self._buffers() if b.device.type == "cuda"}
        with torch.no_grad(), torch.random.fork_rng(devices), gathering(norms, BATCHES):
            run()
        if self._left(iteration) == 0:
            _mean_over_processes(self._buffers())

    def gathers(self, iteration: int) -> bool:
        """Whether an iteration is one of the last before the averaged network is used."""
        return iteration > 0 and self._left(iteration) < BATCHES

    def _left(self, iteration: int) -> int:
        """Iterations until the next use."""
        to_end = max(self._total - iteration, 0)
        return min([to_end, *(-iteration % period for period in self.periods)])

    def _buffers(self) -> list[Tensor]:
        return [buffer for norm in self._own() for buffer in norm.buffers()]

    def _own(self) -> list[_BatchNorm]:
        """Layers that do not copy statistics."""
        return [norm for norm, other in self._norms if other.training]


def _mean_over_processes(buffers: Iterable[Tensor]) -> None:
    """Of what each process has gathered from its own batches; all have counted as many."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for buffer in buffers:
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer.div_(dist.get_world_size())
