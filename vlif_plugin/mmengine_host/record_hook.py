"""What a training measures, as a file that programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook, LoggerHook
from torch import Tensor

from vlif_plugin.mmengine_host.run_hooks import RunHook, progress
from vlif_plugin.runs import METRICS, MetricLog


class RecordHook(Hook):
    """Writes what is measured to ``metrics.jsonl`` in the work_dir, one JSON object a line.

    Args:
        run: of the same training.
    """

    priority = (
        "LOW"  # before CheckpointHook: what comes before a checkpoint must be written by then
    )

    def __init__(self, run: RunHook) -> None:
        self.run = run
        self.interval = 10
        self.log: MetricLog | None = None

    def before_train(self, runner: Any) -> None:
        """Find the interval of mmengine's log."""
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self.interval = loggers[0].interval if loggers else self.interval
        self.log = MetricLog(Path(runner.work_dir) / METRICS) if is_main_process() else None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write losses, learning rate and norm of the gradients."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        self.run.bad.join(runner.logger)
        if self.log is None:
            return
        scalars = runner.message_hub.log_scalars
        values = {key: _number(value) for key, value in (outputs or {}).items()}
        for name in ("lr", "grad_norm"):
            if history := scalars.get(f"train/{name}"):
                values[name] = history.current()
        self.log.write(runner.iter + 1, values | self.run.bad.measured())

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write scores."""
        self.run.validated = progress(runner)
        if self.log is not None and metrics:
            metainfo = getattr(runner.val_loop.dataloader.dataset, "metainfo", None) or {}
            self.log.write(runner.iter, {"dataset": str(metainfo.get("name", "images"))} | metrics)


def _number(value: Any) -> float:
    return value.item() if isinstance(value, Tensor) else float(value)
