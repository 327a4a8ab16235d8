"""The penalised losses of several folds as one problem, each pass over the rows shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.extend import Samples, Setting, Task, quantile_of
from text_ext.design import Design, Floats

Array = npt.NDArray[Any]

_CORNER = 0.05  # |error| is rounded off below this many standard deviations of the target


class LinearProblem:
    """Minimise, for each fold, summed loss + strength / 2 * squared coefficients.

    Coefficients are sought in units of their prior scale, so that the penalty is the weaker the
    more a column tells on its own. Positions have shape (n_columns + 1, n_folds, n_scores), the
    intercept last.

    Parameters
    ----------
    design : Design
    folds : sequence of Samples
        Training rows: views of the table that the design was learned from.
    setting : Setting
    params : Params
        Holds ``smoothing`` and ``least_scale``.
    """

    def __init__(
        self, design: Design, folds: Sequence[Samples], setting: Setting, params: Any
    ) -> None:
        self.task, self.loss = setting.task, setting.loss
        self.sparse, self.dense = design.sparse, design.dense
        self.rows = [_rows_of(train) for train in folds]
        self.y = [train.y for train in folds]
        self.weight = [_weight_of(train) for train in folds]
        self.width = n_scores(self.task)
        self.shape = (self.sparse.shape[1] + self.dense.shape[1] + 1, len(folds), self.width)
        self.scale = self._prior_scale(params.smoothing, params.least_scale)

    def start(self) -> Floats:
        """Return coefficients of 0 with the intercept at each fold's base rate."""
        position = np.zeros(self.shape, dtype=np.float32)
        for fold, (y, weight) in enumerate(zip(self.y, self.weight, strict=True)):
            position[-1, fold] = self._base_rate(y, weight)
        return position

    def weights(self, position: Floats) -> Floats:
        """Return plain coefficients."""
        weights = position.copy()
        weights[: len(self.scale)] *= self.scale
        return weights

    def objective(self, position: Array, strength: float) -> tuple[Array, Array]:
        """Return each fold's penalised loss and its slope."""
        scores = self.scores(self.weights(position))
        losses = np.empty(len(self.rows))
        slopes = np.zeros_like(scores)
        slope = np.empty(self.shape, dtype=np.float32)
        for fold, rows in enumerate(self.rows):
            losses[fold], by_row = loss_of(
                scores[rows, fold], self.y[fold], self.weight[fold], self.task, self.loss
            )
            np.add.at(slopes[:, fold], rows, by_row.astype(np.float32))
            slope[-1, fold] = by_row.sum(axis=0)
        slope[:-1] = self._transposed(slopes)
        slope[: len(self.scale)] *= self.scale
        slope[:-1] += np.float32(strength) * position[:-1]
        losses += 0.5 * strength * np.square(position[:-1]).sum(axis=(0, 2), dtype=np.float64)
        return losses, slope

    def loss_of(self, scores: Floats, samples: Samples) -> float:
        """Return the summed loss of other rows' scores."""
        return loss_of(scores, samples.y, _weight_of(samples), self.task, self.loss)[0]

    def scores(self, weights: Floats) -> Floats:
        """Return scores of all rows, shape (n_samples, n_folds, n_scores)."""
        flat = weights.reshape(self.shape[0], -1)
        n_sparse = self.sparse.shape[1]
        scores = self.sparse @ flat[:n_sparse] + self.dense @ flat[n_sparse:-1] + flat[-1]
        return np.asarray(scores, dtype=np.float32).reshape(-1, *self.shape[1:])

    def _transposed(self, by_row: Floats) -> Floats:
        """Return the sums over rows that each column takes, shape (n_columns, folds, scores)."""
        flat = by_row.reshape(len(by_row), -1)
        columns = np.vstack([self.sparse.T @ flat, self.dense.T @ flat])
        return columns.reshape(-1, *self.shape[1:])

    def _prior_scale(self, smoothing: float, least: float) -> Floats:
        """Return how far each sparse column may move a score, of mean length 1.

        That is the log odds of a class with the column against without for classification, and the
        mean target where the column occurs for regression.
        """
        n_sparse = self.sparse.shape[1]
        n_rows = self.sparse.shape[0]
        shown = np.zeros((n_rows, *self.shape[1:]), dtype=np.float32)
        every = np.zeros_like(shown)
        for fold, (rows, y, weight) in enumerate(zip(self.rows, self.y, self.weight, strict=True)):
            target = _indicators(y, self.task)
            np.add.at(shown[:, fold], rows, (weight[:, None] * target).astype(np.float32))
            np.add.at(every[:, fold], rows, weight[:, None].astype(np.float32))
        inside = (self.sparse.T @ shown.reshape(n_rows, -1)).reshape(n_sparse, *self.shape[1:])
        total = (self.sparse.T @ every.reshape(n_rows, -1)).reshape(n_sparse, *self.shape[1:])
        if self.task.is_classification:
            inside, outside = inside + smoothing, total - inside + smoothing
            telling = np.log(inside / inside.sum(axis=0)) - np.log(outside / outside.sum(axis=0))
        else:
            telling = inside / (total + smoothing)
        scale = np.abs(telling) + least
        square = np.asarray(self.sparse.multiply(self.sparse).sum(axis=0)).ravel()
        mean = np.einsum("v,vfs->fs", square, scale**2) / max(square.sum(), 1e-12)
        return (scale / np.sqrt(np.maximum(mean, 1e-12))).astype(np.float32)

    def _base_rate(self, y: Array, weight: Array) -> Array:
        if not self.task.is_classification:
            quantile = quantile_of(self.loss)
            mean = weight @ y / weight.sum()
            return np.array([mean if quantile is None else np.quantile(y, quantile)])
        n_classes = self.task.n_classes
        count = np.bincount(y, weights=weight, minlength=n_classes)
        logit = np.log((count + 1 / n_classes) / (count.sum() + 1))
        return logit[1:] - logit[:1] if n_classes == 2 else logit - logit.mean()


def n_scores(task: Task) -> int:
    """Return how many scores a row gets: one for two classes and for a number."""
    return task.n_classes if task.is_classification and task.n_classes > 2 else 1


def loss_of(scores: Floats, y: Array, weight: Array, task: Task, loss: str) -> tuple[float, Array]:
    """Return the summed loss of scores of shape (n_samples, n_scores), and its slopes."""
    if not task.is_classification:
        error = scores[:, 0] - y
        quantile = quantile_of(loss)
        if quantile is not None:
            size = np.sqrt(error**2 + _CORNER**2)
            side = weight * np.where(error > 0, 2.0 * (1.0 - quantile), 2.0 * quantile)
            return float(side @ (size - _CORNER)), (side * error / size)[:, None]
        return float(weight @ error**2) / 2, (weight * error)[:, None]
    if task.n_classes == 2:
        margin = scores[:, 0].astype(np.float64)
        slope = 1.0 / (1.0 + np.exp(-np.clip(margin, -60, 60))) - y
        return float(weight @ (np.logaddexp(0, margin) - y * margin)), (weight * slope)[:, None]
    shares = softmax(scores.astype(np.float64))
    rows = np.arange(len(y))
    total = float(weight @ -np.log(np.maximum(shares[rows, y], 1e-30)))
    shares[rows, y] -= 1
    return total, shares * weight[:, None]


def softmax(scores: Array) -> Array:
    """Return the classes' shares, classes on the last axis."""
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-np.inf))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares


def _indicators(y: Array, task: Task) -> Array:
    if not task.is_classification:
        return y[:, None]
    if task.n_classes == 2:
        return (y == 1)[:, None].astype(np.float64)
    return np.eye(task.n_classes)[y]


def _rows_of(samples: Samples) -> Array:
    rows = samples.table.rows
    return np.arange(len(samples)) if rows is None else rows


def _weight_of(samples: Samples) -> Array:
    return np.ones(len(samples)) if samples.weight is None else samples.weight
