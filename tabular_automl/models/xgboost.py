"""XGBoost: gradient boosting on histograms with second-order leaf values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core import params as core_params
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError
from tabular_automl.core.imports import import_optional
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
from tabular_automl.models.rows_in_time import ENOUGH_ROUNDS, Timing, rows_in_time
from tabular_automl.models.stored_trees import (
    ReadBack,
    Stored,
    all_paths_end,
    require_walkable,
    unreadable,
)

if TYPE_CHECKING:
    import xgboost

Floats = npt.NDArray[np.float32]

_BLOB = "booster.ubj"
_ONE_THREAD_ROWS = 512
_OBJECTIVES = {
    "log_loss": "multi:softprob",
    "squared_error": "reg:squarederror",
    "absolute_error": "reg:absoluteerror",
    "quantile": "reg:quantileerror",
}
_METRICS = {
    "multi:softprob": "mlogloss",
    "binary:logistic": "logloss",
    "reg:squarederror": "rmse",
    "reg:absoluteerror": "mae",
    "reg:quantileerror": "quantile",
}


class XGBoost(Model):
    """Gradient-boosted trees grown level by level on histograms.

    References
    ----------
    T. Chen, C. Guestrin, "XGBoost: A Scalable Tree Boosting System", KDD 2016.
    """

    interruptible: ClassVar[bool] = True
    draws_rows: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("xgboost",)

    @dataclass(frozen=True)
    class Params(core_params.Params):
        """Hyperparameters, under XGBoost's own names where it has them."""

        n_rounds: int = param(10_000, 1, 100_000, log=True, doc="Rounds at most.")
        learning_rate: float | None = param(
            None, 0.001, 1.0, log=True, doc="Step of each tree; None: by the number of rows."
        )
        max_depth: int = param(6, 0, 64, doc="Depth of a tree at most; 0: no limit.")
        max_leaves: int = param(0, 0, 4_096, doc="Leaves of a tree at most; 0: no limit.")
        grow_policy: str = param(
            "depthwise", choices=("depthwise", "lossguide"), doc="Which leaf is split next."
        )
        min_child_weight: float | None = param(
            None,
            0.0,
            1_000.0,
            doc="Hessian in a leaf at least; None: 1 for classes, 5 for numbers.",
        )
        gamma: float = param(0.0, 0.0, 100.0, doc="Gain of a split at least.")
        subsample: float = param(0.8, 0.05, 1.0, doc="Rows that each tree sees.")
        colsample_bytree: float = param(0.8, 0.05, 1.0, doc="Features that each tree sees.")
        colsample_bynode: float = param(1.0, 0.05, 1.0, doc="Of those, what each split sees.")
        reg_alpha: float = param(0.0, 0.0, 100.0, doc="L1 penalty on leaf values.")
        reg_lambda: float = param(1.0, 0.0, 1_000.0, doc="L2 penalty on leaf values.")
        max_bin: int = param(256, 2, 65_535, log=True, doc="Bins of a feature at most.")
        max_cat_to_onehot: int = param(
            4, 1, 1_000, log=True, doc="Levels up to which one is split from the rest."
        )
        max_cat_threshold: int = param(64, 1, 10_000, log=True, doc="Levels on one side at most.")

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Boost until the loss on ``valid`` no longer falls; without ``valid``, all rounds."""
        self.outputs = Outputs.of(train, self.setting.task)
        self.chosen: dict[str, Any] = {}
        self._booster: Stored[xgboost.Booster] | None = None
        if self.outputs.is_constant:
            return self
        check_can_boost("XGBoost", train.table, budget)
        xgb = _xgboost()

        if valid is not None:
            n_rounds = min(ENOUGH_ROUNDS, self.params.n_rounds)
            train, self.n_drawn = rows_in_time(train, self.setting, n_rounds, budget, self._attempt)
        rate = self.params.learning_rate or default_learning_rate(len(train))
        training = self._quantiles(self.outputs.encode(train), None)
        held_out = self.outputs.held_out(valid)
        validation = None if held_out is None else self._quantiles(held_out, training)
        caches = [training] if validation is None else [training, validation]
        options = {**self._options(), "learning_rate": rate}

        def start(n_threads: int) -> Callable[[], object]:
            trial = xgb.Booster({**options, "nthread": n_threads}, [training])
            return lambda: trial.update(training, trial.num_boosted_rounds())

        shape = len(train), train.table.n_features
        n_threads = quickest_threads(start, self.setting.n_threads, shape, budget)
        options["nthread"] = n_threads
        booster = xgb.Booster(options, caches)
        n_rounds = rounds_at_most(self.params.n_rounds, rate, valid, held_out)
        progress = Progress(n_rounds, rate, len(train), budget, held_out is None, self.setting.aim)

        def rehearse() -> None:
            progress.rehearse(
                lambda: _stored(booster, progress.best_round),
                lambda trees, table: _predict_on(trees, table.matrix(), n_threads),
                None if valid is None else valid.table,
            )

        _boost(booster, (training, validation), progress, rehearse)
        progress.check_learned("XGBoost")
        self.hurried = progress.hurried
        self.converged_after = progress.converged_after
        self.chosen = {
            "n_rounds": progress.best_round,
            "learning_rate": progress.mean_learning_rate,
        }
        self._booster = _stored(booster, progress.best_round)
        return self

    def _attempt(self, few: Samples, most_seconds: float) -> Timing:
        """Return what boosting few rows takes."""

        def start() -> Callable[[], object]:
            training = self._quantiles(self.outputs.encode(few), None)
            booster = _xgboost().Booster(self._options(), [training])
            return lambda: booster.update(training, booster.num_boosted_rounds())

        return Timing.of(start, most_seconds)

    def predict(self, table: FeatureTable) -> Prediction:
        """Return predictions of shape (n_samples, n_outputs)."""
        n_samples = len(table)
        if self._booster is None or not n_samples:
            return self.outputs.decode(np.empty(0), n_samples)
        n_threads = 1 if n_samples < _ONE_THREAD_ROWS else self.setting.n_threads
        raw = _predict_on(self._booster, table.matrix(), n_threads)
        return self.outputs.decode(raw, n_samples)

    def fitted_params(self) -> core_params.Params:
        """Return the params with the rounds kept and the learning rate used."""
        return replace(self.params, **self.chosen)

    def amount_learned(self) -> float | None:
        """Return the rounds kept times the learning rate."""
        return rounds_times_rate(self.chosen)

    def state(self) -> State:
        """Return the known classes, the choices and the trees in XGBoost's binary json."""
        meta = {"outputs": asdict(self.outputs), "chosen": self.chosen}
        if self._booster is None:
            return State(meta=meta)
        return State(meta=meta, blobs={_BLOB: self._booster.raw})

    def restore(self, state: State) -> None:
        """Read the trees back."""
        saved = ReadBack.of(state, self.setting.task, _BLOB, _read)
        self.outputs, self.chosen, self._booster = saved.outputs, saved.chosen, saved.booster

    def set_aside(self) -> None:
        """Let go of the trees as the library has read them."""
        if self._booster is not None:
            self._booster.set_aside()

    def vet(self, table: FeatureTable) -> None:
        """Read the trees, and see whether all their paths end; see `Model.vet`."""
        if self._booster is None:
            return
        learner = json.loads(bytes(self._booster.get().save_raw("json")))["learner"]
        self._vet_learner(learner, table.n_features)
        for number, tree in enumerate(learner["gradient_booster"]["model"]["trees"]):
            require_walkable(_is_walkable(tree, table.n_features), "XGBoost", number)

    def _vet_learner(self, learner: Mapping[str, Any], n_features: int) -> None:
        """Raise unless XGBoost has as many columns and outputs as the model says."""
        n_known = len(self.outputs.known)
        n_outputs = n_known if n_known > 2 else 1
        objective = _OBJECTIVES[kind_of_loss(self.setting.loss)]
        if objective == "multi:softprob" and n_known == 2:
            objective = "binary:logistic"
        sizes, booster = learner["learner_model_param"], learner["gradient_booster"]
        found = (
            learner["objective"]["name"],
            booster["name"],
            int(sizes["num_feature"]),
            max(1, int(sizes["num_class"])),
            set(booster["model"]["tree_info"]) <= set(range(n_outputs)),
        )
        expected = (objective, "gbtree", n_features, n_outputs, True)
        if found != expected:
            raise ArtifactError(
                f"The trees of an XGBoost model must be for {expected}, got {found!r:.200}; do not "
                "use the predictor."
            )

    @classmethod
    def estimate_bytes(cls, params: core_params.Params, table: FeatureTable, task: Task) -> int:
        """Return the bytes of the binned rows, the scores and the histograms."""
        values = params.to_dict()
        bin_bytes = 1 if values["max_bin"] <= 256 else 2
        binned = 2 * len(table) * table.n_features * bin_bytes
        scores = 24 * len(table) * max(1, task.n_outputs)
        leaves = min(2 ** min(values["max_depth"] or 12, 12), values["max_leaves"] or 4096)
        histograms = 16 * leaves * values["max_bin"] * table.n_features
        return table.n_bytes + binned + scores + histograms

    def _options(self) -> dict[str, Any]:
        """Return XGBoost's parameters."""
        objective = _OBJECTIVES[kind_of_loss(self.setting.loss)]
        if objective == "multi:softprob" and len(self.outputs.known) == 2:
            objective = "binary:logistic"
        own = self.params.to_dict()
        del own["n_rounds"], own["learning_rate"]
        if own["min_child_weight"] is None:
            # The Hessian of a number's loss is 1 for each row, that of a class far less.
            own["min_child_weight"] = 1.0 if self.outputs.known else 5.0
        options = {
            **own,
            "tree_method": "hist",
            "objective": objective,
            "eval_metric": _METRICS[objective],
            "seed": self.setting.seed,
            "nthread": self.setting.n_threads,
            "verbosity": 0,
        }
        if objective == "reg:quantileerror":
            options["quantile_alpha"] = self.setting.quantile
        if objective == "multi:softprob":
            options["num_class"] = len(self.outputs.known)
        return options

    def _quantiles(
        self, samples: Samples, reference: xgboost.QuantileDMatrix | None
    ) -> xgboost.QuantileDMatrix:
        """Return binned rows with their target; validation rows in the bins of ``reference``."""
        table = samples.table
        kinds = ["q"] * len(table.numeric_names) + ["c"] * len(table.code_names)
        return _xgboost().QuantileDMatrix(
            table.matrix(),
            samples.y,
            weight=samples.weight,
            feature_types=kinds,
            enable_categorical=True,
            max_bin=self.params.max_bin,
            nthread=self.setting.n_threads,
            ref=reference,
        )


def _stored(booster: xgboost.Booster, n_rounds: int) -> Stored[xgboost.Booster]:
    """Return the trees as bytes: the training data is let go, and a restored model is the same."""
    return Stored(bytes(booster[:n_rounds].save_raw("ubj")), _read)


def _read(raw: bytes) -> xgboost.Booster:
    try:
        return _xgboost().Booster({"verbosity": 0}, model_file=bytearray(raw))
    except ValueError as error:  # XGBoost's own errors are
        raise unreadable("XGBoost", error) from error


def _is_walkable(tree: Mapping[str, Any], n_features: int) -> bool:
    """Return whether a prediction can follow a tree to a leaf with a finite value."""
    left, right = (np.array(tree[f"{side}_children"], dtype=np.int64) for side in ("left", "right"))
    asked, values = np.array(tree["split_indices"]), np.array(tree["split_conditions"])
    n_nodes, is_set = len(left), np.array(tree["split_type"]) == 1
    if not n_nodes == len(right) == len(asked) == len(values) == len(is_set):
        return False
    inner = left >= 0
    ends = not inner.any() or all_paths_end(
        np.where(inner, left, -1), np.where(inner, right, -1), n_nodes, 1
    )
    known = (asked[inner] >= 0) & (asked[inner] < n_features)
    whole = bool((left >= -1).all() and (right[inner] >= 0).all() and known.all())
    return ends and whole and bool(np.isfinite(values[~inner]).all()) and _has_sets(tree, is_set)


def _has_sets(tree: Mapping[str, Any], is_set: npt.NDArray[np.bool_]) -> bool:
    """Return whether each node that asks for a set of levels has one."""
    first, size = np.array(tree["categories_segments"]), np.array(tree["categories_sizes"])
    n_levels, nodes = len(tree["categories"]), tree["categories_nodes"]
    inside = (first >= 0) & (size >= 0) & (first + size <= n_levels)
    return bool(inside.all()) and set(np.flatnonzero(is_set).tolist()) <= set(nodes)


def _predict_on(trees: Stored[xgboost.Booster], matrix: Floats, n_threads: int) -> Floats:
    """Predict with so many threads; waking a second one costs more than a few rows do.

    Compiled copies of a model share its trees, and any number of threads may ask at once: the
    setting must not change under a prediction.
    """
    with trees.lock:
        booster = trees.get()
        if n_threads != trees.n_threads:
            booster.set_param({"nthread": n_threads})
            trees.n_threads = n_threads
        if n_threads == 1:
            return cast("Floats", booster.inplace_predict(matrix))
        return in_own_thread(lambda: cast("Floats", booster.inplace_predict(matrix)))


def _xgboost() -> Any:
    """Return the package xgboost."""
    return import_optional("xgboost", extra="xgboost", purpose="The model family 'xgboost'")


def _boost(
    booster: xgboost.Booster,
    rows: tuple[xgboost.QuantileDMatrix, xgboost.QuantileDMatrix | None],
    progress: Progress,
    rehearse: Callable[[], object],
) -> None:
    """Add trees, learned on the first of ``rows``, until ``progress`` says stop."""
    training, validation = rows
    while not progress.stops():
        booster.update(training, progress.round)
        loss = None
        if validation is not None:
            report = booster.eval_set([(validation, "valid")], progress.round)
            loss = float(report.rpartition(":")[2])
        progress.record(loss)
        rehearse()
        if progress.hastens():
            booster.set_param({"learning_rate": progress.learning_rate})
