"""How a column holds its values, and how its cells are read, whatever dtype they come in."""

from __future__ import annotations

import datetime
import hashlib
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from tabular_automl.data.factorizing import factorize

SAMPLE_ROWS = 2000
FEW_ROWS = 64
_MOST_BYTES = 256  # that are written out; more, such as those of an image, stand as their hash
MISSING = -1

# What people write for "no value"; compared in lower case, without surrounding spaces.
NA_TOKENS = frozenset(
    (
        *("", "na", "n/a", "n.a.", "#n/a", "nan", "null", "(null)", "none", "nil", "<na>", "nat"),
        *("?", "-", "--", "---", ".", "..", "...", "*", "missing", "unknown", "not available"),
        *("0000-00-00", "0000-00-00 00:00:00"),  # MySQL's
    )
)


_LONGEST_TOKEN = max(map(len, NA_TOKENS))


class Storage(StrEnum):
    """Physical forms of a column, over numpy, pandas and pyarrow dtypes."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    INSTANT = "instant"
    DURATION = "duration"
    LEVELS = "levels"
    CELLS = "cells"


def storage_of(column: pd.Series) -> Storage:
    """Return how a column holds its values; strings and Python objects are cells."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        return _NUMPY_STORAGE.get(dtype.kind, Storage.CELLS)
    if isinstance(dtype, pd.CategoricalDtype):
        return Storage.LEVELS
    checks = (
        (types.is_bool_dtype, Storage.BOOLEAN),
        (types.is_numeric_dtype, Storage.NUMBER),
        (types.is_datetime64_any_dtype, Storage.INSTANT),
        (types.is_timedelta64_dtype, Storage.DURATION),
    )
    for check, storage in checks:
        if check(dtype):
            return storage
    return _arrow_storage(dtype)


_NUMPY_STORAGE = {
    "b": Storage.BOOLEAN,
    "i": Storage.NUMBER,
    "u": Storage.NUMBER,
    "f": Storage.NUMBER,
    "M": Storage.INSTANT,
    "m": Storage.DURATION,
}


def _arrow_storage(dtype: Any) -> Storage:
    if isinstance(dtype, pd.PeriodDtype):
        return Storage.INSTANT
    if isinstance(dtype, pd.ArrowDtype):
        return _NUMPY_STORAGE.get(dtype.kind, Storage.CELLS)
    return Storage.CELLS


def as_floats(column: pd.Series) -> npt.NDArray[np.float64]:
    """Return a number or boolean column as float64, missing values as NaN."""
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy(dtype=np.float64)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def cell_key(value: object) -> str | None:
    """Return a cell as the text that stands for it; None for a missing or blank cell.

    Equal values get equal text whatever type they come in: 1, 1.0 and "1" are all "1".
    """
    if isinstance(value, str):
        return value.strip() or None
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (float, np.floating)):
        return _float_key(value)
    if isinstance(value, datetime.timedelta):  # seconds, as in whole columns
        return _float_key(value.total_seconds())
    if isinstance(value, bytes) and len(value) > _MOST_BYTES:
        return f"{len(value)} bytes {hashlib.blake2b(value, digest_size=16).hexdigest()}"
    return str(value)


def _float_key(value: Any) -> str | None:
    if value != value:
        return None
    if abs(float(value)) < 1e15 and value == int(value):
        return str(int(value))
    return str(value)


def distinct_cells(column: pd.Series) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return (codes of shape (n_samples,), keys): the text of row i is ``keys[codes[i]]``.

    A code of -1 is a missing cell. Keys are distinct, except in columns of a few rows, where
    telling them apart would cost more than it saves.
    """
    if len(column) <= FEW_ROWS:
        # tolist would widen a float32: 0.1 would be another text than in a longer column
        values = list(column.array) if is_narrow_float(column.dtype) else column.tolist()
        return _index_keys([cell_key(value) for value in values])
    if column.dtype == object:
        # 1 and True are equal to a hash table but not to a reader: keys first.
        keys = np.array([cell_key(value) for value in column.tolist()], dtype=object)
        codes, distinct = pd.factorize(keys)
        return codes, list(distinct)
    try:
        raw_codes, raw = factorize(column)
    except (TypeError, NotImplementedError):  # lists and structs of Arrow
        return distinct_cells(column.astype(object))
    return _merge_keys(raw_codes, [cell_key(value) for value in raw])


def is_narrow_float(dtype: Any) -> bool:
    """Return whether a dtype holds fewer digits than Python's floats."""
    if isinstance(dtype, pd.Float32Dtype):
        return True
    return isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize < 8


def _index_keys(keys: list[str | None]) -> tuple[npt.NDArray[np.int64], list[str]]:
    present = [key for key in keys if key is not None]
    codes = np.full(len(keys), MISSING, dtype=np.int64)
    codes[[key is not None for key in keys]] = np.arange(len(present))
    return codes, present


def _merge_keys(
    raw_codes: npt.NDArray[np.intp], raw_keys: list[str | None]
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Give raw values of one text one code, and blank ones the missing code."""
    positions: dict[str, int] = {}
    lookup = np.full(len(raw_keys) + 1, MISSING, dtype=np.int64)  # the last one serves code -1
    for i, key in enumerate(raw_keys):
        if key is not None:
            lookup[i] = positions.setdefault(key, len(positions))
    return lookup[raw_codes], list(positions)


def is_na_token(key: str) -> bool:
    """Return whether a text is one that people write for "no value"."""
    return len(key) <= _LONGEST_TOKEN and key.lower() in NA_TOKENS


def sample_of(column: pd.Series, n_rows: int = SAMPLE_ROWS) -> pd.Series:
    """Return up to ``n_rows`` non-missing rows, spread evenly over the column."""
    present = column.dropna()
    if len(present) <= n_rows:
        return present
    return present.iloc[np.linspace(0, len(present) - 1, n_rows).astype(np.intp)]


def first_values(keys: list[str], limit: int = 3) -> str:
    """Return the first few values as an error shows them."""
    shown = ", ".join(repr(key[:40]) for key in list(dict.fromkeys(keys))[:limit])
    return shown


def named_cells(column: pd.Series, where: npt.NDArray[np.bool_], limit: int = 3) -> str:
    """Return the first of the marked cells with their rows, and how many more there are."""
    positions = np.flatnonzero(where)
    cells = (
        f"{str(column.iloc[position])[:40]!r} in row {_row_label(column.index[position])}"
        for position in positions[:limit].tolist()
    )
    n_more = len(positions) - limit
    return ", ".join(cells) + (f" and {n_more} more" if n_more > 0 else "")


def _row_label(label: Any) -> str:
    return repr(label.item() if isinstance(label, np.generic) else label)
