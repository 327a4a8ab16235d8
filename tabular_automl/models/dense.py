"""A dense, scaled matrix without missing values, for families that sum or compare features."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import NotFittedError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import Task
from tabular_automl.data.topics import names_word, topic_blocks

Matrix = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]

_SAMPLE_ROWS = 50_000  # quantiles of this many rows are as good as those of all
_MAX_CELLS = 250_000_000  # of the encoded training rows: 1 GB
_TARGET_FOLDS = 5
_TARGET_SMOOTHING = 10.0  # imagined rows at the base rate in each level
_MAX_TARGET_CLASSES = 16
_MAX_PIECES = 2_000  # of all numbers together
_MIN_COUNTS = 50  # columns of mostly zeros that make a bag of words
COUNT_LENGTH = 10.0  # of a row of word weights, so that one word weighs about as much as a number
FAR = 1e4  # beyond this many units a value is only "far out", and its square would overflow


class _BlasUse:
    """How many models compute with single-threaded matrix products at this moment."""

    lock = threading.Lock()
    n_users = 0
    limits: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep matrix products on the calling thread, for all threads of the process.

    Folds train side by side, each on its own threads, and products that start threads of their own
    would get in their way; their results would also depend, in the last bits, on how many there
    are. The limit belongs to the process, so the last one out lifts it.
    """
    from threadpoolctl import threadpool_limits

    with _BlasUse.lock:
        if not _BlasUse.n_users:
            _let_any_thread_limit()
            _BlasUse.limits = threadpool_limits(limits=1, user_api="blas")
        _BlasUse.n_users += 1
    try:
        yield
    finally:
        with _BlasUse.lock:
            _BlasUse.n_users -= 1
            if not _BlasUse.n_users:
                _let_any_thread_limit()
                _BlasUse.limits.restore_original_limits()
                _let_any_thread_limit()


def _let_any_thread_limit() -> None:
    """End the control of whichever thread came first, the only one threadpoolctl 3.8 listens to.

    A limit that it ignores would be that of another fold's thread, or the one never lifted again.
    """
    import threadpoolctl

    give_way = getattr(threadpoolctl.OpenBLASController, "clear_controlling_thread", None)
    if give_way is not None:
        give_way(force=True)


class DenseEncoder:
    """Learns, from the rows of a training fold, a float32 matrix of scaled features.

    A number is centred and scaled, and 0 when missing (the feature table already says that it was
    missing). A categorical feature becomes one column for each of the levels seen in training, one
    column of -1 and 1 when there are two of them, and 0 everywhere for a level never seen. Above
    ``one_hot_max_levels`` it becomes its levels' smoothed target averages [1]_. Where 50 or more
    numbers are counts, mostly zero, as of words, they are weighted by rarity and each row's counts
    scaled to one length [4]_.

    Parameters
    ----------
    one_hot_max_levels : int, default=32
        Most levels, among those seen, that get a column each. Lowered when the encoded training
        rows would take more than about 1 GB.
    target_encode : bool, default=True
        Whether features with more levels become target averages: one column, or one for each of
        the 16 most frequent classes. If not, their most frequent levels get a column each.
    clip : bool, default=True
        Whether numbers are scaled by median and quartiles and squashed smoothly into (-3, 3), as
        in RealMLP [2]_, instead of scaled to mean 0 and standard deviation 1.
    n_knots : int, default=0
        Pieces, with as many training rows in each, that a number is further split into: each piece
        adds a column that rises by 1 along it [3]_, which lets a linear model bend. Numbers of
        two values, missing ones not counted, are not split; wide tables get fewer pieces, those of
        more than 1,000 numbers none.
    topics_as_one : bool, default=False
        Whether the topics of a text column keep their sizes beside each other and together vary as
        much as one number, instead of being scaled one by one.

    References
    ----------
    .. [1] D. Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes in
       classification and prediction problems", SIGKDD Explorations 3(1), 2001.
    .. [2] D. Holzmüller et al., "Better by default: strong pre-tuned MLPs and boosted trees on
       tabular data", NeurIPS 2024.
    .. [3] Y. Gorishniy et al., "On embeddings for numerical features in tabular deep learning",
       NeurIPS 2022.
    .. [4] G. Salton, C. Buckley, "Term-weighting approaches in automatic text retrieval",
       Information Processing & Management 24(5), 1988.
    """

    def __init__(
        self,
        *,
        one_hot_max_levels: int = 32,
        target_encode: bool = True,
        clip: bool = True,
        n_knots: int = 0,
        topics_as_one: bool = False,
    ) -> None:
        self.one_hot_max_levels = one_hot_max_levels
        self.target_encode = target_encode
        self.clip = clip
        self.n_knots = n_knots
        self.topics_as_one = topics_as_one
        self.tables: list[Matrix] | None = None
        self._encoded: dict[int, Matrix] = {}

    def fit(self, train: Samples, task: Task, seed: int) -> Self:
        """Learn the scales and the levels; ``seed`` draws the rows that quantiles are taken of."""
        rng = np.random.default_rng(seed)
        self._fit_numbers(train.table.numeric, rng)
        if self.topics_as_one:
            self._join_topics(train.table.numeric_names)
        self._fit_counts(train.table)
        self._fit_levels(train, task, rng)
        return self

    def fit_transform(self, train: Samples, task: Task, seed: int) -> Matrix:
        """Fit, and return the training rows as a model should see them.

        Target averages of a row are taken over the rows of the other folds of a 5-fold split, so
        that no row sees its own target. Everything else equals `transform`.

        Returns
        -------
        matrix : ndarray of shape (n_samples, width), float32
        """
        self.fit(train, task, seed)
        matrix = self.transform(train.table)
        if self._encoded and len(train):
            fold = np.random.default_rng(seed).permutation(len(train)) % _TARGET_FOLDS
            target = _target_columns(train, task)
            for column, scale in self._encoded.items():
                codes = train.table.codes[:, column]
                n_levels = train.table.n_levels[column]
                averages = _averages_out_of_fold(codes, n_levels, target, train.weight, fold)
                matrix[:, self._span(column)] = averages * scale
        return matrix

    def transform(self, table: FeatureTable) -> Matrix:
        """Return the matrix of shape (n_samples, width), float32; 0 rows and 1 row included."""
        if self.tables is None:
            raise NotFittedError("DenseEncoder must be fitted before transform; call fit first.")
        matrix = np.empty((len(table), self.width), dtype=np.float32)
        n_numeric, first_level = len(self.center), self._starts[0]
        if n_numeric:
            matrix[:, :n_numeric] = self._scaled(table.numeric)
        if len(self.count_column):
            matrix[:, self.count_column] = self._word_weights(table.numeric)
        if first_level > n_numeric:
            matrix[:, n_numeric:first_level] = self._pieces(table.numeric)
        codes = table.codes
        for column, levels in enumerate(self.tables):
            start, stop = self._starts[column], self._starts[column + 1]
            if stop > start:
                matrix[:, start:stop] = levels[codes[:, column]]
        return matrix

    @property
    def width(self) -> int:
        """Number of columns of the matrix."""
        return self._starts[-1]

    @property
    def n_numeric(self) -> int:
        """Number of numeric features that it reads: the first columns of the matrix."""
        return len(self.center)

    def state(self) -> State:
        """Return the scales and one table, of shape (n_levels, width), for each category."""
        tables = self.tables or []
        flat = [levels.ravel() for levels in tables]
        return State(
            meta={"clip": self.clip, "shapes": [list(levels.shape) for levels in tables]},
            arrays={
                "center": self.center,
                "scale": self.scale,
                "count_column": self.count_column,
                "rarity": self.rarity,
                "piece_column": self.piece_column,
                "piece_low": self.piece_low,
                "piece_slope": self.piece_slope,
                "tables": np.concatenate([np.empty(0, np.float32), *flat]),
            },
        )

    def restore(self, state: State) -> None:
        """Become the fitted encoder that ``state`` came from.

        Raises
        ------
        ArtifactError
            When the arrays do not fit together.
        """
        self.clip = bool(state.meta["clip"])
        self.center = state.array("center", np.float32, (None,))
        self.scale = state.array("scale", np.float32, self.center.shape)
        n_numeric = self.n_numeric
        self.count_column = state.array("count_column", np.intp, (None,), least=0, below=n_numeric)
        self.rarity = state.array("rarity", np.float32, self.count_column.shape)
        self.piece_column = state.array("piece_column", np.intp, (None,), least=0, below=n_numeric)
        self.piece_low = state.array("piece_low", np.float32, self.piece_column.shape)
        self.piece_slope = state.array("piece_slope", np.float32, self.piece_column.shape)
        self._encoded = {}
        self._place(_read_tables(state))

    def _place(self, tables: list[Matrix]) -> None:
        """Keep the levels' tables and work out which columns each feature fills."""
        self.tables = tables
        widths = [
            len(self.center) + len(self.piece_column),
            *(levels.shape[1] for levels in tables),
        ]
        self._starts: list[int] = np.cumsum(widths).tolist()

    def _span(self, column: int) -> slice:
        return slice(self._starts[column], self._starts[column + 1])

    def _fit_numbers(self, numeric: Matrix, rng: np.random.Generator) -> None:
        pieces = n_pieces(self.n_knots, numeric.shape[1])
        if self.clip or pieces:
            ordered, n_present = _sorted_sample(numeric, rng)
        self.center, self.scale = (
            _robust_scales(ordered, n_present) if self.clip else _moments(numeric)
        )
        edges = np.empty((0, numeric.shape[1]))
        if pieces:
            fractions = np.linspace(0, 1, pieces + 1)
            edges = np.stack([_quantile(ordered, n_present, each) for each in fractions])
        self._place_pieces(edges.astype(np.float32))

    def _join_topics(self, names: Sequence[str]) -> None:
        """Scale all topics of a column alike, so that their summed squared spreads are 1."""
        for block in topic_blocks(names):
            varying = np.array([i for i in block if self.scale[i] > 0], dtype=np.intp)
            spread = 1.0 / self.scale[varying].astype(np.float64)
            self.scale[varying] = _inverse(np.sqrt(np.sum(spread**2, keepdims=True)))

    def _place_pieces(self, edges: Matrix) -> None:
        """Keep the pieces that have a length, of the columns that have more than one."""
        with np.errstate(divide="ignore", over="ignore"):
            slopes = 1 / np.diff(edges, axis=0)
        real = np.isfinite(slopes) & (slopes > 0)
        real &= real.sum(axis=0) > 1
        piece, column = np.nonzero(real)
        self.piece_column = column
        self.piece_low = edges[piece, column]
        self.piece_slope = slopes[piece, column]

    def _scaled(self, numeric: Matrix) -> Matrix:
        scaled = (numeric - self.center) * self.scale
        np.clip(scaled, -FAR, FAR, out=scaled)
        if self.clip:
            scaled /= np.sqrt(1.0 + (scaled * np.float32(1 / 3)) ** 2)
        scaled[np.isnan(scaled)] = 0.0
        return scaled

    def _fit_counts(self, table: FeatureTable) -> None:
        numeric = table.numeric
        # Frequent words of short texts are flags like any other, not a bag of words.
        candidates = [i for i, name in enumerate(table.numeric_names) if not names_word(name)]
        self.count_column = _count_columns(numeric, np.array(candidates, dtype=np.intp))
        n_rows = np.count_nonzero(numeric[:, self.count_column], axis=0)
        self.rarity = (1 + np.log((1 + len(numeric)) / (1 + n_rows))).astype(np.float32)

    def _word_weights(self, numeric: Matrix) -> Matrix:
        weights = np.nan_to_num(numeric[:, self.count_column]) * self.rarity
        length = np.sqrt(np.einsum("ij,ij->i", weights, weights))[:, None]
        scaled: Matrix = weights * (np.float32(COUNT_LENGTH) / np.maximum(length, 1e-6))
        return scaled

    def _pieces(self, numeric: Matrix) -> Matrix:
        """Return how far each number has come along each piece: -0.5 before it, 0.5 behind it."""
        risen = numeric[:, self.piece_column]
        risen -= self.piece_low
        with np.errstate(over="ignore"):  # an infinity is clipped like any number far behind
            risen *= self.piece_slope
        np.clip(risen, 0.0, 1.0, out=risen)
        risen -= np.float32(0.5)
        risen[np.isnan(risen)] = 0.0
        return risen

    def _fit_levels(self, train: Samples, task: Task, rng: np.random.Generator) -> None:
        table = train.table
        counts = [
            np.bincount(table.codes[:, column], minlength=n_levels)
            for column, n_levels in enumerate(table.n_levels)
        ]
        limit = self._affordable_levels(counts, len(train))
        target = _target_columns(train, task)
        self._encoded = {}
        tables = []
        for column, count in enumerate(counts):
            n_seen = np.count_nonzero(count)
            if n_seen > max(2, limit) and self.target_encode:
                averages = _averages(table.codes[:, column], len(count), target, train.weight)
                scale = _inverse_spread(averages, count)
                self._encoded[column] = scale
                tables.append(averages.astype(np.float32) * scale)
            else:
                tables.append(_one_hot(count, limit))
        self._place(tables)

    def _affordable_levels(self, counts: list[npt.NDArray[np.intp]], n_rows: int) -> int:
        """Return the most columns for a feature that keep the training matrix small enough."""
        n_seen = np.array([np.count_nonzero(count) for count in counts])
        limit = self.one_hot_max_levels
        while limit > 2 and np.minimum(n_seen, limit).sum() * n_rows > _MAX_CELLS:
            limit //= 2
        return limit


def n_pieces(n_knots: int, n_numbers: int) -> int:
    """Return the pieces of each of so many numbers; none where they would be too many together."""
    most = min(n_knots, _MAX_PIECES // max(1, n_numbers))
    return most if most >= 2 else 0


def _read_tables(state: State) -> list[Matrix]:
    """Return the tables of levels, which are saved as one array."""
    shapes = [(int(n_levels), int(width)) for n_levels, width in state.meta["shapes"]]
    positive = all(n_levels >= 0 and width >= 0 for n_levels, width in shapes)
    state.require(positive, "shapes", "be shapes of tables")
    sizes = [n_levels * width for n_levels, width in shapes]
    flat = state.array("tables", np.float32, (sum(sizes),))
    parts = np.split(flat, np.cumsum(sizes, dtype=int))[:-1]
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _sorted_sample(
    numeric: Matrix, rng: np.random.Generator
) -> tuple[Matrix, npt.NDArray[np.intp]]:
    """Return columns in ascending order, missing values last, and how many are present."""
    if len(numeric) > _SAMPLE_ROWS:
        numeric = numeric[rng.choice(len(numeric), _SAMPLE_ROWS, replace=False)]
    ordered = np.sort(numeric, axis=0)
    return ordered, np.count_nonzero(~np.isnan(ordered), axis=0)


def _count_columns(numeric: Matrix, columns: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return those columns that hold whole numbers of which at most a fifth are not 0."""
    # Few rows tell of most columns that they are no counts; the others are looked at in full.
    for rows in (numeric[:1000], numeric):
        if len(columns) < _MIN_COUNTS:
            return columns[:0]
        block = rows[:, columns]
        rare = np.count_nonzero(block, axis=0) <= 0.2 * len(block)
        columns = columns[rare & (block >= 0).all(axis=0) & (block == np.floor(block)).all(axis=0)]
    return columns if len(columns) >= _MIN_COUNTS else columns[:0]


def _quantile(ordered: Matrix, n_present: npt.NDArray[np.intp], fraction: float) -> Reals:
    """Return the quantile of each column; 0 for a column without values."""
    if not len(ordered):
        return np.zeros(ordered.shape[1])
    position = fraction * np.maximum(n_present - 1, 0)
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(n_present - 1, 0))
    columns = np.arange(ordered.shape[1])
    low, high = ordered[below, columns].astype(float), ordered[above, columns].astype(float)
    return np.where(n_present > 0, low + (position - below) * (high - low), 0.0)


def _robust_scales(ordered: Matrix, n_present: npt.NDArray[np.intp]) -> tuple[Matrix, Matrix]:
    """Return medians and inverse quartile distances; half the range where that distance is 0."""
    median = _quantile(ordered, n_present, 0.5)
    spread = _quantile(ordered, n_present, 0.75) - _quantile(ordered, n_present, 0.25)
    extent = _quantile(ordered, n_present, 1.0) - _quantile(ordered, n_present, 0.0)
    spread = np.where(spread > 0, spread, extent / 2)
    return median.astype(np.float32), _inverse(spread)


def _moments(numeric: Matrix) -> tuple[Matrix, Matrix]:
    """Return means and inverse standard deviations over the values present."""
    present = ~np.isnan(numeric)
    n_present = np.maximum(present.sum(axis=0), 1)
    mean = numeric.sum(axis=0, dtype=np.float64, where=present) / n_present
    centred = numeric - mean.astype(np.float32)
    square = np.sum(centred.astype(np.float64) ** 2, axis=0, where=present)
    return mean.astype(np.float32), _inverse(np.sqrt(square / n_present))


def _inverse(spread: Reals) -> Matrix:
    """Return 1 / spread, and 0 for a constant."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(spread > 0, 1.0 / spread, 0.0).astype(np.float32)
    return np.where(np.isfinite(inverse), inverse, np.float32(0.0))


def _one_hot(count: npt.NDArray[np.intp], limit: int) -> Matrix:
    """Return a table that gives each of the most frequent levels its own column."""
    seen = np.flatnonzero(count)
    if len(seen) == 2:
        levels = np.zeros((len(count), 1), dtype=np.float32)
        levels[seen, 0] = (-1.0, 1.0)
        return levels
    if len(seen) > limit:
        seen = np.sort(np.argsort(-count, kind="stable")[:limit])
    if len(seen) == 1:
        seen = seen[:0]
    levels = np.zeros((len(count), len(seen)), dtype=np.float32)
    levels[seen, np.arange(len(seen))] = 1.0
    return levels


def _target_columns(train: Samples, task: Task) -> Reals:
    """Return what is averaged, shape (n_samples, n_columns): the target, or class membership."""
    if not task.is_classification:
        return np.asarray(train.y, dtype=np.float64)[:, None]
    if task.n_classes == 2:
        return (train.y == 1).astype(np.float64)[:, None]
    frequency = np.bincount(train.y, minlength=task.n_classes)
    classes = np.sort(np.argsort(-frequency, kind="stable")[:_MAX_TARGET_CLASSES])
    return (train.y[:, None] == classes).astype(np.float64)


def _level_sums(
    keys: npt.NDArray[Any], n_keys: int, target: Reals, weight: Reals | None
) -> tuple[Reals, Reals]:
    """Return summed weights, shape (n_keys, 1), and weighted targets, shape (n_keys, n_columns)."""
    mass = np.bincount(keys, weights=weight, minlength=n_keys).astype(np.float64)
    weighted = target if weight is None else target * weight[:, None]
    sums = [np.bincount(keys, weights=column, minlength=n_keys) for column in weighted.T]
    return mass[:, None], np.stack(sums, axis=1)


def _smoothed(sums: Reals, mass: Reals) -> Reals:
    """Return each level's average, pulled to the overall one, which is subtracted."""
    base = sums.sum(axis=0) / np.maximum(mass.sum(axis=0), 1e-12)
    return (sums - mass * base) / (mass + _TARGET_SMOOTHING)


def _averages(
    codes: npt.NDArray[np.int32], n_levels: int, target: Reals, weight: Reals | None
) -> Reals:
    mass, sums = _level_sums(codes, n_levels, target, weight)
    return _smoothed(sums, mass)


def _averages_out_of_fold(
    codes: npt.NDArray[np.int32],
    n_levels: int,
    target: Reals,
    weight: Reals | None,
    fold: npt.NDArray[np.intp],
) -> Matrix:
    """Return, for each row, its level's average over the rows of the other folds."""
    keys = fold * n_levels + codes
    mass, sums = _level_sums(keys, n_levels * _TARGET_FOLDS, target, weight)
    mass = mass.reshape(_TARGET_FOLDS, n_levels, -1)
    sums = sums.reshape(_TARGET_FOLDS, n_levels, -1)
    others = [
        _smoothed(sums.sum(axis=0) - sums[held], mass.sum(axis=0) - mass[held])
        for held in range(_TARGET_FOLDS)
    ]
    return np.concatenate(others)[keys].astype(np.float32)


def _inverse_spread(averages: Reals, count: npt.NDArray[np.intp]) -> Matrix:
    """Return what scales the training rows' averages to standard deviation 1, by column."""
    share = count / max(1, count.sum())
    mean = share @ averages
    return _inverse(np.sqrt(share @ (averages - mean) ** 2))
