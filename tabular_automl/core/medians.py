"""Medians of values that weigh differently."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-9  # of all weight: what is nearer to one half is one half


def weighted_median(values: Floats, weight: Floats | None) -> float:
    """Return the value that halves the weight; the mean of two where it is halved between them."""
    if weight is None:
        return float(np.median(values))
    return float(medians_of_groups(values, np.zeros(len(values), dtype=np.intp), weight)[1][0])


def medians_of_groups(
    values: Floats, groups: npt.NDArray[np.intp], weight: Floats | None
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return the groups that have weight, in ascending order, and the median of each.

    Parameters
    ----------
    values : ndarray of shape (n_values,)
    groups : ndarray of int, shape (n_values,)
    weight : ndarray of shape (n_values,) or None
        Non-negative, some of it positive.
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
    below = np.add.reduceat((share < 0.5 - _ROUNDING).astype(np.intp), start)
    up_to = np.add.reduceat((share <= 0.5 + _ROUNDING).astype(np.intp), start)
    low, high = (start + np.minimum(counted, sizes - 1) for counted in (below, up_to))
    return found, 0.5 * (values[low] + values[high])
