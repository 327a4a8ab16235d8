"""The features of a graph's inputs equal those that the featurizer makes of the same columns."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl.deployment.onnx_columns import add_features
from tabular_automl.deployment.onnx_graph import Graph
from tabular_automl.deployment.onnx_inputs import exported_parts, input_values
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
    features = add_features(graph, exported_parts(featurizer), featurizer)
    assert features.n_features == len(featurizer.sources)
    found = run(graph, features.matrix, feeds)
    assert found.shape == (n_rows, features.n_features)
    return found


def test_features_equal_those_of_the_featurizer(featurizer):
    assert featurizer.pairs
    new = table_of(90)
    new.loc[3, "city"], new.loc[4, "size"], new.loc[5, "size"] = "Atlantis", np.inf, -np.inf
    new.loc[6, "many"] = " m3 "
    new.loc[7, "moved"] = None  # as no row of training
    new["waited"] = new["waited"].where(new.index != 8)
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
