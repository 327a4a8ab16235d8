"""Two predictors on the same rows: which is better, and what may be chance."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.core.registry import PLUG_IN_ERRORS
from tabular_automl.data.column_names import name_key
from tabular_automl.data.factorizing import factorize
from tabular_automl.data.labels import unwrapped
from tabular_automl.data.schema import Kind
from tabular_automl.fitted import FittedPipeline
from tabular_automl.inspection.evaluation import LabelledRows
from tabular_automl.metrics.base import Metric, OnLabels, Reads

_N_DRAWS, _FEWEST_DRAWS = 400, 100
_MOST_SECONDS = 30.0  # for draws: a metric may be slow
_FEWEST = 30  # rows, or groups of them, to say anything of chance
_MOST_ROWS = 20_000  # that a draw has, unless ...
_ROWS_OF_A_CLASS = 30  # ... the rarest class would have fewer than so many of them
_TAILS = (0.025, 0.975)

Rows = npt.NDArray[np.intp]
Verdict = Literal["better", "worse", "no different beyond chance"]


@dataclass(frozen=True)
class Comparison:
    """A predictor beside another one.

    Attributes
    ----------
    metric : str
    figure, other_figure : float
        Of the predictor that was asked, and of the other, in the metric's own direction.
    gain : float
        By how much the other is better, negative where it is worse.
    low, high : float
        Between which the gain on all rows of this kind is nineteen times in twenty; infinite where
        there are too few rows, or groups of rows, to tell.
    n_rows : int
    """

    metric: str
    figure: float
    other_figure: float
    gain: float
    low: float
    high: float
    n_rows: int

    @property
    def verdict(self) -> Verdict:
        """What can be said of the other predictor."""
        if self.low > 0.0:
            return "better"
        return "worse" if self.high < 0.0 else "no different beyond chance"

    def __str__(self) -> str:
        interval = f"95 % interval {self.low:+.3g} to {self.high:+.3g}"
        if math.isinf(self.high):
            interval = "and too little is there to tell what may be chance"
        return (
            f"{self.metric} on {self.n_rows} rows: {self.figure:.5g}, the other "
            f"{self.other_figure:.5g}. The other is {self.verdict}: its gain is {self.gain:+.3g}, "
            f"{interval}."
        )


def compare(
    rows: LabelledRows, groups: Rows | None, shown: Sequence[npt.NDArray[Any]], metric: Metric
) -> Comparison:
    """Return how much better the second is, with an interval of the paired bootstrap [1]_.

    Both are judged on the same draws of the rows, or of groups of rows, so that what makes rows
    hard for both cancels out. Draws that a metric of the user's own cannot judge are left out.

    Parameters
    ----------
    rows : LabelledRows
    groups : ndarray of int, shape (n_samples,), or None
        The group of each row: rows of one are no independent witnesses.
    shown : sequence of two ndarray
        What the metric reads of each predictor: see `shown_in`.
    metric : Metric

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani (1993). An Introduction to the Bootstrap. Chapman & Hall.
    """
    sign = 1.0 if metric.greater_is_better else -1.0
    figures = [metric.raw(rows.y, each, rows.weight) for each in shown]
    gain = sign * (figures[1] - figures[0])

    def gain_on(drawn: Rows) -> float:
        weight = None if rows.weight is None else rows.weight[drawn]
        one, other = (metric.raw(rows.y[drawn], each[drawn], weight) for each in shown)
        return sign * (other - one)

    draw, shrink = _drawing(rows, groups, is_classes=rows.y.dtype.kind in "iu")
    found = [] if draw is None else _drawn_gains(draw, gain_on, metric)
    low, high = -math.inf, math.inf
    if len(found) >= _FEWEST_DRAWS:
        ends = np.quantile(found, _TAILS) - np.mean(found)
        low, high = (gain + shrink * ends).tolist()
    return Comparison(metric.name, figures[0], figures[1], gain, low, high, len(rows.y))


def shown_in(
    classes: Sequence[Hashable], pipeline: FittedPipeline, table: pd.DataFrame, metric: Metric
) -> npt.NDArray[Any]:
    """Return what a metric reads of a predictor: values, or what it says of the given classes."""
    prediction = pipeline.predict(table)
    if not pipeline.task.is_classification:
        return pipeline.decide(prediction) if metric.reads is Reads.LABEL else prediction
    place = _places(classes, pipeline)
    if metric.reads is Reads.LABEL:
        return place[pipeline.decide(prediction)]
    found = np.zeros((len(prediction), len(classes)))
    found[:, place] = prediction
    return found


def labelled_in(
    classes: Sequence[Hashable], pipeline: FittedPipeline, rows: LabelledRows
) -> LabelledRows:
    """Return rows that were labelled for a predictor with the codes of the given classes."""
    return replace(rows, y=_places(classes, pipeline)[rows.y]) if classes else rows


def classes_of_both(one: FittedPipeline, other: FittedPipeline) -> list[Hashable]:
    """Return the classes that either knows, in the order that classes of one table have."""
    known = [unwrapped(each) for each in one.codec.classes]
    more = [each for each in map(unwrapped, other.codec.classes) if each not in known]
    both = [*known, *more]
    if not more:
        return known
    dtypes = [each.codec.dtype for each in (one, other)]
    ordered = [dtype for dtype in dtypes if isinstance(dtype, pd.CategoricalDtype)]
    for dtype in ordered:
        order = [unwrapped(each) for each in dtype.categories]
        if all(each in order for each in both):
            return sorted(both, key=order.index)
    if ordered:
        return both
    try:
        return sorted(both)
    except TypeError:  # text next to numbers
        return both


def groups_of(pipeline: FittedPipeline, table: pd.DataFrame) -> Rows | None:
    """Return the group of each row, where training had a column of them and the table has it."""
    for column in pipeline.featurizer.schema.of_kind(Kind.GROUP):
        if column.name in table.columns:
            return factorize(table[column.name], mark_missing=False)[0]
    return None


def check_alike(
    one: FittedPipeline, label: Hashable, other: FittedPipeline, other_label: Hashable
) -> None:
    """Raise unless two predictors predict the same thing.

    Raises
    ------
    InvalidOptionError
    """
    kinds = [each.task.problem_type.value for each in (one, other)]
    if kinds[0] != kinds[1] or name_key(label) != name_key(other_label):
        raise InvalidOptionError(
            f"other must predict what this predictor does, {label!r} ({kinds[0]}), got a predictor "
            f"of {other_label!r} ({kinds[1]})."
        )
    if one.task.n_classes == 2 and len(classes_of_both(one, other)) > 2:
        known = [list(map(unwrapped, each.codec.classes)) for each in (one, other)]
        raise InvalidOptionError(
            f"other must know the classes that this predictor does, {known[0]}, got {known[1]}."
        )


def _places(classes: Sequence[Hashable], pipeline: FittedPipeline) -> Rows:
    return np.array([classes.index(unwrapped(each)) for each in pipeline.codec.classes])


def _drawing(
    rows: LabelledRows, groups: Rows | None, *, is_classes: bool
) -> tuple[Callable[[], Rows] | None, float]:
    """Return what draws rows, None where too few count, and what the gains' spread is to shrink by.

    Of single rows, fewer may be drawn than there are. Groups are all drawn, and thinned where they
    are large, which makes the spread a little too large.
    """
    rng = np.random.default_rng(0)
    counted = np.arange(len(rows.y)) if rows.weight is None else np.flatnonzero(rows.weight > 0)
    if groups is None:
        n_rows, n_drawn = len(counted), min(len(counted), _MOST_ROWS)
        if is_classes and n_rows:
            n_of_class = np.bincount(rows.y[counted])
            rarest = n_of_class[n_of_class > 0].min()
            n_drawn = min(n_rows, max(n_drawn, math.ceil(_ROWS_OF_A_CLASS * n_rows / rarest)))
        if n_rows < _FEWEST:
            return None, 1.0
        return lambda: counted[rng.integers(0, n_rows, n_drawn)], math.sqrt(n_drawn / n_rows)
    order = counted[np.argsort(groups[counted], kind="stable")]
    units = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    if len(units) < _FEWEST:
        return None, 1.0
    most = max(1, _MOST_ROWS // len(units))

    def draw() -> Rows:
        chosen = (units[i] for i in rng.integers(0, len(units), len(units)))
        return np.concatenate(
            [
                each if len(each) <= most else rng.choice(each, most, replace=False)
                for each in chosen
            ]
        )

    return draw, 1.0


def _drawn_gains(
    draw: Callable[[], Rows], gain_on: Callable[[Rows], float], metric: Metric
) -> list[float]:
    """Return the gains on draws, as many as there is time for."""
    start, found = time.monotonic(), []
    for _ in range(_N_DRAWS):
        if time.monotonic() - start > _MOST_SECONDS:
            break
        try:
            gain = gain_on(draw())
        except PLUG_IN_ERRORS:
            if not isinstance(metric.function, OnLabels):
                raise
            continue
        if math.isfinite(gain):
            found.append(gain)
    return found
