"""Logistic, ridge and quantile regression on scaled features."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import DataError, OutOfTimeError
from tabular_automl.core.links import sigmoid, softmax
from tabular_automl.core.params import Params as AnyParams
from tabular_automl.core.params import param
from tabular_automl.core.quantiles import quantile_of, weighted_quantile
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import Task
from tabular_automl.models.base import Model, Prediction
from tabular_automl.models.dense import DenseEncoder, n_pieces, one_blas_thread

Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]
Loss = Callable[[Floats], tuple[float, Floats]]

_PATH = tuple(float(10**power) for power in np.arange(4.0, -3.1, -0.5))
_PATIENCE = 2  # strengths in a row without improvement before the path ends
_MAX_EXACT = 1500  # largest system of equations that is solved in closed form
_MAX_ITERATIONS = 100
_TOLERANCE = 1e-5  # relative improvement of the loss below which descent ends
_CORNER = 0.05  # |error| is rounded off below this many standard deviations of the target
_MAX_CONDITIONED = 700  # columns up to which descent is worth a change of coordinates
_PROBE_ROWS = 4_000
_ENCODING_SHARE = 0.25  # of the time that is left; as much again goes into products of all columns
_BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class LinearParams(AnyParams):
    """Hyperparameters of a linear model."""

    regularization: float | None = param(
        None, 1e-6, 1e6, log=True, doc="weight of squared coefficients against summed losses"
    )
    n_knots: int = param(16, 0, 64, doc="pieces into which each number is split, to bend the fit")
    clip: bool = param(True, doc="squash numbers far from the median")
    one_hot_max_levels: int = param(
        100, 2, 1000, log=True, doc="most levels of a category that get a coefficient each"
    )
    max_rows: int = param(100_000, 100, 10_000_000, log=True, doc="most training rows to fit on")


class Linear(Model):
    """A linear model with squared penalty: logistic, ridge, or of a quantile.

    The strength of the penalty is chosen on the validation rows along a path from strong to weak,
    each fit starting from the one before.
    """

    Params = LinearParams
    interruptible: ClassVar[bool] = True

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Follow the path of penalties until validation loss rises or time is over."""
        if budget.expired():
            raise OutOfTimeError("A linear model needs time for one step, got none.")
        if not train.table.n_features:
            raise DataError("A linear model needs at least 1 feature, got 0; leave it out.")
        with one_blas_thread():
            train = self._drawn(train, budget)
            self.encoder = self._encoder()
            matrix = self.encoder.fit_transform(train, self.setting.task, self.setting.seed)
            self._fit_matrix(matrix, train, valid, budget)
        return self

    def predict(self, table: FeatureTable) -> Prediction:
        """Return probabilities, or values no further out than a quarter of the training range."""
        scores = self.encoder.transform(table) @ self.coefficients + self.intercept
        if not self.setting.task.is_classification:
            return np.clip(scores, self.bounds[0], self.bounds[1]).astype(np.float64)
        if self.setting.task.n_classes == 2:
            scores = np.hstack([np.zeros_like(scores), scores])
        return softmax(scores.astype(np.float64))

    def state(self) -> State:
        """Return the coefficients and the encoder."""
        arrays = {
            "coefficients": self.coefficients,
            "intercept": self.intercept,
            "bounds": self.bounds,
        }
        meta = {"strength": self.strength}
        return State(meta=meta, arrays=arrays, children={"encoder": self.encoder.state()})

    def restore(self, state: State) -> None:
        """Take the arrays back; raises ArtifactError when they do not fit together."""
        self.encoder = DenseEncoder()
        self.encoder.restore(state.children["encoder"])
        width, n_scores = self.encoder.width, _n_scores(self.setting.task)
        self.coefficients = state.array("coefficients", np.float32, (width, n_scores))
        self.intercept = state.array("intercept", np.float32, (n_scores,))
        self.bounds = state.array("bounds", np.float64, (2,))
        self.strength = state.number("strength", least=0.0)

    def fitted_params(self) -> AnyParams:
        """Return the params with the strength that was chosen."""
        params: LinearParams = self.params
        return dataclasses.replace(params, regularization=self.strength)

    @classmethod
    def estimate_bytes(cls, params: AnyParams, table: FeatureTable, task: Task) -> int:
        """Count the encoded matrix and what its products leave behind."""
        options: Any = params
        n_numbers, limit = len(table.numeric_names), options.one_hot_max_levels
        width = n_numbers + n_pieces(options.n_knots, n_numbers) * n_numbers
        width += sum(min(n, limit) for n in table.n_levels)
        n_rows = min(len(table), options.max_rows)
        encoded = 4 * n_rows * (width + 4 * max(1, task.n_outputs))
        # Wider systems are not written down.
        return int(encoded + 16 * min(width, n_rows, _MAX_EXACT) ** 2)

    def _encoder(self) -> DenseEncoder:
        options: LinearParams = self.params
        return DenseEncoder(
            one_hot_max_levels=options.one_hot_max_levels,
            clip=options.clip,
            n_knots=options.n_knots,
        )

    def _drawn(self, train: Samples, budget: Budget) -> Samples:
        """Return as many training rows as are wanted, and as there is time to encode."""
        n_rows = min(len(train), self.params.max_rows)
        order = np.random.default_rng(self.setting.seed).permutation(len(train))
        if budget.limited and n_rows > 4 * _PROBE_ROWS:
            began = time.monotonic()
            probe = train.take(order[:_PROBE_ROWS])
            self._encoder().fit_transform(probe, self.setting.task, self.setting.seed)
            seconds_per_row = (time.monotonic() - began) / _PROBE_ROWS
            affordable = int(_ENCODING_SHARE * budget.remaining() / seconds_per_row)
            n_rows = min(n_rows, max(_PROBE_ROWS, affordable))
        return train if n_rows == len(train) else train.take(np.sort(order[:n_rows]))

    def _fit_matrix(
        self, matrix: Floats, train: Samples, valid: Samples | None, budget: Budget
    ) -> None:
        task = self.setting.task
        self.bounds = _bounds(train.y, task)
        problem = _Problem(matrix, train, task, self.setting.loss)
        strengths = _strengths(self.params.regularization, valid)
        seen = None if valid is None else self.encoder.transform(valid.table)
        best, since = np.inf, 0
        for strength, coefficients, intercept in problem.path(strengths, budget):
            loss = 0.0
            if valid is not None and seen is not None and len(strengths) > 1:
                loss = problem.loss_of(seen @ coefficients + intercept, valid)
            since += 1
            if loss < best:
                best, since, self.strength = loss, 0, strength
                self.coefficients, self.intercept = coefficients, intercept
            if since >= _PATIENCE or budget.expired():
                break


class _Problem:
    """One penalised problem: minimise summed loss + strength / 2 * squared coefficients."""

    def __init__(self, matrix: Floats, train: Samples, task: Task, loss: str) -> None:
        self.matrix, self.task = matrix, task
        self.y = train.y
        self.weight = np.ones(len(train)) if train.weight is None else train.weight
        self.quantile = quantile_of(loss)
        self.shape = (matrix.shape[1] + 1, _n_scores(task))

    def path(self, strengths: tuple[float, ...], budget: Budget) -> Any:
        """Yield (strength, coefficients, intercept) for each strength, until time is over."""
        squared = not self.task.is_classification and self.quantile is None
        if squared and min(self.matrix.shape) <= _MAX_EXACT:
            return self._exact_path(strengths, budget)
        return self._descent_path(strengths, budget)

    def loss_of(self, scores: Floats, samples: Samples) -> float:
        """Return the mean loss of scores of other rows."""
        weight = np.ones(len(samples)) if samples.weight is None else samples.weight
        return self._loss(scores, samples.y, weight)[0] / len(samples)

    def _exact_path(self, strengths: tuple[float, ...], budget: Budget) -> Any:
        """Solve ridge regression for all strengths through one eigendecomposition."""
        from scipy.linalg import eigh

        total = self.weight.sum()
        mean = (self.weight @ self.matrix) / total
        y_mean = float(self.weight @ self.y) / total
        wide = self.matrix.shape[1] > self.matrix.shape[0]
        root = np.sqrt(self.weight)[:, None]
        if wide:
            centred = (self.matrix - mean) * root
            values, vectors = eigh(centred @ centred.T)
            basis = centred.T @ vectors
            target = vectors.T @ (root[:, 0] * (self.y - y_mean))
        else:
            gram, moment = self._moments(mean, y_mean, budget)
            values, basis = eigh(gram)
            target = basis.T @ moment
        for strength in strengths:
            coefficients = basis @ (target / (np.maximum(values, 0.0) + strength))
            intercept = y_mean - float(mean @ coefficients)
            yield strength, _column(coefficients), np.array([intercept], dtype=np.float32)

    def _moments(self, mean: Reals, y_mean: float, budget: Budget) -> tuple[Reals, Reals]:
        """Return X'WX and X'Wy of centred rows, of those that there is time for.

        Blocks of rows are multiplied in float32 and summed in float64.
        """
        width = self.matrix.shape[1]
        gram, moment = np.zeros((width, width)), np.zeros(width)
        for first in range(0, len(self.y), _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            centred = self.matrix[rows] - mean.astype(np.float32)
            weighted = centred * self.weight[rows, None].astype(np.float32)
            gram += centred.T @ weighted
            moment += weighted.T @ (self.y[rows] - y_mean)
            if budget.expired():
                break
        return gram, moment

    def _descent_path(self, strengths: tuple[float, ...], budget: Budget) -> Any:
        """Minimise by L-BFGS for one strength after the other, each from where the last ended."""
        from scipy.optimize import minimize

        def stop_in_time(position: Reals) -> None:
            if budget.expired():
                raise StopIteration

        solution = self._start()
        fits = self.shape[0] <= min(_MAX_CONDITIONED, len(self.y))
        curvature = self._curvature(budget) if fits else None
        for strength in strengths:
            chart = _Chart(curvature, strength, self.shape)
            found = minimize(
                self._objective,
                chart.position(solution),
                args=(strength, chart),
                method="L-BFGS-B",
                jac=True,
                callback=stop_in_time if budget.limited else None,
                options={"maxiter": _MAX_ITERATIONS, "gtol": 1e-5, "ftol": _TOLERANCE},
            )
            solution = chart.solution(found.x)
            if self.quantile is not None:
                solution[-1] = self._exact_intercept(solution[:-1], self.quantile)
            yield strength, solution[:-1].astype(np.float32), solution[-1].astype(np.float32)

    def _exact_intercept(self, coefficients: Reals, quantile: float) -> float:
        """Return what is left for the intercept: the loss with a rounded corner misses it a bit."""
        slopes = self.matrix @ coefficients.astype(np.float32)
        return weighted_quantile((self.y - slopes[:, 0]).astype(np.float64), self.weight, quantile)

    def _curvature(self, budget: Budget) -> Reals:
        """Return an upper bound of the summed loss' second derivative by one score's solution."""
        steepest = 1.0
        if self.task.is_classification:
            steepest = 0.25 if self.task.n_classes == 2 else 0.5
        width = self.matrix.shape[1]
        bound = np.zeros((width + 1, width + 1))
        for first in range(0, len(self.y), _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            block = self.matrix[rows]
            block = np.hstack([block, np.ones((len(block), 1), dtype=np.float32)])
            bound += block.T @ (block * self.weight[rows, None].astype(np.float32))
            if budget.expired():
                break
        return steepest * bound

    def _start(self) -> Reals:
        """Return coefficients of 0 with the intercept at the base rate."""
        start = np.zeros(self.shape)
        if self.task.is_classification:
            count = np.bincount(self.y, weights=self.weight, minlength=self.task.n_classes)
            share = (count + 1 / self.task.n_classes) / (count.sum() + 1)
            logit = np.log(share)
            start[-1] = logit[1:] - logit[:1] if self.task.n_classes == 2 else logit - logit.mean()
        else:
            quantile = self.quantile
            start[-1] = np.mean(self.y) if quantile is None else np.quantile(self.y, quantile)
        return start

    def _objective(self, position: Reals, strength: float, chart: _Chart) -> tuple[float, Reals]:
        """Return the mean penalised loss and its gradient."""
        solution = chart.solution(position)
        coefficients = solution[:-1].astype(np.float32)
        scores = self.matrix @ coefficients + solution[-1].astype(np.float32)
        loss, slope = self._loss(scores, self.y, self.weight)
        gradient = np.empty(self.shape)
        gradient[:-1] = self.matrix.T @ slope + strength * solution[:-1]
        gradient[-1] = slope.sum(axis=0, dtype=np.float64)
        n_samples = len(self.y)
        loss += 0.5 * strength * float(np.sum(solution[:-1] ** 2))
        return loss / n_samples, chart.gradient(gradient) / n_samples

    def _loss(self, scores: Floats, y: npt.NDArray[Any], weight: Reals) -> tuple[float, Floats]:
        """Return the summed loss and its slope by score."""
        if not self.task.is_classification:
            return _regression_loss(scores, y, weight, self.quantile)
        if self.task.n_classes == 2:
            return _binary_loss(scores, y, weight)
        return _class_loss(scores, y, weight)


class _Chart:
    """Coordinates in which the penalised loss is about as steep in all directions.

    Descent then takes a tenth of the steps that it takes along correlated features. The upper
    bound of the curvature that shapes them is Böhning's (1992), factored by Cholesky; without a
    curvature the coordinates are the solution's own.
    """

    def __init__(self, curvature: Reals | None, strength: float, shape: tuple[int, int]) -> None:
        from scipy.linalg import cholesky

        self.shape = shape
        self.root: Reals | None = None
        if curvature is not None:
            penalty = np.full(shape[0], strength)
            penalty[-1] = 0.0
            jitter = 1e-8 * np.diag(curvature).mean() + 1e-12
            self.root = cholesky(curvature + np.diag(penalty + jitter))

    def position(self, solution: Reals) -> Reals:
        """Return the coordinates of a solution, flat."""
        return (solution if self.root is None else self.root @ solution).ravel()

    def solution(self, position: Reals) -> Reals:
        """Return the solution, shape (width + 1, n_scores), at the coordinates."""
        return self._solved(position.reshape(self.shape), transposed=False)

    def gradient(self, gradient: Reals) -> Reals:
        """Return the slope by coordinate, flat, from the slope by solution."""
        return self._solved(gradient, transposed=True).ravel()

    def _solved(self, values: Reals, *, transposed: bool) -> Reals:
        from scipy.linalg import solve_triangular

        if self.root is None:
            return values
        solved: Reals = solve_triangular(self.root, values, trans="T" if transposed else "N")
        return solved


def _regression_loss(
    scores: Floats, y: Reals, weight: Reals, quantile: float | None
) -> tuple[float, Floats]:
    error = scores[:, 0] - y
    if quantile is not None:
        size = np.sqrt(error**2 + _CORNER**2)
        side = weight * np.where(error > 0, 2.0 * (1.0 - quantile), 2.0 * quantile)
        return float(side @ (size - _CORNER)), _column(side * error / size)
    return float(weight @ error**2) / 2, _column(weight * error)


def _binary_loss(scores: Floats, y: npt.NDArray[Any], weight: Reals) -> tuple[float, Floats]:
    margin = scores[:, 0]
    loss = np.logaddexp(np.float32(0), margin) - y * margin
    slope = sigmoid(margin) - y
    return float(weight @ loss), _column(weight * slope)


def _class_loss(scores: Floats, y: npt.NDArray[Any], weight: Reals) -> tuple[float, Floats]:
    rows = np.arange(len(y))
    shares = softmax(scores)
    loss = -np.log(np.maximum(shares[rows, y], np.float32(1e-30)))
    shares[rows, y] -= 1
    shares *= weight[:, None].astype(np.float32)
    return float(weight @ loss), shares


def _column(values: Reals) -> Floats:
    return values.astype(np.float32)[:, None]


def _n_scores(task: Task) -> int:
    return task.n_classes if task.is_classification and task.n_classes > 2 else 1


def _bounds(y: npt.NDArray[Any], task: Task) -> Reals:
    """Return how far predictions may go; extrapolation beyond that has never been seen to pay."""
    if task.is_classification:
        return np.zeros(2)
    margin = 0.25 * (y.max() - y.min())
    return np.array([y.min() - margin, y.max() + margin])


def _strengths(chosen: float | None, valid: Samples | None) -> tuple[float, ...]:
    if chosen is not None:
        return (chosen,)
    return (1.0,) if valid is None or not len(valid) else _PATH
