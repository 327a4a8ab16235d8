import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_automl.artifacts.json_text import from_json, to_json
from tabular_automl.core.errors import ArtifactError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["$float", "$$", "nan"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text() | st.sampled_from(["$float", "$", "$$float"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(PLAIN)
def test_any_plain_value_comes_back(value):
    assert from_json(to_json(value, "value"), "value") == value


def test_nan_and_infinities_come_back_from_standard_json():
    text = to_json({"a": [math.nan, math.inf, -math.inf]}, "value")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not json"))
    back = from_json(text, "value")["a"]
    assert math.isnan(back[0])
    assert back[1:] == [math.inf, -math.inf]


def test_numpy_scalars_become_python_values():
    values = {"f": np.float32(0.5), "i": np.int64(3), "b": np.True_, "n": np.float64("nan")}
    back = from_json(to_json(values, "value"), "value")
    assert back["f"] == 0.5
    assert back["i"] == 3
    assert back["b"] is True
    assert math.isnan(back["n"])


def test_lone_surrogates_come_back():
    assert from_json(to_json({"\ud800": "\udfff"}, "value"), "value") == {"\ud800": "\udfff"}


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), np.zeros(2), 1j])
def test_values_json_cannot_hold_are_refused(value):
    with pytest.raises(ArtifactError, match="The state must hold plain json values, got"):
        to_json({"a": [value]}, "The state")


def test_keys_that_are_not_text_are_refused():
    with pytest.raises(ArtifactError, match="must have text keys, got 1"):
        to_json({1: "a"}, "The state")


def test_values_nested_too_deeply_are_refused_when_written():
    deep: list = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ArtifactError, match="nested deeper than 100"):
        to_json(deep, "The state")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("{", "not readable as json"),
        ('{"$float": "seven"}', "unknown number 'seven'"),
        ('{"$float": []}', r"unknown number \[\]"),
        (b"\xff\xfe\xfa", "not readable as json"),
        ("9" * 5000, "not readable as json"),
    ],
)
def test_unreadable_text_is_refused_with_the_name_of_the_file(text, words):
    with pytest.raises(ArtifactError, match=f"x.json is {words}|x.json.*{words}"):
        from_json(text, "x.json")
