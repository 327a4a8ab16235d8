import dataclasses

import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError, DataError, OutOfTimeError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models import linear
from tabular_automl.models.base import FittedSpec, Setting
from tabular_automl.models.linear import Linear, LinearParams

BINARY = Task(ProblemType.BINARY, 2)
MULTICLASS = Task(ProblemType.MULTICLASS, 4)
REGRESSION = Task(ProblemType.REGRESSION)
TASKS = [BINARY, MULTICLASS, REGRESSION]


def samples(task, n_rows=300, seed=0, width=4):
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n_rows, width)).astype(np.float32)
    noise = 0.5 * rng.normal(size=n_rows)
    signal = numeric[:, 0] - 0.7 * numeric[:, 1] + noise
    y = (signal - signal.mean()) / signal.std()
    if task.is_classification:
        cuts = [0.0] if task.n_classes == 2 else [-0.6, 0.5]
        y = np.digitize(y, cuts).astype(np.int64)
    names = tuple(f"n{i}" for i in range(width))
    return Samples(FeatureTable(numeric, np.empty((n_rows, 0), np.int32), names), y)


def fitted(task, train, *, valid=None, loss="squared_error", budget=None, **params):
    setting = Setting(task, "log_loss" if task.is_classification else loss, 3)
    model = Linear(LinearParams(**params), setting)
    return model.fit(train, valid, budget or Budget.unlimited())


@pytest.mark.parametrize("task", [BINARY, MULTICLASS], ids=str)
@pytest.mark.parametrize("conditioned", [True, False])
def test_classes_agree_with_scikit_learn(task, conditioned, monkeypatch):
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(linear, "_TOLERANCE", 1e-9)
    monkeypatch.setattr(linear, "_MAX_CONDITIONED", 700 if conditioned else 0)
    train = samples(task)
    model = fitted(task, train, regularization=2.0, n_knots=0, clip=False)
    matrix = model.encoder.transform(train.table)
    reference = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(matrix, train.y)
    expected = reference.predict_proba(matrix)
    got = model.predict(train.table)[:, reference.classes_]
    assert np.allclose(got, expected, atol=2e-3)


@pytest.mark.parametrize("shape", [(300, 4), (40, 90)])
@pytest.mark.parametrize("weighted", [True, False])
def test_ridge_agrees_with_scikit_learn(shape, weighted):
    from sklearn.linear_model import Ridge

    train = samples(REGRESSION, shape[0], width=shape[1])
    weight = np.random.default_rng(0).uniform(0.5, 1.5, shape[0]) if weighted else None
    train = Samples(train.table, train.y, weight)
    model = fitted(REGRESSION, train, regularization=3.0, n_knots=0)
    matrix = model.encoder.transform(train.table).astype(float)
    expected = Ridge(alpha=3.0).fit(matrix, train.y, sample_weight=weight).predict(matrix)
    assert np.allclose(model.predict(train.table)[:, 0], expected, atol=1e-4)


def test_descent_and_closed_form_give_the_same_ridge(monkeypatch):
    train = samples(REGRESSION)
    exact = fitted(REGRESSION, train, regularization=1.0).predict(train.table)
    monkeypatch.setattr(linear, "_MAX_EXACT", 0)
    monkeypatch.setattr(linear, "_TOLERANCE", 1e-10)
    descended = fitted(REGRESSION, train, regularization=1.0).predict(train.table)
    assert np.allclose(exact, descended, atol=1e-2)


def test_absolute_error_is_not_pulled_by_outliers():
    train = samples(REGRESSION)
    y = train.y.copy()
    y[:60] += 25
    spoiled = Samples(train.table, y)
    clean = np.median(train.y[60:])
    means = {
        loss: np.mean(fitted(REGRESSION, spoiled, loss=loss, n_knots=0).predict(train.table))
        for loss in ("absolute_error", "squared_error")
    }
    assert abs(means["absolute_error"] - clean) < 1 < abs(means["squared_error"] - clean)


@pytest.mark.parametrize("quantile", [0.01, 0.05, 0.95])
def test_a_quantile_of_skewed_targets_is_not_moved_by_the_rounded_corner(quantile):
    rng = np.random.default_rng(0)
    y = rng.lognormal(sigma=1.5, size=4000)
    y = (y - y.mean()) / y.std()
    table = FeatureTable(
        rng.normal(size=(4000, 1)).astype(np.float32), np.empty((4000, 0), np.int32), ("x",)
    )
    found = fitted(REGRESSION, Samples(table, y), loss=f"quantile_{quantile}", n_knots=0)
    predicted = found.predict(table)[:, 0]
    assert np.mean(y <= predicted) == pytest.approx(quantile, abs=0.03)
    assert predicted.min() > y.min() - 0.05


def test_strength_is_chosen_on_validation_rows_and_kept_for_a_refit():
    train, valid = samples(BINARY, 60, width=30), samples(BINARY, 300, seed=1, width=30)
    noise = Samples(valid.table, np.random.default_rng(0).integers(0, 2, len(valid)))
    strong = fitted(BINARY, train, valid=noise).fitted_params().regularization
    weak = fitted(BINARY, train, valid=train).fitted_params().regularization
    assert weak < 0.1 < 100 < strong


def test_pieces_let_the_model_bend():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (400, 1)).astype(np.float32)
    y = np.abs(x[:, 0]) - 1
    train = Samples(FeatureTable(x, np.empty((400, 0), np.int32), ("x",)), y)
    errors = [
        np.abs(fitted(REGRESSION, train, n_knots=n).predict(train.table)[:, 0] - y).mean()
        for n in (0, 16)
    ]
    assert errors[1] < 0.1 * errors[0]


def test_values_far_outside_stay_near_the_training_range():
    train = samples(REGRESSION)
    model = fitted(REGRESSION, train, clip=False)
    numeric = np.array([[1e18] * 4, [-1e18] * 4], np.float32)
    table = FeatureTable(numeric, np.empty((2, 0), np.int32), train.table.numeric_names)
    prediction = model.predict(table)
    margin = 0.25 * np.ptp(train.y) + 1e-6
    assert train.y.min() - margin <= prediction.min() <= prediction.max()
    assert prediction.max() <= train.y.max() + margin


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_a_restored_model_predicts_identically(task):
    model = fitted(task, samples(task), valid=samples(task, seed=1))
    again = FittedSpec.from_state(FittedSpec("linear", model).state()).model
    for n_rows in (0, 1, 50):
        table = samples(task, 50, seed=2).table.take(np.arange(n_rows))
        assert np.array_equal(again.predict(table), model.predict(table))


def test_a_class_that_no_training_row_has_stays_possible():
    prediction = fitted(MULTICLASS, samples(MULTICLASS)).predict(samples(MULTICLASS).table)
    assert (prediction[:, 3] > 0).all()
    assert prediction.sum(axis=1) == pytest.approx(1)


def test_the_deadline_leaves_the_best_strength_so_far(monkeypatch):
    asked = []

    def expired(budget):
        asked.append(1)
        return len(asked) > 4

    monkeypatch.setattr(Budget, "expired", expired)
    model = fitted(BINARY, samples(BINARY), valid=samples(BINARY), budget=Budget.start(60))
    assert len(asked) < 8
    assert np.isfinite(model.predict(samples(BINARY).table)).all()


def test_a_fit_without_time_raises():
    with pytest.raises(OutOfTimeError, match="time for one step"):
        fitted(BINARY, samples(BINARY), budget=Budget.start(0))


def test_a_table_without_features_is_refused():
    with pytest.raises(DataError, match="at least 1 feature"):
        fitted(BINARY, Samples(FeatureTable.empty(9), np.arange(9) % 2))


def test_coefficients_of_another_shape_are_refused():
    model = fitted(BINARY, samples(BINARY))
    state = model.state()
    arrays = {**state.arrays, "coefficients": state.arrays["coefficients"][1:]}
    with pytest.raises(ArtifactError, match=r"'coefficients' must be float32 of shape"):
        model.restore(dataclasses.replace(state, arrays=arrays))


def test_little_time_means_fewer_rows_and_enough_time_means_all(monkeypatch):
    monkeypatch.setattr(linear, "_PROBE_ROWS", 20)
    train = samples(REGRESSION)
    model = Linear(LinearParams(), Setting(REGRESSION, "squared_error"))
    assert model._drawn(train, Budget.start(1e6)) is train
    monkeypatch.setattr(linear, "_ENCODING_SHARE", 0.0)
    assert len(model._drawn(train, Budget.start(1e6))) == 20
    assert model._drawn(train, Budget.unlimited()) is train


def test_a_wide_table_is_not_said_to_need_what_is_never_written_down():
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(200, 3_000)).astype(np.float32)
    names = tuple(f"n{i}" for i in range(3_000))
    table = FeatureTable(numeric, np.empty((200, 0), np.int32), names)
    assert Linear.estimate_bytes(LinearParams(), table, BINARY) < 20e6
    train = Samples(table, numeric[:, 0] + numeric[:, 1])
    assert fitted(REGRESSION, train, regularization=1.0).encoder.width == 3_000  # no pieces
