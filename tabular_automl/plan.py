"""The plan: every heuristic of a fit, as a pure function that can be read, printed and tested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from tabular_automl.config import FitConfig
from tabular_automl.core.parallel import Machine
from tabular_automl.data.drawing import WORTH_DRAWING
from tabular_automl.data.folds import Folds
from tabular_automl.data.schema import Kind
from tabular_automl.data.task import Task
from tabular_automl.ensemble.candidates import PlannedSpec
from tabular_automl.shape import MOST_FOLDS, Shape
from tabular_automl.spec_choice import first_layer, late_layer, stack_layer

_SMALL_TABLE = 50_000  # rows up to which the time without a limit does not grow
_CORE_SECONDS_PER_CELL = 1.2e-4  # a short portfolio on one fold; measured on boosters, 2 cores
_CORE_SECONDS_PER_IMAGE_ROW = 0.06  # a compact network from nothing on one fold
_ENOUGH_FOR_HOLDOUT = 5_000  # rows, but ...
_ENOUGH_IMAGES_FOR_HOLDOUT = 1_000  # ... a network that saw its images few times is worse off
_ENOUGH_FOR_ONE_MODEL = 1_000  # rows, to answer with one model of all instead of those of folds
_HOLDOUT_TO_LEARN_FROM = 0.095  # of the rows, to take the time of the models for one of all
_REFIT_SHARE = 0.75  # of a fold's part of the time: some specs earn no weight
_REFIT_SHARE_OF_HOLDOUT = 0.25  # of the time
_HOLDOUT, _MOST_HELD_OUT = 0.1, 0.33  # of the rows
_RARE_TO_JUDGE = 50  # rows of the rarer of two classes
_LEAST_DRAWN = 50_000  # rows
_SHARE_FOR_FEATURES, _SECONDS_TO_MAKE_A_FEATURE = 0.25, 7e-8  # of one row; of 5 million, measured
_BYTES_FOR_A_FEATURE = 24  # of one row, in all: six times its own
_FEW_ROWS, _FOLDS_OF_FEW_ROWS = 80, 5
_ENOUGH_TO_CHOOSE_BY = 2_500  # rows, for fewer folds where they are for choosing only: ...
_FOLDS_TO_CHOOSE_BY = 4  # ... one model of all rows is what answers
_FIRST_PASS = 0.6
_SHORT_OF_TIME = 1.0  # folds that the portfolio could be fitted on, below which ...
_SHORT_FIRST_PASS = 0.35  # ... most specs are cut short, and the best need the rest
_FIRST_PASS_BEFORE_OTHERS = 0.5  # where costly readers of texts come in between
_FEW_SPECS = 7  # on tables so large for the time that ...
_COMFORTABLE = 3.0  # ... the portfolio could be fitted on fewer folds than this
_ENOUGH_FOR_TWO_PASSES = 6  # specs
_TIMING_SECONDS = 2.0  # in which smaller and smaller ensembles are asked for one row
_STACK_SECONDS = 570.0  # what is left of ten minutes, below which a second layer brings nothing


@dataclass(frozen=True)
class FitPlan:
    """The decided work.

    Attributes
    ----------
    time_limit : float or None
        Seconds for the whole fit; None when the budget is in trials.
    reserve : float
        Seconds of it kept for the ensemble and the save.
    refit : bool
        Whether a model of all rows replaces those of each spec's folds, or that of a holdout.
    refit_seconds : float
        Seconds of the limit kept for that, at most.
    n_folds : int
    holdout_fraction : float or None
        Validate on one holdout instead of folds.
    layers : tuple of tuple of PlannedSpec
    late_layer : tuple of PlannedSpec
        Specs of a second layer, for the time that the first may leave.
    left_out : tuple of (key, reason)
        Portfolio specs that the plan does not try, with the cause.
    n_first : int
        Specs of a layer that have their turn first: few where the table is large for the time.
    first_pass : float
        Part of the time for them, before the best are given more and the others have their turn.
    patience : int or None
        Without a user's limit, stop after so many specs in a row that did not improve the ensemble.
    notes : tuple of str
        The reasons, one sentence each.
    """

    time_limit: float | None
    reserve: float
    refit: bool
    refit_seconds: float
    n_folds: int
    holdout_fraction: float | None
    layers: tuple[tuple[PlannedSpec, ...], ...]
    late_layer: tuple[PlannedSpec, ...]
    left_out: tuple[tuple[str, str], ...]
    n_first: int
    first_pass: float
    patience: int | None
    notes: tuple[str, ...]

    def describe(self) -> str:
        """Return the plan as text for the user."""
        limit = "no limit" if self.time_limit is None else f"{self.time_limit:.0f} s"
        folds = (
            f"holdout of {self.holdout_fraction:.0%}"
            if self.holdout_fraction is not None
            else f"{self.n_folds} folds"
        )
        lines = [f"Plan: {limit}, {folds}, {len(self.layers)} layer(s)."]
        for number, layer in enumerate(self.layers, 1):
            lines.append(f"  layer {number}: {', '.join(p.spec.key for p in layer)}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def plan_fit(
    config: FitConfig, task: Task, shape: Shape, machine: Machine, time_limit: float | None
) -> FitPlan:
    """Decide folds, layers, specs and time from the settings, the table and the machine.

    Raises
    ------
    InvalidOptionError
        When the settings name families or specs that do not exist, or leave none.
    """
    limit, patience, notes = _time(config, shape, time_limit)
    affordable = _affordable_folds(task, shape, machine, limit)
    holdout, n_folds, why = _folds(config, shape, machine, limit, affordable)
    first, left_out = first_layer(config, task, shape, limit, n_folds)
    n_layers = _n_layers(config, shape, limit, holdout)
    if config.n_layers is not None and n_layers < config.n_layers:
        why += " One layer: later ones need each row predicted out of fold."
    layers = [first, *[stack_layer(first)] * (n_layers - 1)]
    refit = _refits(config, shape, limit, holdout, n_layers)
    refit_seconds = _refit_share(n_folds) * limit if refit and limit is not None else 0.0
    if refit:
        why += _about_refit(refit_seconds, n_folds)
    may_stack = refit and _may_stack_late(config, task, shape, holdout, patience)
    late = late_layer(first) if may_stack else ()
    if late:
        why += " Time that is left goes to a second layer, which stays where it gains."
    return FitPlan(
        time_limit=limit,
        reserve=_reserve(limit, shape, task, config),
        refit=refit,
        refit_seconds=refit_seconds,
        n_folds=n_folds,
        holdout_fraction=holdout,
        layers=tuple(layers),
        late_layer=late,
        left_out=left_out,
        n_first=_FEW_SPECS if affordable < _COMFORTABLE else len(first),
        first_pass=_first_pass(first, affordable),
        patience=patience,
        notes=(*notes, why),
    )


def _time(
    config: FitConfig, shape: Shape, time_limit: float | None
) -> tuple[float | None, int | None, tuple[str, ...]]:
    """Return the time limit, the patience in specs, and what to say about them."""
    if time_limit is not None:
        return time_limit, None, ()
    if config.max_specs is not None:
        return None, None, ("The budget is in trials: the clock is not looked at.",)
    growth = min(6.0, max(1.0, shape.n_samples / _SMALL_TABLE))
    limit = config.max_seconds_without_limit * growth
    note = (
        f"No time limit was given: at most {limit:.0f} s, "
        "less when more models no longer improve the ensemble."
    )
    return limit, 4, (note,)


def n_to_learn_from(
    config: FitConfig, n_given: int, n_features: int, machine: Machine, limit: float | None
) -> int:
    """Return how many of a table's rows to make features of, at most all.

    As many as there is time and memory for beside the models, which draw from them what each has
    time for.
    """
    if config.max_rows is not None:
        return min(n_given, config.max_rows)
    limit, _, _ = _time(config, Shape(n_given, n_features), limit)
    if limit is None:
        return n_given
    n_features = max(1, n_features)
    in_time = _SHARE_FOR_FEATURES * limit / (_SECONDS_TO_MAKE_A_FEATURE * n_features)
    in_memory = machine.n_bytes / (_BYTES_FOR_A_FEATURE * n_features)
    n_wanted = max(_LEAST_DRAWN, min(in_time, in_memory))
    return int(n_wanted) if n_wanted < WORTH_DRAWING * n_given else n_given


def _affordable_folds(task: Task, shape: Shape, machine: Machine, limit: float | None) -> float:
    """Return on how many folds a short portfolio could be fitted in time."""
    if limit is None:
        return math.inf
    seconds = _CORE_SECONDS_PER_CELL * _cells(task, shape)
    if Kind.IMAGE in shape.raw_kinds:
        seconds += _CORE_SECONDS_PER_IMAGE_ROW * shape.n_samples
    return limit * machine.fold_cores(MOST_FOLDS) / seconds


def _folds(
    config: FitConfig, shape: Shape, machine: Machine, limit: float | None, affordable: float
) -> tuple[float | None, int, str]:
    """Return (holdout fraction or None, number of folds, reason)."""
    if shape.given is not None:
        return _as_given(shape.given, shape.n_samples)
    if config.n_folds is not None:
        return None, config.n_folds, f"{config.n_folds} folds, as asked."
    if config.holdout_fraction is not None:
        fraction = _held_out(config.holdout_fraction, shape)
        return fraction, 1, f"Holdout of {fraction:.0%}, as the preset or the settings ask."
    n_cores = machine.fold_cores(MOST_FOLDS)
    most = _most_folds(config, shape, limit, n_cores)
    if shape.n_groups is not None:
        most = min(most, max(2, shape.n_groups))
    if limit is None:  # the same folds, and so the same predictor, on any number of cores
        return None, most, f"{most} folds, the most that is known to help."
    most = _even(most, n_cores)
    has_images = Kind.IMAGE in shape.raw_kinds
    enough = _ENOUGH_IMAGES_FOR_HOLDOUT if has_images else _ENOUGH_FOR_HOLDOUT
    if affordable < 0.7 and shape.n_samples >= enough:
        fraction = _held_out(_HOLDOUT, shape)
        return fraction, 1, f"Holdout of {fraction:.0%}: bagging would not end in {limit:.0f} s."
    n_folds = _even(int(min(most, max(4, affordable))), n_cores)
    return None, n_folds, f"{n_folds} folds, for {shape.n_samples} rows in {limit:.0f} s."


def _as_given(folds: Folds, n_samples: int) -> tuple[float | None, int, str]:
    """Return what `_folds` does, for the user's own."""
    if len(folds) > 1:
        return None, len(folds), "Folds as the table gives them."
    return len(folds.validated) / n_samples, 1, "A holdout, as the table gives it."


def _most_folds(config: FitConfig, shape: Shape, limit: float | None, n_cores: int) -> int:
    """Return how many folds are worth their time.

    Few where they only choose, as a model of all rows answers; but those that the cores fit side by
    side cost little.
    """
    if shape.n_samples < _FEW_ROWS:
        return _FOLDS_OF_FEW_ROWS
    if limit is None or shape.n_samples < _ENOUGH_TO_CHOOSE_BY:
        return MOST_FOLDS
    n_layers = _n_layers(config, shape, limit, holdout=None)
    if not _refits(config, shape, limit, holdout=None, n_layers=n_layers):
        return MOST_FOLDS
    return min(MOST_FOLDS, max(_FOLDS_TO_CHOOSE_BY, n_cores))


def _even(n_folds: int, n_cores: int) -> int:
    """Round down to a multiple of the cores, so that no core idles in the last wave."""
    return n_folds // n_cores * n_cores if 1 < n_cores <= n_folds // 2 else n_folds


def _cells(task: Task, shape: Shape) -> float:
    """Return the table's cells, times the trees that each round of a booster grows."""
    n_trees = max(1.0, task.n_classes / 3) if task.n_classes > 2 else 1.0
    return shape.n_samples * max(8, shape.n_features) * n_trees


def _held_out(fraction: float, shape: Shape) -> float:
    """Return the share of rows to hold out where so much is asked, or was held out before.

    Less on large tables, as 25,000 rows are enough to choose models by, and more where one of two
    classes is rare: what a handful of its rows chooses is chosen by chance.
    """
    enough = min(fraction, max(0.02, 25_000 / shape.n_samples))
    if not shape.n_rarest:
        return enough
    return max(enough, min(_MOST_HELD_OUT, _RARE_TO_JUDGE / shape.n_rarest))


def _n_layers(config: FitConfig, shape: Shape, limit: float | None, holdout: float | None) -> int:
    """Return 2 where stacking pays: time, rows, each row predicted out of fold, and no refit.

    One layer fitted on all rows gains more than the second does.
    """
    if holdout is not None or not shape.each_validated or config.refit:
        return 1
    if config.n_layers is not None:
        return config.n_layers
    if _refits(config, shape, limit, holdout, n_layers=1):
        return 1
    enough_time = limit is not None and limit >= _STACK_SECONDS
    return 2 if enough_time and 5_000 <= shape.n_samples <= 200_000 else 1


def _may_stack_late(
    config: FitConfig, task: Task, shape: Shape, holdout: float | None, patience: int | None
) -> bool:
    """Return whether time that is left may go to a second layer before the refit.

    Not where the user asked for a number of layers, for few models or for few trials, nor for the
    sake of a fit without a limit, which is to end early. Between two classes none of five tables
    gained by it, though the out-of-fold score of one did.
    """
    as_asked = config.n_layers is None and config.refit is None and config.max_specs is None
    each_out_of_fold = holdout is None and shape.each_validated
    suits = shape.n_samples >= _ENOUGH_TO_CHOOSE_BY and task.n_classes != 2
    return as_asked and each_out_of_fold and suits and patience is None


def _reserve(limit: float | None, shape: Shape, task: Task, config: FitConfig) -> float:
    """Return the seconds kept for choosing the ensemble and saving it."""
    if limit is None:
        return 0.0
    outputs = shape.n_samples * task.n_outputs
    seconds = 0.5 + 0.015 * limit + outputs / 1e6
    if config.max_latency_ms is not None:
        seconds += _TIMING_SECONDS
    return min(0.25 * limit, seconds)


def _refits(
    config: FitConfig, shape: Shape, limit: float | None, holdout: float | None, n_layers: int
) -> bool:
    """Return whether the chosen specs are fitted once more, on all rows.

    It costs little next to many folds, and pays after a holdout that is not small. On few rows the
    mean of the folds' models is the safer choice; with texts and images it was not measured. Who
    names a cluster may not want to fit here, but a budget in trials is to give what one machine
    gives.
    """
    if config.refit is not None:
        return config.refit
    here = config.cluster is None or limit is None
    # In time order the folds' models know the latest rows least, or not at all.
    enough = shape.n_samples >= _ENOUGH_FOR_ONE_MODEL or shape.in_time_order
    measured = enough and not shape.raw_kinds
    learns_more = holdout is None or holdout >= _HOLDOUT_TO_LEARN_FROM
    return here and measured and learns_more and n_layers == 1


def _refit_share(n_folds: int) -> float:
    """Return the part of the time for models of all rows."""
    return _REFIT_SHARE / (n_folds + 1) if n_folds > 1 else _REFIT_SHARE_OF_HOLDOUT


def _about_refit(seconds: float, n_folds: int) -> str:
    kept = f" At most {seconds:.0f} s are kept for it." if seconds else ""
    replaced = "those of a spec's folds" if n_folds > 1 else "that of a spec's training rows"
    return f" At the end, a model of all rows replaces {replaced}.{kept}"


def _first_pass(specs: Sequence[PlannedSpec], affordable: float) -> float:
    """Return the part of the time for the first specs."""
    if any(planned.after is not None for planned in specs):
        return _FIRST_PASS_BEFORE_OTHERS
    # So few specs are given all the time at once: a repeat starts from nothing.
    # Nor do they gain by waiting for a family that most of the time is for.
    if len(specs) < _ENOUGH_FOR_TWO_PASSES or _rest_on_one(specs):
        return 1.0
    return _SHORT_FIRST_PASS if affordable < _SHORT_OF_TIME else _FIRST_PASS


def _rest_on_one(specs: Sequence[PlannedSpec]) -> bool:
    """Return whether one spec costs more than all the others together."""
    costs = [planned.cost for planned in specs]
    return 2 * max(costs) > sum(costs)


def is_finite_limit(value: object) -> bool:
    """Return whether ``value`` can be a time limit: a positive, finite number of seconds."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return math.isfinite(value) and float(value) > 0
