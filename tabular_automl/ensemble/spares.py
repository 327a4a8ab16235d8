"""Quick models that an ensemble does not ask: what a smaller predictor may answer with alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from tabular_automl.ensemble.bagging import Bag
from tabular_automl.ensemble.candidates import Candidate
from tabular_automl.ensemble.refitting import can_be_refitted
from tabular_automl.ensemble.stack import FittedStack

# What predicts ten times as fast as others often has no weight beside them. For each of these
# factors, the best model that is so many times as quick as the ensemble is kept.
_TIMES_AS_QUICK = (3.0, 10.0, 30.0)
_MOST_BYTES = 10_000_000  # of one: large forests are not quick to load


def find_spares(
    candidates: Sequence[Candidate], stack: FittedStack, *, refit: bool
) -> tuple[Bag, ...]:
    """Return bags of the first layer that are much quicker than all that the stack asks.

    None is kept that another one beats: as quick and as good, be it of the stack or not.

    Parameters
    ----------
    candidates : sequence of Candidate
        All that was tried, the bags of the stack among it.
    stack : FittedStack
    refit : bool
        Whether one model of all rows is to take the place of a bag's fold models.
    """
    asked = {bag.key for bag in stack.bags}
    seconds = {each.bag.key: _seconds_to_answer(each, refit=refit) for each in candidates}
    together = sum(seconds[key] for key in asked)
    best_first = sorted(candidates, key=lambda each: -each.score)
    bags = {each.bag.key: each.bag for each in best_first if each.bag.layer == 1}

    @cache
    def may_stay(key: str) -> bool:
        return key in asked or _is_small(bags[key])

    found: dict[str, Bag] = {}
    for factor in _TIMES_AS_QUICK:
        quick = (key for key in bags if factor * seconds[key] <= together)
        best = next(filter(may_stay, quick), None)
        if best is not None and best not in asked:
            found[best] = bags[best]
    return tuple(found.values())


def _is_small(bag: Bag) -> bool:
    return len(bag.models) * bag.models[0].state().n_bytes <= _MOST_BYTES


def _seconds_to_answer(candidate: Candidate, *, refit: bool) -> float:
    """Return how long the bag takes for the validated rows, as it is going to be."""
    is_one = refit and can_be_refitted(candidate.bag)
    return candidate.fit.predict_seconds * (1 if is_one else len(candidate.bag.models))
