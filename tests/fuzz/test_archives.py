"""Archives that nobody meant: what can be read of them is read, all else is DataError."""

import gzip
import io
import lzma
import tarfile
import zipfile

import cv2
import numpy as np
from hostile import check_line, fuzzed, mutated
from hypothesis import given
from hypothesis import strategies as st

from vlif_plugin.errors import DataError
from vlif_plugin.preparation import Sources, own_photographs, recognise

PNG = cv2.imencode(".png", np.full((4, 5, 3), 9, np.uint8))[1].tobytes()
NAMES = (
    "test/input/1.png",
    "test/input/2.png",
    "test/target/1.png",
    "x/../../2.png",
    "/abs.png",
    "notes.txt",
)


def zipped(method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in NAMES:
            archive.writestr(name, PNG)
    return file.getvalue()


def tarred(form):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name in (*NAMES, "long/" * 30 + "é.png"):
            info = tarfile.TarInfo(name)
            info.size = len(PNG)
            info.mtime = 1.5 if form == tarfile.PAX_FORMAT else 0
            archive.addfile(info, io.BytesIO(PNG))
        for kind, link in (
            (tarfile.LNKTYPE, NAMES[0]),
            (tarfile.SYMTYPE, "/etc/passwd"),
            (tarfile.FIFOTYPE, ""),
        ):
            info = tarfile.TarInfo(f"link{ord(kind)}.png")
            info.type, info.linkname = kind, link
            archive.addfile(info)
    return file.getvalue()


ZIPS = [zipped(method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)]
TARS = [tarred(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]


def summed(content):
    """A tar whose headers have the checksums that they should, so that they are believed."""
    content = bytearray(content)
    for at in range(0, len(content) - 511, 512):
        if content[at + 257 : at + 262] == b"ustar":
            content[at + 148 : at + 156] = b" " * 8
            content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    return bytes(content)


def try_all(folder, content):
    path = folder / "fuzzed.zip"
    path.write_bytes(content)
    before = sorted(p.name for p in folder.iterdir())
    try:
        with Sources([str(path)], folder) as sources:
            files = sources.files()
            for file in files:
                assert ".." not in file.parts
                assert len(file.where.splitlines()) == 1
                try:
                    assert len(file.read()) == file.size
                except DataError as error:
                    check_line(error)
            own_photographs("mine", files)
            recognise("Rain12", files)
    except DataError as error:
        check_line(error)
    assert sorted(p.name for p in folder.iterdir()) == before


@fuzzed("archives: zip", 300, 15_000)
@given(mutated(st.sampled_from(ZIPS)))
def test_any_zip_is_read_or_refused(tmp_path_factory, content):
    try_all(tmp_path_factory.mktemp("zip", numbered=True), content)


@fuzzed("archives: tar", 300, 15_000)
@given(mutated(st.sampled_from(TARS)), st.booleans())
def test_any_tar_is_read_or_refused(tmp_path_factory, content, sums):
    try_all(tmp_path_factory.mktemp("tar", numbered=True), summed(content) if sums else content)


@fuzzed("archives: compressed tar", 150, 8_000)
@given(data=st.data())
def test_any_compressed_tar_is_read_or_refused(tmp_path_factory, data):
    pack = data.draw(st.sampled_from((gzip.compress, lzma.compress)))
    tar = data.draw(st.sampled_from(TARS))
    if data.draw(st.booleans()):
        content = pack(summed(data.draw(mutated(st.just(tar)))))
    else:
        content = data.draw(mutated(st.just(pack(tar))))
    try_all(tmp_path_factory.mktemp("tgz", numbered=True), content)
