"""The tokens of a column of texts, and batches of texts of about one length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_WHOLE = 0.97  # share of the texts that are read to their end
_JITTER = 0.1  # of a text's length: batches of an epoch are not those of the epoch before


@dataclass(frozen=True)
class Tokens:
    """Texts as rows of different lengths, all tokens in one array.

    Attributes
    ----------
    flat : ndarray of int32
        The tokens of all texts.
    starts, lengths : ndarray of shape (n_texts,), int64
        Where each text's tokens begin, and how many there are.
    blank : int
        The token that fills shorter rows up.
    """

    flat: npt.NDArray[np.int32]
    starts: Integers
    lengths: Integers
    blank: int

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]], blank: int) -> Self:
        """Put rows of tokens one behind the other."""
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        flat = np.fromiter((token for row in ids for token in row), np.int32, int(lengths.sum()))
        return cls(flat, np.cumsum(lengths) - lengths, lengths, blank)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: npt.NDArray[np.intp]) -> Tokens:
        """Return some of the texts; their tokens are not copied."""
        return Tokens(self.flat, self.starts[rows], self.lengths[rows], self.blank)

    def padded(
        self, rows: npt.NDArray[np.intp], max_tokens: int
    ) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """Return tokens and which of them are there, each of shape (n_rows, longest).

        Of a text that is cut the last token stays: it is the encoder's mark of the end.
        """
        lengths = np.minimum(self.lengths[rows], max_tokens)
        ids = np.full((len(rows), int(lengths.max(initial=0))), self.blank, dtype=np.int64)
        for i, (row, n) in enumerate(zip(rows.tolist(), lengths.tolist(), strict=True)):
            start, length = int(self.starts[row]), int(self.lengths[row])
            ids[i, :n] = self.flat[start : start + n]
            if n < length:
                ids[i, n - 1] = self.flat[start + length - 1]
        return ids, np.arange(ids.shape[1]) < lengths[:, None]


def row_lengths(columns: Sequence[Tokens], n_rows: int, max_tokens: int) -> Integers:
    """Return how many tokens of each row are read, all its texts together."""
    total = np.zeros(n_rows, dtype=np.int64)
    for tokens in columns:
        total += np.minimum(tokens.lengths, max_tokens)
    return total


def in_batches(
    lengths: Integers, batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[npt.NDArray[np.intp]]:
    """Yield all rows once, in batches of about one length, so that little is padded.

    With ``rng`` the batches differ each time and come in any order; without, the short ones first.
    """
    keys = lengths.astype(np.float64)
    if rng is not None:
        keys = keys * rng.uniform(1 - _JITTER, 1 + _JITTER, len(keys)) + rng.random(len(keys))
    order = np.argsort(keys, kind="stable")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    turns = range(len(batches)) if rng is None else rng.permutation(len(batches)).tolist()
    for turn in turns:
        yield batches[turn]


def reading_length(columns: Sequence[Tokens], max_tokens: int) -> int:
    """Return at how many tokens to cut texts: few are longer, and ``max_tokens`` is the most."""
    lengths = np.concatenate([tokens.lengths for tokens in columns])
    present = lengths[lengths > 0]
    if not len(present):
        return max_tokens
    enough = 8 * int(np.ceil(np.quantile(present, _WHOLE) / 8))
    return min(max_tokens, enough)
