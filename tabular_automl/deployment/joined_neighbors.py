"""Nearest neighbours: the averages of all folds of a bag at once, without a matrix product.

A product of matrices may start threads, which take longer to wake than a row takes. Which rows are
nearest is therefore found by sums of products in numpy; where the last of them and the first that
is left out are closer than rounding can tell apart, the fold's own model decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tabular_automl.data.table import FeatureTable
from tabular_automl.deployment.joined_dense import JoinedDense
from tabular_automl.models.base import Prediction
from tabular_automl.models.neighbors import Neighbors

Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]

_ROUNDING = 1e-5  # of sums of products, relative to their largest parts


class JoinedNeighbors:
    """A bag of nearest neighbours; each fold has rows of its own to compare with.

    Parameters
    ----------
    models : sequence of Neighbors
    """

    def __init__(self, models: Sequence[Neighbors]) -> None:
        self._models = models
        self._dense = JoinedDense([model.encoder for model in models])
        self._half_norms = [0.5 * np.einsum("ij,ij->i", m.rows, m.rows) for m in models]
        self._largest = [float(norms.max()) for norms in self._half_norms]
        self._powers = np.array([model.distance_power for model in models])
        task = models[0].setting.task
        self._n_classes = task.n_classes if task.is_classification else 0
        # A quantile is no average of the folds' sums.
        self._alone = models[0].setting.quantile is not None

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the folds, shape (n_samples, n_outputs)."""
        return np.stack([self._predict_row(table, row) for row in range(len(table))])

    def _predict_row(self, table: FeatureTable, row: int) -> Reals:
        x = self._dense.encode(table, row)
        queries = [own[:width] for own, width in zip(x, self._dense.widths, strict=True)]
        near = [None if self._alone else self._nearest(f, query) for f, query in enumerate(queries)]
        clear = [fold for fold, rows in enumerate(near) if rows is not None]
        total = np.zeros(max(1, self._n_classes))
        for fold in set(range(len(near))) - set(clear):
            total += self._models[fold].predict_encoded(queries[fold][None])[0]
        if clear:
            found = [(fold, rows) for fold, rows in enumerate(near) if rows is not None]
            total += self._averages(found, queries).sum(axis=0)
        return total / len(near)

    def _nearest(self, fold: int, query: Floats) -> npt.NDArray[np.intp] | None:
        """Return the positions of the nearest rows, None where it is too close to call."""
        model = self._models[fold]
        n_rows, wanted = len(model.rows), model.n_neighbors
        if wanted >= n_rows:
            return np.arange(n_rows)
        closeness = np.einsum("ij,j->i", model.rows, query) - self._half_norms[fold]
        order = np.argpartition(closeness, n_rows - wanted - 1)[n_rows - wanted - 1 :]
        first_out, near = order[0], order[1:]
        gap = closeness[near].min() - closeness[first_out]
        scale = self._largest[fold] + 0.5 * float(query @ query)
        return near if gap > _ROUNDING * scale else None

    def _averages(
        self, found: list[tuple[int, npt.NDArray[np.intp]]], queries: list[Floats]
    ) -> Reals:
        """Return what the neighbours say in each fold, shape (n_folds, n_outputs)."""
        models = [self._models[fold] for fold, _ in found]
        apart = [
            m.rows[rows] - queries[fold] for m, (fold, rows) in zip(models, found, strict=True)
        ]
        squares = [np.einsum("ij,ij->i", part, part) for part in apart]
        sizes = np.array([len(rows) for _, rows in found])
        first = np.cumsum([0, *sizes])[:-1]
        own = np.repeat(np.arange(len(found)), sizes)
        distance = np.sqrt(np.concatenate(squares)).astype(np.float64)
        scale = np.maximum(np.add.reduceat(distance, first) / sizes, 1e-9)
        share = (distance / scale[own] + 0.01) ** -self._powers[[fold for fold, _ in found]][own]
        pairs = list(zip(models, found, strict=True))
        share *= np.concatenate([model.weight[rows] for model, (_, rows) in pairs])
        target = np.concatenate([model.y[rows] for model, (_, rows) in pairs])
        if not self._n_classes:
            total = np.maximum(np.add.reduceat(share, first), 1e-300)
            return (np.add.reduceat(share * target, first) / total)[:, None]
        keys = own * self._n_classes + target
        votes = np.bincount(keys, weights=share, minlength=len(found) * self._n_classes)
        votes = votes.reshape(len(found), -1) + np.stack([m.prior_votes for m in models])
        averages: Reals = votes / votes.sum(axis=1, keepdims=True)
        return averages
