"""What holds for any table: fit, save, load and predict, whatever the columns are."""

import datetime
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabular_automl import AutoMLError, FitConfig, Predictor

QUICK = FitConfig(families=("linear",), max_specs=1, n_folds=2, on_error="raise")
RELAXED = settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
LEAST_FITTED = 0.9  # of the tables that are drawn: an error is an answer, but a rare one

NAMES = st.lists(
    st.one_of(st.text(max_size=8), st.integers(-3, 3), st.sampled_from(["index", "a:b"])),
    min_size=1, max_size=4, unique_by=str,
)  # fmt: skip
TIMES = st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2150, 1, 1))
CELLS = [
    st.one_of(st.none(), st.floats(-1e12, 1e12)),
    st.one_of(st.none(), st.sampled_from(["a", "b", "ä", "", "1,234", " 12 ", "nan"])),
    st.integers(-5, 5),
    st.booleans(),
    st.one_of(st.none(), st.dates().map(str)),
    st.one_of(st.none(), st.text(max_size=30)),
    st.one_of(st.none(), st.integers(), st.text(max_size=3), st.floats()),
]
# Cells by the dtype of their column; those above make columns of objects.
TYPED = {
    "float32": st.one_of(st.none(), st.floats(width=32)),
    "float64": st.floats(),
    "int8": st.integers(-128, 127),
    "uint64": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
    "Float64": st.one_of(st.none(), st.floats(allow_nan=False)),
    "Int64": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    "boolean": st.one_of(st.none(), st.booleans()),
    "string": st.one_of(st.none(), st.text(max_size=8)),
    "category": st.one_of(st.none(), st.sampled_from("abc")),
    "datetime64[ns]": st.one_of(st.none(), TIMES),
    "datetime64[us, UTC]": st.one_of(st.none(), TIMES),
    "timedelta64[ns]": st.one_of(st.none(), st.timedeltas(*map(datetime.timedelta, (-99, 99)))),
}
KINDS = [*(("object", cells) for cells in CELLS), *TYPED.items()]


@st.composite
def tables(draw, kinds=KINDS, names=NAMES):
    """Return a table with columns of any sort and a label "target" of any task."""
    n_rows = draw(st.integers(8, 40))
    columns = {}
    for name in draw(names):
        dtype, cells = draw(st.sampled_from(kinds))
        drawn = draw(st.lists(cells, min_size=n_rows, max_size=n_rows))
        columns[name] = pd.Series(drawn, dtype=dtype)
    kind = draw(st.sampled_from(["number", "class", "many"]))
    seed = draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    target = {
        "number": rng.normal(size=n_rows),
        "class": np.where(np.arange(n_rows) % 2 == 0, "yes", "no"),
        "many": rng.permutation(np.arange(n_rows) % 3).astype(str),
    }[kind]
    return pd.DataFrame(columns).assign(target=target)


# Columns of one type each, which polars wants; its names are texts.
POLARS_TABLES = tables(list(TYPED.items()), NAMES.map(lambda names: list(map(str, names)))).map(
    pl.from_pandas
)


def share_that_fits(strategy, n_tables):
    """Check the predictors of some tables, and return the share of tables that had one."""
    fitted = []

    @settings(RELAXED, max_examples=n_tables)
    @given(strategy)
    def check(table):
        fitted.append(fits_and_predicts(table))

    check()
    return np.mean(fitted)


def fits_and_predicts(table):
    """Return whether a table has a predictor, which then must work, or an error of ours."""
    before = table.clone() if isinstance(table, pl.DataFrame) else table.copy(deep=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p"
        try:
            predictor = Predictor("target", path=path, verbosity=0).fit(table, config=QUICK)
        except AutoMLError:
            return False
        predicted = predictor.predict(table)
        loaded = Predictor.load(path, verbosity=0)
        pd.testing.assert_series_equal(loaded.predict(table), predicted, rtol=1e-6)
        assert loaded.validate(table).ok
    assert predicted.notna().all()
    assert len(predicted) == len(table)
    assert table.equals(before)
    return True


def test_a_predictor_or_rarely_an_error_of_the_librarys_own():
    assert share_that_fits(tables(), 40) >= LEAST_FITTED


@pytest.mark.parametrize("dtype", TYPED)
def test_a_column_of_any_dtype_gives_a_predictor(dtype):
    assert share_that_fits(tables([(dtype, TYPED[dtype])]), 5) >= LEAST_FITTED


def test_a_polars_table_gives_a_predictor():
    assert share_that_fits(POLARS_TABLES, 25) >= LEAST_FITTED


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
def test_a_thousand_tables():
    assert share_that_fits(st.one_of(tables(), POLARS_TABLES), 1000) >= LEAST_FITTED
