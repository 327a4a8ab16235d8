import numpy as np
import pandas as pd
import pytest

from tabular_automl.data.factorizing import factorize


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "object", "Int64", "category"])
def test_distinct_values_come_in_order_of_appearance(dtype):
    codes, values = factorize(pd.Series([2, 1, 2, 3], dtype=dtype))
    assert codes.tolist() == [0, 1, 0, 2]
    assert list(values) == [2, 1, 3]


def test_missing_values_are_marked_or_counted():
    column = pd.Series([1.5, np.nan, 1.5])
    assert factorize(column)[0].tolist() == [0, -1, 0]
    assert factorize(column, mark_missing=False)[0].tolist() == [0, 1, 0]
