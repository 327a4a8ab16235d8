"""What holds for any table: fit, save, load and predict, whatever the columns are."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabular_automl import AutoMLError, FitConfig, Predictor

QUICK = FitConfig(families=("linear",), max_specs=1, n_folds=2, on_error="raise")
RELAXED = settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)

NAMES = st.lists(
    st.one_of(st.text(max_size=8), st.integers(-3, 3), st.sampled_from(["index", "a:b"])),
    min_size=1, max_size=4, unique_by=str,
)  # fmt: skip
CELLS = [
    st.one_of(st.none(), st.floats(-1e12, 1e12)),
    st.one_of(st.none(), st.sampled_from(["a", "b", "ä", "", "1,234", " 12 ", "nan"])),
    st.integers(-5, 5),
    st.booleans(),
    st.one_of(st.none(), st.dates().map(str)),
    st.one_of(st.none(), st.text(max_size=30)),
    st.one_of(st.none(), st.integers(), st.text(max_size=3), st.floats()),
]


@st.composite
def tables(draw):
    """Return a table with columns of any sort and a label "target" of any task."""
    n_rows = draw(st.integers(8, 40))
    columns = {
        name: pd.Series(
            draw(st.lists(draw(st.sampled_from(CELLS)), min_size=n_rows, max_size=n_rows)),
            dtype=object,
        )
        for name in draw(NAMES)
    }
    kind = draw(st.sampled_from(["number", "class", "many"]))
    seed = draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    target = {
        "number": rng.normal(size=n_rows),
        "class": np.where(np.arange(n_rows) % 2 == 0, "yes", "no"),
        "many": rng.permutation(np.arange(n_rows) % 3).astype(str),
    }[kind]
    return pd.DataFrame(columns).assign(target=target)


@RELAXED
@given(tables())
def test_a_predictor_or_an_error_of_the_librarys_own(table):
    before = table.copy(deep=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p"
        try:
            predictor = Predictor("target", path=path, verbosity=0).fit(table, config=QUICK)
        except AutoMLError:
            return
        predicted = predictor.predict(table)
        loaded = Predictor.load(path, verbosity=0)
        pd.testing.assert_series_equal(loaded.predict(table), predicted, rtol=1e-6)
        assert loaded.validate(table).ok
    assert predicted.notna().all()
    pd.testing.assert_frame_equal(table, before)


@RELAXED
@given(tables(), tables(), st.booleans())
def test_any_other_table_can_be_validated_and_predicted_when_coerced(table, other, renamed):
    if renamed:  # same columns, other values
        names = dict(zip(other.columns, table.columns, strict=False))
        other = other.drop(columns="target").rename(columns=names)
        other = other.loc[:, ~other.columns.duplicated()]
    with tempfile.TemporaryDirectory() as folder:
        try:
            predictor = Predictor("target", path=Path(folder) / "p", verbosity=0)
            predictor.fit(table, config=QUICK)
        except AutoMLError:
            return
    predicted = predictor.predict(other, on_mismatch="coerce")
    assert len(predicted) == len(other)
    assert predicted.notna().all()
    report = predictor.validate(other)
    assert report.can_predict or "error" in str(report)
    if report.can_predict:
        pd.testing.assert_series_equal(predictor.predict(other), predicted)
    else:
        with pytest.raises(AutoMLError):
            predictor.predict(other)


@RELAXED
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_columns_does_not_change_predictions(table, random):
    with tempfile.TemporaryDirectory() as folder:
        try:
            predictor = Predictor("target", path=Path(folder) / "p", verbosity=0)
            predictor.fit(table, config=QUICK)
        except AutoMLError:
            return
    rows, columns = list(table.index), list(table.columns)
    random.shuffle(rows)
    random.shuffle(columns)
    expected = predictor.predict(table).loc[rows]
    pd.testing.assert_series_equal(predictor.predict(table.loc[rows, columns]), expected)


@pytest.mark.slow
@settings(RELAXED, max_examples=1000)
@given(tables())
def test_a_thousand_tables(table):
    test_a_predictor_or_an_error_of_the_librarys_own.hypothesis.inner_test(table)
