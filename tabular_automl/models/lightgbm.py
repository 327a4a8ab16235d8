"""LightGBM: histogram-based gradient boosting, leaf by leaf."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core import params as core_params
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError
from tabular_automl.core.links import sigmoid, softmax
from tabular_automl.core.parallel import in_own_thread
from tabular_automl.core.params import param
from tabular_automl.core.quantiles import kind_of_loss
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import Task
from tabular_automl.models.base import Model, Prediction
from tabular_automl.models.boosting import (
    Outputs,
    Progress,
    check_can_boost,
    default_learning_rate,
    quickest_threads,
    rounds_at_most,
    rounds_times_rate,
)
from tabular_automl.models.pairs import Pairs, bytes_of_extended
from tabular_automl.models.rows_in_time import ENOUGH_ROUNDS, Timing, rows_in_time
from tabular_automl.models.stored_trees import (
    ReadBack,
    Stored,
    all_paths_end,
    require_walkable,
    unreadable,
)

if TYPE_CHECKING:
    import lightgbm

_BLOB = "booster.txt"
_END_OF_TREES = b"end of trees"
_PARAMETERS = b"\nparameters:"
_PART_BYTES = 700_000  # of the text, written at a time
_SIZES = re.compile(rb"\ntree_sizes=[^\n]*")
# Lines of a tree about how it was grown.
_UNREAD = re.compile(
    rb"^(?:split_gain|leaf_weight|leaf_count|internal_(?:value|weight|count))=[^\n]*\n",
    re.MULTILINE,
)
_OBJECTIVES = {
    "log_loss": "multiclass",
    "squared_error": "regression",
    "absolute_error": "regression_l1",
    "quantile": "quantile",
}
_METRICS = {
    "multiclass": "multi_logloss",
    "binary": "binary_logloss",
    "regression": "l2",
    "regression_l1": "l1",
    "quantile": "quantile",
}
# Rounds in a row that may find no split, since each sees other features, before boosting ends.
_MAX_IDLE_ROUNDS = 20
# Below this many rows, waking more threads costs more than they save.
_ONE_THREAD_ROWS = 512
# Rows for each thread from which they pass few trees at a time; leaves that stay in a core's cache
# meanwhile, trees below which a call is not worth it, and features that it copies in the time in
# which a row passes a tree.
_ROWS_A_THREAD = 256
_LEAVES_IN_CACHE, _FEWEST_TREES, _FEATURES_IN_TIME_OF_TREE = 768, 12, 4
# Training rows from which every tree sees all of them: a part helps against noise on small tables,
# and slows learning on large ones.
_ALL_ROWS_FROM, _PART_OF_FEWER = 10_000, 0.9


class LightGBM(Model):
    """Gradient-boosted trees grown leaf by leaf on histograms.

    Bins are made once for the whole table and shared by all folds; folds are cut out of the binned
    table. Early stopping follows the task's loss.

    References
    ----------
    G. Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS 2017.
    """

    interruptible: ClassVar[bool] = True
    draws_rows: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("lightgbm",)

    @dataclass(frozen=True)
    class Params(core_params.Params):
        """Hyperparameters, under LightGBM's own names where it has them."""

        n_rounds: int = param(10_000, 1, 100_000, log=True, doc="Rounds at most.")
        learning_rate: float | None = param(
            None, 0.001, 1.0, log=True, doc="Step of each tree; None: by the number of rows."
        )
        num_leaves: int = param(31, 2, 4_096, log=True, doc="Leaves of a tree at most.")
        max_depth: int = param(-1, -1, 64, doc="Depth of a tree at most; -1: no limit.")
        min_data_in_leaf: int = param(10, 1, 10_000, log=True, doc="Rows in a leaf at least.")
        min_sum_hessian_in_leaf: float = param(1e-3, 0.0, 100.0, doc="Hessian in a leaf at least.")
        feature_fraction: float = param(0.7, 0.05, 1.0, doc="Features that each tree sees.")
        bagging_fraction: float | None = param(
            None, 0.05, 1.0, doc="Rows that each tree sees; None: by the number of rows."
        )
        bagging_freq: int = param(1, 0, 100, doc="Rounds after which rows are drawn anew.")
        lambda_l1: float = param(0.0, 0.0, 100.0, doc="L1 penalty on leaf values.")
        lambda_l2: float = param(1.0, 0.0, 1_000.0, doc="L2 penalty on leaf values.")
        min_gain_to_split: float = param(0.0, 0.0, 100.0, doc="Gain of a split at least.")
        path_smooth: float = param(0.0, 0.0, 1_000.0, doc="Pull of a leaf to its parent, in rows.")
        extra_trees: bool = param(False, doc="Try one random threshold for each feature.")
        linear_tree: bool = param(False, doc="Linear models in the leaves; not for quantiles.")
        linear_lambda: float = param(0.0, 0.0, 1_000.0, doc="L2 penalty of the linear leaves.")
        max_bin: int = param(255, 3, 65_535, log=True, doc="Bins of a feature at most.")
        cat_smooth: float = param(10.0, 0.0, 1_000.0, doc="Smoothing of levels when sorted.")
        cat_l2: float = param(10.0, 0.0, 1_000.0, doc="L2 penalty of splits on sorted levels.")
        max_cat_to_onehot: int = param(
            16, 1, 1_000, log=True, doc="Levels up to which one is split from the rest."
        )
        max_cat_threshold: int = param(32, 1, 10_000, log=True, doc="Levels on one side at most.")
        min_data_per_group: int = param(10, 1, 10_000, log=True, doc="Rows of a level at least.")
        n_pairs: int = param(
            0, 0, 200, doc="Sums, differences, products and ratios of two features, at most."
        )

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Boost until the loss on ``valid`` no longer falls; without ``valid``, all rounds."""
        self.outputs = Outputs.of(train, self.setting.task)
        self.chosen: dict[str, Any] = {}
        self._booster: Stored[lightgbm.Booster] | None = None
        self.pairs = Pairs.none()
        if self.outputs.is_constant:
            return self
        check_can_boost("LightGBM", train.table, budget)
        import lightgbm

        self.pairs = Pairs.choose(train, self.params.n_pairs, self.setting, budget)
        if valid is not None:
            n_rounds = min(ENOUGH_ROUNDS, self.params.n_rounds)
            train, self.n_drawn = rows_in_time(train, self.setting, n_rounds, budget, self._attempt)
        train = self.pairs.extend_samples(train)
        valid = None if valid is None else self.pairs.extend_samples(valid)
        rate = self.params.learning_rate or default_learning_rate(len(train))
        training = self._subset(self.outputs.encode(train), train.table.root)
        fraction = self.params.bagging_fraction or _part_of_rows(len(train))
        options = {**self._options(), "learning_rate": rate, "bagging_fraction": fraction}

        def start(n_threads: int) -> Callable[[], object]:
            return lightgbm.Booster({**options, "num_threads": n_threads}, training).update

        shape = len(train), train.table.n_features
        n_threads = quickest_threads(start, self.setting.n_threads, shape, budget)
        options["num_threads"] = n_threads
        booster = lightgbm.Booster(options, training)
        held_out = self.outputs.held_out(valid)
        if held_out is not None:
            booster.add_valid(self._subset(held_out, train.table.root), "valid")
        n_rounds = rounds_at_most(self.params.n_rounds, rate, valid, held_out)
        progress = Progress(n_rounds, rate, len(train), budget, held_out is None, self.setting.aim)

        def rehearse() -> None:
            # LightGBM's number of threads is one for the process: a prediction sets it too.
            progress.rehearse(
                lambda: _stored(booster, progress.best_round),
                lambda trees, table: self._predict_on(trees, table, n_threads),
                None if valid is None else valid.table,
            )

        _boost(booster, progress, rehearse)
        progress.check_learned("LightGBM")
        self.hurried = progress.hurried
        self.converged_after = progress.converged_after
        self.chosen = {
            "n_rounds": progress.best_round,
            "learning_rate": progress.mean_learning_rate,
            "bagging_fraction": fraction,
        }
        self._booster = _stored(booster, progress.best_round)
        return self

    def _attempt(self, few: Samples, most_seconds: float) -> Timing:
        """Return what boosting few rows takes."""
        import lightgbm

        def start() -> Callable[[], object]:
            extended = self.pairs.extend_samples(few)
            training = self._subset(self.outputs.encode(extended), extended.table.root)
            return lightgbm.Booster(self._options(), training).update

        return Timing.of(start, most_seconds)

    def predict(self, table: FeatureTable) -> Prediction:
        """Return predictions of shape (n_samples, n_outputs)."""
        if self._booster is None or not len(table):
            return self.outputs.decode(np.empty(0), len(table))
        n_threads = 1 if len(table) < _ONE_THREAD_ROWS else self.setting.n_threads
        return self._predict_on(self._booster, self.pairs.extend(table), n_threads)

    def fitted_params(self) -> core_params.Params:
        """Return the params with the rounds kept, the learning rate and the part of the rows."""
        return replace(self.params, **self.chosen)

    def amount_learned(self) -> float | None:
        """Return the rounds kept times the learning rate."""
        return rounds_times_rate(self.chosen)

    def state(self) -> State:
        """Return the known classes, the choices and the trees in LightGBM's text format."""
        meta = {"outputs": asdict(self.outputs), "chosen": self.chosen}
        if self._booster is None:
            return State(meta=meta)
        return State(meta=meta, arrays=self.pairs.arrays(), blobs={_BLOB: self._booster.raw})

    def restore(self, state: State) -> None:
        """Read the trees back."""
        saved = ReadBack.of(state, self.setting.task, _BLOB, _read)
        self.pairs = Pairs.from_state(state)
        self.outputs, self.chosen, self._booster = saved.outputs, saved.chosen, saved.booster

    def set_aside(self) -> None:
        """Let go of the trees as the library has read them."""
        if self._booster is not None:
            self._booster.set_aside()

    def vet(self, table: FeatureTable) -> None:
        """Read the trees, and see whether all their paths end; see `Model.vet`."""
        if self._booster is None:
            return
        table = self.pairs.vet(table)
        # What LightGBM has read, and what was saved: forms for few rows are made of the latter.
        read = self._booster.get().model_to_string(num_iteration=-1)
        for text in (read, self._booster.raw.decode()):
            header, *trees = text.partition("end of trees")[0].split("\nTree=")
            self._vet_header(_fields(header), table.n_features)
            for number, tree in enumerate(trees):
                require_walkable(_is_walkable(_fields(tree), table.n_features), "LightGBM", number)

    def _vet_header(self, header: Mapping[str, str], n_features: int) -> None:
        """Raise unless LightGBM has as many columns and outputs as the model says."""
        n_known = len(self.outputs.known)
        n_outputs = str(n_known if n_known > 2 else 1)
        objective = _OBJECTIVES[kind_of_loss(self.setting.loss)]
        if objective == "multiclass":
            objective = f"multiclass num_class:{n_known}" if n_known > 2 else "binary sigmoid:1"
        expected = {
            "num_class": n_outputs,
            "num_tree_per_iteration": n_outputs,
            "max_feature_idx": str(n_features - 1),
            "objective": objective,
        }
        for name, value in expected.items():
            if header.get(name) != value:
                raise ArtifactError(
                    f"The trees of a LightGBM model must have {name}={value}, got "
                    f"{header.get(name)!r:.100}; do not use the predictor."
                )

    def _predict_on(
        self, trees: Stored[lightgbm.Booster], table: FeatureTable, n_threads: int
    ) -> Prediction:
        n_trees = None if len(table) < _ROWS_A_THREAD * n_threads else self._trees_at_once(table)
        # LightGBM keeps in the booster which trees a call is for: calls must not overlap.
        with trees.lock:
            sums = partial(_sums, trees.get(), table.matrix(), n_threads, n_trees)
            raw = sums() if n_threads == 1 else in_own_thread(sums)
        if self.outputs.known:
            raw = sigmoid(raw) if raw.ndim == 1 else softmax(raw)
        return self.outputs.decode(raw, len(table))

    def _trees_at_once(self, table: FeatureTable) -> int | None:
        """Return how many trees to take many rows through in one call; None for all.

        Few at a time stay in a core's cache while the rows pass. But each call copies the rows'
        features again, a few in the time of a tree: on wide tables that is all that is gained.
        """
        in_cache = max(_FEWEST_TREES, _LEAVES_IN_CACHE // self.params.num_leaves)
        worth_a_copy = table.n_features // _FEATURES_IN_TIME_OF_TREE
        return in_cache if worth_a_copy <= in_cache else None

    @classmethod
    def estimate_bytes(cls, params: core_params.Params, table: FeatureTable, task: Task) -> int:
        """Return the bytes of the binned rows, the scores and the histograms."""
        values = params.to_dict()
        bin_bytes = 1 if values["max_bin"] <= 256 else 2
        n_features = table.n_features + values["n_pairs"]
        binned = 2 * len(table) * n_features * bin_bytes
        linear = 4 * len(table) * n_features if values["linear_tree"] else 0
        scores = 24 * len(table) * max(1, task.n_outputs)
        histograms = 16 * values["num_leaves"] * values["max_bin"] * n_features
        extended = bytes_of_extended(values["n_pairs"], table)
        return table.n_bytes + extended + binned + linear + scores + histograms

    @property
    def _is_linear(self) -> bool:
        """Whether leaves hold linear models, which are no use where a leaf takes a quantile."""
        return bool(self.params.linear_tree) and self.setting.quantile is None

    def _bin_options(self) -> dict[str, Any]:
        """Return what decides the bins; the same dictionary makes tables and boosters."""
        return {
            "max_bin": self.params.max_bin,
            "linear_tree": self._is_linear,
            "feature_pre_filter": False,  # the table's bins serve every min_data_in_leaf
            "verbosity": -1,
        }

    def _options(self) -> dict[str, Any]:
        """Return LightGBM's parameters."""
        objective = _OBJECTIVES[kind_of_loss(self.setting.loss)]
        if objective == "multiclass" and len(self.outputs.known) == 2:
            objective = "binary"
        own = self.params.to_dict()
        del own["n_rounds"], own["learning_rate"], own["bagging_fraction"], own["n_pairs"]
        return {
            **own,
            **self._bin_options(),
            "objective": objective,
            "metric": _METRICS[objective],
            **({"alpha": self.setting.quantile} if objective == "quantile" else {}),
            "num_class": len(self.outputs.known) if objective == "multiclass" else 1,
            "seed": self.setting.seed,
            "num_threads": self.setting.n_threads,
            # One way to sum histograms, whatever the threads and the clock say.
            "deterministic": True,
            "force_col_wise": True,
        }

    def _subset(self, samples: Samples, root: FeatureTable) -> lightgbm.Dataset:
        """Return the binned rows of ``samples`` with their target, bins as of ``root``."""
        options = self._bin_options()
        threads = {"num_threads": self.setting.n_threads}
        binned = root.derived(
            ("lightgbm", *options.values()), lambda table: _bin(table, {**options, **threads})
        )
        table = samples.table
        if table.root is root:
            rows = np.arange(len(root)) if table.rows is None else table.rows
            order = np.argsort(rows, kind="stable")  # subset sorts its rows
            dataset = binned.subset(rows[order].tolist())
        else:
            order = np.arange(len(samples))
            dataset = binned.create_valid(table.matrix(), params=binned.get_params())
        dataset.construct()
        dataset.set_label(samples.y[order])
        if samples.weight is not None:
            dataset.set_weight(samples.weight[order])
        return dataset


def _part_of_rows(n_samples: int) -> float:
    """Return which part of the training rows each tree sees."""
    return _PART_OF_FEWER if n_samples < _ALL_ROWS_FROM else 1.0


def _stored(booster: lightgbm.Booster, n_rounds: int) -> Stored[lightgbm.Booster]:
    """Return the trees as text: the training data is let go, and a restored model is the same."""
    return Stored(_written(booster, n_rounds), _read)


def _written(booster: lightgbm.Booster, n_rounds: int) -> bytes:
    """Return the first rounds in LightGBM's text, without what no prediction reads.

    That is half of it. It is asked for in parts of few rounds, as LightGBM writes a text of more
    than a megabyte twice over, and it passes through four copies.
    """
    n_rounds = min(n_rounds, booster.current_iteration())
    trees: list[bytes] = []
    first, step = 0, 1
    while first < n_rounds:
        count = min(step, n_rounds - first)
        part = booster.model_to_string(num_iteration=count, start_iteration=first).encode()
        before, _, after = part.partition(_END_OF_TREES)
        head, *grown = before.split(b"\nTree=")
        for tree in grown:
            _, _, fields = _UNREAD.sub(b"", tree.strip()).partition(b"\n")
            trees.append(b"Tree=%d\n%s\n\n\n" % (len(trees), fields))
        n_bytes = max(1, len(before) - len(head))  # of the trees: the head is no less with fewer
        first, step = first + count, max(1, _PART_BYTES * count // n_bytes)
    # LightGBM finds the trees by their sizes.
    sizes = b"\ntree_sizes=" + b" ".join(b"%d" % len(tree) for tree in trees)
    head = _SIZES.sub(sizes, head, count=1)
    parameters = after[after.index(_PARAMETERS) :]
    return b"".join([head, b"\n", *trees, _END_OF_TREES, b"\n", parameters])


def _read(raw: bytes) -> lightgbm.Booster:
    import lightgbm

    try:
        return lightgbm.Booster(model_str=raw.decode())
    except (ValueError, lightgbm.basic.LightGBMError) as error:
        raise unreadable("LightGBM", error) from error


def _sums(
    booster: lightgbm.Booster, matrix: npt.NDArray[np.float32], n_threads: int, n_trees: int | None
) -> npt.NDArray[np.float64]:
    """Return the sums of the leaves, shape (n_samples,) or (n_samples, n_classes).

    Each call takes row after row through about ``n_trees`` trees; None: one call for all.
    """
    n_rounds = max(1, booster.current_iteration())
    step = n_rounds if n_trees is None else max(1, n_trees // booster.num_model_per_iteration())
    total: Any = 0.0
    for first in range(0, n_rounds, step):
        count = min(step, n_rounds - first)
        total += booster.predict(matrix, first, count, raw_score=True, num_threads=n_threads)
    return np.asarray(total)


def _fields(block: str) -> dict[str, str]:
    """Return the lines ``name=value`` of a part of LightGBM's text."""
    parts = (line.partition("=") for line in block.splitlines())
    return {name: value for name, _, value in parts}


def _is_walkable(tree: Mapping[str, str], n_features: int) -> bool:
    """Return whether a prediction can follow a tree to a leaf with a finite value."""

    def read(name: str) -> npt.NDArray[np.float64]:
        return np.array(tree.get(name, "").split(), dtype=np.float64)

    n_leaves = int(tree["num_leaves"])
    values = read("leaf_value")
    if len(values) != n_leaves or not np.isfinite(values).all():
        return False
    if tree.get("is_linear", "0") != "0":
        features, counts = read("leaf_features"), read("num_features")
        sizes = len(counts) == n_leaves and len(features) == len(read("leaf_coeff")) == counts.sum()
        if not (sizes and _all_below(features, n_features) and _all_below(counts, n_features + 1)):
            return False
    if n_leaves == 1:
        return True
    left, right = read("left_child").astype(np.int64), read("right_child").astype(np.int64)
    asked, kind = read("split_feature"), read("decision_type").astype(np.int64)
    thresholds = read("threshold")
    if not len(asked) == len(kind) == len(thresholds) == n_leaves - 1:
        return False
    bounds, n_words = read("cat_boundaries"), len(read("cat_threshold"))
    rising = bool((np.diff(bounds) >= 0).all()) and _all_below(bounds, n_words + 1)
    in_sets = _all_below(thresholds[kind & 1 == 1], max(0, len(bounds) - 1))
    known = _all_below(asked, n_features)
    return known and rising and in_sets and all_paths_end(left, right, n_leaves - 1, n_leaves)


def _all_below(values: npt.NDArray[np.float64], stop: int) -> bool:
    """Return whether all values are positions in something of length ``stop``."""
    return bool(((values >= 0) & (values < stop)).all())


def _bin(table: FeatureTable, options: dict[str, Any]) -> lightgbm.Dataset:
    """Return the whole table in bins; its target is a placeholder that no subset keeps."""
    import lightgbm

    n_numeric = len(table.numeric_names)
    dataset = lightgbm.Dataset(
        table.matrix(),
        label=np.zeros(len(table), dtype=np.float32),
        categorical_feature=list(range(n_numeric, table.n_features)),
        params=options,
        free_raw_data=True,
    )
    return dataset.construct()


def _boost(booster: lightgbm.Booster, progress: Progress, rehearse: Callable[[], object]) -> None:
    """Add trees until ``progress`` says stop, or no feature can be split any more."""
    has_valid = len(booster.name_valid_sets) > 0
    idle = 0
    while not progress.stops() and idle < _MAX_IDLE_ROUNDS:
        idle = idle + 1 if booster.update() else 0
        if not idle or progress.round == 0:
            progress.record(booster.eval_valid()[0][2] if has_valid else None)
            rehearse()
        if progress.hastens():
            booster.reset_parameter({"learning_rate": progress.learning_rate})
