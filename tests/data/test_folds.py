import itertools

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_automl.core.errors import DataError, InvalidOptionError
from tabular_automl.data.folds import Folds, check_weights, given_folds, make_folds
from tabular_automl.data.task import ProblemType, Task

BINARY = Task(ProblemType.BINARY, 2)
REGRESSION = Task(ProblemType.REGRESSION)


def multiclass(n_classes: int) -> Task:
    return Task(ProblemType.MULTICLASS, n_classes)


def assert_same(left: Folds, right: Folds) -> None:
    assert left.reason == right.reason
    assert len(left) == len(right)
    for one, other in zip(left.train + left.valid, right.train + right.valid, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_partition(folds: Folds, n_samples: int) -> None:
    """Every row is validated once, and trains in every other fold."""
    np.testing.assert_array_equal(folds.validated, np.arange(n_samples))
    for train, valid in zip(folds.train, folds.valid, strict=True):
        assert len(valid)
        assert len(train)
        np.testing.assert_array_equal(np.sort(np.r_[train, valid]), np.arange(n_samples))


@st.composite
def targets(draw: st.DrawFn) -> tuple[Task, npt.NDArray[np.generic]]:
    n_samples = draw(st.integers(2, 120))
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    if draw(st.booleans()):
        values = generator.standard_normal(n_samples)
        return REGRESSION, values.round(draw(st.integers(0, 3)))
    n_classes = draw(st.integers(2, 12))
    # skewed, so that some classes have one row or none
    codes = np.floor(n_classes * generator.random(n_samples) ** 3).astype(np.int64)
    return multiclass(n_classes), codes


@settings(max_examples=60, deadline=None)
@given(target=targets(), n_folds=st.integers(2, 12), seed=st.integers(0, 9))
def test_every_row_is_validated_once_and_sizes_differ_by_one_at_most(target, n_folds, seed):
    task, y = target
    folds = make_folds(task, y, n_folds=n_folds, seed=seed)
    assert len(folds) == min(n_folds, len(y))
    assert_partition(folds, len(y))
    sizes = [len(valid) for valid in folds.valid]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=60, deadline=None)
@given(target=targets(), n_folds=st.integers(2, 8), seed=st.integers(0, 9))
def test_each_class_is_dealt_out_evenly(target, n_folds, seed):
    task, y = target
    if not task.is_classification:
        return
    folds = make_folds(task, y, n_folds=n_folds, seed=seed)
    counts = [np.bincount(y[valid], minlength=task.n_classes) for valid in folds.valid]
    assert np.ptp(counts, axis=0).max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    target=targets(), n_folds=st.integers(2, 8), n_groups=st.integers(2, 40), seed=st.integers(0, 9)
)
def test_groups_are_never_on_both_sides(target, n_folds, n_groups, seed):
    task, y = target
    groups = np.random.default_rng(seed).integers(0, n_groups, len(y))
    groups[:2] = [0, 1]
    folds = make_folds(task, y, n_folds=n_folds, groups=groups, seed=seed)
    assert len(folds) == min(n_folds, len(np.unique(groups)))
    assert_partition(folds, len(y))
    for train, valid in zip(folds.train, folds.valid, strict=True):
        assert not np.intersect1d(groups[train], groups[valid]).size


@settings(max_examples=60, deadline=None)
@given(moments=st.lists(st.integers(0, 15), min_size=2, max_size=80), n_folds=st.integers(2, 8))
def test_validation_comes_after_training_and_equal_times_stay_together(moments, n_folds):
    time = np.array(moments)
    if len(np.unique(time)) < 2:
        time[0] += 1
    folds = make_folds(REGRESSION, np.zeros(len(time)), n_folds=n_folds, time=time)
    assert 1 <= len(folds) <= n_folds
    assert len(folds.validated) == len(np.unique(folds.validated))
    for train, valid in zip(folds.train, folds.valid, strict=True):
        assert time[train].max() < time[valid].min()
        np.testing.assert_array_equal(train, np.flatnonzero(time < time[valid].min()))
    assert time[folds.valid[-1]].max() == time.max()


@settings(max_examples=60, deadline=None)
@given(target=targets(), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 9))
def test_a_holdout_keeps_a_row_of_each_class_for_training(target, fraction, seed):
    task, y = target
    folds = make_folds(task, y, n_folds=5, holdout_fraction=fraction, seed=seed)
    assert len(folds) == 1
    train, valid = folds.train[0], folds.valid[0]
    assert len(valid)
    np.testing.assert_array_equal(np.sort(np.r_[train, valid]), np.arange(len(y)))
    if task.is_classification and len(np.unique(y)) < len(y):
        assert set(y[train]) == set(y)


def test_the_seed_alone_decides():
    y = np.random.default_rng(0).integers(0, 2, 200)
    groups = np.arange(200) // 4
    for extra in ({}, {"holdout_fraction": 0.2}, {"groups": groups}):
        first = make_folds(BINARY, y, n_folds=4, seed=3, **extra)
        assert_same(first, make_folds(BINARY, y, n_folds=4, seed=3, **extra))
        other = make_folds(BINARY, y, n_folds=4, seed=4, **extra)
        assert not np.array_equal(first.valid[0], other.valid[0])


def test_a_class_of_one_row_is_validated_in_one_fold():
    y = np.array([0] * 50 + [1] * 49 + [2])
    folds = make_folds(multiclass(3), y, n_folds=5)
    assert sum(99 in valid for valid in folds.valid) == 1


def test_one_row_for_each_class_is_split_all_the_same():
    assert_partition(make_folds(multiclass(30), np.arange(30), n_folds=5), 30)
    holdout = make_folds(multiclass(30), np.arange(30), n_folds=5, holdout_fraction=0.2)
    assert len(holdout.valid[0]) == 6


def test_regression_folds_have_similar_targets():
    y = np.random.default_rng(1).lognormal(size=1000)
    folds = make_folds(REGRESSION, y, n_folds=5)
    medians = np.array([np.median(y[valid]) for valid in folds.valid])
    assert np.ptp(medians) < 0.1
    assert "quantiles" in folds.reason


def test_classes_beyond_int16_are_stratified():
    y = np.repeat(np.arange(40_000), 2)
    folds = make_folds(multiclass(40_000), y, n_folds=2)
    np.testing.assert_array_equal(y[folds.valid[0]], np.arange(40_000))


def test_holdout_has_the_asked_share_of_each_class():
    y = np.array([0] * 800 + [1] * 200)
    valid = make_folds(BINARY, y, n_folds=5, holdout_fraction=0.1).valid[0]
    np.testing.assert_allclose(np.bincount(y[valid]), [80, 20], atol=1)


def test_fewer_rows_than_folds_give_fewer_folds_and_say_so():
    folds = make_folds(BINARY, np.array([0, 1, 1]), n_folds=8)
    assert len(folds) == 3
    assert "8 asked, but there are too few rows" in folds.reason


def test_fewer_groups_than_folds_give_fewer_folds_and_say_so():
    groups = ["a", "b", "c"] * 10
    folds = make_folds(BINARY, np.tile([0, 1], 15), n_folds=5, groups=groups)
    assert len(folds) == 3
    assert "5 asked, but there are too few groups" in folds.reason


def test_group_folds_are_balanced_in_size_and_classes():
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 200, 4000)
    y = (generator.random(4000) < 0.1 + 0.4 * (groups % 2)).astype(np.int64)
    folds = make_folds(BINARY, y, n_folds=5, groups=groups)
    assert np.ptp([len(valid) for valid in folds.valid]) < 40
    assert np.ptp([y[valid].mean() for valid in folds.valid]) < 0.02


def test_more_groups_than_are_placed_one_by_one_stay_together():
    groups = np.arange(90_000) // 2
    y = np.tile([0, 1, 1], 30_000)
    folds = make_folds(BINARY, y, n_folds=4, groups=groups)
    assert_partition(folds, 90_000)
    for train, valid in zip(folds.train, folds.valid, strict=True):
        assert not np.intersect1d(groups[train], groups[valid]).size
    assert np.ptp([len(valid) for valid in folds.valid]) < 100


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.75])
def test_a_group_holdout_has_about_the_asked_share(fraction):
    groups = np.arange(1000) % 100
    folds = make_folds(BINARY, np.arange(1000) // 500, n_folds=5, holdout_fraction=fraction,
                       groups=groups)  # fmt: skip
    train, valid = folds.train[0], folds.valid[0]
    assert abs(len(valid) / 1000 - fraction) < 0.02
    assert not np.intersect1d(groups[train], groups[valid]).size


def test_rows_without_a_group_are_one_group():
    groups = pd.Series(["a", None, "b", None, "c", None] * 5)
    folds = make_folds(BINARY, np.tile([0, 1], 15), n_folds=2, groups=groups)
    missing = np.flatnonzero(groups.isna())
    assert sum(bool(np.isin(missing, valid).all()) for valid in folds.valid) == 1
    assert_partition(folds, 30)


def test_time_folds_grow_and_cover_the_later_half():
    time = pd.date_range("2020-01-01", periods=100, freq="D")[::-1]
    folds = make_folds(REGRESSION, np.zeros(100), n_folds=5, time=time)
    assert [len(train) for train in folds.train] == [50, 60, 70, 80, 90]
    np.testing.assert_array_equal(folds.validated, np.arange(50))


def test_time_holdout_is_the_latest_part():
    time = np.arange(50)[::-1]
    folds = make_folds(REGRESSION, np.zeros(50), n_folds=5, holdout_fraction=0.2, time=time)
    np.testing.assert_array_equal(folds.valid[0], np.arange(10))
    assert "latest 20.0%" in folds.reason


@pytest.mark.parametrize(
    "time",
    [
        pd.Series(pd.date_range("2020-01-01", periods=20, tz="Europe/Berlin")),
        pd.Series(range(20), dtype="Int64"),
        pd.Series([f"1/{day}/2020" for day in range(1, 21)]),  # sorts differently as text
        pd.Series([f"2020-01-{day:02}" for day in range(1, 21)]).astype("category"),
        pd.Series([str(number) for number in range(20)], dtype=object),
        pd.Series(pd.period_range("2020-01", periods=20, freq="M")),
        list(range(20)),
        pd.Series([f"2024-10-{day + 10:02}T00:00+0{2 - day // 17}:00" for day in range(20)]),
    ],
    ids=["zone", "nullable", "slashes", "category", "digits", "period", "list", "offsets"],
)
def test_time_of_any_kind_is_put_in_order(time):
    folds = make_folds(REGRESSION, np.zeros(20), n_folds=2, time=time)
    assert [valid.tolist() for valid in folds.valid] == [
        list(range(10, 15)),
        list(range(15, 20)),
    ]


def test_few_distinct_times_give_fewer_folds_and_say_so():
    folds = make_folds(REGRESSION, np.zeros(30), n_folds=5, time=np.repeat([1, 2, 3], 10))
    assert len(folds) == 2
    assert "5 asked, but there are too few different times" in folds.reason


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"n_folds": 1}, InvalidOptionError, "n_folds must be an integer of at least 2, got 1"),
        ({"holdout_fraction": 1.0}, InvalidOptionError, "holdout_fraction must be .* got 1.0"),
        ({"groups": ["a"] * 10}, DataError, "at least 2 groups, got only 'a'"),
        ({"time": [3] * 10}, DataError, "at least 2 different times, got only '3'"),
        ({"time": [1.0, np.nan] * 5}, DataError, "got 5, the first in row 1"),
        ({"time": ["soon", "later"] * 5}, DataError, "text such as 'soon'"),
        ({"time": ["2024-01-01", "NaT", *["2024-01-02"] * 8]}, DataError, "1, the first in row 1"),
        ({"time": pd.Series([1.0, np.nan] * 5, index=range(50, 60))}, DataError, "first in row 51"),
        ({"groups": [[1], [2]] * 5}, DataError, r"group column must hold .* such as \[1\]"),
        ({"groups": [1] * 10, "time": [1] * 10}, DataError, "name one of them only"),
        ({"groups": [1, 2]}, DataError, "groups must have 10 values, one a row, got 2"),
    ],
)
def test_impossible_requests_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        make_folds(BINARY, np.tile([0, 1], 5), **{"n_folds": 3, **options})


def test_one_row_cannot_be_split():
    with pytest.raises(DataError, match="At least 2 labelled rows are needed to validate, got 1"):
        make_folds(REGRESSION, np.zeros(1), n_folds=2)


def test_folds_of_different_pairs_never_share_validation_rows():
    folds = make_folds(BINARY, np.tile([0, 1], 50), n_folds=4)
    for one, other in itertools.combinations(folds.valid, 2):
        assert not np.intersect1d(one, other).size


@pytest.mark.parametrize(
    ("counts", "use"), [(range(50), "is judged on"), (range(60, 100), "learns from")]
)
def test_a_fold_without_rows_that_count_is_named(counts, use):
    weight = np.zeros(100)
    weight[list(counts)] = 1.0
    folds = make_folds(REGRESSION, np.arange(100.0), n_folds=2, time=np.arange(100), seed=0)
    with pytest.raises(DataError, match=rf"that fold \d of 2 {use}.*leave rows of weight 0 out"):
        check_weights(folds, weight)


def test_rows_of_weight_zero_are_no_matter_where_others_count():
    folds = make_folds(REGRESSION, np.arange(100.0), n_folds=4, seed=0)
    check_weights(folds, (np.arange(100) % 2).astype(float))
    check_weights(folds, None)


def test_given_folds_are_the_values_of_the_column():
    fold = pd.Series(["a", None, "b", "a", "c", " "], name="cv")
    folds = given_folds(fold)
    assert [valid.tolist() for valid in folds.valid] == [[0, 3], [2], [4]]
    assert [train.tolist() for train in folds.train][1] == [0, 1, 3, 4, 5]
    assert folds.reason == "3 given by the column 'cv'; 2 rows train only"
    together = given_folds(fold, most=2)
    assert [valid.tolist() for valid in together.valid] == [[0, 3, 4], [2]]


def test_one_given_fold_is_a_holdout():
    folds = given_folds(pd.Series([None, 1.0, None, 1.0]))
    assert (folds.train[0].tolist(), folds.valid[0].tolist()) == ([0, 2], [1, 3])


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([None] * 20, "1 to 50 different values, got 0"),
        (range(60), "1 to 50 different values, got 60"),
        ([None, None, *["valid"] * 18], "more than 10% of the rows.* got one in 18 of 20"),
        (["b", *["a"] * 19], "more than 10% of the rows.* got one in 19 of 20"),
        (["valid", *["Train"] * 3], "must be empty in rows that only train, got 'Train'"),
        ([[1]] * 20, r"must hold numbers or texts, got values such as \[1\]"),
    ],
)
def test_folds_that_cannot_be_used_are_refused(values, match):
    with pytest.raises(DataError, match=match):
        given_folds(pd.Series(values, dtype=object))
