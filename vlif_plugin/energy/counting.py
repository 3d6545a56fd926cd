"""Counting what a network does with an image."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from vlif_plugin.energy.flow import Neurons
from vlif_plugin.energy.operator_counter import OperatorCounter
from vlif_plugin.energy.paper_count import PaperCounter
from vlif_plugin.energy.released_count import released_macs
from vlif_plugin.energy.report import EnergyReport
from vlif_plugin.energy.rest import at_rest
from vlif_plugin.errors import DataError, OptionError, first_line, first_names
from vlif_plugin.layers import in_eval_mode


def count_ops(network: nn.Module, image: Tensor, *, neurons: Neurons | None = None) -> EnergyReport:
    """Count what one forward pass of one image takes a network, whatever it is made of.

    The network runs once, in eval mode and without gradients, its neurons from rest; its mode, and
    what neurons of others keep between calls, is restored afterwards. A product whose input comes from
    a neuron, through operators that only move values, is counted in synaptic operations, every other in
    multiplications. Neurons are those of this package, SpikingJelly's, and the declared ones. A compiled
    network is run as it was before, and so are compiled parts, since what counts hangs on the modules'
    hooks.

    Args:
        network: takes an image of shape (1, C, H, W) alone.
        image: shape (C, H, W) or (1, C, H, W), in the range that the network expects.
        neurons: further neuron modules by type, and what their spikes are.

    Raises:
        DataError: the image is no single one, or the network cannot run on it.
        OptionError: a declared neuron gives something else than it was declared to give.
    """
    batch = image[None] if image.ndim == 3 else image
    if batch.ndim != 4 or batch.shape[0] != 1:
        raise DataError(f"one image of shape (C, H, W) is needed, got {tuple(image.shape)}")
    network = getattr(network, "_orig_mod", network)
    counter = OperatorCounter(neurons or {})
    paper = PaperCounter(network)
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # one operator that hides what it is made of
        with (
            at_rest(network, counter.declared),
            in_eval_mode(network),
            ExitStack() as hooks,
            torch.no_grad(),
        ):
            counter.attach(network, hooks)
            paper.attach(hooks)
            with counter:
                _run(network, batch)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return EnergyReport(
        network=type(network).__name__,
        size=(batch.shape[2], batch.shape[3]),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        layers=list(counter.layers.values()),
        neurons=list(counter.neurons.values()),
        elementwise=counter.elementwise,
        foldable=counter.foldable,
        not_counted=counter.not_counted,
        notes=_notes(network, counter),
        paper=paper.result(),
        released_macs=released_macs(network, counter.layers.values()),
    )


def centre(image: Tensor, size: int | None) -> Tensor:
    """The middle of an image, at most ``size`` high and wide; all of it for None.

    Args:
        image: shape (..., H, W).
        size: >= 1, or None.
    """
    if size is None:
        return image
    top, left = (max(0, (side - size) // 2) for side in image.shape[-2:])
    return image[..., top : top + size, left : left + size]


def _run(network: nn.Module, batch: Tensor) -> None:
    try:
        network(batch)
    except (DataError, OptionError):
        raise
    except Exception as error:  # networks fail in as many ways as there are networks
        raise DataError(
            f"{type(network).__name__} cannot be run on an image of {batch.shape[3]}x{batch.shape[2]} alone "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error


def _notes(network: nn.Module, counter: OperatorCounter) -> list[str]:
    notes = [
        "energy is of arithmetic only: memory traffic is not in it, and on GPUs and CPUs spikes save nothing"
    ]
    repeated = [layer.name for layer in counter.layers.values() if layer.repeated]
    if repeated:
        notes.append(
            f"the same at all timesteps, and counted as often as run: {first_names(repeated)}"
        )
    value_only = [layer.name for layer in counter.layers.values() if layer.value_only]
    if value_only:
        notes.append(
            f"input of zeros and ones that comes from no neuron, counted as real values: {first_names(value_only)}"
        )
    fresh = [module for module in network.modules() if _is_fresh(module)]
    if fresh and counter.neurons:
        notes.append(
            "BatchNorm statistics are the initial ones: untrained, so the rates mean nothing"
        )
    return notes


def _is_fresh(module: nn.Module) -> bool:
    """Whether a BatchNorm has the statistics that it was made with."""
    if not isinstance(module, nn.modules.batchnorm._BatchNorm):
        return False
    mean, variance = module.running_mean, module.running_var
    if mean is None or variance is None:
        return False
    return not bool(mean.any()) and bool((variance == 1).all())
