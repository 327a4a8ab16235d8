import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabular_automl.core.errors import ArtifactError, LabelError
from tabular_automl.data.labels import (
    dtype_from_json,
    dtype_to_json,
    mark_of,
    read_numbers,
)
from tabular_automl.data.task import ProblemType, TargetCodec, Task


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, 2, 1000]),
        pd.Series([1, 2, 1000], dtype="Int64"),
        pd.Series([1, 2, 1000], dtype=pd.ArrowDtype(pa.int64())),
        pd.Series(["1", " 2 ", "1,000"]),
        pd.Series(["1", "2.0", "1e3"], dtype=object),
        pd.Series(["1", "2", "1,000.0"], dtype="string"),
        pd.Series([decimal.Decimal(1), 2, 1000.0], dtype=object),
        pd.Series(["1", "2", "1,000"]).astype("category"),
        pd.Series(["$1.00", "2 USD", "(-1,000)"]).str.replace("(-", "").str.replace(")", ""),
        pd.Series(["1,0", "2", "1.000"]),  # a decimal comma
        pd.Series([1.0, 2.0, 1000.0], dtype="float32"),
    ],
    ids=lambda values: str(values.dtype),
)
def test_numbers_of_any_dtype_are_read(values):
    numbers = read_numbers(values)
    assert numbers.dtype == np.float64
    assert numbers.tolist() == [1.0, 2.0, 1000.0]


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (pd.Series([1.0, None, np.nan], name="y"), "'y' must have no missing.* got 2.*row 1;"),
        (pd.Series([1.0, np.inf], ["a", "b"], name="y"), "finite numbers, got inf in row 'b'"),
        (
            pd.Series(["1", "x", "y", "z", "w"], name="y"),
            "got 'x' in row 1, 'y' in row 2, 'z' in row 3 and 1 more; correct",
        ),
        (pd.Series(["1.5", "1,00,"]), "got '1,00,' in row 1"),
        (pd.Series(["a", "b"]).astype("category"), "got 'a' in row 0, 'b' in row 1"),
    ],
)
def test_labels_that_are_no_numbers_are_named_with_their_rows(values, match):
    with pytest.raises(LabelError, match=match):
        read_numbers(values)


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype("int8"),
        np.dtype(object),
        np.dtype(bool),
        pd.StringDtype("python"),
        pd.StringDtype("pyarrow"),
        dtype_from_json({"kind": "string", "storage": "pyarrow", "missing": "nan"}),
        pd.BooleanDtype(),
        pd.Int64Dtype(),
        pd.UInt8Dtype(),
        pd.Float32Dtype(),
        pd.ArrowDtype(pa.string()),
        pd.ArrowDtype(pa.large_string()),
        pd.ArrowDtype(pa.float64()),
        pd.ArrowDtype(pa.bool_()),
        pd.CategoricalDtype(["b", "a"], ordered=True),
        pd.CategoricalDtype(pd.Index([3, 1], dtype="int8")),
    ],
    ids=repr,
)
def test_dtypes_survive_as_plain_values(dtype):
    assert dtype_from_json(dtype_to_json(dtype)) == dtype


def test_unknown_saved_dtypes_are_refused():
    with pytest.raises(ArtifactError, match="'masked', 'name': 'Sparse"):
        dtype_from_json({"kind": "masked", "name": "Sparse[int64, 0]"})


def test_the_decimal_mark_of_training_holds_for_other_rows():
    y = pd.Series(["0,125", "1,250", "13,5"], name="y")
    codec = TargetCodec.fit(y, Task(ProblemType.REGRESSION), "squared_error")
    alone = codec.encode(pd.Series(["1,250"]))
    assert codec.decode(alone).tolist() == pytest.approx([1.25])
    again = TargetCodec.from_state(codec.state())
    assert again.encode(pd.Series(["1,250"])).tolist() == alone.tolist()


@pytest.mark.parametrize("mistyped", ["12,50", "0,50"])
def test_one_mistyped_label_does_not_divide_all_others(mistyped):
    y = pd.Series([*[f"{i},500" for i in range(1, 60)], mistyped], name="y")
    assert mark_of(y) == "."
    with pytest.raises(LabelError, match=f"got '{mistyped}' in row 59"):
        read_numbers(y)


def test_a_few_fractions_among_what_looks_like_groups_tell_the_decimal_mark():
    y = pd.Series([*[f"{i},250" for i in range(1, 96)], "0,500"])
    assert read_numbers(y).tolist()[-2:] == [95.25, 0.5]
