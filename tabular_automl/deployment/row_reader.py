"""One row of the user's values as features, without a frame.

A frame costs tens of microseconds for each column. Here every encoder has a reader that takes the
usual Python values straight to the encoder's features; any other value goes to the encoder itself,
as a column of one row, so that what it means is decided in one place.
"""

from __future__ import annotations

import datetime
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.core.errors import DataError, MissingColumnsError, must_be
from tabular_automl.data.table import FIRST_LEVEL, MISSING_LEVEL, FeatureTable
from tabular_automl.encoders.base import ColumnEncoder
from tabular_automl.encoders.category import CategoryEncoder
from tabular_automl.encoders.date_formats import DATE, ISO
from tabular_automl.encoders.datetime import DatetimeEncoder
from tabular_automl.encoders.feature_parts import FeaturePart
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.intervals import DAY
from tabular_automl.encoders.numeric import LIMIT, NumericEncoder, number_of
from tabular_automl.encoders.storage import cell_key, is_na_token, is_narrow_float
from tabular_automl.encoders.text import MAX_CHARS, TextEncoder

Row = Mapping[Hashable, Any]
_EPOCH = datetime.datetime(1970, 1, 1)
_SENTENCE = "twelve words that stand for a text of which no word is known"
_PLAIN = (float, int, bool, str, type(None))
_DIRECTIVES = {"%Y": r"(\d{4})", "%m": r"(\d{1,2})", "%d": r"(\d{1,2})"}
_DIRECTIVES |= {"%H": r"(\d{1,2})", "%M": r"(\d{2})", "%S": r"(\d{2})"}
_ISO = (re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[ T](\d{2}):(\d{2})(?::(\d{2}))?)?"), "YmdHMS")
_ORDER = "YmdHMS"
_LARGE = 2**1023  # beyond which a whole number may be none in floating point
_YEARS = range(1700, 2200)  # what every resolution of pandas can hold


class RowReader:
    """Reads rows given as mappings of column name to value.

    Parameters
    ----------
    featurizer : Featurizer
        Fitted; its encoders are used, never changed.
    """

    def __init__(self, featurizer: Featurizer) -> None:
        self.featurizer = featurizer
        self.names = [part.name for part in featurizer.parts]
        parts = featurizer.parts
        self._numbers = _Numbers([p for p in parts if type(p.encoder) is NumericEncoder])
        self._cells = [_reader_of(p) for p in parts if type(p.encoder) is not NumericEncoder]
        self._pairs = featurizer.pairs
        self._raw = {part.raw_name: part.name for part in parts if part.raw_name is not None}

    def read(self, row: Row) -> FeatureTable:
        """Return the features of one row.

        Raises
        ------
        MissingColumnsError
            When used columns are absent; lists all of them.
        DataError
            When a value cannot be read as its column's kind.
        """
        if not isinstance(row, Mapping):
            raise DataError(must_be("row", "a mapping of column name to value", row))
        missing = [name for name in self.names if name not in row]
        if missing:
            raise MissingColumnsError(
                f"The row must have every column that training used, and lacks "
                f"{', '.join(map(repr, missing))}; add them (None is fine)."
            )
        raw = {
            raw_name: _column(row[name], name).to_numpy(dtype=object)
            for raw_name, name in self._raw.items()
        }
        table = self.featurizer.blank(1, raw)
        numeric, codes = table.numeric, table.codes
        self._numbers.write(row, numeric)
        instants: dict[Hashable, float] = {}
        for reader in self._cells:
            reader.write(row[reader.part.name], numeric, codes, instants)
        for i, (first, second) in enumerate(self._pairs):
            numeric[0, i - len(self._pairs)] = (instants[second] - instants[first]) / DAY
        self.featurizer.fills.write(numeric)
        return table


def example_row(featurizer: Featurizer) -> dict[Hashable, Any]:
    """Return a row of usual values, to measure how long a row takes."""
    return {part.name: _usual_value(part.encoder) for part in featurizer.parts}


def _usual_value(encoder: ColumnEncoder) -> Any:
    if isinstance(encoder, NumericEncoder):
        return encoder.center if encoder.center else max(-1e9, min(encoder.low, 1e9))
    if isinstance(encoder, CategoryEncoder):
        return encoder.levels[0] if encoder.levels else None
    if isinstance(encoder, TextEncoder):
        return " ".join(encoder.vocabulary[:12]) or _SENTENCE
    if isinstance(encoder, DatetimeEncoder):
        return _EPOCH + datetime.timedelta(seconds=encoder.center)
    return None


class _Numbers:
    """All columns of numbers together."""

    def __init__(self, parts: list[FeaturePart]) -> None:
        self._parts = parts
        encoders: list[Any] = [part.encoder for part in parts]
        self._center = np.array([e.center for e in encoders], dtype=np.float64)
        self._scale = np.array([e.scale for e in encoders], dtype=np.float64)
        self._low = np.array([e.low for e in encoders], dtype=np.float64)
        self._high = np.array([e.high for e in encoders], dtype=np.float64)
        value_at = np.array([part.place_of(0) for part in parts], dtype=np.intp)
        missing_at = np.array([part.place_of(1) for part in parts], dtype=np.intp)
        self._kept, self._flagged = np.flatnonzero(value_at >= 0), np.flatnonzero(missing_at >= 0)
        self._value_at, self._missing_at = value_at[self._kept], missing_at[self._flagged]

    def write(self, row: Row, numeric: npt.NDArray[np.float32]) -> None:
        """Write the features of every column of numbers."""
        read = [_number(row[part.name], part) for part in self._parts]
        values = np.array(read, dtype=np.float64)
        if np.isinf(values).any():
            values = np.where(values == np.inf, self._high, values)
            values = np.where(values == -np.inf, self._low, values)
        scaled = np.clip((values - self._center) / self._scale, -float(LIMIT), float(LIMIT))
        numeric[0, self._value_at] = scaled[self._kept]
        numeric[0, self._missing_at] = np.isnan(values[self._flagged])


def _number(value: Any, part: FeaturePart) -> float:
    """Return the number in a cell, NaN for a missing one."""
    value = _unwrapped(value)
    kind = type(value)
    if kind is float:
        return float(value)
    if value is None:
        return float("nan")
    encoder: Any = part.encoder
    if kind is bool or (kind is int and abs(value) < _LARGE):
        return float(value)
    if kind is str:
        key = value.strip()
        number = number_of(key, encoder.mark) if key else None
        if number is not None:
            return number
        if not key or encoder.junk or is_na_token(key):
            return float("nan")
    return float(encoder.read(_column(value, part.name))[0])


class _CellReader(ABC):
    """Takes one column's value to its encoder's features."""

    def __init__(self, part: FeaturePart) -> None:
        self.part = part
        self._numeric_at = slice(part.numeric_at, part.numeric_at + len(part.numeric))
        self._codes_at = slice(part.codes_at, part.codes_at + len(part.codes))

    def write(
        self,
        value: Any,
        numeric: npt.NDArray[np.float32],
        codes: npt.NDArray[np.int32],
        instants: dict[Hashable, float],
    ) -> None:
        """Write the features of a value, and note the time of a date."""
        block = self.features(value, instants)
        if len(self.part.numeric):
            numeric[0, self._numeric_at] = block.numeric[0, self.part.numeric]
        if len(self.part.codes):
            codes[0, self._codes_at] = block.codes[0, self.part.codes]

    @abstractmethod
    def features(self, value: Any, instants: dict[Hashable, float]) -> FeatureTable:
        """Return the encoder's features of a value."""


class _AnyCell(_CellReader):
    """Leaves the value to the encoder."""

    def features(self, value: Any, instants: dict[Hashable, float]) -> FeatureTable:
        return self.part.encoder.transform(_column(value, self.part.name))


class _CategoryCell(_CellReader):
    """A category, by a look into the encoder's levels."""

    def __init__(self, part: FeaturePart) -> None:
        super().__init__(part)
        encoder: Any = part.encoder
        self._encoder: CategoryEncoder = encoder
        self._log_counts = encoder.log_counts() if encoder.is_counted else None

    def write(
        self,
        value: Any,
        numeric: npt.NDArray[np.float32],
        codes: npt.NDArray[np.int32],
        instants: dict[Hashable, float],
    ) -> None:
        is_narrow = isinstance(value, np.floating) and is_narrow_float(value.dtype)
        value = value if is_narrow else _unwrapped(value)  # which would give it more digits
        if type(value) not in _PLAIN and not is_narrow:
            block = self._encoder.transform(_column(value, self.part.name))
            numeric[0, self._numeric_at] = block.numeric[0, self.part.numeric]
            codes[0, self._codes_at] = block.codes[0, self.part.codes]
            return
        key = cell_key(value)
        code = MISSING_LEVEL if key is None else self._encoder.code_of(key)
        if len(self.part.codes):
            codes[0, self._codes_at] = code
        if len(self.part.numeric):
            numeric[0, self._numeric_at] = self._numbers(key, code)[self.part.numeric]

    def features(self, value: Any, instants: dict[Hashable, float]) -> FeatureTable:
        return self._encoder.transform(_column(value, self.part.name))

    def _numbers(self, key: str | None, code: int) -> npt.NDArray[np.float32]:
        """Return the numeric features that go with a code."""
        if self._encoder.is_binary:
            return np.array([code - FIRST_LEVEL if code >= FIRST_LEVEL else np.nan], np.float32)
        parts = []
        if self._log_counts is not None:
            parts.append(self._log_counts[[code]])
        if self._encoder.spelling is not None:
            text = None if key is None else self._encoder.spelt(key)
            parts.append(_text_features(self._encoder.spelling, text).numeric[0])
        return np.concatenate(parts)


class _TextCell(_CellReader):
    """A text."""

    def features(self, value: Any, instants: dict[Hashable, float]) -> FeatureTable:
        encoder: Any = self.part.encoder
        if type(value) not in _PLAIN:
            return self.part.encoder.transform(_column(value, self.part.name))
        return _text_features(encoder, cell_key(value))


class _DateCell(_CellReader):
    """A date or a time."""

    def __init__(self, part: FeaturePart) -> None:
        super().__init__(part)
        encoder: Any = part.encoder
        self._encoder: DatetimeEncoder = encoder
        formats = encoder.formats or [DATE, ISO]
        self._pattern = None if encoder.unit else _pattern_of(formats[0])

    def features(self, value: Any, instants: dict[Hashable, float]) -> FeatureTable:
        seconds = self._seconds(value)
        instants[self.part.name] = seconds
        return self._encoder.features(np.array([seconds]), str(self.part.name))

    def _seconds(self, value: Any) -> float:
        """Return the time in seconds since 1970, NaN for a missing one."""
        if value is None:
            return float("nan")
        if type(value) is datetime.datetime and value.tzinfo is None:
            return _since_epoch(value)
        if type(value) is str and self._pattern is not None:
            read = _parsed(value.strip(), *self._pattern)
            if read is not None:
                return _since_epoch(read)
        return float(self._encoder.read(_column(value, self.part.name))[0])


_READERS: dict[type[ColumnEncoder], Callable[[FeaturePart], _CellReader]] = {
    CategoryEncoder: _CategoryCell,
    TextEncoder: _TextCell,
    DatetimeEncoder: _DateCell,
}


def _reader_of(part: FeaturePart) -> _CellReader:
    return _READERS.get(type(part.encoder), _AnyCell)(part)


def _unwrapped(value: Any) -> Any:
    """Return the Python value in a numpy number, boolean or text."""
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return value.item()
    return value


def _column(value: Any, name: Hashable) -> pd.Series:
    """Return a value as a column of one row, with the dtype that a frame would give it."""
    try:
        return pd.Series([value], name=name)
    except OverflowError:  # pandas 2.2, of a whole number of hundreds of digits
        return pd.Series([value], name=name, dtype=object)


def _text_features(encoder: TextEncoder, key: str | None) -> FeatureTable:
    if key is None:
        return encoder.features(np.array([-1]), [], "")
    return encoder.features(np.array([0]), [key[:MAX_CHARS]], "")


def _since_epoch(value: datetime.datetime) -> float:
    since = value - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) / 1e6


def _pattern_of(form: str) -> tuple[re.Pattern[str], str] | None:
    """Return a pattern for a format of plain numbers, and which of its groups is what."""
    if form == ISO:
        return _ISO
    directives = re.findall(r"%.", form)
    known = all(directive in _DIRECTIVES for directive in directives)
    if not known or not {"%Y", "%m", "%d"} <= set(directives) or form == DATE:
        return None
    pattern = re.escape(form)
    for directive in directives:
        pattern = pattern.replace(re.escape(directive), _DIRECTIVES[directive])
    return re.compile(pattern), "".join(directive[1] for directive in directives)


def _parsed(text: str, pattern: re.Pattern[str], order: str) -> datetime.datetime | None:
    """Return the time that a text says, None when it is not of the pattern."""
    match = pattern.fullmatch(text)
    if match is None or not text.isascii():
        return None
    given = dict(zip(order, match.groups(), strict=True))
    numbers = [int(given.get(part) or 0) for part in _ORDER]
    if numbers[0] not in _YEARS:
        return None
    try:
        return datetime.datetime(*numbers)  # type: ignore[arg-type]
    except ValueError:
        return None
