"""CatBoost: boosting of symmetric trees with ordered statistics of categories."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from tabular_automl.artifacts.state import State
from tabular_automl.core import params as core_params
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError
from tabular_automl.core.params import param
from tabular_automl.core.quantiles import kind_of_loss
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import Task
from tabular_automl.models.base import Model, Prediction
from tabular_automl.models.boosting import (
    HURRIED,
    MAX_LEARNING_RATE,
    Outputs,
    Pace,
    check_can_boost,
    first_patience,
    rounds_times_rate,
)
from tabular_automl.models.pairs import Pairs, bytes_of_extended
from tabular_automl.models.rows_in_time import Timing, rows_in_time
from tabular_automl.models.stored_trees import ReadBack, Stored, unreadable

if TYPE_CHECKING:
    import catboost

_BLOB = "booster.cbm"
_LOSSES = {
    "log_loss": "MultiClass",
    "squared_error": "RMSE",
    "absolute_error": "MAE",
    "quantile": "Quantile",
}
# Below this many rows an array of objects is quicker to build than a frame, and one thread enough.
_FEW_ROWS = 64
# Iterations whose pace decides how many the budget has room for, or the share of it they may take.
_PROBE = 6
_PROBE_SHARE = 0.1
# Part of the iterations after which all count as used up, and how many times as many come next, at
# the rate of the first: CatBoost's own would be so low for them that they learn little more.
_USED_UP, _MORE_ROUNDS = 0.95, 10
# Iterations for which fewer rows are drawn, where there is no time for so many on all.
_ENOUGH_ROUNDS = 200
# Iterations times learning rate to aim at where CatBoost has no learning rate of its own.
_CONVERGED = 50.0


class CatBoost(Model):
    """Gradient-boosted symmetric trees; categories become ordered target statistics.

    The learning rate is CatBoost's own choice, which depends on the rows and the number of
    iterations. Where the budget has no room for all iterations, training starts again with as many
    as fit, and so with a higher rate. At a rate that is given it does so only where fewer fit than
    usually converge at it. Of many rows as many are drawn as there is time for, see `rows_in_time`.

    References
    ----------
    L. Prokhorenkova et al., "CatBoost: unbiased boosting with categorical features", NeurIPS 2018.
    """

    interruptible: ClassVar[bool] = True
    draws_rows: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("catboost",)

    @dataclass(frozen=True)
    class Params(core_params.Params):
        """Hyperparameters, under CatBoost's own names where it has them."""

        n_rounds: int = param(1_000, 1, 100_000, log=True, doc="Iterations at most.")
        learning_rate: float | None = param(
            None, 0.001, 1.0, log=True, doc="Step of each tree; None: by rows and iterations."
        )
        depth: int = param(6, 1, 12, doc="Depth of the trees.")
        l2_leaf_reg: float | None = param(
            None, 0.0, 1_000.0, doc="L2 penalty on leaf values; set, the rate is 0.03 unless given."
        )
        random_strength: float = param(1.0, 0.0, 100.0, doc="Noise added to split scores.")
        rsm: float = param(1.0, 0.05, 1.0, doc="Features that each split sees.")
        border_count: int = param(254, 1, 65_535, log=True, doc="Borders of a feature at most.")
        one_hot_max_size: int = param(
            16, 2, 255, log=True, doc="Levels up to which one is split from the rest."
        )
        max_ctr_complexity: int = param(2, 1, 8, doc="Categories combined at most.")
        grow_policy: str = param(
            "SymmetricTree",
            choices=("SymmetricTree", "Depthwise", "Lossguide"),
            doc="How trees grow.",
        )
        bootstrap_type: str | None = param(
            None, choices=("Bayesian", "Bernoulli", "MVS"), doc="How rows are drawn."
        )
        subsample: float | None = param(None, 0.05, 1.0, doc="Rows that each tree sees.")
        leaf_estimation_iterations: int | None = param(
            None, 1, 100, doc="Newton steps for leaf values; set, the rate is 0.03 unless given."
        )
        n_pairs: int = param(
            0, 0, 200, doc="Sums, differences, products and ratios of two features, at most."
        )

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Boost until the loss on ``valid`` no longer falls; without ``valid``, all iterations."""
        self.outputs = Outputs.of(train, self.setting.task)
        self.chosen: dict[str, Any] = {}
        self._booster: Stored[catboost.CatBoost] | None = None
        self.pairs = Pairs.none()
        if self.outputs.is_constant:
            return self
        check_can_boost("CatBoost", train.table, budget)
        self.pairs = Pairs.choose(train, self.params.n_pairs, self.setting, budget)
        if valid is not None:
            n_rounds = min(_ENOUGH_ROUNDS, self.params.n_rounds)
            train, self.n_drawn = rows_in_time(train, self.setting, n_rounds, budget, self._attempt)
        train = self.pairs.extend_samples(train)
        valid = None if valid is None else self.pairs.extend_samples(valid)
        training = _pool(self.outputs.encode(train))
        held_out = self.outputs.held_out(valid)
        validation = None if held_out is None else _pool(held_out)
        n_rounds = self.params.n_rounds
        clock = _Clock(self._n_wanted, len(train), budget, may_restart=budget.limited)
        booster = self._boost(training, validation, n_rounds, clock)
        if clock.room is not None:
            first_rate = booster.learning_rate_
            clock = _Clock(clock.room, len(train), budget, may_restart=False)
            booster = self._boost(training, validation, clock.n_rounds, clock)
            self.hurried = booster.learning_rate_ > HURRIED * first_rate
        self.chosen = {
            "n_rounds": int(booster.tree_count_),
            "learning_rate": float(booster.learning_rate_),
        }
        self._booster = _stored(booster)
        return self

    def predict(self, table: FeatureTable) -> Prediction:
        """Return predictions of shape (n_samples, n_outputs)."""
        n_samples = len(table)
        if self._booster is None or not n_samples:
            return self.outputs.decode(np.empty(0), n_samples)
        few, table = n_samples < _FEW_ROWS, self.pairs.extend(table)
        raw = self._booster.get().predict(
            _objects(table) if few and table.code_names else as_pool(table),
            prediction_type="Probability" if self.outputs.known else "RawFormulaVal",
            thread_count=1 if few else self.setting.n_threads,
        )
        return self.outputs.decode(raw, n_samples)

    def fitted_params(self) -> core_params.Params:
        """Return the params with the iterations kept and the learning rate used."""
        return replace(self.params, **self.chosen)

    def longer_params(self) -> core_params.Params | None:
        """Return params with more iterations at the same rate, where all of them were used."""
        n_rounds = self.params.n_rounds
        is_own_choice = n_rounds != self.Params().n_rounds
        if is_own_choice or self.chosen.get("n_rounds", 0) < _USED_UP * n_rounds:
            return None
        rate = self.chosen["learning_rate"]
        return replace(self.params, n_rounds=_MORE_ROUNDS * n_rounds, learning_rate=rate)

    def amount_learned(self) -> float | None:
        """Return the rounds kept times the learning rate."""
        return rounds_times_rate(self.chosen)

    def state(self) -> State:
        """Return the known classes, the choices and the trees in CatBoost's binary format."""
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
        """Read the trees, and see whether they are for these features; see `Model.vet`.

        How the trees lead is not looked at: of symmetric ones, a prediction of any row tells.
        """
        if self._booster is None:
            return
        booster, table = self._booster.get(), self.pairs.vet(table)
        found = len(booster.feature_names_), list(booster.get_cat_feature_indices())
        expected = table.n_features, list(range(len(table.numeric_names), table.n_features))
        if found != expected:
            raise ArtifactError(
                f"The trees of a CatBoost model must be for {expected[0]} features with categories "
                f"{expected[1]!r:.100}, got {found!r:.100}; do not use the predictor."
            )

    @classmethod
    def estimate_bytes(cls, params: core_params.Params, table: FeatureTable, task: Task) -> int:
        """Return the bytes of the quantized rows, the category statistics and the scores."""
        values = params.to_dict()
        n_outputs = max(1, task.n_outputs)
        n_features = table.n_features + values["n_pairs"]
        quantized = 2 * len(table) * n_features
        # four permutations of each category, statistics and their quantized copies
        categories = 40 * len(table) * len(table.code_names) * values["max_ctr_complexity"]
        scores = 80 * len(table) * n_outputs
        histograms = 16 * 2 ** values["depth"] * 256 * n_features * n_outputs
        extended = bytes_of_extended(values["n_pairs"], table)
        return table.n_bytes + extended + quantized + categories + scores + histograms

    @property
    def _n_wanted(self) -> int:
        """The iterations below which those that there is time for should learn faster."""
        n_rounds, rate = int(self.params.n_rounds), self.params.learning_rate
        return n_rounds if rate is None else min(n_rounds, math.ceil(_CONVERGED / rate))

    def _attempt(self, few: Samples, most_seconds: float) -> Timing:
        """Return what boosting few rows takes."""
        timer = _Timer(most_seconds)
        few = self.outputs.encode(self.pairs.extend_samples(few))
        self._boost(_pool(few), None, self.params.n_rounds, timer)
        return timer.timing

    def _boost(
        self,
        training: catboost.Pool,
        validation: catboost.Pool | None,
        n_rounds: int,
        clock: _Clock | _Timer,
    ) -> catboost.CatBoost:
        """Return the booster that ``clock`` stops, cut at its best iteration."""
        import catboost

        booster = catboost.CatBoost(self._options(n_rounds))
        booster.fit(
            training,
            eval_set=validation,
            use_best_model=validation is not None,
            callbacks=[clock],
        )
        return booster

    def _options(self, n_rounds: int) -> dict[str, Any]:
        """Return CatBoost's parameters for so many iterations."""
        loss = _LOSSES[kind_of_loss(self.setting.loss)]
        if loss == "MultiClass" and len(self.outputs.known) == 2:
            loss = "Logloss"
        own = self.params.to_dict()
        del own["n_rounds"], own["n_pairs"]
        rate = own["learning_rate"]
        level = f":alpha={self.setting.quantile}" if loss == "Quantile" else ""
        if rate is None and loss in ("MAE", "Quantile"):  # CatBoost has no rate of its own for it
            rate = 0.05
        if rate is not None and n_rounds < self.params.n_rounds:
            aim = min(_CONVERGED, rate * self.params.n_rounds)
            rate = max(rate, min(MAX_LEARNING_RATE, aim / n_rounds))
        return {
            **{name: value for name, value in own.items() if value is not None},
            **({} if rate is None else {"learning_rate": rate}),
            "iterations": n_rounds,
            "loss_function": f"{loss}{level}",
            "eval_metric": f"{loss}{level}{';' if level else ':'}hints=skip_train~true",
            "random_seed": self.setting.seed,
            "thread_count": self.setting.n_threads,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }


def _stored(booster: catboost.CatBoost) -> Stored[catboost.CatBoost]:
    """Return the trees as they are saved.

    A trained booster that is kept alive holds 35 MB where its trees take 0.2 (40,000 rows), which
    CatBoost's allocator cannot use for the next one.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _BLOB
        booster.save_model(str(path), format="cbm")
        return Stored(path.read_bytes(), _read)


def _read(raw: bytes) -> catboost.CatBoost:
    import catboost

    try:
        return catboost.CatBoost().load_model(blob=raw, format="cbm")
    except (ValueError, catboost.CatBoostError) as error:
        raise unreadable("CatBoost", error) from error


class _Timer:
    """CatBoost's callback: stops after a few iterations, which it times."""

    def __init__(self, most_seconds: float) -> None:
        self._most_seconds = most_seconds
        self._started = time.monotonic()
        self._preparation = 0.0
        self._pace: Pace | None = None

    @property
    def timing(self) -> Timing:
        """What the iterations took."""
        seconds = 0.0 if self._pace is None else self._pace.seconds
        return Timing(self._preparation, seconds or self._preparation)

    def after_iteration(self, info: Any) -> bool:
        """Return whether to go on."""
        if self._pace is None:
            self._preparation = time.monotonic() - self._started
            self._pace = Pace()
        else:
            self._pace.tick()
        slow = time.monotonic() - self._started >= self._most_seconds
        return bool(info.iteration < _PROBE) and not slow


class _Clock:
    """CatBoost's callback: stops at the deadline, or when the loss no longer falls.

    Attributes
    ----------
    room : int or None
        Iterations that the budget has room for, where that is clearly fewer than the ``n_rounds``
        that are wanted: boosting was stopped to start again.
    """

    def __init__(self, n_rounds: int, n_samples: int, budget: Budget, *, may_restart: bool) -> None:
        self.n_rounds = n_rounds
        self.room: int | None = None
        self._patience = first_patience(n_samples)
        self._budget = budget
        self._may_restart = may_restart
        self._started = time.monotonic()
        self._preparation = 0.0
        self._pace: Pace | None = None
        self._best_loss = np.inf
        self._best_round = 0

    def after_iteration(self, info: Any) -> bool:
        """Return whether to go on."""
        if self._pace is None:  # the first iteration is mostly preparation
            self._preparation = time.monotonic() - self._started
            self._pace = Pace()
        else:
            self._pace.tick()
        if self._may_restart and self._can_tell(info.iteration):
            self._may_restart = False
            self._measure(info.iteration, self._pace.seconds)
        self._note_loss(info)
        patience = max(self._patience, 0.3 * self._best_round + 20)
        return (
            self.room is None
            and info.iteration - self._best_round < patience
            and self._budget.remaining() > self._pace.seconds
        )

    def _can_tell(self, n_done: int) -> bool:
        """Return whether the pace is known: after a few iterations, fewer where they are slow."""
        slow = time.monotonic() - self._started > _PROBE_SHARE * self._budget.remaining()
        return n_done >= (2 if slow else _PROBE)

    def _measure(self, n_done: int, pace: float) -> None:
        """Set `room` if, at ``pace`` seconds each, not all iterations fit into the budget."""
        pace = max(1e-6, pace)
        remaining = self._budget.remaining()
        if remaining / pace >= 0.9 * (self.n_rounds - n_done):
            return
        room = int((remaining - self._preparation) / pace)
        if room > 2 * n_done:
            self.room = room

    def _note_loss(self, info: Any) -> None:
        """Remember the best iteration; without validation rows, the latest."""
        validation = info.metrics.get("validation")
        loss = next(iter(validation.values()))[-1] if validation else -np.inf
        if loss < self._best_loss or not validation:
            self._best_loss = loss
            self._best_round = info.iteration


def _pool(samples: Samples) -> catboost.Pool:
    """Return rows with their target as CatBoost reads them."""
    return as_pool(samples.table, samples.y, samples.weight)


def as_pool(table: FeatureTable, y: Any = None, weight: Any = None) -> catboost.Pool:
    """Return rows as CatBoost reads them; levels travel as a pandas categorical.

    CatBoost hashes each level once then, instead of once for each row.
    """
    import catboost

    n_numeric = len(table.numeric_names)
    if not table.code_names:
        return catboost.Pool(table.numeric, label=y, weight=weight)
    columns: dict[int, Any] = {i: table.numeric[:, i] for i in range(n_numeric)}
    for i, n_levels in enumerate(table.n_levels):
        levels = pd.RangeIndex(n_levels)
        columns[n_numeric + i] = pd.Categorical.from_codes(table.codes[:, i], categories=levels)
    frame = pd.DataFrame(columns, copy=False)
    categories = list(range(n_numeric, table.n_features))
    return catboost.Pool(frame, label=y, weight=weight, cat_features=categories)


def _objects(table: FeatureTable) -> Any:
    """Return rows as one array of objects: levels as integers, which floats are not taken for."""
    n_numeric = len(table.numeric_names)
    values = np.empty((len(table), table.n_features), dtype=object)
    values[:, :n_numeric] = table.numeric
    values[:, n_numeric:] = table.codes
    return values
