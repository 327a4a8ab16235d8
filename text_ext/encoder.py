"""Texts in scripts without spaces between words, read letter by letter."""

from __future__ import annotations

import re
import zlib
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.extend import ColumnEncoder, FeatureTable, Kind, State

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

N_BUCKETS = 4096
MAX_COMPONENTS = 32
MAX_CHARS = 1000
_GRAM_SIZES = (1, 2, 3)
_ROWS_PER_COMPONENT = 10
_N_FIT = 20_000
_BLOCK = 2_000  # texts whose runs of letters are in memory at a time
_N_SAMPLED, _MIN_SHARE, _MIN_CHARS, _MIN_DISTINCT = 500, 0.5, 6.0, 20

# Thai, Lao, Myanmar, Khmer, kana, CJK ideographs with their extensions.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0002fa1f]"
)

Floats = npt.NDArray[np.float32]


class LetterEncoder(ColumnEncoder):
    """Latent semantic analysis of hashed letter n-grams, and the length of the text.

    Runs of one to three letters are hashed into buckets [1]_, weighted by TF-IDF and projected on
    their leading right singular vectors. It claims texts in Chinese, Japanese, Thai, Lao, Khmer and
    Burmese, which the built-in encoder, splitting at spaces, would see as single words.

    References
    ----------
    .. [1] Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.
    """

    kind: ClassVar[Kind] = Kind.TEXT
    keeps_raw: ClassVar[bool] = True

    def __init__(self) -> None:
        self.idf: Floats = np.zeros(N_BUCKETS, dtype=np.float32)
        self.components: Floats = np.zeros((0, N_BUCKETS), dtype=np.float32)

    @classmethod
    def claims(cls, sample: pd.Series) -> str | None:
        """Return why this is text without spaces, or None."""
        values = sample.iloc[:_N_SAMPLED].tolist()
        texts = [value.strip() for value in values if isinstance(value, str)]
        if len(texts) < max(len(values), 1) or len(set(texts)) < _MIN_DISTINCT:
            return None
        n_chars = sum(map(len, texts))
        n_unspaced = sum(len(_UNSPACED.findall(text)) for text in texts)
        if n_chars < _MIN_CHARS * len(texts) or n_unspaced < _MIN_SHARE * n_chars:
            return None
        return "text in a script without spaces between words"

    def fit(self, column: pd.Series) -> Self:
        """Learn the weights of the buckets and their leading directions."""
        from sklearn.utils.extmath import randomized_svd

        texts = _texts(column)
        step = -(-max(len(texts), 1) // _N_FIT)
        counts = _count(texts[::step])
        n_with = np.bincount(counts.indices, minlength=N_BUCKETS)
        self.idf = (np.log((1 + counts.shape[0]) / (1 + n_with)) + 1.0).astype(np.float32)
        n_components = min(MAX_COMPONENTS, counts.shape[0] // _ROWS_PER_COMPONENT)
        self.components = np.zeros((0, N_BUCKETS), dtype=np.float32)
        if n_components and counts.nnz:
            _, _, components = randomized_svd(
                _weigh(counts, self.idf), n_components, random_state=0
            )
            self.components = np.ascontiguousarray(components, dtype=np.float32)
        return self

    def transform(self, column: pd.Series) -> FeatureTable:
        """Return the text's place along each direction, and the logarithm of its length."""
        texts = _texts(column)
        lengths = np.log1p(np.array([len(text) for text in texts], dtype=np.float32))
        directions = np.empty((len(texts), len(self.components)), dtype=np.float32)
        for start in range(0, len(texts), _BLOCK):
            block = slice(start, start + _BLOCK)
            directions[block] = _weigh(_count(texts[block]), self.idf) @ self.components.T
        names = ("chars", *(f"letters {i}" for i in range(len(self.components))))
        return FeatureTable(
            np.column_stack([lengths, directions]).astype(np.float32),
            np.empty((len(texts), 0), dtype=np.int32),
            tuple(f"{column.name}:{name}" for name in names),
        )

    @property
    def topics(self) -> range:
        """The directions, behind the length."""
        return range(1, 1 + len(self.components))

    def forget_topics(self) -> None:
        """Keep the length only."""
        self.components = np.zeros((0, N_BUCKETS), dtype=np.float32)

    def state(self) -> State:
        """Return the weights and the directions."""
        return State(arrays={"idf": self.idf, "components": self.components})

    def restore(self, state: State) -> None:
        """Take the weights and the directions back."""
        self.idf = state.array("idf", np.float32, (N_BUCKETS,))
        self.components = state.array("components", np.float32, (None, N_BUCKETS))


def _texts(column: pd.Series) -> list[str]:
    """Return each value as text, a missing one as empty text."""
    missing = column.isna().to_numpy(dtype=bool)
    return [
        "" if missing[row] else str(value).strip()[:MAX_CHARS]
        for row, value in enumerate(column.tolist())
    ]


def _count(texts: Sequence[str]) -> csr_matrix:
    """Return how often each bucket's letters occur, shape (n_texts, N_BUCKETS)."""
    from scipy.sparse import csr_matrix

    data, indices = array("f"), array("i")  # lists would take ten times as much
    starts = [0]
    for text in texts:
        buckets = Counter(
            zlib.crc32(text[i : i + size].encode("utf-8", "replace")) % N_BUCKETS
            for size in _GRAM_SIZES
            for i in range(len(text) - size + 1)
        )
        indices.extend(buckets)
        data.extend(buckets.values())
        starts.append(len(indices))
    return csr_matrix(
        (np.asarray(data, dtype=np.float32), np.asarray(indices, dtype=np.int32), starts),
        shape=(len(texts), N_BUCKETS),
    )


def _weigh(counts: csr_matrix, idf: Floats) -> csr_matrix:
    """Return damped, weighted counts with rows of length 1."""
    from scipy.sparse import csr_matrix

    weights = (1.0 + np.log(counts.data)) * idf[counts.indices]
    lengths = np.maximum(_lengths(weights, counts.indptr), 1e-12)
    weights /= np.repeat(lengths, np.diff(counts.indptr))
    return csr_matrix((weights, counts.indices, counts.indptr), shape=counts.shape)


def _lengths(weights: Floats, starts: npt.NDArray[np.integer[Any]]) -> Floats:
    """Return the length of each row, the same whatever rows are beside it.

    Each is summed from its end, in which order the predictors saved so far have learned it.
    """
    lengths = np.zeros(len(starts) - 1, dtype=np.float32)
    filled = np.flatnonzero(np.diff(starts))[::-1]
    squares = np.square(weights[::-1])
    lengths[filled] = np.sqrt(np.add.reduceat(squares, len(weights) - starts[filled + 1]))
    return lengths
