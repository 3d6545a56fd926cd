"""What a run of the restoration model needs of the runner, beyond what mmengine does by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.distributed as dist
from mmengine.evaluator import Evaluator
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from vlif_plugin.errors import OptionError
from vlif_plugin.mmengine_host.average_hook import AverageHook
from vlif_plugin.mmengine_host.metrics import RestorationScores, RunContext
from vlif_plugin.mmengine_host.record_hook import RecordHook
from vlif_plugin.mmengine_host.restoration_model import SNNRestorationModel
from vlif_plugin.mmengine_host.run_hooks import RunHook
from vlif_plugin.scoring import network_record


class RestorationHook(Hook):
    """Makes all processes score the same network, tells metrics about it, names it in checkpoints.

    - Before a validation or a test every process gets rank 0's BatchNorm statistics, which are the
      ones that are saved: without it the score depends on the number of processes.
    - Metrics are given the network (``snn_energy`` counts it) and the folder for their files:
      ``validation/`` of the work_dir in a training, the log's folder in a test.
    - Checkpoints get an entry ``network_g``, by which ``vlif derain -w`` knows the network.
    - A training gets :mod:`~vlif_plugin.mmengine_host.run_hooks`: it goes on exactly after a kill,
      keeps its records, and stops where it cannot go on; averaged weights get BatchNorm statistics
      that fit them.
    """

    priority = "LOW"  # after EMAHook has put the averaged weights in place

    def before_run(self, runner: Any) -> None:
        """Let the network's backend run it, and put the hooks of a training into the run."""
        model = model_of(runner)
        taken = model.take_backend()
        if model.backend != "torch":
            runner.logger.info(f"backend: {taken}")
        if not isinstance(runner._train_loop, BaseLoop):  # a test builds none
            return
        if not any(isinstance(hook, RunHook) for hook in runner.hooks):
            run = RunHook()
            runner.register_hook(run)
            runner.register_hook(RecordHook(run))
            averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
            for hook in averages:
                if hook.ema_model.update_buffers:
                    runner.register_hook(AverageHook(hook))

    def before_val_epoch(self, runner: Any) -> None:
        """Prepare a validation."""
        self._prepare(runner, runner.val_evaluator, runner.iter)

    def before_test_epoch(self, runner: Any) -> None:
        """Prepare a test."""
        self._prepare(runner, runner.test_evaluator, None)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Say which network the weights are for."""
        checkpoint["network_g"] = model_of(runner).network_g

    def _prepare(self, runner: Runner, evaluator: Evaluator, iteration: int | None) -> None:
        model = model_of(runner)
        if dist.is_available() and dist.is_initialized():
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)
        testing = iteration is None
        folder = Path(runner.log_dir) if testing else Path(runner.work_dir) / "validation"
        context = RunContext(
            net=model.net_g,
            network=network_record(
                model.network_g, runner._load_from if testing else None, loaded=testing
            ),
            tile=model.tile_options,
            folder=folder,
            iteration=iteration,
        )
        for metric in evaluator.metrics:
            if isinstance(metric, RestorationScores):
                metric.context = context


def model_of(runner: Any) -> SNNRestorationModel:
    """The model of a run, out of what wraps it for several processes.

    Raises:
        OptionError: it is another model than ours.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not isinstance(model, SNNRestorationModel):
        raise OptionError(
            f"RestorationHook is for vlif_plugin.SNNRestorationModel, not {type(model).__name__}"
        )
    return model
