"""Intervals and sets that hold the label as often as asked, from out-of-fold predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import Self

import numpy as np
import numpy.typing as npt

from tabular_automl.core.errors import InvalidOptionError, must_be

_ROWS_PER_BIN, _MOST_BINS = 200, 5  # predictions are parted into, each with errors of its own

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Intervals:
    """How far labels were from predictions of about the same size.

    Split conformal prediction [1]_ on out-of-fold predictions, with quantiles of their own for up
    to five ranges of the prediction: large houses are sold further from their estimate than small
    ones. Labels of rows like those of training fall below and above an interval about equally
    often.

    Attributes
    ----------
    edges : ndarray of shape (n_bins - 1,)
        Predictions at which a range ends and the next begins.
    below, above : ndarray of shape (n_bins,)
        What is added to a prediction for the two ends.

    References
    ----------
    .. [1] Lei, G'Sell, Rinaldo, Tibshirani, Wasserman (2018). Distribution-free predictive
       inference for regression. Journal of the American Statistical Association 113(523).
    """

    edges: Floats = field(repr=False)
    below: Floats = field(repr=False)
    above: Floats = field(repr=False)

    @classmethod
    def fit(cls, prediction: Floats, y: Floats, weight: Floats | None, coverage: float) -> Self:
        """Learn from predictions of rows that the models had not seen, each of shape (n_rows,)."""
        prediction, off = prediction.astype(np.float64), y - prediction
        weight = np.ones(len(y)) if weight is None else weight
        n_bins = max(1, min(_MOST_BINS, len(y) // _ROWS_PER_BIN))
        edges = np.unique(np.quantile(prediction, np.arange(1, n_bins) / n_bins))
        edges = edges[edges > prediction.min()]
        bins = np.searchsorted(edges, prediction, side="right")
        share = (1.0 + coverage) / 2.0
        tails = [
            [_covering(sign * off[bins == b], weight[bins == b], share) for sign in (-1.0, 1.0)]
            for b in range(len(edges) + 1)
        ]
        below, above = np.array(tails).T
        return cls(edges, -below, above)

    def around(self, prediction: Floats) -> Floats:
        """Return the two ends for each prediction, shape (n_samples, 2)."""
        bins = np.searchsorted(self.edges, prediction, side="right")
        ends = np.column_stack([prediction + self.below[bins], prediction + self.above[bins]])
        return np.sort(ends, axis=1)  # of errors that all have one sign


def least_probability(
    probabilities: Floats, y: npt.NDArray[np.int64], weight: Floats | None, coverage: float
) -> float:
    """Return the probability from which a class belongs to the set of a row.

    The true class had at least as much in a share ``coverage`` of rows that the models had not
    seen [1]_.

    Parameters
    ----------
    probabilities : ndarray of shape (n_rows, n_classes)
    y : ndarray of shape (n_rows,)
        Class codes.
    weight : ndarray of shape (n_rows,) or None
    coverage : float

    References
    ----------
    .. [1] Sadinle, Lei, Wasserman (2019). Least ambiguous set-valued classifiers with bounded error
       levels. Journal of the American Statistical Association 114(525).
    """
    doubt = 1.0 - probabilities[np.arange(len(y)), y]
    return 1.0 - _covering(doubt, np.ones(len(y)) if weight is None else weight, coverage)


def check_coverage(coverage: object) -> float:
    """Return how often the label is to be inside; raise unless that is between 0 and 1."""
    if isinstance(coverage, Real) and not isinstance(coverage, bool) and 0.0 < float(coverage) < 1:
        return float(coverage)
    raise InvalidOptionError(must_be("coverage", "a number between 0 and 1", coverage))


def _covering(values: Floats, weight: Floats, share: float) -> float:
    """Return the least value that is no less than a share of all, counting one more that is not."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order])
    mean = reached[-1] / max(1, np.count_nonzero(weight))
    found = int(np.searchsorted(reached, share * (reached[-1] + mean) * (1.0 - 1e-12)))
    return float(values[order[min(found, len(values) - 1)]])
