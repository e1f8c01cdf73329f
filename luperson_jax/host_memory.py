"""What a program takes of the host's memory, and what it holds that stays."""

import ctypes
import functools
import os
import pathlib
import sys
from collections.abc import Callable

from luperson_jax import platforms

TUNABLES = "GLIBC_TUNABLES"
LARGE_PAGES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_max": 0, "trim_threshold": 1 << 30}.items()
)
"""Large pages on request, and up to 1 GiB of what is freed is kept for the next step."""
HOW_PAGES_ARE_GIVEN = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def take_large_pages() -> None:
    """Starts this program anew, in the same process, with large pages for its memory: the GNU C
    library can be told to ask for them, and to keep them, only then.

    A step on a CPU takes its memory anew, and in pages of 4 KB that is a tenth of its time. Nothing
    happens where Linux does not give large pages to who asks, where `GLIBC_TUNABLES` is set, be it
    to nothing, and where there may be an accelerator.
    """
    if TUNABLES in os.environ or not _given_on_request() or not platforms.surely_only_cpu():
        return
    os.environ[TUNABLES] = LARGE_PAGES
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _given_on_request() -> bool:
    try:
        return "[madvise]" in HOW_PAGES_ARE_GIVEN.read_text()
    except OSError:
        return False


def give_back() -> None:
    """Gives the system what is free: compiling takes hundreds of MiB, and the GNU C library keeps
    those that lie below something in use. Takes milliseconds; with other libraries nothing."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
