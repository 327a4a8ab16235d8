from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tabular_automl.core.contract import Check, ContractError
from tabular_automl.data.task import ProblemType
from tabular_automl.extend import check_metric, make_metric
from tabular_automl.metrics.base import METRICS, Metric
from tabular_automl.metrics.contract import iter_checks

NAMES = [name for name in METRICS if METRICS.get(name).name == name]  # aliases left out


# Its weights weigh rows, not the ranks among them, as its docstring says.
EXEMPT = {("spearmanr", "rows_of_weight_zero_do_not_count")}
PAIRS = [
    pytest.param(name, check, id=f"{name}-{check}")
    for name in NAMES
    for check in iter_checks()
    if (name, check.name) not in EXEMPT
]


@pytest.mark.parametrize(("name", "check"), PAIRS)
def test_every_metric_keeps_the_contract(name: str, check: Check[Metric]) -> None:
    check(METRICS.get(name))


def share_right(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return float(np.mean(y_true == y_pred))


def relative_error(
    y_true: np.ndarray, y_pred: np.ndarray, sample_weight: np.ndarray | None = None
) -> float:
    return float(np.average(np.abs(y_true - y_pred) / y_true, weights=sample_weight))


def test_metrics_of_the_users_own_pass_with_and_without_weights() -> None:
    check_metric(make_metric(share_right))
    check_metric(make_metric(relative_error, greater_is_better=False, needs="value"))


ACCURACY = METRICS.get("accuracy")
R2 = METRICS.get("r2")


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        (replace(ACCURACY, name=""), "name must be text"),
        (replace(ACCURACY, problem_types=()), "must name the problem types"),
        (replace(ACCURACY, problem_types=(ProblemType.REGRESSION,)), "must read values for regr"),
        (replace(ACCURACY, loss="squared_error"), r"loss must be one of \['log_loss'\]"),
        (replace(ACCURACY, optimum=2.0), "must be its optimum 2.0, it is 1 off"),
        (replace(ACCURACY, greater_is_better=False, optimum=1.0), "is greater_is_better right"),
        (
            replace(R2, function=lambda y, p, w: float(1 - np.mean((y - p)[:20] ** 2))),
            "of regression rows in another order must stay",
        ),
        (
            replace(
                R2,
                function=lambda y, p, w: float(
                    1 - np.sum((y - p) ** 2 * (w if w is not None else 1))
                ),
            ),
            "with a weight of 2 each must stay",
        ),
        (
            replace(
                R2,
                function=lambda y, p, w: float(
                    1 - np.mean((y - p) ** 2 * (w if w is not None else 1))
                ),
            ),
            "with a weight of 2 each must stay",
        ),
    ],
)
def test_a_broken_metric_is_told_what_is_wrong(metric: Metric, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        check_metric(metric)


def test_a_metric_that_writes_into_its_inputs_is_found() -> None:
    def scribble(y: np.ndarray, p: np.ndarray, w: np.ndarray | None) -> float:
        figure = R2.function(y.copy(), p.copy(), w)
        if w is not None and (w == 1.0).all():
            w[:] = 0.5
        return figure

    with pytest.raises(ContractError, match="must leave targets, predictions and weights"):
        check_metric(replace(R2, function=scribble))
