"""What `vlif prepare` writes, refuses, resumes and checks."""

import json
import re
import resource
import shutil
import subprocess
import sys
import zipfile

import cv2
import lmdb
import numpy as np
import pytest
from helpers import photograph

from vlif_plugin.cli import main
from vlif_plugin.data import LmdbSource, LmdbWriter, PairedImages, fingerprint, pixel_hash
from vlif_plugin.errors import DataError
from vlif_plugin.files import file_hash
from vlif_plugin.metrics import PROTOCOLS
from vlif_plugin.preparation import (
    Manifest,
    Sources,
    own_pairs,
    own_photographs,
    recognise,
    verify,
    write_plan,
    writing,
)

BSDS = (321, 481)


def scene(seed, size=BSDS):
    """A photograph of its own, and the same with streaks."""
    clean = np.random.default_rng(seed).integers(20, 140, (5, 7, 3)).astype(np.uint8)
    clean = cv2.resize(clean, size[::-1], interpolation=cv2.INTER_CUBIC)
    rainy = clean.copy()
    rainy[:, seed % 5 :: 9] += 80
    return rainy, clean


def save(path, rgb):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), rgb[..., ::-1])


def rain200(root, train=(1, 2, 3), test=(1, 2), first=0):
    """A part of Rain200H, whose test scenes are not among the training's."""
    for split, numbers, seed in (("train", train, first), ("test", test, first + 1000)):
        for number in numbers:
            rainy, clean = scene(seed + number)
            save(root / "Rain200H" / split / "rain" / "X2" / f"norain-{number}x2.png", rainy)
            save(root / "Rain200H" / split / "norain" / f"norain-{number}.png", clean)
    return root / "Rain200H"


def quiet(items, total, what):
    return items


def prepare(source, out, progress=quiet, **options):
    with Sources([str(source)], out.parent) as sources:
        plan = recognise("Rain200H", sources.files(), **options)
        return plan, write_plan(plan, out, progress)


def everything(root):
    """All records of all LMDBs below a folder, and the manifests."""
    found = {}
    for path in sorted(root.rglob("*.lmdb")):
        source = LmdbSource(path)
        keys = source.keys()
        found |= {(str(path.relative_to(root)), key): pixel_hash(source.read(key)) for key in keys}
    for path in sorted(root.rglob("manifest.json")):
        found[str(path.relative_to(root))] = path.read_text()
    return found


def test_lmdbs_hold_the_pixels_and_the_manifest_says_whence(tmp_path):
    source = rain200(tmp_path / "in")
    _, manifests = prepare(source, tmp_path / "out")
    assert [m.split for m in manifests] == ["test", "train"]
    train = tmp_path / "out" / "train"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["test", "train"]
    assert sorted(p.name for p in train.iterdir()) == ["input.lmdb", "manifest.json", "target.lmdb"]
    assert LmdbSource(train / "input.lmdb").keys() == ["0001", "0002", "0003"]
    for number in (1, 2, 3):
        for side, image in zip(("input", "target"), scene(number), strict=True):
            stored = LmdbSource(train / f"{side}.lmdb").read(f"{number:04d}")
            np.testing.assert_array_equal(stored, image)
    written = json.loads((train / "manifest.json").read_text())
    record = written["records"][1]
    file = source / "train/rain/X2/norain-2x2.png"
    assert record["input"]["file"] == "Rain200H/train/rain/X2/norain-2x2.png"
    assert record["input"]["bytes"] == file.stat().st_size
    rainy, clean = scene(2)
    assert record["psnr_y"] == pytest.approx(PROTOCOLS["y_restormer"].psnr(rainy, clean), abs=1e-4)
    assert written["expected"] == 1800
    assert "train: 3 pairs, the paper has 1800" in written["notes"]
    # BasicSR's own datasets read it
    assert len(PairedImages(train / "input.lmdb", train / "target.lmdb")) == 3


def test_the_fingerprint_is_that_of_the_images_however_they_are_stored(tmp_path):
    _, manifests = prepare(rain200(tmp_path / "in"), tmp_path / "out")
    expected = fingerprint((pixel_hash(r), pixel_hash(c)) for r, c in map(scene, (3, 1, 2)))
    assert manifests[1].fingerprint == expected
    other = fingerprint((pixel_hash(r), pixel_hash(c)) for r, c in map(scene, (3, 1, 4)))
    assert other != expected
    rainy, clean = scene(1)
    rainy[0, 0, 0] ^= 1
    changed = [(rainy, clean), scene(2), scene(3)]
    assert fingerprint((pixel_hash(r), pixel_hash(c)) for r, c in changed) != expected


def test_halves_become_images(tmp_path):
    for number in (1, 2):
        rainy, clean = scene(number)
        save(tmp_path / "Rain200H" / "train_c" / f"norain-{number}.png", np.hstack([clean, rainy]))
    _, (manifest,) = prepare(tmp_path / "Rain200H", tmp_path / "out")
    assert [(r.input.side, r.target.side) for r in manifest.records] == [("right", "left")] * 2
    for side, image in zip(("input", "target"), scene(2), strict=True):
        stored = LmdbSource(tmp_path / "out" / "train" / f"{side}.lmdb").read("0002")
        np.testing.assert_array_equal(stored, image)


BAD = {
    "an empty file": (lambda p: p.write_bytes(b""), r"norain-2x2\.png: not a readable image \(0 bytes\)"),
    "text": (lambda p: p.write_text("<html>"), r"norain-2x2\.png: not a readable image \(neither PNG"),
    "a truncated PNG": (lambda p: p.write_bytes(p.read_bytes()[:-2000]), r"norain-2x2\.png: not a readable image"),
    "another size": (lambda p: save(p, scene(2, (321, 400))[0]), r"norain-2x2\.png: .*another size \(400x321"),
    "a copy of the clean": (lambda p: save(p, scene(2)[1]), r"norain-2x2\.png: is equal to its partner"),
    "another scene": (lambda p: save(p, scene(77)[0]), r"norain-2x2\.png: darker than its clean partner"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_pairs_are_named_and_nothing_takes_the_final_name(case, tmp_path):
    spoil, message = BAD[case]
    source = rain200(tmp_path / "in")
    spoil(source / "train/rain/X2/norain-2x2.png")
    with pytest.raises(DataError, match=f"1 of 3 pairs cannot be used: .*{message}.*--skip-bad"):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out" / "train").exists()
    plan, manifests = prepare(source, tmp_path / "out", skip_bad=True)
    assert [r.key for r in manifests[1].records] == ["0001", "0003"]
    assert any("train: 1 left out: " in note for note in plan.notes)
    (skipped,) = manifests[1].skipped
    assert re.search(message, skipped)
    assert LmdbSource(tmp_path / "out/train/input.lmdb").keys() == ["0001", "0003"]
    plan, _ = prepare(source, tmp_path / "out", skip_bad=True)
    assert any("is there already, 1 bad ones left out" in note for note in plan.notes)
    verify(tmp_path / "out", quiet)


def test_test_scenes_must_not_be_in_the_training_split(tmp_path):
    source = rain200(tmp_path / "in")
    rainy, clean = scene(1001)  # test picture 1, with other rain, as a training picture
    rainy[5::11] += 30
    save(source / "train/rain/X2/norain-2x2.png", rainy)
    save(source / "train/norain/norain-2.png", clean)
    with pytest.raises(DataError, match=r"train/norain/norain-2\.png: shows the scene of 0001"):
        prepare(source, tmp_path / "out")
    _, manifests = prepare(source, tmp_path / "out", skip_bad=True)
    assert [r.key for r in manifests[1].records] == ["0001", "0003"]


def test_a_scene_is_known_again_after_cropping_and_recompression(tmp_path):
    _, clean = scene(7)
    for folder, image, suffix in (("test", clean, "png"), ("train", clean[:320, :480], "jpg")):
        save(tmp_path / folder / f"7.{suffix}", image)
        with Sources([str(tmp_path / folder)], tmp_path) as sources:
            plan = own_photographs("mine", sources.files(), split=folder)
            write_plan(plan, tmp_path / "mine", quiet)
    assert "train: 1 scenes are in another split too: 0007" in plan.notes


def test_an_interrupted_run_is_gone_on_from(tmp_path, monkeypatch):
    source = rain200(tmp_path / "in", train=range(1, 9), test=(1,))
    prepare(source, tmp_path / "whole")
    monkeypatch.setattr(writing, "_BATCH_BYTES", 1)  # commit each pair

    def interrupted(items, total, what):
        for index, item in enumerate(items):
            if "train" in what and index == 7:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "cut", interrupted)
    assert not (tmp_path / "cut" / "train").exists()
    journal = tmp_path / "cut" / ".train.partial" / "journal.jsonl"
    done = len(journal.read_text().splitlines()) - 1
    assert 0 < done < 8
    with open(journal, "a") as file:
        file.write('{"key": "0007", "si')  # a kill cut the last line short
    made = []
    whole = writing.make_ready
    monkeypatch.setattr(
        writing, "make_ready", lambda pair, *a, **k: made.append(pair.key) or whole(pair, *a, **k)
    )
    prepare(source, tmp_path / "cut")
    assert len(made) == 8 - done
    assert everything(tmp_path / "cut").keys() == everything(tmp_path / "whole").keys()
    differing = {
        k for k, v in everything(tmp_path / "cut").items() if everything(tmp_path / "whole")[k] != v
    }
    # notes of the second run say that the test split was there
    assert differing <= {"train/manifest.json"}
    both = [Manifest.read(tmp_path / name / "train").records for name in ("cut", "whole")]
    assert both[0] == both[1]
    assert not journal.parent.exists()


def test_a_file_changed_between_two_runs_is_read_again(tmp_path, monkeypatch):
    source = rain200(tmp_path / "in", test=())
    monkeypatch.setattr(writing, "_BATCH_BYTES", 1)
    bad = source / "train/norain/norain-3.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:-500])
    with pytest.raises(DataError):
        prepare(source, tmp_path / "out")
    bad.write_bytes(good)
    rainy, clean = scene(501)
    save(source / "train/rain/X2/norain-1x2.png", rainy)
    save(source / "train/norain/norain-1.png", clean)
    prepare(source, tmp_path / "out")
    stored = LmdbSource(tmp_path / "out/train/target.lmdb").read("0001")
    np.testing.assert_array_equal(stored, clean)
    verify(tmp_path / "out", quiet)


def test_what_is_there_stays_or_is_in_the_way(tmp_path):
    source = rain200(tmp_path / "in", test=())
    prepare(source, tmp_path / "out")
    before = everything(tmp_path / "out")
    plan, _ = prepare(source, tmp_path / "out")
    assert any("is there already" in note for note in plan.notes)
    assert everything(tmp_path / "out") == before
    other = rain200(tmp_path / "other", train=(1, 2), test=(), first=50)
    with pytest.raises(DataError, match=r"out/train: holds 3 pairs of other files"):
        prepare(other, tmp_path / "out")
    assert everything(tmp_path / "out") == before


def test_a_full_disk_is_said_so_and_the_rest_is_kept(tmp_path, monkeypatch):
    source = rain200(tmp_path / "in", test=())
    monkeypatch.setattr(writing, "_BATCH_BYTES", 1)
    put = LmdbWriter.put
    calls = []

    def full(self, records, **options):
        calls.append(records)
        if len(calls) == 3:
            raise lmdb.Error("mdb_put: No space left on device")
        put(self, records, **options)

    monkeypatch.setattr(LmdbWriter, "put", full)
    with pytest.raises(
        DataError, match=r"the disk is full \(\d+ MB free\); run the same command again"
    ):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out" / "train").exists()
    prepare(source, tmp_path / "out")
    assert len(verify(tmp_path / "out", quiet)[0].records) == 3


def test_a_write_that_the_system_refuses_ends_with_one_line(tmp_path):
    """Files may not grow beyond 200 kB: the LMDB does not fit."""
    source = rain200(tmp_path / "in", test=())
    done = subprocess.run(
        [sys.executable, "-m", "vlif_plugin.cli", "prepare", "Rain200H", "--source", source,
         "--out", tmp_path / "out"],
        capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )  # fmt: skip
    assert done.returncode == 1
    error = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(error) == 1
    assert "out/train: cannot be written" in error[0]
    assert not (tmp_path / "out" / "train").exists()


def test_check_finds_what_changed(tmp_path, capsys):
    source = rain200(tmp_path / "in")
    out = str(tmp_path / "out")
    assert main(["prepare", "Rain200H", "--source", str(source), "--out", out]) == 0
    shown = capsys.readouterr().out
    assert "Rain200H train: 3 pairs; 3 of 481x321; 3 distinct clean images; input " in shown
    assert Manifest.read(tmp_path / "out/train").fingerprint in shown
    assert main(["prepare", "--check", out]) == 0
    assert capsys.readouterr().out.count("good: ") == 2

    def broken(change, message):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tmp_path / "out", copy)
        change(copy / "train")
        assert main(["prepare", "--check", str(copy)]) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error:")
        assert message in error

    def pixel(folder):
        image = LmdbSource(folder / "input.lmdb").read("0002")
        image[9, 9, 1] ^= 1
        from vlif_plugin.data import encode_record

        with LmdbWriter(folder / "input.lmdb") as writer:
            writer.put({"0002": encode_record(image)}, overwrite=True)

    def cut(folder):
        path = folder / "input.lmdb" / "data.mdb"
        path.write_bytes(path.read_bytes()[:60_000])

    def pixel_and_hash(folder):
        pixel(folder)
        path = folder / "manifest.json"
        fields = json.loads(path.read_text())
        fields["databases"]["input.lmdb"] = file_hash(folder / "input.lmdb" / "data.mdb")
        path.write_text(json.dumps(fields))

    broken(pixel, "data.mdb is not what was written")
    broken(pixel_and_hash, "1 images are not what was prepared")
    broken(cut, "data.mdb is not what was written")
    broken(lambda f: shutil.rmtree(f / "target.lmdb"), "target.lmdb: no LMDB there")
    broken(
        lambda f: (f / "input.lmdb/meta_info.txt").write_text("0001.png (321,481,3) 1\n"),
        "keys are not the",
    )
    broken(lambda f: (f / "manifest.json").write_text("{"), "a damaged manifest")
    broken(
        lambda f: (f / "manifest.json").write_text(
            (f / "manifest.json").read_text().replace('"key":"0001"', '"key":"0009"')
        ),
        "keys are not the manifest's",
    )
    assert main(["prepare", "Rain200L", "--check", out]) == 1
    assert "holds Rain200H, not Rain200L" in capsys.readouterr().err
    assert main(["prepare", "--check", str(tmp_path / "in")]) == 1
    assert "nothing that vlif prepare made" in capsys.readouterr().err


def test_own_pairs_go_by_name_or_by_number(tmp_path):
    for name, rename in (("same", str), ("numbered", lambda n: f"clean_{n}")):
        for n in (1, 2, 10):
            rainy, clean = scene(n, (20, 30))
            save(tmp_path / name / "lq" / f"{n}.png", rainy)
            save(tmp_path / name / "gt" / f"{rename(n)}.png", clean)
        folders = [str(tmp_path / name / side) for side in ("lq", "gt")]
        out = str(tmp_path / "out" / name)
        assert main(["prepare", name, "--pairs", *folders, "--out", out]) == 0
        target = LmdbSource(f"{out}/train/target.lmdb")
        assert target.keys() == ["0001", "0002", "0010"]
        np.testing.assert_array_equal(target.read("0010"), scene(10, (20, 30))[1])
    (tmp_path / "numbered/gt/clean_10.png").unlink()
    with Sources([*folders], tmp_path) as sources:
        files = [sources.files_of(root) for root in sources.roots]
        with pytest.raises(
            DataError, match=r"1 of 3 and 2 images have no partner .* number: .*lq/10\.png"
        ):
            own_pairs("mine", *files)


def test_pairs_from_two_archives_with_a_folder_each(tmp_path):
    for side, index in (("rainy", 0), ("clean", 1)):
        with zipfile.ZipFile(tmp_path / f"{side}.zip", "w") as archive:
            for n in (1, 2):
                content = cv2.imencode(".png", scene(n, (40, 50))[index])[1].tobytes()
                archive.writestr(f"{side}_images/{n}.png", content)
    words = ["prepare", "mine", "--pairs", str(tmp_path / "rainy.zip"), str(tmp_path / "clean.zip")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert LmdbSource(tmp_path / "out/train/input.lmdb").keys() == ["0001", "0002"]


def test_pairs_of_two_scenes_are_named(tmp_path):
    for n, partner in ((1, 2), (2, 1), (3, 3)):
        save(tmp_path / "lq" / f"{n}.png", scene(n, (64, 64))[0])
        save(tmp_path / "gt" / f"{n}.png", scene(partner, (64, 64))[1])
    words = ["prepare", "mine", "--pairs", str(tmp_path / "lq"), str(tmp_path / "gt")]
    with Sources(words[3:], tmp_path) as sources:
        plan = own_pairs("mine", *map(sources.files_of, sources.roots))
        with pytest.raises(
            DataError, match=r"2 of 3 pairs .*1\.png: shows another scene than its partner"
        ):
            write_plan(plan, tmp_path / "out", quiet)
    assert main([*words, "--out", str(tmp_path / "any"), "--allow", "other"]) == 0


def test_images_without_a_partner_can_be_left_out(tmp_path):
    source = rain200(tmp_path / "in", test=())
    (source / "train/norain/norain-2.png").unlink()
    with pytest.raises(DataError, match="1 of 3 rainy"):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    _, (manifest,) = prepare(source, tmp_path / "out", skip_bad=True)
    assert [r.key for r in manifest.records] == ["0001", "0003"]
    assert manifest.skipped[0].endswith("norain-2x2.png: has no partner")


@pytest.mark.parametrize("clean_name", ["{}.png", "clean_{}.png"], ids=["name", "number"])
def test_own_images_without_a_partner_can_be_left_out(clean_name, tmp_path, capsys):
    for n in (1, 2, 3, 10):
        rainy, clean = scene(n, (20, 30))
        if n != 10:
            save(tmp_path / "lq" / f"{n}.png", rainy)
        if n != 2:
            save(tmp_path / "gt" / clean_name.format(n), clean)
    words = ["prepare", "mine", "--pairs", str(tmp_path / "lq"), str(tmp_path / "gt")]
    words += ["--split", "test", "--out", str(tmp_path / "out")]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "2 of 3 and 3 images have no partner" in said
    assert "--skip-bad leaves them out" in said
    for _ in range(2):  # and is there the second time
        assert main([*words, "--skip-bad"]) == 0
    manifest = Manifest.read(tmp_path / "out" / "test")
    assert [record.key for record in manifest.records] == ["0001", "0003"]
    alone = ["lq/2.png: has no partner", f"gt/{clean_name.format(10)}: has no partner"]
    assert [line.removeprefix(f"{tmp_path}/") for line in manifest.skipped] == alone
    assert "2 left out" in capsys.readouterr().out
    for n in (1, 3):
        (tmp_path / "lq" / f"{n}.png").rename(tmp_path / "lq" / f"{n + 50}.png")
    assert main([*words, "--skip-bad"]) == 1
    assert "6 of 3 and 3 images have no partner" in capsys.readouterr().err


def test_two_runs_into_one_folder_are_refused(tmp_path):
    source = rain200(tmp_path / "in", test=())

    def meanwhile(items, total, what):
        with pytest.raises(DataError, match="another vlif prepare is at work there"):
            prepare(source, tmp_path / "out")
        yield from items

    prepare(source, tmp_path / "out", meanwhile)
    assert len(verify(tmp_path / "out", quiet)[0].records) == 3


def test_records_of_files_that_are_gone_do_not_stay(tmp_path, monkeypatch):
    source = rain200(tmp_path / "in", train=range(1, 6), test=())
    monkeypatch.setattr(writing, "_BATCH_BYTES", 1)
    bad = source / "train/norain/norain-5.png"
    bad.write_bytes(b"")
    with pytest.raises(DataError):
        prepare(source, tmp_path / "out")
    for name in ("rain/X2/norain-1x2", "norain/norain-1", "rain/X2/norain-5x2", "norain/norain-5"):
        (source / "train" / f"{name}.png").unlink()
    prepare(source, tmp_path / "out")
    with lmdb.open(str(tmp_path / "out/train/input.lmdb"), readonly=True, lock=False) as env:
        assert env.stat()["entries"] == 3


def test_photographs_have_no_psnr_to_be_unusual(tmp_path, capsys):
    save(tmp_path / "real" / "1.png", photograph(30, 40))
    save(tmp_path / "real" / "dark.png", np.zeros((30, 40, 3), np.uint8))
    out = str(tmp_path / "out")
    assert main(["prepare", "RealRain", "--source", str(tmp_path / "real"), "--out", out]) == 0
    assert "nan" not in capsys.readouterr().out


def test_light_rain_taken_for_heavy_is_noticed(tmp_path):
    for n in (1, 2):
        rainy, clean = scene(n)
        save(tmp_path / "d" / "test" / "input" / f"{n}.png", np.maximum(clean, rainy // 2))
        save(tmp_path / "d" / "test" / "target" / f"{n}.png", clean)
    plan, (manifest,) = prepare(tmp_path / "d", tmp_path / "out")
    assert manifest.psnr_y > 21
    assert any("is it light rain taken for heavy" in note for note in plan.notes)


def test_clean_photographs_are_for_synthetic_rain(tmp_path, capsys):
    save(tmp_path / "in" / "a" / "one.png", photograph(30, 40))
    save(tmp_path / "in" / "b" / "one.png", photograph(40, 30))
    out = str(tmp_path / "out")
    assert main(["prepare", "mine", "--clean", str(tmp_path / "in"), "--out", out]) == 0
    assert LmdbSource(f"{out}/train/target.lmdb").keys() == ["a_one", "b_one"]
    assert not (tmp_path / "out/train/input.lmdb").exists()
    assert "mine train: 2 images" in capsys.readouterr().out
    assert main(["prepare", "--check", out]) == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["Rain200H", "--source", "gone"], 1, "gone: no such folder or archive"),
        (["Rain200", "--source", "."], 1, "did you mean"),
        (["Rain12", "--clean", "in"], 1, "is the name of a published dataset"),
        (["../x", "--clean", "in"], 1, "cannot be a dataset's name"),
        (["--source", "in"], 1, "a name is missing"),
        (["--check"], 1, "--check needs a folder"),
        (["Rain200H", "--source", "in", "--allow", "Rain500"], 2, "invalid choice: 'Rain500'"),
        (["Rain200H"], 2, "one of the arguments --source --pairs --clean --check is required"),
    ],
)
def test_wrong_commands_end_with_one_line(
    arguments, status, message, tmp_path, capsys, monkeypatch
):
    save(tmp_path / "in" / "1.png", photograph(30, 40))
    monkeypatch.chdir(tmp_path)
    if status == 2:
        with pytest.raises(SystemExit) as caught:
            main(["prepare", *arguments])
        assert caught.value.code == 2
    else:
        assert main(["prepare", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
