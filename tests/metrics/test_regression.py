"""Regression metrics against scikit-learn and scipy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_automl.core.errors import DataError, InvalidOptionError
from tabular_automl.metrics.base import METRICS
from tabular_automl.metrics.regression import pinball

WEIGHTED: dict[str, Callable[..., float]] = {
    "root_mean_squared_error": reference.root_mean_squared_error,
    "mean_squared_error": reference.mean_squared_error,
    "mean_absolute_error": reference.mean_absolute_error,
    "median_absolute_error": reference.median_absolute_error,
    "mean_absolute_percentage_error": reference.mean_absolute_percentage_error,
    "root_mean_squared_logarithmic_error": reference.root_mean_squared_log_error,
    "r2": reference.r2_score,
    "pinball": reference.mean_pinball_loss,
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """scikit-learn warns where r2 is undefined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _sample(seed: int, n_samples: int, *, ties: bool = False) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    y = rng.lognormal(0.0, 1.0, n_samples) * 10
    value = np.abs(y + rng.normal(0, 3, n_samples))
    if ties:
        y, value = np.round(y / 10), np.round(value / 10)
    return y, value, rng.choice([0.0, 0.25, 1.0, 4.0], n_samples)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", WEIGHTED)
def test_figures_equal_scikit_learn(name: str, weighted: bool, ties: bool) -> None:
    y, value, weight = _sample(1, 301, ties=ties)
    w = weight if weighted else None

    found = METRICS.get(name).raw(y, value.reshape(-1, 1), w)

    assert found == pytest.approx(WEIGHTED[name](y, value, sample_weight=w), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n_samples=st.integers(2, 9), weighted=st.booleans())
def test_small_samples_equal_scikit_learn(seed: int, n_samples: int, weighted: bool) -> None:
    y, value, weight = _sample(seed, n_samples, ties=True)
    weight[0] = 1.0
    w = weight if weighted else None
    for name, expected in WEIGHTED.items():
        if name == "r2" and (np.ptp(y) == 0 or w is not None):
            continue  # rounding of a zero variance differs; tested below
        found = METRICS.get(name).raw(y, value, w)
        assert found == pytest.approx(expected(y, value, sample_weight=w), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_equal_scipy(ties: bool) -> None:
    y, value, _ = _sample(2, 200, ties=ties)

    assert METRICS.get("pearsonr").raw(y, value) == pytest.approx(
        scipy.stats.pearsonr(y, value).statistic
    )
    assert METRICS.get("spearmanr").raw(y, value) == pytest.approx(
        scipy.stats.spearmanr(y, value).statistic
    )


def test_whole_weights_count_as_repeated_rows_in_a_correlation() -> None:
    y, value, _ = _sample(3, 40)
    weight = np.arange(40) % 3
    expected = np.corrcoef(np.repeat(y, weight), np.repeat(value, weight))[0, 1]

    assert METRICS.get("pearsonr").raw(y, value, weight) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["pearsonr", "spearmanr"])
def test_correlation_with_a_constant_is_zero(name: str) -> None:
    assert METRICS.get(name).raw(np.arange(5.0), np.full(5, 0.1)) == 0.0
    assert METRICS.get(name).raw(np.array([1.0]), np.array([2.0])) == 0.0


def test_correlation_of_huge_values_does_not_overflow() -> None:
    y = np.array([1e200, 2e200, 4e200])

    assert METRICS.get("pearsonr").raw(y, y) == pytest.approx(1.0)


def test_r2_of_a_constant_target_is_one_when_perfect_and_zero_otherwise() -> None:
    y = np.full(7, 0.1)

    assert METRICS.get("r2").raw(y, y) == 1.0
    assert METRICS.get("r2").raw(y, y + 1) == 0.0


def test_symmetric_percentage_error_is_between_zero_and_two() -> None:
    smape = METRICS.get("symmetric_mean_absolute_percentage_error")

    assert smape.raw(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 0.0
    assert smape.raw(np.array([1.0, 1.0]), np.array([0.0, -1.0])) == 2.0
    assert smape.raw(np.array([1.0]), np.array([3.0])) == 1.0


def test_logarithmic_error_takes_a_negative_prediction_as_zero() -> None:
    rmsle = METRICS.get("rmsle")

    assert rmsle.raw(np.array([0.0, 1.0]), np.array([-5.0, 1.0])) == 0.0


def test_logarithmic_error_of_a_negative_label_raises() -> None:
    with pytest.raises(DataError, match="needs labels of at least 0, got -2"):
        METRICS.get("rmsle").raw(np.array([1.0, -2.0]), np.array([1.0, 1.0]))


def test_pinball_of_a_quantile_equals_scikit_learn() -> None:
    y, value, weight = _sample(4, 100)
    expected = reference.mean_pinball_loss(y, value, alpha=0.9, sample_weight=weight)

    assert pinball(0.9).raw(y, value, weight) == pytest.approx(expected)
    assert pinball(0.9).name == "pinball_0.9"
    assert (pinball(0.9).loss, pinball(1e-5).loss) == ("quantile_0.9", "quantile_0.00001")


def test_pinball_of_an_impossible_quantile_raises() -> None:
    with pytest.raises(InvalidOptionError, match="quantile must be between 0 and 1, got 90"):
        pinball(90)


def test_float32_predictions_are_judged_in_float64() -> None:
    y = np.array([1e8, 1e8 + 1])
    value = y.astype(np.float32)

    assert METRICS.get("mae").raw(y, value) == pytest.approx(np.abs(y - value.astype(float)).mean())


@pytest.mark.parametrize("scale", [1e-200, 1e200, 1e300])
def test_squares_of_extreme_values_neither_overflow_nor_vanish(scale):
    y, value = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    for name, factor in (("r2", 1.0), ("root_mean_squared_error", scale)):
        metric = METRICS.get(name)
        assert metric.raw(scale * y, scale * value[:, None]) == pytest.approx(
            factor * metric.raw(y, value[:, None]), rel=1e-12
        )
