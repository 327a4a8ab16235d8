"""Metrics as values: a function with its name, its direction and what it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.core.registry import Registry
from tabular_automl.data.task import ProblemType

Array = npt.NDArray[Any]


class Reads(StrEnum):
    """What a metric's function is given as its second argument."""

    PROBABILITY = "probability"  # (n_samples, n_classes)
    LABEL = "label"  # (n_samples,) class codes
    VALUE = "value"  # (n_samples,) regression values


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
        What models should minimise for it: "log_loss", "squared_error", "absolute_error" or
        "squared_log_error" (squared error of log(1 + y)).
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
        raw = self.raw(y, prediction, weight)
        return self.optimum - raw if self.greater_is_better else raw - self.optimum

    def raw(self, y: Array, prediction: Array, weight: Array | None = None) -> float:
        """Return the plain figure.

        Parameters
        ----------
        y : ndarray of shape (n_samples,)
        prediction : ndarray of shape (n_samples, n_outputs)
            As models return it; a metric that reads labels takes the most probable class.
        """
        if self.reads is Reads.LABEL:
            prediction = prediction if prediction.ndim == 1 else prediction.argmax(axis=1)
        elif self.reads is Reads.VALUE:
            prediction = np.asarray(prediction).reshape(len(y))
        return float(self.function(y, prediction, weight))


METRICS: Registry[Metric] = Registry("metric", "tabular_automl.metrics", {})
