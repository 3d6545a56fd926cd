"""Sources of `vlif prepare` that are traps: nothing is written, followed, expanded or waited for."""

import bz2
import contextlib
import gzip
import io
import json
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib

import cv2
import numpy as np
import pytest
from helpers import photograph
from hostile import guarded, megabytes

from vlif_plugin import __version__
from vlif_plugin.cli import main
from vlif_plugin.errors import DataError
from vlif_plugin.preparation import Manifest, Sources, archives, own_photographs, recognise, verify

PNG = cv2.imencode(".png", np.full((4, 5, 3), 9, np.uint8))[1].tobytes()


def found(root, scratch):
    """All files of a source, with their bytes or what reading them says."""
    with Sources([str(root)], scratch) as sources:
        files = sources.files()
        contents = {}
        for file in files:
            try:
                contents[file.where.rpartition("!")[2]] = file.read()
            except DataError as error:
                contents[file.where.rpartition("!")[2]] = str(error)
        own_photographs("mine", files)
        return contents, sources.notes


def zipped(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def header(name="a.png", size=0, kind=b"0", link="", raw_size=None):
    """Of a member of a tar."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if raw_size is not None:
        block[124:136] = raw_size
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


def member(name, content=PNG, kind=b"0", link=""):
    return header(name, len(content), kind, link) + content + bytes(-len(content) % 512)


def tarred(path, *parts):
    path.write_bytes(b"".join(parts) + bytes(1024))
    return path


NAMES = [
    "../../up.png",
    "/abs.png",
    "C:\\win\\dos.png",
    "a/../../../b.png",
    "./c.png",
    "..\\..\\d.png",
]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_name_leads_out_of_the_source(kind, tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    if kind == "zip":
        path = zipped(inside / "a.zip", [(name, PNG) for name in NAMES])
    else:
        path = tarred(inside / "a.tar", *map(member, NAMES))
    out = tmp_path / "deep" / "er" / "out"
    assert main(["prepare", "mine", "--clean", str(path), "--out", str(out)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "in"]
    assert sorted(p.name for p in inside.iterdir()) == [path.name]
    files = [record.target.file for record in Manifest.read(out / "train").records]
    assert len(files) == len(NAMES)
    assert not any(".." in file.split("/") or file.startswith("/") for file in files)
    assert all(file.startswith("a/") for file in files)


TRAPS = {
    # bzip2 in a zip: zipfile asks for the 100 bytes that are declared, and gets 128 MB
    "bzip2 in a zip": "method 12 of packing",
    "zip of zeros": "expands more than 50-fold",
    "a directory that repeats itself": "expands more than 50-fold",
    "tar.gz of zeros": "expands more than 50-fold",
    "tar.gz of nothing but headers": "expands more than 50-fold",
    "a member before itself": "a damaged archive (byte",
    "a negative header": "a damaged archive (a header of -",
    "a header of digits": "a damaged archive (bad fields in a header)",
    "a field of digits": "a damaged archive (odd fields in a header)",
    "fields in fields": "a damaged archive (bad fields in a header)",
    "a repeated key": "a damaged archive (odd fields in a header)",
    "a large header": "a damaged archive (a header of",
    "a name of 10 MB": "a damaged archive (a header of",
    "headers of headers": "a damaged archive",
    "a sparse file": "is a sparse file); unpack it first",
    "an 8 EB file": "a damaged archive",
    "a deep name": "is too long or too deep",
    "a path of 64 kB": "is too long or too deep",
    "a long name": "is too long or too deep",
    "a number of 5000 digits": "is too long or too deep",
    "a name that is no text": "a damaged archive",
    "an encrypted file": "is encrypted; unpack it first",
}  # fmt: skip


def bzip2_bomb(path):
    content = bz2.compress(bytes(2**27))
    zipped(path, [("a.png", content)])
    whole = bytearray(path.read_bytes())
    for at, shift in ((whole.index(b"PK\x03\x04"), 0), (whole.index(b"PK\x01\x02"), 2)):
        whole[at + 8 + shift : at + 10 + shift] = struct.pack("<H", zipfile.ZIP_BZIP2)
        whole[at + 22 + shift : at + 26 + shift] = struct.pack("<I", 100)
    path.write_bytes(whole)


def repeated_directory(path):
    """One packed member, which a thousand names share."""
    zipped(path, [("a.png", bytes(2**20))], zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    at = whole.index(b"PK\x01\x02")
    entry, end = whole[at : at + 46 + 5], whole[-22:]
    entries = b"".join(entry[:46] + b"%05d" % n for n in range(1000))
    end = end[:8] + struct.pack("<HHII", 1000, 1000, len(entries), at) + b"\0\0"
    path.write_bytes(whole[:at] + entries + end)


def odd_flags(path, flag, name=b"a.png"):
    zipped(path, [("a.png", PNG)])
    whole = bytearray(path.read_bytes().replace(b"a.png", name))
    whole[6:8] = whole[whole.index(b"PK\x01\x02") + 8 :][:2] = struct.pack("<H", flag)
    at = whole.index(b"PK\x01\x02") + 8
    whole[at : at + 2] = struct.pack("<H", flag)
    path.write_bytes(whole)


def fields(*records, kind=b"x"):
    content = b"".join(records)
    return (
        header("fields", len(content), kind)
        + content
        + bytes(-len(content) % 512)
        + member("a.png")
    )


def field(key, value):
    length = len(key) + len(value) + 3
    length += len(str(length + len(str(length))))
    return b"%d %s=%s\n" % (length, key, value)


def set_trap(case, path):
    negative = (-512).to_bytes(12, "big", signed=True)
    first = member("0.png")
    tars = {
        "a member before itself": (first, header(raw_size=negative)),
        "a negative header": (first, header(kind=b"x", raw_size=negative)),
        "a header of digits": (first, fields(b"9" * 200_000)),
        "a field of digits": (first, fields(field(b"comment", b"9" * 200_000))),
        # each of these fields is read as one that reaches to the end: 1 MB becomes 100 GB
        "fields in fields": (first, fields(b"3 a" * 300_000 + b"=")),
        "a repeated key": (first, fields(field(b"comment", b"1 hdrcharset=" * 70_000))),
        "a large header": (first, header("fields", 2**30, b"x")),
        "a name of 10 MB": (first, member("name", b"a" * 10**7, b"L"), first),
        "headers of headers": (first, *[header("x", 0, b"x")] * 5000),
        "a sparse file": (first, fields(field(b"GNU.sparse.map", b"0,1"), field(b"GNU.sparse.size", b"400000000"))),
        "an 8 EB file": (first, header("a.png", raw_size=(2**95 + 2**62).to_bytes(12, "big"))),
    }  # fmt: skip
    if case in tars:
        tarred(path, *tars[case])
    elif case == "bzip2 in a zip":
        bzip2_bomb(path)
    elif case == "zip of zeros":
        zipped(path, [("a.bmp", bytes(2**27))], zipfile.ZIP_DEFLATED)
    elif case == "a directory that repeats itself":
        repeated_directory(path)
    elif case == "tar.gz of zeros":
        path.write_bytes(gzip.compress(member("a.png", bytes(2**27))))
    elif case == "tar.gz of nothing but headers":
        path.write_bytes(gzip.compress(header() * 100_000))
    elif case == "a deep name":
        zipped(path, [("a/" * 100 + "1.png", PNG)])
    elif case == "a path of 64 kB":
        zipped(path, [("a/" * 32_000 + "1.png", PNG)])
    elif case == "a long name":
        tarred(path, member("name", b"a/" * 20 + b"a" * 60_000, b"L"), first)
    elif case == "a number of 5000 digits":
        zipped(path, [("9" * 5000 + ".png", PNG)])
    elif case == "a name that is no text":
        odd_flags(path, 0x800, b"a\xff.pn")
    else:
        odd_flags(path, 1)


@pytest.mark.parametrize("case", TRAPS)
def test_traps_are_refused_in_one_line_and_take_nothing(case, tmp_path):
    path = tmp_path / "trap"
    set_trap(case, path)
    said = guarded(lambda: found(path, tmp_path), more=2**30, seconds=20)
    assert said.startswith(f"DataError: {path}: ")
    assert TRAPS[case] in said
    assert len(said.splitlines()) == 1
    assert megabytes(said) < 100
    assert [p.name for p in tmp_path.iterdir()] == ["trap"]


def test_fields_for_all_members_are_not_kept_for_each(tmp_path):
    """A header of 300 kB, of which tarfile gives a copy to each of 10,000 members: 100 GB, and 30 s."""
    shared = b"".join(field(b"k%d" % n, b"v") for n in range(25_000))
    first = header("fields", len(shared), b"g") + shared + bytes(-len(shared) % 512)
    path = tarred(tmp_path / "a.tar", first, *[member("a.txt", b"")] * 10_000, member("a.png"))
    said = guarded(lambda: len(found(path, tmp_path)[0]), more=2**30, seconds=12)
    assert said.startswith("1 ")
    assert megabytes(said) < 60


def test_what_is_not_wanted_of_a_tar_is_not_kept(tmp_path):
    path = tarred(tmp_path / "a.tar", *[member("a.txt", b"")] * 40_000, member("a.png"))
    said = guarded(lambda: len(found(path, tmp_path)[0]))
    assert said.startswith("1 ")
    assert megabytes(said) < 10


def test_a_member_that_is_larger_than_it_says_is_read_as_it_says(tmp_path):
    path = zipped(
        tmp_path / "a.zip",
        [("a.png", bytes(2**25)), ("b.png", os.urandom(2**20))],
        zipfile.ZIP_DEFLATED,
    )
    whole = bytearray(path.read_bytes())
    at = whole.index(b"PK\x01\x02")
    whole[at + 24 : at + 28] = struct.pack("<I", 10_000)
    path.write_bytes(whole)
    said = guarded(lambda: found(path, tmp_path)[0]["a.png"])
    assert "a.zip!a.png: cannot be read (Bad CRC-32" in said
    assert megabytes(said) < 50


@pytest.mark.parametrize("kind", ["zip", "tar", "tar of links"])
def test_archives_of_more_files_than_any_dataset_are_refused(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 5)
    for count in (5, 6):
        names = [f"{n}.png" for n in range(count)]
        if kind == "zip":
            path = zipped(tmp_path / "a.zip", [(name, PNG) for name in names])
        elif kind == "tar":
            path = tarred(tmp_path / "a.tar", *map(member, names))
        else:
            links = [header(name, kind=b"2", link="x") for name in names[1:]]
            path = tarred(tmp_path / "a.tar", member(names[0]), *links)
        if count == 5:
            assert len(found(path, tmp_path)[0]) == (1 if "links" in kind else 5)
        else:
            with pytest.raises(DataError, match="files"):
                found(path, tmp_path)


def test_links_and_devices_in_a_tar_are_left_out_and_named(tmp_path):
    (tmp_path / "secret.png").write_bytes(PNG)
    secret = str(tmp_path / "secret.png")
    links = {
        "out.png": (b"2", secret), "up.png": (b"2", "../secret.png"), "in.png": (b"2", "a.png"),
        "itself.png": (b"2", "itself.png"),
        "hard.png": (b"1", secret), "nothing.png": (b"1", "gone.png"), "folder.png": (b"1", "dir"),
        "itself_too.png": (b"1", "itself_too.png"), "later.png": (b"1", "z.png"), "of_link.png": (b"1", "out.png"),
    }  # fmt: skip
    devices = {"null.png": b"3", "block.png": b"4", "pipe.png": b"6"}
    path = tarred(
        tmp_path / "a.tar",
        member("a.png"),
        header("dir", kind=b"5"),
        *(header(name, kind=kind, link=link) for name, (kind, link) in links.items()),
        *(header(name, kind=kind) for name, kind in devices.items()),
        header("twin.png", kind=b"1", link="./a.png"),
        member("z.png"),
    )
    contents, notes = found(path, tmp_path)
    assert contents == dict.fromkeys(["a.png", "twin.png", "z.png"], PNG)
    (note,) = notes
    assert note.startswith(f"left out, links in archives are not followed: {path}!out.png, ")
    assert "and 5 more" in note


def test_links_in_a_zip_are_left_out_and_named(tmp_path):
    (tmp_path / "secret.png").write_bytes(PNG)
    link = zipfile.ZipInfo("link.png")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = zipped(tmp_path / "a.zip", [("a.png", PNG), (link, str(tmp_path / "secret.png"))])
    contents, notes = found(path, tmp_path)
    assert contents == {"a.png": PNG}
    assert notes == [f"left out, links in archives are not followed: {path}!link.png"]


@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_names_that_garble_terminals_are_shown_and_stored_without(kind, tmp_path, capsys):
    names = [
        b"\x1b[2J.png",
        b"a\nb.png",
        "é 雨\u3000.png".encode(),
        *([b"\xff.png"] if kind != "zip" else []),
    ]
    source = tmp_path / "in"
    if kind == "folder":
        for name in names:
            (source / "x").mkdir(parents=True, exist_ok=True)
            (source / "x" / os.fsdecode(name)).write_bytes(PNG)
    elif kind == "zip":
        source = zipped(tmp_path / "in.zip", [(name.decode(), PNG) for name in names])
    else:
        source = tarred(tmp_path / "in.tar", *(member(os.fsdecode(name)) for name in names))
    out = tmp_path / "out"
    assert main(["prepare", "mine", "--clean", str(source), "--out", str(out)]) == 0
    assert main(["prepare", "--check", str(out)]) == 0
    files = {
        record.target.file.rpartition("/")[2] for record in Manifest.read(out / "train").records
    }
    assert {"\\x1b[2J.png", "a\\nb.png", "é 雨\u3000.png"} <= files
    with Sources([str(source)], tmp_path) as sources:
        for file in sources.files():
            assert len(file.where.splitlines()) == 1
            assert "\x1b" not in file.where
            file.where.encode()
    assert "\x1b" not in capsys.readouterr().out


def test_pipes_and_devices_in_a_folder_are_passed_over(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.png").write_bytes(PNG)
    os.mkfifo(source / "pipe.png")
    (source / "zero.png").symlink_to("/dev/zero")
    (source / "gone.png").symlink_to("nowhere")
    (source / "itself.png").symlink_to("itself.png")
    said = guarded(lambda: sorted(found(source, tmp_path)[0]), seconds=5)
    assert said.startswith(f"['{source / 'a.png'}']")
    for root in (source / "pipe.png", "/dev/zero"):
        said = guarded(lambda root=root: found(root, tmp_path), seconds=5)
        assert said.startswith(f"DataError: {root}: no such folder or archive")


def test_folders_that_are_linked_with_each_other_are_not_walked_in_every_order(tmp_path):
    """Twelve folders with links to all others can be walked in 12! ways."""
    source = tmp_path / "in"
    for n in range(12):
        (source / f"{n}").mkdir(parents=True)
        (source / f"{n}" / "a.png").write_bytes(PNG)
    for n in range(12):
        for other in range(12):
            (source / f"{n}" / f"to{other}").symlink_to(source / f"{other}")
    said = guarded(lambda: found(source, tmp_path), seconds=20)
    assert said.startswith("DataError: ")
    assert "more than 16 ways of links lead here" in said


def test_folders_without_end_are_refused(tmp_path):
    folder = tmp_path / "in"
    for _ in range(70):
        folder = folder / "d"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(PNG)
    with pytest.raises(DataError, match="or 64 folders"):
        found(tmp_path / "in", tmp_path)


def absurd_png():
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return PNG[:16] + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + PNG[33:]


def test_absurd_images_are_named_and_not_decoded(tmp_path):
    source = tmp_path / "Rain12" / "test"
    for side in ("input", "target"):
        (source / side).mkdir(parents=True)
        (source / side / "1.png").write_bytes(absurd_png())
    words = [
        "prepare",
        "Rain12",
        "--source",
        str(source.parent),
        "--out",
        str(tmp_path / "out"),
        "--allow",
        "other",
    ]
    with Sources([str(source.parent)], tmp_path) as sources:
        recognise("Rain12", sources.files())  # sizes that nobody can read do not stop it

    def run():
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            assert main(words) == 1
        return stderr.getvalue()

    said = guarded(run, more=2**42)  # LMDB takes addresses, and no memory
    assert "1.png: declares 60000x60000 pixels" in said
    assert megabytes(said) < 100


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    for side, lift in (("lq", 30), ("gt", 0)):
        (folder / side).mkdir()
        for n in (1, 2):
            cv2.imwrite(str(folder / side / f"{n}.png"), photograph(20, 24, n) // 2 + lift)
    words = ["prepare", "mine", "--pairs", str(folder / "lq"), str(folder / "gt")]
    assert main([*words, "--out", str(folder / "out")]) == 0
    return folder / "out" / "train"


def changed(whole, **values):
    return whole | values


def records(whole, **values):
    return whole | {"records": [record | values for record in whole["records"]]}


def side(whole, **values):
    return records(whole, input=whole["records"][0]["input"] | values)


DAMAGED = {
    "no section": lambda w: [],
    "no records": lambda w: changed(w, records=[]),
    "records of one side and of the other": lambda w: changed(
        w, records=[w["records"][0] | {"input": None}, w["records"][1] | {"target": None}]
    ),
    "records of nothing": lambda w: records(w, input=None, target=None),
    "a key twice": lambda w: records(w, key="0001"),
    "a key that is a number": lambda w: records(w, key=1),
    "half a character": lambda w: records(w, key="\ud800"),
    "an escape": lambda w: changed(w, dataset="\x1b[2J"),
    "a dataset that is a list": lambda w: changed(w, dataset=["mine"]),
    "a split that is none": lambda w: changed(w, split="../../x"),
    "a look that is no picture": lambda w: records(w, look="zz"),
    "a short look": lambda w: records(w, look="00"),
    "a look of numbers": lambda w: records(w, look=5),
    "pixels that are a section": lambda w: side(w, pixels={}),
    "a side that is none": lambda w: side(w, side="middle"),
    "a size of text": lambda w: records(w, size=["20", "24"]),
    "a size of three": lambda w: records(w, size=[20, 24, 3]),
    "a size of nothing": lambda w: records(w, size=[0, 24]),
    "no number": lambda w: records(w, psnr_y=float("nan")),
    "no end": lambda w: records(w, psnr_y=float("inf")),
    "true": lambda w: records(w, psnr_y=True),
    "notes of numbers": lambda w: changed(w, notes=[1]),
    "notes that are text": lambda w: changed(w, notes="all"),
    "databases that are a list": lambda w: changed(w, databases=["input.lmdb"]),
    "hashes that are numbers": lambda w: changed(w, databases={"input.lmdb": 5}),
    "a format of text": lambda w: changed(w, format="2"),
}
TEXTS = {
    "depth": "[" * 100_000,
    "deep sections": '{"a":' * 100_000,
    "digits": '{"format": ' + "9" * 5000 + "}",
    "half a character, raw": b'{"format": "\xff"}',
    "nothing": "",
}


@pytest.mark.parametrize("case", [*DAMAGED, *TEXTS, "an entry twice"])
def test_damaged_manifests_are_refused_in_one_line(case, prepared, tmp_path, capsys):
    whole = json.loads((prepared / "manifest.json").read_text())
    folder = tmp_path / "train"
    folder.mkdir()
    if case in DAMAGED:
        content = json.dumps(DAMAGED[case](whole)).encode()
    elif case == "an entry twice":
        content = json.dumps(whole).replace('"split"', '"split": "test", "split"', 1).encode()
    else:
        content = TEXTS[case] if isinstance(TEXTS[case], bytes) else TEXTS[case].encode()
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(
        DataError, match=r"manifest\.json: a damaged manifest; prepare the dataset again"
    ):
        Manifest.read(folder)
    assert main(["prepare", "--check", str(folder)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_a_manifest_that_is_good_is_read_and_one_of_another_format_is_said_so(prepared, tmp_path):
    assert Manifest.read(prepared).records[0].size == (20, 24)
    whole = json.loads((prepared / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(whole | {"format": 2}))
    with pytest.raises(DataError, match="format 2 is not known; update the plugin"):
        Manifest.read(tmp_path)
    os.remove(tmp_path / "manifest.json")
    os.mkfifo(tmp_path / "manifest.json")
    assert "a damaged manifest" in guarded(lambda: verify(tmp_path, lambda i, t, w: i), seconds=5)


def test_a_journal_that_is_garbage_is_begun_anew(prepared, tmp_path):
    """Of an interrupted run; whoever can write there can write anything."""
    words = [
        "prepare",
        "mine",
        "--clean",
        str(prepared.parents[1] / "gt"),
        "--out",
        str(tmp_path / "out"),
    ]
    for garbage in (b"\xff\xfe\0", b"[" * 10**5, b'{"key": 5}\n', b'[1]\n{"look": 3}\n'):
        partial = tmp_path / "out" / ".train.partial"
        partial.mkdir(parents=True)
        head = json.dumps([1, __version__, "mine", "train", ["target"], []])
        (partial / "journal.jsonl").write_bytes(head.encode() + b"\n" + garbage)
        assert main(words) == 0
        assert len(verify(tmp_path / "out", lambda i, t, w: i)[0].records) == 2
        shutil.rmtree(tmp_path / "out")


def test_what_io_needs_of_a_piece_is_there(tmp_path):
    """Reading in parts, as zipfile's members can be read."""
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with open(path, "rb") as file:
        piece = archives._Piece(file, 2, 5)
        assert [piece.read(2), piece.read(2), piece.read(2), piece.read(2)] == [
            b"23",
            b"45",
            b"6",
            b"",
        ]
        assert archives._Piece(file, 2, 5).read() == b"23456"
        assert io.BufferedReader(archives._Piece(file, 0, 10)).readable()
        with pytest.raises(EOFError, match="cut short"):
            archives._Piece(file, 8, 5).read(5)
