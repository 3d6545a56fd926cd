"""What is known of each dataset: how many pairs, which sizes, how rain shows, whom it resembles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vlif_plugin.errors import DataError, near_names

Light = Literal["additive", "brighter", "any"]
BSDS_SIZES = frozenset({(321, 481), (481, 321)})


@dataclass(frozen=True)
class Recipe:
    """A dataset of the paper.

    Attributes:
        counts: pairs by split, as in the paper's supplement, table 1 (EUVP: as published).
        sizes: the only (height, width) there are, or None where that is not certain.
        light: how the degraded image compares with the clean one: ``additive``, nowhere darker
            (rain added to lossless images); ``brighter``, on average (JPEG); ``any``.
        varieties: words in folder names that divide a split into parts with numbers of their own;
            they become prefixes of the keys.
        refused_words: words in folder names that mark another part of the same archive.
        side_by_side: whether there are copies that hold both images in one file.
        left: the side of the degraded half where the published files hold both halves.
        disjoint: whether no scene of the test split may be in the training split.
        paired: whether there is ground truth.
        exact: whether more pairs than counted are another dataset's, and no other division.
        extra: by split, the number of the picture that some copies hold beyond the count.
        input_psnr: usual mean of the inputs' PSNR (protocol y_restormer), in dB.
        source: where it was published, and what may be done with it as far as known.
    """

    counts: Mapping[str, int]
    source: str
    sizes: frozenset[tuple[int, int]] | None = None
    light: Light = "any"
    varieties: tuple[str, ...] = ()
    refused_words: tuple[str, ...] = ()
    side_by_side: bool = False
    left: Literal["input"] | None = None
    disjoint: bool = False
    paired: bool = True
    exact: bool = True
    extra: Mapping[str, str] = field(default_factory=dict)
    input_psnr: tuple[float, float] = (0.0, math.inf)


RECIPES: dict[str, Recipe] = {
    "Rain12": Recipe(
        counts={"test": 12},
        sizes=BSDS_SIZES,
        light="additive",
        side_by_side=True,
        source="Li et al., Rain Streak Removal Using Layer Priors, CVPR 2016; no licence stated, research use",
    ),
    **{
        name: Recipe(
            counts={"train": 1800, "test": 200},
            sizes=BSDS_SIZES,
            light="additive",
            side_by_side=True,
            refused_words=(other,),
            disjoint=True,
            input_psnr=psnr,
            source="Yang et al., Deep Joint Rain Detection and Removal from a Single Image, CVPR 2017; no licence "
            "stated, photographs of BSDS500 (research and education)",
        )
        # 14 dB were measured on 27 pairs of Rain200H, 28 dB on 2 of Rain200L; the bounds lie between
        for name, other, psnr in (
            ("Rain200L", "heavy", (21.0, 40.0)),
            ("Rain200H", "light", (0.0, 21.0)),
        )
    },
    "Rain1200": Recipe(
        counts={"train": 12000, "test": 1200},
        light="brighter",
        varieties=("heavy", "medium", "light"),
        side_by_side=True,
        left="input",
        extra={"test": "0"},
        source="Zhang and Patel, Density-Aware Single Image De-raining (DID-MDN), CVPR 2018; no licence stated for "
        "the images",
    ),
    "RealRain": Recipe(
        counts={"test": 34},
        paired=False,
        exact=False,
        source="Ren et al., Progressive Image Deraining Networks (PReNet), CVPR 2019; no licence stated",
    ),
    "EUVP": Recipe(
        counts={"train": 5550 + 3700 + 2185, "test": 515},
        varieties=("dark", "imagenet", "scenes", "scene"),
        refused_words=("unpaired",),
        exact=False,
        source="Islam et al., Fast Underwater Image Enhancement for Improved Visual Perception, RA-L 2020; no "
        "licence stated for the images",
    ),
}

OWN = Recipe(counts={}, source="your own")
"""Images of the user's: nothing is known of them beforehand."""

NEIGHBOURS: dict[str, str] = {
    "Rain100H": "the older set of 1800 and 100 pairs; 546 of its training images share scenes with its test set, "
    "and its test scenes are among Rain200's training scenes",
    "Rain100L": "the older set of 200 and 100 pairs; its scenes are among Rain200's",
    "Rain800": "Zhang et al.'s ID-CGAN set, 700 and 100 pairs",
    "TestB": "Fu et al.'s 1000 pairs in DID-MDN's archive, clean on the left; not part of Rain1200",
    "DDN": "Fu et al.'s Rain14000, fourteen rainy images for each clean one",
    "Rain13K": "the mixture that MPRNet and Restormer train on",
    "SPA-Data": "Wang et al.'s real video rain",
    "SIRR": "147 photographs from the Internet, without ground truth",
    "Practical": "Yang et al.'s practical photographs",
    "UFO-120": "Islam et al.'s set for enhancement and super-resolution, images of two sizes",
    "UIEB": "Li et al.'s underwater set",
    "LSUI": "Peng et al.'s underwater set",
}
"""Datasets that are often taken for one of the above, and what they are."""

# the crop of MSPFN and MPRNet, pixel for pixel BSDS500 less its last row and column
RAIN100_CROP = frozenset({(320, 480), (480, 320)})


def recipe_of(name: str) -> Recipe:
    """The recipe of a dataset.

    Raises:
        DataError: there is none of that name.
    """
    if name not in RECIPES:
        known = f"{', '.join(RECIPES)}; --pairs and --clean prepare images of your own"
        refused = f", which is {NEIGHBOURS[name]}" if name in NEIGHBOURS else ""
        raise DataError(
            f"no recipe for {name!r}{refused}{near_names(name, RECIPES)} (known: {known})"
        )
    return RECIPES[name]
