import tracemalloc

import numpy as np
import pytest

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models import pairs as module
from tabular_automl.models import quick_boosting
from tabular_automl.models.base import MODELS, FittedSpec, ModelSpec, Setting
from tabular_automl.models.pairs import LARGEST, Pairs, bytes_of_extended

REGRESSION = Task(ProblemType.REGRESSION)
TASKS = [REGRESSION, Task(ProblemType.BINARY, 2), Task(ProblemType.MULTICLASS, 3)]
SIGNALS = {
    "b / c": lambda x: x[:, 1] / x[:, 2],
    "b - c": lambda x: x[:, 1] - x[:, 2],
    "b * c": lambda x: x[:, 1] * x[:, 2],
    "b + c": lambda x: x[:, 1] + x[:, 2],
}


def setting_of(task):
    return Setting(task, "log_loss" if task.is_classification else "squared_error", seed=0)


def samples_of(signal="b / c", task=REGRESSION, n_rows=600):
    rng = np.random.default_rng(0)
    numeric = rng.uniform(1.0, 3.0, size=(n_rows, 4)).astype(np.float32)
    codes = rng.integers(0, 4, size=(n_rows, 1)).astype(np.int32)
    table = FeatureTable(numeric, codes, ("a", "b", "c", "d"), ("k",), (4,))
    y = SIGNALS[signal](numeric.astype(np.float64))
    if task.is_classification:
        cuts = np.quantile(y, np.linspace(0, 1, task.n_classes + 1)[1:-1])
        return Samples(table, np.searchsorted(cuts, y).astype(np.int64))
    return Samples(table, (y - y.mean()) / y.std())


def names(pairs, table):
    return pairs.extend(table).numeric_names[len(table.numeric_names) :]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
@pytest.mark.parametrize("signal", list(SIGNALS))
def test_what_the_target_follows_is_chosen_first(signal, task):
    samples = samples_of(signal, task)
    pairs = Pairs.choose(samples, 3, setting_of(task), Budget.unlimited())
    assert len(pairs) == 3
    if task.is_classification:  # b > c is b / c > 1
        assert set(pairs.made_of[0, :2].tolist()) == {1, 2}
    else:
        assert names(pairs, samples.table)[0] in {signal, signal.replace("b / c", "c / b")}


def test_values_are_those_of_the_operations_and_large_where_divided_by_nothing():
    numeric = np.array([[6, 3], [1, 0], [np.nan, 2], [3e38, 3e38]], dtype=np.float32)
    pairs = Pairs(np.array([[0, 1, how] for how in range(4)] + [[1, 0, 3]]))
    found = pairs.values(numeric)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], np.float32([9, 3, 18, 2, 0.5]))
    np.testing.assert_array_equal(found[1], np.float32([1, 1, 0, LARGEST, 0]))
    assert np.isnan(found[2]).all()
    np.testing.assert_array_equal(found[3], np.float32([LARGEST, 0, LARGEST, 1, 1]))


def test_rows_in_blocks_are_as_rows_at_once(monkeypatch):
    samples = samples_of()
    pairs = Pairs.choose(samples, 9, setting_of(REGRESSION), Budget.unlimited())
    at_once = pairs.values(samples.table.numeric)
    monkeypatch.setattr(module, "_BLOCK_ROWS", 7)
    np.testing.assert_array_equal(pairs.values(samples.table.numeric), at_once)


def test_a_part_of_many_rows_chooses(monkeypatch):
    monkeypatch.setattr(quick_boosting, "ROWS", 200)
    found = Pairs.choose(samples_of(), 1, setting_of(REGRESSION), Budget.unlimited())
    assert names(found, samples_of().table)[0] in ("b / c", "c / b")


def test_switches_and_single_numbers_are_not_put_together():
    samples = samples_of()
    switch = (samples.table.numeric > 2).astype(np.float32)
    switch[:, 0] = samples.table.numeric[:, 0]
    table = FeatureTable(switch, samples.table.codes, samples.table.numeric_names, ("k",), (4,))
    assert (
        len(Pairs.choose(Samples(table, samples.y), 5, setting_of(REGRESSION), Budget.unlimited()))
        == 0
    )
    assert len(Pairs.choose(samples, 0, setting_of(REGRESSION), Budget.unlimited())) == 0


def test_weights_count():
    samples = samples_of("b / c")
    other = samples_of("b * c")
    both = Samples(samples.table, np.where(np.arange(len(samples)) % 2, samples.y, other.y))
    for signal, odd in (("b * c", 1e-6), ("b / c", 1e6)):
        weight = np.where(np.arange(len(both)) % 2, odd, 1.0)
        weighted = Samples(both.table, both.y, weight / weight.mean())
        first = names(
            Pairs.choose(weighted, 1, setting_of(REGRESSION), Budget.unlimited()), both.table
        )[0]
        assert first in {signal, signal.replace("b / c", "c / b")}


def fitted(family, task, **params):
    samples = samples_of(task=task)
    spec = ModelSpec.make(family, n_rounds=20, n_pairs=5, **params)
    model = MODELS.get(family)(spec.params, setting_of(task))
    rows = np.random.default_rng(1).permutation(len(samples))
    train, valid = samples.take(rows[:400]), samples.take(rows[400:])
    return model.fit(train, valid, Budget.unlimited()), samples.table


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
@pytest.mark.parametrize("family", ["lightgbm", "catboost"])
def test_a_booster_with_them_is_saved_and_read_back(family, task):
    model, table = fitted(family, task)
    assert len(model.pairs) == 5
    again = FittedSpec.from_state(FittedSpec(family, model).state()).model
    np.testing.assert_array_equal(again.predict(table), model.predict(table))
    again.vet(table)


@pytest.mark.parametrize("family", ["lightgbm", "catboost"])
def test_they_are_worth_having_where_the_target_follows_a_ratio(family):
    table, y = samples_of().table, samples_of().y
    errors = []
    for n_pairs in (0, 5):
        model = MODELS.get(family)(
            ModelSpec.make(family, n_rounds=60, n_pairs=n_pairs).params, setting_of(REGRESSION)
        )
        model.fit(Samples(table, y).take(np.arange(400)), None, Budget.unlimited())
        left = np.arange(400, 600)
        errors.append(np.mean((model.predict(table.take(left))[:, 0] - y[left]) ** 2))
    assert errors[1] < errors[0]


@pytest.mark.parametrize("family", ["lightgbm", "catboost"])
def test_features_of_nothing_are_refused(family):
    model, table = fitted(family, REGRESSION)
    model.pairs = Pairs(model.pairs.made_of + np.array([9, 0, 0]))
    with pytest.raises(ArtifactError, match="made of the table's 4 numeric ones, got number"):
        model.vet(table)
    with pytest.raises(ArtifactError, match="operations of ours"):
        Pairs.from_state(State(arrays={"pairs": np.array([[0, 1, 4]])}))


def test_what_they_take_is_estimated():
    numeric = np.random.default_rng(0).uniform(size=(20_000, 12)).astype(np.float32)
    table = FeatureTable(numeric, np.empty((20_000, 0), np.int32), tuple("abcdefghijkl"))
    samples = Samples(table, numeric.prod(axis=1))
    assert bytes_of_extended(0, table) == 0
    Pairs.choose(samples_of(), 1, setting_of(REGRESSION), Budget.unlimited())  # imports
    tracemalloc.start()
    Pairs.choose(samples, 40, setting_of(REGRESSION), Budget.unlimited()).extend(table).matrix()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.3 < peak / bytes_of_extended(40, table) < 1.0


def test_a_budget_that_ended_chooses_by_the_rounds_that_were_done():
    ended = Budget.start(1e-9)
    assert len(Pairs.choose(samples_of(), 3, setting_of(REGRESSION), ended)) == 3


def test_many_classes_and_wide_tables_have_none(monkeypatch):
    task = Task(ProblemType.MULTICLASS, 11)
    samples = Samples(samples_of().table, np.arange(600) % 11)
    assert not len(Pairs.choose(samples, 3, setting_of(task), Budget.unlimited()))
    monkeypatch.setattr(module, "MOST_FEATURES", 4)
    assert not len(Pairs.choose(samples_of(), 3, setting_of(REGRESSION), Budget.unlimited()))


@pytest.mark.parametrize("family", ["lightgbm", "catboost"])
def test_a_fold_without_a_class_has_them_too(family):
    samples = samples_of(task=TASKS[2])
    spec = ModelSpec.make(family, n_rounds=20, n_pairs=5)
    model = MODELS.get(family)(spec.params, setting_of(TASKS[2]))
    model.fit(samples.take(np.flatnonzero(samples.y != 1)), None, Budget.unlimited())
    assert len(model.pairs) == 5
    assert model.predict(samples.table).shape == (600, 3)
