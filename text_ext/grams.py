"""Word and character n-grams of texts, hashed without a loop over characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Texts are read up to here: what comes later seldom changes what a text is about.
MAX_CHARS = 4000
N_WORD_BUCKETS = 2**18
N_CHAR_BUCKETS = 2**18
N_BUCKETS = N_WORD_BUCKETS + N_CHAR_BUCKETS

# Runs of characters to count in texts that are short, long, or written without blanks: in long
# texts most runs say what the words say already, and each of them costs time.
SHORT_SIZES, LONG_SIZES, UNSPACED_SIZES = (1, 2, 3, 4, 5), (4,), (1, 2, 3)
_LONG_CHARS = 200.0
_UNSPACED_CHARS = 15.0  # in a word, on average

_CHUNK_CHARS = 400_000  # read at a time, so that what is hashed stays in the processor's cache
_BASE = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))
_SPREAD = np.uint64(0xD6E8FEB86659FD93)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_PAIR = np.uint64(0xC2B2AE3D27D4EB4F)

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]


def choose_sizes(texts: Sequence[str]) -> tuple[int, ...]:
    """Return how long the counted runs of characters should be."""
    step = max(1, len(texts) // 1000)
    sample = [text[:MAX_CHARS] for text in texts[::step] if text]
    n_chars = sum(map(len, sample))
    if n_chars > _UNSPACED_CHARS * sum(len(text.split()) for text in sample):
        return UNSPACED_SIZES
    return SHORT_SIZES if n_chars <= _LONG_CHARS * len(sample) else LONG_SIZES


def weigh_grams(texts: Sequence[str], sizes: tuple[int, ...]) -> csr_matrix:
    """Return the n-grams of each text as weights, shape (n_texts, N_BUCKETS), float32.

    A bucket's weight is 1 plus the logarithm of its count; the weights of words have a length of 1
    in each row, and so have those of characters.
    """
    counts = count_grams(texts, sizes)
    counts.data = 1 + np.log(counts.data)
    is_word = counts.indices < N_WORD_BUCKETS
    row = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
    for block in (is_word, ~is_word):
        length = np.sqrt(np.bincount(row[block], counts.data[block] ** 2, len(texts)))
        counts.data[block] /= length.astype(np.float32)[row[block]]
    return counts


def count_grams(texts: Sequence[str], sizes: tuple[int, ...]) -> csr_matrix:
    """Return how often each bucket's n-grams occur, shape (n_texts, N_BUCKETS), float32.

    Words and pairs of neighbouring words fall into the first `N_WORD_BUCKETS` buckets; runs of
    characters of the given sizes, blanks included, into the others [1]_. Every run's hash is a
    difference of two sums over the characters before it [2]_, so that all of them cost a few array
    operations.

    References
    ----------
    .. [1] Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.
    .. [2] Karp, Rabin, "Efficient randomized pattern-matching algorithms", IBM Journal of Research
       and Development 31(2), 1987.
    """
    from scipy.sparse import csr_matrix, vstack

    parts = [_count(chunk, sizes) for chunk in _chunks([_normal(text) for text in texts])]
    if not parts:
        return csr_matrix((0, N_BUCKETS), dtype=np.float32)
    return parts[0] if len(parts) == 1 else vstack(parts, format="csr")


def _normal(text: str) -> str:
    """Return the text in lower case, one blank around each word."""
    return f" {' '.join(text[:MAX_CHARS].lower().split())} "


def _chunks(texts: list[str]) -> Iterator[list[str]]:
    """Yield the texts in runs of some hundred thousand characters."""
    first, n_chars = 0, 0
    for position, text in enumerate(texts):
        n_chars += len(text)
        if n_chars >= _CHUNK_CHARS:
            yield texts[first : position + 1]
            first, n_chars = position + 1, 0
    if first < len(texts):
        yield texts[first:]


def _count(texts: list[str], sizes: tuple[int, ...]) -> Any:
    from scipy.sparse import csr_matrix

    n_chars = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    row = np.repeat(np.arange(len(texts)), n_chars)
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    chars = np.frombuffer(joined, dtype="<u4")
    runs = _Runs(chars)
    rows, buckets = _chars(runs, row, sizes)
    for word_rows, word_buckets in _words(runs, row, chars):
        rows.append(word_rows)
        buckets.append(word_buckets)
    flat_rows, flat = np.concatenate(rows), np.concatenate(buckets)
    order = np.argsort(flat_rows, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(flat_rows, minlength=len(texts)))])
    counts = csr_matrix(
        (np.ones(len(flat), dtype=np.float32), flat[order].astype(np.int32), starts),
        shape=(len(texts), N_BUCKETS),
    )
    counts.sum_duplicates()
    return counts


class _Runs:
    """Hashes of any run of a sequence of characters, each the difference of two sums."""

    def __init__(self, chars: npt.NDArray[np.uint32]) -> None:
        n_chars = len(chars)
        powers = np.cumprod(np.full(n_chars, _BASE))
        self._undo = np.cumprod(np.full(n_chars, _INVERSE))
        spread = (chars.astype(np.uint64) + np.uint64(1)) * _SPREAD
        spread ^= spread >> np.uint64(29)
        self._sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(spread * powers)])

    def hashes(self, starts: Any, stops: Any) -> Hashes:
        """Return the hash of each run ``start .. stop - 1``."""
        return _mixed((self._sums[stops] - self._sums[starts]) * self._undo[starts])


def _mixed(hashes: Hashes) -> Hashes:
    """Spread every bit over the upper ones, which the buckets are taken from."""
    hashes = (hashes ^ (hashes >> np.uint64(33))) * _MIX
    return (hashes ^ (hashes >> np.uint64(33))) * _SPREAD


def _bucket(hashes: Hashes, n_buckets: int) -> Ints:
    return (hashes >> np.uint64(64 - n_buckets.bit_length() + 1)).astype(np.int64)


def _chars(runs: _Runs, row: Ints, sizes: tuple[int, ...]) -> tuple[list[Ints], list[Ints]]:
    """Return rows and buckets of the runs of characters that stay within one text."""
    rows, buckets = [], []
    for size in sizes:
        n_runs = max(0, len(row) - size + 1)
        starts = np.flatnonzero(row[:n_runs] == row[size - 1 :][:n_runs])
        rows.append(row[starts])
        hashes = runs.hashes(starts, starts + size)
        buckets.append(N_WORD_BUCKETS + _bucket(hashes, N_CHAR_BUCKETS))
    return rows, buckets


def _words(runs: _Runs, row: Ints, chars: npt.NDArray[np.uint32]) -> Iterator[tuple[Ints, Ints]]:
    """Yield rows and buckets of the words, then of the pairs of neighbours."""
    known, place = np.unique(chars, return_inverse=True)
    in_word = np.array([chr(char).isalnum() or chr(char) in "_'\u2019" for char in known.tolist()])
    inside = np.concatenate([[False], in_word[place], [False]]).astype(np.int8)
    steps = np.diff(inside)
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    words = runs.hashes(starts, stops)
    rows = row[starts]
    yield rows, _bucket(words, N_WORD_BUCKETS)
    near = np.flatnonzero(rows[1:] == rows[:-1])
    pairs = _mixed(words[near] * _PAIR + words[near + 1])
    yield rows[near], _bucket(pairs, N_WORD_BUCKETS)
