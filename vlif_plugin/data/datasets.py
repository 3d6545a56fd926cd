"""The datasets under the names that option files and configs give their arguments, in any toolbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vlif_plugin.data.paired_images import PairedImages
from vlif_plugin.data.pairing import Rule
from vlif_plugin.data.synthetic_images import Rain, SyntheticRainImages
from vlif_plugin.errors import OptionError


class _Named:
    """What toolboxes ask of a dataset beyond its items: its name, and each item's place in it."""

    name: str

    @property
    def metainfo(self) -> dict[str, str]:
        """What mmengine shows its evaluators and keeps in checkpoints."""
        return {"name": self.name}

    def __getitem__(self, index: int) -> dict[str, Any]:
        return super().__getitem__(index) | {"index": index}  # pyright: ignore[reportAttributeAccessIssue]


class PairedRainDataset(_Named, PairedImages):
    """:class:`~vlif_plugin.data.PairedImages` under the names of option files.

    Items are ``{'lq', 'gt', 'lq_path', 'gt_path', 'index'}``: images of shape (3, H, W), RGB,
    float32 in [0, 1]; ``index`` is the item's place in the dataset.

    Args:
        dataroot_lq: an LMDB (``….lmdb``) or a folder of rainy images.
        dataroot_gt: the same of clean images; left out, items have no ``gt``.
        gt_size: side of the training patch; left out, images are whole.
        use_hflip: flip patches left to right at random.
        use_rot: rotate patches by multiples of 90 degrees at random.
        pad: mirror images that are smaller than the patch.
        pairing: ``name`` or ``number``.
        in_memory: keep images once they are read, decoded, in each worker.
        name: the dataset's, in logs and results.

    Raises:
        OptionError: a value is of the wrong kind.
        DataError: anything wrong with the images, before training begins.
    """

    def __init__(
        self,
        *,
        dataroot_lq: str,
        dataroot_gt: str | None = None,
        gt_size: int | None = None,
        use_hflip: bool = False,
        use_rot: bool = False,
        pad: bool = False,
        pairing: Rule = "name",
        in_memory: bool = False,
        name: str = "images",
    ) -> None:
        patches = {"gt_size": gt_size, "use_hflip": use_hflip, "use_rot": use_rot, "pad": pad}
        given = {"dataroot_lq": dataroot_lq, "in_memory": in_memory, **patches}
        check_dataset(given, ("dataroot_lq",))
        super().__init__(
            dataroot_lq,
            dataroot_gt,
            patch_size=gt_size,
            flip=use_hflip,
            rotate=use_rot,
            pad=pad,
            pairing=pairing,
            in_memory=in_memory,
        )
        self.name = name


class SyntheticRainDataset(_Named, SyntheticRainImages):
    """:class:`~vlif_plugin.data.SyntheticRainImages` under the names of option files.

    Args:
        dataroot_gt: an LMDB or a folder of clean photographs.
        gt_size: side of the training patch; left out, images are whole and their rain is fixed.
        use_hflip: flip patches left to right at random.
        use_rot: rotate patches by multiples of 90 degrees at random.
        rain: ``light``, ``heavy`` or ``mixed``.
        veil: largest share of haze.
        dataroot_streaks: recorded streak layers, or with ``dataroot_streaks_gt`` rainy images.
        dataroot_streaks_gt: the same scenes without rain.
        streaks_share: share of the items that get a recorded layer, and not rendered rain.
        strength: ``[lowest, highest]`` factor on the rain, drawn evenly for each item.
        clean_share: share of the items without rain.
        seed: of the rain on whole images.
        in_memory: keep photographs and layers once they are read, decoded, in each worker.
        name: the dataset's, in logs and results.

    Raises:
        OptionError: a value is of the wrong kind.
        DataError: anything wrong with the images, before training begins.
    """

    def __init__(
        self,
        *,
        dataroot_gt: str,
        gt_size: int | None = None,
        use_hflip: bool = False,
        use_rot: bool = False,
        rain: Rain = "mixed",
        veil: float = 0.0,
        dataroot_streaks: str | None = None,
        dataroot_streaks_gt: str | None = None,
        streaks_share: float | None = None,
        strength: Sequence[float] = (1.0, 1.0),
        clean_share: float = 0.0,
        seed: int = 0,
        in_memory: bool = False,
        name: str = "images",
    ) -> None:
        if dataroot_streaks is None:
            for key, value in (
                ("dataroot_streaks_gt", dataroot_streaks_gt),
                ("streaks_share", streaks_share),
            ):
                if value is not None:
                    raise OptionError(f"{key} needs dataroot_streaks beside it")
        share = 1.0 if streaks_share is None else streaks_share
        for key, value in (("veil", veil), ("streaks_share", share), ("clean_share", clean_share)):
            if not _is_number(value):
                raise OptionError(f"{key} must be a number from 0 to 1, got {value!r}")
        if (
            isinstance(strength, str)
            or not isinstance(strength, Sequence)
            or len(strength) != 2
            or not all(map(_is_number, strength))
        ):
            raise OptionError(
                f"strength must be two numbers, the lowest and the highest factor, got {strength!r}"
            )
        patches = {"gt_size": gt_size, "use_hflip": use_hflip, "use_rot": use_rot}
        given = {"dataroot_gt": dataroot_gt, "in_memory": in_memory, **patches}
        check_dataset(given, ("dataroot_gt",))
        super().__init__(
            dataroot_gt,
            patch_size=gt_size,
            flip=use_hflip,
            rotate=use_rot,
            rain=rain,
            veil_strength=veil,
            streaks=dataroot_streaks,
            streaks_gt=dataroot_streaks_gt,
            streaks_share=share,
            strength=(strength[0], strength[1]),
            clean_share=clean_share,
            seed=seed,
            in_memory=in_memory,
        )
        self.name = name


DATASETS = {"PairedRainDataset": PairedRainDataset, "SyntheticRainDataset": SyntheticRainDataset}
"""The one list of datasets that hosts loop over."""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_dataset(options: Mapping[str, Any], needed: tuple[str, ...]) -> None:
    """Refuse options of a dataset that are missing or of the wrong kind.

    Args:
        options: by name.
        needed: names of those that must be there.

    Raises:
        OptionError: names the key.
    """
    for key in needed:
        if options.get(key) is None:
            raise OptionError(f"the key {key!r} is missing")
    size = options.get("gt_size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise OptionError(f"gt_size must be a whole number of at least 1, got {size!r}")
    for key in ("pad", "use_hflip", "use_rot", "in_memory"):
        if not isinstance(options.get(key, False), bool):
            raise OptionError(f"{key} must be true or false, got {options[key]!r}")
