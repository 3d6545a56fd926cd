"""How many outputs each input of a convolution reaches, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True)
class Convolution:
    """The geometry of a convolution of any dimension.

    Attributes:
        batch: N.
        channels: of input and output.
        groups: of channels.
        size: of the input, an entry for each dimension.
        out_size: of the output.
        kernel: size of the kernel.
        stride: of the convolution.
        padding: zeros around the input.
        dilation: distance of the kernel's taps.
        transposed: whether it is a transposed convolution.
    """

    batch: int
    channels: tuple[int, int]
    groups: int
    size: tuple[int, ...]
    out_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool

    @property
    def fan_out(self) -> int:
        """Output channels that an input value reaches."""
        return self.channels[1] // self.groups

    @property
    def macs(self) -> int:
        """Multiplications with accumulation as everybody counts them, those on padding included."""
        sites = self.size if self.transposed else self.out_size
        taps = prod(sites) * prod(self.kernel)
        return self.batch * self.channels[0] * self.fan_out * taps

    @property
    def macs_valid(self) -> int:
        """Those on values of the input."""
        taps = prod(int(reached.sum()) for reached in self.reached)
        return self.batch * self.channels[0] * self.fan_out * taps

    @cached_property
    def reached(self) -> list[Tensor]:
        """For each dimension: how many positions of the output each of the input reaches."""
        dimensions = zip(
            self.size, self.out_size, self.kernel, self.stride, self.padding, self.dilation,
            strict=True,
        )  # fmt: skip
        return [self._along(*dimension) for dimension in dimensions]

    def _along(
        self, size: int, out_size: int, kernel: int, stride: int, padding: int, dilation: int
    ) -> Tensor:
        i = torch.arange(size)[:, None]
        tap = torch.arange(kernel)[None, :] * dilation
        if self.transposed:
            q = i * stride - padding + tap
            return ((q >= 0) & (q < out_size)).sum(1)
        q = i + padding - tap
        at = torch.div(q, stride, rounding_mode="floor")
        return ((q >= 0) & (q % stride == 0) & (at < out_size)).sum(1)

    def synaptic_operations(self, events: Tensor) -> int:
        """Events times the outputs that each really reaches.

        Args:
            events: whole numbers, shape (n, C_in, *size); n images of the batch.
        """
        per_site = events.sum((0, 1), dtype=torch.float64)
        for dimension in reversed(self.reached):
            per_site = per_site @ dimension.to(per_site)
        return round(float(per_site)) * self.fan_out

    @classmethod
    def of_call(cls, args: Sequence[object], out: Tensor) -> Convolution:
        """The geometry of a call of ``aten.convolution``."""
        x, weight, _, stride, padding, dilation, transposed, _, groups = args[:9]
        assert isinstance(x, Tensor)
        assert isinstance(weight, Tensor)
        assert isinstance(groups, int)
        kernel = tuple(weight.shape[2:])

        def each(value: object) -> tuple[int, ...]:
            given = tuple(value)  # pyright: ignore[reportArgumentType]
            return given * len(kernel) if len(given) == 1 else given

        return cls(
            batch=x.shape[0],
            channels=(x.shape[1], out.shape[1]),
            groups=groups,
            size=tuple(x.shape[2:]),
            out_size=tuple(out.shape[2:]),
            kernel=kernel,
            stride=each(stride),
            padding=each(padding),
            dilation=each(dilation),
            transposed=bool(transposed),
        )
