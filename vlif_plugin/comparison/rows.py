"""What a comparison finds: rows that were measured here, and rows that a paper prints.

The two kinds are different types, so that nothing can mix them without saying so.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vlif_plugin.comparison import formatting
from vlif_plugin.comparison._from_json import read_as

Kind = Literal["C", "T", "S"]


@dataclass(frozen=True)
class Cost:
    """What one image takes a network.

    Attributes:
        size: height and width of the image.
        images: how many images the spikes were counted on; counts are means over them.
        parameters: all of them.
        macs: multiplications on real values, full count.
        sops: synaptic operations on spikes, full count.
        dense_macs: what all products would be on real values; a network's size whatever it fires.
        released_macs: the same in the authors' code, where that takes more for the same result.
        signs: sign operations of neurons.
        firing_rate: share of neuron updates with a spike; None without neurons.
        elementwise: element-wise operations, which no energy here prices.
        not_counted: operators that the counter does not understand, and calls.
        energy_uj: energy in uJ by the full count, by name of the prices.
        paper_parameters: the published count, which skips layers.
        paper_macs: the published count.
        paper_energy_uj: the published count times the paper's price of a MAC.
        calibrated: without weights, BatchNorm statistics were set to those of the images.
        seconds: of each timed pass of one image.
        peak_memory: bytes that a pass takes at its peak above the loaded network; None where the
            system does not tell.
        notes: what a reader must know.
    """

    size: tuple[int, int]
    images: int
    parameters: int
    macs: float
    sops: float
    dense_macs: float
    released_macs: int | None
    signs: float
    firing_rate: float | None
    elementwise: float
    not_counted: dict[str, int]
    energy_uj: dict[str, float]
    paper_parameters: int
    paper_macs: int
    paper_energy_uj: float
    calibrated: bool
    seconds: tuple[float, ...]
    peak_memory: int | None
    notes: tuple[str, ...] = ()

    @property
    def median_seconds(self) -> float:
        """The time of one image: the median of the timed passes."""
        ordered = sorted(self.seconds)
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else sum(ordered[middle - 1 : middle + 1]) / 2


@dataclass(frozen=True)
class ImageValues:
    """Scores of one image by metric; None where a metric passed over it."""

    image: str
    values: dict[str, float | None]


@dataclass(frozen=True)
class Scores:
    """Scores of one network on one dataset.

    Attributes:
        dataset: its name.
        fingerprint: of the pixels that were scored.
        means: by metric, over the images it scored.
        per_image: of each image, in the dataset's order.
        seconds: that restoring all images took.
    """

    dataset: str
    fingerprint: str
    means: dict[str, float]
    per_image: tuple[ImageValues, ...]
    seconds: float


@dataclass(frozen=True)
class CurvePoint:
    """One validation of a training: iteration, and mean by metric."""

    iteration: int
    values: dict[str, float]


@dataclass(frozen=True)
class Training:
    """How a network's weights came about, where this comparison trained them.

    Attributes:
        opt: the option file.
        iterations: done.
        seconds: of wall clock, over all parts of the run; None if not known.
        cpu_seconds: of processors, over all parts; None if not known.
        seed: of the run.
        curve: validations by dataset.
    """

    opt: str
    iterations: int
    seconds: float | None
    cpu_seconds: float | None
    seed: int | None
    curve: dict[str, tuple[CurvePoint, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasuredRow:
    """A network as it was found here.

    Attributes:
        name: of the row.
        network: class name of the network; None for the row of the degraded images themselves.
        options: the network's arguments.
        weights: the file, as from the folder that the command ran in; None without.
        weights_sha256: of the file.
        tile: how images were tiled, as the options say it.
        cost: None where it could not be measured.
        scores: of each dataset.
        training: where this comparison trained it.
        failures: what could not be measured and why, a sentence each.
        seeds_of: the network that this row is one seed of, where the option file lists seeds.
    """

    name: str
    network: str | None
    options: dict[str, Any]
    weights: str | None = None
    weights_sha256: str | None = None
    tile: str = "none"
    cost: Cost | None = None
    scores: tuple[Scores, ...] = ()
    training: Training | None = None
    failures: tuple[str, ...] = ()
    seeds_of: str | None = None


@dataclass(frozen=True)
class PublishedRow:
    """A network as a paper's table has it; nothing of it was measured here.

    Attributes:
        name: as in the table.
        kind: C (convolutional), T (Transformer), S (spiking).
        source: the table it is from.
        parameters_m: million parameters, by the table's counter.
        flops_g: by the table's counter.
        energy_uj: as printed.
        scores: by dataset and by the table's metric name, whose protocol it does not state.
        note: where the table contradicts itself or what it counts.
    """

    name: str
    kind: Kind | None
    source: str
    parameters_m: float | None
    flops_g: float | None
    energy_uj: float | None
    scores: dict[str, dict[str, float]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """One image as all networks restored it; paths are relative to the results' folder.

    Attributes:
        dataset: it belongs to.
        image: its name.
        lq: the degraded image's file.
        gt: the ground truth's file, or None.
        results: file by row name.
    """

    dataset: str
    image: str
    lq: str
    gt: str | None
    results: dict[str, str]


@dataclass(frozen=True)
class MetricInfo:
    """A column of scores.

    Attributes:
        name: as in the options.
        what: what it compares and how.
        lower_is_better: the direction.
        unit: ``dB`` or nothing.
    """

    name: str
    what: str
    lower_is_better: bool
    unit: str = ""

    def titled(self, words: str) -> str:
        """Words over a column or an axis, with the unit."""
        return f"{words}, {self.unit}" if self.unit else words

    def shown(self, value: float) -> str:
        """A score as people read it."""
        return formatting.score(value, self.unit)

    def stated(self, value: float) -> str:
        """A score where nothing around it says its unit."""
        return f"{self.shown(value)} {self.unit}".rstrip()


@dataclass(frozen=True)
class Comparison:
    """All of it; what the tables, plots and the page are made of.

    Attributes:
        name: of the comparison.
        command: that makes it again.
        date: ISO day.
        machine: processor, threads, device, versions, by name.
        datasets: number of images by name.
        sections: of the datasets in the option file, by name.
        metrics: the columns of scores.
        cost_images: names of the images that cost was counted on.
        measured: rows; the first may be the degraded images themselves (``network`` None).
        published: rows from papers.
        pictures: images with all results.
        notes: what a reader must know.
    """

    name: str
    command: str
    date: str
    machine: dict[str, str]
    datasets: dict[str, int]
    sections: dict[str, dict[str, Any]]
    metrics: tuple[MetricInfo, ...]
    cost_images: tuple[str, ...]
    measured: tuple[MeasuredRow, ...]
    published: tuple[PublishedRow, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON; numbers that are not finite stay floats."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Comparison:
        """What :meth:`as_dict` gave, also after strict JSON (``inf``, ``-inf``, ``nan`` as strings).

        Raises:
            DataError: a key is missing or unknown, or a value of the wrong kind; names the place.
        """
        return read_as(cls, values, "comparison")
