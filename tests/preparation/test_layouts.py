"""Every layout in which the datasets are found: trees are built here, and pairs must come out."""

import io
import tarfile
import zipfile
from functools import cache

import cv2
import numpy as np
import pytest
from helpers import photograph

from vlif_plugin.errors import DataError
from vlif_plugin.preparation import OTHER, Sources, recognise

BSDS = (321, 481)
DID = (512, 512)


@cache
def encoded(height, width, side="clean", suffix=".png"):
    """An image file: a photograph, with streaks that only add light on the rainy side."""
    return cv2.imencode(suffix, picture(height, width, side))[1].tobytes()


@cache
def picture(height, width, side="clean"):
    clean = photograph(height, width) // 2 + 20
    if side == "clean":
        return clean
    rainy = clean.copy()
    rainy[:, ::7] += 90
    return {
        "rainy": rainy,
        "left rainy": np.hstack([rainy, clean]),
        "left clean": np.hstack([clean, rainy]),
        "doubled": np.hstack([rainy, rainy]),
    }[side]


def build(root, names, size=BSDS, side=None, suffix=".png"):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(*size, side or "clean", suffix))


def plan_of(name, tmp_path, *sources, **options):
    with Sources([str(s) for s in sources], tmp_path) as found:
        return recognise(name, found.files(), **options)


def partners(plan, part):
    """Key, and the file names of both sides from the source's name on."""
    return [
        (pair.key, *("/".join(half.file.parts) for half in (pair.input, pair.target)))
        for pair in plan.splits[part]
    ]


# dataset, split, rainy and clean file of picture N
LAYOUTS = {
    "A, PKU heavy test": ("Rain200H", "test", "rain_data_test_Heavy/rain_heavy_test/rain/X2/norain-{}x2.png",
                          "rain_data_test_Heavy/rain_heavy_test/norain/norain-{}.png"),
    "A, PKU light train": ("Rain200L", "train", "rain_data_train_Light/rain_light_train/rain/X2/norain-{}x2.png",
                           "rain_data_train_Light/rain_light_train/norain/norain-{}.png"),
    "A', without X2": ("Rain200L", "train", "rain_data_train_Light/rain/norain-{}x2.png",
                       "rain_data_train_Light/norain/norain-{}.png"),
    "A'', without x2": ("Rain200H", "test", "rain_data_test_Heavy/rain/norain-{}.png",
                        "rain_data_test_Heavy/norain/norain-{}.png"),
    "B, flat": ("Rain200H", "train", "rain_data_train_Heavy/rain-{}.png", "rain_data_train_Heavy/norain-{}.png"),
    "B, flat test": ("Rain200H", "test", "rain_heavy_test/rain-{}.png", "rain_heavy_test/norain-{}.png"),
    "C, JORDER-E": ("Rain200H", "train", "data/train/small/rain/norain-{}.png",
                    "data/train/small/norain/norain-{}.png"),
    "C, without small": ("Rain200L", "test", "Rain200L/test/rain/norain-{}.png", "Rain200L/test/norain/norain-{}.png"),
    "D, SPDNet": ("Rain200H", "test", "Rain200H/test/data/norain-{}x2.png", "Rain200H/test/label/norain-{}.png"),
    "D, HCT-FFN": ("Rain200H", "train", "dataset/train/data/norain-{}.png", "dataset/train/label/norain-{}.png"),
    "E, DRSformer": ("Rain200H", "train", "Datasets/train/Rain200H/input/{}.png",
                     "Datasets/train/Rain200H/target/{}.png"),
    "E', NeRD, VLIF": ("Rain200L", "test", "Rain200L/test/input/{}.png", "Rain200L/test/target/{}.png"),
    "E', as the READMEs draw it": ("Rain200L", "test", "Rain200L/test/input/{}.png",
                                   "Rain200L/test/input/target/{}.png"),
    "nested twice": ("Rain200H", "test", "Rain200H/Rain200H/test/input/{}.png", "Rain200H/Rain200H/test/target/{}.png"),
    "lower case": ("Rain200L", "test", "rain_data_test_light/rain/x2/norain-{}x2.png",
                   "rain_data_test_light/norain/norain-{}.png"),
    "rainy_images": ("Rain200H", "test", "Rain200H/test/rainy_images/{}.png", "Rain200H/test/ground_truth/{}.png"),
    "Rain12, PReNet": ("Rain12", "test", "test/Rain12/rainy/{}.png", "test/Rain12/groundtruth/{}.png"),
    "Rain12, archive": ("Rain12", "test", "test12/rainy/{}.png", "test12/groundtruth/{}.png"),
    "Rain12, FBL": ("Rain12", "test", "rain_12/rain/{}.png", "rain_12/norain/{}.png"),
    "Rain12, VLIF": ("Rain12", "test", "Rain12/test/input/{}.png", "Rain12/test/target/{}.png"),
    "Rain12, Li": ("Rain12", "test", "li_cvpr16_rain/input/{}.png", "li_cvpr16_rain/groundtruth/{}.png"),
    "Rain1200, mirror": ("Rain1200", "test", "DID-Data/test/input/{}.png", "DID-Data/test/target/{}.png"),
    "Rain1200, mixed suffixes": ("Rain1200", "train", "DID-Data/train/input/{}.jpg", "DID-Data/train/target/{}.png"),
    "Rain1200, GT in the name": ("Rain1200", "test", "DID-Data/test/input/{}.png", "DID-Data/test/target/{}_GT.png"),
    "Rain1200, FBL": ("Rain1200", "train", "RainDid/training/rain/{}.jpg", "RainDid/training/norain/{}.jpg"),
    "Rain1200, DID_spe": ("Rain1200", "train", "DID_spe/train/rain/{}.jpg", "DID_spe/train/norain/{}.jpg"),
    "Rain1200, VLIF": ("Rain1200", "test", "Rain1200/test/input/{}.png", "Rain1200/test/target/{}.png"),
    "Rain1200, Rain13K's name": ("Rain1200", "test", "test/Test1200/input/{}.png", "test/Test1200/target/{}.png"),
    "EUVP, samples": ("EUVP", "test", "EUVP/test_samples/Inp/test_p{}_.jpg", "EUVP/test_samples/GTr/test_p{}_.jpg"),
    "EUVP, FUnIE-GAN": ("EUVP", "test", "data/test/A/{}.jpg", "data/test/GTr_A/{}.jpg"),
    "EUVP, bare FUnIE-GAN": ("EUVP", "test", "euvp_sample/A/{}.jpg", "euvp_sample/GTr_A/{}.jpg"),
    "EUVP, Lit-Net": ("EUVP", "test", "EUVP_Test/input/{}.jpg", "EUVP_Test/GT/{}.jpg"),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_come_out_of_every_layout(layout, tmp_path):
    name, part, rainy, clean = LAYOUTS[layout]
    numbers = [1, 2, 10]  # in a sorted listing norain-10x2 and norain-1x2 change places
    build(tmp_path / "in", [rainy.format(n) for n in numbers], side="rainy")
    build(tmp_path / "in", [clean.format(n) for n in numbers])
    plan = plan_of(name, tmp_path, tmp_path / "in")
    assert list(plan.splits) == [part]
    width = {True: "{}", False: "{:04d}"}["test_p" in rainy]
    keys = {n: width.format(n) if "test_p" not in rainy else f"test_p{n}" for n in numbers}
    assert partners(plan, part) == sorted(
        (keys[n], f"in/{rainy.format(n)}", f"in/{clean.format(n)}") for n in numbers
    )


def test_densities_and_subsets_have_keys_of_their_own(tmp_path):
    did = "DID-MDN-datasets/DID-MDN-training/Rain_{}/train2018new/0.jpg"
    names = [did.format(density) for density in ("Heavy", "Medium", "Light")]
    build(tmp_path / "a", names, DID, "left rainy", ".jpg")
    plan = plan_of("Rain1200", tmp_path, tmp_path / "a")
    assert [pair.key for pair in plan.splits["train"]] == [
        "heavy_0000",
        "light_0000",
        "medium_0000",
    ]
    assert {(p.input.side, p.target.side) for p in plan.splits["train"]} == {("left", "right")}

    euvp = "EUVP Dataset/Paired/underwater_{}/{}/1.jpg"
    for side in ("trainA", "trainB"):
        names = [euvp.format(subset, side) for subset in ("dark", "imagenet", "scenes")]
        build(tmp_path / "b", names, (16, 16), suffix=".jpg")
    build(tmp_path / "b", [euvp.format("dark", "validation")], (16, 16), suffix=".jpg")
    build(tmp_path / "b", ["EUVP Dataset/Unpaired/trainA/9.jpg"], (16, 16), suffix=".jpg")
    plan = plan_of("EUVP", tmp_path, tmp_path / "b")
    keys = ["dark_0001", "imagenet_0001", "scenes_0001"]
    assert [key for key, *_ in partners(plan, "train")] == keys
    assert list(plan.splits) == ["train"]  # validation has no ground truth
    assert any("1 images of val dark" in note for note in plan.notes)
    assert any("1 files of b/EUVP Dataset/Unpaired/trainA" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("name", "path", "size", "side", "rainy"),
    [
        ("Rain200H", "Rain200H/train_c/norain-{}.png", BSDS, "left clean", "right"),  # RESCAN
        ("Rain12", "rain12_test/{}.png", BSDS, "left rainy", "left"),  # SWAL
        ("Rain1200", "DID-MDN-test/{}.jpg", DID, "left rainy", "left"),
        ("Rain1200", "rain1200/train/medium/{}.jpg", DID, "left rainy", "left"),
        ("Rain1200", "DID-MDN/val/{}.jpg", DID, "left rainy", "left"),
    ],
)  # fmt: skip
def test_the_side_is_read_from_the_pixels(name, path, size, side, rainy, tmp_path):
    suffix = path[-4:]
    build(tmp_path, [f"in/{path.format(n)}" for n in (1, 2, 3)], size, side, suffix)
    plan = plan_of(name, tmp_path, tmp_path / "in")
    (pairs,) = plan.splits.values()
    assert len(pairs) == 3
    assert {pair.input.side for pair in pairs} == {rainy}
    assert all(pair.input.file is pair.target.file for pair in pairs)


def test_halves_on_different_sides_are_refused_and_named(tmp_path):
    build(tmp_path, [f"DID-MDN-test/{n}.jpg" for n in (1, 2, 3)], DID, "left rainy", ".jpg")
    build(tmp_path, ["DID-MDN-test/4.jpg"], DID, "left clean", ".jpg")
    with pytest.raises(DataError, match=r"1 files of 4 .*DID-MDN-test/4\.jpg"):
        plan_of("Rain1200", tmp_path, tmp_path / "DID-MDN-test")


def test_a_clean_left_half_is_not_rain1200(tmp_path):
    build(tmp_path, [f"DID-MDN-test/{n}.jpg" for n in (1, 2)], DID, "left clean", ".jpg")
    with pytest.raises(DataError, match=r"TestB .*Rain800.*--allow other"):
        plan_of("Rain1200", tmp_path, tmp_path / "DID-MDN-test")
    plan = plan_of("Rain1200", tmp_path, tmp_path / "DID-MDN-test", allow=[OTHER])
    assert [pair.input.side for pair in plan.splits["test"]] == ["right", "right"]


def test_doubled_photographs_are_no_pairs(tmp_path):
    build(tmp_path, [f"DID-MDN-test/{n}.jpg" for n in (1, 2)], DID, "doubled", ".jpg")
    with pytest.raises(DataError, match=r"both halves of .*1\.jpg are equal"):
        plan_of("Rain1200", tmp_path, tmp_path / "DID-MDN-test")


def test_plain_photographs_are_no_pairs(tmp_path):
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (8, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    (tmp_path / "DID-MDN-test").mkdir()
    cv2.imwrite(str(tmp_path / "DID-MDN-test" / "1.png"), image)
    with pytest.raises(DataError, match=r"1\.png is neither in a folder that tells its side"):
        plan_of("Rain1200", tmp_path, tmp_path / "DID-MDN-test")


@pytest.mark.parametrize(("first", "count"), [(0, 1201), (1, 1200), (0, 1200)])
def test_rain1200_has_1200_test_pairs_whether_a_copy_has_one_more_or_not(first, count, tmp_path):
    for side, folder in (("rainy", "input"), ("clean", "target")):
        (tmp_path / "Rain1200" / "test" / folder).mkdir(parents=True)
        content = encoded(16, 16, side)
        for number in range(first, first + count):
            (tmp_path / "Rain1200" / "test" / folder / f"{number}.png").write_bytes(content)
    plan = plan_of("Rain1200", tmp_path, tmp_path / "Rain1200")
    keys = [pair.key for pair in plan.splits["test"]]
    assert len(keys) == 1200
    assert keys[0] == ("0001" if count == 1201 else f"{first:04d}")
    assert any("number 0 is left out" in note for note in plan.notes) is (count == 1201)


def test_the_bytes_say_what_a_file_is_not_its_name(tmp_path):
    jpeg, png = encoded(*BSDS, "rainy", ".jpg"), encoded(*BSDS)
    for name, content in (("input/1.png", jpeg), ("target/1.dat", png)):
        path = tmp_path / "Rain200H" / "test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    plan = plan_of("Rain200H", tmp_path, tmp_path / "Rain200H")
    assert partners(plan, "test")[0][1:] == (
        "Rain200H/test/input/1.png",
        "Rain200H/test/target/1.dat",
    )


def test_junk_is_passed_over(tmp_path):
    build(tmp_path, [f"Rain200H/test/{s}/1.png" for s in ("input", "target")])
    junk = ["Thumbs.db", ".DS_Store", "._1.png", "train_input.h5", "readme.txt", "926_10(1).jpg"]
    for name in junk:
        (tmp_path / "Rain200H/test/input" / name).write_bytes(encoded(*BSDS))
    for name in ("train_input.h5", "readme.txt", "Thumbs.db"):
        (tmp_path / "Rain200H/test/input" / name).write_bytes(b"no image")
    build(tmp_path, ["Rain200H/__MACOSX/test/input/2.png"])
    plan = plan_of("Rain200H", tmp_path, tmp_path / "Rain200H")
    assert [pair.key for pair in plan.splits["test"]] == ["0001"]


def test_real_rain_is_one_flat_folder_of_any_images(tmp_path):
    build(tmp_path, ["real/a.png", "real/b.jpg", "real/c.d.bmp"], (30, 50))
    plan = plan_of("RealRain", tmp_path, tmp_path / "real")
    assert [(p.key, p.target) for p in plan.splits["test"]] == [
        ("a", None),
        ("b", None),
        ("c_d", None),
    ]
    assert plan.notes == ["test: 3 images, the paper has 34"]

    # Syn2Real ships copies of the rainy images as if they were clean
    for side in ("rain", "norain"):
        build(tmp_path, [f"RW_Rain/{side}/1.png"], (30, 50))
    plan = plan_of("RealRain", tmp_path, tmp_path / "RW_Rain")
    assert [p.input.file.parts for p in plan.splits["test"]] == [("RW_Rain", "rain", "1.png")]
    assert any("1 images called clean" in note for note in plan.notes)


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz", "gz"])
def test_archives_are_read_as_they_are(kind, tmp_path):
    inner = {
        "rain_heavy_test/rain/X2/norain-1x2.png": encoded(*BSDS, "rainy"),
        "rain_heavy_test/norain/norain-1.png": encoded(*BSDS),
        "../../evil.png": encoded(*BSDS),
        "__MACOSX/._norain-1.png": b"junk",
    }
    path = tmp_path / f"rain_data_test_Heavy.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in inner.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w" if kind == "tar" else "w:gz") as archive:
            for name, content in inner.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    before = sorted(tmp_path.parent.rglob("*"))
    with Sources([str(path)], tmp_path) as found:
        plan = recognise("Rain200H", found.files())
        (pair,) = plan.splits["test"]
        assert pair.key == "0001"
        assert pair.input.file.read() == inner["rain_heavy_test/rain/X2/norain-1x2.png"]
        assert pair.input.file.where == f"{path}!rain_heavy_test/rain/X2/norain-1x2.png"
    assert sorted(tmp_path.parent.rglob("*")) == before  # nothing was unpacked anywhere


def test_an_archive_beside_its_unpacked_folder_counts_once(tmp_path):
    names = [f"rain_data_test_Heavy/{s}/norain-1.png" for s in ("rain", "norain")]
    build(tmp_path / "in", names)
    with zipfile.ZipFile(tmp_path / "in" / "rain_data_test_Heavy.zip", "w") as archive:
        for name in names:
            archive.write(tmp_path / "in" / name, name.removeprefix("rain_data_test_Heavy/"))
    plan = plan_of("Rain200H", tmp_path, tmp_path / "in")
    assert len(plan.splits["test"]) == 1
    assert any("1 second copies of test rainy" in note for note in plan.notes)
    build(tmp_path / "in", ["rain_data_test_Heavy/rain/norain-1.png"], side="rainy")
    with pytest.raises(DataError, match=r"come twice and differ: .*norain-1\.png"):
        plan_of("Rain200H", tmp_path, tmp_path / "in")


def test_one_of_several_datasets_is_taken_from_a_collection(tmp_path):
    for name in ("Rain200H", "Rain200L", "DDN-Data"):
        for side in ("input", "target"):
            build(tmp_path, [f"Datasets/test/{name}/{side}/1.png"])
    plan = plan_of("Rain200L", tmp_path, tmp_path / "Datasets")
    assert [pair.input.file.parts[2] for pair in plan.splits["test"]] == ["Rain200L"]
    assert "left out: 2 files of DDN" in plan.notes


NEIGHBOURS = {
    "by its folder": ("Rain200H", "Rain100H/{}/1.png", ("rainy", "norain"), BSDS, "this is Rain100H, not Rain200H"),
    "MSPFN": ("Rain200H", "R100H/{}/1.png", ("inputcrop", "cleancrop"), (320, 480), "this is Rain100H, not Rain200H"),
    "renamed, by its sizes": ("Rain200H", "Rain200H/test/{}/1.png", ("input", "target"), (320, 480),
                              "480x320 pixels .*older Rain100H"),
    "a neutral name, three digits": ("Rain200H", "test/{}-100.png", ("rain", "norain"), BSDS,
                                     "this is Rain100H, not Rain200H"),
    "the folder above": ("Rain200H", "Rain100H/test/{}/1.png", ("input", "target"), BSDS, "this is Rain100H"),
    "three digits": ("Rain200H", "heavy_test/{}-001.png", ("rain", "norain"), BSDS, "this is Rain100H, not Rain200H"),
    "light for heavy": ("Rain200H", "rain_data_test_Light/{}/norain-1.png", ("rain", "norain"), BSDS,
                        "this is Rain200L, not Rain200H .*vlif prepare Rain200L"),
    "Rain800": ("Rain1200", "rain800/{}/1.png", ("input", "target"), DID, "this is Rain800, not Rain1200"),
    "TestB": ("Rain1200", "DID-MDN/testing_fu/{}/1.png", ("input", "target"), DID, "this is TestB, not Rain1200"),
    "DDN, by its name": ("Rain1200", "rainy_image_dataset/{}/1.png", ("rainy_image", "ground_truth"), DID,
                         "this is DDN"),
    "UFO-120": ("EUVP", "UFO-120/{}/1.jpg", ("input", "target"), (16, 16), "this is UFO-120, not EUVP"),
    "SIRR": ("RealRain", "Semi-supervised-IRR/data/{}/1.jpg", ("real_input",), (16, 16), "this is SIRR, not RealRain"),
}  # fmt: skip


@pytest.mark.parametrize("case", NEIGHBOURS)
def test_neighbours_are_refused_by_name(case, tmp_path):
    name, path, sides, size, message = NEIGHBOURS[case]
    build(tmp_path, [f"in/{path.format(side)}" for side in sides], size)
    if "three digits" in case:  # one of them gives all of the folder away
        build(tmp_path, [f"in/{path.format(side).replace('100', '001')}" for side in sides], size)
    source = "in/Rain100H/test" if case == "the folder above" else "in"
    with pytest.raises(DataError, match=message) as caught:
        plan_of(name, tmp_path, tmp_path / source)
    assert "--allow" in str(caught.value)


def test_streaks_beside_the_images_give_the_older_training_set_away(tmp_path):
    build(tmp_path, [f"in/train/{kind}-{n}.png" for kind in ("rain", "norain") for n in (1, 2)])
    build(tmp_path, ["in/train/rainstreak-1.png"])
    with pytest.raises(DataError, match="this is Rain100H, not Rain200H"):
        plan_of("Rain200H", tmp_path, tmp_path / "in")


def test_words_above_the_dataset_s_own_name_do_not_count(tmp_path):
    for variety in ("Heavy", "Light"):
        names = [
            f"Rain200 (heavy and light)/rain_data_test_{variety}/{s}/norain-1.png"
            for s in ("rain", "norain")
        ]
        build(tmp_path, names)
    for name, variety in (("Rain200H", "Heavy"), ("Rain200L", "Light")):
        plan = plan_of(name, tmp_path, tmp_path / "Rain200 (heavy and light)")
        assert [p.input.file.parts[1] for p in plan.splits["test"]] == [f"rain_data_test_{variety}"]


def test_nothing_is_called_nothing_that_has_a_name(tmp_path):
    build(tmp_path, ["in/Rain200H/light/test/input/1.png", "in/stuff/1.png"])
    with pytest.raises(DataError, match="no images of Rain200H here, but 1 of "):
        plan_of("Rain200H", tmp_path, tmp_path / "in")


def test_other_divisions_of_euvp_are_taken(tmp_path):
    content = encoded(16, 16)
    for side in ("input", "GT"):
        folder = tmp_path / "EUVP-Dark" / "test" / side
        folder.mkdir(parents=True)
        for n in range(555):
            (folder / f"{n}.jpg").write_bytes(content)
    plan = plan_of("EUVP", tmp_path, tmp_path / "EUVP-Dark")
    assert len(plan.splits["test"]) == 555
    assert "test: 555 pairs, the paper has 515" in plan.notes


def test_links_to_shared_folders_are_followed_and_circles_are_not(tmp_path):
    build(tmp_path, ["all/Rain200H/test/input/1.png", "all/Rain200H/test/target/1.png"])
    build(tmp_path, ["all/Rain200L/test/input/1.png"])
    (tmp_path / "all/Rain200L/test/target").symlink_to("../../Rain200H/test/target")
    (tmp_path / "all/Rain200L/again").symlink_to(tmp_path / "all")
    plan = plan_of("Rain200L", tmp_path, tmp_path / "all")
    assert [p.key for p in plan.splits["test"]] == ["0001"]
    (tmp_path / "Rain800").symlink_to(tmp_path / "all" / "Rain200H")
    with pytest.raises(DataError, match="this is Rain800"):
        plan_of("Rain12", tmp_path, tmp_path / "Rain800" / "test")


def test_a_damaged_header_inside_a_tar_does_not_end_it_silently(tmp_path):
    with tarfile.open(tmp_path / "real.tar", "w") as archive:
        for n in range(4):
            info = tarfile.TarInfo(f"{n}.png")
            info.size = len(encoded(30, 50))
            archive.addfile(info, io.BytesIO(encoded(30, 50)))
            if n == 1:
                offset = archive.offset
    whole = bytearray((tmp_path / "real.tar").read_bytes())
    whole[offset + 148] ^= 0xFF  # in the checksum of the third header
    (tmp_path / "real.tar").write_bytes(whole)
    with pytest.raises(
        DataError, match=rf"a damaged archive \(bad or missing data at byte {offset}\)"
    ):
        plan_of("RealRain", tmp_path, tmp_path / "real.tar")


def test_hard_links_inside_a_tar_are_images_too(tmp_path):
    with tarfile.open(tmp_path / "real.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.size = len(encoded(30, 50))
        archive.addfile(info, io.BytesIO(encoded(30, 50)))
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.LNKTYPE, "a.png"
        archive.addfile(link)
    with Sources([str(tmp_path / "real.tar")], tmp_path) as found:
        plan = recognise("RealRain", found.files())
        assert [p.key for p in plan.splits["test"]] == ["a", "b"]
        assert plan.splits["test"][1].input.file.read() == encoded(30, 50)


def test_an_archive_in_an_archive_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", b"PK\x03\x04" + b"\0" * 50)
    with pytest.raises(DataError, match=r"no images there; unpack first: .*outer\.zip!inner\.zip"):
        plan_of("RealRain", tmp_path, tmp_path / "outer.zip")


def test_odd_names_become_keys(tmp_path):
    build(tmp_path, ["real/photo (1).png", "real/?!.png", f"real/{'x' * 240}.png"], (30, 50))
    keys = [p.key for p in plan_of("RealRain", tmp_path, tmp_path / "real").splits["test"]]
    assert len(set(keys)) == 3
    assert "photo_1" in keys
    assert all(0 < len(key.encode()) < 500 and "." not in key for key in keys)


def test_ddn_is_known_by_its_fourteen_rains(tmp_path):
    build(tmp_path, [f"test/input/1_{n}.jpg" for n in range(1, 15)], suffix=".jpg")
    build(tmp_path, ["test/target/1.jpg"], suffix=".jpg")
    with pytest.raises(DataError, match="DDN"):
        plan_of("Rain1200", tmp_path, tmp_path / "test")


def test_an_allowed_neighbour_keeps_its_name(tmp_path):
    for side in ("inputcrop", "cleancrop"):
        build(tmp_path, [f"R100H/{side}/1.png"], (320, 480))
    for side in ("input", "target"):
        build(tmp_path, [f"Rain200H/train/{side}/1.png"])
    sources = [tmp_path / "Rain200H", tmp_path / "R100H"]
    with pytest.raises(DataError, match="this is Rain100H"):
        plan_of("Rain200H", tmp_path, *sources, split="train")
    plan = plan_of("Rain200H", tmp_path, *sources, split="train", allow=["Rain100H"])
    assert plan.dataset == "Rain200H+Rain100H"
    assert [pair.key for pair in plan.splits["train"]] == ["0001", "Rain100H_0001"]


def test_more_pairs_than_the_paper_has_are_refused(tmp_path):
    for side in ("input", "target"):
        build(tmp_path, [f"Rain12/test/{side}/{n}.png" for n in range(13)])
    with pytest.raises(DataError, match="13 pairs, but Rain12 has 12"):
        plan_of("Rain12", tmp_path, tmp_path / "Rain12")


def test_the_split_is_told_by_the_count_or_asked_for(tmp_path):
    for side in ("rain", "norain"):
        build(tmp_path, [f"Rain200H/{side}/norain-{n}.png" for n in range(1, 4)])
    with pytest.raises(DataError, match="add --split"):
        plan_of("Rain200H", tmp_path, tmp_path / "Rain200H")
    plan = plan_of("Rain200H", tmp_path, tmp_path / "Rain200H", split="test")
    assert [pair.key for pair in plan.splits["test"]] == ["0001", "0002", "0003"]
    for side in ("rain", "norain"):
        build(tmp_path, [f"Rain200H/{side}/norain-{n}.png" for n in range(1, 201)])
    assert list(plan_of("Rain200H", tmp_path, tmp_path / "Rain200H").splits) == ["test"]


BROKEN = {
    "a missing partner": (["input/1.png", "input/2.png", "target/1.png"], r"1 of 2 .*input/2\.png"),
    "no clean side": (["input/1.png"], r"test: no pairs; .* 1 rainy \(.*input/1.png"),
    "no folders": (["1.png"], "neither in a folder that tells its side"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_incomplete_data_is_named(case, tmp_path):
    names, message = BROKEN[case]
    build(tmp_path, [f"Rain200H/test/{name}" for name in names])
    with pytest.raises(DataError, match=message):
        plan_of("Rain200H", tmp_path, tmp_path / "Rain200H")


def test_bad_sources_are_named(tmp_path):
    with pytest.raises(DataError, match="gone: no such folder"):
        plan_of("Rain200H", tmp_path, tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "data.rar").write_bytes(b"Rar!\x1a\x07\x00")
    with pytest.raises(DataError, match=r"no images there; unpack first: .*data\.rar"):
        plan_of("Rain200H", tmp_path, tmp_path / "empty")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(DataError, match=r"a\.zip: a damaged archive"):
        plan_of("Rain200H", tmp_path, tmp_path / "a.zip")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "empty", "Rain200H")
    whole = (tmp_path / "b.tar.gz").read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b\.tar\.gz: a damaged archive"):
        plan_of("Rain200H", tmp_path, tmp_path / "b.tar.gz")
    with pytest.raises(
        DataError, match="no recipe for 'Rain200'; did you mean Rain200L or Rain200H"
    ):
        recognise("Rain200", [])


def test_a_trap_of_an_archive_is_not_expanded(tmp_path):
    with tarfile.open(tmp_path / "bomb.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("Rain200H/test/input/1.png")
        info.size = 2**26
        archive.addfile(info, io.BytesIO(bytes(2**26)))
    with pytest.raises(DataError, match="expands more than 50-fold"):
        plan_of("Rain200H", tmp_path, tmp_path / "bomb.tgz")
