"""`vlif convert`: from released checkpoints to the plugin's format, and back."""

from __future__ import annotations

import argparse
from pathlib import Path

from vlif_plugin.archs import SpikingRestorer, is_safetensors, save_atomically, save_safetensors
from vlif_plugin.building import call_for
from vlif_plugin.cli import weights
from vlif_plugin.errors import CheckpointError, DataError, OptionError
from vlif_plugin.files import check_absent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    weights.add_arguments(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="file to write (.pth or .safetensors)"
    )
    parser.add_argument(
        "--to",
        choices=["plugin", "released"],
        default="plugin",
        help="plugin: our names, with the network's options; released: the authors' names (default: plugin)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert one file; what is written has been loaded into the network it names."""
    check_absent(args.output)
    net, checkpoint, options = weights.load_network(args.weights, args.opt, args.param_key)
    safe = is_safetensors(args.output)
    if safe and args.to == "released":
        raise OptionError("--to released writes what torch.save writes: name a .pth file")
    if args.to == "plugin":
        content = {"params": net.state_dict(), "network_g": options}
    elif isinstance(net, SpikingRestorer):
        content = {"state_dict": call_for(args.weights, net.released_state_dict)}
    else:
        raise CheckpointError(f"{args.weights}: {options['type']} has no released names")
    try:
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        if safe:
            save_safetensors(net.state_dict(), options, args.output)
        else:
            save_atomically(content, args.output)
    except OSError as error:
        raise DataError(f"{args.output}: cannot be written ({error.strerror or error})") from error
    count = sum(p.numel() for p in net.parameters())
    print(
        f"{args.output}: {options['type']} with {count:,d} parameters, from entry {checkpoint.key or '(whole file)'}"
    )
    return 0
