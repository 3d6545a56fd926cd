"""Training and testing by mmengine's Runner, from the command line."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.logging import MessageHub
from mmengine.runner import Runner

import vlif_plugin.mmengine_host  # noqa: F401 (mends mmengine, fills the registries)
from vlif_plugin.distributed import check_environment, exit_status_of_all
from vlif_plugin.errors import OptionError, PluginError, TrainingError, first_line
from vlif_plugin.mmengine_host.configs import default_work_dir, override, read_config
from vlif_plugin.mmengine_host.preflight import check_config
from vlif_plugin.mmengine_host.run_folder import held_folder
from vlif_plugin.speed import keep_freed_memory


def train(argv: Sequence[str] | None = None) -> int:
    """Train as a config says.

    Args:
        argv: flags; None takes the command line's.

    Returns:
        Exit status: 0, or 1 after an error that was printed in one line.
    """
    return exit_status_of_all(lambda: _train(argv))


def test(argv: Sequence[str] | None = None) -> int:
    """Score weights as a config says; see :func:`train`."""
    return exit_status_of_all(lambda: _test(argv))


def _train(argv: Sequence[str] | None) -> None:
    parser = _parser("mm_train", "Train a config of mmengine.")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from a checkpoint; without a name, from the newest of the work_dir",
    )
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16 where it is safe")
    args = parser.parse_args(argv)
    config = _configure(args)
    if args.amp:
        _compute_in_bf16(config, args.config)
    if args.resume is not None:
        config.resume = True
        config.load_from = None if args.resume == "auto" else args.resume
    check_config(config, args.config, "train")
    keep_freed_memory()
    rank = os.environ.get("SLURM_PROCID" if config.launcher == "slurm" else "RANK", "0")
    with held_folder(config.work_dir, int(rank) if config.launcher != "none" else 0):
        _run(config)


def _run(config: Config) -> None:
    """Train, and say in one line what stops a run and is no error of the code.

    Raises:
        TrainingError: the disk is full, or an operator has no deterministic algorithm.
    """
    try:
        Runner.from_cfg(config).train()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        good = MessageHub.get_current_instance().get_info("last_ckpt", "none")
        raise TrainingError(
            f"{error.filename or config.work_dir}: cannot be written ({error.strerror}); last good "
            f"checkpoint: {good}"
        ) from error
    except RuntimeError as error:
        deterministic = (config.get("randomness") or {}).get("deterministic")
        if isinstance(error, PluginError) or not deterministic or "deterministic" not in str(error):
            raise
        raise TrainingError(f"randomness: deterministic=True: {first_line(error)}") from error


def _test(argv: Sequence[str] | None) -> None:
    parser = _parser("mm_test", "Score weights by a config of mmengine.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="weights of any origin")
    args = parser.parse_args(argv)
    config = _configure(args)
    config.load_from, config.resume = args.checkpoint, False
    check_config(config, args.config, "test")
    keep_freed_memory()
    Runner.from_cfg(config).test()


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m vlif_plugin.{command}", description=description, allow_abbrev=False
    )
    parser.add_argument("config", metavar="CONFIG", help="config file of mmengine (.py)")
    parser.add_argument(
        "--work-dir", metavar="DIR", help="of logs and checkpoints (default: work_dirs/NAME)"
    )
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="job launcher"
    )
    parser.add_argument(
        "--local-rank", "--local_rank", type=int, default=0, help="set by launchers"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=_Overrides,
        metavar="KEY=VALUE",
        help="override values, e.g. model.network_g.dim=24 train_cfg.max_iters=1000",
    )
    return parser


class _Overrides(DictAction):
    """mmengine's reading of KEY=VALUE, with a word for what is none."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Read them."""
        for value in values:
            if "=" not in value:
                parser.error(f"--cfg-options {value}: must be KEY=VALUE")
        super().__call__(parser, namespace, values, option_string)  # pyright: ignore[reportArgumentType]


def _configure(args: argparse.Namespace) -> Config:
    config = read_config(args.config)
    override(config, args.cfg_options, args.config)
    config.work_dir = args.work_dir or config.get("work_dir") or default_work_dir(args.config)
    under_torchrun = {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= set(os.environ)
    config.launcher = (
        "pytorch" if args.launcher == "none" and under_torchrun else str(args.launcher)
    )
    check_environment(config.launcher)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return config


def _compute_in_bf16(config: Config, source: str) -> None:
    wrapper = config.get("optim_wrapper")
    kind = wrapper.get("type", "OptimWrapper") if isinstance(wrapper, dict) else None
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise OptionError(
            f"{source}: --amp needs an optim_wrapper of type OptimWrapper, got {kind!r}"
        )
    config.optim_wrapper.type = "AmpOptimWrapper"
    config.optim_wrapper.dtype = "bfloat16"
    # bfloat16 reaches as far as float32; mmengine would scale until steps are lost
    config.optim_wrapper.setdefault("loss_scale", {"enabled": False})
