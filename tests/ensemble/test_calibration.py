"""Temperature scaling on out-of-fold probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tabular_automl.ensemble.calibration import Temperature
from tabular_automl.metrics.base import METRICS

LOG_LOSS, AUC = METRICS.get("log_loss"), METRICS.get("roc_auc")


def _overconfident(n_samples: int, n_classes: int, power: float = 3.0) -> tuple[Any, Any]:
    """Probabilities whose honest form is their ``1 / power``-th power."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n_samples, n_classes))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (rng.random((n_samples, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    y = np.minimum(y, n_classes - 1)
    sharp = honest**power
    return sharp / sharp.sum(axis=1, keepdims=True), y


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("power", [0.5, 2.0])
def test_the_power_that_was_done_is_undone(n_classes: int, power: float) -> None:
    probabilities, y = _overconfident(20_000, n_classes, power)

    fitted = Temperature.fit(probabilities, y)

    assert fitted.power == pytest.approx(1 / power, rel=0.05)
    assert LOG_LOSS.score(y, fitted.apply(probabilities)) > LOG_LOSS.score(y, probabilities)


def test_honest_probabilities_stay_as_they_are() -> None:
    probabilities, y = _overconfident(3000, 3, power=1.0)

    fitted = Temperature.fit(probabilities, y)

    assert fitted.power == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(fitted.apply(probabilities), probabilities, atol=0.02)


def test_few_rows_hardly_move_the_power() -> None:
    probabilities, y = _overconfident(8, 2)

    assert Temperature.fit(probabilities, y).power == pytest.approx(1.0, abs=0.2)


def test_rows_without_any_weight_leave_the_power_at_one() -> None:
    probabilities, y = _overconfident(20, 2)

    assert Temperature.fit(probabilities, y, np.zeros(20)).power == 1.0


def test_weights_decide_which_rows_are_made_honest() -> None:
    probabilities, y = _overconfident(6000, 2)
    honest, _ = _overconfident(6000, 2, power=1.0)
    both, labels = np.concatenate([probabilities, honest]), np.concatenate([y, y])
    weight = np.repeat([0.0, 1.0], 6000)

    assert Temperature.fit(both, labels, weight).power == pytest.approx(1.0, abs=0.1)
    assert Temperature.fit(both, labels, weight[::-1]).power == pytest.approx(1 / 3, abs=0.05)


def test_a_certain_and_wrong_prediction_has_a_finite_log_loss() -> None:
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0]])
    calibrated = Temperature.fit(probabilities, np.array([1, 0])).apply(probabilities)

    assert calibrated.min() > 0
    assert LOG_LOSS.raw(np.array([1, 0]), calibrated) < 15


def test_perfect_separation_and_one_class_are_survived() -> None:
    for y in (np.repeat([0, 1], 50), np.zeros(100, dtype=int)):
        calibrated = Temperature.fit(np.eye(2)[y], y).apply(np.eye(2)[y])

        assert np.isfinite(calibrated).all()
        np.testing.assert_array_equal(calibrated.argmax(axis=1), y)


def test_zero_rows_can_be_calibrated() -> None:
    assert Temperature(0.5).apply(np.empty((0, 3))).shape == (0, 3)


@settings(max_examples=60, deadline=None)
@given(
    weights=hnp.arrays(np.int64, st.tuples(st.integers(2, 30), st.integers(2, 6)),
                       elements=st.integers(0, 1000)),
    power=st.floats(0.4, 2.5),
)  # fmt: skip
def test_order_of_classes_and_auc_never_change(weights: Any, power: float) -> None:
    probabilities = (weights + 1e-3) / (weights + 1e-3).sum(axis=1, keepdims=True)
    calibrated = Temperature(power).apply(probabilities)
    y = np.arange(len(weights)) % 2

    np.testing.assert_allclose(calibrated.sum(axis=1), 1.0, rtol=1e-12)
    assert (calibrated > 0).all()
    before, after = np.sign(_gaps(probabilities)), np.sign(_gaps(calibrated))
    assert (before * after >= 0).all()
    if weights.shape[1] == 2:
        assert AUC.raw(y, calibrated) == pytest.approx(AUC.raw(y, probabilities), abs=1e-12)


def _gaps(p: Any) -> Any:
    """Differences of every pair of classes in a row; those of rounding are 0."""
    gaps = p[:, :, None] - p[:, None, :]
    return np.where(np.abs(gaps) > 1e-12, gaps, 0.0)


def test_state_gives_the_same_temperature_back() -> None:
    fitted = Temperature.fit(*_overconfident(2000, 3))

    assert Temperature.from_state(fitted.state()) == fitted
