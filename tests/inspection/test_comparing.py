"""Which of two predictors is better, and what could be chance."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.data.schema import Column, Kind, Schema
from tabular_automl.data.task import ProblemType, TargetCodec, Task
from tabular_automl.fitted import FittedPipeline
from tabular_automl.inspection.comparing import Contestant, compare
from tabular_automl.inspection.evaluation import LabelledRows
from tabular_automl.metrics.base import METRICS
from tabular_automl.metrics.resolve import make_metric
from tests.conftest import make_table

RMSE = METRICS.get("root_mean_squared_error")


def contestant(y, prediction, weight=None, groups=None):
    labels = pd.Series(y, name="y")
    codec = TargetCodec.fit(labels, Task(ProblemType.REGRESSION), "squared_error")
    schema = Schema(() if groups is None else (Column("g", Kind.GROUP, "given"),))
    pipeline = FittedPipeline(codec, SimpleNamespace(schema=schema), None)
    table = labels.to_frame() if groups is None else labels.to_frame().assign(g=groups)
    return Contestant(pipeline, LabelledRows(table, y, weight), prediction[:, None])


def noisy(n_rows, first, second, seed=0):
    """Return two contestants whose predictions are off by so much, mostly in the same rows."""
    rng = np.random.default_rng(seed)
    y, shared = rng.normal(size=n_rows), rng.normal(size=n_rows)
    return [
        contestant(y, y + size * (shared + 0.1 * rng.normal(size=n_rows)))
        for size in (first, second)
    ]


def test_what_is_better_by_more_than_chance_is_told_from_what_is_not():
    better = compare(*noisy(500, 1.0, 0.9), RMSE)
    assert better.verdict == "better"
    assert better.low < better.gain < better.high
    assert better.gain == pytest.approx(better.figure - better.other_figure)
    assert compare(*noisy(500, 0.9, 1.0), RMSE).verdict == "worse"
    assert compare(*noisy(500, 1.0, 1.0, seed=1), RMSE).verdict == "no different beyond chance"


def test_the_interval_covers_the_true_gain_about_as_often_as_it_says():
    inside = [
        found.low <= 0.1 * np.sqrt(1.01) <= found.high
        for found in (compare(*noisy(300, 1.0, 0.9, seed), RMSE) for seed in range(60))
    ]
    assert np.mean(inside) >= 0.85


def test_many_rows_are_drawn_in_part_and_narrow_the_interval(monkeypatch):
    whole = compare(*noisy(4_000, 1.0, 0.95), RMSE)
    monkeypatch.setattr("tabular_automl.inspection.comparing._MOST_ROWS", 500)
    part = compare(*noisy(4_000, 1.0, 0.95), RMSE)
    assert part.gain == whole.gain
    assert part.high - part.low == pytest.approx(whole.high - whole.low, rel=0.3)


def test_rows_without_weight_change_nothing():
    one, other = noisy(400, 1.0, 0.9)
    weight = np.repeat([1.0, 0.0], 200)
    heavy = [contestant(c.rows.y, c.prediction[:, 0], weight) for c in (one, other)]
    light = [contestant(c.rows.y[:200], c.prediction[:200, 0]) for c in (one, other)]
    assert compare(*heavy, RMSE).gain == pytest.approx(compare(*light, RMSE).gain)


def test_few_rows_say_nothing_of_chance():
    found = compare(*noisy(20, 1.0, 0.1), RMSE)
    assert found.verdict == "no different beyond chance"
    assert "too little is there to tell" in str(found)


def test_rows_of_a_group_are_drawn_together():
    rng = np.random.default_rng(0)
    groups, y = np.arange(1_000) // 20, rng.normal(size=1_000)
    luck = rng.normal(size=50)[groups]  # all rows of a group are off alike
    predictions = [y + 1.0 + 0.0 * luck, y + 1.0 + 0.3 * luck]
    alone = compare(*(contestant(y, each) for each in predictions), RMSE)
    grouped = compare(*(contestant(y, each, groups=groups) for each in predictions), RMSE)
    assert grouped.gain == alone.gain
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)


def test_a_metric_that_cannot_judge_draws_says_nothing_of_chance():
    def stubborn(y, prediction):
        if len(np.unique(y)) < len(y):  # a row came twice
            raise ZeroDivisionError
        return float(np.abs(y - prediction).mean())

    metric = make_metric(stubborn, needs="value", greater_is_better=False)
    found = compare(*noisy(50, 1.0, 0.5), metric)
    assert found.verdict == "no different beyond chance"
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.gain > 0


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    """Return one fitted on few columns and one on all of them."""
    folder, binary_table = tmp_path_factory.mktemp("compared"), make_table("binary")
    config = FitConfig(max_specs=1, n_folds=2, families=("lightgbm",))
    tables = {"few": binary_table[["y", "constant"]], "all": binary_table}
    return [
        Predictor("y", path=folder / name, verbosity=0).fit(table, config=config)
        for name, table in tables.items()
    ]


def test_predictors_are_compared_on_a_table(predictors, binary_table):
    few, of_all = predictors
    found = few.compare(of_all, binary_table)
    assert found.verdict == "better"
    assert found.figure == pytest.approx(few.evaluate(binary_table)[found.metric])
    assert found.other_figure == pytest.approx(of_all.evaluate(binary_table)[found.metric])
    assert str(found).startswith(f"{found.metric} on {len(binary_table)} rows: ")
    assert of_all.compare(few, binary_table).verdict == "worse"
    assert of_all.compare(of_all, binary_table).gain == 0.0


@pytest.mark.parametrize("asked", ["binary", "regression"])
def test_predictors_of_different_things_are_refused(
    predictors, binary_table, regression_table, tmp_path, asked
):
    config = FitConfig(max_specs=1, n_folds=2, families=("linear",))
    other = Predictor("y", path=tmp_path / "p", verbosity=0).fit(regression_table, config=config)
    pair = [predictors[0], other]
    one, two = pair if asked == "binary" else pair[::-1]
    with pytest.raises(InvalidOptionError, match=rf"does, 'y' \({asked}\), got a predictor of"):
        one.compare(two, binary_table)
    rooms = Predictor("rooms", path=tmp_path / "q", verbosity=0, problem_type="regression")
    rooms.fit(regression_table, config=config)
    with pytest.raises(InvalidOptionError, match="got a predictor of 'rooms'"):
        other.compare(rooms, regression_table)
