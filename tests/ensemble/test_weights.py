"""Greedy selection of the ensemble's weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.ensemble import weights as weights_module
from tabular_automl.ensemble.objectives import make_objective
from tabular_automl.ensemble.weights import blend, select_weights
from tabular_automl.metrics.base import METRICS
from tabular_automl.metrics.resolve import make_metric


def _bags(seed: int, n_samples: int, n_classes: int, n_bags: int) -> tuple[list[Any], Any]:
    """Predictions around the truth, each bag with noise of its own size."""
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(0.5, 3.0, n_bags)
    if n_classes == 1:
        y = rng.normal(size=n_samples)
        return [y[:, None] + s * rng.normal(size=(n_samples, 1)) for s in sizes], y
    codes = np.arange(n_samples) % n_classes
    center = 2 * np.eye(n_classes)[codes]
    logits = [center + s * rng.normal(size=(n_samples, n_classes)) for s in sizes]
    return [np.exp(a) / np.exp(a).sum(axis=1, keepdims=True) for a in logits], codes


CASES = [
    ("roc_auc", 2), ("log_loss", 2), ("log_loss", 3), ("roc_auc", 3), ("accuracy", 3), ("f1", 2),
    ("rmse", 1), ("mae", 1), ("r2", 1), ("median_absolute_error", 1),
]  # fmt: skip


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize(("name", "n_classes"), CASES)
def test_weights_are_non_negative_and_sum_to_one(name: str, n_classes: int, guard: bool) -> None:
    predictions, y = _bags(0, 61, n_classes, 5)

    weights = select_weights(predictions, y, METRICS.get(name), guard=guard)

    assert weights.shape == (5,)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-15)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    case=st.sampled_from([case for case in CASES if case[0] not in ("accuracy", "f1")]),
    n_bags=st.integers(1, 5),
)
def test_without_guard_the_ensemble_is_never_worse_than_the_best_bag(
    seed: int, case: tuple[str, int], n_bags: int
) -> None:
    name, n_classes = case
    predictions, y = _bags(seed, 40, n_classes, n_bags)
    metric = METRICS.get(name)

    weights = select_weights(predictions, y, metric, guard=False)

    best = max(metric.score(y, prediction) for prediction in predictions)
    assert metric.score(y, blend(predictions, weights)) >= best - 1e-9 * abs(best)


@pytest.mark.parametrize(("name", "n_classes"), CASES)
def test_the_guarded_ensemble_beats_the_best_bag_on_new_rows(name: str, n_classes: int) -> None:
    predictions, y = _bags(3, 1200, n_classes, 6)
    metric, half = METRICS.get(name), 600
    weights = select_weights([p[:half] for p in predictions], y[:half], metric)

    scores = [metric.score(y[half:], p[half:]) for p in predictions]
    assert metric.score(y[half:], blend([p[half:] for p in predictions], weights)) > max(scores)


def test_a_perfect_bag_takes_all_the_weight() -> None:
    predictions, y = _bags(1, 200, 1, 3)
    predictions.append(y[:, None].copy())

    np.testing.assert_array_equal(select_weights(predictions, y, METRICS.get("rmse")), [0, 0, 0, 1])


def test_equal_bags_give_the_first_all_the_weight() -> None:
    predictions, y = _bags(1, 50, 2, 1)

    weights = select_weights(predictions * 3, y, METRICS.get("roc_auc"), guard=False)

    np.testing.assert_array_equal(weights, [1, 0, 0])


def test_small_weights_stay_where_nothing_is_pruned() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    wrong = y + 0.1 * rng.normal(size=300)
    close = [(wrong + 2e-2 * rng.normal(size=300))[:, None] for _ in range(30)]
    metric = METRICS.get("rmse")
    kept = select_weights(close, y, metric, prune=False)
    pruned = select_weights(close, y, metric)
    assert 0 < kept[kept > 0].min() < 0.1
    assert (pruned > 0).sum() < (kept > 0).sum()


def test_one_bag_needs_no_selection() -> None:
    predictions, y = _bags(0, 10, 2, 1)

    np.testing.assert_array_equal(select_weights(predictions, y, METRICS.get("roc_auc")), [1.0])


def test_no_bag_raises() -> None:
    with pytest.raises(InvalidOptionError, match="predictions must be those of at least one bag"):
        select_weights([], np.zeros(3), METRICS.get("rmse"))


def test_an_expired_budget_gives_the_best_bag() -> None:
    predictions, y = _bags(2, 100, 1, 4)
    metric = METRICS.get("mae")
    best = int(np.argmax([metric.score(y, p) for p in predictions]))

    weights = select_weights(predictions, y, metric, budget=Budget.start(0.0))

    np.testing.assert_array_equal(weights, np.eye(4)[best])


def test_the_same_input_gives_the_same_weights() -> None:
    predictions, y = _bags(4, 300, 2, 5)
    metric = METRICS.get("roc_auc")

    first, second = (select_weights(predictions, y, metric) for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_rows_of_zero_weight_do_not_count() -> None:
    predictions, y = _bags(5, 200, 2, 4)
    weight = np.repeat([1.0, 0.0], 100)
    metric = METRICS.get("log_loss")

    weighted = select_weights(predictions, y, metric, weight)
    alone = select_weights([p[:100] for p in predictions], y[:100], metric)

    np.testing.assert_allclose(weighted, alone, atol=1e-12)


def test_float32_predictions_are_taken() -> None:
    predictions, y = _bags(6, 100, 2, 3)
    single = [p.astype(np.float32) for p in predictions]

    weights = select_weights(single, y, METRICS.get("roc_auc"))

    assert weights.dtype == np.float64
    assert blend(single, weights).dtype == np.float64


def test_a_users_function_is_selected_on() -> None:
    predictions, y = _bags(7, 150, 2, 4)

    def hits(y_true: Any, y_pred: Any) -> float:
        return float((y_true == y_pred).mean())

    metric = make_metric(hits).bind(np.array(["no", "yes"]))

    assert select_weights(predictions, y, metric).sum() == pytest.approx(1.0)


def test_useless_bags_are_pruned() -> None:
    predictions, y = _bags(8, 3000, 1, 3)
    rng = np.random.default_rng(0)
    predictions += [rng.normal(0, 30, (3000, 1)) for _ in range(5)]

    weights = select_weights(predictions, y, METRICS.get("rmse"))

    np.testing.assert_array_equal(weights[3:], 0.0)


def test_small_weights_go_one_by_one_as_long_as_nothing_is_lost() -> None:
    predictions, y = _bags(4, 3000, 1, 4)
    wanted = np.array([0.6, 0.28, 0.06, 0.06])
    # The last knows where the first two are wrong; the third is what all others say together.
    nearly = y[:, None] + 0.1 * np.random.default_rng(0).normal(size=(3000, 1))
    big = 0.6 * predictions[0] + 0.28 * predictions[1]
    predictions[3] = (0.94 * nearly - big) / 0.06
    predictions[2] = (big + 0.06 * predictions[3]) / 0.94
    metric = METRICS.get("rmse")

    objective = make_objective(predictions, y, metric, None)
    kept = weights_module._pruned(wanted, objective, Budget.unlimited())

    assert (kept > 0).tolist() == [True, True, False, True]
    assert kept.sum() == pytest.approx(1.0)
    assert weights_module._pruned(wanted, objective, Budget.start(0.0)) is wanted


def test_blend_is_the_weighted_mean() -> None:
    predictions = [np.full((3, 2), 0.25), np.full((3, 2), 0.75)]

    np.testing.assert_allclose(blend(predictions, np.array([0.5, 0.5])), 0.5)
    np.testing.assert_array_equal(blend(predictions, np.array([0.0, 1.0])), predictions[1])


def test_halves_that_a_users_function_cannot_judge_are_passed_over() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    y[0] = 2  # one row, which one half of the rows has not
    predictions = [rng.dirichlet(np.ones(3), 300) + np.eye(3)[y] * k for k in (0.2, 0.4)]
    predictions = [p / p.sum(axis=1, keepdims=True) for p in predictions]

    def needs_all_classes(y: Any, p: Any) -> float:
        if len(np.unique(y)) < 3:
            raise ValueError("Only one class present")
        return float(np.mean(p[np.arange(len(y)), y]))

    metric = make_metric(needs_all_classes, needs="probability").bind(np.arange(3))
    weights = select_weights(predictions, y, metric)
    assert weights[1] > 0.5
