"""Dates and times, stored as such, as text, or as whole numbers."""

from __future__ import annotations

import datetime
import math
import re
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import DataError
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import FeatureTable
from tabular_automl.encoders.base import ColumnEncoder
from tabular_automl.encoders.date_formats import (
    DATE,
    EPOCHS,
    ISO,
    MAX_UNREAD,
    choose_formats,
    epoch_unit,
    parse_texts,
)
from tabular_automl.encoders.numeric import MAX_JUNK_SAVED, informs
from tabular_automl.encoders.storage import (
    MISSING,
    Storage,
    as_floats,
    distinct_cells,
    is_na_token,
    named_cells,
    sample_of,
    storage_of,
)

DAY = 86_400.0
_YMD_RANGE = (19_000_101, 21_001_231)
_NO_FRACTION = re.compile(r"\.0+$")
_PYTHONS_DAY = re.compile(r"\d{4}-\d{2}-\d{2}([ T].*)?")
_MOST_OF_EPOCHS = (0.1, 0.9)
_DATE_NAME = re.compile(r"date|datum|day|fecha|jour|time|stamp|(?:^|_)(?:at|on|dt|ts)$", re.I)
_CALENDAR = (
    *("year", "month", "day", "weekday", "dayofyear", "monthend"),
    *("hour", "minute", "second"),
)
CYCLES = {"dayofyear": 365.25, "hour": 24.0}


class DatetimeEncoder(ColumnEncoder):
    """Calendar parts, the elapsed days, and the year's and the day's cycle as sine and cosine.

    - "<column>:elapsed" is in days from the median of training, so float32 keeps its resolution.
    - ":hour" is the time of day in hours with its fraction, ":minute" and ":second" are whole; a
      part that is the same in all rows of training is left out. Times with a zone are read in UTC.
    - Missing times are NaN in every feature, with "<column>:missing" as in `NumericEncoder`.
    - Day and month of a text are told apart by looking at all values; when every value reads both
      ways, the part that varies less is the day, else the month comes first.
    """

    kind: ClassVar[Kind] = Kind.DATETIME
    priority: ClassVar[int] = -10

    def __init__(self) -> None:
        self.formats: list[str] = []
        self.unit = ""
        self.center = 0.0
        self.parts: list[str] = []
        self.junk = frozenset()
        self.has_indicator = False

    @classmethod
    def claims(cls, sample: pd.Series) -> str | None:
        """Return why these are dates or times, or None."""
        storage = storage_of(sample)
        if storage is Storage.INSTANT:
            return "datetime dtype"
        if storage is Storage.NUMBER:
            unit = _number_unit(sample)
            form = EPOCHS.get(unit, "dates such as 20240131") if unit else ""
            return f"whole numbers read as {form}" if unit else None
        if storage is not Storage.CELLS:
            return None
        reason = _claim_text(sample)
        if reason and isinstance(sample.iloc[0], (datetime.date, datetime.time)):
            return "Python dates or times"
        return reason

    def fit(self, column: pd.Series) -> Self:
        """Learn the formats, the range and which parts vary."""
        if storage_of(column) is Storage.NUMBER:
            sample = sample_of(column)
            self.unit = _number_unit(sample) or _epoch_of_most(sample) or DATE
        elif storage_of(column) in (Storage.CELLS, Storage.LEVELS):
            self.formats = choose_formats(distinct_cells(column)[1])
        seconds, unread = self._read(column)
        self.junk = frozenset(unread)
        known = seconds[~np.isnan(seconds)]
        self.has_indicator = informs(len(seconds) - len(known), len(seconds))
        if len(known):
            self.center = float(np.median(known))
            parts = _calendar(known)
            self.parts = [name for name in _CALENDAR if np.ptp(parts[name]) > 0]
        return self

    def transform(self, column: pd.Series) -> FeatureTable:
        """Return the calendar features."""
        return self.features(self.read(column), str(column.name))

    def features(self, seconds: npt.NDArray[np.float64], name: str) -> FeatureTable:
        """Return the features of times given in seconds since 1970, shape (n_samples,)."""
        parts = _calendar(seconds)
        values = {"elapsed": (seconds - self.center) / DAY, "missing": np.isnan(seconds), **parts}
        for part, period in CYCLES.items():
            if part in self.parts:
                angle = parts[part] * (2 * np.pi / period)
                values |= {f"{part}:sin": np.sin(angle), f"{part}:cos": np.cos(angle)}
        own = self.own_features
        block = np.empty((len(seconds), len(own)), dtype=np.float32)
        for i, part in enumerate(own):
            block[:, i] = values[part]
        names = tuple(f"{name}:{part}" for part in own)
        return FeatureTable(block, np.empty((len(seconds), 0), np.int32), names)

    @property
    def own_features(self) -> list[str]:
        """The features that it makes, in order, without the column's name."""
        cycles = [f"{p}:{wave}" for p in CYCLES if p in self.parts for wave in ("sin", "cos")]
        return ["elapsed", *self.parts, *cycles, *(["missing"] if self.has_indicator else [])]

    def read(self, column: pd.Series) -> npt.NDArray[np.float64]:
        """Return the times in seconds since 1970 UTC, missing ones as NaN.

        Raises
        ------
        DataError
            When values are neither dates nor times, in a column that held nothing else in training.
        """
        seconds, unread = self._read(column)
        if unread and not self.junk:
            example = f" such as {self.formats[0]}" if self.formats else ""
            raise DataError(
                f"Column {column.name!r} must hold dates or times{example}, as in training, got "
                f"{named_cells(column, self.unreadable(column))}; correct the values, or predict "
                "with on_mismatch='coerce' to treat them as missing."
            )
        return seconds

    def unreadable(self, column: pd.Series) -> npt.NDArray[np.bool_]:
        """Return which rows hold something that is neither a time nor missing."""
        _, unread = self._read(column)
        bad = set() if self.junk else set(unread)
        codes, keys = distinct_cells(column)
        return np.array([*(key in bad for key in keys), False])[codes]

    def state(self) -> State:
        """Return formats, centre and parts."""
        return State(
            meta={
                "formats": list(self.formats),
                "unit": self.unit,
                "center": self.center,
                "parts": list(self.parts),
                "junk": sorted(self.junk)[:MAX_JUNK_SAVED],
                "has_indicator": self.has_indicator,
            }
        )

    def restore(self, state: State) -> None:
        """Become the fitted encoder that `state` came from."""
        meta = state.meta
        self.formats = list(meta["formats"])
        self.unit = str(meta["unit"])
        known = self.unit in ("", DATE, *_PER_SECOND)
        state.require(known, "unit", "be a unit of time")
        self.center = state.number("center")
        self.parts = list(meta["parts"])
        state.require(set(self.parts) <= set(_CALENDAR), "parts", "be parts of a calendar")
        self.junk = frozenset(meta["junk"])
        self.has_indicator = bool(meta["has_indicator"])

    def _read(self, column: pd.Series) -> tuple[npt.NDArray[np.float64], list[str]]:
        """Return seconds since 1970, and the distinct texts that could not be read."""
        storage = storage_of(column)
        if storage is Storage.INSTANT:
            return _instants(column), []
        if storage in (Storage.NUMBER, Storage.BOOLEAN) and self.unit:
            values = as_floats(column)
            if self.unit != DATE:
                values = np.where(np.isfinite(values), values, np.nan)
                return values / _PER_SECOND[self.unit], []
        codes, keys = distinct_cells(column)
        if self.unit in _PER_SECOND:
            seconds = np.array([_seconds(key) for key in keys]) / _PER_SECOND[self.unit]
        else:
            # A file with gaps may hold 20240131.0, which other readers take for a number.
            texts = [_NO_FRACTION.sub("", key) for key in keys] if self.unit == DATE else keys
            seconds = _parsed(texts, self.formats or [DATE, ISO])
        unread = [
            key
            for key, value in zip(keys, seconds.tolist(), strict=True)
            if value != value and not is_na_token(key)
        ]
        return np.append(seconds, np.nan)[codes], unread


_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def _parsed(texts: list[str], formats: list[str]) -> npt.NDArray[np.float64]:
    """Return seconds since 1970; days in Python's own form are read whatever the formats are.

    That is how cells that are dates, not texts, show themselves.
    """
    seconds = parse_texts(texts, formats)
    of_days = any("%d" in form or "%m" in form or "%b" in form.lower() for form in formats)
    if ISO in formats or not of_days or any(form.startswith("%Y-%d") for form in formats):
        return seconds
    left = [
        i for i in np.flatnonzero(np.isnan(seconds)).tolist() if _PYTHONS_DAY.fullmatch(texts[i])
    ]
    seconds[left] = parse_texts([texts[i] for i in left], [ISO])
    return seconds


def _seconds(text: str) -> float:
    """Return the number that a text shows; NaN for none, or one without end."""
    try:
        number = math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _instants(column: pd.Series) -> npt.NDArray[np.float64]:
    """Return a datetime or period column in seconds since 1970 UTC."""
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    elif isinstance(column.dtype, pd.ArrowDtype) and "date" in column.dtype.name:
        column = column.astype("datetime64[us]")  # dates without a time of day
    elif isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    never = np.datetime64("NaT", "us")
    values: npt.NDArray[Any] = column.to_numpy(dtype="datetime64[us]", na_value=never)
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) / 1e6)


def _calendar(seconds: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the calendar parts of times in seconds since 1970, NaN where the time is."""
    missing = np.isnan(seconds)
    filled = np.where(missing, 0.0, seconds)
    day_number = np.floor(filled / DAY)
    days = day_number.astype(np.int64).astype("datetime64[D]")
    months, years = days.astype("datetime64[M]"), days.astype("datetime64[Y]")
    day = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    next_month = (months + 1).astype("datetime64[D]")
    since_midnight = filled - day_number * DAY
    hour = since_midnight / 3600
    parts = {
        "year": years.astype(np.int64) + 1970,
        "month": months.astype(np.int64) % 12 + 1,
        "day": day,
        "weekday": (day_number + 3) % 7,  # 1970-01-01 was a Thursday; Monday is 0
        "dayofyear": (days - years.astype("datetime64[D]")).astype(np.int64) + 1,
        "monthend": (next_month - days).astype(np.int64) == 1,
        "hour": hour,
        "minute": np.floor(hour * 60 + 1e-6) % 60,
        "second": np.floor(since_midnight) % 60,
    }
    return {name: np.where(missing, np.nan, values) for name, values in parts.items()}


def _number_unit(sample: pd.Series) -> str | None:
    """Return how whole numbers stand for times: 20240131, or an epoch in a column named so."""
    values = as_floats(sample)
    if not len(values) or not np.isfinite(values).all() or (values != np.floor(values)).any():
        return None
    named = bool(_DATE_NAME.search(str(sample.name)))
    if values.min() >= _YMD_RANGE[0] and values.max() <= _YMD_RANGE[1]:
        distinct = [str(int(value)) for value in np.unique(values)]
        valid = not np.isnan(parse_texts(distinct, [DATE])).any()
        # A few numbers may look like dates by chance; a name that says so settles it.
        return DATE if valid and (named or len(distinct) >= 5) else None
    return epoch_unit(float(values.min()), float(values.max())) if named else None


def _epoch_of_most(sample: pd.Series) -> str | None:
    """Return the unit in which most of the numbers count from 1970; a few may stand for none."""
    values = as_floats(sample)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, _MOST_OF_EPOCHS)
    return epoch_unit(float(low), float(high))


def _claim_text(sample: pd.Series) -> str | None:
    codes, keys = distinct_cells(sample)
    formats = choose_formats(keys)
    if not formats:
        return None
    seconds = np.append(parse_texts(keys, formats), np.nan)[codes]
    na_codes = [i for i, key in enumerate(keys) if is_na_token(key)]
    expected = int(((codes != MISSING) & ~np.isin(codes, na_codes)).sum())
    n_read = int((~np.isnan(seconds)).sum())
    if n_read == 0 or n_read < (1 - MAX_UNREAD) * expected:
        return None
    return f"dates or times as text, such as {keys[int(codes[~np.isnan(seconds)][0])]!r}"
