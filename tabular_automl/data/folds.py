"""Row indices of the folds, made once and reused by everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Folds:
    """Pairs of training and validation rows.

    Attributes
    ----------
    train, valid : tuple of ndarray of int
        Row positions of each fold. The validation rows of different folds never overlap; with
        bagging they cover every row, with a holdout or time order only some.
    reason : str
        How they were made, one clause for the user.
    """

    train: tuple[Rows, ...]
    valid: tuple[Rows, ...]
    reason: str

    def __len__(self) -> int:
        return len(self.valid)

    @property
    def validated(self) -> Rows:
        """Every row that is predicted out of fold, sorted."""
        return np.sort(np.concatenate(self.valid))
