"""Quantiles: of values that weigh differently, and the losses that lead to them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-9  # of all weight: what is nearer to a quantile is that quantile
_LOSS = re.compile(r"quantile_(0?\.\d+)")


def quantile_of(loss: str) -> float | None:
    """Return the quantile whose predictions have the least loss, None where that is the mean.

    "absolute_error" is least for the median, and "quantile_0.9" names the pinball loss of the
    quantile 0.9.

    References
    ----------
    Koenker and Bassett, "Regression quantiles", Econometrica, 1978.
    """
    if loss == "absolute_error":
        return 0.5
    found = _LOSS.fullmatch(loss)
    quantile = float(found[1]) if found else 0.0
    return quantile if 0.0 < quantile < 1.0 else None


def kind_of_loss(loss: str) -> str:
    """Return "quantile" for a loss such as "quantile_0.9", and others as they are."""
    return "quantile" if _LOSS.fullmatch(loss) else loss


def losses_of(error: Any, loss: str) -> Any:
    """Return the loss of each error, a prediction less its label: arrays of numpy or of torch.

    Squares, or the absolute error tilted to a quantile, twice its pinball loss.
    """
    quantile = quantile_of(loss)
    return error * error if quantile is None else abs(error) + (1.0 - 2.0 * quantile) * error


def weighted_quantile(values: Floats, weight: Floats | None, quantile: float = 0.5) -> float:
    """Return the value up to which a share of the weight lies; between two values, their mean."""
    if weight is None:
        return float(np.quantile(values, quantile, method="averaged_inverted_cdf"))
    one_group = np.zeros(len(values), dtype=np.intp)
    return float(quantiles_of_groups(values, one_group, weight, quantile)[1][0])


def quantiles_of_groups(
    values: Floats, groups: npt.NDArray[np.intp], weight: Floats | None, quantile: float = 0.5
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return the groups that have weight, in ascending order, and the quantile of each.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
    groups : ndarray of int, shape (n_values,)
    weight : ndarray of shape (n_values,) or None
        Non-negative, some of it positive.
    quantile : float
        Between 0 and 1.
    """
    if weight is None:
        weight = np.ones(len(values))
    counts = weight > 0
    values, groups, weight = values[counts], groups[counts], weight[counts]
    order = np.lexsort((values, groups))
    values, groups, weight = values[order], groups[order], weight[order]
    found, start, sizes = np.unique(groups, return_index=True, return_counts=True)
    reached = np.cumsum(weight)
    before = np.repeat(reached[start] - weight[start], sizes)
    total = np.repeat(np.add.reduceat(weight, start), sizes)
    share = (reached - before) / total
    below = np.add.reduceat((share < quantile - _ROUNDING).astype(np.intp), start)
    up_to = np.add.reduceat((share <= quantile + _ROUNDING).astype(np.intp), start)
    low, high = (start + np.minimum(counted, sizes - 1) for counted in (below, up_to))
    return found, 0.5 * (values[low] + values[high])
