"""Going on with a run: whether it is the same one, what was changed, and that the config is followed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from mmengine.config import Config
from mmengine.optim import OptimWrapper, _ParamScheduler
from torch.utils.data import DataLoader

from vlif_plugin import registry
from vlif_plugin.data import sampled_fingerprint
from vlif_plugin.errors import CheckpointError
from vlif_plugin.records import strict
from vlif_plugin.runs import (
    filled,
    refuse_other_images,
    refuse_other_network,
    refuse_other_optimizer,
)

RUN = "run"
"""The entry of a checkpoint with what mmengine's own entries lack."""
_SECTIONS = (
    "model", "train_dataloader", "val_dataloader", "val_evaluator", "train_cfg", "val_cfg", "optim_wrapper",
    "param_scheduler", "auto_scale_lr", "custom_hooks", "randomness",
)  # fmt: skip
_LEARNING_RATES = ("optim_wrapper", "param_scheduler", "auto_scale_lr")
_WAY_OUT = "give this run another work_dir, or move away what is in this one"


def lasting_options(config: Config) -> dict[str, Any]:
    """What of a config makes a run what it is: a checkpoint says it, a resumed run tells of changes."""
    whole = config.to_dict()
    return strict({section: whole.get(section) for section in _SECTIONS})


def fingerprints(datasets: Mapping[str, Any]) -> dict[str, str]:
    """The fingerprint of each dataset of this package; of others it is not known what they read."""
    return {
        name: sampled_fingerprint(dataset.sides())
        for name, dataset in datasets.items()
        if hasattr(dataset, "sides")
    }


def datasets_of(runner: Any) -> dict[str, Any]:
    """The datasets that a runner trains on and validates with."""
    loops = {"train": runner.train_loop, "val": runner.val_loop}
    loaders: dict[str, DataLoader[Any]] = {k: v.dataloader for k, v in loops.items() if v}
    # TrainingSet has its dataset in an attribute
    return {k: getattr(v.dataset, "dataset", v.dataset) for k, v in loaders.items()}


def refuse_another_run(
    checkpoint: Mapping[str, Any], config: Config, prints: Mapping[str, str], source: str
) -> None:
    """Refuse to go on with another network, optimiser or images, or behind the end.

    Args:
        checkpoint: that shall be resumed.
        config: of the run.
        prints: fingerprints of its datasets, ``train`` and ``val``.
        source: where the checkpoint is from.

    Raises:
        OptionError: names what differs, then and now.
        CheckpointError: it is behind the run's end.
    """
    _refuse_ended(checkpoint.get("meta") or {}, config.get("train_cfg") or {}, source)
    run = run_state(checkpoint)
    then, now = run.get("options") or {}, lasting_options(config)
    refuse_other_network(source, _filled(then), _filled(now), _WAY_OUT)
    was, here = (_at(o, "optim_wrapper", "optimizer", "type") for o in (then, now))
    refuse_other_optimizer(source, was, here, _WAY_OUT)
    refuse_other_images(source, run.get("fingerprints") or {}, prints, "{}_dataloader", _WAY_OUT)


def run_state(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of the run beyond mmengine's entries; nothing if it is mmengine's own."""
    run = checkpoint.get(RUN)
    return run if isinstance(run, dict) else {}


def change_rates(changed: Iterable[str]) -> bool:
    """Whether changed keys have to do with learning rates or the optimiser's settings."""
    return any(key.split(":")[0] in _LEARNING_RATES for key in changed)


class Schedule:
    """Optimiser settings and schedules as a config has them at the beginning of a training.

    Args:
        wrapper: of the optimiser, not yet resumed.
        schedulers: in the order in which they are stepped.
    """

    def __init__(self, wrapper: OptimWrapper, schedulers: list[_ParamScheduler]) -> None:
        self.groups = [
            {key: deepcopy(value) for key, value in group.items() if key != "params"}
            for group in wrapper.optimizer.param_groups
        ]
        self.states = [deepcopy(scheduler.state_dict()) for scheduler in schedulers]

    def reach(
        self,
        wrapper: OptimWrapper,
        schedulers: list[_ParamScheduler],
        iterations: int,
        epochs: int,
    ) -> None:
        """Go to where this schedule is after some training, whatever was trained with until then.

        Args:
            wrapper: of the optimiser.
            schedulers: of its learning rates.
            iterations: that were made.
            epochs: of them that ended, equally long.
        """
        for group, settings in zip(wrapper.optimizer.param_groups, self.groups, strict=True):
            group.update(deepcopy(settings))  # beside what some optimisers count there
        for scheduler, state in zip(schedulers, self.states, strict=True):
            scheduler.load_state_dict(deepcopy(state))
        ended = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch misses steps of the optimiser
            for iteration in range(1, iterations + 1):
                _step(schedulers, by_epoch=False)
                if iteration * epochs // iterations > ended:
                    ended += 1
                    _step(schedulers, by_epoch=True)


def depends_on_scores(schedulers: Iterable[_ParamScheduler]) -> bool:
    """Whether one of the schedules is known only when the run has been validated."""
    return any(getattr(scheduler, "need_val_args", False) for scheduler in schedulers)


def _step(schedulers: Iterable[_ParamScheduler], *, by_epoch: bool) -> None:
    for scheduler in schedulers:
        if bool(scheduler.by_epoch) == by_epoch:
            scheduler.step()


def _refuse_ended(meta: Mapping[str, Any], loop: Mapping[str, Any], source: str) -> None:
    for key, name in (("max_iters", "iter"), ("max_epochs", "epoch")):
        reached, limit = meta.get(name), loop.get(key)
        if limit is not None and isinstance(reached, int) and reached > limit:
            raise CheckpointError(
                f"{source}: is of {name} {reached}, but train_cfg: {key} is {limit}"
            )


def _filled(options: Any) -> dict[str, Any]:
    network = _at(options, "model", "network_g")
    if not isinstance(network, Mapping):
        return {}
    return filled(network, registry.MODELS.get(str(network.get("type"))))


def _at(options: Any, *keys: str) -> Any:
    for key in keys:
        options = options.get(key) if isinstance(options, Mapping) else None
    return options
