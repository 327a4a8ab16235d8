import dataclasses
import math

import numpy as np
import pytest

from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import ArtifactError


def test_parts_default_to_nothing_and_are_not_shared():
    first, second = State(), State()
    assert (first.meta, first.arrays, first.blobs, first.children) == ({}, {}, {}, {})
    assert first.meta is not second.meta


def test_state_cannot_be_reassigned():
    with pytest.raises(dataclasses.FrozenInstanceError, match="meta"):
        State().meta = {}


KEPT = State(
    meta={"n": 3, "x": 0.5, "nan": math.nan, "yes": True, "far": math.inf},
    arrays={"x": np.array([0.5, 2.0]), "child": np.array([0, 3], np.int16), "c": np.array(["a"])},
    where="stack/bag0",
)


def test_arrays_come_back_in_the_dtype_that_was_asked_for():
    assert KEPT.array("child", np.int32, (2,), least=0, below=4).dtype == np.int32
    assert KEPT.array("x", np.float64, (None,)) is KEPT.arrays["x"]
    assert KEPT.array("x", np.float32, (2,)).tolist() == [0.5, 2.0]


BAD_ARRAYS = {
    "absent": (("y", float, (2,)), {}, np.zeros(2)),
    "other kind": (("x", np.int64, (2,)), {}, np.array([0.5, 2.0])),
    "text": (("x", float, (1,)), {}, np.array(["a"])),
    "complex": (("x", float, (2,)), {}, np.zeros(2, complex)),
    "rank": (("x", float, (2,)), {}, np.zeros((2, 1))),
    "length": (("x", float, (3,)), {}, np.zeros(2)),
    "NaN": (("x", float, (2,)), {}, np.array([1.0, np.nan])),
    "infinity": (("x", float, (2,)), {}, np.array([1.0, -np.inf])),
    "too large to hold": (("x", np.float32, (1,)), {}, np.array([1e300])),
    "wraps around at the top": (("x", np.int64, (1,)), {}, np.array([2**63], np.uint64)),
    "wraps around": (("x", np.int32, (1,)), {}, np.array([2**40])),
    "below the least": (("x", int, (2,)), {"least": 0}, np.array([-1, 5])),
    "not below": (("x", int, (2,)), {"below": 5}, np.array([-1, 5])),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_an_array_that_nobody_saved_is_refused(case):
    (name, dtype, shape), bounds, values = BAD_ARRAYS[case]
    state = State(arrays={"x": values}, where="stack/bag0")
    with pytest.raises(ArtifactError, match=f"'stack/bag0/{name}' must be"):
        state.array(name, dtype, shape, **bounds)


def test_infinities_are_let_in_where_they_mean_something():
    state = State(meta={"low": -math.inf}, arrays={"x": np.array([np.inf, np.nan])})
    assert state.array("x", np.float32, (2,), finite=False)[0] == np.inf
    assert state.number("low", least=-math.inf) == -math.inf


@pytest.mark.parametrize(
    ("name", "bounds"),
    [("y", ()), ("nan", ()), ("yes", ()), ("far", ()), ("x", (1.0,)), ("x", (0.0, 0.1))],
)
def test_a_number_that_nobody_saved_is_refused(name, bounds):
    assert KEPT.number("x", 0.0, 1.0) == 0.5
    with pytest.raises(ArtifactError, match=f"'stack/bag0/{name}' must be a number from"):
        KEPT.number(name, *bounds)


@pytest.mark.parametrize("name", ["y", "x", "yes", "nan", "n"])
def test_a_whole_number_that_nobody_saved_is_refused(name):
    assert KEPT.integer("n", 1, 3) == 3
    with pytest.raises(ArtifactError, match=f"'stack/bag0/{name}' must be a whole number from"):
        KEPT.integer(name, 4, 9)


def test_an_error_shows_what_was_found_and_not_all_of_it():
    with pytest.raises(ArtifactError, match=r"got int16 of shape \(2,\) from 0 to 3; save the"):
        KEPT.array("child", float, (2,))
    with pytest.raises(ArtifactError) as caught:
        State(meta={"n": "9" * 10**6}).number("n")
    assert len(str(caught.value)) < 500
