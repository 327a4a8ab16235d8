"""Figures on labelled data."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.data.labels import read_numbers
from tabular_automl.data.task import ProblemType
from tabular_automl.fitted import FittedPipeline
from tabular_automl.intake import read_weight
from tabular_automl.metrics.base import Metric, Reads
from tabular_automl.metrics.resolve import resolve_metric
from tabular_automl.models.base import Prediction

USUAL = {
    ProblemType.BINARY: (
        "roc_auc", "log_loss", "accuracy", "balanced_accuracy", "f1", "average_precision", "mcc",
    ),
    ProblemType.MULTICLASS: ("log_loss", "accuracy", "balanced_accuracy", "f1_macro", "mcc"),
    ProblemType.REGRESSION: (
        "root_mean_squared_error", "mean_absolute_error", "median_absolute_error", "r2",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class LabelledRows:
    """Rows to score predictions on.

    Attributes
    ----------
    table : DataFrame of shape (n_samples, n_columns)
    y : ndarray of shape (n_samples,)
        Class codes or values, as metrics read them.
    weight : ndarray of shape (n_samples,) or None
        Of mean 1 in the table that was given.
    """

    table: pd.DataFrame
    y: npt.NDArray[Any]
    weight: npt.NDArray[np.float64] | None = None

    def take(self, rows: npt.NDArray[np.intp]) -> LabelledRows:
        """Return the rows at some positions."""
        weight = None if self.weight is None else self.weight[rows]
        return LabelledRows(self.table.take(rows), self.y[rows], weight)

    def counted(self) -> LabelledRows:
        """Return the rows of weight above zero; the others change no score."""
        return self if self.weight is None else self.take(np.flatnonzero(self.weight > 0))


def read_labelled(pipeline: FittedPipeline, table: pd.DataFrame, label: Hashable) -> LabelledRows:
    """Return a table with its labels, and with its weights where it has the column of training.

    Raises
    ------
    LabelError
        When a label is missing, infinite, or a class that was not in the training data.
    DataError
        When weights are negative, missing or all zero.
    """
    weight = read_weight(pipeline.featurizer.schema, table)
    return LabelledRows(table, read_labels(pipeline, table[label]), weight)


def read_labels(pipeline: FittedPipeline, y: pd.Series) -> npt.NDArray[Any]:
    """Return labels as metrics take them: class codes, or values in the user's units.

    Raises
    ------
    LabelError
        When a label is missing, infinite, or a class that was not in the training data.
    """
    encoded = pipeline.codec.encode(y)
    if pipeline.task.is_classification:
        return encoded
    return read_numbers(y, pipeline.codec.mark)


def evaluate_predictions(
    pipeline: FittedPipeline, prediction: Prediction, rows: LabelledRows, metric: Metric
) -> dict[str, float]:
    """Return the optimised metric first, then the usual ones of the task, each as a raw figure."""
    problem_type = pipeline.task.problem_type
    others = [resolve_metric(name, problem_type) for name in USUAL[problem_type]]
    figures = {}
    for judge in (metric, *others):
        if judge.name not in figures:
            figures[judge.name] = raw_figure(pipeline, judge, rows, prediction)
    return figures


def raw_figure(
    pipeline: FittedPipeline, metric: Metric, rows: LabelledRows, prediction: Prediction
) -> float:
    """Return a metric's raw figure; metrics of labels see the labels that predict returns."""
    shown = pipeline.decide(prediction) if metric.reads is Reads.LABEL else prediction
    return metric.raw(rows.y, shown, rows.weight)
