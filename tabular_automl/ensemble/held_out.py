"""What single bags said of rows that they had not seen: what a smaller ensemble would be worth."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.ensemble.candidates import Candidate
from tabular_automl.ensemble.judge import Judge
from tabular_automl.ensemble.objectives import sample_rows
from tabular_automl.models.base import Prediction

_MOST_ROWS = 5_000
_LARGEST_ROUNDING = 1e-4  # of the standard deviation


@dataclass(frozen=True)
class HeldOut:
    """Out-of-fold predictions of the bags of an ensemble, of a sample of the rows.

    Attributes
    ----------
    y : ndarray of shape (n_rows,)
        Class codes, or values in the user's units.
    weight : ndarray of shape (n_rows,) or None
    predictions : mapping of str to ndarray of shape (n_rows, n_outputs)
        By the key of each bag of positive weight and each spare, in the user's units.
    """

    y: npt.NDArray[Any] = field(repr=False)
    weight: npt.NDArray[np.float64] | None = field(repr=False)
    predictions: Mapping[str, Prediction] = field(repr=False)

    @classmethod
    def sample(
        cls,
        judge: Judge,
        candidates: Sequence[Candidate],
        keys: Collection[str],
        rows: npt.NDArray[np.intp],
    ) -> Self:
        """Keep what candidates of some keys said of up to 5,000 of the validated rows.

        Rare classes stay whole, as far as may be, with weights that make up for it.
        """
        y, weight = judge.y[rows], None if judge.weight is None else judge.weight[rows]
        drawn, weight = sample_rows(y, judge.metric, weight, _MOST_ROWS)
        predictions = {
            candidate.bag.key: narrowed(candidate.prediction[drawn])
            for candidate in candidates
            if candidate.bag.key in keys
        }
        return cls(y[drawn], weight, predictions)

    def state(self) -> State:
        """Return the arrays."""
        bags = {f"bag{i}": each for i, each in enumerate(self.predictions.values())}
        arrays: dict[str, npt.NDArray[Any]] = {"y": self.y, **bags}
        if self.weight is not None:
            arrays["weight"] = self.weight
        return State(meta={"keys": list(self.predictions)}, arrays=arrays)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Build it again."""
        kept = state.arrays.get("y")
        is_codes = kept is not None and kept.dtype.kind in "iu"
        y = state.array("y", np.int64 if is_codes else np.float64, (None,))
        weight = None
        if "weight" in state.arrays:
            weight = state.array("weight", np.float64, y.shape, least=0)
        predictions = {}
        for i, key in enumerate(state.meta["keys"]):
            saved = state.arrays.get(f"bag{i}")
            is_wide = saved is not None and saved.dtype == np.float64
            dtype = np.float64 if is_wide else np.float32  # which may hold infinities
            predictions[str(key)] = state.array(f"bag{i}", dtype, (len(y), None), finite=False)
        return cls(y, weight, predictions)


def narrowed(prediction: Prediction) -> Prediction:
    """Return float32, unless its rounding would show beside how predictions differ by row."""
    with np.errstate(over="ignore"):
        narrow = prediction.astype(np.float32)
    if not len(narrow) or not np.isfinite(narrow).all():  # of huge targets
        return prediction
    rounding = np.abs(narrow - prediction).max(axis=0)
    is_fine = rounding <= _LARGEST_ROUNDING * prediction.std(axis=0)
    return narrow if is_fine.all() else prediction
