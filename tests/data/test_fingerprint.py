import numpy as np
import pandas as pd
import pytest

from tabular_automl.data.fingerprint import fingerprint_table, table_differences
from tests.conftest import make_table

TABLE = make_table("binary").assign(
    more=[[i] for i in range(240)], kind=pd.Categorical(["a", "b"] * 120)
)


def differences(table):
    return table_differences(fingerprint_table(TABLE), fingerprint_table(table))


def test_equal_tables_have_no_differences_whatever_their_index():
    assert differences(TABLE.copy()) == []
    assert differences(TABLE.set_axis(np.arange(240) * 2)) == []


@pytest.mark.parametrize("column", TABLE.columns.drop("constant"))
def test_two_rows_that_change_places_are_a_difference_in_every_column(column):
    texts = TABLE[column].map(repr).to_numpy()
    rows = np.arange(240)
    other = int(np.flatnonzero(texts != texts[0])[0])
    rows[[0, other]] = rows[[other, 0]]
    swapped = TABLE.assign(**{column: TABLE[column].take(rows).set_axis(TABLE.index)})
    assert differences(swapped) == [f"other values, dtypes or row order in {column!r}"]


def test_another_dtype_of_the_same_numbers_is_a_difference():
    assert "'rooms'" in differences(TABLE.astype({"rooms": float}))[0]


def test_many_changed_columns_are_counted():
    shuffled = TABLE.iloc[::-1]
    assert differences(shuffled)[0].endswith(" more")


def test_added_and_missing_columns_and_rows_are_told_apart():
    other = TABLE.drop(columns="city").assign(extra=1).iloc[:-3]
    assert differences(other) == [
        "the table lacks 'city'",
        "the table adds 'extra'",
        "the table has 237 rows instead of 240",
    ]


def test_column_names_that_are_not_text_are_told_apart():
    numbered, named = pd.DataFrame({0: [1]}), pd.DataFrame({"0": [1]})
    found = table_differences(fingerprint_table(numbered), fingerprint_table(named))
    assert found == ["the table lacks 0", "the table adds '0'"]


def test_half_of_a_character_has_a_fingerprint():
    broken = TABLE.assign(zone=pd.Series(["cut \ud83d"] * 240, dtype=object))
    assert table_differences(fingerprint_table(broken), fingerprint_table(broken.copy())) == []
