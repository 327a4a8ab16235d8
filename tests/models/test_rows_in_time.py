"""Of a long table, boosters learn from as many rows as there is time for."""

import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models import rows_in_time as module
from tabular_automl.models.base import MODELS, Setting
from tabular_automl.models.rows_in_time import Timing, rows_in_time

BINARY = Task(ProblemType.BINARY, 2)
REGRESSION = Task(ProblemType.REGRESSION)
SETTING = Setting(BINARY, "log_loss", 0, 1)


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch):
    monkeypatch.setattr(module, "MANY_ROWS", 500)
    monkeypatch.setattr(module, "_FEWER_TO_TIME", 50)
    monkeypatch.setattr(module, "_FEW_TO_TIME", 200)
    monkeypatch.setattr(module, "_AMPLE_SECONDS", 1.0)


def samples(n_rows=2_000):
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(n_rows, 2)).astype(np.float32)
    codes = rng.integers(0, 5, (n_rows, 1)).astype(np.int32)
    y = (numeric[:, 0] + codes[:, 0] > 2).astype(np.int64)
    return Samples(FeatureTable(numeric, codes, ("a", "b"), ("c",), (5,)), y)


def taking(of_no_rows, per_row):
    """Return what would find out that rounds take so long."""
    return lambda few, most_seconds: Timing(0.0, of_no_rows + per_row * len(few))


def drawn(data, attempt, n_rounds=10, seconds=100.0):
    some, n_drawn = rows_in_time(data, SETTING, n_rounds, Budget.start(seconds), attempt)
    assert n_drawn == (None if some is data else len(some))
    return some


def test_all_rows_are_taken_where_there_is_time_or_no_clock():
    data = samples()
    assert drawn(data, taking(0.0, 1e-6)) is data

    def never(few, most_seconds):
        raise AssertionError("nothing needs to be timed")

    few = data.take(np.arange(500))
    assert drawn(few, never) is few
    assert rows_in_time(data, SETTING, 10, Budget.unlimited(), never) == (data, None)


def test_nothing_is_timed_where_there_is_ample_time():
    data, seen = samples(), []

    def attempt(few, most_seconds):
        seen.append(len(few))
        return Timing(0.0, 1e9)

    n_values = 2_000 * 3 * 2
    assert drawn(data, attempt, n_rounds=10, seconds=10 * n_values + 60.0) is data
    assert not seen
    assert drawn(data, attempt, n_rounds=10, seconds=10 * n_values - 1.0) is not data
    assert seen


def test_what_rounds_take_without_rows_is_known_apart():
    n_rows = len(drawn(samples(), taking(1.0, 0.01)))
    assert n_rows == pytest.approx((0.9 * 100 - 10 * 1.0) / (10 * 0.01), abs=2)


def test_never_are_fewer_drawn_than_the_more_that_are_timed():
    assert len(drawn(samples(), taking(1e9, 0.0))) == 200


def test_drawn_rows_are_a_table_of_their_own_that_holds_the_same_values():
    data = samples()
    some = drawn(data, taking(0.0, 0.01))
    assert some.table.root is some.table
    rows = {tuple(row) for row in data.table.matrix()}
    assert all(tuple(row) in rows for row in some.table.matrix())


def test_rows_of_one_number_or_of_no_weight_are_not_learned_from_alone():
    data = samples()
    flat = Samples(data.table, np.where(np.arange(2_000) == 7, 1.0, 0.0))
    setting = Setting(REGRESSION, "squared_error", 0, 1)
    attempt = taking(0.0, 1e9)
    assert rows_in_time(flat, setting, 10, Budget.start(100.0), attempt) == (flat, None)
    nothing = Samples(data.table, data.y, np.where(np.arange(2_000) == 7, 2_000.0, 0.0))
    assert rows_in_time(nothing, SETTING, 10, Budget.start(100.0), attempt) == (nothing, None)


@pytest.fixture
def clock(monkeypatch):
    """The time, which only stands still."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("most_seconds", "n_rounds", "pace"), [(100, 6, 2), (12, 3, 2), (1, 2, 2)])
def test_rounds_are_timed_after_what_prepares_them_while_there_is_time(
    clock, most_seconds, n_rounds, pace
):
    boosted = []

    def boost():
        boosted.append(1)
        clock[0] += 2.0

    def start():
        clock[0] += 7.0
        return boost

    timing = Timing.of(start, most_seconds)
    assert len(boosted) == n_rounds
    assert (timing.preparation, timing.seconds) == (9.0, pace)
    assert timing.of_rounds(10) == 9.0 + 10 * pace


def test_what_is_slow_is_timed_on_the_fewest_rows_only(clock):
    seen = []

    def attempt(few, most_seconds):
        seen.append(len(few))
        clock[0] += 2 * most_seconds
        return Timing(0.0, 1.0)

    # half of the 10 seconds of 50 rows grow with the rows, of what 5 % of the time left over
    assert len(drawn(samples(), attempt)) == int((0.9 * (100.0 - 10.0) - 5.0) / (5.0 / 50))
    assert seen == [50]


@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "catboost"])
def test_boosters_learn_from_some_of_many_rows_and_from_all_in_trials_and_refits(
    family, monkeypatch
):
    lengths = []
    draw = Samples.of_draw

    def noting(data, rows):
        lengths.append(len(rows.rows))
        return draw(data, rows)

    monkeypatch.setattr(Samples, "of_draw", noting)
    monkeypatch.setattr(Timing, "of_rounds", lambda timing, n_rounds: 1e9)
    data, made = samples(), MODELS.get(family)
    train, valid = data.take(np.arange(1_500)), data.take(np.arange(1_500, 2_000))

    def fitted(budget):
        params = made.Params(n_rounds=30, learning_rate=0.3)
        return made(params, Setting(BINARY, "log_loss", 0, 1)).fit(train, valid, budget)

    model = fitted(Budget.start(600.0))
    answer = model.predict(valid.table)
    assert lengths == [50, 200, 200]
    assert model.n_drawn == 200
    assert ((answer[:, 1] > 0.5) == valid.y).mean() > 0.8
    lengths.clear()
    assert fitted(Budget.unlimited()).n_drawn is None
    refitted = made(model.params, model.setting).fit(train, None, Budget.start(600.0))
    assert refitted.n_drawn is None
    assert not lengths
