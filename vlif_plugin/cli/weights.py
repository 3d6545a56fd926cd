"""Which network a weights file belongs to."""

from __future__ import annotations

import argparse
from typing import Any

from torch import nn

from vlif_plugin.archs import (
    ARCHS,
    Checkpoint,
    build_network,
    infer_options,
    load_strict,
    read_checkpoint,
)
from vlif_plugin.errors import CheckpointError
from vlif_plugin.shipped import SHIPPED, weights_path


def add_arguments(
    parser: argparse.ArgumentParser, *, default: str | None = None, required: bool = True
) -> None:
    """Declare ``--weights``, ``--opt`` and ``--param-key``.

    Args:
        parser: of the command.
        default: weights that it takes where none are named.
        required: whether they must be named where there is no default; else ``--opt`` will do.
    """
    shipped = ", ".join(f"{name} ({what})" for name, what in SHIPPED.items())
    parser.add_argument(
        "-w",
        "--weights",
        required=required and default is None,
        default=default,
        metavar="NAME_OR_FILE",
        help=f"weights that come with the package: {shipped}; or a file: .pth of this plugin or released, or "
        f".safetensors{f' (default: {default})' if default else ''}",
    )
    parser.add_argument(
        "-opt",
        "--opt",
        metavar="FILE",
        help="option file whose network_g the weights belong to"
        + ("" if required else "; without weights, a fresh network of it"),
    )
    parser.add_argument(
        "--param-key", metavar="KEY", help="entry of the file (default: params_ema, then params)"
    )


def build(options: dict[str, Any]) -> nn.Module:
    """Build a network of ours; its base, where it is a spiking form of one, may be BasicSR's.

    Raises:
        OptionError: there is no such network, or it refuses its arguments.
    """
    if not ARCHS.keys() >= set(bases_of(options)):
        from vlif_plugin.basicsr_host import register_all  # takes seconds

        register_all()
    return build_network(options)


def bases_of(options: dict[str, Any] | None) -> list[str]:
    """Types of a network's base, and of its base's, where it has one."""
    base = (options or {}).get("base")
    if not isinstance(base, dict):
        return []
    return [str(base.get("type")), *bases_of(base)]


def load_network(
    weights: str, opt: str | None, param_key: str | None
) -> tuple[nn.Module, Checkpoint, dict[str, Any]]:
    """Build the network that a weights file belongs to, and load it.

    The option file decides; else the options stored in the file; else what the tensors' names and
    shapes tell (released checkpoints store nothing else).

    Args:
        weights: the weights file, or the name of shipped weights.
        opt: an option file with ``network_g``, or None.
        param_key: see :func:`~vlif_plugin.archs.read_checkpoint`.

    Returns:
        The network in eval mode, the file's content, and the options it was built with.

    Raises:
        CheckpointError: the file is unreadable, unsafe, does not fit, or does not tell its network.
        OptionError: the option file has no usable ``network_g``.
    """
    checkpoint = read_checkpoint(weights_path(weights), param_key)
    options = checkpoint.network
    imported = [base for base in bases_of(options) if "." in base]  # as mmengine allows in configs
    if opt is None and imported:
        raise CheckpointError(
            f"{weights}: its network is made of {imported[0]!r}, and what a file names is not imported; "
            "name an option file with --opt, whose network_g has a base that is registered"
        )
    if opt is not None:
        from vlif_plugin.option_files import network_options

        options = network_options(opt)
    if options is None:
        options = infer_options(checkpoint.state)
    if options is None:
        raise CheckpointError(
            f"{weights}: does not tell which network it is for; name an option file with --opt"
        )
    net = build(options)
    load_strict(net, checkpoint)
    return net.eval(), checkpoint, options
