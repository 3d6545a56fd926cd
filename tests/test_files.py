"""Files are written to the disk for good, and read without waiting or taking without bounds."""

import contextlib
import os
import stat
import tempfile

import pytest

from vlif_plugin import files
from vlif_plugin.files import read_at_most, staged_folder, written_whole


def test_the_folder_is_brought_to_the_disk_after_the_rename(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace

    def synced(handle):
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def replaced(*names):
        done.append("rename")
        replace(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with written_whole(tmp_path / "a") as file:
        file.write(b"new")
    assert done == ["file", "rename", "folder"]
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_folder_that_cannot_be_synced_does_no_harm(tmp_path, monkeypatch):
    opened = os.open

    def refuses(path, *arguments, **options):
        if os.path.isdir(path):
            raise PermissionError("as on Windows")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(files.os, "open", refuses)
    with written_whole(tmp_path / "a") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_file_is_read_up_to_a_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_at_most(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_at_most(tmp_path / "a", 4)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match="it is no file"):
            read_at_most(path, 5)
    with pytest.raises(OSError, match="no file can have this name"):
        read_at_most("a\0b", 5)
    with pytest.raises(FileNotFoundError):
        read_at_most(tmp_path / "gone", 5)
    with pytest.raises(IsADirectoryError):
        read_at_most(tmp_path, 5)


@pytest.mark.parametrize("kind", ["beside", "linked"])
def test_staged_files_come_into_a_folder_wherever_it_lies(tmp_path, kind):
    folder = tmp_path / "out"
    with contextlib.ExitStack() as stack:
        if kind == "linked":
            if (
                not os.path.isdir("/dev/shm")
                or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev
            ):
                pytest.skip("no other file system to link to")
            folder.symlink_to(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        for _ in range(2):  # the folder is there beforehand where it is a link, and the second time
            with staged_folder(folder, last="record") as stage:
                (stage / "inner").mkdir()
                (stage / "inner" / "a").write_text("1")
                (stage / "record").write_text("2")
            assert sorted(path.name for path in folder.iterdir()) == ["inner", "record"]
        with contextlib.suppress(ZeroDivisionError), staged_folder(folder) as stage:
            (stage / "record").write_text("3")
            raise ZeroDivisionError
        assert (folder / "record").read_text() == "2"
        assert sorted(path.name for path in folder.iterdir()) == ["inner", "record"]
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
