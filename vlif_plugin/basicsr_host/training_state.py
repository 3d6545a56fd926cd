"""What a training state holds, so that a resumed run gives what one gives that was never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from basicsr.utils import get_root_logger
from torch.optim import Optimizer

from vlif_plugin.distributed import gathered
from vlif_plugin.errors import CheckpointError
from vlif_plugin.files import file_hash
from vlif_plugin.records import strict
from vlif_plugin.runs import PassedOver, changed_options, random_state, restore_random_state

if TYPE_CHECKING:
    from vlif_plugin.basicsr_host.snn_restoration_model import SNNRestorationModel

_SECTIONS = ("network_g", "manual_seed", "deterministic", "datasets", "train", "val")


def lasting_options(opt: dict[str, Any]) -> dict[str, Any]:
    """What of the options makes a run what it is: a state says it, and a resumed run tells of changes.

    Must be asked for before BasicSR takes out of the options what it has used.
    """
    return strict({section: opt.get(section) for section in _SECTIONS})


def training_state(model: SNNRestorationModel, epoch: int, iteration: int) -> dict[str, Any]:
    """All of a run that its weights do not hold; every process must ask, each has draws of its own.

    Args:
        model: whose weights of this iteration are saved.
        epoch: of the data.
        iteration: of the training.

    Returns:
        Tensors and plain types: what BasicSR's states hold (``epoch``, ``iter``, ``optimizers``,
        ``schedulers``), and ``drawn`` (items of the epoch that were trained on), ``seed``, ``random``
        (states of the generators by process), ``scaler``, ``best`` (scores by dataset),
        ``passed_over`` (images that could not be read), ``options``, ``fingerprints`` (by dataset) and
        ``weights_sha256``.
    """
    random = gathered(random_state())
    model.bad.join(get_root_logger())
    weights = Path(model.opt["path"]["models"]) / f"net_g_{iteration}.pth"
    return {
        "epoch": epoch,
        "iter": iteration,
        "drawn": model.drawn,
        "seed": model.opt["manual_seed"],
        "random": random,
        "optimizers": [optimizer.state_dict() for optimizer in model.optimizers],
        "schedulers": [scheduler.state_dict() for scheduler in model.schedulers],
        "scaler": model.scaler.state_dict(),
        "best": model.best_metric_results,
        "passed_over": dict(model.bad.counts),
        "options": model.options,
        "fingerprints": model.opt.get("fingerprints", {}),
        "weights_sha256": file_hash(weights) if model.opt["rank"] == 0 else None,
    }


def resume(model: SNNRestorationModel, state: dict[str, Any]) -> None:
    """Give a model all of a state but its draws, under the options as they are now; say what changed.

    Raises:
        CheckpointError: the state is of another optimiser.
    """
    for optimizer, saved in zip(model.optimizers, state["optimizers"], strict=True):
        _resume_optimizer(optimizer, saved)
    for scheduler, saved in zip(model.schedulers, state["schedulers"], strict=True):
        scheduler.last_epoch = saved["last_epoch"]
        scheduler._step_count = saved["_step_count"]
    if model.scaler.is_enabled() and state.get("scaler"):
        model.scaler.load_state_dict(state["scaler"])
    model.best_metric_results = state.get("best", {})
    model.bad = PassedOver(model.bad.limit, state.get("passed_over"))
    model.drawn = state.get("drawn", 0)
    _say_changes(state.get("options", {}), model.options)


def resume_draws(model: SNNRestorationModel, state: dict[str, Any]) -> None:
    """Put the generators back; the last thing before training, because anything may draw.

    Raises:
        CheckpointError: the state is damaged.
    """
    states = state.get("random", [])
    if len(states) != model.opt["world_size"]:
        get_root_logger().warning(
            f"resume: the state is of {len(states) or 'an unknown number of'} processes, this run of "
            f"{model.opt['world_size']}: it does not go on to the bit"
        )
        return
    restore_random_state(states[model.opt["rank"]])


def _resume_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Take over what an optimiser has gathered; its settings are those of the options.

    So are its rates: a schedule sets them for its iteration before the next step.
    """
    now = [dict(group) for group in optimizer.param_groups]
    groups = saved["param_groups"]
    # some optimisers of timm count their steps in a group, which has no such key before the first
    if len(groups) != len(now) or any(set(n) - set(g) for n, g in zip(now, groups, strict=True)):
        raise CheckpointError(
            "resume: the state was saved by another optimiser than train: optim_g"
        )
    optimizer.load_state_dict(saved)
    for group, wanted in zip(optimizer.param_groups, now, strict=True):
        group |= {key: value for key, value in wanted.items() if key != "params"}


def _say_changes(then: dict[str, Any], now: dict[str, Any]) -> None:
    """Log what the options ask for that they did not when the state was saved."""
    for key, (was, here) in changed_options(then, now).items() if then else ():
        get_root_logger().warning(f"resume: {key} is now {here}, as the options say; it was {was}")
