import datetime

import numpy as np
import pandas as pd
import pytest

from tabular_automl.artifacts.json_text import from_json, to_json
from tabular_automl.core.errors import DataError
from tabular_automl.data.column_names import name_from_json, name_to_json, positions_of

ZURICH = datetime.timezone(datetime.timedelta(hours=1))


@pytest.mark.parametrize(
    "name",
    [
        "y",
        3,
        None,
        0.5,
        True,
        ("a", ("b", 1)),
        np.int64(4),
        np.str_("a"),
        datetime.date(2020, 1, 1),
        datetime.datetime(2020, 1, 1, 12, tzinfo=ZURICH),
        pd.Timestamp("2020-01-01"),
    ],
    ids=repr,
)
def test_names_survive_as_json(name):
    back = name_from_json(from_json(to_json(name_to_json(name), "name"), "name"))
    assert back == name
    assert hash(back) == hash(name)


def test_a_missing_name_finds_itself_after_json():
    back = name_from_json(from_json(to_json(name_to_json(float("nan")), "name"), "name"))
    assert positions_of(pd.Index(["a", float("nan")], dtype=object))[back] == 1
    assert positions_of(pd.Index([1.0, np.nan]))[back] == 1
    assert positions_of(pd.Index(["a", np.nan]))[back] == 1


@pytest.mark.parametrize("name", [b"x", frozenset([1]), pd.NaT, np.datetime64("2020-01-01")])
def test_other_names_are_refused(name):
    with pytest.raises(DataError, match="must be text, a number, a date or a tuple"):
        name_to_json(name)


def test_positions_of_several_levels():
    columns = pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])
    assert positions_of(columns) == {("a", "b"): 0, ("a", "c"): 1}
