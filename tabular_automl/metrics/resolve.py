"""From what the user says, a name, a metric or a function, to the metric to optimise."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tabular_automl.core.errors import InvalidOptionError, must_be, unknown_name
from tabular_automl.core.quantiles import quantile_of
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.metrics.base import METRICS, Array, Metric, Reads
from tabular_automl.metrics.regression import pinball

DEFAULT_METRICS = {
    ProblemType.BINARY: "roc_auc",
    ProblemType.MULTICLASS: "log_loss",
    ProblemType.REGRESSION: "root_mean_squared_error",
}

_LOSSES = ("log_loss", "squared_error", "absolute_error", "squared_log_error")
_PINBALL = re.compile(r"(?:mean_)?pinball(?:_loss)?_(0?\.\d+)")
# scikit-learn's convention for function names: these are to be minimised.
_SMALLER_IS_BETTER = ("_error", "_loss", "_deviance")
_MOST_PROBED_ROWS = 2000


def resolve_metric(
    metric: str | Metric | Callable[..., float] | None, problem_type: ProblemType | None
) -> Metric:
    """Return the metric that ``metric`` means for a task.

    Parameters
    ----------
    metric : str, Metric, callable or None
        A registered name or alias, in any case, with spaces or hyphens for underscores; a
        `Metric`; a function ``(y_true, y_pred) -> float`` of labels or values, of which greater is
        better unless its name ends in "_error", "_loss" or "_deviance" (scikit-learn's
        convention; `make_metric` says it outright); None for the default of the problem type.
    problem_type : ProblemType or None
        None when it is not known yet: then only the name is checked, and a function is taken for
        one of a regression.

    Raises
    ------
    InvalidOptionError
        When the name is unknown, the metric is for another kind of task, or ``metric`` is
        something else altogether.
    """
    if metric is None:
        return METRICS.get(DEFAULT_METRICS[problem_type or ProblemType.BINARY])
    if isinstance(metric, str):
        found = _by_name(metric, problem_type)
    elif isinstance(metric, Metric):
        found = metric
    elif hasattr(metric, "_score_func"):
        raise InvalidOptionError(
            "eval_metric must be a metric name or a function (y_true, y_pred) -> float, got the "
            f"scikit-learn scorer {metric!r}; pass its name or the function inside it."
        )
    elif callable(metric):
        return _from_bare_function(metric, problem_type)
    else:
        expected = "a metric name, a Metric or a function (y_true, y_pred) -> float"
        raise InvalidOptionError(must_be("eval_metric", expected, metric))
    return found if problem_type is None else _fitting(found, problem_type)


def make_metric(
    function: Callable[..., float],
    *,
    name: str | None = None,
    greater_is_better: bool = True,
    needs: str = "label",
    optimum: float | None = None,
    loss: str | None = None,
) -> Metric:
    """Make a metric of a function of your own.

    Parameters
    ----------
    function : callable ``(y_true, y_pred) -> float``
        ``y_true``: your own labels or values. ``y_pred``: what ``needs`` says. Where it takes an
        argument ``sample_weight``, row weights are passed on; otherwise they are left out.
    name : str, optional
        The function's own name by default.
    greater_is_better : bool
    needs : {"label", "probability", "value"}
        "label": your own labels, one of the classes for each row. "probability": for two classes
        the probability of the second one, shape (n_samples,), as scikit-learn's functions take it;
        for more classes shape (n_samples, n_classes), in the sorted order of the labels.
        "value": numbers, for regression.
    optimum : float, optional
        The figure of perfect predictions: by default 1 where greater is better, otherwise 0.
    loss : str, optional
        What models minimise: "log_loss" for classes; for values "squared_error" (the default),
        "absolute_error", "squared_log_error" or a quantile such as "quantile_0.9".

    Raises
    ------
    InvalidOptionError
        When an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> def cost(y_true, y_pred):
    ...     return float(np.mean((y_true == "bad") & (y_pred == "good")))
    >>> metric = make_metric(cost, greater_is_better=False)
    >>> metric = metric.bind(np.array(["bad", "good"]))
    >>> metric.score(np.array([0, 0, 1, 1]), np.array([1, 0, 1, 1]))
    -0.25
    """
    if not callable(function):
        raise InvalidOptionError(must_be("function", "callable", function))
    if needs not in list(Reads):
        raise InvalidOptionError(unknown_name("value of needs", needs, Reads))
    reads = Reads(needs)
    allowed = _LOSSES[1:] if reads is Reads.VALUE else _LOSSES[:1]
    loss = allowed[0] if loss is None else loss
    is_quantile = reads is Reads.VALUE and quantile_of(loss) is not None
    if loss not in allowed and not is_quantile:
        known = (*allowed, "quantile_0.9") if reads is Reads.VALUE else allowed
        raise InvalidOptionError(unknown_name(f"loss of a metric of {needs}s", loss, known))
    classes = (ProblemType.BINARY, ProblemType.MULTICLASS)
    return Metric(
        name=name or _name_of(function),
        function=UserFunction(function, reads),
        greater_is_better=greater_is_better,
        optimum=float(greater_is_better) if optimum is None else optimum,
        reads=reads,
        problem_types=(ProblemType.REGRESSION,) if reads is Reads.VALUE else classes,
        loss=loss,
    )


@dataclass(frozen=True)
class UserFunction:
    """A function of the user's own, called with the user's own labels.

    Attributes
    ----------
    function : callable
    reads : Reads
    classes : ndarray of shape (n_classes,) or None
        The labels in the order of their codes; None passes class codes on.
    """

    function: Callable[..., float]
    reads: Reads
    classes: Array | None = None

    def with_classes(self, classes: Array) -> UserFunction:
        """Return the function that maps class codes to these labels."""
        return replace(self, classes=np.asarray(classes))

    def __call__(self, y: Array, prediction: Array, weight: Array | None) -> float:
        """Call the function as its author expects it."""
        if self.reads is Reads.PROBABILITY and prediction.ndim == 2 and prediction.shape[1] == 2:
            prediction = prediction[:, 1]
        if self.classes is not None and self.reads is not Reads.VALUE:
            y = self.classes[y]
            prediction = self.classes[prediction] if self.reads is Reads.LABEL else prediction
        if weight is not None and _takes_weight(self.function):
            return self.function(y, prediction, sample_weight=weight)
        return self.function(y, prediction)


def check_on_labels(metric: Metric, task: Task, y: Array, weight: Array | None = None) -> None:
    """Try a metric on the training labels, before any work.

    It must give a number for perfect predictions and for useless ones, and prefer the perfect
    ones: a function whose direction was mistaken would make the worst models win.

    Parameters
    ----------
    metric : Metric
        Bound to the classes.
    task : Task
    y : ndarray of shape (n_samples,)
        Class codes, or values in the user's units.
    weight : ndarray of shape (n_samples,), optional

    Raises
    ------
    InvalidOptionError
        When it gives no number, or a better figure to useless predictions.
    DataError
        When the metric cannot judge such labels.
    """
    rows = _spread_rows(y)
    if task.is_classification:  # however rare a class is
        rows = np.union1d(rows, np.unique(y, return_index=True)[1])
    y, weight = y[rows], None if weight is None else weight[rows]
    if task.is_classification:
        perfect = np.eye(task.n_classes)[y]
        useless = np.eye(task.n_classes)[(y + 1) % task.n_classes]
    else:
        perfect, useless = y.reshape(-1, 1), _shuffled(y).reshape(-1, 1)
    best, worst = metric.raw(y, perfect, weight), metric.raw(y, useless, weight)
    if (best < worst) if metric.greater_is_better else (best > worst):
        direction = "greater" if metric.greater_is_better else "smaller"
        raise InvalidOptionError(
            f"The metric {metric.name!r} gives {best:g} to perfect predictions and {worst:g} to "
            f"useless ones, though {direction} is said to be better; use make_metric(function, "
            f"greater_is_better={not metric.greater_is_better})."
        )


def _spread_rows(y: Array) -> Array:
    """Return at most a few thousand positions, evenly spread over the sorted labels."""
    step = max(1, -(-len(y) // _MOST_PROBED_ROWS))
    rows = np.argsort(y, kind="stable")[::step]
    return np.sort(rows)


def _shuffled(values: Array) -> Array:
    return np.random.default_rng(0).permutation(values)


def metric_named(name: str) -> Metric | None:
    """Return the registered metric of a name, or the pinball loss of the quantile in it."""
    if name in METRICS:
        return METRICS.get(name)
    found = _PINBALL.fullmatch(name)
    quantile = float(found[1]) if found else 0.0
    return pinball(quantile) if 0.0 < quantile < 1.0 else None


def _by_name(name: str, problem_type: ProblemType | None) -> Metric:
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    for spelling in (name, plain):
        found = metric_named(spelling)
        if found is not None:
            return found
    known = METRICS.names() if problem_type is None else _names_for(problem_type)
    if "pinball" in known:
        known = [*known, "pinball_0.9"]
    raise InvalidOptionError(unknown_name("metric", name, known))


def _names_for(problem_type: ProblemType) -> list[str]:
    """Return the metrics' own names, aliases left out, that can judge a task."""
    found = METRICS.available().items()
    return [name for name, m in found if problem_type in m.problem_types and name == m.name]


def _fitting(metric: Metric, problem_type: ProblemType) -> Metric:
    if problem_type in metric.problem_types:
        return metric
    kinds = " or ".join(kind.value for kind in metric.problem_types)
    raise InvalidOptionError(
        f"The metric {metric.name!r} judges a {kinds} task, got a {problem_type.value} one. "
        f"Metrics that fit: {', '.join(_names_for(problem_type))}."
    )


def _from_bare_function(function: Callable[..., float], problem_type: ProblemType | None) -> Metric:
    labels = problem_type is not None and problem_type is not ProblemType.REGRESSION
    smaller = _name_of(function).endswith(_SMALLER_IS_BETTER)
    needs = Reads.LABEL if labels else Reads.VALUE
    return make_metric(function, greater_is_better=not smaller, needs=needs)


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def takes_weight(metric: Metric) -> bool:
    """Return whether a metric looks at weights: a function of the user's own may not."""
    function = metric.function
    return not isinstance(function, UserFunction) or _takes_weight(function.function)


def _takes_weight(function: Callable[..., Any]) -> bool:
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some compiled functions have no signature
        return False
