from __future__ import annotations

import copy
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tabular_automl.core.errors import ArtifactError
from tabular_automl.models import stored_trees
from tabular_automl.models.stored_trees import Stored, all_paths_end, require_walkable


def test_stored_trees_are_read_once_and_only_when_asked_for():
    reads = []

    def read(raw):
        reads.append(raw)
        time.sleep(0.01)
        return len(raw)

    stored = Stored(b"abc", read)
    assert reads == []
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: stored.get(), range(16))) == {3}
    assert reads == [b"abc"]


def test_stored_trees_are_copied_as_bytes():
    stored = Stored(b"abc", len)
    assert stored.get() == 3
    copied = copy.deepcopy(stored)
    assert copied.raw == b"abc"
    assert copied.get() == 3


@pytest.mark.parametrize("packs", [True, False])
def test_trees_set_aside_are_read_again_from_fewer_bytes(packs, monkeypatch):
    if not packs:
        monkeypatch.setattr(stored_trees, "_codec", lambda: None)
    raw, reads = b"tree" * 1_000, []

    def read(raw):
        reads.append(raw)
        return set()

    stored = Stored(raw, read)
    first = weakref.ref(stored.get())
    for _ in range(2):
        stored.set_aside()
    assert first() is None
    assert (len(stored._kept) < len(raw) / 10) == packs
    assert stored.get() is stored.get()
    assert stored.raw == copy.deepcopy(stored).raw == raw
    assert reads == [raw, raw]


@pytest.mark.parametrize(
    ("left", "right", "ends"),
    [
        ([-1], [-2], True),
        ([1, -1], [-3, -2], True),
        ([0], [-1], False),  # back to the root
        ([1, 1], [-1, -2], False),  # round and round
        ([1, -1], [1, -2], False),  # two parents
        ([2], [-1], False),  # a node that is not there
        ([-3], [-1], False),  # a leaf that is not there
        ([-1, -1], [-2], False),  # a child that is missing
        ([], [], False),
    ],
)
def test_a_tree_must_lead_to_its_leaves(left, right, ends):
    children = np.array(left, dtype=np.int64), np.array(right, dtype=np.int64)
    assert all_paths_end(*children, len(left), len(left) + 1) == ends


def test_a_tree_that_leads_nowhere_is_named():
    require_walkable(True, "LightGBM", 3)
    with pytest.raises(ArtifactError, match=r"Every tree of a LightGBM model.* got a tree 3"):
        require_walkable(False, "LightGBM", 3)
