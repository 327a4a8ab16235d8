"""What each training column held, in a few numbers, so that new data can be compared with it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.artifacts.state import State
from tabular_automl.data.column_names import name_from_json, name_to_json, positions_of
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import FIRST_LEVEL
from tabular_automl.encoders.base import ColumnEncoder
from tabular_automl.encoders.category import CategoryEncoder
from tabular_automl.encoders.datetime import DatetimeEncoder
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.numeric import NumericEncoder
from tabular_automl.encoders.storage import MISSING, distinct_cells

MAX_ROWS = 50_000
MAX_LEVELS = 1000
_N_BINS = 10
_FEW_NUMBERS = 20  # up to so many different numbers, each has a bin of its own

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reading:
    """A column as its encoder reads it: numbers, or the texts of categories.

    Attributes
    ----------
    unreadable : ndarray of bool, shape (n_samples,)
        Cells that are neither missing nor of the column's kind; they count as missing.
    missing : ndarray of bool, shape (n_samples,)
    numbers : ndarray of shape (n_samples,) or None
        Numbers, seconds since 1970, or the lengths of texts; NaN where missing.
    codes : ndarray of int, shape (n_samples,), or None
        Positions in ``keys``, -1 where missing.
    keys : list of str
        The distinct categories.
    """

    unreadable: Bools
    missing: Bools
    numbers: Floats | None = None
    codes: npt.NDArray[np.int64] | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class ColumnSummary:
    """What one column held in training.

    Attributes
    ----------
    dtype : str
    n_rows, n_missing : int
    counts : tuple of int
        Rows in each bin of numbers, or of each of ``levels`` and then of all other categories.
    edges : tuple of float
        Where bins of numbers meet; a number on an edge is in the bin above.
    low, high : float
        The smallest and the largest number.
    levels : tuple of str
        The categories, the most frequent first.
    is_complete : bool
        Whether ``levels`` are all categories that training held.
    """

    dtype: str
    n_rows: int
    n_missing: int
    counts: tuple[int, ...] = ()
    edges: tuple[float, ...] = ()
    low: float = -np.inf
    high: float = np.inf
    levels: tuple[str, ...] = ()
    is_complete: bool = False

    def count(self, reading: Reading) -> npt.NDArray[np.int64]:
        """Return the rows of a new column in each bin or level, as `counts` has them."""
        if reading.numbers is not None:
            return _binned(reading.numbers, self.edges)
        if reading.codes is None:
            return np.zeros(0, dtype=np.int64)
        place = {level: position for position, level in enumerate(self.levels)}
        places = np.array([place.get(key, len(place)) for key in reading.keys], dtype=np.int64)
        present = reading.codes[reading.codes != MISSING]
        return np.bincount(places[present], minlength=len(place) + 1)


@dataclass(frozen=True)
class TableSummary:
    """What the training table held, by column; only columns that became features."""

    columns: Mapping[Hashable, ColumnSummary]

    def state(self) -> State:
        """Return everything as plain values."""
        columns = [[name_to_json(name), vars(column)] for name, column in self.columns.items()]
        return State(meta={"columns": columns})

    @classmethod
    def from_state(cls, state: State) -> TableSummary:
        """Return the summary that `state` came from."""
        columns = {}
        for name, described in state.meta["columns"]:
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in described.items()
            }
            columns[name_from_json(name)] = ColumnSummary(**values)
        return cls(columns)


def summarize(table: pd.DataFrame, featurizer: Featurizer) -> TableSummary:
    """Return what the columns of a training table hold, from up to `MAX_ROWS` of its rows."""
    sampled = len(table) > MAX_ROWS
    if sampled:
        table = table.take(np.linspace(0, len(table) - 1, MAX_ROWS).astype(np.intp))
    positions = positions_of(table.columns)
    kinds = {column.name: column.kind for column in featurizer.schema.used}
    columns = {}
    for name, encoder in featurizer.encoders.items():
        column = table.iloc[:, positions[name]]
        reading = read_column(column, kinds[name], encoder)
        columns[name] = _summary(str(column.dtype), reading, encoder, sampled)
    return TableSummary(columns)


def read_column(column: pd.Series, kind: Kind, encoder: ColumnEncoder) -> Reading:
    """Return a column as its encoder reads it, cells that cannot be read set apart."""
    unreadable = encoder.unreadable(column)
    if unreadable.any():
        column = column.astype(object).mask(unreadable, None)
    if isinstance(encoder, (NumericEncoder, DatetimeEncoder)):
        numbers = encoder.read(column)
        return Reading(unreadable, np.isnan(numbers), numbers)
    if kind not in (Kind.CATEGORY, Kind.TEXT):
        return Reading(unreadable, column.isna().to_numpy())
    codes, keys = distinct_cells(column)
    missing = codes == MISSING
    if kind is Kind.TEXT:
        lengths = np.array([*map(len, keys), np.nan], dtype=np.float64)
        return Reading(unreadable, missing, lengths[codes])
    if isinstance(encoder, CategoryEncoder):
        codes, keys = _known_spelling(codes, keys, encoder)
    return Reading(unreadable, missing, codes=codes, keys=tuple(keys))


def _known_spelling(
    codes: npt.NDArray[np.int64], keys: list[str], encoder: CategoryEncoder
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Write each category as training did: "1.0" may stand for the level "1", "true" for "True"."""
    known = encoder.encode(pd.Series(keys, dtype=object)) - FIRST_LEVEL
    spelt = [
        encoder.levels[level] if level >= 0 else key
        for key, level in zip(keys, known.tolist(), strict=True)
    ]
    merged, distinct = pd.factorize(np.array([*spelt, None], dtype=object))
    return merged[codes].astype(np.int64), list(distinct)


def _summary(dtype: str, reading: Reading, encoder: ColumnEncoder, sampled: bool) -> ColumnSummary:
    n_rows, n_missing = len(reading.missing), int(reading.missing.sum())
    if reading.numbers is not None:
        edges, low, high = _bins(reading.numbers)
        if isinstance(encoder, NumericEncoder):  # has seen all rows, not a sample of them
            low, high = min(low, encoder.low), max(high, encoder.high)
        counts = _binned(reading.numbers, edges)
        return ColumnSummary(dtype, n_rows, n_missing, _plain(counts), edges, low, high)
    if reading.codes is None:
        return ColumnSummary(dtype, n_rows, n_missing)
    counts = np.bincount(reading.codes[~reading.missing], minlength=len(reading.keys))
    order = np.argsort(-counts, kind="stable")
    kept, rest = order[:MAX_LEVELS], order[MAX_LEVELS:]
    return ColumnSummary(
        dtype,
        n_rows,
        n_missing,
        (*_plain(counts[kept]), int(counts[rest].sum())),
        levels=tuple(reading.keys[position] for position in kept),
        is_complete=not sampled and not len(rest),
    )


def _bins(numbers: Floats) -> tuple[tuple[float, ...], float, float]:
    """Return where the bins meet, and the smallest and largest number, infinities included."""
    present = numbers[np.isfinite(numbers)]
    if not len(present):
        return (), -np.inf, np.inf
    distinct = np.unique(present)
    if len(distinct) > _FEW_NUMBERS:
        inner = np.linspace(0.0, 1.0, _N_BINS + 1)[1:-1]
        edges = np.unique(np.quantile(present, inner))
    else:
        edges = distinct[1:]
    return tuple(edges.tolist()), float(np.nanmin(numbers)), float(np.nanmax(numbers))


def _binned(numbers: Floats, edges: tuple[float, ...]) -> npt.NDArray[np.int64]:
    present = numbers[~np.isnan(numbers)]
    places = np.searchsorted(np.array(edges, dtype=np.float64), present, side="right")
    return np.bincount(places, minlength=len(edges) + 1)


def _plain(counts: npt.NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(count) for count in counts)
