"""Rows drawn from a table that has more of them than there is time to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.data.task import Task

Rows = npt.NDArray[np.intp]

WORTH_DRAWING = 0.8  # of the rows: to leave out less than a fifth of them gains nothing
_ENOUGH_OF_A_CLASS = 20_000  # rows: a class with fewer is drawn whole, ...
_SHARE_OF_SMALL_CLASSES = 0.5  # ... as far as small classes together take no more of the draw


@dataclass(frozen=True)
class Draw:
    """Rows of a table, and how many rows of it each stands for.

    Attributes
    ----------
    rows : ndarray of shape (n_drawn,)
        Positions, in ascending order.
    weight : ndarray of shape (n_drawn,) or None
        Of mean 1, the inverse of the share of its class that was drawn; None where all rows stand
        for as many.
    """

    rows: Rows
    weight: npt.NDArray[np.float64] | None

    def weigh(self, weight: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64] | None:
        """Return the weights of the drawn rows, of mean 1, given those of all rows, if any."""
        if weight is None:
            return self.weight
        product = weight[self.rows] * (1.0 if self.weight is None else self.weight)
        mean = product.mean()
        return product / mean if mean > 0 else product


def draw_rows(
    task: Task,
    y: npt.NDArray[Any],
    n_wanted: int,
    *,
    kept: Rows | None = None,
    evenly: bool = False,
    seed: int = 0,
) -> Draw:
    """Draw rows at random without replacement, more of a class that would else have few.

    So few rows of a rare class are worth more than as many of a frequent one; weights make up for
    it (case-control sampling with inverse probabilities).

    Parameters
    ----------
    task : Task
    y : ndarray of shape (n_samples,)
        The encoded target.
    n_wanted : int
        Rows to draw, fewer than there are.
    kept : ndarray of int, optional
        Positions of rows that are drawn in any case, each for itself.
    evenly : bool
        Whether all rows are as likely, for who cannot heed weights.
    seed : int

    References
    ----------
    G. King and L. Zeng, "Logistic regression in rare events data", Political Analysis 9(2), 2001.
    """
    generator = np.random.default_rng(seed)
    is_free = np.ones(len(y), dtype=bool)
    if kept is not None:
        is_free[kept] = False
    free = np.flatnonzero(is_free)
    in_classes = task.is_classification and not evenly
    stratum = y[free] if in_classes else np.zeros(len(free), dtype=np.int8)
    counts = np.bincount(stratum, minlength=task.n_classes if in_classes else 1)
    quotas = _quotas(counts, min(len(free), n_wanted - (len(y) - len(free))))
    drawn = [
        generator.choice(np.flatnonzero(stratum == code), quota, replace=False, shuffle=False)
        for code, quota in enumerate(quotas)
    ]
    is_drawn = ~is_free
    is_drawn[free[np.concatenate(drawn)]] = True
    rows = np.flatnonzero(is_drawn)
    if not (in_classes and _differ(counts, quotas)):
        return Draw(rows, None)
    stands_for = counts / np.maximum(1, quotas) * (quotas.sum() / counts.sum())
    weight = np.where(is_free[rows], stands_for[y[rows].astype(np.intp)], 1.0)
    return Draw(rows, weight / weight.mean())


def _quotas(counts: npt.NDArray[np.intp], n_wanted: int) -> npt.NDArray[np.intp]:
    """Return how many rows of each class are drawn: of all the same share, but for small ones."""
    fair_share = int(_SHARE_OF_SMALL_CLASSES * n_wanted / max(1, int(np.count_nonzero(counts))))
    least = np.minimum(counts, min(_ENOUGH_OF_A_CLASS, fair_share))
    is_small = np.zeros(len(counts), dtype=bool)
    while True:
        n_left = n_wanted - least[is_small].sum()
        share = n_left / max(1, int(counts[~is_small].sum()))
        quotas = np.where(is_small, least, share * counts)
        below = ~is_small & (quotas < least)
        if not below.any():
            # whole numbers of the same total, each less than 1 from its quota
            borders = np.floor(np.cumsum(quotas) + 0.5).astype(np.intp)
            return np.minimum(borders - np.append(0, borders[:-1]), counts)
        is_small |= below


def _differ(counts: npt.NDArray[np.intp], quotas: npt.NDArray[np.intp]) -> bool:
    """Return whether classes are drawn in other shares than rounding explains."""
    fair = counts * (quotas.sum() / counts.sum())
    return bool((np.abs(quotas - fair) > 1.0).any())
