"""Categories: levels by frequency, or one 0/1 feature for two values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.artifacts.state import State
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import FIRST_LEVEL, MISSING_LEVEL, OTHER_LEVEL, FeatureTable
from tabular_automl.encoders.base import ColumnEncoder
from tabular_automl.encoders.storage import (
    MISSING,
    Storage,
    cell_key,
    distinct_cells,
    first_values,
    storage_of,
)
from tabular_automl.encoders.text import MAX_CHARS, TextEncoder

MAX_LEVELS = 10_000
# Columns with more kept levels than this also get the frequency of their level as a feature.
COUNTED_LEVELS = 30
# Columns of more distinct texts than this, that come back less often than this on average, are
# also read letter by letter: many of their values are rare, but share parts with others.
SPELT_LEVELS = 50
SPELT_REPEATS = 20
SPELT_COMPONENTS = 16
# A two-valued column with a larger share of missing cells keeps "missing" as a level of its own.
MAX_BINARY_MISSING = 0.01
_BOOLEAN_SPELLINGS = {
    "true": ("True", "true", "TRUE", "1"),
    "false": ("False", "false", "FALSE", "0"),
    "1": ("True", "true", "TRUE"),
    "0": ("False", "false", "FALSE"),
}
_MOST_EXACT = 2.0**53  # whole numbers up to here are each a float of their own


class CategoryEncoder(ColumnEncoder):
    """Levels by decreasing frequency (an ordered dtype's own order), 0 missing, 1 rare or unseen.

    - Two values and hardly a missing cell: one numeric feature, 0 for the more frequent value and
      1 for the other, NaN for missing and unseen ones. Trees, linear models and networks all read
      that best, without any machinery for categories.
    - More than `COUNTED_LEVELS` levels: also "<column>:count", the logarithm of how often the
      level occurred in training.
    - Many values that seldom repeat (tickets, cabins, comma lists): also the features of a small
      `TextEncoder`, so that a rare value is known by the parts it shares with others.

    Cells match by what they say: 1, 1.0, "1" and, among true/false levels, True are one level.

    Attributes
    ----------
    levels : list of str
    counts : ndarray of int, shape (n_levels,)
    is_binary : bool
    spelling : TextEncoder or None
        Reads rare values letter by letter.
    of_numbers : bool
        Whether all values were numbers, so that a text is read letter by letter as its number is.
    """

    kind: ClassVar[Kind] = Kind.CATEGORY
    priority: ClassVar[int] = -40

    def __init__(self) -> None:
        self.levels: list[str] = []
        self.counts: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.is_binary = False
        self.spelling: TextEncoder | None = None
        self.of_numbers = False
        self._codes: dict[str, int] = {}

    @classmethod
    def claims(cls, sample: pd.Series) -> str | None:
        """Return why these are categories: everything that is nothing else."""
        storage = storage_of(sample)
        if storage is Storage.LEVELS:
            return "categorical dtype"
        if storage is Storage.BOOLEAN:
            return "true or false"
        texts = list(dict.fromkeys(distinct_cells(sample)[1]))
        return f"categories such as {first_values(texts)}" if texts else "categories"

    @property
    def spellings(self) -> Mapping[str, int]:
        """The code of each text that stands for a level, numbers spelt in other ways excepted."""
        return self._codes

    @property
    def is_counted(self) -> bool:
        """Whether the level's frequency is a feature."""
        return len(self.levels) > COUNTED_LEVELS

    def fit(self, column: pd.Series) -> Self:
        """Count the levels and keep the frequent ones."""
        codes, keys = distinct_cells(column)
        present = codes[codes != MISSING]
        counted = _count(keys, np.bincount(present, minlength=len(keys)))
        kept = _frequent(counted, len(column))
        order = _given_order(column)
        self.levels = [key for key in order if key in kept] if order else list(kept)
        self.counts = np.array([kept[key] for key in self.levels], dtype=np.int64)
        n_missing = len(column) - len(present)
        all_kept = len(kept) == len(counted)
        self.is_binary = (
            len(kept) == 2 and all_kept and n_missing <= MAX_BINARY_MISSING * len(column)
        )
        if _is_spelt(counted, len(present)):
            self.spelling = TextEncoder(SPELT_COMPONENTS).fit(column)
            self.of_numbers = all(_number_key(key) == key for key in counted)
        self._index()
        return self

    def transform(self, column: pd.Series) -> FeatureTable:
        """Return the codes, the 0/1 feature, or the codes and the count."""
        cells, keys = distinct_cells(column)
        codes = self._codes_of(keys)[cells]
        name = str(column.name)
        n_rows = len(codes)
        if self.is_binary:
            binary = np.where(codes >= FIRST_LEVEL, codes - FIRST_LEVEL, np.nan)
            block = binary.astype(np.float32).reshape(n_rows, 1)
            return FeatureTable(block, np.empty((n_rows, 0), np.int32), (name,))
        n_levels = (len(self.levels) + FIRST_LEVEL,)
        table = FeatureTable.empty(n_rows)
        table = FeatureTable(table.numeric, codes.reshape(n_rows, 1), (), (name,), n_levels)
        if self.is_counted:
            counts = self.log_counts()[codes].reshape(n_rows, 1)
            table = table.with_numeric(counts, (f"{name}:count",))
        if self.spelling is not None:
            texts = [self.spelt(key)[:MAX_CHARS] for key in keys]
            spelt = self.spelling.features(cells, texts, name)
            table = table.with_numeric(spelt.numeric, spelt.numeric_names)
        return table

    def read_cells(
        self, cells: Iterable[object]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32] | None]:
        """Return the code of each cell, and the 0/1 feature or the count where there is one.

        What `transform` does for few cells, without a column; not what letters tell of them.
        """
        keys = [cell_key(cell) for cell in cells]
        known = [MISSING_LEVEL if key is None else self.code_of(key) for key in keys]
        codes = np.array(known, dtype=np.int32)
        if self.is_binary:
            binary = np.where(codes >= FIRST_LEVEL, codes - FIRST_LEVEL, np.nan)
            return codes, binary.astype(np.float32)
        return codes, self.log_counts()[codes] if self.is_counted else None

    def encode(self, column: pd.Series) -> npt.NDArray[np.int32]:
        """Return the code of each row, shape (n_samples,)."""
        codes, keys = distinct_cells(column)
        return self._codes_of(keys)[codes]

    @property
    def topics(self) -> range:
        """Those of the levels' spelling, behind the count."""
        if self.spelling is None:
            return range(0)
        return range(self.is_counted, self.is_counted + len(self.spelling.topics))

    def forget_topics(self) -> None:
        """Keep of the levels' spelling the statistics and the featured words only."""
        if self.spelling is not None:
            self.spelling.forget_topics()

    def state(self) -> State:
        """Return the levels and how often each occurred."""
        return State(
            meta={
                "levels": list(self.levels),
                "is_binary": self.is_binary,
                "of_numbers": self.of_numbers,
            },
            arrays={"counts": self.counts},
            children={} if self.spelling is None else {"spelling": self.spelling.state()},
        )

    def restore(self, state: State) -> None:
        """Become the fitted encoder that `state` came from."""
        self.levels = [str(level) for level in state.meta["levels"]]
        self.is_binary = bool(state.meta["is_binary"])
        self.of_numbers = bool(state.meta.get("of_numbers", False))
        self.counts = state.array("counts", np.int64, (len(self.levels),), least=0)
        self.spelling = None
        if "spelling" in state.children:
            self.spelling = TextEncoder(SPELT_COMPONENTS)
            self.spelling.restore(state.children["spelling"])
        self._index()

    def _index(self) -> None:
        """Map each level, and each other spelling of it that is no level itself, to its code."""
        self._codes = {level: FIRST_LEVEL + i for i, level in enumerate(self.levels)}
        for level, code in list(self._codes.items()):
            for spelling in _spellings(level):
                self._codes.setdefault(spelling, code)

    def code_of(self, key: str) -> int:
        """Return the code of a cell's text; see `cell_key`."""
        code = self._codes.get(key)
        if code is None:
            number = _number_key(key)
            code = self._codes.get(number, OTHER_LEVEL) if number else OTHER_LEVEL
        return code

    def spelt(self, key: str) -> str:
        """Return what is read letter by letter of a cell's text: "02134" of zip codes is "2134"."""
        return (_number_key(key) or key) if self.of_numbers else key

    def _codes_of(self, keys: list[str]) -> npt.NDArray[np.int32]:
        """Return the code of each text, and that of a missing cell last, where -1 finds it."""
        return np.array([*map(self.code_of, keys), MISSING_LEVEL], dtype=np.int32)

    def log_counts(self) -> npt.NDArray[np.float32]:
        """Return the count feature of each code; an unseen level counts as seen once."""
        known = np.concatenate([[0, 0], np.log1p(self.counts)])
        known[MISSING_LEVEL], known[OTHER_LEVEL] = np.nan, np.log1p(1)
        return known.astype(np.float32)


def _count(keys: list[str], counts: npt.NDArray[np.int64]) -> dict[str, int]:
    """Return the count of each distinct key, the most frequent first, ties by text."""
    totals: dict[str, int] = {}
    for key, count in zip(keys, counts.tolist(), strict=True):
        totals[key] = totals.get(key, 0) + count
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))


def _frequent(counted: dict[str, int], n_rows: int) -> dict[str, int]:
    """Return the levels worth a code of their own: seen once suffices in tiny tables only."""
    least = 1 if n_rows < 100 else 2 if n_rows < 10_000 else 3
    kept = [(key, count) for key, count in counted.items() if count >= least]
    return dict(kept[:MAX_LEVELS])


def _is_spelt(counted: dict[str, int], n_present: int) -> bool:
    """Return whether the levels are many and seldom repeated."""
    return len(counted) > SPELT_LEVELS and n_present <= SPELT_REPEATS * len(counted)


def _given_order(column: pd.Series) -> list[str]:
    """Return the levels in the order of an ordered categorical dtype, else nothing."""
    if not isinstance(column.dtype, pd.CategoricalDtype) or not column.dtype.ordered:
        return []
    keys: Iterable[str | None] = (cell_key(value) for value in column.dtype.categories)
    return [key for key in keys if key is not None]


def _spellings(level: str) -> tuple[str, ...]:
    number = _number_key(level)
    if number is not None and abs(float(level)) >= _MOST_EXACT:
        number = None  # of larger whole numbers, several are one to a float
    booleans = _BOOLEAN_SPELLINGS.get(level.lower(), ())
    return booleans if number is None or number == level else (number, *booleans)


def _number_key(key: str) -> str | None:
    """Return the key of the number that a text spells ("1.0" and "01" are "1"), or None."""
    if "_" in key:  # a code of two parts
        return None
    try:
        return cell_key(float(key))
    except ValueError:
        return None
