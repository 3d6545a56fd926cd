"""Finding and reading a training state, on any device, from the folder that the options name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from basicsr.utils import check_resume

from vlif_plugin.archs import load_tensors
from vlif_plugin.errors import CheckpointError


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The state to resume from, or None; says which it is.

    With ``--auto_resume`` the newest readable state of the run's own ``training_states`` folder is
    taken, a damaged one passed over with a warning; else ``path.resume_state``. BasicSR's own looks
    under ``./experiments`` whatever the options say, and needs a GPU.

    Raises:
        CheckpointError: the state that was asked for is missing, damaged or unsafe, or the weights
            that belong to it are missing.
    """
    if opt["auto_resume"]:
        return _newest_state(opt)
    path = opt["path"].get("resume_state")
    return None if not path else _prepare(opt, path)


def _newest_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    folder = Path(opt["path"]["training_states"])
    states = {int(f.stem): f for f in folder.glob("*.state") if f.stem.isdigit()}
    for iteration in sorted(states, reverse=True):
        try:
            state = _prepare(opt, states[iteration])
        except CheckpointError as error:
            _say(opt, f"auto_resume: passing over {error}")
            continue
        _say(
            opt, f"auto_resume: {len(states)} states in {folder}, resuming {states[iteration].name}"
        )
        return state
    _say(opt, f"auto_resume: no usable state in {folder}, starting from iteration 0")
    return None


def _prepare(opt: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    state = load_tensors(path)
    if not isinstance(state, dict) or not {"iter", "epoch", "optimizers", "schedulers"} <= set(
        state
    ):
        raise CheckpointError(f"{path}: not a training state")
    total = int(opt["train"]["total_iter"])
    if state["iter"] > total:
        raise CheckpointError(f"{path}: is of iteration {state['iter']}, but total_iter is {total}")
    weights = Path(opt["path"]["models"]) / f"net_g_{state['iter']}.pth"
    if not weights.is_file():
        raise CheckpointError(
            f"{path}: the weights of iteration {state['iter']} are missing ({weights})"
        )
    opt["path"]["resume_state"] = os.fspath(path)
    check_resume(opt, state["iter"])
    return state


def _say(opt: dict[str, Any], message: str) -> None:
    # the run's logger does not exist yet: its file lies in the folder that is made afterwards
    if opt["rank"] == 0:
        print(message, flush=True)  # noqa: T201
