"""Features made of two others, which trees would need many splits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import Self

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.models.base import Setting
from tabular_automl.models.quick_boosting import (
    MOST_CLASSES,
    MOST_FEATURES,
    ROWS,
    boost_quickly,
    some_rows,
)

_OPERATIONS = (np.add, np.subtract, np.multiply, np.divide)
_SIGNS = ("+", "-", "*", "/")
_DIVIDE = 3
LARGEST = 1e30  # the square of what float32 holds is too much for it
_N_MADE_OF = 10  # features that are put together: each two give five
_FEWEST_VALUES = 3
_ROWS_TO_COUNT_VALUES = 2_000
_ROUNDS = 60  # of the booster that chooses
_TIME_SHARE = 0.15  # of a fit's time, for each of the two times that a booster chooses
_BLOCK_ROWS = 2_000
_N_CANDIDATES = 5 * _N_MADE_OF * (_N_MADE_OF - 1) // 2

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Sums, differences, products and ratios of two numeric features.

    Attributes
    ----------
    made_of : ndarray of int, shape (n_pairs, 3)
        The left feature, the right feature, and the operation: 0 for +, 1 for -, 2 for *, 3 for /.
    """

    made_of: Ints = field(repr=False)

    @classmethod
    def none(cls) -> Self:
        """Return no features."""
        return cls(np.empty((0, 3), dtype=np.int64))

    @classmethod
    def choose(cls, train: Samples, n_pairs: int, setting: Setting, budget: Budget) -> Self:
        """Return up to ``n_pairs`` features that a quick booster of the training rows gains by.

        It chooses twice: the ten numeric features of most gain, and then, among the 225 that any
        two of them give and all others, those of most gain.

        Parameters
        ----------
        train : Samples
        n_pairs : int
            0 for none.
        setting : Setting
        budget : Budget
            For the whole fit: where a part of it ends, the rounds done so far choose.
        """
        table = train.table
        few = setting.task.n_classes <= MOST_CLASSES and table.n_features <= MOST_FEATURES
        several = of_several_values(table) if n_pairs and few else np.empty(0, dtype=np.intp)
        if len(several) < 2:
            return cls.none()
        some = train.take(some_rows(len(train), setting.seed))
        gains = _gains(some, setting, budget.share(_TIME_SHARE))[several]
        best = several[np.argsort(-gains, kind="stable")[:_N_MADE_OF]]
        candidates = cls(_of_each_two(np.sort(best)))
        both = candidates.extend_samples(some)
        n_numeric = len(table.numeric_names)
        gains = _gains(both, setting, budget.share(_TIME_SHARE))[n_numeric:]
        order = np.argsort(-gains, kind="stable")[:n_pairs]
        return cls(candidates.made_of[order[gains[order] > 0.0]])

    def __len__(self) -> int:
        return len(self.made_of)

    def vet(self, table: FeatureTable) -> FeatureTable:
        """Return what `extend` does, for features that somebody else has named.

        Raises
        ------
        ArtifactError
            When there are no such features in the table.
        """
        n_numeric = len(table.numeric_names)
        if len(self) and self.made_of[:, :2].max() >= n_numeric:
            raise ArtifactError(
                f"Features of a model must be made of the table's {n_numeric} numeric ones, got "
                f"number {self.made_of[:, :2].max()}; do not use the predictor."
            )
        return self.extend(table)

    def extend(self, table: FeatureTable) -> FeatureTable:
        """Return the table with the features behind its numeric ones."""
        if not len(self):
            return table
        names = table.numeric_names
        made = tuple(f"{names[i]} {_SIGNS[how]} {names[j]}" for i, j, how in self.made_of.tolist())
        return table.with_numeric(self.values(table.numeric), made)

    def extend_samples(self, samples: Samples) -> Samples:
        """Return the samples with the features in their table."""
        if not len(self):
            return samples
        return Samples(self.extend(samples.table), samples.y, samples.weight)

    def values(self, numeric: Floats) -> Floats:
        """Return the features, shape (n_samples, n_pairs); 0 divided by 0 is missing."""
        out = np.empty((len(numeric), len(self)), dtype=np.float32)
        for start in range(0, len(numeric), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            out[block] = self._of_block(numeric[block])
        return out

    def _of_block(self, numeric: Floats) -> npt.NDArray[np.float64]:
        left, right = (numeric[:, self.made_of[:, side]].astype(np.float64) for side in (0, 1))
        found = np.empty_like(left)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for how, operation in enumerate(_OPERATIONS):
                at = self.made_of[:, 2] == how
                found[:, at] = operation(left[:, at], right[:, at])
        clipped: npt.NDArray[np.float64] = np.clip(found, -LARGEST, LARGEST)
        return clipped

    def arrays(self) -> dict[str, Ints]:
        """Return what `from_state` reads; nothing of no features."""
        return {"pairs": self.made_of} if len(self) else {}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Build the features again; models saved before had none."""
        if "pairs" not in state.arrays:
            return cls.none()
        made_of = state.array("pairs", np.int64, (None, 3), least=0)
        state.require(bool((made_of[:, 2] < len(_SIGNS)).all()), "pairs", "be operations of ours")
        return cls(made_of)


def bytes_of_extended(n_pairs: int, table: FeatureTable) -> int:
    """Return the bytes of a table with so many features more, in both forms, and of the choice."""
    if not n_pairs:
        return 0
    extended = table.n_bytes + 4 * n_pairs * len(table)
    n_features = table.n_features + _N_CANDIDATES
    choice = 3 * 4 * min(len(table), ROWS) * n_features
    return 2 * extended + choice


def of_several_values(table: FeatureTable) -> npt.NDArray[np.intp]:
    """Return the numeric features of three and more values: two are a switch, whatever is added."""
    step = max(1, len(table) // _ROWS_TO_COUNT_VALUES)
    some = table.take(np.arange(0, len(table), step)).numeric  # of a view, not all is cut out
    counts = [len(np.unique(column[~np.isnan(column)])) for column in some.T]
    return np.flatnonzero(np.array(counts, dtype=np.intp) >= _FEWEST_VALUES)


def _of_each_two(features: npt.NDArray[np.intp]) -> Ints:
    """Return all that two of the features give, shape (n_pairs, 3)."""
    found: list[tuple[int, int, int]] = []
    for i, j in combinations(features.tolist(), 2):
        found += [(i, j, how) for how in range(len(_SIGNS))]
        found.append((j, i, _DIVIDE))
    return np.array(found, dtype=np.int64)


def _gains(samples: Samples, setting: Setting, budget: Budget) -> npt.NDArray[np.float64]:
    """Return what each numeric feature gains in a few trees, the categories beside them."""
    n_threads = setting.n_threads
    booster = boost_quickly(
        samples, setting.task, _ROUNDS, setting.seed, n_threads=n_threads, budget=budget
    )
    gains: npt.NDArray[np.float64] = booster.feature_importance("gain")
    return gains[: len(samples.table.numeric_names)]
