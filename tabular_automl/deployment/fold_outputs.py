"""From the raw sums of a bag's boosters, one column after the other, to the bag's prediction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.core.links import sigmoid, softmax
from tabular_automl.models.base import Prediction
from tabular_automl.models.boosting import Outputs

Reals = npt.NDArray[np.float64]


class FoldOutputs:
    """Where each fold's raw outputs stand side by side, and what they mean.

    Parameters
    ----------
    outputs : sequence of Outputs
        One for each fold; none of them constant.

    Attributes
    ----------
    starts : ndarray of int, shape (n_folds + 1,)
        Column of each fold's first raw output, and the number of columns.
    """

    def __init__(self, outputs: Sequence[Outputs]) -> None:
        self._outputs = outputs
        known = [len(each.known) for each in outputs]
        widths = [1 if n <= 2 else n for n in known]  # 0 known classes: a regression
        self.starts = np.cumsum([0, *widths])
        self._is_regression = not known[0]
        self._complete = all(n == each.n_outputs for n, each in zip(known, outputs, strict=True))

    def mean(self, sums: npt.NDArray[Any]) -> Prediction:
        """Return the mean prediction of the folds, shape (n_samples, n_outputs).

        Parameters
        ----------
        sums : ndarray of shape (n_samples, n_columns)
            Of leaf values: the target, log-odds, or a score for each class.
        """
        raw: Reals = np.asarray(sums, dtype=np.float64)
        if self._is_regression:
            return raw.mean(axis=1, keepdims=True)
        if not self._complete:
            return self._mean_of_incomplete(raw)
        n_folds = len(self._outputs)
        if len(self._outputs[0].known) == 2:
            second = sigmoid(raw).mean(axis=1)
            return np.column_stack([1.0 - second, second])
        shares: Prediction = softmax(raw.reshape(len(raw), n_folds, -1)).mean(axis=1)
        return shares

    def _mean_of_incomplete(self, raw: Reals) -> Prediction:
        """Average folds of which some lack a class."""
        total = np.zeros((len(raw), self._outputs[0].n_outputs))
        for each, (start, stop) in zip(self._outputs, pairwise(self.starts), strict=True):
            own = raw[:, start:stop]
            shares = sigmoid(own[:, 0]) if len(each.known) == 2 else softmax(own)
            total += each.decode(shares, len(raw))
        return total / len(self._outputs)
