"""Memory that a process keeps for itself, instead of asking the system for it again and again."""

from __future__ import annotations

import contextlib
import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_MADV_HUGEPAGE, _HUGE_PAGE = 14, 2**21  # Linux's mman.h
_CHOSEN = (
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_TOP_PAD_",
)


def keep_freed_memory() -> bool:
    """Let this process reuse what its tensors freed on the CPU.

    glibc gives blocks above 32 MiB back to the system at once and asks for fresh ones, which the system
    clears page by page: more time than most element-wise operations take themselves. What is kept lies in
    huge pages where Linux has them for who asks (its setting ``madvise``). Commands of this
    package call it; in a program of your own it is your choice, since it takes more memory: holes between
    what is in use stay, so that a process's peak may double, and it stays as large as it once was.

    Returns:
        Whether it was done: not with another C library (macOS, musl), and not where the environment
        has settings for glibc's allocator, which stay as they are.
    """
    if any(name in os.environ for name in _CHOSEN):
        return False
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    with contextlib.suppress(OSError, AttributeError, TypeError, ValueError):
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 (other C libraries have a mallopt that does nothing, or none)
        # not M_MMAP_THRESHOLD: glibc before 2.35 refuses more than 32 MiB
        settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))
        kept = all(libc.mallopt(key, value) == 1 for key, value in settings)
        if kept:
            _ask_for_huge_pages(libc)
        return kept
    return False


def _ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Let the heap grow once by half of the machine's memory, of which nothing is touched yet.

    A heap that grows by and by would have to be asked for anew each time; this block is given back, and
    stays the end of the heap.
    """
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(size)
    if block:  # where address space is rationed there may be none
        aligned = -(-block // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(aligned, block + size - aligned & -_HUGE_PAGE, _MADV_HUGEPAGE)
        libc.free(block)
