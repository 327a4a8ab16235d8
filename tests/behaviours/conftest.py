"""Predictors fitted once for all behaviour tests, by a budget in trials, hence always the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tests.conftest import make_table

TASKS = ("binary", "multiclass", "regression")
QUICK = FitConfig(
    max_specs=2,
    n_folds=3,
    families=("lightgbm", "linear"),
    exclude=("lightgbm_extra", "lightgbm_large"),
    on_error="raise",
)


@pytest.fixture(scope="session")
def fitted_on(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Predictor]:
    """Return a function from a task to a predictor fitted on `make_table`."""

    @cache
    def fit(task: str) -> Predictor:
        path = tmp_path_factory.mktemp("fitted") / task
        return Predictor("y", path=path, verbosity=0).fit(make_table(task), config=QUICK)

    return fit


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    """Each problem type in turn."""
    return request.param


@pytest.fixture
def predictor(fitted_on: Callable[[str], Predictor], task: str) -> Predictor:
    """Return a fitted predictor of the task."""
    return fitted_on(task)


@pytest.fixture
def new_rows(task: str) -> pd.DataFrame:
    """Return labelled rows that were not trained on, with an index of their own."""
    table = make_table(task, n_rows=40, seed=7)
    return table.set_index(pd.Index([f"row {number}" for number in range(40)], name="id"))
