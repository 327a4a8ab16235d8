"""Small easy tables and artificial deadlines, on which families are checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.core.budget import Budget
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task

BINARY = Task(ProblemType.BINARY, 2)
MULTICLASS = Task(ProblemType.MULTICLASS, 4)
REGRESSION = Task(ProblemType.REGRESSION)
TASKS = (BINARY, MULTICLASS, REGRESSION)
LAYOUTS = ("numeric", "codes", "mixed")

_N_TRAIN, _N_VALID, _N_TEST = 160, 40, 40
UNSEEN_LEVEL = 5  # level of the first categorical feature that no training row has


@dataclass(frozen=True)
class Trial:
    """A small table in three parts: to learn from, to stop early on, to predict."""

    train: Samples
    valid: Samples
    test: Samples

    @classmethod
    def make(cls, task: Task, layout: str = "mixed", seed: int = 0) -> Trial:
        """Return an easy table; the parts are views of one table, as the folds of a fit are.

        A multiclass target has a last class that no row of any part shows.
        """
        rng = np.random.default_rng(seed)
        n_rows = _N_TRAIN + _N_VALID + _N_TEST
        numeric = rng.normal(size=(n_rows, 3)).astype(np.float32)
        codes = rng.integers(2, 5, size=(n_rows, 2)).astype(np.int32)
        signal = {
            "numeric": 2.0 * numeric[:, 0] + numeric[:, 1],
            "codes": 2.0 * (codes[:, 0] - 3) + (codes[:, 1] - 3),
            "mixed": 1.5 * numeric[:, 0] + 1.5 * (codes[:, 0] - 3),
        }[layout]
        y = _target(task, signal + 0.8 * rng.normal(size=n_rows))
        samples = Samples(lay_out(numeric, codes, layout, rng), y)
        bounds = np.cumsum([_N_TRAIN, _N_VALID])
        return cls(*(samples.take(rows) for rows in np.split(np.arange(n_rows), bounds)))

    def contradicted(self, weight: npt.NDArray[np.float64]) -> Trial:
        """Return every row with target 0 and again with target 1, weighted by that target."""
        return Trial(_twice(self.train, weight), _twice(self.valid, weight), self.test)


@dataclass(frozen=True)
class CountingBudget(Budget):
    """A budget that notes each time it is asked, whatever part of it is handed down."""

    asks: list[float] = field(default_factory=list, compare=False)

    def remaining(self) -> float:
        """Return the seconds left and note that they were asked for."""
        left = super().remaining()
        self.asks.append(left)
        return left


@dataclass(frozen=True)
class FadingBudget(CountingBudget):
    """A budget that is spent after it was asked ``n_asks`` times: a deadline without a clock."""

    n_asks: int = 1

    def remaining(self) -> float:
        """Return the seconds left, or 0 once asked too often."""
        left = super().remaining()
        return left if len(self.asks) <= self.n_asks else 0.0


def _twice(samples: Samples, weight: npt.NDArray[np.float64]) -> Samples:
    rows = np.arange(len(samples))
    code = np.repeat([0, 1], len(samples))
    table = samples.table.take(np.concatenate([rows, rows]))
    return Samples(table, code.astype(samples.y.dtype), weight[code])


def _target(task: Task, signal: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return class codes cut from the signal's quantiles, or the signal on a scale of 1."""
    if not task.is_classification:
        return (signal - signal.mean()) / signal.std()
    n_shown = 2 if task.n_classes == 2 else task.n_classes - 1
    cuts = np.quantile(signal, np.arange(1, n_shown) / n_shown)
    return np.searchsorted(cuts, signal).astype(np.int64)


def lay_out(
    numeric: npt.NDArray[np.float32],
    codes: npt.NDArray[np.int32],
    layout: str,
    rng: np.random.Generator | None,
) -> FeatureTable:
    """Return the asked blocks; "mixed" adds missing values, a constant and an empty feature."""
    n_rows = len(numeric)
    if layout == "numeric":
        codes = codes[:, :0]
    elif layout == "codes":
        numeric = numeric[:, :0]
    else:
        if rng is not None:
            numeric = np.where(rng.random(numeric.shape) < 0.1, np.nan, numeric)
            codes = np.where(rng.random(codes.shape) < 0.1, 0, codes)
        dull = np.tile([1.0, np.nan], (n_rows, 1))
        numeric = np.hstack([numeric, dull])
    return FeatureTable(
        numeric=np.ascontiguousarray(numeric, dtype=np.float32),
        codes=np.ascontiguousarray(codes, dtype=np.int32),
        numeric_names=tuple(f"number {i}" for i in range(numeric.shape[1])),
        code_names=tuple(f"code {i}" for i in range(codes.shape[1])),
        n_levels=(UNSEEN_LEVEL + 1, UNSEEN_LEVEL)[: codes.shape[1]],
    )


def base_rate(task: Task, trial: Trial) -> npt.NDArray[Any]:
    """Return the training target's average as the prediction of every test row."""
    y = trial.train.y
    if task.is_classification:
        average = np.bincount(y, minlength=task.n_classes) / len(y)
    else:
        average = np.array([y.mean()])
    return np.tile(average, (len(trial.test), 1))


def error(task: Task, y: npt.NDArray[Any], prediction: npt.NDArray[Any]) -> float:
    """Return the log loss or the mean squared error."""
    if task.is_classification:
        chosen = prediction[np.arange(len(y)), y]
        return float(-np.log(np.clip(chosen, 1e-6, 1.0)).mean())
    return float(np.mean((y - prediction[:, 0]) ** 2))
