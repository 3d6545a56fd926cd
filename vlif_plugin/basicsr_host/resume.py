"""Finding the training state to resume from, and refusing one that belongs to another run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import check_resume

from vlif_plugin.archs import check_intact, load_tensors
from vlif_plugin.basicsr_host.checks import build_registered, try_weights
from vlif_plugin.distributed import agreed
from vlif_plugin.errors import CheckpointError
from vlif_plugin.files import file_hash
from vlif_plugin.runs import (
    clear_measured,
    filled,
    hold_folder,
    put_aside,
    refuse_other_images,
    refuse_other_network,
    refuse_other_optimizer,
    release_folder,
)

_NEEDED = {"iter", "epoch", "optimizers", "schedulers"}


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """The state to resume from, or None; says which it is.

    With ``--auto_resume`` the newest readable state of the run's own ``training_states`` folder is
    taken, a damaged one passed over with a warning; else ``path.resume_state``. BasicSR's own looks
    under ``./experiments`` whatever the options say, and needs a GPU. ``opt`` is told where in the
    data the run goes on (``resume``), and what a run that was started without a seed began with.

    Raises:
        CheckpointError: the state that was asked for is missing, damaged or unsafe, or the weights
            that belong to it are missing or damaged; or no state is usable, and the weights that the
            run would begin with are not.
        OptionError: the state is of another network, optimiser or dataset, or another training is
            at work in the folder.
    """
    chosen, found = _chosen(opt) if opt["rank"] == 0 else (None, None)
    path = agreed(chosen)
    if path is None:
        if may_resume(opt):  # no state is usable: the run begins with weights that were not tried
            with torch.random.fork_rng(devices=[]):  # which must not change the run's draws
                try_weights(build_registered(opt["network_g"]), opt["path"])
        return None
    state = found or _read(opt, path)
    if opt["rank"] == 0:
        _refuse_another_run(opt, state, path)
        _clear_what_comes_again(opt, state["iter"])
    opt["path"]["resume_state"] = path
    opt["resume"] = {"iter": state["iter"], "epoch": state["epoch"], "drawn": state.get("drawn")}
    if opt.pop("seed_drawn", False) and "seed" in state:
        opt["manual_seed"] = state["seed"]
    first_key = opt["path"].get("param_key_g", "params")
    check_resume(opt, state["iter"])
    # what is loaded is net_g_*.pth, whatever the first weights lay under
    opt["path"]["param_key_g"] = first_key if _begins_anew(opt) else "params"
    return state


def may_resume(opt: dict[str, Any]) -> bool:
    """Whether a training has a state to take its weights from, if that is not damaged."""
    if _begins_anew(opt):
        return False
    if opt["auto_resume"]:
        return bool(_states(Path(opt["path"]["training_states"])))
    return opt["path"].get("resume_state") is not None


def _begins_anew(opt: dict[str, Any]) -> bool:
    """Whether the network gets ``pretrain_network_g`` even where a state is resumed."""
    return "network_g" in (opt["path"].get("ignore_resume_networks") or ())


Found = tuple[str | None, dict[str, Any] | None]
"""A state's path, and the state if it has been read; None where there is none."""


def _chosen(opt: dict[str, Any]) -> Found:
    root = opt["path"]["experiments_root"]
    if os.path.isdir(root):  # before a new run moves it aside
        hold_folder(root)
    named = opt["path"].get("resume_state")
    found = _newest_state(opt) if opt["auto_resume"] else (named, None)
    if found[0] is None:
        release_folder(root)
    return found


def _newest_state(opt: dict[str, Any]) -> Found:
    folder = Path(opt["path"]["training_states"])
    states = _states(folder)
    for iteration in sorted(states, reverse=True):
        path = states[iteration]
        try:
            state = _read(opt, path)
        except CheckpointError as error:
            _say(f"auto_resume: passing over {error}")
            continue
        _say(f"auto_resume: {len(states)} states in {folder}, resuming {path.name}")
        return os.fspath(path), state
    _say(f"auto_resume: no usable state in {folder}, starting from iteration 0")
    return None, None


def states_by_age(folder: Path) -> list[Path]:
    """The training states of a folder, the oldest first."""
    states = _states(folder)
    return [states[iteration] for iteration in sorted(states)]


def _states(folder: Path) -> dict[int, Path]:
    return {int(f.stem): f for f in folder.glob("*.state") if f.stem.isdecimal()}


def _read(opt: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """A state that is whole, and whose weights are."""
    state = load_tensors(path)
    if not isinstance(state, dict) or not set(state) >= _NEEDED:
        raise CheckpointError(f"{path}: not a training state")
    check_intact(path)
    total = int(opt["train"]["total_iter"])
    if state["iter"] > total:
        raise CheckpointError(f"{path}: is of iteration {state['iter']}, but total_iter is {total}")
    weights = Path(opt["path"]["models"]) / f"net_g_{state['iter']}.pth"
    if not weights.is_file():
        raise CheckpointError(
            f"{path}: the weights of iteration {state['iter']} are missing ({weights})"
        )
    check_intact(weights)
    if state.get("weights_sha256") not in (None, file_hash(weights)):
        raise CheckpointError(f"{path}: {weights} is not the file that was saved with it")
    return state


def _refuse_another_run(opt: dict[str, Any], state: dict[str, Any], path: str) -> None:
    """Refuse to go on with another network, another optimiser or other images.

    Raises:
        OptionError: names what differs, then and now.
    """
    then = state.get("options", {})
    network = _filled(then.get("network_g"))
    refuse_other_network(path, network, _filled(opt["network_g"]), _WAY_OUT)
    was, here = (((o.get("train") or {}).get("optim_g") or {}).get("type") for o in (then, opt))
    refuse_other_optimizer(path, was, here, _WAY_OUT)
    refuse_other_images(
        path,
        state.get("fingerprints", {}),
        opt.get("fingerprints", {}),
        "datasets: {}",
        _WAY_OUT,
    )


_WAY_OUT = "give this run another name, or move the folder of the other one"


def _filled(network: dict[str, Any] | None) -> dict[str, Any]:
    from basicsr.utils.registry import ARCH_REGISTRY

    return {} if network is None else filled(network, ARCH_REGISTRY.get(network["type"]))


def _clear_what_comes_again(opt: dict[str, Any], iteration: int) -> None:
    """Take away what a run wrote behind the iteration that it goes on from, and half-written files."""
    root = Path(opt["path"]["experiments_root"])
    clear_measured(root, iteration)
    folder = Path(opt["path"]["training_states"])
    later = put_aside(folder, [f for i, f in _states(folder).items() if i > iteration])
    if later:
        names = ", ".join(Path(path).name for path in later)
        _say(f"resume: later states are put aside, in {Path(later[0]).parent}: {names}")


def _say(message: str) -> None:
    # the run's logger does not exist yet: its file lies in the folder that is made afterwards
    print(message, flush=True)  # noqa: T201
