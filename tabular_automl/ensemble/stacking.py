"""Layers of bags: each spec of the plan is tried under the clock, layer after layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tabular_automl.core.budget import Budget
from tabular_automl.core.events import Note
from tabular_automl.data.table import Samples
from tabular_automl.ensemble.bagging import fit_bag
from tabular_automl.ensemble.candidates import (
    Candidate,
    PlannedSpec,
    Skipped,
    StackRequest,
    ensemble_weights,
)
from tabular_automl.ensemble.fold_work import BagRequest
from tabular_automl.ensemble.layer import MORE_THAN_NEEDED, NO_TIME, Layer
from tabular_automl.ensemble.refitting import can_be_refitted, seconds_to_refit
from tabular_automl.ensemble.resuming import Workbook
from tabular_automl.ensemble.schedule import Schedule
from tabular_automl.ensemble.stack import extend_table
from tabular_automl.ensemble.weights import blend
from tabular_automl.models.base import ModelSpec

_LATE_SHARE = 0.65  # of the time that is left; models of all rows and the save have the rest
_LEAST_LATE = 2.0  # seconds, for a layer more
_REPEATED = 4  # specs of the layer before that the late one has again, at most
# Quick ones. No linear models: they find in the outputs that they learn from what other folds'
# models knew of the rows to predict.
_LATE_FAMILIES = ("lightgbm", "xgboost", "catboost", "extra_trees", "random_forest", "neighbors")
_ENOUGH_FOR_SLOW = 15.0  # seconds, for other families
_WORTH = 0.003  # part of the error that a late layer must gain: all answers wait for it


@dataclass(frozen=True)
class StackFit:
    """Everything that was tried.

    Attributes
    ----------
    candidates : tuple of Candidate
    skipped : tuple of Skipped
    feeds : mapping of int to tuple of str
        Layer to the keys of the bags it reads.
    samples : mapping of int to Samples
        What each layer learned from.
    refit_seconds : float
        Time that is kept for models of all rows.
    behind : tuple of Candidate
        Those of the skipped specs that were fitted all the same, see `Layer`.
    """

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]
    feeds: Mapping[int, tuple[str, ...]]
    samples: Mapping[int, Samples]
    refit_seconds: float = 0.0
    behind: tuple[Candidate, ...] = ()


def fit_stack(request: StackRequest, budget: Budget) -> StackFit:
    """Fit the planned layers, each within its part of the time; what a refit needs is left over.

    There is always something to return: when no spec of the first layer gives a bag, the base rate
    is fitted, whatever the clock says.

    Raises
    ------
    KeyboardInterrupt
        When the budget was stopped before any bag was finished.
    """
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    behind: list[Candidate] = []
    feeds: dict[int, tuple[str, ...]] = {}
    samples = {1: request.samples}
    layer: Layer | None = None
    for number, specs in enumerate(request.layers, 1):
        part = budget.share(1.0 if number == len(request.layers) else 0.75)
        if number > 1:
            if not any(candidate.bag.layer == number - 1 for candidate in candidates):
                break
            inputs = _stack_inputs(request, candidates, number - 1, part)
            feeds[number] = tuple(candidate.bag.key for candidate in inputs)
            samples[number] = _stack_samples(request.samples, inputs)
        layer = Layer(request, number, samples[number], part)
        Schedule(layer).run(specs)
        _take_unclaimed(layer, request.workbook)
        candidates += layer.candidates
        skipped += layer.skipped
        behind += layer.behind.values() if number == 1 else ()
    if layer is None or not candidates:
        if budget.stopped:
            raise KeyboardInterrupt("nothing was finished yet")
        return StackFit((_base_rate(request),), tuple(skipped), feeds, samples)
    found = StackFit(
        tuple(candidates), tuple(skipped), feeds, samples, layer.refit_seconds, tuple(behind)
    )
    return _with_late_layer(found, layer) if request.late_layer else found


def _with_late_layer(found: StackFit, before: Layer) -> StackFit:
    """Return the stack with one layer more, where there is time for it and it gains enough."""
    request, number = before.request, before.number + 1
    budget = before.time_beside_save().share(_LATE_SHARE)
    inputs = _stack_inputs(request, found.candidates, before.number, budget)
    specs = _late_specs(request.late_layer, inputs, budget.remaining())
    if not (inputs and specs) or budget.remaining() < _LEAST_LATE:
        return found
    samples = _stack_samples(request.samples, inputs)
    late_request = replace(request, layers=(*request.layers, specs), refit_seconds=0.0)
    layer = Layer(late_request, number, samples, budget)
    for planned in layer.try_all(specs, budget):
        layer.skip(layer.key_of(planned.spec), NO_TIME)
    together = (*before.candidates, *layer.candidates)
    weights = ensemble_weights(request, together, before.budget, guard=False)
    alone = np.array(list(before.weights().values()))
    gain = _gain(request, (before.candidates, alone), (together, weights))
    if gain < _WORTH:
        request.report(Note(f"A second layer gains {max(0.0, gain):.1%}: the ensemble has one."))
        reason = f"the second layer gained less than {_WORTH:.1%}"
        without = tuple(Skipped(each.bag.key, number, reason) for each in layer.candidates)
        return replace(found, skipped=(*found.skipped, *layer.skipped, *without))
    request.report(Note(f"A second layer gains {gain:.1%}."))
    return StackFit(
        candidates=together,
        skipped=(*found.skipped, *layer.skipped),
        feeds={**found.feeds, number: tuple(each.bag.key for each in inputs)},
        samples={**found.samples, number: samples},
        refit_seconds=found.refit_seconds + _late_refits(request, number, together, weights),
        behind=found.behind,
    )


def _late_refits(
    request: StackRequest,
    number: int,
    candidates: Sequence[Candidate],
    weights: npt.NDArray[np.float64],
) -> float:
    """Return the seconds that models of all rows take for the bags with weight of one layer."""
    if not request.refit_seconds:
        return 0.0
    needed = [
        seconds_to_refit(each.fit, request.folds, request.machine)
        for each, weight in zip(candidates, weights, strict=True)
        if each.bag.layer == number and weight > 0.0 and can_be_refitted(each.bag)
    ]
    return MORE_THAN_NEEDED * sum(needed)


def _late_specs(
    planned: Sequence[PlannedSpec], inputs: Sequence[Candidate], seconds: float
) -> tuple[PlannedSpec, ...]:
    """Return the best specs of the layer before that are quick, and the planned ones."""
    if seconds < _ENOUGH_FOR_SLOW:
        planned = [each for each in planned if each.spec.family in _LATE_FAMILIES]
    known = {each.spec.key for each in planned}
    again: dict[str, ModelSpec] = {}  # a spec and its longer repeat have one key
    for each in sorted(inputs, key=lambda each: -each.score):
        spec = each.fit.spec
        if _is_late(spec) and spec.key not in known:
            again.setdefault(spec.key, spec)
    cost_of = {each.spec.family: each.cost for each in planned}
    repeated = [PlannedSpec(spec, cost_of.get(spec.family, 1.0)) for spec in again.values()]
    return (*repeated[:_REPEATED], *planned)


def _is_late(spec: ModelSpec) -> bool:
    """Return whether a spec learns in a late layer too: not from differences of outputs."""
    return spec.family in _LATE_FAMILIES and not spec.params.to_dict().get("n_pairs")


_Weighed = tuple[Sequence[Candidate], npt.NDArray[np.float64]]


def _gain(request: StackRequest, before: _Weighed, after: _Weighed) -> float:
    """Return by what part of its error an ensemble gains by more candidates."""

    def error(candidates: Sequence[Candidate], weights: npt.NDArray[np.float64]) -> float:
        blended = blend([each.prediction for each in candidates], weights)
        return request.judge.error(blended, request.folds.validated)

    alone = error(*before)
    return (alone - error(*after)) / max(1e-12, abs(alone))


def _take_unclaimed(layer: Layer, book: Workbook | None) -> None:
    """Take the bags of an earlier fit that this one did not come to: they cost nothing.

    But for those whose name another bag has by now: a repeat with other params, say.
    """
    taken = {candidate.bag.key for candidate in layer.candidates}
    for spec in book.unclaimed(layer.bag_request) if book is not None else ():
        if spec.key not in taken:
            layer.try_spec(spec, spec.key, layer.budget)


def _stack_inputs(
    request: StackRequest, candidates: Sequence[Candidate], layer: int, budget: Budget
) -> list[Candidate]:
    """Return the bags of a layer that feed the next one.

    Only those that the layer's own ensemble gives weight: fewer models to keep, less noise.
    """
    inputs = [candidate for candidate in candidates if candidate.bag.layer == layer]
    weights = ensemble_weights(request, inputs, budget, guard=False)
    return [candidate for candidate, w in zip(inputs, weights, strict=True) if w > 0]


def _stack_samples(samples: Samples, inputs: Sequence[Candidate]) -> Samples:
    """Return the next layer's samples: the features and the inputs' out-of-fold outputs."""
    bags, oofs = [c.bag for c in inputs], [c.fit.oof for c in inputs]
    return Samples(extend_table(samples.table, bags, oofs), samples.y, samples.weight)


def _base_rate(request: StackRequest) -> Candidate:
    """Fit the base rate, which needs no time to speak of; here, whatever became of a cluster."""
    spec = ModelSpec.make("prior")
    bag_request = BagRequest(spec, spec.key, 1, request.setting, request.samples, request.folds)
    here = replace(request.machine, cluster=None)
    fit = fit_bag(bag_request, Budget.unlimited(), here)
    prediction = request.judge.decode(fit.oof)
    return Candidate(fit, prediction, request.judge.score(prediction, request.folds.validated))
