"""Weights of a network in BasicSR's files, with the network's options beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from basicsr.utils import get_root_logger
from torch import nn

from vlif_plugin.archs import load_strict, read_checkpoint


def load_weights(
    net: nn.Module, path: str, param_key: str | None, options: Mapping[str, Any], *, strict: bool
) -> None:
    """Load safely, released checkpoints included (:mod:`vlif_plugin.archs`), and log what was loaded.

    Args:
        net: gets the weights.
        path: of the file.
        param_key: the entry that holds them, as in ``path: param_key_g``.
        options: that the network was built with; a file that was saved with others is warned of.
        strict: without it, what fits by name and shape is loaded, and the log says how much that was.

    Raises:
        CheckpointError: it cannot be read, or, if strict, is not of this network.
    """
    checkpoint, logger = read_checkpoint(path, param_key), get_root_logger()
    stored = checkpoint.network or {}
    other = [k for k in stored | dict(options) if stored.get(k) != options.get(k)] if stored else []
    if other:
        logger.warning(
            f"{path} was saved with other network options: "
            + ", ".join(
                f"{k} {stored.get(k, 'default')} (here {options.get(k, 'default')})" for k in other
            )
        )
    logger.info(
        f"Loading {type(net).__name__} from {path}, entry {checkpoint.key or '(whole file)'}."
    )
    if strict:
        load_strict(net, checkpoint)
        return
    ours = net.state_dict()
    fitting = {k: v for k, v in checkpoint.state.items() if k in ours and v.shape == ours[k].shape}
    net.load_state_dict(fitting, strict=False)
    logger.warning(f"strict_load_g is false: {len(fitting)} of {len(ours)} tensors loaded.")


def weights_content(
    nets: Sequence[nn.Module], keys: Sequence[str], label: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """What a file of weights holds.

    Args:
        nets: a network, or it and its average.
        keys: the entry of each, such as ``params`` and ``params_ema``.
        label: BasicSR's name of the network, ``net_g``.
        options: that it was built with; they become the entry ``network_g``.
    """
    content: dict[str, Any] = {
        key: {name: value.cpu() for name, value in net.state_dict().items()}
        for key, net in zip(keys, nets, strict=True)
    }
    return content | {f"network_{label.removeprefix('net_')}": dict(options)}
