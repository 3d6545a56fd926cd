import numpy as np
import pytest
import torch
from helpers import make_pairs

from vlif_plugin.data import PairedImages
from vlif_plugin.data.patches import cut_patches
from vlif_plugin.errors import DataError


def test_a_small_image_is_mirrored_at_its_lower_and_right_edge():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    (patch,) = cut_patches([image], 5, pad=True)
    assert np.array_equal(patch, image[[0, 1, 1, 0, 0]][:, [0, 1, 2, 2, 1]])


def test_a_large_image_is_cut_as_without_padding():
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    torch.manual_seed(5)
    plain = cut_patches([image, image[::-1]], 6, flip=True, rotate=True)
    torch.manual_seed(5)
    padded = cut_patches([image, image[::-1]], 6, flip=True, rotate=True, pad=True)
    assert all(np.array_equal(a, b) for a, b in zip(plain, padded, strict=True))


def test_pairs_stay_pairs_when_one_side_is_too_short(tmp_path):
    roots = make_pairs(tmp_path, [(20, 60)])
    sides = roots["dataroot_lq"], roots["dataroot_gt"]
    with pytest.raises(DataError, match="1 images smaller than the patch of 40"):
        PairedImages(*sides, patch_size=40)
    item = PairedImages(*sides, patch_size=40, pad=True)[0]
    same = PairedImages(sides[1], sides[1], patch_size=40, pad=True)[0]
    for picture in (item["lq"], item["gt"], same["lq"]):
        assert picture.shape == (3, 40, 40)
        assert torch.equal(picture[:, :20], picture[:, 20:].flip(1))
    assert torch.equal(same["lq"], same["gt"])
