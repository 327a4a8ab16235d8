"""Which columns become inputs, what they take, and which are refused."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.errors import ExportError
from tabular_automl.deployment.onnx_inputs import exported_parts, input_kinds, input_values
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.inference import infer_schema
from tests.deployment.conftest import mixed_table


def test_values_are_read_as_the_encoders_read_them():
    table = pd.DataFrame(
        {
            "price": ["1,200 EUR", "7", None, "3.5"] * 20,
            "city": pd.Series([" Bern", 1.0, None, True] * 20, dtype=object),
            "day": ["1970-01-02", None, "1970-01-01 00:01", "1969-12-31"] * 20,
        }
    )
    featurizer = Featurizer(infer_schema(table, {"city": "category", "day": "datetime"}))
    featurizer.fit_transform(table)
    found = input_values(exported_parts(featurizer), table.head(4))
    np.testing.assert_array_equal(found["price"], [1200.0, 7.0, np.nan, 3.5])
    assert found["city"].tolist() == ["Bern", "1", "", "True"]
    np.testing.assert_array_equal(found["day"], [86_400.0, np.nan, 60.0, -86_400.0])


def test_a_column_without_features_is_no_input_and_others_are_by_kind():
    table = mixed_table("regression")[["size", "city", "garden", "sold", "moved in"]]
    featurizer = Featurizer(infer_schema(table.assign(same=7), {}))
    featurizer.fit_transform(table.assign(same=7))
    types = input_kinds(exported_parts(featurizer))
    assert "same" not in types
    assert types["size"] == "number"
    assert types["city"] == types["garden"] == "text"
    assert types["sold"] == types["moved in"] == "seconds since 1970"


@pytest.mark.parametrize(
    ("column", "kinds", "reason"),
    [
        ([f"some words {i % 40} here" for i in range(200)], {"x": "text"}, "one of kind 'text'"),
        ([f"A/{i % 120} X" for i in range(200)], {"x": "category"}, "read letter by letter"),
    ],
    ids=["texts", "spelt categories"],
)
def test_a_column_that_is_not_converted_is_named_with_what_to_do(column, kinds, reason):
    table = pd.DataFrame({"n": np.arange(200) % 90, "x": column})
    featurizer = Featurizer(infer_schema(table, kinds))
    featurizer.fit_transform(table)
    with pytest.raises(ExportError, match=f"'x' must be .*{reason}.*'x': 'ignored'"):
        exported_parts(featurizer)


@pytest.mark.parametrize("names", [(1, "1"), ("", "a")], ids=["equal as text", "empty"])
def test_names_that_onnx_cannot_tell_apart_are_refused(names):
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=list(names))
    featurizer = Featurizer(infer_schema(table, {}))
    featurizer.fit_transform(table)
    with pytest.raises(ExportError, match="empty or another column's"):
        exported_parts(featurizer)


def test_a_table_without_usable_columns_is_refused():
    table = pd.DataFrame({"x": [1] * 50})
    featurizer = Featurizer(infer_schema(table, {}))
    featurizer.fit_transform(table)
    with pytest.raises(ExportError, match="must have an input"):
        exported_parts(featurizer)
