"""What tests of hostile files share: a guard against traps that work, and fuzzing in two sizes."""

from __future__ import annotations

import copy
import functools
import os
import resource
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

# its tables of characters, which it would keep in the repository
set_hypothesis_home_dir(Path(tempfile.gettempdir(), "vlif_hypothesis"))

# `make fuzz` sets it: how many times the cases of the large size, 0 for the few of the usual suite
LARGE = float(os.environ.get("VLIF_FUZZ", 0))
CASES: Counter[str] = Counter()
GIGABYTE = 2**30


def fuzzed(target: str, small: int, large: int) -> Callable[[Any], Any]:
    """Set the size of a hypothesis test, and count its cases.

    Args:
        target: what is fuzzed, for the count.
        small: cases in the usual suite, always the same ones.
        large: cases of ``make fuzz``, new ones each time.
    """
    size = settings(
        max_examples=max(1, int(large * LARGE)) if LARGE else small,
        derandomize=not LARGE,
        database=None,  # nothing is written into the repository
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        print_blob=True,
    )

    def decorate(test: Any) -> Any:
        inner = getattr(test, "hypothesis", None)
        run = inner.inner_test if inner else test

        @functools.wraps(run)
        def counted(*args: Any, **kwargs: Any) -> None:
            CASES[target] += 1
            run(*args, **kwargs)

        if inner:
            inner.inner_test = counted
        return size(test)

    return decorate


@contextmanager
def memory_limit(more: int = 2 * GIGABYTE) -> Iterator[None]:
    """Let the process have that many bytes more than now, so that a trap cannot take the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def guarded(action: Callable[[], object], *, more: int = GIGABYTE, seconds: int = 20) -> str:
    """What an action says in a process of its own, which has little memory and time.

    Returns:
        Its result, or the kind and the text of what it raised; after that, how many megabytes it
        took. A process that was killed says so.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with memory_limit(more):
                try:
                    said = str(action())
                except BaseException as error:
                    said = f"{type(error).__name__}: {error}"
            taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
            os.write(writer, f"{said[:20000]} [{taken} MB]".encode(errors="replace"))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return said or f"killed by signal {os.WTERMSIG(status)}"


def check_line(error: Exception, begins: object = "") -> None:
    """A documented error is one line, which begins with what it is about."""
    assert str(error).startswith(str(begins)), error
    assert len(str(error).splitlines()) == 1, repr(str(error))


def megabytes(said: str) -> int:
    """How much an action took that :func:`guarded` ran."""
    return int(said.rpartition("[")[2].split()[0])


# numbers and pieces that parsers stumble over
_PIECES = (
    b"", b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0",
    b"\xff" * 8, b"\0\x01", b"%s%n", b"-1", b"9" * 30, b"\n", b"../../x",
)  # fmt: skip


@st.composite
def mutated(draw: Any, seeds: st.SearchStrategy[bytes], most: int = 4) -> bytes:
    """Bytes of a seed with some changed, removed, repeated or put in; more often near the beginning."""
    content = bytearray(draw(seeds))
    for _ in range(draw(st.integers(1, most))):
        length = max(1, len(content))
        at = draw(st.one_of(st.integers(0, min(64, length) - 1), st.integers(0, length - 1)))
        kind = draw(st.sampled_from(("flip", "set", "piece", "cut", "end", "repeat", "random")))
        if kind == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            content[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "piece":
            piece = draw(st.sampled_from(_PIECES))
            content[at : at + draw(st.sampled_from((0, len(piece))))] = piece
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 40))]
        elif kind == "end":
            del content[at:]
        elif kind == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 600))]
        else:
            content[at:at] = draw(st.binary(max_size=12))
    return bytes(content)


def places(section: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested sections and lists."""
    items = section.items() if isinstance(section, dict) else enumerate(section)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


@st.composite
def restructured(draw: Any, whole: Any, values: st.SearchStrategy[Any], most: int = 3) -> Any:
    """A structure of sections and lists with some of it replaced, moved, removed, renamed or added."""
    whole = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, most))):
        found = sorted(places(whole), key=str)
        if not found:
            break
        *parents, last = draw(st.sampled_from(found))
        section = whole
        for key in parents:
            section = section[key]
        kind = draw(st.sampled_from(("value", "value", "value", "remove", "add", "rename", "move")))
        if kind == "value":
            section[last] = copy.deepcopy(draw(values))
        elif kind == "move":
            section[last] = copy.deepcopy(draw(st.sampled_from(list(whole.values()))))
        elif isinstance(section, list):
            section.append(copy.deepcopy(draw(values)))
        elif kind == "remove":
            del section[last]
        elif kind == "add":
            added = ("x", "type", "tile", "metrics", "periods", "_x", "")
            section[draw(st.sampled_from(added))] = copy.deepcopy(draw(values))
        else:
            section[draw(st.text(max_size=5))] = section.pop(last)
    return whole
