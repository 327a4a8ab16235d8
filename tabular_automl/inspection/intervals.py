"""Intervals and sets that hold the label as often as asked, from out-of-fold predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Real
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.core.errors import InvalidOptionError, must_be
from tabular_automl.ensemble.held_out import HeldOut
from tabular_automl.fitted import FittedPipeline

# Predictions are parted into up to so many ranges, each with errors of its own: at least so many
# rows, and so many that are to be outside.
_MOST_BINS, _ROWS_PER_BIN, _OUTSIDE_PER_BIN = 5, 200, 20
_ROUNDING = 1e-6  # of probabilities kept in single precision

Floats = npt.NDArray[np.float64]


def interval_table(
    pipeline: FittedPipeline, held_out: HeldOut, values: pd.Series, coverage: float
) -> pd.DataFrame:
    """Return the columns "lower" and "upper" for predictions of a regression."""
    expected = pipeline.combine(held_out.predictions)[:, 0].astype(np.float64)
    intervals = Intervals.fit(expected, held_out.y, held_out.weight, coverage)
    ends = pipeline.codec.in_range(intervals.around(values.to_numpy(dtype=np.float64)))
    return pd.DataFrame(ends, index=values.index, columns=["lower", "upper"])


def set_table(
    pipeline: FittedPipeline, held_out: HeldOut, probabilities: pd.DataFrame, coverage: float
) -> pd.DataFrame:
    """Return which classes are in each row's set: at least the most probable one."""
    expected = pipeline.combine(held_out.predictions).astype(np.float64)
    least = least_probability(expected, held_out.y, held_out.weight, coverage)
    found = probabilities.to_numpy()
    inside = (found >= least) | (found >= found.max(axis=1, keepdims=True))
    return pd.DataFrame(inside, index=probabilities.index, columns=probabilities.columns)


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
        What is added to a prediction for the two ends; infinite where there are too few rows for
        what is asked.

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
        counted = np.ones(len(y), dtype=bool) if weight is None else weight > 0.0
        prediction, off = prediction[counted], (y - prediction)[counted]
        weight = np.ones(len(off)) if weight is None else weight[counted]
        least_rows = max(_ROWS_PER_BIN, _OUTSIDE_PER_BIN / (1.0 - coverage))
        n_bins = max(1, min(_MOST_BINS, int(len(off) / least_rows)))
        edges = np.empty(0)
        if n_bins > 1:
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
        return np.column_stack([prediction + self.below[bins], prediction + self.above[bins]])


def least_probability(
    probabilities: Floats, y: npt.NDArray[np.int64], weight: Floats | None, coverage: float
) -> float:
    """Return the probability from which a class belongs to the set of a row.

    The true class had at least as much in a share ``coverage`` of rows that the models had not
    seen [1]_; minus infinity where there are too few rows for what is asked.

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
    told = probabilities[np.arange(len(y)), y]
    counted = np.ones(len(y), dtype=bool) if weight is None else weight > 0.0
    weight = np.ones(len(y)) if weight is None else weight
    return -_covering(-told[counted], weight[counted], coverage) - _ROUNDING


def check_coverage(coverage: object) -> float:
    """Return how often the label is to be inside; raise unless that is between 0 and 1."""
    if isinstance(coverage, Real) and not isinstance(coverage, bool) and 0.0 < float(coverage) < 1:
        return float(coverage)
    raise InvalidOptionError(must_be("coverage", "a number between 0 and 1", coverage))


def _covering(values: Floats, weight: Floats, share: float) -> float:
    """Return the least value that is no less than a share of all and one more, which is infinite.

    Weights are positive; the one more has their mean.
    """
    if not len(values):
        return np.inf
    order = np.argsort(values, kind="stable")
    reached = np.append(0.0, np.cumsum(weight[order]))
    of_all = reached[-1] + weight.mean()
    found = int(np.searchsorted(reached[1:], share * of_all * (1.0 - 1e-12)))
    return float(values[order[found]]) if found < len(values) else np.inf
