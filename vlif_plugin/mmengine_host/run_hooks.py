"""What lets a long training under mmengine be trusted; RestorationHook puts these hooks into a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from mmengine.utils import apply_to
from torch import Tensor

from vlif_plugin.distributed import gathered
from vlif_plugin.errors import TrainingError
from vlif_plugin.mmengine_host import resuming
from vlif_plugin.mmengine_host.loaders import Place, TrainingSet, order_of
from vlif_plugin.mmengine_host.run_folder import (
    clear_what_comes_again,
    put_aside_another_run,
)
from vlif_plugin.mmengine_host.saving import OUTDATED, remove_checkpoints
from vlif_plugin.runs import (
    METRICS,
    MetricLog,
    PassedOver,
    add_start,
    changed_options,
    hold_folder,
    random_state,
    release_folder,
    restore_random_state,
)

_LEAST_SCALE = 2.0**-14


class RunHook(Hook):
    """Makes a run that was killed go on as if it had not been, and stops one that cannot go on.

    - Checkpoints get an entry ``run``: the random state of each process, the place in the data's
      order, gradients that wait for the optimiser's step, which validation was the last, and what
      the run is: options, fingerprints of the images, images that could not be read.
    - A resumed run is refused if it is another one, is told what was changed, takes up all of that,
      and makes the validation that the killed run did not come to.
    - The work_dir is held; ``manifest.json`` says what each start was made with.
    - Unreadable images are replaced and counted; a norm of the gradients that is not finite stops
      the run. The norm is logged, whether gradients are clipped or not.
    """

    priority = "LOWEST"  # nothing may draw random numbers behind it, before training begins

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.resumed = False
        self.validated: int | None = None
        self.bad = PassedOver(0)
        self._place: Place | None = None
        self._paths: list[str] = []
        self._gathered: list[dict[str, Any]] = []
        self._schedule: resuming.Schedule | None = None
        self._saving: list[CheckpointHook] = []
        self._options: dict[str, Any] = {}
        self._fingerprints: dict[str, str] = {}

    def before_run(self, runner: Any) -> None:
        """Take hold of the work_dir; note what the config alone makes of the learning rates."""
        if is_main_process():
            hold_folder(runner.work_dir)
        self._options = resuming.lasting_options(runner.cfg)
        self._fingerprints = resuming.fingerprints(resuming.datasets_of(runner))
        self._saving = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers or []
        if runner._resume and isinstance(wrapper, OptimWrapper) and isinstance(schedulers, list):
            self._schedule = resuming.Schedule(wrapper, schedulers)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Look at what shall be resumed.

        Raises:
            OptionError: it is of another run.
        """
        if not runner._resume:
            return
        source = runner._load_from or runner.work_dir
        resuming.refuse_another_run(checkpoint, runner.cfg, self._fingerprints, str(source))
        self.resumed = True
        # mmengine has put all tensors where the model is
        state: Any = apply_to(
            resuming.run_state(checkpoint),
            lambda value: isinstance(value, Tensor),
            lambda value: value.cpu(),
        )
        self.state = state

    def before_train(self, runner: Any) -> None:
        """Take up what was resumed; the last thing before training."""
        self.bad = PassedOver(0, self.state.get("bad"))
        self.validated = self.state.get("validated")
        self._watch_images(runner)
        self._watch_gradients(runner)
        for hook in self._saving:
            _resume_saving(hook, runner, resumed=self.resumed)
        if is_main_process():
            self._begin(runner)
        if self.resumed:
            self._tell_and_follow_changes(runner)
        self._take_place(runner)
        if self.resumed:
            self._resume_draws(runner)
            self._validate_if_missing(runner)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Remember where the batch came from.

        Raises:
            DataError: more images than the config allows could not be read.
        """
        if not isinstance(data_batch, Mapping):
            return
        self._paths = [str(path) for path in data_batch.get("lq_path", [])]
        if self._place is not None:
            self._place.take(data_batch.get("position", ()))
        good = f"last good checkpoint: {self.good}"
        self.bad.take(data_batch.get("bad", ()), runner.logger, good)

    def gather_state(self, runner: Any) -> None:
        """Ask all processes for what is their own; the main one alone saves."""
        self._gathered = gathered(
            {"random": random_state(), "gradients": _waiting_gradients(runner)}
        )
        self.bad.join(runner.logger)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add to what a run can be resumed from."""
        if "optimizer" not in checkpoint:
            return
        processes, self._gathered = self._gathered, []
        place = self._place
        checkpoint[resuming.RUN] = {
            "processes": processes,
            "place": None if place is None else {"epoch": place.epoch, "drawn": place.drawn},
            "validated": self.validated,
            "bad": dict(self.bad.counts),
            "options": self._options,
            "fingerprints": self._fingerprints,
        }

    def after_run(self, runner: Any) -> None:
        """Let go of the work_dir."""
        release_folder(runner.work_dir)

    @property
    def good(self) -> str:
        """The last checkpoint that was saved."""
        return next((str(hook.last_ckpt) for hook in self._saving if hook.last_ckpt), "none")

    def _begin(self, runner: Any) -> None:
        work_dir, reached = Path(runner.work_dir), (runner.iter, runner.epoch)
        folders = {Path(hook.out_dir) for hook in self._saving} or {work_dir}
        for saved_in in folders:
            if runner._resume:
                aside = clear_what_comes_again(work_dir, saved_in, *reached)
            else:
                aside = put_aside_another_run(work_dir, saved_in)
            if aside:
                runner.logger.warning(
                    f"put aside, because this run begins before: {', '.join(aside)}"
                )
        from_ = runner._load_from or runner.message_hub.get_info("last_ckpt")
        add_start(
            work_dir,
            options=runner.cfg.to_dict(),
            seed=runner.seed,
            device=next(runner.model.parameters()).device.type,
            processes=runner.world_size,
            fingerprints=self._fingerprints,
            iteration=runner.iter,
            resumed_from=str(from_) if self.resumed else None,
        )

    def _tell_and_follow_changes(self, runner: Any) -> None:
        """Let the config win over what the run was trained with until now."""
        then, schedulers = self.state.get("options"), runner.param_schedulers or []
        if not then:
            runner.logger.warning(
                "resume: the checkpoint does not say what it was trained with: its learning rates go on, and "
                "the run does not go on to the bit"
            )
            return
        changed = changed_options(then, self._options)
        for key, (was, here) in changed.items():
            runner.logger.warning(f"resume: {key} is now {here}, as the config says; it was {was}")
        if not resuming.change_rates(changed) or self._schedule is None:
            return
        if resuming.depends_on_scores(schedulers):
            runner.logger.warning(
                "resume: the learning rate follows the scores, and goes on as it was"
            )
            return
        epochs = runner.epoch if isinstance(runner.train_loop, EpochBasedTrainLoop) else 0
        self._schedule.reach(runner.optim_wrapper, schedulers, runner.iter, epochs)

    def _take_place(self, runner: Any) -> None:
        """Give the data's order the run's seed and the place where it goes on."""
        order = order_of(runner.train_loop.dataloader)
        if order is None:
            return
        given = (runner.cfg.get("randomness") or {}).get("seed")
        if self.resumed and given is not None and given != runner._randomness_cfg.get("seed"):
            runner._randomness_cfg.update(seed=given)  # mmengine took the checkpoint's
            runner.set_randomness(**runner._randomness_cfg)
        order.seed = runner.seed - get_rank() * bool(runner._randomness_cfg.get("diff_rank_seed"))
        self._place = Place(order, *order._start)
        if place := self.state.get("place"):
            self._place = Place(order, place["epoch"], place["drawn"])
            self._place.begin_here()

    def _resume_draws(self, runner: Any) -> None:
        """Put generators and waiting gradients back, each process its own."""
        processes = self.state.get("processes") or []
        if len(processes) != get_world_size():
            if self.state:
                runner.logger.warning(
                    f"resume: the checkpoint is of {len(processes) or 'an unknown number of'} processes, "
                    f"this run of {get_world_size()}: it does not go on to the bit"
                )
            return
        own = processes[get_rank()]
        restore_random_state(own["random"])
        gradients = own["gradients"] or {}
        for name, weight in runner.model.named_parameters():
            if name in gradients:
                weight.grad = gradients[name].to(weight.device)

    def _validate_if_missing(self, runner: Any) -> None:
        """Make the validation that is due here, if the run was killed before it had it."""
        loop, done = runner.train_loop, progress(runner)
        if runner.val_loop is None or not done:
            return
        loop._decide_current_val_interval()
        last = loop.max_epochs if isinstance(loop, EpochBasedTrainLoop) else loop.max_iters
        due = done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)
        if not due or self.validated == done:
            return
        runner.logger.info(f"resume: not validated at {done}, or its result not saved")
        if is_main_process():
            MetricLog(Path(runner.work_dir) / METRICS).drop(
                lambda line: line["iter"] == runner.iter and "dataset" in line
            )
        hub = runner.message_hub
        now = {key: hub.get_info(key) for key in ("iter", "epoch")}
        # where a validation in the course of a training finds them
        hub.update_info("iter", runner.iter - 1)
        if isinstance(loop, EpochBasedTrainLoop):
            hub.update_info("epoch", runner.epoch - 1)
        runner.val_loop.run()
        for key, value in now.items():
            hub.update_info(key, value)

    def _watch_images(self, runner: Any) -> None:
        items = runner.train_loop.dataloader.dataset
        if isinstance(items, TrainingSet):
            self.bad.limit = items.limit
            items.skip_bad = items.limit > 0

    def _watch_gradients(self, runner: Any) -> None:
        """Measure before each step, through mmengine's way to clip, which logs what it is given."""
        wrapper: Any = runner.optim_wrapper
        if not isinstance(runner.optim_wrapper, OptimWrapper):
            return
        clip = wrapper.clip_func if wrapper.clip_grad_kwargs else None
        options = wrapper.clip_grad_kwargs or {}

        def measured(weights: list[Tensor], **_: Any) -> Tensor:
            norm = torch.nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
            self._check_norm(runner, norm.item())
            if clip is not None:
                clip(weights, **options)
            return norm

        wrapper.clip_func = measured
        wrapper.clip_grad_kwargs, wrapper.grad_name = {"of": "all weights"}, "grad_norm"

    def _check_norm(self, runner: Any, norm: float) -> None:
        scaler: Any = getattr(runner.optim_wrapper, "loss_scaler", None)
        scale = scaler.get_scale() if scaler is not None and scaler.is_enabled() else 0.0
        # a scaler leaves the step out, and scales the loss less
        if math.isfinite(norm) or scale >= _LEAST_SCALE:
            return
        raise TrainingError(
            f"the norm of the gradients is {norm} at iteration {runner.iter + 1}; batch: "
            f"{', '.join(self._paths)}; last good checkpoint: {self.good}"
        )


def progress(runner: Any) -> int:
    """Iterations or epochs that are done, whichever the loop counts its validations by."""
    return runner.epoch if isinstance(runner.train_loop, EpochBasedTrainLoop) else runner.iter


def _waiting_gradients(runner: Any) -> dict[str, Tensor] | None:
    """Gradients that were accumulated and wait for a step of the optimiser; None without."""
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, OptimWrapper) or wrapper.should_update():
        return None
    weights = runner.model.named_parameters()
    return {name: w.grad.cpu() for name, w in weights if w.grad is not None}


def _resume_saving(hook: CheckpointHook, runner: Any, *, resumed: bool) -> None:
    """Let a CheckpointHook know what mmengine does not resume of it."""
    hook.last_ckpt = None
    if not resumed:
        return
    info = runner.message_hub.runtime_info
    hook.last_ckpt = info.get("last_ckpt")
    remove_checkpoints(hook, info.get(OUTDATED) or [])
    here = Path(hook.out_dir)
    for key in [key for key in info if key.startswith("best_ckpt") and info[key]]:
        path = Path(info[key])
        if path.parent == here:
            continue
        # the folder was moved, or the checkpoint is of another run, whose files are not ours to remove
        info[key] = str(here / path.name) if (here / path.name).is_file() else None
        if key == "best_ckpt" and hasattr(hook, "best_ckpt_path"):
            hook.best_ckpt_path = info[key]
        elif hasattr(hook, "best_ckpt_path_dict"):
            hook.best_ckpt_path_dict[key.removeprefix("best_ckpt_")] = info[key]
