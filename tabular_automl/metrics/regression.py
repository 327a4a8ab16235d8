"""Metrics of predicted numbers, in numpy.

The figures are those of scikit-learn and scipy, computed in float64. Undefined figures have the
value of a prediction that knows nothing: a correlation with a constant is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tabular_automl.core.errors import DataError, InvalidOptionError, must_be
from tabular_automl.core.quantiles import weighted_quantile
from tabular_automl.data.task import ProblemType
from tabular_automl.metrics.base import Array, Metric, Reads

Floats = npt.NDArray[np.float64]
_SQUARABLE = (1e-140, 1e140)


def _wide(values: Array) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _mean(values: Floats, weight: Array | None) -> float:
    return float(np.average(values, weights=weight))


def _unit(values: Floats) -> float:
    """Return what to divide by so that squares neither overflow nor vanish; mostly 1."""
    largest = float(np.abs(values).max(initial=0.0))
    return 1.0 if largest == 0.0 or _SQUARABLE[0] < largest < _SQUARABLE[1] else largest


def _mean_squared_error(y: Array, value: Array, weight: Array | None) -> float:
    return _mean((_wide(y) - _wide(value)) ** 2, weight)


def _root_mean_squared_error(y: Array, value: Array, weight: Array | None) -> float:
    error = _wide(y) - _wide(value)
    unit = _unit(error)
    return float(np.sqrt(_mean((error / unit) ** 2, weight))) * unit


def _mean_absolute_error(y: Array, value: Array, weight: Array | None) -> float:
    return _mean(np.abs(_wide(y) - _wide(value)), weight)


def _median_absolute_error(y: Array, value: Array, weight: Array | None) -> float:
    errors = np.abs(_wide(y) - _wide(value))
    return weighted_quantile(errors, None if weight is None else _wide(weight))


def _mean_absolute_percentage_error(y: Array, value: Array, weight: Array | None) -> float:
    """Mean of |y - value| / |y|, as a fraction; a y of 0 counts as the smallest step of a float."""
    y = _wide(y)
    floor = np.finfo(np.float64).eps
    return _mean(np.abs(y - _wide(value)) / np.maximum(np.abs(y), floor), weight)


def _symmetric_mape(y: Array, value: Array, weight: Array | None) -> float:
    """Mean of 2 |y - value| / (|y| + |value|), as a fraction from 0 to 2; 0 where both are 0."""
    y, value = _wide(y), _wide(value)
    size = np.abs(y) + np.abs(value)
    errors = np.divide(2.0 * np.abs(y - value), size, out=np.zeros(len(y)), where=size > 0)
    return _mean(errors, weight)


def _root_mean_squared_logarithmic_error(y: Array, value: Array, weight: Array | None) -> float:
    """Root mean squared error of log(1 + value); a predicted value below 0 counts as 0."""
    y = _wide(y)
    if y.min(initial=0.0) < 0:
        raise DataError(
            "root_mean_squared_logarithmic_error needs labels of at least 0, got "
            f"{y.min():g}; use root_mean_squared_error instead."
        )
    return _root_mean_squared_error(np.log1p(y), np.log1p(np.maximum(_wide(value), 0.0)), weight)


def _r2(y: Array, value: Array, weight: Array | None) -> float:
    """Share of the variance explained; with a constant y 1 when perfect, otherwise 0."""
    unit = _unit(_wide(y))
    y = _wide(y) / unit
    error = _mean_squared_error(y, _wide(value) / unit, weight)
    variance = _mean((y - _mean(y, weight)) ** 2, weight)
    if np.ptp(y) > 0 and variance > 0:
        return 1.0 - error / variance
    return 1.0 if error == 0 else 0.0


def _pearsonr(y: Array, value: Array, weight: Array | None) -> float:
    y, value = _wide(y), _wide(value)
    if len(y) < 2 or np.ptp(y) == 0 or np.ptp(value) == 0:
        return 0.0
    # Scaled before squaring, so that huge or tiny values neither overflow nor vanish.
    a, b = y - _mean(y, weight), value - _mean(value, weight)
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    spread = np.sqrt(_mean(a * a, weight) * _mean(b * b, weight))
    return float(np.clip(_mean(a * b, weight) / spread, -1.0, 1.0)) if spread > 0 else 0.0


def _ranks(values: Floats) -> Floats:
    """Return average ranks; tied values share one."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    first = np.flatnonzero(starts)
    size = np.diff(np.append(first, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(first + 0.5 * (size - 1), size)
    return ranks


def _spearmanr(y: Array, value: Array, weight: Array | None) -> float:
    """Correlation of the ranks; weights weigh rows in the correlation, not in the ranks."""
    if len(y) < 2:
        return 0.0
    return _pearsonr(_ranks(_wide(y)), _ranks(_wide(value)), weight)


@dataclass(frozen=True)
class _Pinball:
    """The pinball loss of a quantile; equal ones are one metric, also after a copy."""

    quantile: float

    def __call__(self, y: Array, value: Array, weight: Array | None) -> float:
        miss = _wide(y) - _wide(value)
        return _mean(np.maximum(self.quantile * miss, (self.quantile - 1.0) * miss), weight)


def _metric(
    name: str,
    function: Callable[[Array, Array, Array | None], float],
    loss: str,
    greater_is_better: bool = False,
) -> Metric:
    optimum = 1.0 if greater_is_better else 0.0
    regression = (ProblemType.REGRESSION,)
    return Metric(name, function, greater_is_better, optimum, Reads.VALUE, regression, loss)


def pinball(quantile: float = 0.5) -> Metric:
    """Return the pinball loss of a quantile.

    Parameters
    ----------
    quantile : float
        Between 0 and 1; 0.5 gives half the mean absolute error.

    Raises
    ------
    InvalidOptionError
        When ``quantile`` is not between 0 and 1.

    References
    ----------
    Koenker and Bassett, "Regression quantiles", Econometrica, 1978.
    """
    if not 0.0 < quantile < 1.0:
        raise InvalidOptionError(must_be("quantile", "between 0 and 1", quantile))
    function = _Pinball(float(quantile))
    if quantile == 0.5:
        return _metric("pinball", function, "absolute_error")
    written = np.format_float_positional(quantile)
    return _metric(f"pinball_{written}", function, f"quantile_{written}")


ROOT_MEAN_SQUARED_ERROR = _metric(
    "root_mean_squared_error", _root_mean_squared_error, "squared_error"
)
MEAN_SQUARED_ERROR = _metric("mean_squared_error", _mean_squared_error, "squared_error")
MEAN_ABSOLUTE_ERROR = _metric("mean_absolute_error", _mean_absolute_error, "absolute_error")
MEDIAN_ABSOLUTE_ERROR = _metric("median_absolute_error", _median_absolute_error, "absolute_error")
MEAN_ABSOLUTE_PERCENTAGE_ERROR = _metric(
    "mean_absolute_percentage_error", _mean_absolute_percentage_error, "absolute_error"
)
SYMMETRIC_MEAN_ABSOLUTE_PERCENTAGE_ERROR = _metric(
    "symmetric_mean_absolute_percentage_error", _symmetric_mape, "absolute_error"
)
ROOT_MEAN_SQUARED_LOGARITHMIC_ERROR = _metric(
    "root_mean_squared_logarithmic_error",
    _root_mean_squared_logarithmic_error,
    "squared_log_error",
)
R2 = _metric("r2", _r2, "squared_error", greater_is_better=True)
PEARSONR = _metric("pearsonr", _pearsonr, "squared_error", greater_is_better=True)
SPEARMANR = _metric("spearmanr", _spearmanr, "squared_error", greater_is_better=True)
PINBALL = pinball()
