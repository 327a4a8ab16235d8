"""Nearest neighbours in the space of scaled features."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import DataError, OutOfTimeError
from tabular_automl.core.parallel import run_parallel
from tabular_automl.core.params import Params as AnyParams
from tabular_automl.core.params import param
from tabular_automl.core.quantiles import losses_of
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import Task
from tabular_automl.models.base import Model, Prediction
from tabular_automl.models.dense import DenseEncoder, one_blas_thread

Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]

_BLOCK_CELLS = 4_000_000  # of a block of distances: 16 MB
_CELLS_FOR_THREADS = 10_000_000  # below, they take longer to start than they save
_SIZES = (5, 10, 20, 40, 80)
_POWERS = (0.5, 1.0, 2.0, 4.0)
_ROWS_OF_A_KERNEL = 16  # products of this many rows at once take the same path for each of them
_SEARCH_ROWS = 2_000  # left out in turn are enough to choose the number of neighbours
_FEW_QUERIES = 100  # for fewer, holding back threads costs more than it saves
_MOST_NEIGHBORS = 200
_PACE_ROWS = 256  # validation rows whose prediction is timed
_GROUP = 16  # rows, of which the nearest stands for all at first, where ...
_WORTH_GROUPS = 8  # ... there are so many groups for each neighbour
_PRIOR_ROWS = 1.0  # imagined neighbours at the base rate, so that no class is impossible


@dataclass(frozen=True)
class NeighborsParams(AnyParams):
    """Hyperparameters of nearest neighbours."""

    n_neighbors: int | None = param(
        None, 1, _MOST_NEIGHBORS, log=True, doc="rows to average; None: chosen on left-out rows"
    )
    distance_power: float | None = param(
        None,
        0.0,
        4.0,
        doc="a neighbour counts by its distance to the minus this power; None: chosen",
    )
    max_rows: int = param(20_000, 100, 1_000_000, log=True, doc="most training rows to keep")


class Neighbors(Model):
    """The average target of the nearest training rows, near ones counting for more.

    Distances are Euclidean over scaled numbers and one-hot categories, all rows compared.
    """

    Params = NeighborsParams
    interruptible: ClassVar[bool] = True

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Keep the encoded rows; choose the number of neighbours by leaving rows out."""
        if budget.expired():
            raise OutOfTimeError("Nearest neighbours need time to encode the rows, got none.")
        if not train.table.n_features:
            raise DataError("Nearest neighbours need at least 1 feature, got 0; leave them out.")
        options: NeighborsParams = self.params
        rng = np.random.default_rng(self.setting.seed)
        if len(train) > options.max_rows:
            train = train.take(np.sort(rng.choice(len(train), options.max_rows, replace=False)))
        self.encoder = DenseEncoder()
        # Target averages are out-of-fold here: rows must not be near because their targets are.
        matrix = self.encoder.fit_transform(train, self.setting.task, self.setting.seed)
        self._keep(matrix, train.y, _weights(train))
        self.n_neighbors = min(options.n_neighbors or 20, len(train))
        self.distance_power = 1.0 if options.distance_power is None else options.distance_power
        self._choose(matrix, rng, budget)
        if valid is not None and len(valid):
            self._check_pace(valid, budget)
        return self

    def _check_pace(self, valid: Samples, budget: Budget) -> None:
        """Give up where predicting the validation rows would outlast the budget."""
        start = time.monotonic()
        n_rows = min(_PACE_ROWS, len(valid))
        self.predict(valid.table.take(np.arange(n_rows)))
        needed = (time.monotonic() - start) / n_rows * len(valid)
        if needed > budget.remaining():
            raise OutOfTimeError(
                f"Nearest neighbours need {needed:.0f} s to predict {len(valid)} rows, got "
                f"{budget.remaining():.0f} s."
            )

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the weighted average over each row's neighbours."""
        return self.predict_encoded(self.encoder.transform(table))

    def predict_encoded(self, queries: Floats) -> Prediction:
        """Return what `predict` does for rows that the encoder has encoded."""

        def averages(rows: slice) -> Prediction:
            near, distance = self._nearest(queries[rows], self.n_neighbors)
            return self._average(near, distance, self.distance_power)

        few = len(queries) * len(self.rows) < _CELLS_FOR_THREADS
        n_threads = 1 if few else self.setting.n_threads
        blocks = self._blocks(len(queries), n_threads)
        with one_blas_thread() if len(queries) > _FEW_QUERIES else nullcontext():
            parts = run_parallel(averages, blocks, n_threads)
        return np.concatenate([np.empty((0, self.setting.task.n_outputs)), *parts])

    def state(self) -> State:
        """Return the encoded training rows, their targets and weights, and the encoder."""
        arrays = {"rows": self.rows, "y": self.y, "weight": self.weight.astype(np.float32)}
        meta = {"n_neighbors": self.n_neighbors, "distance_power": self.distance_power}
        return State(meta=meta, arrays=arrays, children={"encoder": self.encoder.state()})

    def restore(self, state: State) -> None:
        """Take the rows back; raises ArtifactError when the arrays do not fit together."""
        self.encoder = DenseEncoder()
        self.encoder.restore(state.children["encoder"])
        rows = state.array("rows", np.float32, (None, self.encoder.width))
        task, n_rows = self.setting.task, (len(rows),)
        if task.is_classification:
            y = state.array("y", np.int32, n_rows, least=0, below=task.n_classes)
        else:
            y = state.array("y", np.float32, n_rows)
        weight = state.array("weight", np.float32, n_rows, least=0)
        self._keep(rows, y, weight.astype(np.float64))
        self.n_neighbors = state.integer("n_neighbors", 1, len(rows))
        self.distance_power = state.number("distance_power", 0.0, _POWERS[-1])

    def fitted_params(self) -> AnyParams:
        """Return the params with the choices made from the data."""
        params: NeighborsParams = self.params
        return dataclasses.replace(
            params, n_neighbors=self.n_neighbors, distance_power=self.distance_power
        )

    @classmethod
    def estimate_bytes(cls, params: AnyParams, table: FeatureTable, task: Task) -> int:
        """Count the encoded rows, the kept ones twice, and two blocks of distances."""
        width = len(table.numeric_names) + sum(min(n, 32) for n in table.n_levels)
        kept = min(len(table), getattr(params, "max_rows", len(table)))
        return int(4 * width * 3 * kept + 8 * _BLOCK_CELLS)

    def _keep(self, rows: Floats, y: npt.NDArray[Any], weight: Reals) -> None:
        """Hold the training rows and what every prediction needs of them."""
        task = self.setting.task
        self.rows, self.weight = rows, weight
        self.y = y.astype(np.int32 if task.is_classification else np.float32)
        self._half_norms = 0.5 * np.einsum("ij,ij->i", rows, rows)
        if task.is_classification:
            count = np.bincount(self.y, weights=weight, minlength=task.n_classes)
            self._base = (count + 1 / task.n_classes) / (count.sum() + 1)

    def _choose(self, matrix: Floats, rng: np.random.Generator, budget: Budget) -> None:
        """Take the number of neighbours and the power with the least loss on left-out rows.

        Each of some training rows is predicted from the others. The validation rows stay unseen:
        the best of many choices on few rows would flatter the out-of-fold predictions.
        """
        options: NeighborsParams = self.params
        sizes = _SIZES if options.n_neighbors is None else (options.n_neighbors,)
        powers = _POWERS if options.distance_power is None else (options.distance_power,)
        pairs = [(min(size, len(self.y) - 1), power) for size in sizes for power in powers]
        if len(pairs) == 1 or len(self.y) < 2:
            return
        rows = np.arange(len(self.y))
        if len(rows) > _SEARCH_ROWS:
            rows = np.sort(rng.choice(len(rows), _SEARCH_ROWS, replace=False))
        losses = np.zeros(len(pairs))
        with one_blas_thread():
            for block in self._blocks(len(rows)):
                asked = rows[block]
                near, distance = self._nearest(matrix[asked], max(pairs)[0] + 1)
                near, distance = _without_itself(asked, near, distance)
                for position, (size, power) in enumerate(pairs):
                    predicted = self._average(near[:, :size], distance[:, :size], power)
                    losses[position] += self._loss(predicted, self.y[asked], self.weight[asked])
                if budget.expired():
                    break
        self.n_neighbors, self.distance_power = pairs[int(np.argmin(losses))]

    def _loss(self, predicted: Prediction, y: npt.NDArray[Any], weight: Reals) -> float:
        if self.setting.task.is_classification:
            return float(-np.log(predicted[np.arange(len(y)), y]) @ weight)
        return float(losses_of(predicted[:, 0] - y, self.setting.loss) @ weight)

    @property
    def prior_votes(self) -> Reals:
        """What imagined neighbours at the base rate say, shape (n_classes,)."""
        return _PRIOR_ROWS * self._base

    def _blocks(self, n_queries: int, n_threads: int = 1) -> Iterator[slice]:
        """Cut the queries into blocks whose distances, of all threads together, are bounded."""
        cells = max(len(self.rows), _MOST_NEIGHBORS * self.rows.shape[1], 1)
        n_kernels = _BLOCK_CELLS // (cells * n_threads * _ROWS_OF_A_KERNEL)
        size = max(1, n_kernels) * _ROWS_OF_A_KERNEL
        for first in range(0, n_queries, size):
            yield slice(first, first + size)

    def _nearest(self, queries: Floats, n_neighbors: int) -> tuple[npt.NDArray[np.intp], Floats]:
        """Return positions and distances of each query's nearest rows, nearest first.

        Which of many equally near rows are taken must not depend on the other queries, and so nor
        must the last bits of a product: it is always of a multiple of 16 rows.
        """
        n_queries = len(queries)
        padding = np.zeros((-n_queries % _ROWS_OF_A_KERNEL, queries.shape[1]), dtype=np.float32)
        closeness = (np.concatenate([queries, padding]) @ self.rows.T)[:n_queries]
        closeness -= self._half_norms
        if n_neighbors < len(self.rows):
            near = _positions_of_largest(closeness, n_neighbors)
        else:
            near = np.tile(np.arange(len(self.rows)), (n_queries, 1))
        # The product has chosen the rows; their distances are too small a difference to read off.
        apart = self.rows[near] - queries[:, None, :]
        distance = np.sqrt(np.einsum("ijk,ijk->ij", apart, apart))
        order = np.argsort(distance, axis=1, kind="stable")
        return np.take_along_axis(near, order, axis=1), np.take_along_axis(distance, order, axis=1)

    def _average(
        self, near: npt.NDArray[np.intp], distance: Floats, power: float
    ) -> npt.NDArray[np.float64]:
        """Return what the neighbours say, those at the average distance counting as 1."""
        scale = np.maximum(distance.mean(axis=1, keepdims=True, dtype=np.float64), 1e-9)
        share = (distance / scale + 0.01) ** -power
        share *= self.weight[near]
        target = self.y[near]
        if not self.setting.task.is_classification:
            if self.setting.quantile is not None:
                return _quantile_of_rows(target, share, self.setting.quantile)[:, None]
            total = np.maximum(share.sum(axis=1), 1e-300)
            return ((share * target).sum(axis=1) / total)[:, None]
        n_classes = self.setting.task.n_classes
        keys = np.arange(len(near))[:, None] * n_classes + target
        counts = np.bincount(keys.ravel(), weights=share.ravel(), minlength=len(near) * n_classes)
        votes = counts.reshape(len(near), n_classes) + self.prior_votes
        return votes / votes.sum(axis=1, keepdims=True)


def _positions_of_largest(values: Floats, count: int) -> npt.NDArray[np.intp]:
    """Return where the largest values of each row are, in any order, shape (n_rows, count).

    They are among the members of as many groups of the largest maxima, which are found quickly: of
    many columns, few are left to choose from.
    """
    n_groups = values.shape[1] // _GROUP
    if _WORTH_GROUPS * count > n_groups:
        return np.argpartition(values, -count, axis=1)[:, -count:]
    grouped = values[:, : n_groups * _GROUP].reshape(len(values), _GROUP, n_groups)
    best = np.argpartition(grouped.max(axis=1), -count, axis=1)[:, -count:]
    members = best[:, None, :] + n_groups * np.arange(_GROUP)[:, None]
    others = np.arange(n_groups * _GROUP, values.shape[1])
    among = np.hstack([members.reshape(len(values), -1), np.tile(others, (len(values), 1))])
    found = np.argpartition(np.take_along_axis(values, among, axis=1), -count, axis=1)
    return np.take_along_axis(among, found[:, -count:], axis=1)


def _without_itself(
    rows: npt.NDArray[np.intp], near: npt.NDArray[np.intp], distance: Floats
) -> tuple[npt.NDArray[np.intp], Floats]:
    """Drop each row from its own neighbours, or the farthest where equal rows came before it."""
    others = near != rows[:, None]
    others[others.all(axis=1), -1] = False
    shape = (len(near), near.shape[1] - 1)
    return near[others].reshape(shape), distance[others].reshape(shape)


def _quantile_of_rows(target: npt.NDArray[Any], share: Reals, quantile: float) -> Reals:
    """Return a quantile of each row of targets, each counting by its share."""
    order = np.argsort(target, axis=1)
    reached = np.cumsum(np.take_along_axis(share, order, axis=1), axis=1)
    position = np.argmax(reached >= quantile * reached[:, -1:], axis=1)[:, None]
    ordered = np.take_along_axis(target, order, axis=1)
    return np.take_along_axis(ordered, position, axis=1)[:, 0].astype(np.float64)


def _weights(train: Samples) -> Reals:
    return np.ones(len(train)) if train.weight is None else train.weight
