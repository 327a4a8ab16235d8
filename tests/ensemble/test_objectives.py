"""Fast errors of blends against the metric itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tabular_automl.ensemble.objectives import (
    Labels,
    LogLoss,
    Scored,
    SquaredError,
    make_objective,
    sample_rows,
)
from tabular_automl.metrics.base import METRICS
from tabular_automl.metrics.resolve import make_metric


def _classes(n_classes: int, n_samples: int = 80, n_bags: int = 4) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    predictions = list(rng.dirichlet(np.ones(n_classes), (n_bags, n_samples)))
    return predictions, rng.integers(0, n_classes, n_samples), rng.random(n_samples)


def _numbers(n_samples: int = 80, n_bags: int = 4) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    y = rng.normal(1e4, 3.0, n_samples)
    noise = rng.normal(0.0, 2.0, (n_bags, n_samples, 1))
    return list(y[:, None] + noise), y, rng.random(n_samples)


def _blend_after(predictions: Any, counts: Any, added: int) -> Any:
    counts = counts.copy()
    counts[added] += 1
    return np.tensordot(counts / counts.sum(), np.stack(predictions), axes=1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "average_precision"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_errors_of_class_metrics_are_those_of_the_blend(
    name: str, n_classes: int, weighted: bool
) -> None:
    predictions, y, weight = _classes(n_classes)
    metric, weight = METRICS.get(name), weight if weighted else None
    objective = make_objective(predictions, y, metric, weight)
    counts = np.array([2.0, 0.0, 1.0, 0.0])

    for added, error in enumerate(objective.after(counts)):
        blended = _blend_after(predictions, counts, added)
        assert error == pytest.approx(metric.error(y, blended, weight))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["mean_squared_error", "mean_absolute_error", "spearmanr"])
def test_errors_of_value_metrics_are_those_of_the_blend(name: str, weighted: bool) -> None:
    predictions, y, weight = _numbers()
    metric, weight = METRICS.get(name), weight if weighted else None
    objective = make_objective(predictions, y, metric, weight)
    counts = np.array([0.0, 3.0, 1.0, 0.0])

    for added, error in enumerate(objective.after(counts)):
        blended = _blend_after(predictions, counts, added)
        assert error == pytest.approx(metric.error(y, blended, weight), rel=1e-9)


def test_error_of_weights_is_the_error_after_the_last_step() -> None:
    counts = np.array([1.0, 0.0, 2.0, 0.0])
    for predictions, y, name in (
        (*_classes(2)[:2], "roc_auc"),
        (*_classes(3)[:2], "log_loss"),
        (*_classes(3)[:2], "f1_macro"),
        (*_numbers()[:2], "rmse"),
    ):
        objective = make_objective(predictions, y, METRICS.get(name))
        after = counts + np.array([0.0, 1.0, 0.0, 0.0])

        assert objective.of(after / after.sum()) == pytest.approx(objective.after(counts)[1])


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e160, 1e300])
def test_squared_errors_of_extreme_targets_have_the_order_of_usual_ones(scale: float) -> None:
    predictions, y, _ = _numbers()
    metric, counts = METRICS.get("rmse"), np.array([0.0, 3.0, 1.0, 0.0])
    usual = make_objective(predictions, y, metric)
    extreme = make_objective([p * scale for p in predictions], y * scale, metric)

    ratio = extreme.singles() / usual.singles()
    assert np.isfinite(ratio).all()
    assert (ratio > 0).all()
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-6)
    np.testing.assert_allclose(extreme.after(counts) / usual.after(counts), ratio[0], rtol=1e-6)


def test_singles_are_the_errors_of_each_bag() -> None:
    predictions, y, _ = _classes(2)
    metric = METRICS.get("roc_auc")
    expected = [metric.error(y, prediction) for prediction in predictions]

    assert make_objective(predictions, y, metric).singles() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("rmse", SquaredError), ("r2", SquaredError), ("mae", Scored), ("pearsonr", Scored)],
)
def test_only_metrics_of_the_squared_error_skip_the_rows(name: str, kind: type) -> None:
    predictions, y, _ = _numbers()

    assert type(make_objective(predictions, y, METRICS.get(name))) is kind


@pytest.mark.parametrize(
    ("name", "kind"), [("log_loss", LogLoss), ("accuracy", Labels), ("roc_auc", Scored)]
)
def test_class_metrics_get_their_form(name: str, kind: type) -> None:
    predictions, y, _ = _classes(3)

    assert type(make_objective(predictions, y, METRICS.get(name))) is kind


def test_of_equal_accuracies_the_better_log_loss_has_less_error() -> None:
    y = np.array([0, 1, 0, 1])
    sure, unsure = np.eye(2)[y] * 0.8 + 0.1, np.eye(2)[y] * 0.2 + 0.4

    errors = make_objective([unsure, sure], y, METRICS.get("accuracy")).singles()

    assert errors[1] < errors[0]


def test_a_sample_keeps_rare_classes_whole_and_its_weights_restore_their_shares() -> None:
    y = np.repeat([0, 1], [9_900, 100])
    rows, weight = sample_rows(y, METRICS.get("roc_auc"), None, 1000)

    assert weight is not None
    assert len(rows) == 1000
    assert (y[rows] == 1).sum() == 100
    assert weight[y[rows] == 0].sum() == pytest.approx(9_900)
    assert weight[y[rows] == 1].sum() == pytest.approx(100)


def test_a_sample_for_a_function_without_weights_keeps_the_shares() -> None:
    y = np.repeat([0, 1], [9_000, 1000])
    metric = make_metric(lambda a, b: 1.0, name="own")

    rows, weight = sample_rows(y, metric, None, 1000)

    assert weight is None
    assert len(rows) == 1000
    assert 50 < (y[rows] == 1).sum() < 160


def test_a_sample_for_a_function_of_labels_has_every_class() -> None:
    y = np.repeat([0, 1, 2], [9_999, 1, 20_000])
    metric = make_metric(lambda a, b: 1.0, name="own", needs="probability")
    weights = np.arange(30_000.0)

    rows, weight = sample_rows(y, metric, weights, 1000)

    assert set(y[rows]) == {0, 1, 2}
    assert len(rows) == 1001  # chance leaves the only row of a class out
    np.testing.assert_array_equal(weight, weights[rows])


def test_few_rows_are_all_judged() -> None:
    rows, weight = sample_rows(np.zeros(10, dtype=int), METRICS.get("roc_auc"), None, 10)

    np.testing.assert_array_equal(rows, np.arange(10))
    assert weight is None


@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "accuracy"])
def test_the_error_of_a_sample_is_near_that_of_all_rows(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(20_000) < 0.05).astype(int)
    positive = np.clip(0.1 + 0.3 * y + rng.normal(0, 0.1, 20_000), 0.01, 0.99)
    predictions = [np.column_stack([1 - positive, positive])]
    whole = make_objective(predictions, y, METRICS.get(name)).singles()[0]
    monkeypatch.setattr("tabular_automl.ensemble.objectives._MOST_ROWS", 3000)

    sampled = make_objective(predictions, y, METRICS.get(name)).singles()[0]

    assert sampled == pytest.approx(whole, rel=0.1)
    assert sampled != whole


def test_squared_errors_are_judged_on_a_sample_where_asked() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=4_000)
    predictions = [(y + scale * rng.normal(size=4_000))[:, None] for scale in (0.5, 1.0)]
    weight = rng.uniform(1, 2, 4_000)
    metric = METRICS.get("root_mean_squared_error")
    whole, part = (make_objective(predictions, y, metric, weight, n) for n in (None, 1_000))
    np.testing.assert_allclose(part.singles(), whole.singles(), rtol=0.15)
    assert not np.array_equal(part.singles(), whole.singles())
    exact = make_objective(predictions, y, metric, weight, 4_000)
    np.testing.assert_array_equal(exact.singles(), whole.singles())
