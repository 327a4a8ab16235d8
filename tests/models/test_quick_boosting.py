import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models.quick_boosting import ROWS, boost_quickly, quick_matrix, some_rows

REGRESSION = Task(ProblemType.REGRESSION)
FIVE_CLASSES = Task(ProblemType.MULTICLASS, 5)


def samples_of(y):
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(len(y), 3)).astype(np.float32)
    numeric[:, 1] = y
    codes = rng.integers(0, 4, size=(len(y), 2)).astype(np.int32)
    return Samples(FeatureTable(numeric, codes, ("a", "b", "c"), ("k", "l"), (4, 4)), y)


def test_the_feature_that_tells_gains_most():
    samples = samples_of(np.random.default_rng(1).normal(size=300))
    booster = boost_quickly(samples, REGRESSION, 10, seed=0, n_threads=1)
    gains = booster.feature_importance("gain")
    assert len(gains) == 5
    assert gains.argmax() == 1
    assert booster.predict(quick_matrix(samples.table)).shape == (300,)


@pytest.mark.parametrize(("present", "n_outputs"), [((0, 2, 4), 3), ((1, 3), 1)])
def test_only_classes_that_occur_are_learned(present, n_outputs):
    samples = samples_of(np.random.default_rng(1).choice(present, 200))
    booster = boost_quickly(samples, FIVE_CLASSES, 5, seed=0, n_threads=1)
    assert booster.num_trees() == 5 * n_outputs


def test_rounds_end_with_the_budget_and_are_fewer_for_many_outputs():
    samples = samples_of(np.arange(500) % 5)
    many = boost_quickly(samples, FIVE_CLASSES, 1_000, seed=0, n_threads=1)
    assert many.num_trees() == 150
    ended = Budget.start(1e-9)
    few = boost_quickly(samples, FIVE_CLASSES, 1_000, seed=0, n_threads=1, budget=ended)
    assert 0 < few.num_trees() <= 10


def test_options_are_lightgbms_own():
    samples = samples_of(np.random.default_rng(1).normal(size=300))
    booster = boost_quickly(samples, REGRESSION, 3, seed=0, n_threads=1, num_leaves=2)
    assert booster.trees_to_dataframe()["node_depth"].max() == 2


def test_some_rows_are_all_of_few_and_drawn_of_many():
    np.testing.assert_array_equal(some_rows(5, seed=0), np.arange(5))
    drawn = some_rows(3 * ROWS, seed=0)
    assert len(np.unique(drawn)) == ROWS
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, some_rows(3 * ROWS, seed=0))
    assert drawn[-1] > 2 * ROWS
