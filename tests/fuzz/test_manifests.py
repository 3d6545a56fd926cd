"""Lists of images that nobody meant: ``meta_info.txt`` and the manifest of ``vlif prepare``."""

import json
import shutil

import cv2
import pytest
from helpers import photograph
from hostile import check_line, fuzzed, mutated, restructured
from hypothesis import given
from hypothesis import strategies as st

from vlif_plugin.cli import main
from vlif_plugin.data import LmdbSource, write_lmdb
from vlif_plugin.errors import DataError
from vlif_plugin.preparation import Manifest, verify

META = "a.png (20,24,3) 1\nb.png (9,9,3) 1\n"
ODD = st.one_of(
    st.sampled_from(
        [None, True, 0, -1, 1.5, 10**30, float("nan"), float("inf"), "", "x", "\n", "\x1b[2J", "\ud800", "../../x",
         "0" * 64, "0" * 128, "train", "whole", [], {}, [None], [0, 0], [[]], {"a": 1}, ["x", "x"], [10**9, 10**9]]
    ),
    st.text(max_size=6),
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A small dataset as `vlif prepare` leaves it."""
    folder = tmp_path_factory.mktemp("prepared")
    for side, lift in (("lq", 40), ("gt", 0)):
        images = ((name, photograph(20, 24, n) // 2 + lift) for n, name in enumerate("ab"))
        write_lmdb(images, folder / f"{side}.lmdb")
        (folder / side).mkdir()
        source = LmdbSource(folder / f"{side}.lmdb")
        for key in "ab":
            cv2.imwrite(str(folder / side / f"{key}.png"), source.read(key)[..., ::-1])
    words = ["prepare", "mine", "--pairs", str(folder / "lq"), str(folder / "gt")]
    assert main([*words, "--out", str(folder / "out")]) == 0
    return folder / "out" / "train"


@pytest.fixture(scope="module")  # LMDB wants more of the address space than a test has
def lmdb(tmp_path_factory):
    root = tmp_path_factory.mktemp("lists") / "a.lmdb"
    write_lmdb([("a", photograph(20, 24)), ("b", photograph(9, 9))], root)
    return root


LINES = st.lists(
    st.sampled_from(
        ["a.png (20,24,3) 1", "b.png (9,9,3) 1", "a.png (9,9,3) 1", "c.png (1,1,3) 1", "a.png (0,0,3) 1", "", "x",
         "\x1b.png (1,1,3) 1", f"a.png ({'9' * 5000},1,3) 1", "a.png (-1,1,3) 1", f"{'k' * 600}.png (1,1,3) 1",
         "a.png (999999999,9,3) 1"]
    ),
    max_size=4,
).map("\n".join).map(str.encode)  # fmt: skip


@fuzzed("manifests: meta_info.txt", 250, 10_000)
@given(
    content=st.one_of(
        LINES, mutated(st.just(META.encode())), st.text(max_size=30).map(lambda t: t.encode())
    )
)
def test_any_list_of_an_lmdb_is_true_or_refused(lmdb, content):
    (lmdb / "meta_info.txt").write_bytes(content)
    try:
        source = LmdbSource(lmdb)
        for key in source.keys():  # noqa: SIM118 (a source is no dict)
            assert source.read(key).shape[:2] == source.size(key)
    except DataError as error:
        check_line(error, lmdb)


def check_manifest(folder, capsys):
    for use in (Manifest.read, lambda f: verify(f, lambda items, total, what: items)):
        try:
            use(folder)
        except DataError as error:
            check_line(error)
    assert main(["prepare", "--check", str(folder)]) in (0, 1)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "\x1b" not in said.out + said.err


@fuzzed("manifests: bytes", 150, 5_000)
@given(data=st.data())
def test_any_manifest_is_true_or_refused(prepared, tmp_path, capsys, data):
    folder = tmp_path / "train"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prepared, folder)
    content = (prepared / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(data.draw(mutated(st.just(content))))
    check_manifest(folder, capsys)


@fuzzed("manifests: structures", 150, 5_000)
@given(data=st.data())
def test_a_changed_manifest_is_true_or_refused(prepared, tmp_path, capsys, data):
    folder = tmp_path / "train"
    if not folder.exists():
        shutil.copytree(prepared, folder)
    content = json.loads((prepared / "manifest.json").read_text())
    changed = data.draw(restructured(content, ODD))
    (folder / "manifest.json").write_text(json.dumps(changed), errors="surrogatepass")
    check_manifest(folder, capsys)
