"""Free text: what it says as a few dense directions, and how it is written."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.artifacts.state import State
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import FeatureTable
from tabular_automl.data.topics import topic_name, word_name
from tabular_automl.encoders.base import ColumnEncoder
from tabular_automl.encoders.ngrams import (
    Analyser,
    count_all,
    count_known,
    project_one,
    short_grams,
    weigh,
    word_grams,
    words_of,
)
from tabular_automl.encoders.numeric import informs
from tabular_automl.encoders.storage import Storage, distinct_cells, sample_of, storage_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MIN_WORDS = 3.0
LONG_WORDS = 10.0
MIN_DISTINCT = 20
MIN_DISTINCT_SHARE = 0.2
# Texts of a few words that hardly repeat: as categories they would all be rare.
FEW_WORDS = 1.5
HARDLY_REPEATED = 0.8
# Texts of fewer words on average are also read letter by letter: names, titles, products.
SHORT_WORDS = 8.0

FIT_TEXTS = 20_000
MAX_GRAMS = 10_000
MAX_COMPONENTS = 64
ROWS_PER_COMPONENT = 30
# Words of short texts ("Mrs", "deluxe", "pc") that are features of their own: at most so many, each
# in at least this many and this share of the rows that have a text, and absent from as many.
MAX_FEATURED_WORDS = 16
FEATURED_ROWS = 10
FEATURED_SHARE = 0.01
# Texts are read up to here: what comes later seldom changes what a text is about.
MAX_CHARS = 4000
_BLOCK = 5_000  # texts that are projected at a time
_ROWS_TO_COUNT = 100_000  # to see how often texts come back
_TEXTS_TO_COUNT = 2_000  # to see how long they are

_WORD = re.compile(r"\w+")
_MARKS = {
    "digits": re.compile(r"\d"),
    "capitals": re.compile(r"[A-ZÀ-ÖØ-Þ]"),
    "punctuation": re.compile(r"[^\w\s]"),
}
_STATISTICS = ("chars", "words", *_MARKS)
_ASCII = "".join(map(chr, range(128)))
_ASCII_MARKS = ["".join(mark.findall(_ASCII)).encode() for mark in _MARKS.values()]
_ASCII_WORDS_APART = re.sub(r"\W", " ", _ASCII).encode() + bytes(128)


class TextEncoder(ColumnEncoder):
    """Latent semantic analysis of word (and, in short texts, letter) n-grams, plus statistics.

    TF-IDF weighted counts of up to `MAX_GRAMS` n-grams are projected on their leading right
    singular vectors, found by a randomised decomposition [1]_ with a fixed seed on up to
    `FIT_TEXTS` texts. Statistics are the length in characters and words and the shares of digits,
    capitals and punctuation. The most frequent words of short texts are 0/1 features of their own,
    "<column>:'mrs'". A missing text is an empty one, with "<column>:missing" as in
    `NumericEncoder`.

    References
    ----------
    .. [1] Halko, Martinsson, Tropp (2011). Finding structure with randomness: probabilistic
       algorithms for constructing approximate matrix decompositions. SIAM Review 53(2).
    """

    kind: ClassVar[Kind] = Kind.TEXT
    priority: ClassVar[int] = -30
    keeps_raw: ClassVar[bool] = True

    def __init__(self, max_components: int = MAX_COMPONENTS) -> None:
        self.max_components = max_components
        self.is_short = False
        self.vocabulary: list[str] = []
        self.idf: npt.NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self.components: npt.NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)
        self.has_indicator = False
        self.words: list[str] = []
        self._index: dict[str, int] = {}
        self._gram_rows: npt.NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)

    @classmethod
    def claims(cls, sample: pd.Series) -> str | None:
        """Return why this is free text, or None."""
        if storage_of(sample) is not Storage.CELLS:
            return None
        codes, keys = distinct_cells(sample)
        keys = list(dict.fromkeys(keys))
        n_rows, n_distinct = len(codes), len(keys)
        if not n_distinct or n_distinct < min(MIN_DISTINCT, 0.8 * n_rows):
            return None
        n_words = float(np.mean([len(_WORD.findall(key)) for key in keys]))
        n_parts = float(np.mean([len(key.split()) for key in keys]))
        share = n_distinct / n_rows
        is_text = (
            n_words >= LONG_WORDS
            or (n_words >= MIN_WORDS and share >= MIN_DISTINCT_SHARE)
            or (n_parts >= FEW_WORDS and share >= HARDLY_REPEATED)
        )
        return f"text of {n_words:.1f} words on average" if is_text else None

    @classmethod
    def keeps_claim(cls, column: pd.Series) -> bool:
        """Return False for short texts that come back so often that they are categories.

        Among a few thousand of many rows, names that come back all the time hardly do.
        """
        sample = sample_of(column, _ROWS_TO_COUNT)
        keys = list(dict.fromkeys(distinct_cells(sample)[1]))
        n_words = float(np.mean([len(_WORD.findall(key)) for key in keys[:_TEXTS_TO_COUNT]]))
        return n_words >= LONG_WORDS or len(keys) >= MIN_DISTINCT_SHARE * len(sample)

    @property
    def _analyse(self) -> Analyser:
        return short_grams if self.is_short else word_grams

    def fit(self, column: pd.Series) -> Self:
        """Learn vocabulary, weights and directions."""
        self._fit(_texts_of(column))
        return self

    def fit_transform(self, column: pd.Series) -> FeatureTable:
        """Return the features of the training column, whose n-grams are counted once."""
        cells = _texts_of(column)
        weighted = self._fit(cells)
        return self.features(*cells, str(column.name), weighted)

    def transform(self, column: pd.Series) -> FeatureTable:
        """Return the projections, the statistics and the featured words."""
        return self.features(*_texts_of(column), str(column.name))

    def features(
        self,
        codes: npt.NDArray[np.int64],
        texts: list[str],
        name: str,
        weighted: csr_matrix | None = None,
    ) -> FeatureTable:
        """Return the features of rows whose text is ``texts[codes[i]]``, missing for a code of -1.

        ``weighted`` are the texts' weighted n-grams, where they have been counted already.
        """
        n_components, n_known = len(self.components), len(_STATISTICS) + len(self.words)
        # One row more than there are texts: the empty text, which code -1 picks.
        distinct = np.zeros((len(texts) + 1, n_components + n_known), dtype=np.float32)
        distinct[:-1, :n_components] = self._project(texts, weighted)
        at_words = n_components + len(_STATISTICS)
        distinct[:-1, n_components:at_words] = _statistics(texts)
        distinct[:-1, at_words:] = self._find_words(texts)
        blocks = [distinct[codes]]
        names = [topic_name(name, i) for i in range(n_components)]
        names += [f"{name}:{statistic}" for statistic in _STATISTICS]
        names += [word_name(name, word) for word in self.words]
        if self.has_indicator:
            blocks.append((codes < 0).astype(np.float32)[:, None])
            names.append(f"{name}:missing")
        empty = np.empty((len(codes), 0), dtype=np.int32)
        return FeatureTable(np.hstack(blocks), empty, tuple(names))

    @property
    def topics(self) -> range:
        """The projections."""
        return range(len(self.components))

    def forget_topics(self) -> None:
        """Keep the statistics and the featured words only."""
        self.vocabulary, self._index = [], {}
        self.idf = np.empty(0, dtype=np.float32)
        self.components = self._gram_rows = np.empty((0, 0), dtype=np.float32)

    def state(self) -> State:
        """Return vocabulary, words, weights and directions."""
        return State(
            meta={
                "is_short": self.is_short,
                "vocabulary": list(self.vocabulary),
                "words": list(self.words),
                "has_indicator": self.has_indicator,
            },
            arrays={"idf": self.idf, "components": self.components},
        )

    def restore(self, state: State) -> None:
        """Become the fitted encoder that `state` came from."""
        self.is_short = bool(state.meta["is_short"])
        self.vocabulary = [str(gram) for gram in state.meta["vocabulary"]]
        self.has_indicator = bool(state.meta["has_indicator"])
        self.words = [str(word) for word in state.meta.get("words", [])]
        n_grams = len(self.vocabulary)
        self.idf = state.array("idf", np.float32, (n_grams,))
        self.components = state.array("components", np.float32, (None, n_grams))
        self._index = {gram: i for i, gram in enumerate(self.vocabulary)}
        self._gram_rows = self._gram_rows[:0]

    def _fit(self, cells: tuple[npt.NDArray[np.int64], list[str]]) -> csr_matrix | None:
        """Learn; return the weighted n-grams of the distinct texts when all of them were read."""
        codes, texts = cells
        self.has_indicator = informs(int((codes < 0).sum()), len(codes))
        if not texts:
            return None
        read = _spread(len(texts), FIT_TEXTS)
        sample = [texts[i] for i in read]
        self.is_short = float(np.mean([len(_WORD.findall(t)) for t in sample])) < SHORT_WORDS
        counts, grams = count_all(sample, self._analyse)
        repeats = np.bincount(codes[codes >= 0], minlength=len(texts))[read]
        self.words = _common_words(sample, repeats) if self.is_short else []
        kept, n_texts = _frequent(counts, repeats, grams)
        self.vocabulary = [grams[i] for i in kept]
        self._index = {gram: i for i, gram in enumerate(self.vocabulary)}
        self._gram_rows = self._gram_rows[:0]
        # Smoothed, as if one more text held every gram.
        self.idf = (np.log((1 + repeats.sum()) / (1 + n_texts[kept])) + 1).astype(np.float32)
        weighted = weigh(counts[:, kept], self.idf)
        row_weight = np.sqrt(repeats).astype(np.float32)
        self.components = _directions(weighted, row_weight, self.max_components)
        return weighted if len(sample) == len(texts) else None

    def _project(
        self, texts: list[str], weighted: csr_matrix | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the texts on the learnt directions, shape (n_texts, n_components)."""
        if not len(self.components) or not texts:
            return np.zeros((len(texts), len(self.components)), dtype=np.float32)
        if weighted is None and len(texts) == 1:
            ways = self._analyse, self._index, self.idf, self._by_gram()
            return project_one(texts[0], *ways)[None]
        if weighted is not None:
            return np.asarray(weighted @ self.components.T, dtype=np.float32)
        out = np.empty((len(texts), len(self.components)), dtype=np.float32)
        for first in range(0, len(texts), _BLOCK):  # counts are many times larger than topics
            block = slice(first, first + _BLOCK)
            counts = count_known(texts[block], self._analyse, self._index)
            out[block] = weigh(counts, self.idf) @ self.components.T
        return out

    def _find_words(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Return 1 where a text has a featured word, else 0; shape (n_texts, n_words)."""
        found = np.zeros((len(texts), len(self.words)), dtype=np.float32)
        if self.words:
            for row, text in zip(found, texts, strict=True):
                present = set(words_of(text))
                row[:] = [word in present for word in self.words]
        return found

    def _by_gram(self) -> npt.NDArray[np.float32]:
        """Return the directions with a row for each gram, kept after the first call."""
        if len(self._gram_rows) != len(self.idf):
            self._gram_rows = np.ascontiguousarray(self.components.T)
        return self._gram_rows


def _texts_of(column: pd.Series) -> tuple[npt.NDArray[np.int64], list[str]]:
    codes, keys = distinct_cells(column)
    return codes, [key[:MAX_CHARS] for key in keys]


def _spread(n_texts: int, limit: int) -> npt.NDArray[np.intp]:
    """Return up to ``limit`` positions, spread evenly."""
    return np.linspace(0, n_texts - 1, min(n_texts, limit)).astype(np.intp)


def _frequent(
    counts: csr_matrix, repeats: npt.NDArray[np.int64], grams: list[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the grams in enough but not nearly all rows, and the number of rows of each gram.

    The most frequent ones are taken, ties by text, so that the order of rows does not matter.
    """
    n_rows = repeats.sum()
    row_of_entry = np.repeat(repeats, np.diff(counts.indptr))
    in_rows = np.bincount(counts.indices, row_of_entry, len(grams)).astype(np.float64)
    least = 1 if n_rows < 50 else 2 if n_rows < 2000 else 3
    useful = np.flatnonzero((in_rows >= least) & (in_rows <= max(1.0, 0.95 * n_rows)))
    ranked = sorted(useful.tolist(), key=lambda i: (-in_rows[i], grams[i]))
    return np.array(ranked[:MAX_GRAMS], dtype=np.int64), in_rows


def _common_words(texts: list[str], repeats: npt.NDArray[np.int64]) -> list[str]:
    """Return the words in many but not nearly all rows, the most frequent first, ties by text."""
    in_rows: Counter[str] = Counter()
    for text, repeat in zip(texts, repeats.tolist(), strict=True):
        for word in set(words_of(text)):
            in_rows[word] += repeat
    n_rows = int(repeats.sum())
    least = max(FEATURED_ROWS, FEATURED_SHARE * n_rows)
    ranked = sorted(in_rows.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, n in ranked if least <= n <= n_rows - least][:MAX_FEATURED_WORDS]


def _directions(
    weighted: csr_matrix, row_weight: npt.NDArray[np.float32], limit: int
) -> npt.NDArray[np.float32]:
    """Return the leading right singular vectors, shape (n_components, n_grams)."""
    n_texts, n_grams = weighted.shape
    wanted = max(4, n_texts // ROWS_PER_COMPONENT)
    n_components = min(limit, wanted, n_texts, n_grams)
    if n_components == 0:
        return np.empty((0, n_grams), dtype=np.float32)
    from scipy.sparse import diags
    from sklearn.utils.extmath import randomized_svd

    rows = diags(row_weight) @ weighted
    _, _, components = randomized_svd(rows, n_components, n_iter=3, random_state=0)
    return np.asarray(components, dtype=np.float32)


def _statistics(texts: list[str]) -> npt.NDArray[np.float32]:
    """Return length in characters and words, and shares of marks, shape (n_texts, 5)."""
    rows = []
    for text in texts:
        n_words, *n_marks = _words_and_marks(text)
        rows.append([len(text), n_words, *(count / len(text) for count in n_marks)])
    return np.array(rows, dtype=np.float32).reshape(len(texts), len(_STATISTICS))


def _words_and_marks(text: str) -> list[int]:
    """Return how many words a text has, and how many of each kind of mark."""
    if text.isascii():  # two to five times as quick, of short texts and of long ones
        raw = text.encode()
        n_words = len(raw.translate(_ASCII_WORDS_APART).split())
        return [n_words, *(len(raw) - len(raw.translate(None, marks)) for marks in _ASCII_MARKS)]
    return [len(_WORD.findall(text)), *(len(mark.findall(text)) for mark in _MARKS.values())]
