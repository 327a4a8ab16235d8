"""Metrics as values: a function with its name, its direction and what it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.core.registry import Registry
from tabular_automl.data.task import ProblemType

Array = npt.NDArray[Any]


class Reads(StrEnum):
    """What a metric's function is given as its second argument."""

    PROBABILITY = "probability"  # (n_samples, n_classes)
    LABEL = "label"  # (n_samples,) class codes
    VALUE = "value"  # (n_samples,) regression values


@runtime_checkable
class OnLabels(Protocol):
    """A metric function that wants the user's own labels instead of class codes."""

    def with_classes(self, classes: Array) -> Callable[[Array, Array, Array | None], float]:
        """Return the function of class codes, given the labels in the order of their codes."""


@dataclass(frozen=True)
class Metric:
    """How good predictions are.

    Attributes
    ----------
    name : str
    function : callable ``(y, prediction, weight) -> float``
        The raw figure. ``y``: class codes or values, shape (n_samples,); ``prediction``: as
        `reads` says; ``weight``: shape (n_samples,) or None.
    greater_is_better : bool
    optimum : float
        The raw figure of perfect predictions.
    reads : Reads
    problem_types : tuple of ProblemType
        Tasks it can judge.
    loss : str
        What models should minimise for it: "log_loss", "squared_error", "absolute_error",
        "squared_log_error" (squared error of log(1 + y)) or a quantile such as "quantile_0.9".

    Examples
    --------
    >>> import numpy as np
    >>> accuracy = METRICS.get("accuracy")
    >>> accuracy.raw(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    0.5
    """

    name: str
    function: Callable[[Array, Array, Array | None], float]
    greater_is_better: bool
    optimum: float
    reads: Reads
    problem_types: tuple[ProblemType, ...]
    loss: str

    def score(self, y: Array, prediction: Array, weight: Array | None = None) -> float:
        """Return the figure with greater always better (negated where smaller is)."""
        raw = self.raw(y, prediction, weight)
        return raw if self.greater_is_better else -raw

    def error(self, y: Array, prediction: Array, weight: Array | None = None) -> float:
        """Return the distance from the optimum: 0 is perfect, smaller is better."""
        return self.error_of(self.score(y, prediction, weight))

    def error_of(self, score: float) -> float:
        """Return the distance of a score from that of perfect predictions."""
        return (self.optimum if self.greater_is_better else -self.optimum) - score

    def raw(self, y: Array, prediction: Array, weight: Array | None = None) -> float:
        """Return the plain figure.

        Parameters
        ----------
        y : ndarray of shape (n_samples,)
        prediction : ndarray of shape (n_samples, n_outputs)
            As models return it; a metric that reads labels takes the most probable class, or
            class codes of shape (n_samples,) as they are.
        weight : ndarray of shape (n_samples,), optional

        Raises
        ------
        InvalidOptionError
            When the function returns something that is not a number, or NaN.
        """
        if self.reads is Reads.LABEL:
            prediction = prediction if prediction.ndim == 1 else prediction.argmax(axis=1)
        elif self.reads is Reads.VALUE:
            prediction = np.asarray(prediction).reshape(len(y))
        return self._checked(self.function(y, prediction, weight))

    def bind(self, classes: Array) -> Self:
        """Return the metric for class codes, given the user's labels in the order of their codes.

        Only a function of the user's own is changed by it: it is then called with labels. To be
        called once, when the classes are known and before anything is scored.
        """
        if not isinstance(self.function, OnLabels):
            return self
        return dataclasses.replace(self, function=self.function.with_classes(classes))

    def _checked(self, figure: object) -> float:
        """Return the figure as a float; NaN would rank models at random."""
        try:
            number = float(figure)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise InvalidOptionError(
                f"The metric {self.name!r} must return a number, got {figure!r}."
            ) from error
        if np.isnan(number):
            raise InvalidOptionError(
                f"The metric {self.name!r} must return a number, got NaN; return a finite figure "
                "for every input that holds labels, also when a class is absent."
            )
        return number


_CLASSIFICATION = (
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "brier_score",
    "cohen_kappa",
    "f1",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "log_loss",
    "mcc",
    "precision",
    "precision_macro",
    "precision_micro",
    "precision_weighted",
    "quadratic_kappa",
    "recall",
    "recall_macro",
    "recall_micro",
    "recall_weighted",
    "roc_auc",
    "roc_auc_ovo",
    "roc_auc_ovo_weighted",
    "roc_auc_ovr",
    "roc_auc_ovr_weighted",
)

_REGRESSION = (
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "median_absolute_error",
    "pearsonr",
    "pinball",
    "r2",
    "root_mean_squared_error",
    "root_mean_squared_logarithmic_error",
    "spearmanr",
    "symmetric_mean_absolute_percentage_error",
)

# Other names of the same metric, as scikit-learn, AutoGluon and people write them. The "neg_" names
# of scikit-learn mean the same metric: which direction is better is known here anyway.
_ALIASES = {
    "acc": "accuracy",
    "auc": "roc_auc",
    "brier": "brier_score",
    "brier_score_loss": "brier_score",
    "cohen_kappa_score": "cohen_kappa",
    "cross_entropy": "log_loss",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "matthews_corrcoef": "mcc",
    "mean_pinball_loss": "pinball",
    "mse": "mean_squared_error",
    "neg_brier_score": "brier_score",
    "neg_log_loss": "log_loss",
    "neg_mean_absolute_error": "mean_absolute_error",
    "neg_mean_absolute_percentage_error": "mean_absolute_percentage_error",
    "neg_mean_squared_error": "mean_squared_error",
    "neg_median_absolute_error": "median_absolute_error",
    "neg_root_mean_squared_error": "root_mean_squared_error",
    "neg_root_mean_squared_log_error": "root_mean_squared_logarithmic_error",
    "nll": "log_loss",
    "pinball_loss": "pinball",
    "quadratic_weighted_kappa": "quadratic_kappa",
    "r2_score": "r2",
    "rmse": "root_mean_squared_error",
    "rmsle": "root_mean_squared_logarithmic_error",
    "roc_auc_ovo_macro": "roc_auc_ovo",
    "roc_auc_ovr_macro": "roc_auc_ovr",
    "root_mean_squared_log_error": "root_mean_squared_logarithmic_error",
    "smape": "symmetric_mean_absolute_percentage_error",
}


def _builtins() -> dict[str, str]:
    """Return the table of the registry: each name and alias to the constant of its module."""
    package = "tabular_automl.metrics"
    table = {name: f"{package}.classification:{name.upper()}" for name in _CLASSIFICATION}
    table |= {name: f"{package}.regression:{name.upper()}" for name in _REGRESSION}
    return table | {alias: table[name] for alias, name in _ALIASES.items()}


METRICS: Registry[Metric] = Registry("metric", "tabular_automl.metrics", _builtins())
