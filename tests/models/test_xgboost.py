from __future__ import annotations

import copy
import json
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError, DataError, InvalidOptionError, OutOfTimeError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models import xgboost as xgboost_family
from tabular_automl.models.base import Setting
from tabular_automl.models.boosting import _ONE_THREAD_VALUES
from tabular_automl.models.xgboost import XGBoost

pytest.importorskip("xgboost")

BINARY = Task(ProblemType.BINARY, 2)
MULTICLASS = Task(ProblemType.MULTICLASS, 4)
REGRESSION = Task(ProblemType.REGRESSION)
TASKS = [BINARY, MULTICLASS, REGRESSION]


def samples(task: Task, n_rows: int = 300, seed: int = 0) -> Samples:
    """Rows whose target follows the first number and the first category; a NaN here and there."""
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n_rows, 3)).astype(np.float32)
    codes = rng.integers(0, 6, size=(n_rows, 2)).astype(np.int32)
    signal = numeric[:, 0] + 0.7 * codes[:, 0] + 0.3 * rng.normal(size=n_rows)
    numeric[rng.random(numeric.shape) < 0.05] = np.nan
    table = FeatureTable(numeric, codes, ("a", "b", "c"), ("d", "e"), (6, 6))
    if not task.is_classification:
        return Samples(table, (signal - signal.mean()) / signal.std())
    cuts = np.quantile(signal, np.arange(1, task.n_classes) / task.n_classes)
    return Samples(table, np.searchsorted(cuts, signal))


def build(
    task: Task, *, seed: int = 0, n_threads: int = 1, loss: str = "", **params: object
) -> XGBoost:
    loss = loss or ("log_loss" if task.is_classification else "squared_error")
    values = {"n_rounds": 40, "learning_rate": 0.1} | params
    return XGBoost(XGBoost.Params.from_dict(values), Setting(task, loss, seed, n_threads))


def split(data: Samples) -> tuple[Samples, Samples]:
    """Training rows in no order, and validation rows."""
    order = np.random.default_rng(1).permutation(len(data))
    return data.take(order[:220]), data.take(order[220:])


def fit(task: Task, **params: object) -> tuple[XGBoost, Samples]:
    train, valid = split(samples(task))
    return build(task, **params).fit(train, valid, Budget.unlimited()), valid


def error(task: Task, y: np.ndarray, prediction: np.ndarray) -> float:
    if task.is_classification:
        return float(-np.log(np.clip(prediction[np.arange(len(y)), y], 1e-9, 1.0)).mean())
    return float(((y - prediction[:, 0]) ** 2).mean())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
def test_it_learns_and_its_state_predicts_the_same(task: Task) -> None:
    model, valid = fit(task)
    prediction = model.predict(valid.table)
    assert prediction.shape == (len(valid), task.n_outputs)
    assert prediction.dtype == np.float64
    base = np.log(task.n_classes) if task.is_classification else 1.0
    assert error(task, valid.y, prediction) < 0.7 * base
    restored = build(task)
    restored.restore(model.state())
    np.testing.assert_allclose(restored.predict(valid.table), prediction, atol=1e-9)
    assert restored.fitted_params() == model.fitted_params()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
def test_single_rows_and_no_rows_are_predicted_as_in_the_batch(task: Task) -> None:
    model, valid = fit(task)
    whole = model.predict(valid.table)
    np.testing.assert_allclose(model.predict(valid.table.take([3])), whole[[3]], atol=1e-6)
    assert model.predict(valid.table.take([])).shape == (0, task.n_outputs)


def test_unsorted_training_rows_keep_their_own_targets() -> None:
    data = samples(REGRESSION)
    order = np.random.default_rng(2).permutation(len(data))
    shuffled = build(REGRESSION).fit(data.take(order), None, Budget.unlimited())
    assert error(REGRESSION, data.y, shuffled.predict(data.table)) < 0.3


def test_the_seed_decides_and_threads_do_not() -> None:
    data = samples(BINARY, 3_000)
    train, valid = data.take(np.arange(2_500)), data.take(np.arange(2_500, 3_000))
    assert len(train) * train.table.n_features > _ONE_THREAD_VALUES
    same = [
        build(BINARY, seed=3, n_threads=n).fit(train, valid, Budget.unlimited()) for n in (1, 1, 2)
    ]
    first, second, threaded = (model.predict(valid.table) for model in same)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, threaded, atol=1e-9)


def test_folds_trained_side_by_side_equal_folds_trained_in_turn() -> None:
    data = samples(BINARY)
    rows = np.arange(len(data))
    folds = [(data.take(rows[rows % 2 != i]), data.take(rows[rows % 2 == i])) for i in (0, 1)]
    in_turn = [build(BINARY).fit(*fold, Budget.unlimited()) for fold in folds]
    fresh = samples(BINARY)
    together = [build(BINARY), build(BINARY)]

    def run(i: int) -> None:
        train, valid = fresh.take(rows[rows % 2 != i]), fresh.take(rows[rows % 2 == i])
        together[i].fit(train, valid, Budget.unlimited())

    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for alone, beside in zip(in_turn, together, strict=True):
        np.testing.assert_array_equal(alone.predict(data.table), beside.predict(data.table))


@pytest.mark.parametrize(
    ("task", "params", "weight"),
    [
        (BINARY, {}, 1.0),
        (MULTICLASS, {}, 1.0),
        (REGRESSION, {}, 5.0),
        (REGRESSION, {"min_child_weight": 0.5}, 0.5),
    ],
)
def test_leaves_for_numbers_hold_more_unless_told(task, params, weight) -> None:
    model, _ = fit(task, **params)
    assert model._options()["min_child_weight"] == weight


def test_a_lone_row_moves_no_leaf_of_its_own() -> None:
    table = FeatureTable(
        np.arange(40, dtype=np.float32)[:, None], np.zeros((40, 0), np.int32), ("a",), (), ()
    )
    lone = Samples(table, np.r_[np.zeros(39), 1000.0])
    model = build(REGRESSION, n_rounds=60, learning_rate=0.3).fit(lone, None, Budget.unlimited())
    prediction = model.predict(table)[:, 0]
    assert prediction[-1] == prediction[-2] < 500


def test_fitted_params_refit_with_the_rounds_and_the_rate_used() -> None:
    train, valid = split(samples(BINARY))
    model = build(BINARY, n_rounds=500, learning_rate=None).fit(train, valid, Budget.unlimited())
    chosen = model.fitted_params()
    assert chosen.n_rounds < 500
    assert chosen.learning_rate is not None
    refitted = XGBoost(chosen, model.setting).fit(train, None, Budget.unlimited())
    assert refitted.fitted_params().n_rounds == chosen.n_rounds
    assert model.params.n_rounds == 500
    np.testing.assert_allclose(refitted.predict(valid.table), model.predict(valid.table), atol=1e-4)


def test_classes_without_training_rows_get_a_small_probability() -> None:
    train, valid = split(samples(MULTICLASS))
    train = train.take(np.flatnonzero(train.y != 2))
    model = build(MULTICLASS).fit(train, valid, Budget.unlimited())
    prediction = model.predict(valid.table)
    np.testing.assert_allclose(prediction.sum(axis=1), 1.0)
    assert 0.0 < prediction[:, 2].max() < 0.01


def test_training_rows_of_one_class_give_that_class() -> None:
    train, valid = split(samples(BINARY))
    train = Samples(train.table, np.ones_like(train.y))
    model = build(BINARY).fit(train, valid, Budget.unlimited())
    restored = build(BINARY)
    restored.restore(model.state())
    assert (restored.predict(valid.table)[:, 1] > 0.99).all()


def test_one_target_value_is_predicted_exactly() -> None:
    train, valid = split(samples(REGRESSION))
    train = Samples(train.table, np.full(len(train), 0.25))
    model = build(REGRESSION).fit(train, valid, Budget.unlimited())
    np.testing.assert_array_equal(model.predict(valid.table), 0.25)


def test_weights_pull_predictions_towards_heavy_rows() -> None:
    train, valid = split(samples(REGRESSION))
    means = []
    for heavy in (train.y > 0, train.y < 0):
        weighted = Samples(train.table, train.y, np.where(heavy, 1.9, 0.1))
        model = build(REGRESSION).fit(weighted, valid, Budget.unlimited())
        means.append(model.predict(valid.table).mean())
    assert means[0] > means[1] + 0.2


def test_absolute_error_is_minimised_when_asked_for() -> None:
    train, valid = split(samples(REGRESSION))
    model = build(REGRESSION, loss="absolute_error").fit(train, valid, Budget.unlimited())
    assert np.abs(model.predict(valid.table)[:, 0] - valid.y).mean() < 0.5


def test_unseen_levels_and_missing_values_are_predicted() -> None:
    train, valid = split(samples(BINARY))
    train = train.take(np.flatnonzero(train.table.codes[:, 0] != 5))
    model = build(BINARY).fit(train, valid, Budget.unlimited())
    table = FeatureTable(
        np.full((2, 3), np.nan, dtype=np.float32),
        np.array([[5, 5], [0, 0]], dtype=np.int32),
        *(valid.table.numeric_names, valid.table.code_names, valid.table.n_levels),
    )
    assert np.isfinite(model.predict(table)).all()


def test_a_short_deadline_gives_a_model_or_a_clear_error() -> None:
    train, valid = split(samples(BINARY))
    with pytest.raises(OutOfTimeError, match="XGBoost needs time for at least one tree"):
        build(BINARY).fit(train, valid, Budget.start(0.0))


def test_a_deadline_ends_endless_boosting() -> None:
    train, valid = split(samples(REGRESSION))
    params = {"n_rounds": 100_000, "learning_rate": 0.001}
    model = build(REGRESSION, **params).fit(train, None, Budget.start(2.0))
    assert 0 < model.fitted_params().n_rounds < 100_000
    assert np.isfinite(model.predict(valid.table)).all()


def test_a_table_without_features_is_refused() -> None:
    table = FeatureTable.empty(10)
    with pytest.raises(DataError, match="XGBoost needs at least one feature"):
        build(BINARY).fit(Samples(table, np.arange(10) % 2), None, Budget.unlimited())


def test_an_unknown_hyperparameter_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="learning_rate"):
        build(BINARY, learning_rat=0.1)


def test_nothing_is_printed_and_nothing_warned(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, valid = fit(MULTICLASS)
        model.predict(valid.table)
        build(MULTICLASS).restore(model.state())
    assert capfd.readouterr() == ("", "")


def test_the_memory_estimate_grows_with_the_rows() -> None:
    params = XGBoost.Params()
    small, large = (samples(BINARY, n_rows=n).table for n in (100, 10_000))
    estimates = [XGBoost.estimate_bytes(params, table, BINARY) for table in (small, large)]
    assert large.n_bytes < estimates[1]
    assert estimates[0] < estimates[1]


def test_state_holds_one_native_blob() -> None:
    state = fit(BINARY)[0].state()
    assert isinstance(state, State)
    assert list(state.blobs) == ["booster.ubj"]
    assert not state.arrays


def test_the_number_of_threads_never_changes_under_a_prediction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = fit(REGRESSION, n_rounds=3)
    copied = copy.copy(model)
    copied.setting = replace(model.setting, n_threads=2)
    stored = model._booster
    watched = Watched(stored.get())
    monkeypatch.setattr(stored, "_booster", watched)
    many = samples(REGRESSION, n_rows=600).table
    jobs = [(each, table) for each in (model, copied) for table in (many, many.take([0, 1]))]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda job: job[0].predict(job[1]), jobs * 5))
    assert watched.n_calls == 20
    assert not watched.is_disturbed


def test_a_booster_that_is_read_again_predicts_with_the_threads_it_is_told() -> None:
    model, valid = fit(REGRESSION, n_rounds=3)
    for _ in range(2):
        model.predict(valid.table)
        config = json.loads(model._booster.get().save_config())
        assert config["learner"]["generic_param"]["nthread"] == "1"
        model.set_aside()


class Watched:
    """A booster that notes whether it was told something while it predicted."""

    def __init__(self, booster: object) -> None:
        self.booster, self.n_calls = booster, 0
        self.is_busy = self.is_disturbed = False

    def set_param(self, options: dict[str, int]) -> None:
        self.is_disturbed |= self.is_busy
        self.booster.set_param(options)

    def inplace_predict(self, matrix: np.ndarray) -> np.ndarray:
        self.is_busy, self.n_calls = True, self.n_calls + 1
        time.sleep(0.005)
        raw = self.booster.inplace_predict(matrix)
        self.is_busy = False
        return raw


def test_the_end_is_rehearsed_on_the_threads_that_were_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[int] = []
    predict_on = xgboost_family._predict_on

    def watched(trees: object, matrix: np.ndarray, n_threads: int) -> object:
        used.append(n_threads)
        return predict_on(trees, matrix, n_threads)  # type: ignore[arg-type]

    monkeypatch.setattr(xgboost_family, "_predict_on", watched)
    asked: list[tuple[int, int]] = []

    def quickest(start: object, n_threads: int, shape: tuple[int, int], budget: Budget) -> int:
        asked.append(shape)
        return 1

    monkeypatch.setattr(xgboost_family, "quickest_threads", quickest)
    train, valid = split(samples(REGRESSION))
    build(REGRESSION, n_threads=2).fit(train, valid, Budget.start(60))
    assert asked == [(220, 5)]
    assert set(used) == {1}
    used.clear()
    build(REGRESSION, n_threads=2).fit(train, valid, Budget.unlimited())
    assert used == []


def test_trees_of_a_quantile_are_vetted_without_complaint() -> None:
    model, valid = fit(REGRESSION, loss="quantile_0.9")
    restored = build(REGRESSION, loss="quantile_0.9")
    restored.restore(model.state())
    restored.vet(valid.table)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
def test_trees_of_ours_are_vetted_without_complaint(task: Task) -> None:
    model, valid = fit(task)
    restored = build(task)
    restored.restore(model.state())
    restored.vet(valid.table)
    with pytest.raises(ArtifactError, match="trees of an XGBoost model must be for"):
        restored.vet(FeatureTable(valid.table.numeric[:, :2], valid.table.codes[:, :0], ("a", "b")))


def test_trees_that_are_no_trees_are_refused() -> None:
    model, _ = fit(BINARY)
    restored = build(BINARY)
    restored.restore(State(meta=model.state().meta, blobs={"booster.ubj": b"{}"}))
    with pytest.raises(ArtifactError, match="must be readable by XGBoost"):
        restored.predict(samples(BINARY).table)


TREE = {
    "left_children": [1, 3, -1, -1, -1],
    "right_children": [2, 4, -1, -1, -1],
    "split_indices": [0, 1, 0, 0, 0],
    "split_conditions": [0.5, 0.0, 0.1, 0.2, 0.3],
    "split_type": [0, 1, 0, 0, 0],
    "categories": [2, 3],
    "categories_nodes": [1],
    "categories_segments": [0],
    "categories_sizes": [2],
}


@pytest.mark.parametrize(
    "change",
    [
        {"left_children": [0, 3, -1, -1, -1]},  # a root that is its own child
        {"left_children": [1, 1, -1, -1, -1]},
        {"left_children": [1, 5, -1, -1, -1]},
        {"left_children": [1, 3, -2, -1, -1]},
        {"left_children": [1, 3, -1, -1]},
        {"right_children": [3, 4, -1, -1, -1]},
        {"right_children": [-1, 4, -1, -1, -1]},
        {"split_indices": [0, 2, 0, 0, 0]},
        {"split_conditions": [0.5, 0.0, 0.1, 0.2, np.inf]},
        {"split_type": [1, 1, 0, 0, 0]},  # a set that is not there
        {"categories_segments": [1]},
        {"categories_sizes": [-1]},
    ],
)
def test_a_tree_that_leads_nowhere_is_seen(change: dict[str, list[float]]) -> None:
    assert xgboost_family._is_walkable(TREE, 2)
    assert not xgboost_family._is_walkable(TREE | change, 2)
