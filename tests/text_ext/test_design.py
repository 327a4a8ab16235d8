"""Kept columns are summed alike for a row alone and among others."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import random as random_matrix

from tabular_automl.extend import FeatureTable
from text_ext.design import Numbers, pick, texts_of, weigh


@pytest.mark.parametrize("density", [0.5, 0.01], ids=["many entries", "few entries"])
def test_a_row_alone_is_weighed_as_among_others(density):
    rng = np.random.default_rng(0)
    slots = random_matrix(20, 3_000, density, format="csr", dtype=np.float32, random_state=rng)
    kept = np.sort(rng.choice(3_000, 700, replace=False))
    weights = rng.normal(size=(700, 3)).astype(np.float32)
    expected = slots[:, kept].toarray() @ weights
    np.testing.assert_allclose(weigh(slots, kept, weights), expected, atol=1e-4)
    alone = np.concatenate([weigh(slots[i], kept, weights) for i in range(20)])
    np.testing.assert_allclose(alone, expected, atol=1e-4)


def test_without_kept_columns_sums_are_zero():
    slots = random_matrix(1, 50, 0.5, format="csr", dtype=np.float32, random_state=0)
    nothing = np.empty(0, dtype=np.int32)
    assert pick(slots, nothing).shape == (1, 0)
    assert weigh(slots, nothing, np.empty((0, 2), np.float32)).tolist() == [[0.0, 0.0]]


def test_numbers_count_in_whatever_unit_they_are():
    metres = np.random.default_rng(0).normal(5.0, 1.0, (50, 2)).astype(np.float32)
    metres[:, 1] = 3.0  # says nothing
    small = metres * np.float32(1e-7)
    scaled = [Numbers.of(values, 2.0).scaled(values) for values in (metres, small)]
    np.testing.assert_allclose(scaled[1], scaled[0], rtol=1e-3, atol=1e-4)
    assert scaled[1][:, 0].std() > 0
    assert not scaled[1][:, 1].any()


def test_lists_and_missing_values_of_any_kind_are_read_as_texts():
    cells = np.empty(6, dtype=object)
    cells[:] = ["a b", None, np.nan, pd.NA, np.array(["x", "y"]), np.float32("nan")]
    numeric = np.empty((6, 0), np.float32)
    table = FeatureTable(numeric, np.empty((6, 0), np.int32), raw={"tags": cells})
    assert texts_of(table, "tags") == ["a b", "", "", "", "['x' 'y']", ""]
