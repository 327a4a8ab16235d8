"""The feature table: dense arrays that every model family reads, shared by folds without copies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tabular_automl.data.drawing import Draw
from tabular_automl.data.schema import Kind

MISSING_LEVEL = 0
OTHER_LEVEL = 1
FIRST_LEVEL = 2
_FEW_OF_ROOT = 0.3  # of the rows, for whose matrix that of all is not worth making

Derived = TypeVar("Derived")


class _Memo:
    """Values computed once from a table, whichever thread asks first."""

    def __init__(self) -> None:
        self.locks: dict[Any, threading.RLock] = {}
        self.values: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def lock_of(self, key: object) -> threading.RLock:
        """Return a key's own lock: who waits for one value does not hold up those of others."""
        with self._lock:
            return self.locks.setdefault(key, threading.RLock())

    def __deepcopy__(self, memo: object) -> _Memo:
        return _Memo()

    def __reduce__(self) -> tuple[type[_Memo], tuple[()]]:
        """Travel to another process empty: locks do not travel, and derived values are cheap."""
        return _Memo, ()


class FeatureTable:
    """Features of ``n_samples`` rows as two dense blocks; immutable.

    `take` gives a view: its blocks are cut out when first read, and a family that bins or encodes
    the whole table once for all folds finds it at `root`.

    Parameters
    ----------
    numeric : ndarray of shape (n_samples, n_numeric), float32
        Real-valued features; NaN is missing, infinities do not occur.
    codes : ndarray of shape (n_samples, n_categorical), int32
        Categorical features as levels: 0 is missing, 1 is rare or unseen, the rest are categories.
    numeric_names, code_names : tuple of str
        A name for each feature, unique over both blocks.
    n_levels : tuple of int
        Number of levels of each categorical feature, the two reserved ones included;
        ``0 <= codes < n_levels`` always holds.
    raw : mapping of str to ndarray of shape (n_samples,)
        Untouched columns for models that read a modality (text, images) themselves, by column.
    raw_kinds : mapping of str to Kind
        The kind of each raw column.

    Attributes
    ----------
    rows : ndarray of int or None
        The rows of `root` that this table holds; None for all of them.
    """

    def __init__(
        self,
        numeric: npt.NDArray[np.float32],
        codes: npt.NDArray[np.int32],
        numeric_names: tuple[str, ...] = (),
        code_names: tuple[str, ...] = (),
        n_levels: tuple[int, ...] = (),
        raw: Mapping[str, npt.NDArray[Any]] | None = None,
        raw_kinds: Mapping[str, Kind] | None = None,
    ) -> None:
        self._numeric = numeric
        self._codes = codes
        self._raw = dict(raw or {})
        self.raw_kinds = dict(raw_kinds or {})
        self.numeric_names = numeric_names
        self.code_names = code_names
        self.n_levels = n_levels
        self._root: FeatureTable | None = None  # not itself: a ring is freed late, with its arrays
        self.rows: npt.NDArray[np.intp] | None = None
        self._memo = _Memo()

    def __len__(self) -> int:
        return int(self._numeric.shape[0]) if self.rows is None else len(self.rows)

    @property
    def root(self) -> FeatureTable:
        """The whole table that this one was taken from; itself for a whole table."""
        return self if self._root is None else self._root

    def __repr__(self) -> str:
        return (
            f"FeatureTable(n_samples={len(self)}, n_numeric={len(self.numeric_names)}, "
            f"n_categorical={len(self.code_names)})"
        )

    @property
    def numeric(self) -> npt.NDArray[np.float32]:
        """The numeric block, shape (n_samples, n_numeric)."""
        if self.rows is None:
            return self._numeric
        return self.derived("numeric", lambda view: self._numeric[self.rows])

    @property
    def codes(self) -> npt.NDArray[np.int32]:
        """The categorical block, shape (n_samples, n_categorical)."""
        if self.rows is None:
            return self._codes
        return self.derived("codes", lambda view: self._codes[self.rows])

    @property
    def raw(self) -> Mapping[str, npt.NDArray[Any]]:
        """The untouched columns, by name."""
        if self.rows is None:
            return self._raw
        return {name: values[self.rows] for name, values in self._raw.items()}

    def raw_of(self, kind: Kind) -> Mapping[str, npt.NDArray[Any]]:
        """Return the untouched columns of one kind, by name."""
        return {name: values for name, values in self.raw.items() if self.raw_kinds[name] is kind}

    @property
    def n_features(self) -> int:
        """Number of features in both blocks."""
        return len(self.numeric_names) + len(self.code_names)

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names: the numeric block's, then the categorical block's."""
        return self.numeric_names + self.code_names

    @property
    def n_bytes(self) -> int:
        """Memory of the two dense blocks, as if cut out."""
        return 4 * len(self) * self.n_features

    def take(self, rows: npt.ArrayLike) -> FeatureTable:
        """Return a view of the given rows of this table.

        Parameters
        ----------
        rows : array-like of int, shape (n_rows,)
            Row positions in this table.
        """
        positions = np.asarray(rows, dtype=np.intp)
        view = FeatureTable(
            self._numeric,
            self._codes,
            self.numeric_names,
            self.code_names,
            self.n_levels,
            self._raw,
            self.raw_kinds,
        )
        view._root = self.root
        view.rows = positions if self.rows is None else self.rows[positions]
        return view

    def cut_out(self) -> FeatureTable:
        """Return the rows of a view as a whole table of their own."""
        return FeatureTable(
            self.numeric,
            self.codes,
            self.numeric_names,
            self.code_names,
            self.n_levels,
            self.raw,
            self.raw_kinds,
        )

    def derived(self, key: object, build: Callable[[FeatureTable], Derived]) -> Derived:
        """Return ``build(self)``, computed once for each key and kept as long as the table.

        Thread-safe: folds that train side by side share one result. A derived value must depend on
        the features only, never on the target.
        """
        with self._memo.lock_of(key):
            if key not in self._memo.values:
                self._memo.values[key] = build(self)
            value: Derived = self._memo.values[key]
            return value

    def matrix(self) -> npt.NDArray[np.float32]:
        """Return both blocks side by side, shape (n_samples, n_features), float32, C order.

        Levels are exact in float32 up to 16,777,216. Kept after the first call.
        """
        return self.derived("matrix", _as_matrix)

    @property
    def has_matrix(self) -> bool:
        """Whether `matrix` has been made."""
        return "matrix" in self._memo.values

    def with_numeric(
        self, block: npt.NDArray[np.floating[Any]], names: tuple[str, ...]
    ) -> FeatureTable:
        """Return a whole new table with more numeric features appended."""
        return FeatureTable(
            numeric=np.hstack([self.numeric, block.astype(np.float32, copy=False)]),
            codes=self.codes,
            numeric_names=self.numeric_names + names,
            code_names=self.code_names,
            n_levels=self.n_levels,
            raw=self.raw,
            raw_kinds=self.raw_kinds,
        )

    def of_numeric(self, kept: npt.NDArray[np.intp]) -> FeatureTable:
        """Return a whole new table with only the numeric features at ``kept``, in that order."""
        return FeatureTable(
            numeric=np.ascontiguousarray(self.numeric[:, kept]),
            codes=self.codes,
            numeric_names=tuple(self.numeric_names[i] for i in kept),
            code_names=self.code_names,
            n_levels=self.n_levels,
            raw=self.raw,
            raw_kinds=self.raw_kinds,
        )

    @classmethod
    def empty(cls, n_samples: int) -> FeatureTable:
        """Return a table of ``n_samples`` rows without features."""
        numeric = np.empty((n_samples, 0), dtype=np.float32)
        return cls(numeric, np.empty((n_samples, 0), dtype=np.int32))

    @classmethod
    def concatenate(cls, tables: Sequence[FeatureTable], n_samples: int) -> FeatureTable:
        """Return the features of several tables of the same rows side by side."""
        parts = [cls.empty(n_samples), *tables]
        return cls(
            numeric=np.ascontiguousarray(np.hstack([t.numeric for t in parts]), dtype=np.float32),
            codes=np.ascontiguousarray(np.hstack([t.codes for t in parts]), dtype=np.int32),
            numeric_names=tuple(name for t in parts for name in t.numeric_names),
            code_names=tuple(name for t in parts for name in t.code_names),
            n_levels=tuple(n for t in parts for n in t.n_levels),
            raw={name: values for t in parts for name, values in t.raw.items()},
            raw_kinds={name: kind for t in parts for name, kind in t.raw_kinds.items()},
        )


@dataclass(frozen=True)
class Samples:
    """What a model learns from: features, target and optional weights.

    Attributes
    ----------
    table : FeatureTable
    y : ndarray of shape (n_samples,)
        int64 class codes ``0 .. n_classes - 1`` for classification; float64 values on a scale of
        mean 0 and standard deviation 1 for regression.
    weight : ndarray of shape (n_samples,) or None
        Non-negative sample weights of mean 1.
    """

    table: FeatureTable
    y: npt.NDArray[Any]
    weight: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: npt.ArrayLike) -> Samples:
        """Return the given rows."""
        positions = np.asarray(rows, dtype=np.intp)
        weight = None if self.weight is None else self.weight[positions]
        return Samples(self.table.take(positions), self.y[positions], weight)

    def of_draw(self, draw: Draw) -> Samples:
        """Return the drawn rows as a whole table, which count as what they stand for."""
        table = self.table.take(draw.rows).cut_out()
        return Samples(table, self.y[draw.rows], draw.weigh(self.weight))


def _as_matrix(table: FeatureTable) -> npt.NDArray[np.float32]:
    root = table.root
    if table.rows is not None and (root.has_matrix or len(table) > _FEW_OF_ROOT * len(root)):
        return root.matrix()[table.rows]  # which the other folds find there
    if not table.codes.shape[1]:
        return np.ascontiguousarray(table.numeric)
    return np.hstack([table.numeric, table.codes.astype(np.float32)])
