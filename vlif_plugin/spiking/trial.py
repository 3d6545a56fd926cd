"""A trial run of a network: what its activations are given, as only running it tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn

from vlif_plugin.errors import OptionError, PluginError, first_line
from vlif_plugin.layers import in_eval_mode
from vlif_plugin.spiking.norms import is_normalisation

_PASSING = (nn.Identity, nn.modules.dropout._DropoutNd)
Picture = Sequence[int]
"""Channels, height and width of the picture that a network is tried on."""


@dataclass(frozen=True)
class Use:
    """One call of an activation.

    Attributes:
        shape: of its input.
        out_shape: of its output.
        channels_last: whether channels are the last dimension: behind a linear layer or LayerNorm,
            and of tokens.
        normed: whether the layer before is a normalisation.
    """

    shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    channels_last: bool
    normed: bool

    @property
    def channels(self) -> int:
        """C of the input."""
        return self.shape[-1 if self.channels_last else 1]

    @property
    def gate(self) -> bool:
        """Whether it halves the channels."""
        halved = list(self.shape)
        halved[-1 if self.channels_last else 1] //= 2
        return self.out_shape != self.shape and self.out_shape == tuple(halved)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its maps."""
        if len(self.shape) == 4:
            at = 1 if self.channels_last else 2
            return self.shape[at], self.shape[at + 1]
        return (math.prod(self.shape[1:]) // self.channels, 1)


def picture(size: Picture, like: nn.Module, count: int = 1) -> Tensor:
    """Smooth random pictures, always the same; (count, C, H, W) in [0, 1].

    Args:
        size: C, H, W.
        like: the network, whose device and dtype it has.
        count: of pictures.

    Raises:
        OptionError: the size is none.
    """
    if (
        isinstance(size, str)
        or len(size) != 3
        or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in size)
    ):
        raise OptionError(f"sample must be channels, height and width, got {size!r}")
    channels, height, width = size
    draws = torch.Generator().manual_seed(0)
    image = torch.zeros(count, channels, height, width)
    for octave in range(6):
        cells = 2 ** (octave + 1)
        coarse = torch.rand(count, channels, min(cells, height), min(cells, width), generator=draws)
        image += 0.5 ** (octave + 1) * F.interpolate(coarse, (height, width), mode="bilinear")
    weight = next((p for p in like.parameters() if p.is_floating_point()), image)
    return image.to(weight.device, weight.dtype)


def run(network: nn.Module, images: Tensor) -> Any:
    """What a network makes of images, in eval mode and without gradients; its mode is restored.

    Raises:
        OptionError: it cannot be run on them.
    """
    try:
        with in_eval_mode(network), torch.no_grad():
            return network(images)
    except PluginError:
        raise
    except Exception as error:  # networks fail in as many ways as there are networks
        size = "x".join(map(str, images.shape[1:]))
        raise OptionError(
            f"{type(network).__name__} cannot be tried on a picture of {size} ({type(error).__name__}: "
            f"{first_line(error)}); name a size that it takes: sample: [C, H, W]"
        ) from error


def uses_of(
    network: nn.Module, activations: Mapping[str, nn.Module], images: Tensor
) -> tuple[dict[str, list[Use]], Any]:
    """Every call of some activations while a network runs, in order, and what the network gives.

    Args:
        network: is run once.
        activations: modules of it by a name of each.
        images: shape (B, C, H, W).

    Raises:
        OptionError: the network cannot be run, or an activation is given no tensor.
    """
    uses: dict[str, list[Use]] = {name: [] for name in activations}
    before: list[nn.Module] = []

    def seen(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def see(_: nn.Module, args: tuple[Any, ...], out: Any) -> None:
            x = args[0] if args else None
            if not isinstance(x, Tensor) or not isinstance(out, Tensor) or x.dim() < 2:
                raise OptionError(f"{name}: is no activation: it takes or makes no batch")
            uses[name].append(_use(x, out, before[-1] if before else None))

        return see

    def passed(module: nn.Module, _: Any, __: Any) -> None:
        before[:] = [module]

    def entered(module: nn.Module, _: Any) -> None:
        before[:] = [module]

    hooks: list[tuple[nn.Module, bool, Callable[..., None]]] = []
    own = {id(module) for module in activations.values()}
    for name, module in activations.items():
        hooks.append((module, False, seen(name)))
    for module in network.modules():
        if id(module) in own or isinstance(module, _PASSING):
            continue
        if not any(module.children()):
            hooks.append((module, False, passed))
        elif is_normalisation(module):  # timm's hold their activation
            hooks.append((module, True, entered))
    with _hooked(hooks):
        out = run(network, images)
    return uses, out


def _use(x: Tensor, out: Tensor, before: nn.Module | None) -> Use:
    flat = isinstance(before, (nn.Linear, nn.LayerNorm)) and "2d" not in type(before).__name__
    last = x.dim() == 3 and not isinstance(before, (nn.Conv1d, nn.BatchNorm1d))
    return Use(
        tuple(x.shape),
        tuple(out.shape),
        channels_last=x.dim() > 2 and (last or flat),
        normed=before is not None and is_normalisation(before),
    )


@contextmanager
def _hooked(hooks: list[tuple[nn.Module, bool, Callable[..., None]]]) -> Iterator[None]:
    handles = [
        module.register_forward_pre_hook(hook) if early else module.register_forward_hook(hook)
        for module, early, hook in hooks
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
