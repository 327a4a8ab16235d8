"""Bags replaced by one model of all rows, with the choices that their folds made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import AutoMLError
from tabular_automl.core.events import Note, Reporter
from tabular_automl.core.params import Params
from tabular_automl.core.watching import run_until
from tabular_automl.data.table import Samples
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.models.base import MODELS, FittedSpec

# Of the time of an average fold: a model of all rows has more of them, and the cores for itself,
# which do not halve its time.
_FOLDS_TIME = 1.5


def refit_bag(bag: Bag, samples: Samples, budget: Budget) -> Bag:
    """Return the bag with one model of all rows.

    Raises
    ------
    OutOfTimeError
        When the budget ends before there is a model.
    """
    first = bag.models[0]
    params = common_params([fitted.model.fitted_params() for fitted in bag.models])
    model = MODELS.get(first.family)(params, first.model.setting)
    model.take_over(first.model)
    model.fit(samples, None, budget)
    return replace(bag, models=(FittedSpec(first.family, model),))


def refit_in_time(
    bags: Sequence[Bag],
    order: Sequence[str],
    fit_seconds: Mapping[str, float],
    samples: Samples,
    budget: Budget,
    report: Reporter,
) -> tuple[Bag, ...]:
    """Return the bags, those that can be fitted on all rows in time replaced by one model.

    A bag stays as it is where it has one model already, where its family cannot be asked to stop,
    and where time is too short for all that its folds learned.

    Parameters
    ----------
    bags : sequence of Bag
    order : sequence of str
        Keys of the bags in the order in which they have their turn.
    fit_seconds : mapping of str to float
        Wall time that each bag's folds took, by key.
    samples : Samples
        All rows.
    budget : Budget
        For all of them; a bag gets its part by what it is expected to need.
    report : Reporter
    """
    by_key = {bag.key: bag for bag in bags}
    needed = {key: _seconds_needed(by_key[key], fit_seconds[key]) for key in order}
    waiting = [key for key in order if _can_be_refitted(by_key[key])]
    kept = []
    while waiting:
        key = waiting.pop(0)
        others = sum(needed[other] for other in waiting)
        share = budget.share(needed[key] / max(needed[key] + others, 1e-9))
        refitted = _refit_within(by_key[key], samples, share, needed[key])
        if refitted is None:
            kept.append(key)
        else:
            by_key[key] = refitted
    if kept:
        report(Note(f"No time to fit these on all rows, their fold models stay: {', '.join(kept)}"))
    return tuple(by_key[bag.key] for bag in bags)


def common_params(chosen: Sequence[Params]) -> Params:
    """Return one set of params for what the folds chose: medians of numbers, else the first's."""
    values: dict[str, Any] = chosen[0].to_dict()
    for name, first in values.items():
        found = [getattr(params, name) for params in chosen]
        if isinstance(first, bool) or not all(isinstance(value, (int, float)) for value in found):
            continue
        middle = float(np.median(found))
        values[name] = round(middle) if isinstance(first, int) else middle
    return type(chosen[0]).from_dict(values)


def _can_be_refitted(bag: Bag) -> bool:
    return len(bag.models) > 1 and MODELS.get(bag.models[0].family).interruptible


def _seconds_needed(bag: Bag, fit_seconds: float) -> float:
    return _FOLDS_TIME * fit_seconds / len(bag.models)


def _refit_within(bag: Bag, samples: Samples, budget: Budget, needed: float) -> Bag | None:
    """Return the bag with one model of all rows; None where time does not allow a good one."""
    if budget.remaining() < needed / _FOLDS_TIME:
        return None
    try:
        refitted = run_until(lambda: refit_bag(bag, samples, budget), budget)
    except (AutoMLError, MemoryError):  # the fold models are there, and predict as well
        return None
    return None if refitted.models[0].model.hurried else refitted
