"""A process that keeps what it freed asks the system for no fresh memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlif_plugin import cli
from vlif_plugin.errors import OptionError

PROGRAM = """
import resource, sys, torch
from vlif_plugin.speed import keep_freed_memory

def faults(repeats=8):
    # what is left beside an aligned block goes to the thread's cache, and without it the block is too small
    # for the next of its size; the cache holds seven
    for _ in range(16):
        torch.zeros(16 * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(repeats):
        torch.zeros(16 * 2**20)  # 64 MiB
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / repeats

print(faults(), keep_freed_memory(), faults())
"""


def printed(program, *arguments, **environment):
    inherited = {k: v for k, v in os.environ.items() if "MALLOC" not in k and k != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=inherited | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def measured(**environment):
    before, kept, after = printed(PROGRAM, **environment)
    return float(before), kept == "True", float(after)


def test_freed_memory_is_used_again():
    before, kept, after = measured()
    if not kept:
        pytest.skip("another C library")
    assert before > 20  # huge pages are faults of 2 MiB
    assert after < 2


@pytest.mark.parametrize(
    "setting",
    [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=65536"}],
)
def test_what_the_environment_says_stays(setting):
    before, kept, after = measured(**setting)
    assert not kept
    assert before > 20
    assert after > 20


HUGE = """
import re, sys, torch
from vlif_plugin.speed import keep_freed_memory

limit = int(sys.argv[1])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
kept = keep_freed_memory()
ones = torch.ones(32 * 2**20)  # 128 MiB
for start, end, flags in re.findall(
    r"^([0-9a-f]+)-([0-9a-f]+) .*?^VmFlags: (.*?)$", open("/proc/self/smaps").read(), re.M | re.S
):
    if int(start, 16) <= ones[2**24:].data_ptr() < int(end, 16):
        print(kept, "hg" in flags.split(), float(ones.sum()) == ones.numel())
"""
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(),
    reason="huge pages are for all, or for none",
)
@pytest.mark.parametrize("limit", [0, 6 * 2**30])
def test_what_is_kept_lies_in_huge_pages_where_address_space_allows(limit):
    kept, huge, right = printed(HUGE, str(limit))
    assert right == "True"
    if kept == "False":
        pytest.skip("another C library")
    assert huge == str(not limit)


def basicsr(tmp_path):
    from helpers import small_options, write_options

    from vlif_plugin.basicsr_host import run

    return run.train(["-opt", write_options(tmp_path, small_options(tmp_path))])


def derain(tmp_path):
    return cli.main(["derain", str(tmp_path), "-o", str(tmp_path / "out"), "-w", "none.pth"])


def mmengine(tmp_path):
    from mmengine_run import small_config, write_config

    from vlif_plugin.mmengine_host import run

    return run.train([write_config(tmp_path, small_config(tmp_path))])


@pytest.mark.parametrize(
    ("command", "module"),
    [
        (derain, "vlif_plugin.cli.derain"),
        (basicsr, "vlif_plugin.speed"),
        (mmengine, "vlif_plugin.mmengine_host.run"),
    ],
)
def test_commands_keep_it(command, module, tmp_path, monkeypatch, capsys):
    def called():
        raise OptionError("it was called")

    monkeypatch.setattr(f"{module}.keep_freed_memory", called)
    (tmp_path / "a.png").touch()
    assert command(tmp_path) == 1
    assert "it was called" in capsys.readouterr().err
