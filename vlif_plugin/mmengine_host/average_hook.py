"""What averaged weights need beyond mmengine's EMAHook; RestorationHook puts this hook into a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop

from vlif_plugin.layers import AveragedStatistics
from vlif_plugin.mmengine_host.restoration_model import SNNRestorationModel


class AverageHook(Hook):
    """Gives averaged weights BatchNorm statistics of their own before each validation and checkpoint.

    EMAHook averages statistics as it does weights, which does not fit averaged weights; see
    :class:`~vlif_plugin.layers.AveragedStatistics`.

    Args:
        average: a hook with ``update_buffers=True``: without it, mmengine validates averaged weights
            beside the trained network's statistics, whatever there is.
    """

    priority = "BELOW_NORMAL"  # after EMAHook, and before checkpoints are written

    def __init__(self, average: EMAHook) -> None:
        self._average = average
        self._statistics: AveragedStatistics | None = None

    def before_train(self, runner: Any) -> None:
        """Let the averaged network run as the trained one does."""
        averaged: SNNRestorationModel = self._average.ema_model.module
        averaged.eval().take_backend()
        self._statistics = AveragedStatistics(
            averaged, self._average.src_model, _periods(runner), runner.max_iters
        )

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Remember what was gathered, before EMAHook averages."""
        if self._statistics:
            self._statistics.periods = list(_periods(runner))  # the loop may change its own
            self._statistics.keep(runner.iter + 1)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Gather, in the last iterations before a use."""
        if self._statistics:
            self._statistics.gather(runner.iter + 1, lambda: self._run(runner, data_batch))

    def _run(self, runner: Any, batch: Mapping[str, Any]) -> None:
        averaged: SNNRestorationModel = self._average.ema_model.module
        wrapper = runner.optim_wrapper
        amp = wrapper.optim_context(runner.model) if isinstance(wrapper, OptimWrapper) else None
        with amp or nullcontext():
            averaged.net_g(averaged.data_preprocessor(batch, True)["inputs"])


def _periods(runner: Any) -> Iterator[int]:
    """In iterations: of validations and of checkpoints."""
    loop = runner.train_loop
    epoch = len(loop.dataloader)
    if runner.val_loop is not None:
        yield loop.val_interval * (epoch if isinstance(loop, EpochBasedTrainLoop) else 1)
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.interval > 0:
            yield hook.interval * (epoch if hook.by_epoch else 1)
