"""From scores without bounds to probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[Any]


def softmax(scores: Scores) -> Scores:
    """Return probabilities in proportion to the exponentials of scores.

    Parameters
    ----------
    scores : ndarray of shape (..., n_classes)

    Returns
    -------
    ndarray of the same shape and precision
        Sums to 1 along the last axis.
    """
    shares: Scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(scores: Scores) -> Scores:
    """Return the probability of the second of two classes, of any shape."""
    with np.errstate(over="ignore"):  # an infinity gives the right limit
        shares: Scores = 1.0 / (1.0 + np.exp(-scores))
    return shares
