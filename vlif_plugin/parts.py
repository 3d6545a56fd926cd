"""Parts: the work between two convolutions, as functions that one pass over memory can do.

A part is a function of a module and of tensors, made of element-wise operations, reductions and small
products, and written once, in plain PyTorch. A module hands its parts to its *runner*. The plain
runner calls them; others compile them or have kernels for some
(:func:`vlif_plugin.speed.use_backend` sets them). So there is one definition of what a network does,
whatever does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Part = Callable[..., Any]
"""``part(module, *tensors)``; a function of a module of Python, not a closure."""
Runner = Callable[..., Any]
"""``runner(part, module, *tensors)``: what the part gives."""


def run_plain(part: Part, module: nn.Module, *tensors: Any) -> Any:
    """Call the part."""
    return part(module, *tensors)


class Fusible(nn.Module):
    """A module with parts; see the text above."""

    runner: Runner = staticmethod(run_plain)

    def run(self, part: Part, *tensors: Any) -> Any:
        """What a part gives, by whatever runs it here; inside a larger compiled region, plainly."""
        if torch.compiler.is_compiling():
            return part(self, *tensors)
        return self.runner(part, self, *tensors)
