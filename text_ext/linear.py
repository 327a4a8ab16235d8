"""A linear model of n-grams, categories and numbers, for tables with columns of text."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.extend import (
    Budget,
    FeatureTable,
    Kind,
    Model,
    NotFittedError,
    OutOfTimeError,
    Prediction,
    Samples,
    Setting,
    State,
    Task,
    param,
)
from tabular_automl.extend import Params as AnyParams
from text_ext.descent import descend
from text_ext.design import (
    NUMBER_LENGTH,
    Design,
    Floats,
    Numbers,
    Reading,
    scaled_blocks,
    texts_of,
    weigh,
)
from text_ext.grams import MAX_CHARS, N_BUCKETS, choose_sizes, weigh_grams
from text_ext.losses import LinearProblem, n_scores, softmax

# Of the path of penalties; it ends when the validation loss rises.
_STRONGEST, _STEP, _N_STEPS = 64.0, 4.0, 7
_MANY_ROWS = 3_000  # need no penalty that strong
_MAX_ITERATIONS = 40
_TOLERANCE = 1e-3  # relative improvement of every loss below which descent ends
_MAX_VARIABLES = 8_000_000  # of all folds that are fitted side by side
_READING_SHARE, _WORDS_SHARE = 0.4, 0.6  # of the time that is left
_PROBE_TEXTS = 300
_RUN_BYTES, _WORD_BYTES = 12, 4  # of a character: of each run of a size, of its word
_NEGLIGIBLE = 1e-4  # part of the squared weights that the smallest ones may take with them


class TextLinear(Model):
    """Logistic or ridge regression on hashed n-grams of every text column, and on all features.

    Words, pairs of words and runs of characters are hashed and weighted by rarity. A column may
    weigh the more, the more its occurrence changes the odds of a class in the training fold, as
    naive Bayes sees it [1]_. The strength of the penalty is chosen on the validation rows of all
    folds, which are fitted side by side, along a path from strong to weak.

    References
    ----------
    .. [1] Wang, Manning, "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification",
       ACL 2012.
    """

    interruptible: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("scipy.sparse",)
    reads: ClassVar[frozenset[Kind]] = frozenset({Kind.TEXT})
    joins: ClassVar[bool] = True
    cost: ClassVar[float] = 80.0  # it stops by itself, so that what it leaves goes to the others
    _keeps_copy = True  # of what the models of a bag share

    @dataclass(frozen=True)
    class Params(AnyParams):
        """Hyperparameters of `TextLinear`."""

        regularization: float | None = param(
            None, 1e-4, 1e4, log=True, doc="weight of squared coefficients against summed losses"
        )
        smoothing: float = param(0.5, 1e-3, 100.0, log=True, doc="rows added to each odds")
        least_scale: float = param(0.3, 0.0, 10.0, doc="log odds granted to every n-gram")
        max_columns: int = param(300_000, 100, 10_000_000, log=True, doc="most n-grams")

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Fit on one fold; see `Model.fit`."""
        self._fit_together([self], [(train, valid)], budget)
        return self

    @classmethod
    def fit_folds(
        cls,
        params: AnyParams,
        settings: Sequence[Setting],
        folds: Sequence[tuple[Samples, Samples]],
        budget: Budget,
    ) -> list[Self] | None:
        """Fit all folds side by side: each pass over the n-grams serves all of them."""
        models = [cls(params, setting) for setting in settings]
        cls._fit_together(models, folds, budget)
        return models

    @classmethod
    def estimate_bytes(cls, params: AnyParams, table: FeatureTable, task: Task) -> int:
        """Count the n-grams, of which there are some for each character, and the search."""
        step = max(1, len(table) // 200)
        some = table.take(np.arange(0, len(table), step))
        n_bytes = sum(_gram_bytes(texts_of(some, column)) for column in table.raw_of(Kind.TEXT))
        return table.n_bytes + step * n_bytes + 6 * 4 * _MAX_VARIABLES

    def predict(self, table: FeatureTable) -> Prediction:
        """Return probabilities, or values no further out than a quarter of the training range."""
        if not hasattr(self, "intercept"):
            raise NotFittedError(f"{type(self).__name__} must be fitted before predict.")
        return self._answers(self._scores(table), self.bounds)

    @classmethod
    def join(cls, models: Sequence[Self]) -> Callable[[FeatureTable], Prediction] | None:
        """Return one product for all models: a text is read, and its n-grams looked up, once."""
        first, n_models, width = models[0], len(models), models[0].weights.shape[1]
        slots = np.unique(np.concatenate([model.slots for model in models]))
        read_alike = all(_read_alike(first, model) for model in models[1:])
        if not read_alike or len(slots) * n_models * width > _MAX_VARIABLES:
            return None
        weights = np.zeros((len(slots), n_models, width), dtype=np.float32)
        for position, model in enumerate(models):
            weights[np.searchsorted(slots, model.slots), position] = model.weights
        joined = copy.copy(first)
        joined.slots, joined.weights = slots, weights.reshape(len(slots), -1)
        joined.dense_weights = np.hstack([model.dense_weights for model in models])
        joined.intercept = np.concatenate([model.intercept for model in models])
        bounds = np.stack([model.bounds for model in models], axis=1)[..., np.newaxis]

        def answer(table: FeatureTable) -> Prediction:
            scores = joined._scores(table).reshape(len(table), n_models, width)
            mean: Prediction = first._answers(scores, bounds).mean(axis=1)
            return mean

        return answer

    def state(self) -> State:
        """Return the weights of the n-grams that have one, and how numbers are scaled."""
        arrays = {
            "slots": self.slots,
            "weights": self.weights,
            "dense_weights": self.dense_weights,
            "intercept": self.intercept,
            "bounds": self.bounds,
        }
        for position, each in enumerate(self.numbers):
            arrays[f"center{position}"] = each.center
            arrays[f"scale{position}"] = each.scale
        meta = {
            "columns": list(self.reading.columns),
            "sizes": [list(sizes) for sizes in self.reading.sizes],
            "n_levels": list(self.reading.n_levels),
            "limits": [each.limit for each in self.numbers],
            "strength": self.strength,
        }
        return State(meta=meta, arrays=arrays)

    def restore(self, state: State) -> None:
        """Take the weights back; raises ArtifactError when they do not fit together."""
        meta = state.meta
        self.reading = Reading(
            tuple(str(column) for column in meta["columns"]),
            tuple(tuple(int(size) for size in sizes) for sizes in meta["sizes"]),
            tuple(int(n) for n in meta["n_levels"]),
        )
        self.numbers = tuple(
            _restored_numbers(state, i, limit) for i, limit in enumerate(meta["limits"])
        )
        self.strength = state.number("strength", least=0.0)
        width, n_dense = n_scores(self.setting.task), sum(len(n.center) for n in self.numbers)
        n_slots = len(self.reading.columns) * N_BUCKETS + sum(self.reading.n_levels)
        self.slots = state.array("slots", np.int32, (None,), least=0, below=n_slots)
        self.weights = state.array("weights", np.float32, (len(self.slots), width))
        self.dense_weights = state.array("dense_weights", np.float32, (n_dense, width))
        self.intercept = state.array("intercept", np.float32, (width,))
        self.bounds = state.array("bounds", np.float64, (2,))

    def fitted_params(self) -> AnyParams:
        """Return the params with the strength that was chosen."""
        return dataclasses.replace(self.params, regularization=self.strength)

    def _blocks(self, table: FeatureTable, budget: Budget) -> list[tuple[Floats, float]]:
        """Return blocks of dense features of a table, each with the length to give its rows."""
        return [(table.numeric, NUMBER_LENGTH)]

    def _answers(self, scores: Floats, bounds: npt.NDArray[np.float64]) -> Prediction:
        """Return what scores say, which are on the last axis; values lie within the bounds."""
        if not self.setting.task.is_classification:
            return np.clip(scores, *bounds).astype(np.float64)
        if self.setting.task.n_classes == 2:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=-1)
        return softmax(scores.astype(np.float64))

    def _scores(self, table: FeatureTable) -> Floats:
        blocks = self._blocks(table, Budget.unlimited())
        dense = scaled_blocks(self.numbers, [values for values, _ in blocks], len(table))
        sparse = weigh(self.reading.slots(table), self.slots, self.weights)
        scores: Floats = sparse + dense @ self.dense_weights + self.intercept
        return scores

    @classmethod
    def _fit_together(
        cls,
        models: Sequence[Self],
        folds: Sequence[tuple[Samples, Samples | None]],
        budget: Budget,
    ) -> None:
        if budget.expired():
            raise OutOfTimeError("A text model needs time for one step, got none.")
        first = models[0]
        for model in models[1:]:
            model._keeps_copy = False
        root, params, task = folds[0][0].table.root, first.params, first.setting.task
        n_columns = min(params.max_columns, _MAX_VARIABLES // n_scores(task))
        reading = _affordable_reading(root, budget)
        blocks = first._blocks(root, budget)
        design = root.derived(
            (cls, params, reading, n_columns),
            lambda table: Design.of(table, reading, blocks, n_columns),
        )
        _known(root).add(reading)
        n_variables = (design.sparse.shape[1] + design.dense.shape[1] + 1) * n_scores(task)
        n_at_once = max(1, _MAX_VARIABLES // n_variables)
        for start in range(0, len(models), n_at_once):
            group = slice(start, start + n_at_once)
            share = budget.share(len(models[group]) / (len(models) - start))
            _follow_path(design, models[group], folds[group], share)

    def _take(self, design: Design, weights: Floats, strength: float, y: Any) -> None:
        """Keep the solution: weights of shape (n_sparse + n_dense + 1, n_scores)."""
        n_sparse = len(design.kept)
        sparse = weights[:n_sparse]
        kept = _telling(design, sparse)
        self.reading, self.numbers, self.strength = design.reading, design.numbers, strength
        self.slots = design.kept[kept].astype(np.int32)
        self.weights = np.ascontiguousarray(sparse[kept] * design.scale[kept, None])
        self.dense_weights = np.ascontiguousarray(weights[n_sparse:-1])
        self.intercept = weights[-1].copy()
        self.bounds = np.zeros(2)
        if not self.setting.task.is_classification:
            margin = 0.25 * (y.max() - y.min())
            self.bounds = np.array([y.min() - margin, y.max() + margin])


def _gram_bytes(texts: Sequence[str]) -> int:
    """Return about how many bytes the n-grams of texts take."""
    n_chars = sum(min(len(text), MAX_CHARS) for text in texts)
    return n_chars * (_RUN_BYTES * len(choose_sizes(texts)) + _WORD_BYTES)


def _read_alike(first: TextLinear, second: TextLinear) -> bool:
    """Return whether both models read a row as the same numbers."""
    return first.reading == second.reading and all(
        a.limit == b.limit
        and np.array_equal(a.center, b.center)
        and np.array_equal(a.scale, b.scale)
        for a, b in zip(first.numbers, second.numbers, strict=True)
    )


def _restored_numbers(state: State, position: int, limit: float) -> Numbers:
    """Return how one block of numbers is scaled."""
    center = state.array(f"center{position}", np.float32, (None,))
    return Numbers(center, state.array(f"scale{position}", np.float32, center.shape), float(limit))


def _affordable_reading(table: FeatureTable, budget: Budget) -> Reading:
    """Return how to read the texts: all n-grams, or those of words where time is short."""
    reading = table.derived("text_ext.reading", Reading.of)
    if not budget.limited or not reading.columns:
        return reading
    left = budget.remaining()
    if _seconds_to_read(table, reading) <= _READING_SHARE * left:
        return reading
    words = dataclasses.replace(reading, sizes=((),) * len(reading.columns))
    if _seconds_to_read(table, words) <= _WORDS_SHARE * left:
        return words
    raise OutOfTimeError(f"hashing the n-grams of {len(table)} rows would take too long")


def _known(table: FeatureTable) -> set[Reading]:
    """Return how a table has been read already, to be added to."""
    return table.derived("text_ext.known", lambda view: set())


def _seconds_to_read(table: FeatureTable, reading: Reading) -> float:
    """Return about how long a table's n-grams take, from a few of its texts."""
    if len(table) <= 2 * _PROBE_TEXTS or reading in _known(table):
        return 0.0
    rows = np.linspace(0, len(table) - 1, _PROBE_TEXTS).astype(np.intp)
    probe = table.take(rows)
    began = time.monotonic()
    for column, sizes in zip(reading.columns, reading.sizes, strict=True):
        weigh_grams(texts_of(probe, column), sizes)
    return (time.monotonic() - began) * len(table) / _PROBE_TEXTS


def _follow_path(
    design: Design,
    models: Sequence[TextLinear],
    folds: Sequence[tuple[Samples, Samples | None]],
    budget: Budget,
) -> None:
    """Fit folds side by side from strong penalties to weak, then around the best of them."""
    first = models[0]
    problem = LinearProblem(design, [train for train, _ in folds], first.setting, first.params)
    path = _Path(problem, folds, budget)
    strengths = _strengths(first.params.regularization, folds)
    for strength in strengths:
        if not path.walk(strength) or budget.expired():
            break
    if len(strengths) > 1:
        for strength in (path.strength * _STEP**0.5, path.strength / _STEP**0.5):
            if not budget.expired():
                path.walk(strength)
    weights = problem.weights(path.position)
    for fold, model in enumerate(models):
        model._take(design, weights[:, fold], path.strength, folds[fold][0].y)


class _Path:
    """The strength of the penalty that was best so far, and the coefficients found with it."""

    def __init__(
        self,
        problem: LinearProblem,
        folds: Sequence[tuple[Samples, Samples | None]],
        budget: Budget,
    ) -> None:
        self.problem, self.folds, self.budget = problem, folds, budget
        self.position = problem.start()
        self.strength, self.loss = 1.0, np.inf

    def walk(self, strength: float) -> bool:
        """Fit with another strength from the best coefficients; return whether it is better."""
        position = descend(
            lambda at: self.problem.objective(at, strength),
            self.position,
            self.budget.expired,
            max_iterations=_MAX_ITERATIONS,
            tolerance=_TOLERANCE,
        )
        loss = _validation_loss(self.problem, self.problem.weights(position), self.folds)
        if loss >= self.loss:
            return False
        self.position, self.strength, self.loss = position, strength, loss
        return True


def _validation_loss(
    problem: LinearProblem,
    weights: Floats,
    folds: Sequence[tuple[Samples, Samples | None]],
) -> float:
    """Return the mean loss of the folds' validation rows, views of the training rows' table."""
    scores = problem.scores(weights)
    losses = [
        problem.loss_of(scores[valid.table.rows, fold], valid)
        for fold, (_, valid) in enumerate(folds)
        if valid is not None
    ]
    n_rows = sum(len(valid) for _, valid in folds if valid is not None)
    return sum(losses) / max(n_rows, 1)


def _strengths(
    chosen: float | None, folds: Sequence[tuple[Samples, Samples | None]]
) -> tuple[float, ...]:
    if chosen is not None:
        return (chosen,)
    if not any(valid is not None and len(valid) for _, valid in folds):
        return (1.0,)
    strongest = _STRONGEST if len(folds[0][0]) < _MANY_ROWS else _STRONGEST / _STEP
    return tuple(strongest / _STEP**step for step in range(_N_STEPS))


def _telling(design: Design, weights: Floats) -> npt.NDArray[np.intp]:
    """Return the columns that are worth keeping: the others hardly move any prediction."""
    size = np.square(weights, dtype=np.float64).sum(axis=1)
    order = np.argsort(size)
    n_dropped = np.searchsorted(np.cumsum(size[order]), _NEGLIGIBLE * size.sum(), side="right")
    kept: npt.NDArray[np.intp] = np.sort(order[n_dropped:])
    return kept
