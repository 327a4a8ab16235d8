"""Whether more rows are worth more than the mean of several models: measured, before a refit.

A bag's fold models each lack a part of the rows, and their mean is steadier than any of them. One
model of all rows has learned from more, and stands alone. Which is better depends on the table:
how much the error falls with the number of rows tells.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import DataError, OutOfMemoryError, OutOfTimeError
from tabular_automl.core.events import Note
from tabular_automl.core.parallel import run_parallel
from tabular_automl.core.watching import run_until
from tabular_automl.ensemble.candidates import Candidate
from tabular_automl.ensemble.fold_work import check_prediction, trains_folds_together
from tabular_automl.ensemble.layer import Layer
from tabular_automl.ensemble.refitting import can_be_refitted
from tabular_automl.metrics.classification import LOG_LOSS
from tabular_automl.metrics.regression import ROOT_MEAN_SQUARED_ERROR
from tabular_automl.models.base import MODELS, Prediction

_MOST_SECONDS = 0.06  # of the layer's time, for the measurement
_OF_A_FOLD = 0.6  # of a fold's time, for half of its rows, without choosing the rounds
_AS_MUCH = 0.95  # of what the fold learned: with less, the clock cut it short
_NEXT_FALL = 0.7  # of the fall by doubling the rows, by the next doubling
_WORTH_OF_A_MEAN = 0.012  # part of the error that the mean of a bag's models is worth


def weigh_refit(layer: Layer, seconds: float) -> bool:
    """Let the folds' models answer, not one of all rows, where more rows gain too little.

    One of the layer's boosters is fitted on half of its folds' training rows, with the choices that
    were made on all of them. Where no bag is quick enough for that, what was planned stays.

    Parameters
    ----------
    layer : Layer
    seconds : float
        The layer's time, a small part of which this may take.

    Returns
    -------
    bool
        Whether it was measured.
    """
    if layer.budget.stopped:
        return False
    budget = layer.budget.within(2 * _MOST_SECONDS * seconds)
    for candidate in sorted(layer.candidates, key=lambda each: -each.score):
        folds = _folds_to_use(layer, candidate, seconds)
        if not folds:
            continue
        try:
            fall = fall_by_doubling(layer, candidate, folds, budget)
        except (OutOfTimeError, OutOfMemoryError, DataError):
            return False
        n_folds = len(layer.request.folds)
        gain = fall * _NEXT_FALL * math.log2(n_folds / (n_folds - 1))
        layer.keeps_folds = gain < _WORTH_OF_A_MEAN
        answer = "the folds' models answer" if layer.keeps_folds else "a model of all rows answers"
        told = f"Twice the rows lower the error of {candidate.bag.key} by {fall:.1%}"
        layer.request.report(Note(f"{told}: {answer}."))
        return True
    return False


def fall_by_doubling(layer: Layer, candidate: Candidate, folds: range, budget: Budget) -> float:
    """Return the part of its error that a bag's models lose from half of their rows to all.

    Raises
    ------
    OutOfTimeError
        When the budget ends before.
    """
    request = layer.request
    n_workers, n_threads = request.machine.split(len(folds))

    def of_half(fold: int) -> Prediction:
        return _fit_on_half(layer, candidate, fold, n_threads, budget)

    halves = run_parallel(of_half, folds, n_workers)
    rows = np.concatenate([request.folds.valid[fold] for fold in folds])
    whole = candidate.fit.oof[np.searchsorted(request.folds.validated, rows)]
    before, after = _error(layer, np.concatenate(halves), rows), _error(layer, whole, rows)
    return (before - after) / after if after > 0.0 else math.inf


def _folds_to_use(layer: Layer, candidate: Candidate, seconds: float) -> range:
    """Return the first folds, as many as there is time for; none if the bag does not suit."""
    n_folds, models = len(layer.request.folds), candidate.bag.models
    counts = all(fitted.model.amount_learned() is not None for fitted in models)
    together = trains_folds_together(MODELS.get(models[0].family))
    if not counts or together or not can_be_refitted(candidate.bag):
        return range(0)
    if not layer.budget.limited:
        return range(n_folds)
    n_workers = layer.request.machine.split(n_folds)[0]
    per_fold = _OF_A_FOLD * candidate.fit.fit_seconds / n_folds
    n_waves = int(_MOST_SECONDS * seconds / max(1e-9, per_fold * n_workers))
    return range(min(n_folds, n_waves * n_workers))


def _fit_on_half(
    layer: Layer, candidate: Candidate, fold: int, n_threads: int, budget: Budget
) -> Prediction:
    """Return what half of a fold's training rows teach of its validation rows."""
    request, fitted = layer.bag_request(candidate.fit.spec, candidate.bag.key), candidate.bag.models
    chosen = fitted[fold].model
    model = MODELS.get(candidate.fit.spec.family)(
        chosen.fitted_params(), request.setting_of(fold, n_threads)
    )
    model.take_over(chosen)
    before = chosen.amount_learned() or 0.0
    half = request.samples.take(_half(request.folds.train[fold], request.samples.y))
    valid = request.samples.take(request.folds.valid[fold]).table

    def fit_and_predict() -> Prediction:
        model.fit(half, None, budget)
        learned = model.amount_learned() or 0.0
        if model.hurried or model.n_drawn is not None or learned < _AS_MUCH * before:
            raise OutOfTimeError("there was no time to learn as much from half of the rows")
        return np.asarray(model.predict(valid), dtype=np.float64)

    prediction = run_until(fit_and_predict, budget)
    check_prediction(prediction, len(valid), request.setting.task)
    return prediction


def _half(rows: npt.NDArray[np.intp], y: npt.NDArray[np.generic]) -> npt.NDArray[np.intp]:
    """Return every second row in the order of the target, so that both halves are alike."""
    shuffled = np.random.default_rng(0).permutation(rows)
    return np.sort(shuffled[np.argsort(y[shuffled], kind="stable")][::2])


def _error(layer: Layer, output: Prediction, rows: npt.NDArray[np.intp]) -> float:
    """Return the log loss, or the root mean squared error in the units that models learn."""
    samples, task = layer.request.samples, layer.request.setting.task
    weight = None if samples.weight is None else samples.weight[rows]
    metric = LOG_LOSS if task.is_classification else ROOT_MEAN_SQUARED_ERROR
    return metric.error(samples.y[rows], output, weight)
