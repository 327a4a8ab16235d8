"""Numbers, stored as numbers or as text."""

from __future__ import annotations

import decimal
import math
import re
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_integer_dtype

from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import DataError
from tabular_automl.data.number_texts import MARKS, decimal_mark, parse_number
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import FeatureTable
from tabular_automl.encoders.base import ColumnEncoder
from tabular_automl.encoders.storage import (
    MISSING,
    Storage,
    as_floats,
    distinct_cells,
    is_na_token,
    named_cells,
    storage_of,
)

# Largest share of unreadable values (other than NA tokens) in a column of numbers as text.
MAX_JUNK = 0.05
MIN_READABLE = 0.5
MAX_JUNK_SAVED = 20
# Text such as "007" names things; with at most this many distinct values it is a category.
MAX_CODE_LEVELS = 100

# A missing-value indicator needs this share of rows, and this many rows, in both states.
INDICATOR_RATE = (0.05, 0.99)
INDICATOR_ROWS = 3

# Beyond this |median| / spread, float32 would keep fewer than 2**20 steps within the spread.
MAX_OFFSET = 16.0
MAX_MAGNITUDE = 1e15
# Squares of float32 values up to this one are finite.
LIMIT = np.float32(1e18)

_FRACTIONS = (float, np.floating, decimal.Decimal)
_LEADING_ZERO = re.compile(r"0\d+$")


class NumericEncoder(ColumnEncoder):
    """One float32 feature, and "<column>:missing" where missing values are frequent enough.

    Infinities become the largest (smallest) finite value of training. A column whose values are
    large against their spread, or beyond what float32 holds well, is centred by its median and
    scaled by its interquartile range in float64 before the cast; any other keeps its values.
    When some text could not be read in training, such text is missing from then on.
    """

    kind: ClassVar[Kind] = Kind.NUMERIC
    priority: ClassVar[int] = -20

    def __init__(self) -> None:
        self.center = 0.0
        self.scale = 1.0
        self.low = -math.inf
        self.high = math.inf
        self.mark = "."
        self.junk = frozenset()
        self.has_indicator = False

    @classmethod
    def claims(cls, sample: pd.Series) -> str | None:
        """Return why these are numbers, or None."""
        storage = storage_of(sample)
        if storage is Storage.NUMBER:
            return "whole numbers" if is_integer_dtype(sample.dtype) else "numbers"
        if storage is Storage.DURATION:
            return "durations, read as seconds"
        if storage is not Storage.CELLS or (sample.dtype == object and _has_booleans(sample)):
            return None
        return _claim_text(sample)

    def fit(self, column: pd.Series) -> Self:
        """Learn scale, range, decimal mark and the texts that count as missing."""
        values, unread = self._read_first(column)
        self.junk = frozenset(unread)
        missing = np.isnan(values)
        n_missing = int(missing.sum())
        self.has_indicator = informs(n_missing, len(values))
        finite = values[np.isfinite(values)]
        if len(finite):
            self.low, self.high = float(finite.min()), float(finite.max())
            self.center, self.scale = _center_and_scale(finite, self.low, self.high)
        return self

    def transform(self, column: pd.Series) -> FeatureTable:
        """Return the numbers, and the indicator when there is one."""
        values = self.read(column)
        name = str(column.name)
        block = np.empty((len(values), 1 + self.has_indicator), dtype=np.float32)
        block[:, 0] = self.scaled(values)
        names: tuple[str, ...] = (name,)
        if self.has_indicator:
            block[:, 1] = np.isnan(values)
            names = (name, f"{name}:missing")
        return FeatureTable(block, np.empty((len(values), 0), np.int32), names)

    def scaled(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Return float64 values as the feature: clipped to finite numbers, centred, scaled."""
        if np.isinf(values).any():
            values = np.nan_to_num(values, nan=np.nan, posinf=self.high, neginf=self.low)
        if self.center != 0.0 or self.scale != 1.0:
            values = (values - self.center) / self.scale
        return np.clip(values, -float(LIMIT), float(LIMIT)).astype(np.float32)

    def read(self, column: pd.Series) -> npt.NDArray[np.float64]:
        """Return the column as float64, missing values as NaN.

        Raises
        ------
        DataError
            When values are not numbers, in a column that held nothing else in training.
        """
        values, unread = _read(column, self.mark)
        if unread and not self.junk:
            raise DataError(
                f"Column {column.name!r} must hold numbers, as in training, "
                f"got {named_cells(column, self.unreadable(column))}; correct the values, or "
                "predict with on_mismatch='coerce' to treat them as missing."
            )
        return values

    def unreadable(self, column: pd.Series) -> npt.NDArray[np.bool_]:
        """Return which rows hold something that is neither a number nor missing."""
        if self.junk or storage_of(column) in _PLAIN:
            return np.zeros(len(column), dtype=bool)
        codes, keys = distinct_cells(column)
        bad = [_is_junk(key, self.mark) for key in keys]
        return np.array([*bad, False])[codes]

    def state(self) -> State:
        """Return the learnt numbers and texts."""
        return State(
            meta={
                "center": self.center,
                "scale": self.scale,
                "low": self.low,
                "high": self.high,
                "mark": self.mark,
                "junk": sorted(self.junk)[:MAX_JUNK_SAVED],
                "has_indicator": self.has_indicator,
            }
        )

    def restore(self, state: State) -> None:
        """Become the fitted encoder that `state` came from."""
        meta = state.meta
        self.center, self.scale = state.number("center"), state.number("scale", least=math.ulp(0.0))
        self.low = state.number("low", least=-math.inf)
        self.high = state.number("high", most=math.inf)
        self.mark = str(meta["mark"])
        state.require(self.mark in MARKS, "mark", f"be one of {' '.join(MARKS)}")
        self.junk = frozenset(meta["junk"])
        self.has_indicator = bool(meta["has_indicator"])

    def _read_first(self, column: pd.Series) -> tuple[npt.NDArray[np.float64], list[str]]:
        if storage_of(column) not in _PLAIN:
            self.mark = _mark_of(column)
        return _read(column, self.mark)


_PLAIN = frozenset({Storage.NUMBER, Storage.BOOLEAN, Storage.DURATION})
_BOOLEANS = {"True": 1.0, "False": 0.0}  # as cells beside a missing one


def number_of(key: str, mark: str) -> float | None:
    """Return the number that a cell's text stands for, or None; see `cell_key`."""
    number = parse_number(key, mark)
    return _BOOLEANS.get(key) if number is None else number


def informs(n_missing: int, n_rows: int) -> bool:
    """Return whether a missing-value indicator would tell rows apart often enough."""
    low, high = INDICATOR_RATE
    enough = min(n_missing, n_rows - n_missing) >= INDICATOR_ROWS
    return enough and low <= n_missing / n_rows <= high


def _read(column: pd.Series, mark: str) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Return the values as float64 and the distinct texts that could not be read."""
    storage = storage_of(column)
    if storage is Storage.DURATION:
        return column.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan), []
    if storage in _PLAIN:
        return as_floats(column), []
    codes, keys = distinct_cells(column)
    numbers = np.full(len(keys) + 1, np.nan)
    unread = []
    for i, key in enumerate(keys):
        number = number_of(key, mark)
        if number is not None:
            numbers[i] = number
        elif not is_na_token(key):
            unread.append(key)
    found = numbers[codes]
    if mark == "," and column.dtype == object:  # a cell that is 1.251 has no mark
        cells = column.to_numpy()
        is_number = np.fromiter((isinstance(cell, _FRACTIONS) for cell in cells), bool, len(cells))
        found[is_number] = cells[is_number].astype(np.float64)
    return found, unread


def _is_junk(key: str, mark: str) -> bool:
    return number_of(key, mark) is None and not is_na_token(key)


def _mark_of(column: pd.Series) -> str:
    """Return the decimal mark of a column's texts; cells that are numbers do not count."""
    if column.dtype != object:
        return decimal_mark(distinct_cells(column)[1])
    return decimal_mark(list({cell.strip() for cell in column.tolist() if isinstance(cell, str)}))


def _has_booleans(sample: pd.Series) -> bool:
    return any(isinstance(value, (bool, np.bool_)) for value in sample.head(100))


def _claim_text(sample: pd.Series) -> str | None:
    codes, keys = distinct_cells(sample)
    counts = np.bincount(codes[codes != MISSING], minlength=len(keys))
    if not len(keys) or not _looks_numeric(keys):
        return None
    mark = _mark_of(sample)
    readable = np.array([parse_number(key, mark) is not None for key in keys])
    junk = ~readable & ~np.array([is_na_token(key) for key in keys])
    n_rows = counts.sum()
    if counts[junk].sum() > MAX_JUNK * n_rows or counts[readable].sum() < MIN_READABLE * n_rows:
        return None
    if any(_LEADING_ZERO.match(key) for key in keys) and len(keys) <= MAX_CODE_LEVELS:
        return None
    return "numbers stored as text"


def _looks_numeric(keys: list[str]) -> bool:
    """Return whether some of the first texts are numbers, to leave words alone cheaply."""
    head = keys[:50]
    n_numbers = sum(any(c.isdigit() for c in key) and len(key) < 40 for key in head)
    return n_numbers >= 0.3 * len(head)


def _center_and_scale(
    finite: npt.NDArray[np.float64], low: float, high: float
) -> tuple[float, float]:
    """Return (0, 1) where float32 keeps the values well, else median and spread."""
    largest = max(abs(low), abs(high))
    in_range = 1 / MAX_MAGNITUDE < largest < MAX_MAGNITUDE
    if largest == 0.0 or (in_range and _survives_cast(finite)):
        return 0.0, 1.0
    lower, median, upper = (float(q) for q in np.quantile(finite, [0.25, 0.5, 0.75]))
    spread = upper - lower or (high / 2 - low / 2) or largest
    if in_range and abs(median) <= MAX_OFFSET * spread:
        return 0.0, 1.0
    return (median, spread) if math.isfinite(spread) else (0.0, largest)


def _survives_cast(values: npt.NDArray[Any]) -> bool:
    """Return whether float32 holds every value exactly."""
    return bool((values.astype(np.float32) == values).all())
