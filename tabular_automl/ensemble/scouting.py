"""A look at specs on the first folds only, before the others are paid for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tabular_automl.core.budget import Budget
from tabular_automl.core.events import Event, Reporter, SpecStarted
from tabular_automl.core.parallel import Machine
from tabular_automl.data.folds import Folds
from tabular_automl.ensemble.bagging import FoldMemory
from tabular_automl.ensemble.candidates import Candidate, StackRequest
from tabular_automl.ensemble.fold_work import BagRequest, FoldFit
from tabular_automl.ensemble.layer import Layer

NO_WEIGHT = "no weight in the ensemble of the first folds"
_ENOUGH_ROWS = 2_500  # to tell by an ensemble's weights which specs are of use
_EVEN = 0.9  # of the rows of the last fold's training: in time order the first folds are smaller


class ScoutedFolds:
    """The folds of bags that are not whole yet, in front of the memory of an earlier fit.

    Parameters
    ----------
    behind : FoldMemory or None
    """

    def __init__(self, behind: FoldMemory | None) -> None:
        self._behind = behind
        self._folds: dict[str, dict[int, FoldFit]] = {}

    def holds(self, request: BagRequest) -> bool:
        """Return whether every fold of a bag is finished."""
        return self._behind is not None and self._behind.holds(request)

    def recall(self, request: BagRequest) -> dict[int, FoldFit]:
        """Return the finished folds of a bag, by number."""
        known = {} if self._behind is None else dict(self._behind.recall(request))
        return known | self._folds.pop(request.key, {})

    def record(self, request: BagRequest, folds: Mapping[int, FoldFit]) -> None:
        """Pass finished folds on."""
        if self._behind is not None:
            self._behind.record(request, folds)

    def keep(self, request: BagRequest, folds: Mapping[int, FoldFit]) -> None:
        """Keep folds for the whole bag."""
        self._folds.setdefault(request.key, {}).update(folds)

    def forget(self, key: str) -> None:
        """Let the folds of a bag go that is not completed."""
        self._folds.pop(key, None)


class Scouting:
    """The memory while specs are looked at: every fold is kept for its whole bag.

    Parameters
    ----------
    kept : ScoutedFolds
    """

    def __init__(self, kept: ScoutedFolds) -> None:
        self._kept = kept

    def holds(self, request: BagRequest) -> bool:
        """Return whether every fold of a bag is finished."""
        return self._kept.holds(request)

    def recall(self, request: BagRequest) -> dict[int, FoldFit]:
        """Return the finished folds of a bag; they stay known."""
        known = self._kept.recall(request)
        self._kept.keep(request, known)
        return known

    def record(self, request: BagRequest, folds: Mapping[int, FoldFit]) -> None:
        """Keep finished folds, and pass them on."""
        self._kept.keep(request, folds)
        self._kept.record(request, folds)


def n_scouted(folds: Folds, machine: Machine) -> int:
    """Return on how many folds specs are looked at: those that are fitted side by side."""
    return machine.split(len(folds))[0]


def look_sizes(request: StackRequest, budget: Budget) -> list[int]:
    """Return on how many folds specs may be looked at before all: a wave, two, four and so on.

    Those that tell enough, and have the classes that the metric needs. None without a deadline:
    the folds' order of work is what a budget in trials can repeat.
    """
    folds, n_first = request.folds, n_scouted(request.folds, request.machine)
    even = len(folds.train[0]) >= _EVEN * len(folds.train[-1])
    if not (budget.limited and even):
        return []
    sizes = [n_first * 2**doubled for doubled in range(len(folds))]

    def tells(size: int) -> bool:
        rows = np.concatenate(folds.valid[:size])
        return len(rows) >= _ENOUGH_ROWS and request.judge.can_judge(rows)

    return [size for size in sizes if size < len(folds) and tells(size)]


def can_scout(request: StackRequest, budget: Budget) -> bool:
    """Return whether the first wave of folds tells enough, and leaves enough to be saved."""
    return n_scouted(request.folds, request.machine) in look_sizes(request, budget)


def scout_request(request: StackRequest, n_folds: int) -> StackRequest:
    """Return the request for a layer that sees so many of the first folds only."""
    return replace(
        request,
        folds=request.folds.first(n_folds),
        refit_seconds=0.0,
        patience=None,
        report=_starts_only(request.report),
    )


def scout_layer(layer: Layer, kept: ScoutedFolds, n_folds: int) -> Layer:
    """Return a layer that sees the first folds only, with the bags so far as they are there."""
    request = scout_request(layer.request, n_folds)
    scout = Layer(request, layer.number, layer.samples, layer.budget)
    scout.memory = Scouting(kept)
    scout.converged_after = layer.converged_after
    scout.candidates = [seen_by(each, layer.request, request) for each in layer.candidates]
    return scout


def note_skipped(layer: Layer, kept: ScoutedFolds, scout: Layer) -> None:
    """Note of what gave no bag on the first folds that it gives none."""
    for skip in scout.skipped:
        kept.forget(skip.key)
        layer.skip(skip.key, skip.reason, failed=skip.failed)


def seen_by(candidate: Candidate, whole: StackRequest, scout: StackRequest) -> Candidate:
    """Return a candidate as it is judged on the first folds."""
    rows = scout.folds.validated
    prediction = candidate.prediction[np.searchsorted(whole.folds.validated, rows)]
    return replace(candidate, prediction=prediction, score=scout.judge.score(prediction, rows))


def _starts_only(report: Reporter) -> Reporter:
    """Return a reporter that tells what is begun; how it ended is told of the whole bag."""

    def report_starts(event: Event) -> None:
        if isinstance(event, SpecStarted):
            report(event)

    return report_starts
