"""Learning-rate schedules: BasicSR's, and one that Restormer's option files name."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from basicsr.models import lr_scheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vlif_plugin.building import argument_names, call_for, check_known
from vlif_plugin.errors import OptionError, near_names


class MultiStepRestartLR(lr_scheduler.MultiStepRestartLR):
    """BasicSR's steps with restarts, a function of the iteration alone.

    BasicSR's takes each rate from the one before: a resumed run never hears of milestones that were
    changed behind it, and a warm-up's last rate stays for good. Without either the rates are equal to
    the bit.
    """

    milestones: Counter[int]
    restarts: Sequence[int]

    def get_lr(self) -> list[float]:
        """The rates at iteration ``last_epoch``."""
        passed = [at for at in self.restarts if at <= self.last_epoch]
        begun = max(passed, default=None)
        weight = 1 if begun is None else self.restart_weights[self.restarts.index(begun)]
        rates: list[Any] = [base * weight for base in self.base_lrs]
        for at in sorted(self.milestones):
            if (-1 if begun is None else begun) < at <= self.last_epoch:
                rates = [rate * self.gamma ** self.milestones[at] for rate in rates]
        return rates


class CosineAnnealingRestartCyclicLR(lr_scheduler.CosineAnnealingRestartLR):
    """BasicSR's cosine annealing with restarts, each period with a lowest rate of its own.

    A period whose lowest rate is the optimiser's own rate keeps it: so Restormer's training begins.

    Args:
        optimizer: whose rates are set.
        periods: iterations of each period.
        restart_weights: factor on the swing of each period.
        eta_mins: lowest rate of each period.
        last_epoch: see PyTorch.

    Raises:
        ValueError: the lists differ in length.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        periods: Sequence[float],
        restart_weights: Sequence[float] = (1,),
        eta_mins: Sequence[float] = (0,),
        last_epoch: int = -1,
    ) -> None:
        if not len(periods) == len(restart_weights) == len(eta_mins):
            raise ValueError(
                f"periods, restart_weights and eta_mins must be of one length, not {len(periods)}, "
                f"{len(restart_weights)} and {len(eta_mins)}"
            )
        self.eta_mins = eta_mins  # the parent's constructor asks for the first rate
        super().__init__(optimizer, periods, restart_weights, last_epoch=last_epoch)

    def get_lr(self) -> list[float]:
        """The rates at iteration ``last_epoch``."""
        index = bisect_left(self.cumulative_period, self.last_epoch)
        period, lowest = self.periods[index], self.eta_mins[index]
        begun = self.cumulative_period[index] - period
        share = (1 + math.cos(math.pi * (self.last_epoch - begun) / period)) / 2
        swing = self.restart_weights[index] * share
        return [lowest + swing * (base - lowest) for base in self.base_lrs]


_SCHEDULES = {
    "MultiStepLR": MultiStepRestartLR,
    "MultiStepRestartLR": MultiStepRestartLR,
    "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
    "CosineAnnealingRestartCyclicLR": CosineAnnealingRestartCyclicLR,
}


def build_schedule(options: Mapping[str, Any], optimizer: Optimizer) -> LRScheduler:
    """Build the schedule of ``train: scheduler``.

    Raises:
        OptionError: an unknown name or argument, or a value that it refuses.
    """
    name = options.get("type")
    if name not in _SCHEDULES:
        raise OptionError(
            f"train: scheduler: no schedule is called {name!r}{near_names(str(name), _SCHEDULES)}"
        )
    arguments = {k: v for k, v in options.items() if k != "type"}
    known = argument_names(_SCHEDULES[name]) - {"optimizer", "last_epoch"}
    check_known(f"train: scheduler: {name}", arguments, known)
    for key in ("periods", "milestones", "restarts", "restart_weights", "eta_mins"):
        value = arguments.get(key)
        needed = key in ("periods", "milestones") and key in known
        if (needed or value is not None) and not (
            isinstance(value, list)
            and (value or key == "milestones")
            and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
        ):
            raise OptionError(f"train: scheduler: {key} must be a list of numbers, got {value!r}")
    return call_for("train: scheduler", _SCHEDULES[name], optimizer, **arguments)


def check_schedule(options: Mapping[str, Any], optimizer: Optimizer, total_iter: int) -> None:
    """Refuse a schedule that cannot be built, or that ends before the training does.

    Raises:
        OptionError: see :func:`build_schedule`, or periods that are too short.
    """
    schedule = build_schedule(options, optimizer)
    call_for("train: scheduler", schedule.get_lr)
    periods = options.get("periods")
    if periods is not None and sum(periods) < total_iter:
        raise OptionError(
            f"train: scheduler: the periods add up to {sum(periods)}, but total_iter is {total_iter}"
        )
