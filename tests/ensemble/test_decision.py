"""Rules from probabilities to a class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_automl.core.budget import Budget
from tabular_automl.ensemble import decision
from tabular_automl.ensemble.decision import DecisionRule, _Curve
from tabular_automl.metrics.base import METRICS
from tabular_automl.metrics.resolve import make_metric


def _weighted_hits(y: Any, label: Any, sample_weight: Any = None) -> float:
    return float(np.average(y == label, weights=sample_weight))


def _honest(n_samples: int, shares: list[float], sharpness: float = 1.0) -> tuple[Any, Any]:
    """Calibrated probabilities around class shares, and labels drawn from them."""
    rng = np.random.default_rng(0)
    logits = np.log(shares) + sharpness * rng.normal(size=(n_samples, len(shares)))
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    y = (rng.random((n_samples, 1)) > p.cumsum(axis=1)).sum(axis=1)
    return p, np.minimum(y, len(shares) - 1)


@pytest.mark.parametrize("name", ["f1", "balanced_accuracy", "mcc", "f1_macro"])
def test_a_rare_class_is_said_more_often(name: str) -> None:
    p, y = _honest(6000, [0.93, 0.07])
    metric = METRICS.get(name)

    rule = DecisionRule.fit(p[:3000], y[:3000], metric)

    assert rule.threshold is not None
    assert rule.threshold < 0.4
    assert metric.score(y[3000:], rule.decide(p[3000:])) > metric.score(y[3000:], p[3000:]) + 0.02


def test_balanced_accuracy_of_honest_probabilities_has_the_class_share_as_threshold() -> None:
    p, y = _honest(40_000, [0.8, 0.2])

    rule = DecisionRule.fit(p, y, METRICS.get("balanced_accuracy"))

    assert rule.threshold == pytest.approx((y == 1).mean(), abs=0.05)


def test_row_weights_move_the_threshold() -> None:
    p, y = _honest(20_000, [0.5, 0.5])
    weight = np.where(y == 1, 1.0, 9.0)

    rule = DecisionRule.fit(p, y, METRICS.get("f1"), weight)
    plain = DecisionRule.fit(p, y, METRICS.get("f1"))

    assert rule.threshold is not None
    assert plain.threshold is not None
    assert rule.threshold > plain.threshold + 0.1


@pytest.mark.parametrize("name", ["accuracy", "f1_micro", "roc_auc", "log_loss"])
def test_metrics_that_count_hits_take_the_most_probable_class(name: str) -> None:
    p, y = _honest(1000, [0.9, 0.1])

    assert DecisionRule.fit(p, y, METRICS.get(name)) == DecisionRule()


def test_noise_gives_no_threshold() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.3, 0.7, 300)
    y = (rng.random(300) < p).astype(int)
    rule = DecisionRule.fit(np.column_stack([1 - p, p]), y, METRICS.get("mcc"))

    assert rule.threshold is not None
    assert rule.threshold == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", ["balanced_accuracy", "f1_macro", "mcc"])
def test_rare_classes_of_several_are_said_more_often(name: str) -> None:
    p, y = _honest(6000, [0.8, 0.15, 0.05])
    metric = METRICS.get(name)

    rule = DecisionRule.fit(p[:3000], y[:3000], metric)

    assert rule.factors is not None
    assert rule.factors[2] > rule.factors[0]
    assert metric.score(y[3000:], rule.decide(p[3000:])) > metric.score(y[3000:], p[3000:]) + 0.01


def test_quadratic_kappa_decides_on_the_expected_code() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=4000)
    y = np.digitize(hidden + 0.7 * rng.normal(size=4000), [-1.5, -0.5, 0.5, 1.5])
    p = np.exp(-((hidden[:, None] - np.linspace(-2, 2, 5)) ** 2))
    p /= p.sum(axis=1, keepdims=True)
    kappa = METRICS.get("quadratic_kappa")

    rule = DecisionRule.fit(p[:2000], y[:2000], kappa)

    assert rule.cutoffs is not None
    assert rule.threshold is None
    assert kappa.score(y[2000:], rule.decide(p[2000:])) > kappa.score(y[2000:], p[2000:])


def test_many_classes_get_a_rule_too() -> None:
    p, y = _honest(3000, list(np.linspace(1, 5, 40) / 120))

    rule = DecisionRule.fit(p, y, METRICS.get("balanced_accuracy"))

    assert rule.decide(p).shape == (3000,)


def test_a_users_function_gets_a_threshold_for_its_own_costs() -> None:
    p, y = _honest(4000, [0.7, 0.3])

    def cost(y_true: Any, y_pred: Any) -> float:
        missed = (y_true == "bad") & (y_pred == "good")
        return float(10 * missed.sum() + ((y_true == "good") & (y_pred == "bad")).sum())

    metric = make_metric(cost, greater_is_better=False).bind(np.array(["good", "bad"]))
    rule = DecisionRule.fit(p, y, metric, np.ones(4000))

    assert rule.threshold == pytest.approx(1 / 11, abs=0.05)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_class_or_hardly_any_rows_give_no_rule(n_classes: int) -> None:
    p = np.full((6, n_classes), 1 / n_classes)
    f1 = METRICS.get("f1_macro")

    assert DecisionRule.fit(p, np.zeros(6, dtype=int), f1) == DecisionRule()
    rule = DecisionRule.fit(p, np.array([0, 0, 0, 0, 0, 1]), f1)
    assert rule.decide(p).shape == (6,)


def test_equal_probabilities_are_decided_as_argmax_does() -> None:
    p = np.full((3, 2), 0.5)

    np.testing.assert_array_equal(DecisionRule().decide(p), [0, 0, 0])
    np.testing.assert_array_equal(DecisionRule(np.array([0.5, 0.5])).decide(p), [0, 0, 0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), weighted=st.booleans())
def test_counted_scores_are_those_of_the_rows(seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    rank, y = np.round(rng.random(60), 1), rng.integers(0, 2, 60)
    y[:2] = [0, 1]
    # Equal within a class, as counts hold the mean weight of a cell and class.
    weight = np.where(y == 1, 3.0, 0.5) if weighted else None
    metric = METRICS.get("mcc")
    curve = _Curve(rank, y, metric, weight)

    scores = curve.scores(curve.counts)

    for threshold, score in zip(curve.thresholds, scores, strict=True):
        expected = metric.score(y, (rank > threshold).astype(int), weight)
        assert score == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "rule",
    [DecisionRule(), DecisionRule(np.array([0.2, 0.3, 0.5])), DecisionRule(None, np.arange(2.0))],
)
def test_state_gives_the_same_rule_back(rule: DecisionRule) -> None:
    p, _ = _honest(50, [0.2, 0.3, 0.5])

    restored = DecisionRule.from_state(rule.state(), 3)

    np.testing.assert_array_equal(restored.decide(p), rule.decide(p))


class Clock:
    """Moves on by so many seconds for each row that a metric reads."""

    def __init__(self, monkeypatch, seconds_a_row):
        self.now, self.calls, self._seconds_a_row = 100.0, [], seconds_a_row
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def f1_like(self, y_true, y_pred):
        self.calls.append(len(y_true))
        self.now += self._seconds_a_row * len(y_true)
        hits = np.sum((y_true == 1) & (y_pred == 1))
        return 2 * hits / max(1, np.sum(y_true == 1) + np.sum(y_pred == 1))


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("seconds_a_row", [1e-9, 1e-6, 1e-3])
def test_a_slow_metric_is_asked_on_fewer_rows_or_not_at_all(monkeypatch, n_classes, seconds_a_row):
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, 20_000)
    p = rng.dirichlet(np.ones(n_classes), 20_000)
    clock = Clock(monkeypatch, seconds_a_row)
    metric = make_metric(clock.f1_like, greater_is_better=True).bind(np.arange(n_classes))
    started = clock.now
    rule = DecisionRule.fit(p, y, metric, None, Budget(started + 5.0))
    asked_once = seconds_a_row * 20_000
    assert clock.now - started <= 6.0 + asked_once
    if asked_once > 5.0:
        assert rule == DecisionRule()
        assert len(clock.calls) == 1


def test_a_users_function_that_takes_weights_is_asked_with_them() -> None:
    rng = np.random.default_rng(0)
    p, y = _honest(3000, [0.7, 0.3])
    weight = np.where(y == 1, 5.0, 1.0) * rng.uniform(0.5, 1.5, len(y))

    metric = make_metric(_weighted_hits, needs="label").bind(np.array([0, 1]))
    plain = DecisionRule.fit(p, y, metric)
    weighted = DecisionRule.fit(p, y, metric, weight)

    assert weighted.threshold is not None
    assert weighted.threshold < 0.3
    assert plain.threshold is not None
    assert plain.threshold > 0.4


def test_weights_follow_the_rows_that_a_users_function_is_asked_on(monkeypatch: Any) -> None:
    monkeypatch.setattr(decision, "_MOST_ROWS", 500)
    p, y = _honest(3000, [0.7, 0.3])
    metric = make_metric(_weighted_hits, needs="label").bind(np.array([0, 1]))
    rule = DecisionRule.fit(p, y, metric, np.where(y == 1, 5.0, 1.0))
    assert rule.threshold is not None
    assert rule.threshold < 0.3


def test_parts_that_a_users_function_cannot_judge_give_no_rule() -> None:
    p, y = _honest(600, [0.6, 0.3, 0.1])
    y[y == 2] = 0
    y[0] = 2  # one row, which most parts have not

    def needs_all_classes(y: Any, label: Any) -> float:
        if len(np.unique(y)) < 3:
            raise ValueError("Only two classes present")
        return float((y == label).mean())

    metric = make_metric(needs_all_classes, needs="label").bind(np.arange(3))
    assert DecisionRule.fit(p, y, metric) == DecisionRule()


@pytest.mark.parametrize("weighted", [False, True])
def test_a_threshold_at_which_a_users_function_has_no_score_is_the_worst(weighted: bool) -> None:
    p, y = _honest(3000, [0.7, 0.3], sharpness=1.5)

    def precision(y: Any, label: Any, sample_weight: Any = None) -> float:
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        said = (label == 1) & (weight > 0)
        if not said.any():
            raise ValueError("nothing was said to be positive")
        return float(np.average(y[said], weights=weight[said]))

    metric = make_metric(precision, needs="label").bind(np.array([0, 1]))
    rule = DecisionRule.fit(p, y, metric, np.ones(3000) if weighted else None)
    assert rule.threshold is not None
    assert rule.threshold > 0.6
