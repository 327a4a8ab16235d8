"""From a model's output to the score the user asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.data.task import TargetCodec
from tabular_automl.metrics.base import Metric, OnLabels
from tabular_automl.models.base import Prediction


@dataclass(frozen=True)
class Judge:
    """Scores out-of-fold predictions on the user's metric, in the target's own units.

    Attributes
    ----------
    metric : Metric
    codec : TargetCodec
    y : ndarray of shape (n_samples,)
        Class codes, or target values in the user's units.
    weight : ndarray of shape (n_samples,) or None
    """

    metric: Metric
    codec: TargetCodec
    y: npt.NDArray[Any]
    weight: npt.NDArray[np.float64] | None = None

    def can_judge(self, rows: npt.NDArray[np.intp]) -> bool:
        """Return whether rows have the classes that a function of the user's own may need: all."""
        if not (self.codec.task.is_classification and isinstance(self.metric.function, OnLabels)):
            return True
        return len(np.unique(self.y[rows])) == self.codec.task.n_classes

    def decode(self, output: Prediction) -> Prediction:
        """Return a model's output in the user's units, shape (n_samples, n_outputs)."""
        if self.codec.task.is_classification:
            return output
        return self.codec.decode(output).reshape(-1, 1)

    def error(self, prediction: Prediction, rows: npt.NDArray[np.intp]) -> float:
        """Return the error (0 is perfect) of decoded predictions of the given rows."""
        weight = None if self.weight is None else self.weight[rows]
        return self.metric.error(self.y[rows], prediction, weight)

    def score(self, prediction: Prediction, rows: npt.NDArray[np.intp]) -> float:
        """Return the score (greater is better) of decoded predictions of the given rows."""
        weight = None if self.weight is None else self.weight[rows]
        return self.metric.score(self.y[rows], prediction, weight)
