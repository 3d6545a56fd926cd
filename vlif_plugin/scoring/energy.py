"""The energy count as metrics, though it belongs to a network and not to a pair of images."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from torch import Tensor, nn
from torch.utils.weak import WeakIdRef

from vlif_plugin.energy import EnergyCosts, EnergyReport, centre, costs_of, count_ops
from vlif_plugin.errors import OptionError


class _LastCount:
    """The report of the last image, which several metrics ask for in turn.

    It holds for the network's weights and buffers as they were. What is written past autograd, through
    ``.data`` or to tensors of inference mode, is not seen.
    """

    def __init__(self) -> None:
        self._net: weakref.ref[nn.Module] | None = None
        self._tensors: list[tuple[WeakIdRef, int]] = []
        self._size: int | None = None
        self._report: EnergyReport | None = None

    def report(self, net: nn.Module, lq: Tensor, size: int | None) -> EnergyReport:
        known = self._net is not None and self._net() is net and self._size == size
        if self._report is None or not known or self._tensors != _versions(net, lq):
            device = next(net.parameters()).device
            self._report = count_ops(net, centre(lq, size).to(device))
            self._net, self._size, self._tensors = weakref.ref(net), size, _versions(net, lq)
        return self._report


def _versions(net: nn.Module, lq: Tensor) -> list[tuple[WeakIdRef, int]]:
    tensors = (lq, *net.parameters(), *net.buffers())
    return [(WeakIdRef(x), 0 if x.is_inference() else x._version) for x in tensors]


_LAST = _LastCount()
Quantity = Callable[[EnergyReport, EnergyCosts], float]
Metric = Callable[..., "float | None"]


def _metric(quantity: Quantity) -> Metric:
    def metric(
        net: nn.Module,
        lq: Tensor,
        index: int,
        every: int = 10,
        size: int | None = 256,
        costs: str = "paper",
    ) -> float | None:
        """Count what the network does with an image.

        Args:
            net: the network.
            lq: its input, shape (1, C, H, W).
            index: the image's place in the dataset.
            every: only each image whose index is a multiple of this is counted.
            size: of the middle part that is counted, in pixels; None for the whole image.
            costs: prices of operations, by name.

        Returns:
            The value; None for an image that is not counted.

        Raises:
            OptionError: an option is out of range.
        """
        for name, value in (("every", every), ("size", 1 if size is None else size)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise OptionError(f"{name} must be a whole number of at least 1, got {value!r}")
        prices = costs_of(costs)
        return quantity(_LAST.report(net, lq, size), prices) if index % every == 0 else None

    return metric


ENERGY_METRICS: dict[str, Metric] = {
    "snn_energy": _metric(lambda report, costs: report.energy_uj(costs)["total"]),
    "snn_macs": _metric(lambda report, costs: float(report.macs)),
    "snn_sops": _metric(lambda report, costs: float(report.sops)),
    "snn_firing_rate": _metric(lambda report, costs: report.firing_rate),
}
"""Energy in uJ, multiplications, synaptic operations, and the share of neuron updates with a spike; all by
the full count. Those that a run asks for share one count of each image."""
