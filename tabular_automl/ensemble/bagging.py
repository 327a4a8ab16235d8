"""One spec fitted on every fold: a bag, with predictions for rows its models have not seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import OutOfTimeError
from tabular_automl.core.parallel import Machine, run_parallel
from tabular_automl.data.folds import Folds
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.models.base import MODELS, FittedSpec, Model, ModelSpec, Prediction, Setting


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


@dataclass(frozen=True)
class BagFit:
    """A bag with what its fit showed.

    Attributes
    ----------
    bag : Bag
    oof : ndarray of shape (n_validated, n_outputs), float64
        Predictions of the rows `Folds.validated`, in that order, by models that did not see them.
    fit_seconds, predict_seconds : float
        Wall time of the fit, and of predicting the validated rows.
    """

    bag: Bag
    oof: Prediction = field(repr=False)
    fit_seconds: float
    predict_seconds: float


@dataclass(frozen=True)
class BagRequest:
    """What `fit_bag` is asked to do.

    Attributes
    ----------
    spec : ModelSpec
    key : str
    layer : int
    setting : Setting
        Its seed is the bag's; each fold gets its own from it.
    samples : Samples
    folds : Folds
    """

    spec: ModelSpec
    key: str
    layer: int
    setting: Setting
    samples: Samples
    folds: Folds


KeepGoing = Callable[[Prediction, npt.NDArray[np.intp]], None]


def fit_bag(
    request: BagRequest, budget: Budget, machine: Machine, check: KeepGoing | None = None
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

    Raises
    ------
    OutOfTimeError
        When the budget ends before every fold has a model.
    """
    start = time.monotonic()
    models = _fit_together(request, budget, machine)
    if models is None:
        outcomes = _fit_in_waves(request, budget, machine, check)
    else:
        outcomes = [
            _validate(model, request, fold, machine.n_cores) for fold, model in enumerate(models)
        ]
    fit_seconds = time.monotonic() - start
    fitted = tuple(FittedSpec(request.spec.family, outcome.model) for outcome in outcomes)
    bag = Bag(request.key, request.layer, fitted)
    bag.use_threads(machine.n_cores)
    return BagFit(
        bag=bag,
        oof=_in_row_order(outcomes, request),
        fit_seconds=fit_seconds,
        predict_seconds=sum(outcome.predict_seconds for outcome in outcomes),
    )


@dataclass(frozen=True)
class _Outcome:
    """One fold's model and its predictions of the fold's validation rows."""

    model: Model
    prediction: Prediction
    predict_seconds: float


def _fit_together(request: BagRequest, budget: Budget, machine: Machine) -> Sequence[Model] | None:
    """Let the family train all folds at once, if it can."""
    family = MODELS.get(request.spec.family)
    folds = [_fold_samples(request, fold) for fold in range(len(request.folds))]
    settings = [_fold_setting(request.setting, fold, machine.n_cores) for fold in range(len(folds))]
    return family.fit_folds(request.spec.params, settings, folds, budget)


def _fit_in_waves(
    request: BagRequest, budget: Budget, machine: Machine, check: KeepGoing | None
) -> list[_Outcome]:
    """Fit folds side by side, as many at a time as there are cores."""
    n_folds = len(request.folds)
    n_workers, n_threads = machine.split(n_folds)
    n_waves = math.ceil(n_folds / n_workers)
    outcomes: list[_Outcome] = []
    for wave in range(n_waves):
        share = budget.share(1.0 / (n_waves - wave))
        if share.expired():
            raise OutOfTimeError(f"no time for fold {len(outcomes) + 1} of {n_folds}")
        first = wave * n_workers
        folds = range(first, min(first + n_workers, n_folds))
        outcomes += run_parallel(
            lambda fold, share=share: _fit_fold(request, fold, share, n_threads),  # type: ignore[misc]
            folds,
            n_workers,
        )
        if wave == 0 and check is not None:
            rows = np.concatenate([request.folds.valid[fold] for fold in folds])
            check(np.concatenate([outcome.prediction for outcome in outcomes]), rows)
    return outcomes


def _fit_fold(request: BagRequest, fold: int, budget: Budget, n_threads: int) -> _Outcome:
    train, valid = _fold_samples(request, fold)
    family = MODELS.get(request.spec.family)
    model = family(request.spec.params, _fold_setting(request.setting, fold, n_threads))
    model.fit(train, valid, budget)
    return _validate(model, request, fold, n_threads)


def _validate(model: Model, request: BagRequest, fold: int, n_threads: int) -> _Outcome:
    """Predict the fold's validation rows, and refuse a prediction that no ensemble could use."""
    _, valid = _fold_samples(request, fold)
    start = time.monotonic()
    prediction = np.asarray(model.predict(valid.table), dtype=np.float64)
    seconds = time.monotonic() - start
    expected = (len(valid), request.setting.task.n_outputs)
    if prediction.shape != expected:
        raise ValueError(f"predict must return shape {expected}, got {prediction.shape}")
    if not np.isfinite(prediction).all():
        raise ValueError("predict must return finite numbers, got NaN or infinity")
    return _Outcome(model, prediction, seconds)


def _fold_samples(request: BagRequest, fold: int) -> tuple[Samples, Samples]:
    folds = request.folds
    return request.samples.take(folds.train[fold]), request.samples.take(folds.valid[fold])


def _fold_setting(setting: Setting, fold: int, n_threads: int) -> Setting:
    # A prime step keeps the seeds of neighbouring specs' folds apart.
    return replace(setting, seed=setting.seed + 7919 * fold, n_threads=n_threads)


def _in_row_order(outcomes: Sequence[_Outcome], request: BagRequest) -> Prediction:
    rows = np.concatenate(request.folds.valid)
    stacked = np.concatenate([outcome.prediction for outcome in outcomes])
    return stacked[np.argsort(rows, kind="stable")]
