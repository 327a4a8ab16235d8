"""The memory that this process may use, and how its allocators give back what was freed."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tabular_automl.core import containers

_ARENA_MAX = -8  # as glibc's malloc.h numbers it
# Milliseconds for which mimalloc keeps what was freed; it looks once, as a library is loaded.
_PURGE_DELAY = "MIMALLOC_PURGE_DELAY"


def free_bytes() -> int:
    """Return the memory free for this process: the smaller of the system's and the container's."""
    import psutil

    free: int = psutil.virtual_memory().available
    contained = containers.free_bytes()
    return max(0, free if contained is None else min(free, contained))


def keep_few_arenas() -> None:
    """Let all threads share two heaps of glibc, for a process that is the library's own.

    By default there is one for nearly each thread, and what one of them frees stands empty in its
    heap. Only before threads have made theirs; ``MALLOC_ARENA_MAX`` in the environment goes first.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 2)


def release_memory(*, collect: bool) -> None:
    """Give freed memory back to the system, where the C library keeps it for later.

    Threads free large arrays in arenas of their own, which glibc would hold on to: a fit of many
    models then looks as large as the sum of its peaks.

    Parameters
    ----------
    collect : bool
        Whether to look for unreachable cycles first, which takes 0.1 to 0.2 s once large libraries
        are imported.
    """
    if collect:
        gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


@contextmanager
def freed_at_once(*, wanted: bool) -> Iterator[None]:
    """Have libraries that are loaded meanwhile give freed memory back at once, from then on.

    CatBoost brings an allocator of its own, mimalloc, which keeps what training has freed. No call
    from outside reaches it: it looks into the environment as it is loaded, and never again.

    Parameters
    ----------
    wanted : bool
        Whether to ask for it. Where the user has set ``MIMALLOC_PURGE_DELAY``, that stays.
    """
    if not wanted or _PURGE_DELAY in os.environ:
        yield
        return
    try:
        os.environ[_PURGE_DELAY] = "0"
        yield
    finally:
        os.environ.pop(_PURGE_DELAY, None)
