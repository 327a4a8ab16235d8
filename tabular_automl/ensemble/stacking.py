"""Layers of bags: each spec of the plan is tried under the clock, layer after layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tabular_automl.core.budget import Budget
from tabular_automl.data.table import Samples
from tabular_automl.ensemble.bagging import fit_bag
from tabular_automl.ensemble.fold_work import BagRequest
from tabular_automl.ensemble.layer import Candidate, Layer, Skipped, StackRequest, ensemble_weights
from tabular_automl.ensemble.resuming import Workbook
from tabular_automl.ensemble.schedule import Schedule
from tabular_automl.ensemble.stack import extend_table
from tabular_automl.models.base import ModelSpec


@dataclass(frozen=True)
class StackFit:
    """Everything that was tried.

    Attributes
    ----------
    candidates : tuple of Candidate
    skipped : tuple of Skipped
    feeds : mapping of int to tuple of str
        Layer to the keys of the bags it reads.
    refit_seconds : float
        Time that is kept for models of all rows.
    """

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]
    feeds: Mapping[int, tuple[str, ...]]
    refit_seconds: float = 0.0


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
    feeds: dict[int, tuple[str, ...]] = {}
    refit_seconds = 0.0
    samples = request.samples
    for number, specs in enumerate(request.layers, 1):
        part = budget.share(1.0 if number == len(request.layers) else 0.75)
        if number > 1:
            if not any(candidate.bag.layer == number - 1 for candidate in candidates):
                break
            inputs = _stack_inputs(request, candidates, number - 1, part)
            feeds[number] = tuple(candidate.bag.key for candidate in inputs)
            samples = _stack_samples(request.samples, inputs)
        layer = Layer(request, number, samples, part)
        Schedule(layer).run(specs)
        _take_unclaimed(layer, request.workbook)
        refit_seconds = layer.refit_seconds
        candidates += layer.candidates
        skipped += layer.skipped
    if not candidates:
        if budget.stopped:
            raise KeyboardInterrupt("nothing was finished yet")
        candidates.append(_base_rate(request))
    return StackFit(tuple(candidates), tuple(skipped), feeds, refit_seconds)


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
