from __future__ import annotations

import numpy as np
import pytest

from tabular_automl.artifacts.contract import require_plain, through_files
from tabular_automl.artifacts.state import State
from tabular_automl.core.contract import ContractError


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({}, "m must be a State, got dict"),
        (State(meta={"a": np.float32(1)}), "m.meta must hold what json can hold"),
        (State(arrays={"a": np.array([None])}), r"m.arrays\['a'\] must be an array.*got object"),
        (State(arrays={"a": [1, 2]}), r"m.arrays\['a'\] must be an array.*got list"),
        (State(blobs={"a": "text"}), r"m.blobs\['a'\] must be bytes, got str"),
        (State(children={"c": State(blobs={"a": 1})}), r"m.children\['c'\].blobs\['a'\]"),
    ],
)
def test_what_is_not_plain_is_named(state: State, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        require_plain(state, "m")


def test_plain_state_passes_and_comes_back_equal() -> None:
    state = State(
        meta={"a": [1, None, "x"], "b": float("nan")},
        arrays={"n": np.arange(3), "s": np.array(["a", "bc"]), "b": np.array([True])},
        blobs={"tree.txt": b"\x00"},
        children={"c": State(arrays={"x": np.eye(2, dtype=np.float32)})},
    )
    require_plain(state, "m")
    again = through_files(state)
    assert again.meta["a"] == [1, None, "x"]
    assert np.isnan(again.meta["b"])
    for name, array in state.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
        assert again.arrays[name].dtype == array.dtype
    assert again.blobs == state.blobs
    np.testing.assert_array_equal(again.children["c"].arrays["x"], np.eye(2))


def test_tuples_come_back_as_lists_and_arrays_read_only_as_from_disk() -> None:
    again = through_files(State(meta={"a": (1, 2)}, arrays={"n": np.arange(3)}))
    assert again.meta["a"] == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        again.arrays["n"][0] = 5
