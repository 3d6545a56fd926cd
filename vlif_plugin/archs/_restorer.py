"""What spiking restoration networks have in common: image in, T timesteps inside, image out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vlif_plugin.archs._released_keys import Rules, from_released, to_released
from vlif_plugin.layers import crop, mean_over_time, pad_to_multiple, stack_time


class SpikingRestorer(nn.Module):
    """Embeds an image, presents it T times to a spiking body, and adds what comes out of it.

    Subclasses set ``T``, ``size_multiple``, ``patch_embed`` and ``output``, and define
    :meth:`forward_features`. Those that were released have ``released_rules``, which translate names of
    a released checkpoint, say in ``released_as`` which of them the released code has, and set
    ``has_released_form`` where they are such.
    """

    T: int
    size_multiple: int
    patch_embed: nn.Module
    output: nn.Module
    released_rules: ClassVar[Rules] = ()
    released_as: ClassVar[str] = ""
    has_released_form: bool = False

    def forward_features(self, x_seq: Tensor) -> Tensor:
        """The spiking body: (T, B, C, H, W) to (T, B, C', H, W), sizes multiples of ``size_multiple``."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward_features")

    def embed(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (T, B, dim, H, W): the image is the same at all steps, and embedded once.

        Channels lie last in memory from here to the end, which convolutions are fastest with.
        """
        features = self.patch_embed(image).contiguous(memory_format=torch.channels_last)
        return stack_time([features] * self.T)

    def reconstruct(self, features: Tensor) -> Tensor:
        """(T, B, C, H, W) to the residual image, (B, out_channels, H, W)."""
        return self.output(mean_over_time(features))

    def forward(self, x: Tensor) -> Tensor:
        """Restore an image of any size; see the class for shapes and ranges."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.size_multiple)
        residual = self.reconstruct(self.forward_features(self.embed(padded)))
        return crop(residual, height, width) + x

    def checkpoint_filter(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename a released state dict to this network's names; one of ours comes back as it is."""
        return from_released(state, self.state_dict(), self.released_rules)

    def released_state_dict(self) -> dict[str, Tensor]:
        """The weights under the released names.

        Raises:
            ValueError: the released code has no such network.
        """
        if not self.has_released_form:
            only = f" but {self.released_as}" if self.released_as else ""
            raise ValueError(f"{type(self).__name__} has no released names{only}")
        return to_released(self.state_dict(), self.released_rules)


class _Darken(torch.autograd.Function):
    """min(residual, 0); see :func:`darkening` for its gradient."""

    @staticmethod
    def forward(residual: Tensor) -> Tensor:
        return residual.clamp(max=0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0] > 0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (above,) = ctx.saved_tensors
        (grad,) = grad_outputs
        return torch.where(above, 0.1 * grad.clamp(min=0), grad)


def darkening(residual: Tensor) -> Tensor:
    """min(residual, 0), any shape.

    Above 0, where the result does not change, a tenth of the gradient passes, so that no pixel
    ceases to learn; but only where it pushes down, towards what changes. A pixel that the loss
    wants brighter than the image would else be pushed up for ever, and the weights before it grow
    without end.
    """
    if not torch.is_grad_enabled():  # plain operators, for torch.export
        return _Darken.forward(residual)
    result: Tensor = _Darken.apply(residual)  # pyright: ignore[reportAssignmentType]
    return result


def check_channels(inp_channels: int, out_channels: int) -> None:
    """Refuse a result that the image cannot be added to.

    Raises:
        ValueError: it has another number of channels.
    """
    if inp_channels != out_channels:
        raise ValueError(
            f"out_channels ({out_channels}) must equal inp_channels ({inp_channels}): "
            "the image is added to the result"
        )


def check_sizes(
    inp_channels: int, out_channels: int, dim: int, blocks: Mapping[str, Sequence[int]], levels: int
) -> None:
    """Refuse sizes that no network can be built with, by name.

    Args:
        inp_channels: of the image.
        out_channels: of the result.
        dim: width.
        blocks: counts of blocks by the argument's name.
        levels: how many counts each argument has.

    Raises:
        ValueError: one of them is impossible.
    """
    check_channels(inp_channels, out_channels)
    if not isinstance(dim, int) or dim < 1:
        raise ValueError(f"dim must be a whole number of at least 1, got {dim!r}")
    which = "levels 2 and 3" if levels == 2 else "levels 1, 2 and 3"
    for name, counts in blocks.items():
        if (
            isinstance(counts, (str, int))
            or len(counts) != levels
            or any(int(n) != n or n < 0 for n in counts)
        ):
            raise ValueError(
                f"{name} must be {levels} counts, the blocks at {which}, got {counts!r} (the released "
                f"code's lists have four entries, of which it uses those of {which})"
            )
