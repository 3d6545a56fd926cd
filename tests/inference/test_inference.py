import math

import pytest
import torch
from helpers import SMALL, live_net, make_live
from torch import nn

from vlif_plugin.archs import VLIFNet
from vlif_plugin.errors import OptionError
from vlif_plugin.inference import (
    OFFICIAL80,
    Tiling,
    choose_tile,
    parse_tile,
    restore_image,
    restorer,
    run_tiled,
    tile_starts,
)

TILINGS = [OFFICIAL80, Tiling(32, 8), Tiling(32, 0), Tiling(17, 16)]


@pytest.mark.parametrize("tiling", TILINGS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (16, 200), (33, 47), (80, 80), (81, 79), (100, 170)])
def test_tiling_of_the_identity_is_the_identity(tiling, size):
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(run_tiled(lambda x: x, image, tiling), image, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_constant_image_shows_no_seams(batch_size):
    image = torch.full((2, 3, 70, 90), 0.5)
    result = run_tiled(lambda x: x * 0.5 + 0.1, image, Tiling(32, 8), batch_size=batch_size)
    torch.testing.assert_close(result, torch.full_like(image, 0.35), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("length", "expected"), [(80, [0]), (60, [0]), (81, [0, 1]), (152, [0, 72]), (160, [0, 72, 80])]
)
def test_tiles_start_where_the_released_script_starts_them(length, expected):
    assert tile_starts(length, 80, 8) == expected


def test_official80_is_the_released_scripts_weighting():
    """The rule of the fidelity table, written out pixel by pixel."""
    image = torch.rand(1, 1, 90, 80)

    def restore(tile):
        return tile * 2 + tile.mean()

    total, weights = torch.zeros(90, 80), torch.zeros(90, 80)
    for top in (0, 10):
        tile = restore(image[:, :, top : top + 80])[0, 0]
        for y in range(80):
            for x in range(80):
                weight = 1 / math.sqrt((y - 40) ** 2 + (x - 40) ** 2 + 1e-3)
                total[top + y, x] += weight * tile[y, x]
                weights[top + y, x] += weight
    result = run_tiled(restore, image, OFFICIAL80)[0, 0]
    torch.testing.assert_close(result, total / weights, rtol=0, atol=1e-5)


def test_a_tile_larger_than_the_image_is_the_whole_image():
    x = torch.rand(1, 3, 24, 30)
    net = make_live(VLIFNet(**SMALL), x)
    whole = restore_image(net, x)
    torch.testing.assert_close(restore_image(net, x, tile=OFFICIAL80), whole, rtol=0, atol=1e-6)


def test_tiles_of_a_live_network_differ_from_the_whole_but_little():
    x = torch.rand(1, 3, 48, 64)
    net = make_live(VLIFNet(**SMALL), x)
    whole, tiled = restore_image(net, x), restore_image(net, x, tile=Tiling(32, 8))
    assert tiled.shape == x.shape
    assert 0 < (whole - tiled).abs().mean() < (whole - x).abs().mean()


def test_results_are_clamped_and_of_the_images_kind():
    image = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    net = nn.Conv2d(3, 3, 1)
    nn.init.constant_(net.weight, 5.0)
    result = restore_image(net.double(), image)
    assert result.dtype == torch.float64
    assert result.max() == 1
    assert not result.requires_grad


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (False, None),
        ("none", None),
        ("auto", "auto"),
        ("official80", OFFICIAL80),
        (256, Tiling(256, 16)),
        ("256", Tiling(256, 16)),
        ({"size": 96, "overlap": 32, "window": "distance"}, Tiling(96, 32, "distance")),
    ],
)
def test_tile_options_are_read(choice, expected):
    assert parse_tile(choice) == expected


@pytest.mark.parametrize(
    "choice",
    ["some", -3, 0, True, 2.5, {"size": 8, "overlap": 8}, {"overlap": 8}, {"size": 8, "step": 2},
     {"size": "64"}, {"size": 64, "window": "hann"}],
    ids=str,
)  # fmt: skip
def test_wrong_tile_options_are_refused(choice):
    with pytest.raises(OptionError, match="tile"):
        parse_tile(choice)


def test_auto_takes_the_whole_image_or_the_largest_tile_that_fits(monkeypatch):
    net, cpu = VLIFNet(), torch.device("cpu")
    per_pixel = restorer.memory_per_pixel(net)
    assert 20_000 < per_pixel < 60_000  # 17 kB were measured, the released code takes 31
    monkeypatch.setattr(restorer, "available_memory", lambda _: 2 * 300 * 300 * per_pixel)
    assert choose_tile(net, 300, 300, cpu) is None
    tiling = choose_tile(net, 1080, 1920, cpu)
    assert tiling.size == 288
    monkeypatch.setattr(restorer, "available_memory", lambda _: 1000)
    assert choose_tile(net, 1080, 1920, cpu).size == 64


def test_auto_halves_the_tile_when_memory_runs_out():
    class Hungry(nn.Conv2d):
        def __init__(self):
            super().__init__(3, 3, 1)
            self.sizes = []

        def forward(self, x):
            self.sizes.append(max(x.shape[-2:]))
            if self.sizes[-1] > 100:
                raise torch.OutOfMemoryError("as a GPU says it")
            return x

    net, told = Hungry(), []
    image = torch.rand(1, 3, 260, 260)
    result = restore_image(net, image, tile="auto", tell_tiling=told.append)
    torch.testing.assert_close(result, image)
    assert told == ["65x65, overlap 16"]
    restore_image(net, image[..., :90, :90], tile="auto", tell_tiling=told.append)
    assert told[1:] == ["whole"]
    net.sizes.pop()
    assert net.sizes[:2] == [260, 104]  # three tiles of at most 130 pixels a side
    assert max(net.sizes[2:]) <= 65
    with pytest.raises(torch.OutOfMemoryError):
        restore_image(net, image, tile=None)


def test_balanced_tiles_cover_an_image_with_few_pixels_twice():
    seen = []

    def restore(tiles):
        seen.append(tuple(tiles.shape))
        return tiles

    image, told = torch.rand(1, 3, 216, 384), []
    plain, balanced = Tiling(96, 8), Tiling(96, 8, balanced=True)
    taken = {}
    for tiling in (plain, balanced):
        seen.clear()
        result = run_tiled(restore, image, tiling, progress=told.append)
        torch.testing.assert_close(result, image)
        taken[tiling] = sum(h * w for *_, h, w in seen) / (216 * 384)
        assert len(told) == len(seen)
        assert told == sorted(told)
        assert told[-1] == 1
        told.clear()
    assert taken[balanced] < 1.3 < taken[plain]
    assert all(h <= 96 and w <= 96 for *_, h, w in seen)


def test_on_a_gpu_what_torch_keeps_unused_is_free(monkeypatch):
    """The choice is the same before and after the first image, whose memory torch does not give back."""
    cuda, total = torch.device("cuda"), 10 * 2**30
    for reserved, allocated in ((0, 0), (2**30, 2**30), (8 * 2**30, 2**30)):
        free = total - reserved
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, total))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _, bytes=reserved: bytes)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _, bytes=allocated: bytes)
        assert restorer.available_memory(cuda) == total - allocated


def test_a_gpu_takes_several_small_tiles_at_once_and_a_cpu_no_more_memory_than_pays(monkeypatch):
    net, cpu, cuda = VLIFNet(), torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(restorer, "available_memory", lambda _: 80 * 2**30)
    assert restorer.tiles_at_once(net, OFFICIAL80, cpu) == 1
    assert restorer.tiles_at_once(net, OFFICIAL80, cuda) == 16
    assert restorer.tiles_at_once(net, Tiling(2000), cuda) == 1
    tiling = choose_tile(net, 4000, 6000, cpu)
    assert tiling.size**2 * restorer.memory_per_pixel(net) <= 3 * 2**30
    assert choose_tile(net, 1000, 1000, cuda) is None


def test_bf16_computes_in_bf16_and_gives_what_it_was_given():
    seen = []
    net, x = live_net("VLIFNet, official")
    net, x = net.float(), x.float()
    net.output.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    narrow, wide = restore_image(net, x, bf16=True), restore_image(net, x)
    assert seen == [torch.bfloat16, torch.float32]
    assert narrow.dtype == torch.float32
    assert 0 < (narrow - wide).abs().mean() < 0.1
