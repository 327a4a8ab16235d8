import dataclasses

import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError, DataError, OutOfTimeError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models.base import FittedSpec, Setting
from tabular_automl.models.neighbors import Neighbors, NeighborsParams, _positions_of_largest

BINARY = Task(ProblemType.BINARY, 2)
MULTICLASS = Task(ProblemType.MULTICLASS, 4)
REGRESSION = Task(ProblemType.REGRESSION)


def samples(task, n_rows=300, seed=0, decimals=None):
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n_rows, 2)).astype(np.float32)
    signal = np.sin(2 * numeric[:, 0]) + numeric[:, 1]
    y = (signal - signal.mean()) / signal.std()
    if task.is_classification:
        cuts = [0.0] if task.n_classes == 2 else [-0.6, 0.5]
        y = np.digitize(y, cuts).astype(np.int64)
    if decimals is not None:
        numeric = numeric.round(decimals)
    return Samples(FeatureTable(numeric, np.empty((n_rows, 0), np.int32), ("a", "b")), y)


def fitted(task, train, *, valid=None, loss="squared_error", budget=None, **params):
    setting = Setting(task, "log_loss" if task.is_classification else loss, 3)
    model = Neighbors(NeighborsParams(**params), setting)
    return model.fit(train, valid, budget or Budget.unlimited())


def test_regression_agrees_with_scikit_learn():
    from sklearn.neighbors import KNeighborsRegressor

    train, table = samples(REGRESSION), samples(REGRESSION, 150, seed=1).table
    model = fitted(REGRESSION, train, n_neighbors=7, distance_power=0.0)
    encode = model.encoder.transform
    reference = KNeighborsRegressor(7).fit(encode(train.table), train.y)
    assert np.allclose(model.predict(table)[:, 0], reference.predict(encode(table)), atol=1e-5)


def test_near_rows_count_for_more():
    train, table = samples(REGRESSION), samples(REGRESSION).table
    error = [
        np.abs(
            fitted(REGRESSION, train, n_neighbors=9, distance_power=p).predict(table).T - train.y
        )
        for p in (0.0, 4.0)
    ]
    assert error[1].mean() < 0.1 * error[0].mean()


def test_number_and_power_are_chosen_on_left_out_rows_and_kept_for_a_refit():
    train = samples(BINARY)
    noise = Samples(train.table, np.random.default_rng(0).integers(0, 2, len(train)))
    clear = fitted(BINARY, train).fitted_params()
    assert clear.n_neighbors < fitted(BINARY, noise).fitted_params().n_neighbors
    assert fitted(BINARY, train, **clear.to_dict()).n_neighbors == clear.n_neighbors


def test_the_choice_does_not_look_at_validation_rows():
    train = samples(BINARY)
    noise = Samples(train.table, np.random.default_rng(0).integers(0, 2, len(train)))
    chosen = [fitted(BINARY, train, valid=valid).fitted_params() for valid in (train, noise)]
    assert chosen[0] == chosen[1]


def test_ties_are_broken_alike_for_one_row_and_for_many():
    train = samples(BINARY, 2000, decimals=0)
    model = fitted(BINARY, train, n_neighbors=5)
    table = samples(BINARY, 130, seed=1, decimals=0).table
    whole = model.predict(table)
    single = np.concatenate([model.predict(table.take([row])) for row in range(130)])
    assert np.allclose(single, whole, atol=1e-6)


def test_no_class_is_impossible():
    prediction = fitted(MULTICLASS, samples(MULTICLASS)).predict(samples(MULTICLASS).table)
    assert prediction.min() > 0
    assert prediction.sum(axis=1) == pytest.approx(1)


def test_absolute_error_is_answered_with_the_median():
    train = samples(REGRESSION)
    y = np.where(np.arange(300) % 5 == 0, 100.0, 0.0)
    model = fitted(REGRESSION, Samples(train.table, y), loss="absolute_error", n_neighbors=200)
    assert np.median(model.predict(train.table)) == 0.0


def test_only_so_many_rows_are_kept():
    assert fitted(BINARY, samples(BINARY), max_rows=100).rows.shape == (100, 2)


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION], ids=str)
def test_a_restored_model_predicts_identically(task):
    weight = np.random.default_rng(0).uniform(0.5, 1.5, 300).astype(np.float32)
    train = Samples(samples(task).table, samples(task).y, weight.astype(np.float64))
    model = fitted(task, train, valid=samples(task, seed=1))
    again = FittedSpec.from_state(FittedSpec("neighbors", model).state()).model
    for n_rows in (0, 1, 50):
        table = samples(task, 50, seed=2).table.take(np.arange(n_rows))
        assert np.array_equal(again.predict(table), model.predict(table))


def test_a_single_training_row_is_enough():
    train = samples(REGRESSION).take([4])
    assert fitted(REGRESSION, train).predict(samples(REGRESSION).table) == pytest.approx(train.y[0])


def test_a_fit_without_time_raises():
    with pytest.raises(OutOfTimeError, match="time to encode"):
        fitted(BINARY, samples(BINARY), budget=Budget.start(0))


def test_a_table_without_features_is_refused():
    with pytest.raises(DataError, match="at least 1 feature"):
        fitted(BINARY, Samples(FeatureTable.empty(9), np.arange(9) % 2))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("rows", np.zeros((3, 2))),
        ("y", np.full(300, 9)),
        ("y", np.full(300, 0.5)),
        ("weight", np.full(300, np.nan)),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(name, bad):
    model = fitted(BINARY, samples(BINARY))
    state = model.state()
    with pytest.raises(ArtifactError, match=r"must be (int32|float32) of shape"):
        model.restore(dataclasses.replace(state, arrays={**state.arrays, name: bad}))


def test_the_nearest_are_found_among_many_whatever_the_threads(monkeypatch):
    monkeypatch.setattr("tabular_automl.models.neighbors._CELLS_FOR_THREADS", 1)
    train = samples(REGRESSION, 3_000)
    model = fitted(REGRESSION, train, n_neighbors=7)
    table = samples(REGRESSION, 2_500, seed=1).table
    alone = model.predict(table)
    queries = model.encoder.transform(table)
    apart = ((queries[:200, None].astype(float) - model.rows[None].astype(float)) ** 2).sum(axis=2)
    nearest = np.sort(np.argsort(apart, axis=1)[:, :7], axis=1)
    found = np.sort(model._nearest(queries[:200], 7)[0], axis=1)
    assert (found == nearest).mean() > 0.999  # but for what is equally near to rounding
    model.setting = dataclasses.replace(model.setting, n_threads=2)
    assert (model.predict(table) == alone).all()


@pytest.mark.parametrize("n_columns", [1_000, 1_007])
def test_the_largest_of_many_are_all_found(n_columns):
    values = np.random.default_rng(0).integers(0, 50, (40, n_columns)).astype(np.float32)
    for count in (5, 9):  # by groups, and too many for that
        at = _positions_of_largest(values, count)
        assert all(len(set(row)) == count for row in at.tolist())
        found = np.sort(np.take_along_axis(values, at, axis=1), axis=1)
        np.testing.assert_array_equal(found, np.sort(values, axis=1)[:, -count:])
