"""Which features of many blocks are neither constant nor equal to an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def informative(blocks: Sequence[npt.NDArray[Any]]) -> list[list[int]]:
    """Return, for each block, the columns that vary and repeat no earlier column.

    Parameters
    ----------
    blocks : sequence of ndarray of shape (n_samples, n_features of the block)
        NaN equals NaN.
    """
    seen: set[int] = set()
    kept = []
    for block in blocks:
        columns = range(block.shape[1])
        kept.append([i for i in columns if _varies(block[:, i]) and _is_new(block[:, i], seen)])
    return kept


def _varies(values: npt.NDArray[Any]) -> bool:
    if not len(values):
        return False
    first = values[0]
    if first != first:
        return not bool(np.isnan(values).all())
    return bool((values != first).any())


def _is_new(values: npt.NDArray[Any], seen: set[int]) -> bool:
    """Return whether no earlier column has the same 64-bit hash, and remember this one."""
    key = hash((values + values.dtype.type(0)).tobytes())  # both zeros have one bit pattern then
    if key in seen:
        return False
    seen.add(key)
    return True
