"""What the network that is validated takes for an image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from vlif_plugin.data import write_atomically
from vlif_plugin.energy import EnergyMeter, EnergyReport, centre, costs_of, count_ops
from vlif_plugin.errors import OptionError
from vlif_plugin.mmengine_host.hooks._common import image_of, iteration_of, network_of, whole
from vlif_plugin.scoring import image_name


class EnergyHook(Hook):
    """Counts what the network does with the first image of a validation or test, as ``vlif energy``.

    The weights are those that are being validated: EMAHook's where there is one. Energy,
    operations and firing rate are logged and go to the visualizer as ``val/…`` or ``test/…``; the
    whole count is written to ``energy_<iteration>.json`` or ``energy.json`` in the run's log folder.

    Args:
        size: of the middle part that is counted, in pixels, or what there is of it; None for the
            whole image.
        costs: prices of operations, by name.
        interval: validations from one count to the next; a test is counted always.

    Raises:
        OptionError: a value is of the wrong kind, or no prices have the name.
    """

    def __init__(self, *, size: int | None = 256, costs: str = "paper", interval: int = 1) -> None:
        self.size = None if size is None else whole("size", size, least=1)
        if not isinstance(costs, str):
            raise OptionError(f"costs must be a name, got {costs!r}")
        self.costs = costs_of(costs)
        self.interval = whole("interval", interval, least=1)
        self._validations = 0
        self._due = False
        self._count: tuple[str, EnergyReport] | None = None

    def before_run(self, runner: Runner) -> None:
        """Refuse a model without a network now, and not at the first validation."""
        network_of(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Decide whether this validation is counted."""
        self._validations += 1
        self._begin(due=self._validations % self.interval == 0)

    def before_test_epoch(self, runner: Runner) -> None:
        """Count this test."""
        self._begin(due=True)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Count, while the weights that are validated are in the network."""
        self._count_first(runner, outputs or ())

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[BaseDataElement] | None = None,
    ) -> None:
        """Count, while the weights that are tested are in the network."""
        self._count_first(runner, outputs or ())

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report."""
        self._report(runner, "val", f"energy_{iteration_of(runner)}.json")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report."""
        self._report(runner, "test", "energy.json")

    def _begin(self, *, due: bool) -> None:
        self._due = due and is_main_process()
        self._count = None

    def _count_first(self, runner: Runner, outputs: Sequence[BaseDataElement]) -> None:
        for sample in outputs:
            if self._due and sample.metainfo["index"] == 0:
                net = network_of(runner)
                image = centre(image_of(sample, "lq"), self.size)
                report = count_ops(net, image.to(next(net.parameters(), image)))
                self._count = image_name(sample.metainfo["lq_path"]), report

    def _report(self, runner: Runner, mode: str, file: str) -> None:
        if not self._due:
            return
        if self._count is None:
            runner.logger.warning("EnergyHook: the first image did not come by: nothing counted")
            return
        image, report = self._count
        energy = report.energy_uj(self.costs)["total"]
        height, width = report.size
        runner.logger.info(
            f"Energy of {report.network} on {width}x{height} of {image}: {energy:.4g} uJ, "
            f"{report.macs:,} MACs, {report.sops:,} SOPs, firing rate {report.firing_rate:.4f}"
        )
        scalars = {
            "energy_uj": energy,
            "macs": report.macs,
            "sops": report.sops,
            "firing_rate": report.firing_rate,
        }
        scalars = {f"{mode}/{name}": value for name, value in scalars.items()}
        runner.visualizer.add_scalars(scalars, step=iteration_of(runner))
        meter = EnergyMeter(self.costs)
        meter.add(report)
        content = json.dumps(meter.record(report, [image]), indent=1).encode()
        write_atomically(Path(runner.log_dir) / file, content)
