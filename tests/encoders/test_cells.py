"""Cells of any storage as text: the same text for the same value, however many rows there are."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabular_automl.encoders.storage import distinct_cells


def texts(column):
    codes, keys = distinct_cells(column)
    return [None if code < 0 else keys[code] for code in codes.tolist()]


COLUMNS = {
    "float32": pd.Series([0.1, np.nan, 2.0], dtype="float32"),
    "float16": pd.Series([0.1, np.nan, 2.0], dtype="float16"),
    "float64": pd.Series([0.1, np.nan, 2.0]),
    "text": pd.Series([" a", None, "2"]),
    "list": pd.Series([[1], None, [2]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    "struct": pd.Series([{"a": 1}, None, {"a": 2}]).astype(
        pd.ArrowDtype(pa.struct([("a", pa.int64())]))
    ),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_a_short_column_reads_as_a_long_one(column):
    long = pd.concat([column] * 40, ignore_index=True)
    assert texts(long)[:3] == texts(column)
    assert texts(column)[1] is None


def test_narrow_floats_read_as_they_are_written():
    assert texts(COLUMNS["float32"]) == ["0.1", None, "2"]


def test_bytes_of_an_image_stand_as_their_hash():
    first, other = (
        b"\x89PNG" * 300,
        b"\x89PNG" * 299 + b"....",
    )
    keys = texts(pd.Series([first, other, first, b"short"], dtype=object))
    assert keys[0] == keys[2] != keys[1]
    assert len(keys[0]) < 60
    assert keys[3] == "b'short'"
