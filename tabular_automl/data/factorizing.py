"""Codes for the distinct values of a column, with every pandas that is supported."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd


def factorize(column: pd.Series, *, mark_missing: bool = True) -> tuple[npt.NDArray[np.intp], Any]:
    """Return a code for each value, and the distinct values in order of appearance.

    An array is given to pandas, not the column: the index that it would answer with has no
    float16. It is unwrapped, since pandas 2.2 warns of its own wrapper around numpy's arrays.

    Parameters
    ----------
    column : Series of shape (n_samples,)
    mark_missing : bool
        Whether missing values get the code -1, instead of one like those of other values.

    Raises
    ------
    TypeError, NotImplementedError
        When the values have no hash.
    """
    values = column.array
    if isinstance(values, pd.arrays.NumpyExtensionArray):
        values = column.to_numpy()
    return pd.factorize(values, use_na_sentinel=mark_missing)
