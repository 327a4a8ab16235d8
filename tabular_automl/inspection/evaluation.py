"""Figures on labelled data."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import pandas as pd

from tabular_automl.data.labels import read_numbers
from tabular_automl.data.task import ProblemType
from tabular_automl.metrics.base import Metric, Reads
from tabular_automl.metrics.resolve import resolve_metric
from tabular_automl.models.base import Prediction
from tabular_automl.pipeline import FittedPipeline

USUAL = {
    ProblemType.BINARY: (
        "roc_auc", "log_loss", "accuracy", "balanced_accuracy", "f1", "average_precision", "mcc",
    ),
    ProblemType.MULTICLASS: ("log_loss", "accuracy", "balanced_accuracy", "f1_macro", "mcc"),
    ProblemType.REGRESSION: (
        "root_mean_squared_error", "mean_absolute_error", "median_absolute_error", "r2",
    ),
}  # fmt: skip


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
    return read_numbers(y)


def evaluate_predictions(
    pipeline: FittedPipeline, prediction: Prediction, labels: pd.Series, metric: Metric
) -> dict[str, float]:
    """Return the optimised metric first, then the usual ones of the task, each as a raw figure."""
    y = read_labels(pipeline, labels)
    problem_type = pipeline.task.problem_type
    others = [resolve_metric(name, problem_type) for name in USUAL[problem_type]]
    figures = {}
    for judge in (metric, *others):
        if judge.name not in figures:
            figures[judge.name] = raw_figure(pipeline, judge, y, prediction)
    return figures


def raw_figure(
    pipeline: FittedPipeline, metric: Metric, y: npt.NDArray[Any], prediction: Prediction
) -> float:
    """Return a metric's raw figure; metrics of labels see the labels that predict returns."""
    shown = pipeline.decide(prediction) if metric.reads is Reads.LABEL else prediction
    return metric.raw(y, shown)
