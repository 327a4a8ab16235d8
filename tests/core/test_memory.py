"""Memory that is free, and that is given back."""

import gc
import os
import sys
import threading
import weakref

import pytest

from tabular_automl.core import memory
from tabular_automl.core.memory import freed_at_once, release_memory


@pytest.mark.parametrize("platform", [sys.platform, "an unknown one"])
def test_cycles_are_collected_only_where_asked(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    knot: list[object] = [threading.Event()]
    event = weakref.ref(knot[0])
    knot.append(knot)
    gc.disable()
    try:
        del knot
        release_memory(collect=False)
        assert event() is not None
        release_memory(collect=True)
        assert event() is None
    finally:
        gc.enable()


class _Library:
    """Stands for the C library, and notes what `mallopt` is told."""

    def __init__(self):
        self.told = []

    def mallopt(self, *arguments):
        self.told.append(arguments)


@pytest.mark.parametrize(
    ("platform", "wanted", "told"),
    [("linux", None, [(-8, 2)]), ("linux", "4", []), ("darwin", None, [])],
)
def test_threads_share_two_heaps_unless_the_user_says_otherwise(
    platform, wanted, told, monkeypatch
):
    library = _Library()
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    if wanted is not None:
        monkeypatch.setenv("MALLOC_ARENA_MAX", wanted)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(memory.sys, "platform", platform)
    memory.keep_few_arenas()
    assert library.told == told


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    memory.keep_few_arenas()


@pytest.mark.parametrize(
    ("wanted", "of_the_user", "meanwhile"),
    [(True, None, "0"), (False, None, None), (True, "7", "7"), (False, "7", "7")],
)
def test_libraries_loaded_meanwhile_are_told_to_free_at_once_unless_the_user_says_otherwise(
    wanted, of_the_user, meanwhile, monkeypatch
):
    monkeypatch.delenv("MIMALLOC_PURGE_DELAY", raising=False)
    if of_the_user is not None:
        monkeypatch.setenv("MIMALLOC_PURGE_DELAY", of_the_user)
    with freed_at_once(wanted=wanted):
        assert os.environ.get("MIMALLOC_PURGE_DELAY") == meanwhile
    assert os.environ.get("MIMALLOC_PURGE_DELAY") == of_the_user


def test_what_was_set_is_unset_when_the_work_fails(monkeypatch):
    monkeypatch.delenv("MIMALLOC_PURGE_DELAY", raising=False)
    with pytest.raises(OSError, match="of the work"), freed_at_once(wanted=True):
        raise OSError("of the work")
    assert "MIMALLOC_PURGE_DELAY" not in os.environ
