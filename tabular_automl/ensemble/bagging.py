"""One spec fitted on every fold: a bag, with predictions for rows its models have not seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import OutOfTimeError
from tabular_automl.core.parallel import Machine, run_parallel
from tabular_automl.data.table import FeatureTable
from tabular_automl.ensemble.fold_work import BagRequest, FitFold, FoldFit, fit_together, fold_work
from tabular_automl.ensemble.remote import fit_together_remotely, remote_work
from tabular_automl.models.base import MODELS, FittedSpec, ModelSpec, Prediction

CUT_SHORT = 0.75  # a fit that took more of its share would have gone on
SAVE_SECONDS = 0.2  # that the plan's reserve has for the models
_BYTES_A_SECOND = 5e7  # that a slow disk takes, sums worked out on the way


@dataclass(frozen=True)
class Bag:
    """The fold models of one spec.

    Attributes
    ----------
    key : str
        Unique name in the fit.
    layer : int
        1 for models of the features alone, more for models of a stack.
    models : tuple of FittedSpec
    """

    key: str
    layer: int
    models: tuple[FittedSpec, ...] = field(repr=False)

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the fold models, shape (n_samples, n_outputs)."""
        total = self.models[0].model.predict(table).astype(np.float64)
        for fitted in self.models[1:]:
            total += fitted.model.predict(table)
        return total / len(self.models)

    def use_threads(self, n_threads: int) -> None:
        """Let each model keep ``n_threads`` busy when it predicts."""
        for fitted in self.models:
            fitted.model.setting = replace(fitted.model.setting, n_threads=n_threads)


def seconds_to_save(bag: Bag) -> float:
    """Return about how long a save of the bag takes: one of its models is written out and timed."""
    start = time.monotonic()
    n_bytes = bag.models[0].state().n_bytes
    seconds = time.monotonic() - start + n_bytes / _BYTES_A_SECOND
    return len(bag.models) * seconds


@dataclass(frozen=True)
class BagFit:
    """A bag with what its fit showed.

    Attributes
    ----------
    spec : ModelSpec
    bag : Bag
    oof : ndarray of shape (n_validated, n_outputs), float64
        Predictions of the rows `Folds.validated`, in that order, by models that did not see them.
    fit_seconds, predict_seconds : float
        Wall time of the fit, and of predicting the validated rows.
    given_seconds : float
        Time that the fit was given; infinity without a limit.
    """

    spec: ModelSpec
    bag: Bag
    oof: Prediction = field(repr=False)
    fit_seconds: float
    predict_seconds: float
    given_seconds: float = math.inf


class FoldMemory(Protocol):
    """What knows folds that are finished already."""

    def holds(self, request: BagRequest) -> bool:
        """Return whether every fold of a bag is finished."""

    def recall(self, request: BagRequest) -> Mapping[int, FoldFit]:
        """Return the finished folds of a bag, by number."""

    def record(self, request: BagRequest, folds: Mapping[int, FoldFit]) -> None:
        """Keep folds that were finished just now."""


KeepGoing = Callable[[Prediction, npt.NDArray[np.intp]], None]


def fit_bag(
    request: BagRequest,
    budget: Budget,
    machine: Machine,
    check: KeepGoing | None = None,
    memory: FoldMemory | None = None,
) -> BagFit:
    """Fit one spec on every fold, side by side, each fold with an equal part of the budget.

    Parameters
    ----------
    request : BagRequest
    budget : Budget
        For the whole bag.
    machine : Machine
    check : callable, optional
        Given the predictions and rows of the first folds; raises to give the spec up.
    memory : FoldMemory, optional
        Folds that it recalls are not fitted again; those finished here are told to it.

    Raises
    ------
    OutOfTimeError
        When the budget ends before every fold has a model.
    """
    known = dict(memory.recall(request)) if memory is not None else {}
    if machine.cluster is not None and len(known) < len(request.folds):
        machine.cluster.look_again()  # workers may have come or gone
    outcomes = _fit_together(request, budget, machine, known)
    if outcomes is None:
        outcomes = _fit_in_waves(request, budget, machine, check, memory, known)
    elif memory is not None and len(known) < len(outcomes):
        new = {fold: fit for fold, fit in enumerate(outcomes) if fold not in known}
        memory.record(request, new)
    fitted = tuple(FittedSpec(request.spec.family, outcome.model) for outcome in outcomes)
    bag = Bag(request.key, request.layer, fitted)
    bag.use_threads(request.setting.n_threads)
    return BagFit(
        spec=request.spec,
        bag=bag,
        oof=_in_row_order(outcomes, request),
        fit_seconds=sum(outcome.fit_seconds for outcome in outcomes),
        predict_seconds=sum(outcome.predict_seconds for outcome in outcomes),
        given_seconds=sum(outcome.given_seconds for outcome in outcomes),
    )


def _fit_together(
    request: BagRequest, budget: Budget, machine: Machine, known: Mapping[int, FoldFit]
) -> list[FoldFit] | None:
    """Let the family train all folds at once, if it can and if they are not all known."""
    n_folds = len(request.folds)
    if len(known) == n_folds:
        return [known[fold] for fold in range(n_folds)]
    if not MODELS.get(request.spec.family).interruptible:
        return None
    missing = [fold for fold in range(n_folds) if fold not in known]
    n_threads = machine.split(1)[1]
    if machine.cluster is None:
        new = fit_together(request, missing, budget, n_threads)
    else:
        new = fit_together_remotely(machine.cluster, request, missing, budget, n_threads)
    if new is None:
        return None
    fits = {**known, **dict(zip(missing, new, strict=True))}
    return [fits[fold] for fold in range(n_folds)]


def _fit_in_waves(
    request: BagRequest,
    budget: Budget,
    machine: Machine,
    check: KeepGoing | None,
    memory: FoldMemory | None,
    known: dict[int, FoldFit],
) -> list[FoldFit]:
    """Fit folds side by side, as many at a time as there are cores."""
    n_folds = len(request.folds)
    n_workers, n_threads = machine.split(n_folds)
    n_waves = math.ceil(n_folds / n_workers)
    given = budget.remaining() / max(1, n_folds - len(known))
    with _place_of_work(request, machine, n_workers) as fit_fold:
        for wave in range(n_waves):
            first = wave * n_workers
            folds = range(first, min(first + n_workers, n_folds))
            missing = [fold for fold in folds if fold not in known]
            share = budget.share(1.0 / (n_waves - wave))
            fits = _fit_wave(request, missing, share, fit_fold, (n_workers, n_threads))
            fits = {fold: replace(fit, given_seconds=given) for fold, fit in fits.items()}
            known |= fits
            if memory is not None:
                memory.record(request, fits)
            if wave == 0 and check is not None:
                rows = np.concatenate([request.folds.valid[fold] for fold in folds])
                check(np.concatenate([known[fold].prediction for fold in folds]), rows)
    return [known[fold] for fold in range(n_folds)]


def _place_of_work(
    request: BagRequest, machine: Machine, n_workers: int
) -> AbstractContextManager[FitFold]:
    """Return how a fold is fitted: here, or on the cluster."""
    if machine.cluster is not None:
        return remote_work(machine.cluster)
    return fold_work(request, machine, n_workers)


def _fit_wave(
    request: BagRequest,
    folds: Sequence[int],
    share: Budget,
    fit_fold: FitFold,
    split: tuple[int, int],
) -> dict[int, FoldFit]:
    """Fit some folds at the same time and return them by number; none need no time."""
    if not folds:
        return {}
    if share.expired():
        raise OutOfTimeError(f"no time for fold {folds[0] + 1} of {len(request.folds)}")
    start, (n_workers, n_threads) = time.monotonic(), split
    outcomes = run_parallel(
        lambda fold: fit_fold(request, fold, share, n_threads), folds, n_workers
    )
    seconds = (time.monotonic() - start) / len(folds)
    return {
        fold: replace(outcome, fit_seconds=seconds)
        for fold, outcome in zip(folds, outcomes, strict=True)
    }


def _in_row_order(outcomes: Sequence[FoldFit], request: BagRequest) -> Prediction:
    rows = np.concatenate(request.folds.valid)
    stacked = np.concatenate([outcome.prediction for outcome in outcomes])
    return stacked[np.argsort(rows, kind="stable")]
