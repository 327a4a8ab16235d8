"""Bags replaced by one model of all rows, with the choices that their folds made."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import DataError, OutOfMemoryError, OutOfTimeError
from tabular_automl.core.events import Note, Reporter
from tabular_automl.core.memory import release_memory
from tabular_automl.core.parallel import Machine
from tabular_automl.core.watching import run_until
from tabular_automl.data.folds import Folds
from tabular_automl.data.table import Samples
from tabular_automl.ensemble.bagging import CUT_SHORT, SAVE_SECONDS, Bag, BagFit, seconds_to_save
from tabular_automl.ensemble.fold_work import check_prediction, trains_folds_together
from tabular_automl.models.base import MODELS, FittedSpec

# What a model of all rows takes, each row, in the time of a fold of two side by side: it has both
# cores for itself, which do not halve its time.
_OF_A_FOLD = 1.15
_OF_ALL_TOGETHER = 0.38  # of the bag's time, where its folds are trained as one
_OF_HOLDOUT = 1.1  # of the time of a holdout's model, which had both cores too
_ENOUGH = 0.7  # of what is needed, which is often less: without it, it is not begun
_AS_MUCH = 0.95  # of what the folds learned: with less, it was cut short
_AMPLE = 2.0  # times what is needed: a fit that takes most of its time may have been cut short
_LITTLE = 0.1  # of the weight: the mean of several models is worth next to nothing there
_NEARLY_ALL = 0.9  # of the rows of the largest fold
_LEAST_SHARE = 0.3  # seconds: what took a moment may take two
_ROWS_TO_CHECK = 200


@dataclass(frozen=True)
class RefitRequest:
    """What `refit_in_time` is asked to do.

    Attributes
    ----------
    samples : mapping of int to Samples
        All rows, as each layer reads them.
    order : sequence of str
        Keys of the bags in the order in which they have their turn.
    needed : mapping of str to float
        `seconds_to_refit` of each bag, by key.
    n_bytes : int
        Memory there is for one model.
    on_error : str
        "skip" or "raise".
    report : Reporter
        Told which bags stay, and why.
    """

    samples: Mapping[int, Samples] = field(repr=False)
    order: Sequence[str]
    needed: Mapping[str, float]
    n_bytes: int
    on_error: str
    report: Reporter


def seconds_to_refit(fit: BagFit, folds: Folds, machine: Machine) -> float:
    """Return about how long a fit on all rows takes here, from the wall time of a bag's folds."""
    n_rows = len(folds.train[-1]) + len(folds.valid[-1])  # in time order, others have fewer
    more_rows = n_rows * len(folds) / sum(map(len, folds.train))
    seconds = fit.fit_seconds * max(1.0, machine.fold_cores(len(folds)) / machine.n_cores)
    if len(folds) == 1:
        return _OF_HOLDOUT * more_rows * seconds
    if trains_folds_together(MODELS.get(fit.spec.family)):
        return _OF_ALL_TOGETHER * more_rows * seconds
    # More cores help one model less than they help folds side by side.
    crowd = max(1.0, min(machine.n_cores, len(folds)) / 2.0) ** 0.5
    return _OF_A_FOLD * crowd * more_rows * seconds / len(folds)


def refit_bag(bag: Bag, samples: Samples, budget: Budget) -> Bag:
    """Return the bag with one model of all rows.

    Raises
    ------
    OutOfTimeError
        When the budget ends before there is a model.
    """
    chosen = middle_fold(bag.models)
    model = MODELS.get(chosen.family)(chosen.model.fitted_params(), chosen.model.setting)
    model.take_over(chosen.model)
    model.fit(samples, None, budget)
    return replace(bag, models=(FittedSpec(chosen.family, model),))


def refit_in_time(bags: Sequence[Bag], request: RefitRequest, budget: Budget) -> tuple[Bag, ...]:
    """Return the bags, those that can be fitted on all rows in time replaced by one model.

    A bag stays as it is where its family cannot be asked to stop, where time or memory is too short
    for all that its folds learned, and where the fit fails.
    """
    by_key = {bag.key: bag for bag in bags}
    # The fold models that stay are to be saved in time.
    saving = {bag.key: seconds_to_save(bag) for bag in bags} if budget.limited else {}
    waiting = [key for key in request.order if can_be_refitted(by_key[key])]
    while waiting and not budget.stopped:
        key = waiting.pop(0)
        release_memory(collect=False)  # of the model before; cycles are not worth their time here
        needed, others = request.needed[key], sum(request.needed[other] for other in waiting)
        share = _share(budget, saving, needed, needed / max(1e-9, needed + others))
        try:
            by_key[key] = _refit_within(by_key[key], request, share, needed)
            saving[key] = 0.0
        except (OutOfTimeError, OutOfMemoryError, DataError) as error:
            request.report(Note(f"{key} is not fitted on all rows: {error}"))
        except Exception as error:  # the fold models predict as well: nothing may be lost here
            if request.on_error == "raise":
                raise
            cause = f"{type(error).__name__}: {error}"
            request.report(Note(f"{key} could not be fitted on all rows: {cause}"))
    for key in waiting:
        request.report(Note(f"{key} is not fitted on all rows: interrupted"))
    for bag in bags:
        if _can_be_stopped(bag) and _drew(bag):
            told = f"{bag.key} is not fitted on all rows"
            request.report(Note(f"{told}: its folds had no time for all of theirs"))
    return tuple(by_key[bag.key] for bag in bags)


def lightened(
    bags: Sequence[Bag], importance: Mapping[str, float], folds: Folds, report: Reporter
) -> tuple[Bag, ...]:
    """Return the bags, the lightest of those that were to be refitted with one fold's model.

    Every model takes its time in each prediction, however little its answer counts. All that are
    lightened weigh little together.
    """
    heavy = [bag for bag in bags if len(bag.models) == len(folds) > 1 and _can_be_stopped(bag)]
    by_key, total = {bag.key: bag for bag in bags}, 0.0
    for bag in sorted(heavy, key=lambda bag: importance[bag.key]):
        key, total = bag.key, total + importance[bag.key]
        if total >= _LITTLE:
            break
        by_key[key] = of_one_fold(bag, folds)
        report(Note(f"{key}, of weight {importance[key]:.2f}, answers with one fold's model."))
    return tuple(by_key[bag.key] for bag in bags)


def of_one_fold(bag: Bag, folds: Folds) -> Bag:
    """Return a bag of fold models with one of them alone, of a fold that saw nearly all rows."""
    if len(bag.models) != len(folds):
        return bag
    sizes = [len(rows) for rows in folds.train]
    whole = [i for i, size in enumerate(sizes) if size >= _NEARLY_ALL * max(sizes)]
    chosen = middle_fold([bag.models[i] for i in whole])  # in time order, the last
    return replace(bag, models=(chosen,))


def seconds_beside_refits(refits: Sequence[tuple[float, float]], others: float) -> float:
    """Return how long, beside the refits, the end of a fit may take for saves of fold models.

    At any moment the models of folds that are not replaced yet must still be saved in time, those
    of the bag that is being replaced among them.

    Parameters
    ----------
    refits : sequence of (float, float)
        Seconds to refit each bag, in their order, and to save the models of its folds.
    others : float
        Seconds to save the bags that are not replaced.
    """
    done, needed = 0.0, 0.0
    waiting = sum(saving for _, saving in refits)
    for refit, saving in refits:
        done += refit
        needed = max(needed, done + waiting)
        waiting -= saving
    return others + max(0.0, needed - done)


def as_refitted(bags: Sequence[Bag]) -> tuple[Bag, ...]:
    """Return bags that answer as fast as the refitted ones: with the first fold's model alone."""
    return tuple(
        replace(bag, models=bag.models[:1]) if can_be_refitted(bag) else bag for bag in bags
    )


def _share(budget: Budget, saving: Mapping[str, float], needed: float, part: float) -> Budget:
    """Return the time for one bag: its part, ample for what it needs, never that of the save."""
    if not budget.limited:
        return budget
    kept = max(0.0, sum(saving.values()) - SAVE_SECONDS)
    budget = budget.within(budget.remaining() - kept)
    ample = max(_LEAST_SHARE, _AMPLE * needed)
    return budget.within(max(part * budget.remaining(), ample))


def can_be_refitted(bag: Bag) -> bool:
    """Return whether `refit_in_time` replaces the bag, given the time.

    Not where a fold had no time for all of its rows: there would be none for all of the table's.
    """
    return _can_be_stopped(bag) and not _drew(bag)


def _can_be_stopped(bag: Bag) -> bool:
    return MODELS.get(bag.models[0].family).interruptible


def _drew(bag: Bag) -> bool:
    return any(fitted.model.n_drawn is not None for fitted in bag.models)


def middle_fold(models: Sequence[FittedSpec]) -> FittedSpec:
    """Return the fold model whose choices are in the middle of those that the folds made.

    Folds are ordered by the product of the numbers in which they differ. For boosters that is what
    they learned, rounds times learning rate, which only together make sense. Of two in the middle
    it is the larger one: all rows bear a little more. A fold that chose nothing, for want of
    classes, counts only where none did.
    """
    chosen = [fitted.model.fitted_params().to_dict() for fitted in models]
    made = [i for i, each in enumerate(models) if chosen[i] != each.model.params.to_dict()]
    made = made or list(range(len(models)))
    names = [name for name in chosen[made[0]] if _differ([chosen[i][name] for i in made])]
    ordered = sorted(made, key=lambda i: math.prod(chosen[i][name] for name in names))
    return models[ordered[len(ordered) // 2]]


def _differ(values: Sequence[Any]) -> bool:
    """Return whether the values are numbers, and not all the same."""
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    return numbers and len(set(values)) > 1


def _refit_within(bag: Bag, request: RefitRequest, budget: Budget, needed: float) -> Bag:
    """Return the bag with one model of all rows.

    Raises
    ------
    OutOfTimeError, OutOfMemoryError
        When there is too little for a model as good as those of the folds.
    DataError
        When the folds' models made no choices that all rows could be learned with.
    """
    first, given, samples = bag.models[0], budget.remaining(), request.samples[bag.layer]
    if given < _ENOUGH * needed:
        raise OutOfTimeError(f"it needs about {needed:.1f} s, {given:.1f} are left")
    task, family = first.model.setting.task, MODELS.get(first.family)
    n_bytes = family.estimate_bytes(first.model.params, samples.table, task)
    if n_bytes > request.n_bytes:
        raise OutOfMemoryError(
            f"it needs {n_bytes / 1e9:.1f} GB of memory, there are {request.n_bytes / 1e9:.1f}"
        )
    rows = samples.take(np.arange(min(len(samples), _ROWS_TO_CHECK))).table

    def fit_and_check() -> Bag:
        refitted = refit_bag(bag, samples, budget)
        check_prediction(refitted.predict(rows), len(rows), task)
        for fitted in refitted.models:
            fitted.model.set_aside()
        return refitted

    start = time.monotonic()
    refitted = run_until(fit_and_check, budget)
    model = refitted.models[0].model
    before, after = middle_fold(bag.models).model.amount_learned(), model.amount_learned()
    if before is None and after is not None:
        raise DataError("its folds found nothing to learn")
    if before is None or after is None:
        cut_short = time.monotonic() - start > CUT_SHORT * given
    else:
        cut_short = after < _AS_MUCH * before
    if cut_short or model.hurried:
        raise OutOfTimeError("there was no time to learn as much on all rows")
    return refitted
