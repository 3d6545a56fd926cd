"""Which network a weights file belongs to."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import nn

from vlif_plugin.archs import Checkpoint, build_network, infer_options, load_strict, read_checkpoint
from vlif_plugin.errors import CheckpointError, OptionError


def add_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Declare ``--weights``, ``--opt`` and ``--param-key``.

    Args:
        parser: of the command.
        required: weights; a command that does without takes a fresh network of the option file.
    """
    parser.add_argument(
        "-w",
        "--weights",
        required=required,
        metavar="FILE",
        help="weights: .pth of this plugin or released, or .safetensors",
    )
    parser.add_argument(
        "-opt", "--opt", metavar="FILE", help="option file whose network_g the weights belong to"
    )
    parser.add_argument(
        "--param-key", metavar="KEY", help="entry of the file (default: params_ema, then params)"
    )


def network_of(args: argparse.Namespace) -> tuple[nn.Module, dict[str, Any]]:
    """The network that ``--weights`` or ``--opt`` name, in eval mode, and the options it was built with.

    Without weights it is a fresh one, the same at each call.

    Raises:
        CheckpointError: see :func:`load_network`.
        OptionError: see there, or neither is named.
    """
    if args.weights is not None:
        net, _, options = load_network(args.weights, args.opt, args.param_key)
        return net, options
    if args.opt is None:
        raise OptionError("name an option file with --opt, or weights with --weights")
    from vlif_plugin.option_files import network_options

    options = network_options(args.opt)
    torch.manual_seed(0)
    return build_network(options).eval(), options


def load_network(
    weights: str, opt: str | None, param_key: str | None
) -> tuple[nn.Module, Checkpoint, dict[str, Any]]:
    """Build the network that a weights file belongs to, and load it.

    The option file decides; else the options stored in the file; else what the tensors' names and
    shapes tell (released checkpoints store nothing else).

    Args:
        weights: the weights file.
        opt: an option file with ``network_g``, or None.
        param_key: see :func:`~vlif_plugin.archs.read_checkpoint`.

    Returns:
        The network in eval mode, the file's content, and the options it was built with.

    Raises:
        CheckpointError: the file is unreadable, unsafe, does not fit, or does not tell its network.
        OptionError: the option file has no usable ``network_g``.
    """
    checkpoint = read_checkpoint(weights, param_key)
    options = checkpoint.network
    if opt is not None:
        from vlif_plugin.option_files import network_options

        options = network_options(opt)
    if options is None:
        options = infer_options(checkpoint.state)
    if options is None:
        raise CheckpointError(
            f"{weights}: does not tell which network it is for; name an option file with --opt"
        )
    net = build_network(options)
    load_strict(net, checkpoint)
    return net.eval(), checkpoint, options
