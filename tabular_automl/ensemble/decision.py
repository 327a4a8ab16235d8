"""From probabilities to a class, in the metric's sense.

The most probable class is best for accuracy. A metric that treats classes more equally than their
sizes, such as F1 or balanced accuracy, wants rare classes to be said more often. How much more is
learned from out-of-fold predictions, and kept only where it helps rows that did not choose it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.registry import PLUG_IN_ERRORS
from tabular_automl.ensemble.objectives import sample_rows
from tabular_automl.metrics.base import Metric, OnLabels, Reads
from tabular_automl.metrics.resolve import takes_weight

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

# Right without a rule: what they count is the number of hits.
_HITS = ("accuracy", "f1_micro", "precision_micro", "recall_micro")
_MOST_ROWS = 20_000
_MOST_CLASSES = 30  # for which a factor each is learned
_N_THRESHOLDS = 100  # quantiles of the positive rows, and as many of the negative ones
_N_SPLITS = 20
_N_PARTS = 5
_TIME_SHARE = 0.7  # of what is left, for a metric that is slow
_LEAST_ROWS = 500  # unless the table has fewer
_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
_FACTORS = np.exp(np.linspace(-0.8, 0.8, 9))
_STEPS = np.linspace(-0.3, 0.3, 7)
_N_PASSES = 2


@dataclass(frozen=True)
class DecisionRule:
    """Chooses a class for each row of probabilities.

    Attributes
    ----------
    factors : ndarray of shape (n_classes,) or None
        The class with the greatest probability times factor is chosen; None: the most probable.
        A threshold t for two classes is the pair of factors t, 1 - t.
    cutoffs : ndarray of shape (n_classes - 1,) or None
        For ordered classes: the number of cutoffs below the expected class code is chosen.
    """

    factors: Floats | None = None
    cutoffs: Floats | None = None

    @classmethod
    def fit(
        cls,
        probabilities: npt.NDArray[Any],
        y: npt.NDArray[Any],
        metric: Metric,
        weight: npt.NDArray[Any] | None = None,
        budget: Budget | None = None,
    ) -> DecisionRule:
        """Return the rule that does best on a metric, or the most probable class.

        Two classes: a threshold, the median of the best ones of random halves of the rows, kept
        when it gains on the other halves by more than half the spread of those gains. More
        classes: factors found by coordinate ascent, or powers of the inverse class shares; for
        quadratic kappa cutoffs of the expected code; kept when the mean gain over five parts
        exceeds its standard error.

        Parameters
        ----------
        probabilities : ndarray of shape (n_samples, n_classes)
            Out-of-fold, calibrated as they will be when the rule is used.
        y : ndarray of shape (n_samples,)
            Class codes.
        metric : Metric
            Bound to the user's classes, if it is a function of the user's own.
        weight : ndarray of shape (n_samples,), optional
        budget : Budget, optional
            A metric that is slow for it is asked on fewer rows, or not at all.
        """
        if metric.reads is not Reads.LABEL or metric.name in _HITS or len(np.unique(y)) < 2:
            return cls()
        p = np.asarray(probabilities, dtype=np.float64)
        try:
            return cls._best(p, y.astype(np.intp), metric, weight, budget or Budget.unlimited())
        except PLUG_IN_ERRORS:
            if not isinstance(metric.function, OnLabels):
                raise
            return cls()  # a function that needs a class which a part of the rows has not

    @classmethod
    def _best(
        cls,
        p: Floats,
        codes: Codes,
        metric: Metric,
        weight: npt.NDArray[Any] | None,
        budget: Budget,
    ) -> DecisionRule:
        if p.shape[1] == 2:
            return _fit_threshold(p[:, 1], codes, metric, weight, budget)
        n_rows = _rows_in_time(codes, metric, _calls_of_ways(p.shape[1]), budget)
        if not n_rows:
            return cls()
        rows, weight = sample_rows(codes, metric, weight, n_rows)
        return _fit_several(_Rows(p[rows], codes[rows], weight), metric, budget)

    def decide(self, probabilities: npt.NDArray[Any]) -> Codes:
        """Return class codes.

        Parameters
        ----------
        probabilities : ndarray of shape (n_samples, n_classes)

        Returns
        -------
        ndarray of shape (n_samples,), intp
        """
        if self.cutoffs is not None:
            expected = probabilities @ np.arange(probabilities.shape[1], dtype=np.float64)
            return np.searchsorted(self.cutoffs, expected)
        scaled = probabilities if self.factors is None else probabilities * self.factors
        return np.asarray(scaled.argmax(axis=1), dtype=np.intp)

    @property
    def threshold(self) -> float | None:
        """Probability of the second of two classes above which it is chosen; None for more."""
        if self.factors is None:
            return 0.5 if self.cutoffs is None else None
        return float(self.factors[0]) if len(self.factors) == 2 else None

    def state(self) -> State:
        """Return what `from_state` needs."""
        parts = {"factors": self.factors, "cutoffs": self.cutoffs}
        return State(arrays={name: part for name, part in parts.items() if part is not None})

    @classmethod
    def from_state(cls, state: State, n_classes: int) -> DecisionRule:
        """Build the rule for so many classes again."""
        shapes = {"factors": (n_classes,), "cutoffs": (n_classes - 1,)}
        parts = {
            name: state.array(name, np.float64, shape)
            for name, shape in shapes.items()
            if name in state.arrays
        }
        return cls(**parts)


def _rows_in_time(y: Codes, metric: Metric, n_calls: int, budget: Budget) -> int:
    """Return for how many rows a metric can be asked so often; 0 for too few to learn from."""
    n_rows = min(len(y), _MOST_ROWS)
    if not budget.limited:
        return n_rows
    rows, _ = sample_rows(y, metric, None, n_rows)
    start = time.monotonic()
    metric.score(y[rows], y[rows])
    seconds = max(1e-9, time.monotonic() - start)
    part = min(1.0, _TIME_SHARE * budget.remaining() / (n_calls * seconds))
    affordable = int(part * n_rows)
    return affordable if affordable >= min(n_rows, _LEAST_ROWS) else 0


# ---- two classes ----------------------------------------------------------------------------


class _Curve:
    """A metric's score at each threshold, from counts of rows between thresholds.

    What labels a threshold gives depends on four numbers only: rows of each class above and below
    it. So rows are counted once, and a random half of them is a binomial draw of the counts.
    """

    def __init__(
        self, rank: Floats, y: Codes, metric: Metric, weight: npt.NDArray[Any] | None
    ) -> None:
        self.metric = metric
        self.own_function = isinstance(metric.function, OnLabels)
        # A function of the user's own that takes no weights is scored on counted rows.
        self.counts_rows = self.own_function and (weight is None or not takes_weight(metric))
        n_thresholds = _N_THRESHOLDS // 4 if self.own_function else _N_THRESHOLDS
        self.thresholds = _candidates(rank, y, n_thresholds)
        n_cells = len(self.thresholds) + 1
        cell = 2 * np.searchsorted(self.thresholds, rank) + y
        self.counts = np.bincount(cell, minlength=2 * n_cells).reshape(n_cells, 2)
        self.scale: Floats | float = 1.0
        if weight is not None and not self.counts_rows:
            total = np.bincount(cell, weights=weight, minlength=2 * n_cells).reshape(n_cells, 2)
            self.scale = total / np.maximum(self.counts, 1)

    def scores(self, counts: npt.NDArray[np.int64]) -> Floats:
        """Return the score at each threshold, shape (n_thresholds,)."""
        weighted = counts * self.scale
        below = np.cumsum(weighted, axis=0)[:-1]
        above = weighted.sum(axis=0) - below
        quads = np.column_stack([below[:, 0], above[:, 0], below[:, 1], above[:, 1]])
        return np.array([self._score_or_worst(quad) for quad in quads])

    def _score_or_worst(self, quad: Floats) -> float:
        """Return the score, or the worst where a user's function has none: precision of nothing."""
        try:
            return self._score(quad)
        except PLUG_IN_ERRORS:
            if not self.own_function:
                raise
            return -np.inf

    def _score(self, quad: Floats) -> float:
        y, codes = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
        if self.counts_rows:
            n_rows = np.rint(quad).astype(np.int64)
            return self.metric.score(np.repeat(y, n_rows), np.repeat(codes, n_rows))
        return self.metric.score(y, codes, quad)


def _candidates(rank: Floats, y: Codes, n_thresholds: int) -> Floats:
    """Return thresholds between the rows, dense where either class is, and one half."""
    share = np.linspace(0.0, 1.0, n_thresholds)
    points = np.concatenate([np.quantile(rank[y == k], share) for k in (0, 1)])
    points = np.unique(points)
    return np.unique(np.append(0.5 * (points[1:] + points[:-1]), 0.5))


def _fit_threshold(
    rank: Floats, y: Codes, metric: Metric, weight: npt.NDArray[Any] | None, budget: Budget
) -> DecisionRule:
    """Choose on random halves of the rows, judge on the other halves."""
    if isinstance(metric.function, OnLabels):
        n_calls = _N_SPLITS * _N_THRESHOLDS // 4  # of half of the rows: thresholds of both classes
        n_rows = _rows_in_time(y, metric, n_calls, budget)
        if not n_rows:
            return DecisionRule()
        rows, weight = sample_rows(y, metric, weight, n_rows)
        rank, y = rank[rows], y[rows]
    curve = _Curve(rank, y, metric, weight)
    half = int(np.searchsorted(curve.thresholds, 0.5))
    rng = np.random.default_rng(0)
    found, gains = [], []
    for _ in range(_N_SPLITS // (2 if curve.own_function else 1)):
        one = rng.binomial(curve.counts, 0.5)
        if budget.expired():
            break
        parts = [part for part in (one, curve.counts - one) if part.sum(axis=0).all()]
        if len(parts) < 2:  # a class is so rare that one half has none of it
            continue
        scores = [curve.scores(part) for part in parts]
        for choosing, judging in (scores, scores[::-1]):
            best = _middle_of_best(choosing)
            found.append(curve.thresholds[best])
            gains.append(judging[best] - judging[half])
    if not gains or not np.mean(gains) > 0.5 * np.std(gains):
        return DecisionRule()
    threshold = float(np.median(found))
    return DecisionRule(factors=np.array([threshold, 1.0 - threshold]))


def _middle_of_best(scores: Floats) -> int:
    """Return the middle of the thresholds that share the best score."""
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    return int(best[len(best) // 2])


# ---- more classes ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Rows to choose or to judge a rule on."""

    p: Floats
    y: Codes
    weight: npt.NDArray[Any] | None

    def take(self, rows: npt.NDArray[Any]) -> _Rows:
        return _Rows(self.p[rows], self.y[rows], None if self.weight is None else self.weight[rows])

    def score(self, rule: DecisionRule, metric: Metric) -> float:
        return metric.score(self.y, rule.decide(self.p), self.weight)


_Fit = Callable[[_Rows, Metric], DecisionRule]


def _calls_of_ways(n_classes: int) -> int:
    """Return about how often a metric is asked to choose and judge a rule for so many classes."""
    of_factors = _N_PASSES * n_classes * len(_FACTORS) if n_classes <= _MOST_CLASSES else 0
    return (_N_PARTS + 1) * (2 * len(_POWERS) + of_factors)


def _fit_several(rows: _Rows, metric: Metric, budget: Budget) -> DecisionRule:
    """Return the best of a few ways to make a rule, by the gain on rows that did not choose it."""
    if len(rows.y) < 2 * _N_PARTS:  # parts of a row or none, which not every metric can judge
        return DecisionRule()
    part = _parts(rows.y)
    best_gain, best_fit = 0.0, None
    for fit in _ways(metric, rows.p.shape[1]):
        gains = []
        for k in range(_N_PARTS):
            if budget.expired():
                return DecisionRule()
            held, rule = rows.take(part == k), fit(rows.take(part != k), metric)
            gains.append(held.score(rule, metric) - held.score(DecisionRule(), metric))
        if np.mean(gains) > max(best_gain, np.std(gains) / np.sqrt(_N_PARTS)):
            best_gain, best_fit = float(np.mean(gains)), fit
    return DecisionRule() if best_fit is None else best_fit(rows, metric)


def _parts(y: Codes) -> Codes:
    """Return a part for each row; classes are spread evenly over the parts."""
    shuffled = np.random.default_rng(0).permutation(len(y))
    part = np.empty(len(y), dtype=np.intp)
    part[shuffled[np.argsort(y[shuffled], kind="stable")]] = np.arange(len(y)) % _N_PARTS
    return part


def _ways(metric: Metric, n_classes: int) -> tuple[_Fit, ...]:
    if metric.name == "quadratic_kappa":
        return (_rounded, _with_cutoffs)
    return (_with_power,) if n_classes > _MOST_CLASSES else (_with_power, _with_factors)


def _with_power(rows: _Rows, metric: Metric) -> DecisionRule:
    """Choose factors that are a power of the inverse class shares: one number to find."""
    return DecisionRule(factors=_best_power(rows, metric))


def _best_power(rows: _Rows, metric: Metric) -> Floats:
    share = np.bincount(rows.y, weights=rows.weight, minlength=rows.p.shape[1]) / len(rows.y)
    inverse = 1.0 / np.maximum(share, 0.5 / len(rows.y))
    candidates = [_scaled(inverse**power) for power in _POWERS]
    return max(candidates, key=lambda f: rows.score(DecisionRule(factors=f), metric))


def _with_factors(rows: _Rows, metric: Metric) -> DecisionRule:
    """Choose a factor for each class, by coordinate ascent from the best power."""
    factors = _best_power(rows, metric)
    best = rows.score(DecisionRule(factors=factors), metric)
    for _ in range(_N_PASSES):
        for k in range(len(factors)):
            scaled, middle = rows.p * factors, factors[k]
            own = scaled[:, k].copy()
            scaled[:, k] = -1.0
            rival, rivals = scaled.max(axis=1), scaled.argmax(axis=1)
            for step in _FACTORS:
                codes = np.where(own * step > rival, k, rivals)
                score = metric.score(rows.y, codes, rows.weight)
                if score > best + 1e-12:
                    best, factors[k] = score, middle * step
    return DecisionRule(factors=_scaled(factors))


def _scaled(factors: Floats) -> Floats:
    result: Floats = factors / factors.sum()
    return result


def _rounded(rows: _Rows, metric: Metric) -> DecisionRule:
    """Round the expected code."""
    return DecisionRule(cutoffs=np.arange(rows.p.shape[1] - 1) + 0.5)


def _with_cutoffs(rows: _Rows, metric: Metric) -> DecisionRule:
    """Choose cutoffs of the expected code, by coordinate ascent from those half way."""
    cutoffs = np.arange(rows.p.shape[1] - 1) + 0.5
    best = rows.score(DecisionRule(cutoffs=cutoffs), metric)
    for _ in range(_N_PASSES):
        for k in range(len(cutoffs)):
            middle = cutoffs[k]
            for step in _STEPS:
                trial = cutoffs.copy()
                trial[k] = middle + step
                if np.any(np.diff(trial) < 0):
                    continue
                score = rows.score(DecisionRule(cutoffs=trial), metric)
                if score > best + 1e-12:
                    best, cutoffs = score, trial
    return DecisionRule(cutoffs=cutoffs)
