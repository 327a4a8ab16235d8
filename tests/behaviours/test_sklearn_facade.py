"""Behaviour 42: the scikit-learn facade passes scikit-learn's own checks.

How it works in Pipeline, clone, GridSearchCV and cross-validation is in tests/test_sklearn.py.
"""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tabular_automl import AutoMLClassifier, AutoMLRegressor, FitConfig

QUICK = FitConfig(families=("linear",), max_specs=1, n_folds=2, n_layers=1, on_error="raise")
ESTIMATORS = [AutoMLClassifier(config=QUICK), AutoMLRegressor(config=QUICK)]
PRESET = {"presets": "fast", "config": FitConfig(max_specs=2, on_error="raise")}


def expected_failures(estimator):
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "models are validated and combined on folds of rows: a repeated row is in two places, "
            "a row of weight two in one"
        )
    }


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_42_scikit_learns_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [AutoMLClassifier(**PRESET), AutoMLRegressor(**PRESET)],
    expected_failed_checks=expected_failures,
)
def test_42_scikit_learns_estimator_checks_of_a_preset(estimator, check):
    check(estimator)
