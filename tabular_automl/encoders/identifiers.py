"""Columns that name rows and say nothing of them; and columns that repeat another one."""

from __future__ import annotations

import re
from collections.abc import Hashable

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.data.column_names import name_key
from tabular_automl.data.schema import Kind
from tabular_automl.encoders.numeric import NumericEncoder
from tabular_automl.encoders.storage import (
    FEW_ROWS,
    MISSING,
    Storage,
    as_floats,
    distinct_cells,
    sample_of,
    storage_of,
)

# Fewer rows than this prove nothing unless the column's name says it too.
MIN_ROWS = 50
MIN_NAMED_ROWS = 5
MIN_DENSITY = 0.5
MAX_MISSING = 0.05
PROBE_ROWS = 200
NEARLY_ALL = 0.98
NEARLY_ALL_CODES = 0.9

_ID_NAME = re.compile(
    r"(?:^|[\s_.\-])(?:id|ids|uuid|guid|index|idx|key|pk|rowid|rownum|row_?number|serial)$"
    r"|^unnamed(?::|$)|^(?:id|uuid|guid|index|key)(?:[\s_.\-]|$)",
    re.IGNORECASE,
)
_CAMEL_ID_NAME = re.compile(r"[a-z](?:Id|ID|Uuid|UUID|Key|Index)$")
# Whole numbers that are all different by their nature, and that do tell something.
_ORDER_NAME = re.compile(
    r"rank|order|position|period|year|quarter|month|week|day|date|hour|time|age|score|price"
    r"|amount|count|size",
    re.I,
)
_HEX = re.compile(r"(?:0x)?[0-9a-f]{8,}$|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.I)


def names_identifier(name: Hashable) -> bool:
    """Return whether a column's name says that it identifies rows."""
    text = str(name).strip()
    return not text or bool(_ID_NAME.search(text) or _CAMEL_ID_NAME.search(text))


def identifier_reason(column: pd.Series, kind: Kind) -> str | None:
    """Return why a column that would be of the given kind identifies rows instead, or None.

    Whole numbers identify when all are different and either the name says so or they fill their
    range as a counter does. Texts identify when nearly all are different single codes, or when all
    are different and the name says so.
    """
    named = names_identifier(column.name)
    if len(column) < (MIN_NAMED_ROWS if named else MIN_ROWS):
        return None
    storage = storage_of(column)
    if kind is Kind.NUMERIC and storage in (Storage.NUMBER, Storage.CELLS):
        return _number_reason(column, named)
    return _text_reason(column, named) if storage is Storage.CELLS else None


def _number_reason(column: pd.Series, named: bool) -> str | None:
    if not _different_integers(_numbers(sample_of(column, 500))):
        return None
    values = _numbers(column)
    values = values[~np.isnan(values)]
    if len(values) < (1 - MAX_MISSING) * len(column) or not _different_integers(values):
        return None
    if named:
        return "a different whole number in every row, and the name of an identifier"
    density = len(values) / (values.max() - values.min() + 1)
    if density >= MIN_DENSITY and not _ORDER_NAME.search(str(column.name)):
        return "a counter: whole numbers, different in every row, that fill their range"
    return None


def _numbers(column: pd.Series) -> npt.NDArray[np.float64]:
    return NumericEncoder().fit(column).read(column)


def _different_integers(values: npt.NDArray[np.float64]) -> bool:
    return bool((values == np.floor(values)).all()) and len(np.unique(values)) == len(values)


def _text_reason(column: pd.Series, named: bool) -> str | None:
    codes, keys = distinct_cells(sample_of(column))
    if len(set(keys)) < NEARLY_ALL_CODES * len(codes):
        return None
    codes, keys = distinct_cells(column)
    share = len(set(keys)) / max(1, int((codes != MISSING).sum()))
    if named and share == 1.0:
        return "a different text in every row, and the name of an identifier"
    head = keys[:500]
    code_like = np.mean([_is_code(key) for key in head])
    if share >= NEARLY_ALL_CODES and code_like >= NEARLY_ALL_CODES:
        return "codes without words, different in nearly every row"
    single = np.mean([len(key.split()) <= 1 for key in head])
    if share >= NEARLY_ALL and single >= NEARLY_ALL:
        return "single words, different in nearly every row"
    return None


def _is_code(text: str) -> bool:
    """Return whether a text is one token that mixes digits with other signs, or is hexadecimal."""
    if len(text.split()) != 1:
        return False
    return any(c.isdigit() for c in text) or bool(_HEX.match(text))


class TwinFinder:
    """Finds columns equal to one seen before.

    Equal means equal in what the cells say: 1, 1.0 and True are the same number. A fingerprint of
    some rows tells nearly all columns apart; the few that agree there are compared in full.
    """

    def __init__(self) -> None:
        self._alone: dict[int, pd.Series] = {}
        self._names: dict[int, Hashable] = {}

    def twin(self, column: pd.Series) -> tuple[Hashable] | None:
        """Return the name of the earlier column that equals this one, as a 1-tuple, else None."""
        probe = _fingerprint(_probe(column))
        other = self._alone.setdefault(probe, column)
        if other is column:
            return None
        # Two columns look alike: from now on, full fingerprints decide.
        self._names.setdefault(_fingerprint(other), name_key(other.name))
        own = name_key(column.name)
        name = self._names.setdefault(_fingerprint(column), own)
        return None if name is own or name == own else (name,)  # NaN equals itself by identity only


def _probe(column: pd.Series) -> pd.Series:
    if len(column) <= PROBE_ROWS:
        return column
    return column.iloc[np.linspace(0, len(column) - 1, PROBE_ROWS).astype(np.intp)]


def _fingerprint(column: pd.Series) -> int:
    """Return a 64-bit hash of what the cells say; a chance collision is beyond concern."""
    if storage_of(column) in (Storage.NUMBER, Storage.BOOLEAN):
        values = as_floats(column) + 0.0  # both zeros have one bit pattern then
        values[np.isnan(values)] = np.nan
        return hash(values.tobytes())
    codes, keys = distinct_cells(column)
    if len(column) <= FEW_ROWS:
        keys = [keys[code] if code >= 0 else "" for code in codes]
        return hash(("cells", *keys))
    return hash((codes.tobytes(), *keys))
