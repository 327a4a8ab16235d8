"""The features of a graph's inputs equal those that the featurizer makes of the same columns."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.errors import ExportError
from tabular_automl.deployment.onnx_columns import (
    add_features,
    exported_parts,
    input_kinds,
    input_values,
)
from tabular_automl.deployment.onnx_graph import Graph
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.inference import infer_schema
from tests.deployment.onnx_runs import run


def table_of(n_rows=120):
    """Return columns of every form that numbers and categories come in."""
    rng = np.random.default_rng(0)
    size = np.where(rng.random(n_rows) < 0.2, np.nan, rng.normal(100, 30, n_rows))
    day = pd.Series(pd.Timestamp("2019-03-01") + pd.to_timedelta(rng.integers(0, 900, n_rows), "D"))
    return pd.DataFrame(
        {
            "size": size,
            "stamp": 1.6e9 + rng.integers(0, 1000, n_rows),
            "as text": [f"{value:,.2f} EUR" for value in rng.lognormal(8, 1, n_rows)],
            "waited": pd.to_timedelta(rng.integers(0, 10_000, n_rows), "s"),
            "city": rng.choice(["Bern", "Genf", "Basel", None], n_rows, p=[0.5, 0.3, 0.1, 0.1]),
            "garden": rng.random(n_rows) < 0.4,
            "zip": pd.Categorical(rng.choice([3001, 3002, 3003], n_rows)),
            "many": rng.choice([f"m{i}" for i in range(40)], n_rows),
            "sold": day.where(rng.random(n_rows) < 0.8),
            "moved": (day + pd.to_timedelta(rng.integers(0, 50_000, n_rows), "min")).astype(str),
            "one value": 7,
        }
    )


@pytest.fixture(scope="module")
def featurizer():
    table = table_of()
    fitted = Featurizer(infer_schema(table, {"many": "category", "stamp": "numeric"}))
    fitted.fit_transform(table)
    return fitted


def matrix_of(featurizer, feeds, n_rows):
    graph = Graph()
    features = add_features(graph, exported_parts(featurizer), featurizer.pairs)
    assert features.n_features == len(featurizer.sources)
    found = run(graph, features.matrix, feeds)
    assert found.shape == (n_rows, features.n_features)
    return found


def test_features_equal_those_of_the_featurizer(featurizer):
    assert featurizer.pairs
    new = table_of(90)
    new.loc[3, "city"], new.loc[4, "size"], new.loc[5, "size"] = "Atlantis", np.inf, -np.inf
    new.loc[6, "many"] = " m3 "
    found = matrix_of(featurizer, input_values(exported_parts(featurizer), new), len(new))
    expected = featurizer.transform(new).matrix()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    exact = [name for name in featurizer.sources if not name.endswith((":sin", ":cos"))]
    at = [list(featurizer.sources).index(name) for name in exact]
    np.testing.assert_array_equal(found[:, at], expected[:, at])


def test_texts_that_stand_for_one_level_have_one_code(featurizer):
    spellings = {"zip": ["3001", "3001.0", "3009", ""], "garden": ["True", "true", "1", ""]}
    rows = pd.DataFrame({name: values[:1] * 4 for name, values in spellings.items()})
    rows = pd.concat([table_of(4).drop(columns=list(spellings)), rows], axis=1)
    feeds = input_values(exported_parts(featurizer), rows)
    feeds |= {name: np.array(values, dtype=object) for name, values in spellings.items()}
    rows["zip"] = [3001, 3001, 3009, None]
    rows["garden"] = [True, True, True, None]
    found = matrix_of(featurizer, feeds, 4)
    np.testing.assert_array_equal(found, featurizer.transform(rows).matrix())


def test_a_column_without_features_is_no_input(featurizer):
    types = input_kinds(exported_parts(featurizer))
    assert "one value" not in types
    assert types["size"] == types["waited"] == "number"
    assert types["city"] == types["garden"] == "text"
    assert types["sold"] == types["moved"] == "seconds since 1970"


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
