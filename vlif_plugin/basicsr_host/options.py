"""BasicSR's command line and option files, read safely and checked before anything is written.

Replaces ``basicsr.utils.options.parse_options``: same flags, same resulting dictionary. What is
different: YAML is loaded safely and ``1e-4`` is a number; nothing is ``eval``-ed; ``torchrun``,
``--local-rank`` and CPUs work; ``path.experiments_root`` and ``path.results_root`` are honoured; and
everything that can be known to fail fails here, in one line.
"""

from __future__ import annotations

import argparse
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.utils.dist_util import get_dist_info

from vlif_plugin.basicsr_host.preflight import check_options, check_sections
from vlif_plugin.distributed import agreed, init_distributed
from vlif_plugin.errors import OptionError
from vlif_plugin.option_files import read_forced
from vlif_plugin.runs import be_deterministic, set_seeds


def parse_options(
    root_path: str, is_train: bool = True
) -> tuple[dict[str, Any], argparse.Namespace]:
    """Read command line and option file, join the process group, seed, check; BasicSR's signature.

    Args:
        root_path: folder under which ``experiments`` and ``results`` are made by default.
        is_train: training or testing.

    Raises:
        OptionError: anything wrong with flags, keys or values.
        DataError: anything wrong with the datasets that they name.
        CheckpointError: anything wrong with the weights that they name.
    """
    return parse_arguments(None, root_path, is_train)


def parse_arguments(
    argv: Sequence[str] | None, root_path: str, is_train: bool = True
) -> tuple[dict[str, Any], argparse.Namespace]:
    """:func:`parse_options` of a command line that is given.

    Args:
        argv: BasicSR's flags; None takes the process's.
        root_path: folder under which ``experiments`` and ``results`` are made by default.
        is_train: training or testing.
    """
    args = _parser(is_train).parse_args(argv)
    opt = read_forced(args.opt, args.force_yml or [])
    check_sections(opt, args.opt)
    check_name(opt, args.opt)
    if args.debug and not opt["name"].startswith("debug"):
        opt["name"] = "debug_" + opt["name"]
    _set_devices(opt, args)
    _set_paths(opt, root_path, is_train)
    opt |= {"auto_resume": args.auto_resume, "is_train": is_train}
    if is_train and "debug" in opt["name"]:
        if opt.get("val"):
            opt["val"]["val_freq"] = 8
        opt["logger"] = (opt.get("logger") or {}) | {"print_freq": 1, "save_checkpoint_freq": 8}
    if (
        is_train
        and Path(args.opt).resolve().parent == Path(opt["path"]["experiments_root"]).resolve()
    ):
        raise OptionError(
            f"{args.opt}: lies in the run's own folder, which a new run moves aside; copy it elsewhere"
        )
    check_options(opt, args.opt)
    return opt, args


def check_name(opt: dict[str, Any], source: str) -> None:
    """Refuse a run's name that cannot be a folder's.

    Raises:
        OptionError: names the file.
    """
    name = opt.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"(?!\.)[^/\\\0]{1,150}", name):
        raise OptionError(f"{source}: name must be the run's name, a plain word, got {name!r}")


def results_parent(path: dict[str, Any], key: str, root_path: str) -> str:
    """The folder that runs' folders lie in.

    Args:
        path: the section ``path``.
        key: ``experiments_root`` or ``results_root``, of which it may name another.
        root_path: where BasicSR makes ``experiments`` and ``results``.
    """
    named = path.get(key)
    return os.path.expanduser(named) if named else os.path.join(root_path, key.split("_")[0])


def _parser(is_train: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"basicsr {'train' if is_train else 'test'}.py",
        description="BasicSR with vlif_plugin registered.",
        allow_abbrev=False,
    )
    parser.add_argument("-opt", "--opt", required=True, metavar="FILE", help="option file (YAML)")
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="job launcher"
    )
    parser.add_argument(
        "--auto_resume", action="store_true", help="resume the run's newest training state"
    )
    parser.add_argument(
        "--debug", action="store_true", help="log each iteration, validate and save every 8"
    )
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help="set by launchers"
    )
    parser.add_argument(
        "--force_yml",
        nargs="+",
        action="extend",
        metavar="KEY:KEY=VALUE",
        help="override options, e.g. train:ema_decay=0.999",
    )
    return parser


def _set_devices(opt: dict[str, Any], args: argparse.Namespace) -> None:
    """Resolve num_gpu, join the process group, seed."""
    gpus = opt.get("num_gpu", "auto")
    if gpus == "auto":
        gpus = torch.cuda.device_count()
    if not isinstance(gpus, int) or isinstance(gpus, bool) or gpus < 0:
        raise OptionError(f"num_gpu must be auto or a number, got {gpus!r}")
    if gpus > torch.cuda.device_count():
        raise OptionError(
            f"num_gpu is {gpus}, but {torch.cuda.device_count()} CUDA devices are visible; "
            "use num_gpu: auto, or 0 for the CPU (--force_yml num_gpu=0)"
        )
    opt["num_gpu"] = gpus
    launcher = args.launcher
    if launcher == "none" and int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ:
        launcher = "pytorch"  # torchrun without --launcher would run N trainings in one folder
    opt["dist"] = launcher != "none"
    if opt["dist"]:
        os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
        init_distributed(
            launcher, use_cuda=gpus > 0, port=(opt.get("dist_params") or {}).get("port")
        )
    opt["rank"], opt["world_size"] = get_dist_info()
    _set_seed(opt)


def _set_seed(opt: dict[str, Any]) -> None:
    """Seed each process, and have torch be deterministic where it is asked to be."""
    seed = opt.get("manual_seed")
    if seed is None:
        # one for all processes, whose data are shares of one order
        opt["manual_seed"], opt["seed_drawn"] = agreed(random.randint(1, 10000)), True
    elif isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise OptionError(f"manual_seed must be a whole number from 0 to 2**31, got {seed!r}")
    if not isinstance(opt.get("deterministic", False), bool):
        raise OptionError(f"deterministic must be true or false, got {opt['deterministic']!r}")
    if opt.get("deterministic"):
        be_deterministic()
    set_seeds(opt["manual_seed"] + opt["rank"])


def _set_paths(opt: dict[str, Any], root_path: str, is_train: bool) -> None:
    """Fill ``path`` as BasicSR does, below the folders that the options name."""
    path = opt["path"] = dict(opt.get("path") or {})
    for key, value in path.items():
        if isinstance(value, str):
            path[key] = os.path.expanduser(value)
    if is_train:
        root = os.path.join(results_parent(path, "experiments_root", root_path), opt["name"])
        path |= {
            "experiments_root": root,
            "models": os.path.join(root, "models"),
            "training_states": os.path.join(root, "training_states"),
            "log": root,
            "visualization": os.path.join(root, "visualization"),
        }
    else:
        root = os.path.join(results_parent(path, "results_root", root_path), opt["name"])
        path |= {
            "results_root": root,
            "log": root,
            "visualization": os.path.join(root, "visualization"),
        }
    for phase, dataset in (opt.get("datasets") or {}).items():
        if isinstance(dataset, dict):
            dataset["phase"] = phase.split("_")[0]
            if "scale" in opt:
                dataset["scale"] = opt["scale"]
            for key in ("dataroot_gt", "dataroot_lq"):  # for BasicSR's own datasets: ours do it
                if isinstance(dataset.get(key), str):
                    dataset[key] = os.path.expanduser(dataset[key])
