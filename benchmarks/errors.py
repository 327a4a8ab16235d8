"""The error of predictions on a data set's own metric; smaller is better, 0 is perfect."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

Predictions = pd.DataFrame | npt.NDArray[np.floating]

METRICS = ("roc_auc", "log_loss", "root_mean_squared_error", "pinball_0.9")


def error_of(metric: str, y: pd.Series, predictions: Predictions) -> float:
    """Return 1 - AUC, the log loss, the root mean squared error, or a quantile's pinball loss.

    Parameters
    ----------
    metric : {"roc_auc", "log_loss", "root_mean_squared_error", "pinball_0.9"}
        Or the pinball loss of another quantile.
    y : Series of shape (n_samples,)
    predictions : DataFrame or ndarray
        Probabilities with the class labels as columns, or numbers of shape (n_samples,).
    """
    if metric == "root_mean_squared_error":
        return float(np.sqrt(np.mean((np.asarray(predictions, float) - y.to_numpy(float)) ** 2)))
    quantile = quantile_in(metric)
    if quantile is not None:
        missed = y.to_numpy(float) - np.asarray(predictions, float)
        return float(np.maximum(quantile * missed, (quantile - 1.0) * missed).mean())
    if not isinstance(predictions, pd.DataFrame):
        raise TypeError(f"{metric} needs a DataFrame of probabilities, got {type(predictions)}.")
    if metric == "log_loss":
        return _log_loss(y, predictions)
    if metric == "roc_auc":
        return _one_minus_auc(y, predictions)
    raise ValueError(f"The metric must be one of {', '.join(METRICS)}, got {metric!r}.")


def quantile_in(metric: str) -> float | None:
    """Return the quantile that a pinball loss names, as "pinball_0.9" does."""
    name, _, quantile = metric.partition("_")
    return float(quantile or 0.5) if name == "pinball" else None


def error_of_score(metric: str, score: float) -> float:
    """Return the error that a greater-is-better score of the metric stands for."""
    return 1.0 - score if metric == "roc_auc" else -score


def accuracy_of(y: pd.Series, probabilities: pd.DataFrame) -> float:
    """Return the share of rows whose most probable class is the right one."""
    codes = _codes(y, probabilities)
    return float((probabilities.to_numpy(float).argmax(axis=1) == codes).mean())


def _log_loss(y: pd.Series, predictions: pd.DataFrame) -> float:
    codes = _codes(y, predictions)
    values = predictions.to_numpy(float)
    values = values / values.sum(axis=1, keepdims=True)
    chosen = np.where(codes >= 0, values[np.arange(len(y)), codes], 0.0)
    return float(-np.log(np.clip(chosen, 1e-15, 1.0)).mean())


def _one_minus_auc(y: pd.Series, predictions: pd.DataFrame) -> float:
    """Return the share of wrongly ordered pairs (Hanley & McNeil 1982), ties counting half."""
    positive = _codes(y, predictions) == 1
    ranks = pd.Series(predictions.iloc[:, 1].to_numpy(float)).rank().to_numpy()
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    above = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(1 - above / (n_positive * n_negative))


def _codes(y: pd.Series, predictions: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return each label's column, -1 where the system does not know the label."""
    places = {label: place for place, label in enumerate(predictions.columns)}
    return np.array([places.get(label, -1) for label in y.tolist()], dtype=np.int64)
