"""How wrong a blend of bags is, asked thousands of times: one fast form for each kind of metric.

Greedy selection asks for the error of every blend that one more bag would give. A squared error of
a blend is a quadratic form of its weights, so that it needs no pass over the rows; a log loss needs
the probability of each row's own class only; anything else is scored on the blended predictions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.metrics.base import METRICS, Metric, OnLabels, Reads

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_SQUARED = ("root_mean_squared_error", "mean_squared_error", "r2")
_MOST_ROWS = 50_000  # of a log loss twice as many: a row costs less
_TINY = 1e-15
_FAR_FROM_ONE = 400  # powers of two, of which the squares of many rows can still be added


class Objective(ABC):
    """The error of blends of ``n_bags`` bags; smaller is better."""

    n_bags: int

    @abstractmethod
    def after(self, counts: Floats) -> Floats:
        """Return the errors after adding each bag once to ``counts``, shape (n_bags,).

        Parameters
        ----------
        counts : ndarray of shape (n_bags,)
            How often each bag has been chosen so far.
        """

    @abstractmethod
    def of(self, weights: Floats) -> float:
        """Return the error of the blend of these weights, which sum to 1."""

    def singles(self) -> Floats:
        """Return the error of each bag alone, shape (n_bags,)."""
        return self.after(np.zeros(self.n_bags))


def make_objective(
    predictions: Sequence[npt.NDArray[Any]],
    y: npt.NDArray[Any],
    metric: Metric,
    weight: npt.NDArray[Any] | None = None,
    most_rows: int | None = None,
) -> Objective:
    """Return the objective that selection minimises for a metric.

    Parameters
    ----------
    predictions : sequence of ndarray of shape (n_samples, n_outputs)
        Out-of-fold, in the user's units.
    y : ndarray of shape (n_samples,)
    metric : Metric
    weight : ndarray of shape (n_samples,), optional
    most_rows : int, optional
        To judge by, instead of 50,000.

    Notes
    -----
    On more than 50,000 rows (100,000 for a log loss, fewer for many classes) a sample is judged,
    drawn by class with weights that make up for it, so that rare classes stay whole; a squared
    error uses every row unless told otherwise.
    """
    if any(metric is METRICS.get(name) for name in _SQUARED):
        rows, weight = sample_rows(y, metric, weight, most_rows or len(y))
        return SquaredError(np.stack([p[rows, 0] for p in predictions]) - y[rows], weight)
    is_log_loss = metric is METRICS.get("log_loss")
    most_rows = most_rows or _MOST_ROWS
    n_outputs = predictions[0].shape[1]
    # A log loss reads one column however many there are; other metrics may sort each of them.
    limit = 2 * most_rows if is_log_loss else max(5000, 2 * most_rows // max(2, n_outputs))
    rows, weight = sample_rows(y, metric, weight, limit)
    y = y[rows]
    if is_log_loss or metric.reads is Reads.LABEL:
        own = np.stack([p[rows, y] for p in predictions])
        if is_log_loss:
            return LogLoss(own, weight)
        return Labels(_stack(predictions, rows), own, y, metric, weight)
    return Scored(_stack(predictions, rows), y, metric, weight)


def sample_rows(
    y: npt.NDArray[Any], metric: Metric, weight: npt.NDArray[Any] | None, limit: int
) -> tuple[Rows, npt.NDArray[Any] | None]:
    """Return at most about ``limit`` rows and their weights.

    Classes get equal numbers of rows as far as they have them, and weights that restore their
    shares; a function of the user's own may not take weights, so classes keep their shares there,
    but for one row of each that chance would leave out: it may need every class.
    """
    n_samples = len(y)
    if n_samples <= limit:
        return np.arange(n_samples), weight
    rng = np.random.default_rng(0)
    if metric.reads is Reads.VALUE or isinstance(metric.function, OnLabels):
        rows = np.sort(rng.choice(n_samples, limit, replace=False))
        if metric.reads is not Reads.VALUE:
            classes, first_rows = np.unique(y, return_index=True)
            rows = np.union1d(rows, first_rows[~np.isin(classes, y[rows])])
        return rows, None if weight is None else weight[rows]
    sizes = np.bincount(y)
    kept = _equal_shares(sizes, limit)
    chosen = [rng.choice(np.flatnonzero(y == k), kept[k], replace=False) for k in range(len(sizes))]
    rows = np.sort(np.concatenate(chosen))
    scale = (sizes / np.maximum(kept, 1))[y[rows]]
    return rows, scale if weight is None else scale * weight[rows]


def _equal_shares(sizes: npt.NDArray[np.intp], limit: int) -> npt.NDArray[np.intp]:
    """Return how many rows each class gives: all of the small ones, the rest shared equally."""
    kept = np.zeros_like(sizes)
    left = limit
    for position, k in enumerate(np.argsort(sizes)):
        kept[k] = min(sizes[k], left // (len(sizes) - position))
        left -= kept[k]
    return kept


def _stack(predictions: Sequence[npt.NDArray[Any]], rows: Rows) -> npt.NDArray[Any]:
    """Return the chosen rows of all bags, shape (n_bags, n_rows, n_outputs) or (n_bags, n_rows).

    Two classes are held as the probability of the second one.
    """
    if predictions[0].shape[1] <= 2:
        return np.stack([p[rows, -1] for p in predictions])
    return np.stack([p[rows] for p in predictions])


class SquaredError(Objective):
    """Mean squared error of the blend, from the products of the bags' residuals.

    Residuals whose squares would overflow or vanish are divided by a power of two first, so that
    errors are in other units there.

    Parameters
    ----------
    residuals : ndarray of shape (n_bags, n_samples)
    weight : ndarray of shape (n_samples,) or None
    """

    def __init__(self, residuals: Floats, weight: npt.NDArray[Any] | None) -> None:
        self.n_bags, n_samples = residuals.shape
        exponent = int(np.frexp(max(residuals.max(), -residuals.min()))[1])
        if abs(exponent) > _FAR_FROM_ONE:
            residuals = np.ldexp(residuals, -exponent)
        scaled = residuals if weight is None else residuals * weight
        total = n_samples if weight is None else weight.sum()
        self.products: Floats = scaled @ residuals.T / total

    def after(self, counts: Floats) -> Floats:
        """Return the mean squared errors, of which the order is that of their roots."""
        toward = self.products @ counts
        quadratic = counts @ toward + 2.0 * toward + np.diag(self.products)
        return quadratic / (counts.sum() + 1.0) ** 2

    def of(self, weights: Floats) -> float:
        """Return the mean squared error."""
        return float(weights @ self.products @ weights)


class LogLoss(Objective):
    """Log loss of the blend, from the probabilities of each row's own class.

    Parameters
    ----------
    own : ndarray of shape (n_bags, n_samples)
    weight : ndarray of shape (n_samples,) or None
    """

    def __init__(self, own: npt.NDArray[Any], weight: npt.NDArray[Any] | None) -> None:
        self.n_bags = len(own)
        self.own = own
        self.weight = weight

    def after(self, counts: Floats) -> Floats:
        """Return the log losses."""
        total = counts @ self.own
        size = counts.sum() + 1.0
        return np.array([self._loss((total + row) / size) for row in self.own])

    def of(self, weights: Floats) -> float:
        """Return the log loss."""
        return self._loss(weights @ self.own)

    def _loss(self, own: npt.NDArray[Any]) -> float:
        return float(-np.average(np.log(np.maximum(own, _TINY)), weights=self.weight))


class Scored(Objective):
    """Any metric, scored on the blended predictions.

    Parameters
    ----------
    stacked : ndarray of shape (n_bags, n_samples) or (n_bags, n_samples, n_outputs)
    y : ndarray of shape (n_samples,)
    metric : Metric
    weight : ndarray of shape (n_samples,) or None
    """

    def __init__(
        self,
        stacked: npt.NDArray[Any],
        y: npt.NDArray[Any],
        metric: Metric,
        weight: npt.NDArray[Any] | None,
    ) -> None:
        self.n_bags = len(stacked)
        self.stacked = stacked
        self.y = y
        self.metric = metric
        self.weight = weight

    def after(self, counts: Floats) -> Floats:
        """Return the metric's errors."""
        total = self._sum(counts)
        size = counts.sum() + 1.0
        return np.array([self._error((total + bag) / size) for bag in self.stacked])

    def of(self, weights: Floats) -> float:
        """Return the metric's error."""
        return self._error(self._sum(weights))

    def _sum(self, counts: Floats) -> npt.NDArray[Any]:
        total: npt.NDArray[Any] = np.tensordot(counts, self.stacked, axes=1)
        return total

    def _error(self, blended: npt.NDArray[Any]) -> float:
        if blended.ndim == 1 and self.metric.reads is not Reads.VALUE:
            blended = np.column_stack([1.0 - blended, blended])
        return self.metric.error(self.y, blended, self.weight)


class Labels(Scored):
    """A metric that reads labels, with the log loss beside it.

    The figure itself jumps with single rows and ties often, so that selection on it alone picks
    what was lucky; the log loss sees every row. A share of 0.3 had less test error than 0, 0.1, 1
    and the log loss alone on the mean of five such metrics.

    Parameters
    ----------
    stacked, y, metric, weight
        As for `Scored`.
    own : ndarray of shape (n_bags, n_samples)
        Probability of each row's own class.
    """

    share = 0.3  # of the log loss

    def __init__(
        self,
        stacked: npt.NDArray[Any],
        own: npt.NDArray[Any],
        y: npt.NDArray[Any],
        metric: Metric,
        weight: npt.NDArray[Any] | None,
    ) -> None:
        super().__init__(stacked, y, metric, weight)
        self.log_loss = LogLoss(own, weight)

    def after(self, counts: Floats) -> Floats:
        """Return the metric's errors plus a share of the log losses."""
        return super().after(counts) + self.share * self.log_loss.after(counts)

    def of(self, weights: Floats) -> float:
        """Return the metric's error plus a share of the log loss."""
        return super().of(weights) + self.share * self.log_loss.of(weights)
