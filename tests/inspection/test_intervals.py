import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import InvalidOptionError, NotFittedError
from tabular_automl.inspection.intervals import Intervals, check_coverage, least_probability

TREES = FitConfig(families=("lightgbm",), max_specs=1, n_folds=4)


def values_of(n_rows, seed):
    """Predictions and labels that are further off for large predictions, more often above."""
    rng = np.random.default_rng(seed)
    prediction = rng.uniform(0, 10, n_rows)
    return prediction, prediction + (0.1 + prediction) * rng.exponential(size=n_rows)


def inside(ends, y):
    return (ends[:, 0] <= y) & (y <= ends[:, 1])


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_labels_are_inside_as_often_as_asked_and_outside_on_both_sides(coverage):
    intervals = Intervals.fit(*values_of(4_000, 0), None, coverage)
    prediction, y = values_of(20_000, 1)
    ends = intervals.around(prediction)
    assert inside(ends, y).mean() == pytest.approx(coverage, abs=0.02)
    assert (y < ends[:, 0]).mean() == pytest.approx((1 - coverage) / 2, abs=0.015)


def test_intervals_are_wider_where_errors_are_larger():
    prediction, y = values_of(4_000, 0)
    widths = np.diff(Intervals.fit(prediction, y, None, 0.9).around(np.array([0.5, 9.5])))
    assert widths[1] > 3 * widths[0]
    far = values_of(20_000, 1)
    of_large = far[0] > 8
    ends = Intervals.fit(prediction, y, None, 0.9).around(far[0])
    assert inside(ends, far[1])[of_large].mean() == pytest.approx(0.9, abs=0.04)


@pytest.mark.parametrize("n_rows", [25, 40])
def test_few_rows_are_on_the_safe_side(n_rows):
    hits = []
    for seed in range(300):
        intervals = Intervals.fit(*values_of(n_rows, seed), None, 0.9)
        prediction, y = values_of(50, 1_000 + seed)
        hits.append(inside(intervals.around(prediction), y).mean())
    assert 0.89 < np.mean(hits) < 0.97


@pytest.mark.parametrize(("n_rows", "coverage"), [(10, 0.9), (1_000, 0.999)])
def test_rows_too_few_for_what_is_asked_give_no_ends(n_rows, coverage):
    ends = Intervals.fit(*values_of(n_rows, 0), None, coverage).around(np.array([5.0]))
    np.testing.assert_array_equal(ends, [[-np.inf, np.inf]])
    p = np.full((n_rows, 2), 0.5)
    assert least_probability(p, np.zeros(n_rows, dtype=int), None, 0.9999) == -np.inf


def test_high_coverages_have_as_many_rows_as_they_need():
    intervals = Intervals.fit(*values_of(5_000, 0), None, 0.99)
    assert 0 < len(intervals.edges) < 4
    prediction, y = values_of(20_000, 1)
    assert inside(intervals.around(prediction), y).mean() == pytest.approx(0.99, abs=0.005)


def test_weights_count():
    prediction, y = values_of(4_000, 0)
    weight = np.where(np.arange(4_000) % 2, 1.0, 0.0)
    y[weight == 0] += 1e6
    assert Intervals.fit(prediction, y, weight, 0.9).around(prediction).max() < 1e3
    odd = weight > 0
    alone = Intervals.fit(prediction[odd], y[odd], None, 0.9).around(np.array([5.0]))
    mixed = Intervals.fit(prediction, y, weight, 0.9).around(np.array([5.0]))
    np.testing.assert_allclose(mixed, alone)
    p = np.column_stack([np.where(odd, 0.8, 0.1), np.where(odd, 0.2, 0.9)])
    least = least_probability(p, np.zeros(4_000, dtype=int), weight, 0.9)
    assert least == pytest.approx(0.8, abs=1e-5)


def test_heavy_rows_count_as_many():
    y = np.concatenate([np.full(50, 1.0), np.full(50, 9.0)])
    heavy = np.repeat([1.0, 19.0], 50)
    ends = Intervals.fit(np.zeros(100), y, heavy, 0.8).around(np.zeros(1))
    np.testing.assert_array_equal(ends, [[9.0, 9.0]])
    ends = Intervals.fit(np.zeros(100), y, heavy[::-1].copy(), 0.8).around(np.zeros(1))
    np.testing.assert_array_equal(ends, [[1.0, 1.0]])


def test_equal_probabilities_do_not_fall_out_by_rounding():
    p = np.tile(np.float32([0.3, 0.7]), (200, 1)).astype(np.float64)
    y = (np.arange(200) % 10 >= 3).astype(int)
    assert least_probability(p, y, None, 0.9) <= 0.3


def test_equal_predictions_have_one_interval():
    y = np.random.default_rng(0).normal(size=1_000)
    ends = Intervals.fit(np.zeros(1_000), y, None, 0.8).around(np.zeros(2))
    np.testing.assert_allclose(ends, np.quantile(y, [0.1, 0.9])[None].repeat(2, axis=0), atol=0.01)


@pytest.mark.parametrize("coverage", [0.7, 0.95])
def test_the_true_class_is_as_probable_as_told_as_often_as_asked(coverage):
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1.0, 0.5, 0.3], size=40_000)
    y = (rng.random((40_000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    least = least_probability(p[:20_000], y[:20_000], None, coverage)
    assert (p[np.arange(40_000), y][20_000:] >= least).mean() == pytest.approx(coverage, abs=0.01)


@pytest.mark.parametrize("coverage", [0, 1.0, 90, "0.9", None, True, float("nan")])
def test_a_coverage_that_is_none_is_refused(coverage):
    with pytest.raises(InvalidOptionError, match="coverage must be a number between 0 and 1"):
        check_coverage(coverage)


def test_a_predictor_tells_intervals_before_and_after_it_was_saved(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, 3_000)
    table = pd.DataFrame({"x": x, "y": 10 * x + x * rng.normal(size=3_000)})
    train, test = table[:1_500], table[1_500:].sample(frac=1, random_state=0)
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(train, config=TREES)
    ends = predictor.predict_interval(test, 0.8)
    assert ends.index.equals(test.index)
    assert test["y"].between(ends["lower"], ends["upper"]).mean() == pytest.approx(0.8, abs=0.06)
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    pd.testing.assert_frame_equal(loaded.predict_interval(test, 0.8), ends)
    with pytest.raises(InvalidOptionError, match="got a regression; use predict_interval"):
        predictor.predict_set(test)
    clone = predictor.clone_for_deployment(tmp_path / "clone")
    with pytest.raises(NotFittedError, match="ask the one that it was cloned from"):
        clone.predict_interval(test)


def test_no_end_is_below_zero_where_no_label_is(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 3, 600)
    table = pd.DataFrame({"x": x, "y": rng.exponential(x + 0.01)})
    for metric in ("root_mean_squared_error", "root_mean_squared_log_error"):
        path = tmp_path / metric
        predictor = Predictor("y", eval_metric=metric, path=path, verbosity=0)
        ends = predictor.fit(table, config=TREES).predict_interval(table, 0.95)
        assert ends["lower"].min() >= 0.0
        assert (ends["lower"] <= ends["upper"]).all()


def test_a_predictor_tells_sets_of_classes(tmp_path, multiclass_table):
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
    predictor.fit(multiclass_table, config=TREES)
    narrow, wide = (predictor.predict_set(multiclass_table, c) for c in (0.5, 0.99))
    assert wide.columns.equals(predictor.predict_proba(multiclass_table).columns)
    assert (narrow.sum(axis=1) >= 1).all()
    assert (wide | ~narrow).all(axis=None)
    assert wide.to_numpy().sum() > narrow.to_numpy().sum()
    most = predictor.predict_proba(multiclass_table).idxmax(axis=1)
    assert all(narrow.loc[row, label] for row, label in most.items())
    with pytest.raises(InvalidOptionError, match="got classes; use predict_set"):
        predictor.predict_interval(multiclass_table)


def test_rows_that_none_counts_of_give_no_ends():
    nothing = np.zeros(5)
    ends = Intervals.fit(nothing, nothing, nothing, 0.9).around(np.zeros(2))
    np.testing.assert_array_equal(ends, [[-np.inf, np.inf]] * 2)
    assert least_probability(np.full((5, 2), 0.5), np.zeros(5, int), nothing, 0.9) == -np.inf
