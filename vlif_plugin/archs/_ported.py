"""Networks of others, out of spandrel's well-kept ports, for comparison."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from vlif_plugin.extras import extra_module
from vlif_plugin.layers import crop, pad_to_multiple


class PortedNetwork(nn.Module):
    """A port that takes images of any size; its weights keep their authors' names.

    Subclasses name the port and hand its arguments on. Checkpoints of the authors load as they are,
    and what is saved loads in the authors' code.

    Args:
        **arguments: of the port.

    Raises:
        OptionError: the extra ``compare`` is not installed.
    """

    port: ClassVar[tuple[str, str]]
    """Module and class of the port."""
    size_multiple: ClassVar[int] = 1
    """The port takes images of multiples of this; others are padded by reflection."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        module, name = self.port
        self.net = getattr(extra_module(module, "compare", name), name)(**arguments)
        self.register_state_dict_post_hook(_without_prefix)
        self.register_load_state_dict_pre_hook(_with_prefix)

    def forward(self, x: Tensor) -> Tensor:
        """Restore images, shape (B, 3, H, W), RGB in [0, 1]; the result is not clamped."""
        height, width = x.shape[-2:]
        restored = self.net(pad_to_multiple(x, self.size_multiple))
        return crop(self.final(restored), height, width)

    def final(self, restored: Any) -> Tensor:
        """The image among what the port gives."""
        return restored


_PREFIX = "net."


def _without_prefix(_: nn.Module, state: dict[str, Tensor], prefix: str, __: Any) -> None:
    for key in [k for k in state if k.startswith(prefix + _PREFIX)]:
        state[prefix + key.removeprefix(prefix + _PREFIX)] = state.pop(key)


def _with_prefix(_: nn.Module, state: dict[str, Tensor], prefix: str, *__: Any) -> None:
    for key in [k for k in state if k.startswith(prefix)]:
        state[prefix + _PREFIX + key.removeprefix(prefix)] = state.pop(key)
