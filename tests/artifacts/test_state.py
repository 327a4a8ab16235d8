import dataclasses

import pytest

from tabular_automl.artifacts.state import State


def test_parts_default_to_nothing_and_are_not_shared():
    first, second = State(), State()
    assert (first.meta, first.arrays, first.blobs, first.children) == ({}, {}, {}, {})
    assert first.meta is not second.meta


def test_state_cannot_be_reassigned():
    with pytest.raises(dataclasses.FrozenInstanceError, match="meta"):
        State().meta = {}
