import math
import pickle
import struct

import cv2
import numpy as np
import pytest
import torch
from helpers import make_pairs, photograph
from PIL import Image
from torch.utils.data import DataLoader

from vlif_plugin.data import (
    FolderSource,
    LmdbSource,
    PairedImages,
    RainLayer,
    StreakLayers,
    SyntheticRainImages,
    add_rain,
    decode_colour,
    load_image,
    open_source,
    pair_images,
    sample_layers,
    sampled_fingerprint,
    save_image,
    to_bytes,
    write_lmdb,
)
from vlif_plugin.data.synthetic_rain import render_layer, streak_kernel
from vlif_plugin.errors import DataError


def write_folder(folder, images):
    folder.mkdir(parents=True)
    for name, image in images.items():
        assert cv2.imwrite(str(folder / name), image[..., ::-1] if image.ndim == 3 else image)
    return folder


def pictures(count, height=20, width=24):
    return {f"{i}.png": photograph(height, width, seed=i) for i in range(count)}


def test_lmdb_and_folder_give_the_same_pictures(tmp_path):
    images = pictures(3)
    folder = FolderSource(write_folder(tmp_path / "images", images))
    write_lmdb(((name[:-4], image) for name, image in images.items()), tmp_path / "a.lmdb")
    lmdb = open_source(tmp_path / "a.lmdb")
    assert isinstance(lmdb, LmdbSource)
    assert lmdb.keys() == folder.keys() == ["0", "1", "2"]
    for key in ("0", "1", "2"):
        assert np.array_equal(lmdb.read(key), images[f"{key}.png"])
        assert np.array_equal(folder.read(key), images[f"{key}.png"])
        assert lmdb.size(key) == folder.size(key) == (20, 24)


def test_a_folder_has_the_order_of_its_lmdb(tmp_path):
    names = ["img", "img-2", "img (3)", "img.1", "Img"]
    images = {f"{name}.png": photograph(20, 24, seed=i) for i, name in enumerate(names)}
    folder = write_folder(tmp_path / "images", images)
    write_lmdb(((name[:-4], image) for name, image in images.items()), tmp_path / "a.lmdb")
    roots = folder, tmp_path / "a.lmdb"
    assert open_source(folder).keys() == open_source(roots[1]).keys() == sorted(names)
    rain, lmdb_rain = (SyntheticRainImages(root) for root in roots)
    for item, other in zip(rain, lmdb_rain, strict=True):
        assert torch.equal(item["lq"], other["lq"])
    marks = [sampled_fingerprint(data.sides()) for data in (rain, lmdb_rain)]
    marks += [sampled_fingerprint(PairedImages(root, root).sides()[:1]) for root in roots]
    assert len(set(marks)) == 1


def test_basicsr_reads_our_lmdb(tmp_path, fresh_basicsr):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    roots = make_pairs(tmp_path, [(20, 24)] * 2)
    options = {"io_backend": {"type": "lmdb"}, "phase": "val", "scale": 1, **roots}
    ours = list(PairedImages(roots["dataroot_lq"], roots["dataroot_gt"]))
    theirs = PairedImageDataset(options)
    for a, b in zip((theirs[0], theirs[1]), ours, strict=True):
        assert torch.equal(a["lq"], b["lq"])
        assert torch.equal(a["gt"], b["gt"])


def test_sources_survive_workers_and_pickling(tmp_path):
    roots = make_pairs(tmp_path, [(20, 24)] * 5)
    dataset = PairedImages(roots["dataroot_lq"], roots["dataroot_gt"])
    expected = [item["lq"] for item in dataset]
    loaded = [
        item["lq"][0] for item in DataLoader(pickle.loads(pickle.dumps(dataset)), num_workers=2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(expected, loaded, strict=True))


def test_pairs_go_by_name_not_by_position(tmp_path):
    write_folder(tmp_path / "lq", {"2.png": photograph(8, 8), "10.png": photograph(8, 8)})
    write_folder(tmp_path / "gt", {"10.jpg": photograph(8, 8), "2.bmp": photograph(8, 8)})
    pairs = pair_images(FolderSource(tmp_path / "lq"), FolderSource(tmp_path / "gt"))
    assert [(p.lq, p.gt) for p in pairs] == [("10", "10"), ("2", "2")]


def test_pairs_go_by_number_where_asked(tmp_path):
    write_folder(
        tmp_path / "lq", {"rain-002.png": photograph(8, 8), "rain-010.png": photograph(8, 8)}
    )
    write_folder(
        tmp_path / "gt", {"norain-10.png": photograph(8, 8), "norain-2.png": photograph(8, 8)}
    )
    sources = FolderSource(tmp_path / "lq"), FolderSource(tmp_path / "gt")
    pairs = pair_images(*sources, "number")
    assert [(p.lq, p.gt) for p in pairs] == [("rain-002", "norain-2"), ("rain-010", "norain-10")]
    with pytest.raises(DataError, match="no partner"):
        pair_images(*sources)


def test_images_without_partner_are_named_the_first_five(tmp_path):
    write_folder(tmp_path / "lq", pictures(9))
    write_folder(tmp_path / "gt", pictures(2) | {"extra.png": photograph(8, 8)})
    with pytest.raises(DataError, match=r"8 of 9 .* 3 in .*2\.png.*6\.png and 3 more"):
        PairedImages(tmp_path / "lq", tmp_path / "gt")


def test_unclear_numbers_are_named(tmp_path):
    folder = write_folder(
        tmp_path / "lq", {"a1_2.png": photograph(8, 8), "b.png": photograph(8, 8)}
    )
    source = FolderSource(folder)
    with pytest.raises(DataError, match=r"2 names: .*a1_2\.png.*b\.png"):
        pair_images(source, source, "number")


def test_different_small_and_unreadable_images_are_all_named_before_training(tmp_path):
    write_folder(tmp_path / "lq", pictures(4, 40, 40))
    write_folder(tmp_path / "gt", pictures(4, 40, 40))
    cv2.imwrite(str(tmp_path / "gt" / "1.png"), photograph(40, 41))
    for side in ("lq", "gt"):
        cv2.imwrite(str(tmp_path / side / "2.png"), photograph(40, 31))
    (tmp_path / "lq" / "3.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(DataError) as caught:
        PairedImages(tmp_path / "lq", tmp_path / "gt", patch_size=32)
    message = str(caught.value)
    assert "1 unreadable images" in message
    assert "3.png" in message
    assert "1.png (40x40 beside 40x41)" in message
    assert "1 images smaller than the patch of 32" in message
    assert "2.png (40x31)" in message


def test_a_broken_picture_with_a_good_header_is_named_when_it_is_read(tmp_path):
    folder = write_folder(tmp_path / "lq", pictures(2))
    path = folder / "1.png"
    path.write_bytes(path.read_bytes()[:-60])
    dataset = PairedImages(folder, None)
    assert dataset[0]["lq"].shape == (3, 20, 24)
    with pytest.raises(DataError, match=r"1\.png: not a readable image"):
        dataset[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: FolderSource(p / "gone"), "no such folder"),
        (lambda p: FolderSource(p), "no images"),
        (lambda p: LmdbSource(p / "gone.lmdb"), "data.mdb is missing"),
        (lambda p: write_lmdb([], p / "name"), "end in .lmdb"),
        (lambda p: save_image(np.zeros((4, 4), np.uint8), p / "x.nope"), "cannot be written"),
        (lambda p: load_image(p / "gone.png"), "no such image"),
    ],
)
def test_what_is_missing_is_named(make, message, tmp_path):
    with pytest.raises(DataError, match=message):
        make(tmp_path)


def test_damaged_lmdbs_are_named(tmp_path):
    root = tmp_path / "a.lmdb"
    write_lmdb([("k", photograph(8, 8))], root)
    (root / "meta_info.txt").write_text("k.png (8,8,3) 1\nother.png (8,8,3) 1\n")
    with pytest.raises(DataError, match=r"no record for 1 keys .*: other"):
        LmdbSource(root)
    (root / "meta_info.txt").write_text("nonsense\n")
    with pytest.raises(DataError, match="'nonsense'"):
        LmdbSource(root)
    (root / "meta_info.txt").write_text("k.png (8,8,3) 1\n")
    whole = (root / "data.mdb").read_bytes()
    (root / "data.mdb").write_bytes(whole[: len(whole) - 1])
    with pytest.raises(DataError, match=f"cut short .{len(whole) - 1} of {len(whole)} bytes"):
        LmdbSource(root)
    (root / "data.mdb").write_bytes(b"\0" * 100)
    with pytest.raises(DataError, match="not a readable LMDB"):
        LmdbSource(root)


def test_an_lmdb_appears_whole_or_not_at_all(tmp_path):
    def breaks():
        yield "a", photograph(8, 8)
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="disk is full"):
        write_lmdb(breaks(), tmp_path / "a.lmdb")
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="'a' comes twice"):
        write_lmdb([("a", photograph(8, 8))] * 2, tmp_path / "a.lmdb")
    assert not list(tmp_path.iterdir())
    write_lmdb([("a", photograph(8, 8))], tmp_path / "a.lmdb")
    with pytest.raises(DataError, match="exists already"):
        write_lmdb([], tmp_path / "a.lmdb")


def test_patches_are_the_same_place_of_both_images(tmp_path):
    clean = photograph(40, 50)
    write_lmdb([("a", clean)], tmp_path / "gt.lmdb")
    write_lmdb([("a", 255 - clean)], tmp_path / "lq.lmdb")
    dataset = PairedImages(
        tmp_path / "lq.lmdb", tmp_path / "gt.lmdb", patch_size=16, flip=True, rotate=True
    )
    patches = [dataset[0] for _ in range(20)]
    assert all(torch.allclose(p["lq"] + p["gt"], torch.ones(3, 16, 16)) for p in patches)
    assert len({p["gt"].sum().item() for p in patches}) > 10


def test_an_image_of_exactly_the_patch_size_is_taken_whole(tmp_path):
    write_folder(tmp_path / "lq", pictures(1, 16, 16))
    item = PairedImages(tmp_path / "lq", tmp_path / "lq", patch_size=16)[0]
    assert torch.equal(item["lq"], PairedImages(tmp_path / "lq", None)[0]["lq"])


def test_torchs_seed_decides_the_patches(tmp_path):
    write_folder(tmp_path / "lq", pictures(1, 40, 40))
    dataset = PairedImages(tmp_path / "lq", None, patch_size=8, flip=True)
    first = torch.manual_seed(5) and [dataset[0]["lq"] for _ in range(4)]
    again = torch.manual_seed(5) and [dataset[0]["lq"] for _ in range(4)]
    assert all(map(torch.equal, first, again))


def test_colours_come_as_rgb(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    write_folder(tmp_path / "lq", {"red.png": red})
    assert PairedImages(tmp_path / "lq", None)[0]["lq"][:, 0, 0].tolist() == [1, 0, 0]


SHAPES = [(12, 9), (12, 9, 3), (12, 9, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=["grey", "colour", "alpha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_come_back_as_they_came(shape, dtype, tmp_path):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    cv2.imwrite(str(tmp_path / "in.png"), image)
    loaded = load_image(tmp_path / "in.png")
    assert loaded.rgb.shape == (1, 3, 12, 9)
    assert 0 <= loaded.rgb.min() < loaded.rgb.max() <= 1
    save_image(loaded.restore(loaded.rgb), tmp_path / "out.png")
    back = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert back.dtype == dtype
    assert np.array_equal(back, image)


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(photograph(8, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert load_image(tmp_path / "a.jpg").rgb.shape == (1, 3, 20, 8)


def write_turned(path, mode, orientation):
    """A file that OpenCV should show as ``photograph(8, 20)`` with a hint of alpha, in ``mode``."""
    exif, upright = Image.Exif(), photograph(8, 20)
    exif[0x0112] = orientation
    image = Image.fromarray(np.dstack([upright, upright[..., 0] | 1])).convert(mode)
    back = Image.Transpose  # of what the orientation asks for
    undo = {2: back.FLIP_LEFT_RIGHT, 3: back.ROTATE_180, 4: back.FLIP_TOP_BOTTOM, 5: back.TRANSPOSE}
    undo |= {6: back.ROTATE_90, 7: back.TRANSVERSE, 8: back.ROTATE_270}
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    stored.save(path, exif=exif, lossless=True, exact=True)
    return np.asarray(image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", "png"), ("RGBA", "webp"), ("LA", "png"), ("RGB", "png")]
)
def test_every_orientation_is_turned_upright(mode, suffix, orientation, tmp_path):
    expected = write_turned(tmp_path / f"a.{suffix}", mode, orientation)
    loaded = load_image(tmp_path / f"a.{suffix}")
    colours = expected[..., :1] if mode == "LA" else expected[..., :3]
    assert np.array_equal(to_bytes(loaded.rgb[0]), np.broadcast_to(colours, (8, 20, 3)))
    assert (
        loaded.alpha is None if mode == "RGB" else np.array_equal(loaded.alpha, expected[..., -1])
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_libtiff_has_turned_what_has_alpha(orientation, tmp_path):
    expected = write_turned(tmp_path / "a.tiff", "RGBA", orientation)
    loaded = load_image(tmp_path / "a.tiff")
    assert np.array_equal(loaded.alpha, expected[..., 3])
    assert np.array_equal(to_bytes(loaded.rgb[0]), expected[..., :3])


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_colours_of_a_tiff_are_not_multiplied_by_its_alpha(compression, big, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (12, 9, 4), np.uint8)
    path = tmp_path / "a.tif"
    Image.fromarray(image).save(path, compression=compression, big_tiff=big)
    loaded = load_image(path)
    assert np.array_equal(loaded.restore(loaded.rgb), image[..., [2, 1, 0, 3]])
    assert np.array_equal(decode_colour(path.read_bytes(), "a"), image[..., :3])


def with_tag(content, tag, value):
    """A little-endian TIFF that declares something else."""
    changed = bytearray(content)
    (place,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, place)
    (at,) = (
        at
        for at in range(place + 2, place + 2 + 12 * count, 12)
        if struct.unpack_from("<H", content, at) == (tag,)
    )
    struct.pack_into("<H", changed, at + 8, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("channels", "tag", "value", "what"),
    [(3, 284, 2, "each channel is stored apart"), (1, 262, 0, "zero is white")],
)
def test_what_opencv_would_read_wrongly_in_16_bits_is_refused(channels, tag, value, what, tmp_path):
    image = np.random.default_rng(0).integers(0, 2**16, (12, 9, channels), np.uint16)
    content = with_tag(cv2.imencode(".tif", image)[1].tobytes(), tag, value)
    (tmp_path / "a.tif").write_bytes(content)
    message = f"a.tif: a TIFF of 16 bits in which {what}, .* save it as PNG"
    with pytest.raises(DataError, match=message):
        load_image(tmp_path / "a.tif")
    with pytest.raises(DataError, match=message):
        decode_colour(content, "a.tif")


def test_inks_are_not_taken_for_colours_and_alpha(tmp_path):
    Image.new("CMYK", (9, 12), (10, 20, 30, 40)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: its colours are CMYK, .* convert it to RGB"):
        load_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_with_alpha_comes_back_as_such(dtype, tmp_path):
    top = np.iinfo(dtype).max  # away from its ends, where a tint would be cut off
    image = np.random.default_rng(0).integers(top // 4, top // 4 * 3, (12, 9, 2), dtype)
    save_image(image, tmp_path / "in.png")
    loaded = load_image(tmp_path / "in.png")
    assert loaded.grey
    tinted = loaded.rgb + torch.tensor([0.3, 0.0, -0.3]).view(3, 1, 1) / 255
    save_image(loaded.restore(tinted), tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "in.png").read_bytes()
    assert (tmp_path / "out.png").read_bytes()[25] == 4  # PNG's colour type: grey with alpha
    with Image.open(tmp_path / "out.png") as opened:
        assert np.array_equal(
            np.asarray(opened.convert("LA")), image >> (8 if dtype == np.uint16 else 0)
        )
    decoded = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded, image[..., [0, 0, 0, 1]])
    for suffix, channels in ((".tiff", 4), (".webp", 4), (".jpg", 0), (".bmp", 0)):
        save_image(image, tmp_path / f"out{suffix}")
        back = cv2.imread(str(tmp_path / f"out{suffix}"), cv2.IMREAD_UNCHANGED)
        assert back.shape == ((12, 9, channels) if channels else (12, 9))


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp", ".png"])
def test_deep_images_are_scaled_to_formats_of_eight_bits(suffix, tmp_path):
    image = np.full((16, 16, 4), 32896, np.uint16)  # 128 of 255
    save_image(image, tmp_path / f"a{suffix}")
    back = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_UNCHANGED)
    assert back.dtype == (np.uint16 if suffix == ".png" else np.uint8)
    assert back.shape[2] == (4 if suffix in (".png", ".webp") else 3)
    assert abs(back[..., :3].astype(int) - (32896 if suffix == ".png" else 128)).max() <= 2


def test_rotated_photographs_have_the_size_that_is_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photograph(8, 20)).save(tmp_path / "a.jpg", exif=exif)
    source = FolderSource(tmp_path)
    assert source.size("a") == source.read("a").shape[:2] == (20, 8)


def test_threads_share_an_lmdb(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    write_lmdb(((str(i), photograph(30, 30, i)) for i in range(4)), tmp_path / "a.lmdb")
    sources = [LmdbSource(tmp_path / "a.lmdb") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda i: sources[i % 4].read(str(i % 4)), range(200)))
    assert all(np.array_equal(image, images[i % 4]) for i, image in enumerate(images))


@pytest.mark.parametrize(
    "images",
    [
        [("a", np.zeros((8, 8, 3), np.float32))],
        [("a", np.zeros((8, 8), np.uint8))],
        [("a\nb", photograph(8, 8))],
        [],
    ],
    ids=["float", "grey", "newline", "none"],
)
def test_an_lmdb_refuses_what_it_could_not_give_back(images, tmp_path):
    with pytest.raises(DataError):
        write_lmdb(images, tmp_path / "a.lmdb")
    assert not list(tmp_path.iterdir())


def test_float_images_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tiff"), np.zeros((4, 4, 3), np.float32))
    for read in (load_image, lambda path: FolderSource(path.parent).read("a")):
        with pytest.raises(DataError, match=r"a\.tiff: only images of 8 or 16 bits .* float32"):
            read(tmp_path / "a.tiff")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_rounded_to_eight(suffix, channels, tmp_path):
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    assert round(0x01FF / 257) == 2
    image = values if channels == 1 else np.dstack([values, values.T, values[::-1]])
    stored = image[..., [2, 1, 0]] if channels > 1 else image
    stored = np.dstack([stored, values | 1]) if channels == 4 else stored
    content = cv2.imencode(suffix, np.ascontiguousarray(stored))[1].tobytes()
    expected = np.round(image / 257).astype(np.uint8)
    if channels == 1:
        expected = np.repeat(expected[..., None], 3, axis=2)
    assert np.array_equal(decode_colour(content, "a"), expected)
    save_image(stored, tmp_path / "a.bmp")
    (tmp_path / "b.png").write_bytes(content)
    source = FolderSource(tmp_path)
    assert np.array_equal(source.read("a"), expected)
    assert np.array_equal(source.read("b"), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_trained_on_is_turned_upright(orientation, tmp_path):
    expected = write_turned(tmp_path / "a.png", "RGB", orientation)
    assert np.array_equal(FolderSource(tmp_path).read("a"), expected)
    deep = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    content = cv2.imencode(".png", deep.astype(np.uint16) * 257 + 100)[1].tobytes()
    before = (tmp_path / "a.png").read_bytes()
    start = before.index(b"eXIf") - 4
    length = 12 + int.from_bytes(before[start : start + 4])
    content = content[:33] + before[start : start + length] + content[33:]
    assert np.array_equal(decode_colour(content, "a"), expected)


def test_rain_is_seeded_and_only_brightens():
    clean = (photograph(60, 80) / 255).astype(np.float32)
    rainy = [
        add_rain(clean, sample_layers(np.random.default_rng(seed)), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(rainy[0], rainy[1])
    assert not np.array_equal(rainy[0], rainy[2])
    assert (rainy[0] >= clean).all()
    assert 0.002 < (rainy[0] - clean).mean() < 0.3
    assert rainy[0].max() <= 1


@pytest.mark.parametrize("angle", [-40, 0, 25])
def test_streaks_fall_in_their_direction(angle):
    kernel = streak_kernel(angle, length=31, width=1.5)
    y, x = np.nonzero(kernel > 0.5)
    slope = np.polyfit(y, x, 1)[0]  # pixels to the right for each pixel down
    assert np.rad2deg(np.arctan(slope)) == pytest.approx(angle, abs=2)
    assert kernel.max() == 1
    assert 28 < np.hypot(np.ptp(y), np.ptp(x)) < 36


def test_a_layer_has_its_density_and_brightness():
    layer = RainLayer(angle=10, length=9, width=1, density=0.001, brightness=0.6)
    rendered = render_layer(layer, 200, 300, np.random.default_rng(0))
    assert rendered.shape == (200, 300)
    assert 0.25 < rendered.max() <= 0.6
    assert not render_layer(RainLayer(10, 9, 1, 0.0, 0.6), 20, 30, np.random.default_rng(0)).any()
    with pytest.raises(ValueError, match="impossible"):
        RainLayer(angle=0, length=0, width=1, density=0.1, brightness=0.5)


def synthetic(tmp_path, **arguments):
    if not (tmp_path / "clean").exists():
        write_folder(tmp_path / "clean", pictures(3, 60, 70))
    return SyntheticRainImages(tmp_path / "clean", **arguments)


def test_synthetic_rain_falls_on_the_clean_patch_and_anew_each_time(tmp_path):
    dataset = synthetic(tmp_path, patch_size=48, flip=True, rain="heavy")
    items = [dataset[0] for _ in range(6)]
    for item in items:
        assert item["lq"].shape == item["gt"].shape == (3, 48, 48)
        assert (item["lq"] >= item["gt"] - 0.5 / 255).all()
    streaks = [(item["lq"] - item["gt"]).sum().item() for item in items]
    assert len(set(streaks)) == 6
    assert max(streaks) > 10
    torch.manual_seed(3)
    first = dataset[1]["lq"]
    torch.manual_seed(3)
    assert torch.equal(dataset[1]["lq"], first)


def test_synthetic_rain_on_whole_images_stays_the_same(tmp_path):
    dataset, again, other = synthetic(tmp_path), synthetic(tmp_path), synthetic(tmp_path, seed=1)
    assert torch.equal(dataset[0]["lq"], again[0]["lq"])
    assert torch.equal(dataset[0]["lq"], dataset[0]["lq"])
    assert not torch.equal(dataset[0]["lq"], other[0]["lq"])
    assert dataset[0]["gt"].shape == (3, 60, 70)


def test_heavy_rain_is_heavier_than_light(tmp_path):
    wet = {}
    for rain in ("light", "heavy"):
        dataset = synthetic(tmp_path, rain=rain, patch_size=48)
        wet[rain] = np.mean(
            [(d["lq"] - d["gt"]).mean().item() for d in (dataset[i % 3] for i in range(40))]
        )
    assert wet["heavy"] > 1.2 * wet["light"] > 0


def test_a_veil_lifts_the_blacks(tmp_path):
    write_folder(tmp_path / "black", {"a.png": np.zeros((50, 50, 3), np.uint8)})
    dataset = SyntheticRainImages(tmp_path / "black", veil_strength=0.5, rain="light")
    assert 0 < dataset[0]["lq"].min() <= 0.5
    assert dataset[0]["gt"].max() == 0


def test_recorded_streaks_replace_the_rendered_ones(tmp_path):
    layer = np.zeros((40, 40, 3), np.uint8)
    layer[:, 10:12] = 100
    write_folder(tmp_path / "streaks", {"s.png": layer})
    dataset = synthetic(tmp_path, streaks=tmp_path / "streaks", patch_size=32)
    item = dataset[0]
    added = (item["lq"] - item["gt"]) * 255
    assert set(added.round().unique().tolist()) <= {*range(0, 101)}
    assert added.max() > 0
    whole = synthetic(tmp_path, streaks=tmp_path / "streaks")[0]  # larger than the layer
    assert whole["lq"].shape == (3, 60, 70)
    with pytest.raises(DataError, match=r"streak layers: .*smaller than the patch of 48"):
        synthetic(tmp_path, streaks=tmp_path / "streaks", patch_size=48)


def test_streaks_are_what_a_pair_differs_by_in_the_channel_that_was_cut_off_least(tmp_path):
    clean = np.zeros((20, 30, 3), np.uint8)
    clean[..., 0] = 230  # here the rain is cut off at 255
    clean[..., 1] = 40
    rainy = np.minimum(clean.astype(int) + 90, 255).astype(np.uint8)
    rainy[:10] = clean[:10] - np.minimum(clean[:10], 3)  # darker: no rain
    write_folder(tmp_path / "rainy", {"a.png": rainy})
    write_folder(tmp_path / "clean_side", {"a.png": clean})
    layers = StreakLayers(tmp_path / "rainy", tmp_path / "clean_side")
    assert layers.keys() == ["a"]
    assert layers.size("a") == (20, 30)
    layer = layers.read("a")
    assert (layer[10:] == 90).all()
    assert not layer[:10].any()

    write_folder(tmp_path / "black", {"dark.png": np.zeros((20, 30, 3), np.uint8)})
    recorded = {"streaks": tmp_path / "rainy", "streaks_gt": tmp_path / "clean_side"}
    item = SyntheticRainImages(tmp_path / "black", **recorded)[0]
    assert torch.equal((item["lq"] * 255).round().byte(), torch.from_numpy(layer).permute(2, 0, 1))
    write_folder(tmp_path / "others", {"b.png": clean})
    with pytest.raises(DataError, match=r"streak layers: .*a.*b"):
        synthetic(tmp_path, streaks=tmp_path / "rainy", streaks_gt=tmp_path / "others")


def test_a_share_of_the_items_gets_recorded_streaks(tmp_path):
    write_folder(tmp_path / "black", {"a.png": np.zeros((40, 40, 3), np.uint8)})
    write_folder(tmp_path / "streaks", {"s.png": np.full((40, 40, 3), 7, np.uint8)})
    recorded = {}
    for share in (0.0, 0.3, 1.0):
        dataset = SyntheticRainImages(
            tmp_path / "black", streaks=tmp_path / "streaks", streaks_share=share, patch_size=16
        )
        flat = [bool(((dataset[0]["lq"] * 255).round() == 7).all()) for _ in range(200)]
        recorded[share] = sum(flat)
    assert recorded[0.0] == 0
    assert 40 <= recorded[0.3] <= 80  # 60 expected, 6.5 the standard deviation
    assert recorded[1.0] == 200


def test_rain_comes_in_the_strengths_asked_for_and_some_items_stay_dry(tmp_path):
    write_folder(tmp_path / "black", {"a.png": np.zeros((40, 40, 3), np.uint8)})
    write_folder(tmp_path / "streaks", {"s.png": np.full((40, 40, 3), 100, np.uint8)})
    recorded = {"streaks": tmp_path / "streaks", "patch_size": 16}
    mixed = SyntheticRainImages(
        tmp_path / "black", **recorded, strength=(0.2, 0.6), clean_share=0.3
    )
    values = torch.stack([mixed[0]["lq"].max() for _ in range(200)]) * 255
    wet = values[values > 0]
    assert 110 <= len(wet) <= 170  # 140 expected, 6.5 the standard deviation
    assert 20 <= wet.min() < 25
    assert 55 < wet.max() <= 60
    dry = SyntheticRainImages(tmp_path / "black", **recorded, veil_strength=0.5, clean_share=1.0)
    assert dry[0]["lq"].max() == 0


def test_rendered_rain_has_a_strength_as_well(tmp_path):
    def rain(**arguments):
        return synthetic(tmp_path, seed=3, **arguments)[0]["lq"]

    write_folder(tmp_path / "clean", {"a.png": np.zeros((40, 60, 3), np.uint8)})
    full, same, half, none = (
        rain(**arguments)
        for arguments in ({}, {"strength": (1, 1)}, {"strength": (0.5, 0.5)}, {"strength": (0, 0)})
    )
    assert torch.equal(full, same)
    assert none.max() == 0
    assert full.max() > 0.2
    # bright streaks over each other are cut off at white
    assert 0.45 < half.sum() / full.sum() < 0.65


def test_whole_images_get_a_layer_that_fits_where_there_is_one(tmp_path):
    write_folder(tmp_path / "black", {"a.png": np.zeros((40, 60, 3), np.uint8)})
    layers = {f"tall_{i}.png": np.full((60, 40, 3), 9, np.uint8) for i in range(6)}
    layers["wide.png"] = np.full((40, 61, 3), 5, np.uint8)
    write_folder(tmp_path / "streaks", layers)
    for seed in range(4):
        item = SyntheticRainImages(tmp_path / "black", streaks=tmp_path / "streaks", seed=seed)[0]
        assert ((item["lq"] * 255).round() == 5).all()


def test_images_that_are_kept_in_memory_are_the_same_and_decoded_once(tmp_path):
    rainy = write_folder(tmp_path / "rainy", pictures(3))
    clean = write_folder(tmp_path / "clean", pictures(3))

    def items(kept):
        pairs = PairedImages(rainy, clean, in_memory=kept)
        rain = SyntheticRainImages(
            clean, streaks=rainy, streaks_gt=clean, streaks_share=0.5, in_memory=kept
        )
        return lambda: [dataset[i] for dataset in (pairs, rain) for i in range(3)]

    expected, kept = items(kept=False), items(kept=True)
    before, first = expected(), kept()
    for file in (*rainy.iterdir(), *clean.iterdir()):
        file.write_bytes(b"")
    for one, two, three in zip(before, first, kept(), strict=True):
        for side in ("lq", "gt"):
            assert torch.equal(one[side], two[side])
            assert torch.equal(one[side], three[side])
    with pytest.raises(DataError):
        expected()


@pytest.mark.parametrize(
    "arguments",
    [
        {"rain": "hail"},
        {"veil_strength": 2},
        {"streaks_share": 1.5, "streaks": "s"},
        {"clean_share": -0.1},
        {"strength": (0.5, 0.2)},
        {"strength": (-1.0, 1.0)},
        {"strength": (0.0, math.inf)},
        {"strength": (math.nan, 1.0)},
    ],
)
def test_impossible_weather_is_refused(arguments, tmp_path):
    with pytest.raises(ValueError, match="must be"):
        synthetic(tmp_path, **arguments)


@pytest.mark.parametrize("arguments", [{"streaks_gt": "clean"}, {"streaks_share": 0.5}])
def test_what_is_said_of_streaks_needs_streaks(arguments, tmp_path):
    with pytest.raises(ValueError, match="of which there are none"):
        synthetic(tmp_path, **arguments)
