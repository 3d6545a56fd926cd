"""The named metrics under mmengine's evaluator, all of them together or each by its name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from torch import nn

from vlif_plugin import scoring
from vlif_plugin.data import fingerprint
from vlif_plugin.errors import OptionError, near_names
from vlif_plugin.mmengine_host.restoration_model import plain
from vlif_plugin.scoring import ImageScore, image_name, mean_score

SECTION = "evaluator"


@dataclass(frozen=True)
class RunContext:
    """What a metric cannot know of the run that it belongs to.

    Attributes:
        net: the network, with the weights that are scored.
        network: what the record of scores says of it.
        tile: how images are tiled, as in the config.
        folder: of the files with the scores.
        iteration: of the training; None in a test.
    """

    net: nn.Module
    network: Mapping[str, Any]
    tile: Any
    folder: Path
    iteration: int | None


class RestorationScores(BaseMetric):
    """PSNR and SSIM by protocol, and any other metric, as BasicSR's ``val`` section has them.

    Images are scored where they are restored; the means are taken over all images, each once, so
    they do not depend on the number of processes. Like the model in BasicSR it writes a table with
    the values of each image and a record of what they rest on, if the run has a
    :class:`RestorationHook`.

    Args:
        protocols: names of scoring protocols, or ``all``: adds ``psnr_NAME`` and ``ssim_NAME``.
        scores: other metrics, sections by name: the ``type`` of a metric and its arguments. (They
            are not called ``metrics``: mmengine takes a section with that key for an evaluator.)
        results: whether to write the files.
        prefix: put before the names of the results, with a slash.

    Raises:
        OptionError: an unknown protocol, metric or argument; near names are shown.
    """

    default_prefix = ""  # None makes mmengine warn

    def __init__(
        self,
        *,
        protocols: Sequence[str] | str | None = None,
        scores: Mapping[str, Mapping[str, Any]] | None = None,
        results: bool = True,
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix=prefix)
        section = {"protocols": plain(protocols), "metrics": plain(scores or {})}
        scoring.expand_protocols(section, SECTION)
        self.sections: dict[str, dict[str, Any]] = section["metrics"]
        if not self.sections:
            raise OptionError(f"{SECTION}: neither protocols nor scores say how to score")
        scoring.check_metrics(self.sections, find_metric, f"{SECTION}: scores")
        self.metrics = scoring.named_metrics(self.sections, find_metric)
        self.write_results = results
        self.context: RunContext | None = None
        self.scored: list[ImageScore] = []

    @property
    def dataset(self) -> str:
        """The name of the dataset that is scored."""
        return str((self.dataset_meta or {}).get("name", "images"))

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Score some images.

        Args:
            data_batch: is not needed.
            data_samples: of :class:`SNNRestorationModel`: ``lq``, ``output`` and perhaps ``gt``
                (3, H, W), ``lq_path``, ``index`` and perhaps ``tiling``.

        Raises:
            DataError: a metric cannot score an image; names both.
            OptionError: a metric counts the network, and nobody hands it over.
        """
        net = None if self.context is None else self.context.net
        counting = [metric.name for metric in self.metrics if metric.needs_network]
        if counting and net is None:
            raise OptionError(
                f"{SECTION}: {counting[0]} counts the network, which dict(type='vlif_plugin."
                "RestorationHook') in custom_hooks hands over"
            )
        for sample in data_samples:
            gt = sample.get("gt")
            available = scoring.score_inputs(
                sample["output"][None],
                None if gt is None else gt[None],
                sample["lq"][None],
                net,
                sample["index"],
            )
            name = image_name(sample["lq_path"])
            self.scored.append(
                scoring.score_image(
                    name, available, self.metrics, self.dataset, sample.get("tiling")
                )
            )

    def evaluate(self, size: int) -> dict[str, float]:
        """Means over all images of all processes; the same on each of them.

        mmengine collects through files in a folder of the working directory, and counts on the
        sampler for the order.

        Args:
            size: of the dataset.

        Returns:
            Score by name.
        """
        scores = scoring.gather_scores(self.scored)
        self.scored = []
        means = self.compute_metrics(scores)
        mark = fingerprint(score.pixels for score in scores)
        MMLogger.get_current_instance().info(
            f"{self.dataset}: {len(scores)} images, fingerprint {mark}"
        )
        if self.write_results and self.context is not None and is_main_process():
            self._write(scores, means, self.context)
        return {f"{self.prefix}/{k}" if self.prefix else k: v for k, v in means.items()}

    def compute_metrics(self, results: list[ImageScore]) -> dict[str, float]:
        """Means by metric."""
        return {m.name: mean_score(s.values[m.name] for s in results) for m in self.metrics}

    def _write(
        self, scores: list[ImageScore], means: Mapping[str, float], context: RunContext
    ) -> None:
        at = context.iteration
        scoring.write_results(
            context.folder,
            self.dataset if at is None else f"{self.dataset}_{at}",
            scores,
            means,
            dataset=self.dataset,
            iteration=at,
            network=context.network,
            tile=context.tile,
            metrics=self.sections,
        )


def find_metric(name: str) -> Callable[..., float | None]:
    """A metric of the plugin.

    Raises:
        OptionError: there is none of the name.
    """
    if name not in scoring.METRICS:
        raise OptionError(
            f"no metric of vlif_plugin is called {name!r}{near_names(str(name), scoring.METRICS)}"
        )
    return scoring.METRICS[name]


def _one(name: str, **arguments: Any) -> RestorationScores:
    prefix = arguments.pop("prefix", None)
    section = {name: {"type": name, **arguments}}
    return RestorationScores(scores=section, results=False, prefix=prefix)


def _named(name: str) -> Callable[..., RestorationScores]:
    metric = functools.partial(_one, name)
    metric.__module__, metric.__name__ = __name__, name  # pyright: ignore[reportAttributeAccessIssue]
    return metric


METRICS: dict[str, Callable[..., RestorationScores]] = {
    "RestorationScores": RestorationScores,
    **{name: _named(name) for name in scoring.METRICS},
}
"""Every metric by the name that it has in BasicSR's option files, and all together."""
