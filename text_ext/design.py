"""A table as a linear model reads it: hashed n-grams and levels, sparse, beside scaled numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.extend import FeatureTable, Kind
from text_ext.grams import N_BUCKETS, N_WORD_BUCKETS, choose_sizes, weigh_grams

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = npt.NDArray[np.float32]

WORD_WEIGHT = 1.5  # a text's words next to its characters
NUMBER_LENGTH = 2.0  # of a row of numbers, next to the length 1 of a block of n-grams
_FAR = 5.0  # standard deviations beyond which a number is only "far out"
_FEW = 32  # slots to an entry from which a search is quicker than a table of all slots
_MANY_ROWS = 10_000  # of which an n-gram must occur in 3, otherwise in 2


def texts_of(table: FeatureTable, column: str) -> list[str]:
    """Return a raw column as texts, a missing value as an empty one."""
    return [
        value if isinstance(value, str) else "" if _is_missing(value) else str(value)
        for value in table.raw[column].tolist()
    ]


def _is_missing(value: Any) -> bool:
    import pandas as pd

    if isinstance(value, (float, np.floating, Decimal)):
        return bool(value != value)
    return value is None or value is pd.NA or value is pd.NaT


@dataclass(frozen=True)
class Reading:
    """Which columns are read, and how: what rows of training and of prediction must share.

    Attributes
    ----------
    columns : tuple of str
        The text columns.
    sizes : tuple of tuple of int
        For each of them, how long the counted runs of characters are.
    n_levels : tuple of int
        Of the categorical features.
    """

    columns: tuple[str, ...]
    sizes: tuple[tuple[int, ...], ...]
    n_levels: tuple[int, ...]

    @classmethod
    def of(cls, table: FeatureTable) -> Reading:
        """Choose how to read a whole table."""
        columns = tuple(table.raw_of(Kind.TEXT))
        sizes = tuple(choose_sizes(texts_of(table, column)) for column in columns)
        return cls(columns, sizes, table.n_levels)

    def slots(self, table: FeatureTable) -> csr_matrix:
        """Return the weights of n-grams and levels, shape (n_samples, n_slots).

        Worked out once for a whole table, for all folds and all models that read alike.
        """
        if table.rows is not None:
            return table.root.derived(self, self._slots)[table.rows]
        return table.derived(self, self._slots)

    def _slots(self, table: FeatureTable) -> csr_matrix:
        from scipy.sparse import csr_matrix, hstack

        blocks = [
            weigh_grams(texts_of(table, column), sizes)
            for column, sizes in zip(self.columns, self.sizes, strict=True)
        ]
        n_rows, n_codes = table.codes.shape
        if n_codes:
            offsets = np.cumsum([0, *self.n_levels[:-1]])
            flat = (table.codes + offsets).ravel()
            ones = np.full(len(flat), n_codes**-0.5, dtype=np.float32)
            ends = np.arange(0, len(flat) + 1, n_codes)
            blocks.append(csr_matrix((ones, flat, ends), shape=(n_rows, sum(self.n_levels))))
        if not blocks:
            return csr_matrix((n_rows, 0), dtype=np.float32)
        return blocks[0] if len(blocks) == 1 else hstack(blocks, format="csr")


@dataclass(frozen=True)
class Numbers:
    """Centre and scale of a block of dense features, learned without the target.

    Attributes
    ----------
    center, scale : ndarray of shape (n_numeric,), float32
    limit : float
        The furthest from 0 that a scaled number may lie.
    """

    center: Floats
    scale: Floats
    limit: float

    @classmethod
    def of(cls, values: Floats, length: float) -> Numbers:
        """Learn scales that give rows about this Euclidean length."""
        present = ~np.isnan(values)
        n_present = np.maximum(present.sum(axis=0), 1)
        center = np.where(present, values, 0).sum(axis=0, dtype=np.float64) / n_present
        off = np.where(present, values - center, 0)
        spread = np.sqrt((off**2).sum(axis=0) / n_present)
        varies = spread > 1e-6 * np.abs(center)  # none does where both are 0
        unit = length / max(1, int(varies.sum())) ** 0.5
        scale = np.where(varies, unit / np.where(varies, spread, 1), 0)
        return cls(center.astype(np.float32), scale.astype(np.float32), _FAR * unit)

    def scaled(self, values: Floats) -> Floats:
        """Return centred and scaled values, those far out drawn in, a missing one as 0."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (values - self.center) * self.scale
        return np.nan_to_num(np.clip(scaled, -self.limit, self.limit)).astype(np.float32)


class Design:
    """The matrices that all folds of a bag are fitted on: `sparse` and `dense`, by row.

    Learned from the features alone. Rare n-grams are left out; the others are weighted by the
    inverse of the number of rows that have them [1]_.

    Attributes
    ----------
    reading : Reading
    kept : ndarray of int
        The slots that became columns.
    scale : ndarray of float32
        What a slot's weight is multiplied with in its column.
    numbers : tuple of Numbers
        One for each block of dense features.

    References
    ----------
    .. [1] Spärck Jones, "A statistical interpretation of term specificity and its application in
       retrieval", Journal of Documentation 28(1), 1972.
    """

    kept: npt.NDArray[np.intp]
    scale: Floats
    sparse: Any
    dense: Floats

    def __init__(self, reading: Reading, numbers: tuple[Numbers, ...]) -> None:
        self.reading = reading
        self.numbers = numbers

    @classmethod
    def of(
        cls,
        table: FeatureTable,
        reading: Reading,
        blocks: Sequence[tuple[Floats, float]],
        max_columns: int,
    ) -> Self:
        """Learn from a whole table.

        Parameters
        ----------
        table : FeatureTable
        reading : Reading
        blocks : sequence of (ndarray of shape (n_samples, n_features), float)
            Dense features, and the length to give their rows.
        max_columns : int
            Most sparse columns; the most frequent ones are kept.
        """
        design = cls(reading, tuple(Numbers.of(values, length) for values, length in blocks))
        slots = reading.slots(table)
        n_rows = np.bincount(slots.indices, minlength=slots.shape[1])
        design.kept = np.flatnonzero(n_rows >= _least_rows(len(table)))
        if len(design.kept) > max_columns:
            order = np.argsort(-n_rows[design.kept], kind="stable")
            design.kept = np.sort(design.kept[order[:max_columns]])
        rarity = (1 + np.log((1 + len(table)) / (1 + n_rows[design.kept]))).astype(np.float32)
        design.scale = design._balanced(slots, rarity)
        design.sparse = pick(slots, design.kept)
        design.sparse.data *= design.scale[design.sparse.indices]
        design.dense = scaled_blocks(design.numbers, [values for values, _ in blocks], len(table))
        return design

    def _balanced(self, slots: csr_matrix, rarity: Floats) -> Floats:
        """Return the scale of each column, blocks of the same mean length."""
        square = np.bincount(slots.indices, slots.data**2, slots.shape[1])[self.kept] * rarity**2
        edges, weights = [0], []
        for position in range(len(self.reading.columns)):
            first = position * N_BUCKETS
            edges += [first + N_WORD_BUCKETS, first + N_BUCKETS]
            weights += [WORD_WEIGHT, 1.0]
        edges.append(slots.shape[1])
        weights.append(1.0)
        block = np.searchsorted(edges, self.kept, side="right") - 1
        length = np.sqrt(np.bincount(block, square, len(weights)) / slots.shape[0])
        factor = np.array(weights) / np.maximum(length, 1e-6)
        scale: Floats = (rarity * factor[block]).astype(np.float32)
        return scale


def _least_rows(n_samples: int) -> int:
    return 3 if n_samples >= _MANY_ROWS else 2 if n_samples >= 100 else 1


def scaled_blocks(numbers: Sequence[Numbers], blocks: Sequence[Floats], n_samples: int) -> Floats:
    """Return the scaled blocks side by side, shape (n_samples, n_dense)."""
    parts = [each.scaled(values) for each, values in zip(numbers, blocks, strict=True)]
    return np.hstack([np.empty((n_samples, 0), dtype=np.float32), *parts])


def pick(slots: csr_matrix, kept: npt.NDArray[Any]) -> csr_matrix:
    """Return the kept columns, which are in ascending order."""
    from scipy.sparse import csr_matrix

    found, here = _places(slots, kept)
    ends = np.concatenate([[0], np.cumsum(here)])[slots.indptr]
    return csr_matrix((slots.data[here], found[here], ends), shape=(slots.shape[0], len(kept)))


def weigh(slots: csr_matrix, kept: npt.NDArray[Any], weights: Floats) -> Floats:
    """Return the kept columns' weighted sums, shape (n_samples, n_scores)."""
    if slots.shape[0] != 1:
        sums: Floats = pick(slots, kept) @ weights
        return sums
    found, here = _places(slots, kept)  # making a matrix would take longer than this sum
    one: Floats = slots.data[here] @ weights[found[here]]
    return one[np.newaxis]


def _places(slots: csr_matrix, kept: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return each entry's place among the kept columns, and whether it has one."""
    n_slots, n_kept = slots.shape[1], len(kept)
    if slots.nnz < n_slots // _FEW:
        found = np.minimum(np.searchsorted(kept, slots.indices), max(n_kept - 1, 0))
        return found, kept[found] == slots.indices if n_kept else np.zeros(slots.nnz, dtype=bool)
    place = np.full(n_slots, -1, dtype=np.int32)
    place[kept] = np.arange(n_kept, dtype=np.int32)
    found = place[slots.indices]
    return found, found >= 0
