"""Two predictors on the same rows: which is better, and what may be chance."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.core.registry import PLUG_IN_ERRORS
from tabular_automl.data.column_names import name_key
from tabular_automl.data.factorizing import factorize
from tabular_automl.data.schema import Kind
from tabular_automl.fitted import FittedPipeline
from tabular_automl.inspection.drift import OnMismatch, made_to_fit
from tabular_automl.inspection.evaluation import LabelledRows, raw_figure, read_labelled
from tabular_automl.metrics.base import Metric, OnLabels
from tabular_automl.models.base import Prediction

_N_DRAWS = 400
_FEWEST = 30  # rows, or groups of them, to say anything of chance
_MOST_ROWS = 20_000  # that a draw has; of more rows the spread is worked out from that of so many
_TAILS = (0.025, 0.975)

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


@dataclass(frozen=True)
class Contestant:
    """A predictor with what it says of rows that both see.

    Attributes
    ----------
    pipeline : FittedPipeline
    rows : LabelledRows
        With labels as this predictor codes them.
    prediction : ndarray of shape (n_samples, n_outputs)
    """

    pipeline: FittedPipeline
    rows: LabelledRows
    prediction: Prediction

    @classmethod
    def of(
        cls, pipeline: FittedPipeline, table: pd.DataFrame, label: Hashable, on_mismatch: OnMismatch
    ) -> Contestant:
        """Have a predictor answer a table with labels."""
        table = made_to_fit(pipeline.featurizer, table, on_mismatch)
        rows = read_labelled(pipeline, table, label)
        return cls(pipeline, rows, pipeline.predict(table))

    def figure(self, metric: Metric, rows: npt.NDArray[np.intp] | None = None) -> float:
        """Return the metric's raw figure on all rows, or on some, which may come repeatedly."""
        bound = metric.bind(self.pipeline.codec.classes.to_numpy())
        if rows is None:
            return raw_figure(self.pipeline, bound, self.rows, self.prediction)
        weight = None if self.rows.weight is None else self.rows.weight[rows]
        drawn = LabelledRows(self.rows.table.iloc[:0], self.rows.y[rows], weight)
        return raw_figure(self.pipeline, bound, drawn, self.prediction[rows])


def compare(one: Contestant, other: Contestant, metric: Metric, seed: int = 0) -> Comparison:
    """Return how much better the other is, with an interval of the paired bootstrap [1]_.

    Both see the same draws of the rows, or of the groups of rows that the first was told of, so
    that what makes rows hard for both cancels out. Rows count by the weights of the first. Draws
    that a metric of the user's own cannot judge are left out.

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani (1993). An Introduction to the Bootstrap. Chapman & Hall.
    """
    other = replace(other, rows=replace(other.rows, weight=one.rows.weight))
    sign = 1.0 if metric.greater_is_better else -1.0
    figures = [each.figure(metric) for each in (one, other)]
    gain = sign * (figures[1] - figures[0])
    units = _units(one)
    share = min(1.0, _MOST_ROWS / max(1, sum(map(len, units))))
    n_drawn = math.ceil(share * len(units))
    rng, found = np.random.default_rng(seed), []
    for _ in range(_N_DRAWS if len(units) >= _FEWEST else 0):
        rows = np.concatenate([units[i] for i in rng.integers(0, len(units), n_drawn)])
        try:
            drawn = sign * (other.figure(metric, rows) - one.figure(metric, rows))
        except PLUG_IN_ERRORS:
            if not isinstance(metric.function, OnLabels):
                raise
            continue
        if math.isfinite(drawn):
            found.append(drawn)
    low, high = -math.inf, math.inf
    if len(found) > _N_DRAWS // 2:
        ends = np.quantile(found, _TAILS) - np.mean(found)
        low, high = (gain + ends * math.sqrt(n_drawn / len(units))).tolist()
    n_rows = len(one.rows.y)
    return Comparison(metric.name, figures[0], figures[1], gain, low, high, n_rows)


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


def _units(contestant: Contestant) -> list[npt.NDArray[np.intp]]:
    """Return the rows that count, each alone, or together with those of its group."""
    weight, table = contestant.rows.weight, contestant.rows.table
    counted = np.arange(len(contestant.rows.y)) if weight is None else np.flatnonzero(weight > 0)
    columns = contestant.pipeline.featurizer.schema.of_kind(Kind.GROUP)
    if not columns or columns[0].name not in table.columns:
        return list(counted[:, None])
    codes = factorize(table[columns[0].name], mark_missing=False)[0][counted]
    order = np.argsort(codes, kind="stable")
    return np.split(counted[order], np.flatnonzero(np.diff(codes[order])) + 1)
