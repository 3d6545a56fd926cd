"""Which tensors are spikes: marks that neurons set and operators pass on or end.

Values alone do not tell: a silent network's zeros look like spikes everywhere, and 0.5 is one event
of two levels or two of four. So a mark begins at a declared neuron, goes through operators that
move values without changing them, and is checked against the values where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from vlif_plugin.errors import OptionError
from vlif_plugin.neurons import whole_events


@dataclass(frozen=True)
class Spikes:
    """What the values of a spike tensor are: k * unit, k whole, 0 <= k <= levels.

    Attributes:
        levels: largest number of binary events that one value stands for (D), >= 1.
        unit: value of one event: 1 for LIF and I-LIF, 1/D for NI-LIF; > 0.

    Raises:
        OptionError: levels or unit is out of range.
    """

    levels: int = 1
    unit: float = 1.0

    def __post_init__(self) -> None:
        if self.levels < 1 or not 0 < self.unit < float("inf"):
            raise OptionError(f"spikes need levels of at least 1 and a unit above 0, got {self}")

    def events(self, x: Tensor) -> Tensor | None:
        """The number of events in each value, same shape; None where a value is no such number."""
        return whole_events(x, self.levels, self.unit)


# operators that move, repeat or choose values, and so keep the mark of the first argument
KEEPING = frozenset((
    "view", "_unsafe_view", "permute", "transpose", "t", "expand", "slice", "select", "split",
    "split_with_sizes", "unbind", "squeeze", "unsqueeze", "clone", "alias", "detach", "_to_copy",
    "as_strided", "index_select", "roll", "flip", "repeat", "pixel_shuffle", "pixel_unshuffle",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "reflection_pad1d",
    "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d",
    "replication_pad3d", "max_pool2d_with_indices", "max_pool3d_with_indices", "unfold", "im2col",
    "relu", "abs", "index", "_unsafe_index", "gather", "take", "masked_select", "diagonal", "rot90",
    "channel_shuffle", "native_channel_shuffle", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
))  # fmt: skip
JOINING = frozenset(("cat", "stack"))


class Marks:
    """Marks of the tensors that are alive."""

    def __init__(self) -> None:
        self._marks: Any = WeakTensorKeyDictionary()
        # of what parts are, so that a tensor that is filled part by part, as by circular padding, is
        # spikes, too (inference mode knows no base of a view)
        self._wholes: Any = WeakTensorKeyDictionary()

    def get(self, x: object) -> Spikes | None:
        """A tensor's mark."""
        return self._marks.get(x) if isinstance(x, Tensor) else None

    def set(self, x: object, mark: Spikes | None) -> None:
        """Mark a tensor, or the tensors of a list; None takes the mark away."""
        for tensor in x if isinstance(x, (list, tuple)) else [x]:
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                continue
            if mark is not None:
                self._marks[tensor] = mark
            elif tensor in self._marks:
                del self._marks[tensor]

    def follow(self, name: str, args: Sequence[Any], kwargs: dict[str, Any], out: object) -> None:
        """Give an operator's result the mark that follows from its arguments.

        Args:
            name: the operator's, without overload and without the underscore of in-place forms.
            args: positional arguments.
            kwargs: named arguments.
            out: the result.
        """
        if not len(self._marks):
            return
        mark = self.result(name, args, kwargs)
        self.set(out, mark)
        if name in ("slice", "select") and mark is None:
            self._wholes[out] = self._wholes.get(args[0], args[0])
        if name == "copy" and mark is not None and args[0] in self._wholes:
            whole = self._wholes[args[0]]
            self.set(whole, mark if self.get(whole) is None else _common([mark, self.get(whole)]))

    def result(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Spikes | None:
        """The mark that an operator's result has by those of its arguments."""
        if not args:
            return None
        if name in JOINING:
            return _common(self.get(x) for x in args[0])
        mark = self.get(args[1 if name == "copy" else 0])  # copy_ writes over its first argument
        if name in KEEPING or name == "copy":
            return mark
        if name == "constant_pad_nd":
            value = args[2] if len(args) > 2 else kwargs.get("value", 0)
            return mark if value == 0 else None
        if len(args) < 2:
            return None
        other = args[1]
        if name in ("mul", "div"):
            factor = _number(other)
            if mark is None and name == "mul":
                mark, factor = self.get(other), _number(args[0])
            if mark is None or factor is None or factor <= 0:
                return None
            return replace(mark, unit=mark.unit * (factor if name == "mul" else 1 / factor))
        if name == "add" and kwargs.get("alpha", 1) == 1:
            second = self.get(other)
            if mark is not None and second is not None and mark.unit == second.unit:
                return replace(mark, levels=mark.levels + second.levels)
        return None


def _common(marks: Iterable[Spikes | None]) -> Spikes | None:
    """The mark of joined tensors: they need one unit, and the largest number of levels holds."""
    found = list(marks)
    if not found or any(mark is None or mark.unit != found[0].unit for mark in found):  # pyright: ignore[reportOptionalMemberAccess]
        return None
    return max((mark for mark in found if mark is not None), key=lambda mark: mark.levels)


def _number(x: object) -> float | None:
    """A Python number, or the value of a tensor without dimensions."""
    if isinstance(x, Tensor):
        return float(x) if x.ndim == 0 and not torch.is_complex(x) else None
    return float(x) if isinstance(x, (int, float)) else None
