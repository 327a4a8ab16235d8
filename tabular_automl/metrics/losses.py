"""What models minimise for the sake of a metric, and how much each row counts in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# What a codec or the rows' weights turn into another loss: see `TargetCodec` and `learning_weight`.
_OF_MODELS = {
    "squared_log_error": "squared_error",
    "absolute_percentage_error": "absolute_error",
}
_LEAST_SIZE = 0.01  # quantile of |y|: what is smaller counts no more than that

Floats = npt.NDArray[np.float64]


def loss_of_models(loss: str) -> str:
    """Return the loss that models minimise for the one of a metric; see `Metric.loss`."""
    return _OF_MODELS.get(loss, loss)


def learning_weight(loss: str, y: npt.NDArray[np.float64], weight: Floats | None) -> Floats | None:
    """Return by what rows count while models learn; None where all count alike.

    The mean of ``|y - value| / |y|`` is one of absolute errors, each row counting by ``1 / |y|``:
    what minimises it lies below the median, where the logarithms of y are normal with a deviation
    of s at exp(-s ** 2) of it.

    Parameters
    ----------
    loss : str
        That of the metric.
    y : ndarray of shape (n_samples,)
        In the user's units.
    weight : ndarray of shape (n_samples,) or None
        By which rows count in the metric.

    Returns
    -------
    ndarray of shape (n_samples,) or None
        Of mean 1 where it differs from ``weight``.
    """
    size = np.abs(y)
    if loss != "absolute_percentage_error" or not size.any():
        return weight
    least = np.quantile(size[size > 0.0], _LEAST_SIZE)
    counts = least / np.maximum(size, least)
    if weight is not None:
        counts *= weight
    return counts / counts.mean()
