"""Numbers for cells that are missing where training had none missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State

_ENOUGH_ROWS = 20_000  # for a median

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Fills:
    """The middle of each feature that was never missing in training.

    No model has learned what a missing value of such a feature means, and each family takes it for
    something else: LightGBM for 0, CatBoost for less than everything.

    Attributes
    ----------
    middles : ndarray of shape (n_numeric,), float32
        NaN where training had missing values: what they mean was learned.
    """

    middles: Floats = field(repr=False)

    @classmethod
    def nothing(cls, n_numeric: int) -> Self:
        """Return fills that leave every value as it is."""
        return cls(np.full(n_numeric, np.nan, dtype=np.float32))

    @classmethod
    def fit(cls, numeric: Floats) -> Self:
        """Return the medians of the features, shape (n_samples, n_numeric), without NaN."""
        found = cls.nothing(numeric.shape[1])
        if len(numeric):
            whole = np.flatnonzero(~np.isnan(numeric).any(axis=0))
            step = -(-len(numeric) // _ENOUGH_ROWS)
            found.middles[whole] = np.median(numeric[::step, whole], axis=0)
        return found

    @property
    def any(self) -> bool:
        """Whether there is a feature to fill."""
        return not bool(np.isnan(self.middles).all())

    def write(self, numeric: Floats) -> None:
        """Fill missing values in place, shape (n_samples, n_numeric)."""
        missing = np.isnan(numeric)
        if missing.any():
            np.copyto(numeric, self.middles, where=missing)

    def arrays(self) -> dict[str, Floats]:
        """Return what `from_state` reads."""
        return {"fills": self.middles}

    @classmethod
    def from_state(cls, state: State, n_numeric: int) -> Self:
        """Build the fills again; older artifacts have none."""
        if "fills" not in state.arrays:
            return cls.nothing(n_numeric)
        return cls(state.array("fills", np.float32, (n_numeric,), finite=False))
