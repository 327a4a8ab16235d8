"""The contract suite of metrics: what selection, early stopping and leaderboards rely on."""

from __future__ import annotations

import math

import numpy as np

from tabular_automl.core.contract import Check, named_checks, require
from tabular_automl.core.quantiles import quantile_of
from tabular_automl.data.task import ProblemType
from tabular_automl.metrics.base import Array, Metric, Reads

_LOSSES = {
    ProblemType.BINARY: {"log_loss"},
    ProblemType.MULTICLASS: {"log_loss"},
    ProblemType.REGRESSION: {"squared_error", "absolute_error", "squared_log_error"},
}
_N_CLASSES = {ProblemType.BINARY: 2, ProblemType.MULTICLASS: 4}
_N_ROWS = 61  # odd, so that medians are values


def iter_checks() -> tuple[Check[Metric], ...]:
    """Return the clauses of the contract, each a callable that takes a `Metric`."""
    return named_checks(_CHECKS)


def check_metric(metric: Metric) -> None:
    """Check that a metric keeps the contract of `Metric`.

    Parameters
    ----------
    metric : Metric

    Raises
    ------
    ContractError
        At the first clause that does not hold, with a sentence that says what was seen.
    """
    for check in iter_checks():
        check(metric)


def check_declaration_is_complete(metric: Metric) -> None:
    """Check name, problem types, what is read, and the loss against each other."""
    require(
        isinstance(metric.name, str) and metric.name,
        f"A metric's name must be text, got {metric.name!r}.",
    )
    require(metric.problem_types, f"{metric.name} must name the problem types it can judge.")
    for problem_type in metric.problem_types:
        is_value = metric.reads is Reads.VALUE
        require(
            is_value == (problem_type is ProblemType.REGRESSION),
            f"{metric.name} must read values for regression and labels or probabilities "
            f"otherwise, got {metric.reads} for {problem_type}.",
        )
        require(
            metric.loss in _LOSSES[problem_type] or (is_value and quantile_of(metric.loss)),
            f"{metric.name}.loss must be one of {sorted(_LOSSES[problem_type])}"
            f"{' or such as quantile_0.9' if is_value else ''} for {problem_type}, "
            f"got {metric.loss!r}.",
        )


def check_perfect_predictions_reach_the_optimum(metric: Metric) -> None:
    """Check that the error of the truth itself is 0."""
    for problem_type in metric.problem_types:
        y = _truth(problem_type)
        error = metric.error(y, _predict(problem_type, y, noise=0.0))
        require(
            abs(error) < 1e-6,
            f"{metric.name} of perfect {problem_type} predictions must be its optimum "
            f"{metric.optimum}, it is {error:.3g} off.",
        )


def check_better_predictions_score_higher(metric: Metric) -> None:
    """Check that scores fall from the truth over good predictions to useless ones."""
    for problem_type in metric.problem_types:
        y = _truth(problem_type)
        scores = [metric.score(y, _predict(problem_type, y, noise)) for noise in (0.0, 0.5, 5.0)]
        require(
            scores[0] >= scores[1] > scores[2],
            f"{metric.name} must score better {problem_type} predictions higher, got scores "
            f"{[round(score, 4) for score in scores]} from perfect to useless ones; "
            "is greater_is_better right?",
        )


def check_constant_predictions_have_a_figure(metric: Metric) -> None:
    """Check that the base rate as the prediction of all rows gives a finite number."""
    for problem_type in metric.problem_types:
        y = _truth(problem_type)
        prediction = np.tile(_predict(problem_type, y, noise=0.0).mean(axis=0), (len(y), 1))
        raw = metric.raw(y, prediction)
        require(
            isinstance(raw, float) and math.isfinite(raw),
            f"{metric.name} of constant {problem_type} predictions must be a finite float, "
            f"got {raw!r}.",
        )


def check_a_class_without_rows_has_a_figure(metric: Metric) -> None:
    """Check that classes which the judged rows lack do no harm."""
    if ProblemType.MULTICLASS not in metric.problem_types:
        return
    y = _truth(ProblemType.MULTICLASS)
    prediction = _predict(ProblemType.MULTICLASS, y, noise=0.5)
    there = y != 0
    raw = metric.raw(y[there], prediction[there])
    require(
        math.isfinite(raw),
        f"{metric.name} must be finite where a class has no rows, got {raw!r}.",
    )


def check_row_order_does_not_matter(metric: Metric) -> None:
    """Check that shuffled rows give the same figure."""
    for problem_type in metric.problem_types:
        y = _truth(problem_type)
        prediction = _predict(problem_type, y, noise=0.5)
        order = np.random.default_rng(1).permutation(len(y))
        _require_same(
            metric,
            metric.raw(y, prediction),
            metric.raw(y[order], prediction[order]),
            f"of {problem_type} rows in another order",
        )


def check_equal_weights_are_no_weights(metric: Metric) -> None:
    """Check that weights of 1, and of 2, change nothing."""
    for problem_type in metric.problem_types:
        y = _truth(problem_type)
        prediction = _predict(problem_type, y, noise=0.5)
        for weight in (1.0, 2.0):
            _require_same(
                metric,
                metric.raw(y, prediction),
                metric.raw(y, prediction, np.full(len(y), weight)),
                f"of {problem_type} rows with a weight of {weight:g} each",
            )


def check_rows_of_weight_zero_do_not_count(metric: Metric) -> None:
    """Check that weight 0 and absence are the same, unless the metric ignores weights."""
    for problem_type in metric.problem_types:
        y = _truth(problem_type)
        prediction = _predict(problem_type, y, noise=0.5)
        weight = np.ones(len(y))
        weight[::6] = weight[1] = 0.0  # 12 of 61 rows; the 49 others are odd in number, too
        kept = weight > 0.0
        if _ignores_weights(metric, y, prediction):
            continue
        _require_same(
            metric,
            metric.raw(y[kept], prediction[kept]),
            metric.raw(y, prediction, weight),
            f"of {problem_type} rows, some with weight 0, against the others alone",
        )


def check_inputs_stay_unchanged(metric: Metric) -> None:
    """Check that targets, predictions and weights are only read."""
    for problem_type in metric.problem_types:
        y = _truth(problem_type)
        arrays = (y, _predict(problem_type, y, noise=0.5), np.ones(len(y)))
        before = [array.copy() for array in arrays]
        metric.raw(*arrays)
        require(
            all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True)),
            f"{metric.name} must leave targets, predictions and weights unchanged.",
        )


_CHECKS = (
    check_declaration_is_complete,
    check_perfect_predictions_reach_the_optimum,
    check_better_predictions_score_higher,
    check_constant_predictions_have_a_figure,
    check_a_class_without_rows_has_a_figure,
    check_row_order_does_not_matter,
    check_equal_weights_are_no_weights,
    check_rows_of_weight_zero_do_not_count,
    check_inputs_stay_unchanged,
)


def _truth(problem_type: ProblemType) -> Array:
    """Return class codes, every class several times, or positive values."""
    rng = np.random.default_rng(0)
    if problem_type is ProblemType.REGRESSION:
        return rng.uniform(1.0, 10.0, size=_N_ROWS)
    return rng.permutation(np.arange(_N_ROWS) % _N_CLASSES[problem_type])


def _predict(problem_type: ProblemType, y: Array, noise: float) -> Array:
    """Return predictions of shape (n_samples, n_outputs): the truth, worse with more noise.

    Noise of 1 is as large as the signal; probabilities never tie.
    """
    rng = np.random.default_rng(2)
    if problem_type is ProblemType.REGRESSION:
        return (y * np.exp(noise * rng.uniform(-0.5, 0.5, size=len(y))))[:, None]
    truth = np.eye(_N_CLASSES[problem_type])[y]
    if noise == 0.0:
        return truth
    odds = np.exp(2.0 * truth + 2.0 * noise * rng.normal(size=truth.shape))
    probabilities: Array = odds / odds.sum(axis=1, keepdims=True)
    return probabilities


def _ignores_weights(metric: Metric, y: Array, prediction: Array) -> bool:
    """Return whether very uneven weights change nothing, as a plain user's function allows."""
    uneven = np.arange(len(y)) ** 3.0
    return metric.raw(y, prediction, uneven) == metric.raw(y, prediction)


def _require_same(metric: Metric, expected: float, actual: float, what: str) -> None:
    require(
        math.isclose(expected, actual, rel_tol=1e-9, abs_tol=1e-9),
        f"{metric.name} {what} must stay {expected:.6g}, got {actual:.6g}.",
    )
