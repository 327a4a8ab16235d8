"""Word and character n-grams of texts as sparse counts, weighted by TF-IDF."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_WORDS = 300
_WORD = re.compile(r"\w+(?:['\u2019]\w+)?")


def words_of(text: str) -> list[str]:
    """Return the first `MAX_WORDS` words of a text in lower case."""
    return _WORD.findall(text.lower())[:MAX_WORDS]


def word_grams(text: str) -> list[str]:
    """Return the words of a text in lower case, then its pairs of neighbours."""
    return _with_pairs(words_of(text))


def _with_pairs(words: list[str]) -> list[str]:
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def short_grams(text: str) -> list[str]:
    """Return the words and pairs of a short text, and the 2- and 3-grams within each word."""
    words = words_of(text)
    grams = _with_pairs(words)
    for word in words:
        padded = f"<{word}>"
        grams += [padded[i : i + 2] for i in range(len(padded) - 1)]
        grams += [padded[i : i + 3] for i in range(len(padded) - 2)]
    return grams


Analyser = Callable[[str], list[str]]


def count_all(texts: Sequence[str], analyse: Analyser) -> tuple[csr_matrix, list[str]]:
    """Return (counts, vocabulary) of all grams: sparse (n_texts, n_grams), and each gram's text."""
    index: dict[str, int] = {}
    rows = [[index.setdefault(gram, len(index)) for gram in analyse(text)] for text in texts]
    return _as_counts(rows, len(index)), list(index)


def count_known(texts: Sequence[str], analyse: Analyser, index: dict[str, int]) -> csr_matrix:
    """Return the counts of the grams in ``index``, sparse (n_texts, n_grams)."""
    rows = [[index[gram] for gram in analyse(text) if gram in index] for text in texts]
    return _as_counts(rows, len(index))


def weigh(counts: csr_matrix, idf: npt.NDArray[np.float32]) -> csr_matrix:
    """Return rows of ``(1 + log count) * idf`` of Euclidean length 1; empty rows stay empty."""
    weighted = counts.copy()
    weighted.sort_indices()  # sums in one order, so equal texts get equal features bit for bit
    weighted.data = (1 + np.log(weighted.data)) * idf[weighted.indices]
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    lengths[lengths == 0] = 1.0
    weighted.data /= np.repeat(lengths, np.diff(weighted.indptr)).astype(np.float32)
    return weighted


def project_one(
    text: str,
    analyse: Analyser,
    index: dict[str, int],
    idf: npt.NDArray[np.float32],
    directions: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Return one text's weighted counts on directions, to the last bit as through `weigh`.

    A sparse matrix of one row costs more than all that is done with it.

    Parameters
    ----------
    directions : ndarray of shape (n_grams, n_components), C order
    """
    found = [index[gram] for gram in analyse(text) if gram in index]
    if not found:
        return np.zeros(directions.shape[1], dtype=np.float32)
    grams, counts = np.unique(found, return_counts=True)
    weights = (1 + np.log(counts.astype(np.float32))) * idf[grams]
    length = np.sqrt(np.add.reduceat(weights * weights, [0])[0])  # as sparse matrices sum rows
    weights /= length if length else np.float32(1.0)
    projected: npt.NDArray[np.float32] = np.add.reduce(weights[:, None] * directions[grams], axis=0)
    return projected


def _as_counts(rows: list[list[int]], n_grams: int) -> Any:
    from scipy.sparse import csr_matrix

    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    indices = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(indptr[-1]))
    ones = np.ones(len(indices), dtype=np.float32)
    counts = csr_matrix((ones, indices, indptr), shape=(len(rows), n_grams))
    counts.sum_duplicates()
    return counts
