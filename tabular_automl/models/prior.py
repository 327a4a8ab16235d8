"""The base rate: class frequencies or the mean, whatever the features say."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.quantiles import weighted_quantile
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.models.base import Model, Prediction


class Prior(Model):
    """Predicts the training target's average; what remains when nothing else had time."""

    interruptible: ClassVar[bool] = True

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Average the target, or its classes with one imagined row spread over all of them."""
        task = self.setting.task
        if task.is_classification:
            seen = np.bincount(train.y, weights=train.weight, minlength=task.n_classes)
            smoothed = seen + 1.0 / task.n_classes
            self.average = smoothed / smoothed.sum()
        elif (quantile := self.setting.quantile) is not None:
            self.average = np.array([weighted_quantile(train.y, train.weight, quantile)])
        else:
            self.average = np.array([np.average(train.y, weights=train.weight)])
        return self

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the average for every row."""
        return np.tile(self.average, (len(table), 1))

    def state(self) -> State:
        """Return the average."""
        return State(arrays={"average": self.average})

    def restore(self, state: State) -> None:
        """Take the average back."""
        self.average = state.array("average", np.float64, (self.setting.task.n_outputs,))
