"""One spec fitted on one fold: what is asked for, what comes back, and the work between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.parallel import Machine
from tabular_automl.core.watching import run_until
from tabular_automl.data.folds import Folds
from tabular_automl.data.table import Samples
from tabular_automl.data.task import Task
from tabular_automl.ensemble.contained import Containment
from tabular_automl.models.base import MODELS, FittedSpec, Model, ModelSpec, Prediction, Setting


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

    def samples_of(self, fold: int) -> tuple[Samples, Samples]:
        """Return a fold's training and validation rows."""
        folds = self.folds
        return self.samples.take(folds.train[fold]), self.samples.take(folds.valid[fold])

    def setting_of(self, fold: int, n_threads: int) -> Setting:
        """Return a fold's own setting."""
        # A prime step keeps the seeds of neighbouring specs' folds apart.
        return replace(self.setting, seed=self.setting.seed + 7919 * fold, n_threads=n_threads)


@dataclass(frozen=True)
class FoldFit:
    """One fold's model and its predictions of the fold's validation rows.

    Attributes
    ----------
    model : Model
    prediction : ndarray of shape (n_valid, n_outputs), float64
    predict_seconds : float
    fit_seconds, given_seconds : float
        The fold's part of the wall time of its bag, and of what the bag was given.
    """

    model: Model
    prediction: Prediction = field(repr=False)
    predict_seconds: float
    fit_seconds: float = 0.0
    given_seconds: float = math.inf

    def state(self, family: str) -> State:
        """Return the fold as data."""
        meta = {
            "predict_seconds": self.predict_seconds,
            "fit_seconds": self.fit_seconds,
            "given_seconds": self.given_seconds,
            "hurried": self.model.hurried,
            "n_drawn": self.model.n_drawn,
            "converged_after": self.model.converged_after,
        }
        fitted = FittedSpec(family, self.model).state()
        return State(meta=meta, arrays={"prediction": self.prediction}, children={"fitted": fitted})

    @classmethod
    def from_state(cls, state: State) -> FoldFit:
        """Build the fold again."""
        model = FittedSpec.from_state(state.children["fitted"]).model
        model.hurried = bool(state.meta.get("hurried", False))
        model.n_drawn = state.meta.get("n_drawn")
        model.converged_after = state.meta.get("converged_after")
        model.set_aside()
        return cls(
            model=model,
            prediction=state.arrays["prediction"],
            predict_seconds=float(state.meta["predict_seconds"]),
            fit_seconds=float(state.meta["fit_seconds"]),
            given_seconds=float(state.meta["given_seconds"]),
        )


FitFold = Callable[[BagRequest, int, Budget, int], FoldFit]


@contextmanager
def fold_work(request: BagRequest, machine: Machine, n_workers: int) -> Iterator[FitFold]:
    """Return how a fold is fitted on this machine: in this process, or in one that can be ended.

    Parameters
    ----------
    request : BagRequest
    machine : Machine
    n_workers : int
        Folds that are fitted side by side.
    """
    if MODELS.get(request.spec.family).interruptible:
        yield _fit_fold
        return
    with Containment.of(request.samples, machine, n_workers) as containment:

        def fit_fold(request: BagRequest, fold: int, budget: Budget, n_threads: int) -> FoldFit:
            rows = request.folds.train[fold], request.folds.valid[fold]
            setting = request.setting_of(fold, n_threads)
            done = containment.fit(request.spec, setting, rows, budget)
            check_prediction(done.prediction, len(rows[1]), request.setting.task)
            return FoldFit(done.fitted.model, done.prediction, done.predict_seconds)

        yield fit_fold


def fit_together(
    request: BagRequest, folds: Sequence[int], budget: Budget, n_threads: int
) -> list[FoldFit] | None:
    """Let the family train some folds at once; None where it prefers one after the other."""
    family = MODELS.get(request.spec.family)
    start, given = time.monotonic(), budget.remaining()
    samples = [request.samples_of(fold) for fold in folds]
    settings = [request.setting_of(fold, n_threads) for fold in folds]

    def fit_and_validate() -> list[FoldFit] | None:
        models = family.fit_folds(request.spec.params, settings, samples, budget)
        if models is None:
            return None
        seconds = (time.monotonic() - start) / len(folds)
        outcomes = [
            _validate(model, request, fold) for fold, model in zip(folds, models, strict=True)
        ]
        given_each = given / len(folds)
        return [replace(each, fit_seconds=seconds, given_seconds=given_each) for each in outcomes]

    return run_until(fit_and_validate, budget)


def _fit_fold(request: BagRequest, fold: int, budget: Budget, n_threads: int) -> FoldFit:
    family = MODELS.get(request.spec.family)
    model = family(request.spec.params, request.setting_of(fold, n_threads))

    def fit_and_validate() -> FoldFit:
        model.fit(*request.samples_of(fold), budget)
        return _validate(model, request, fold)

    return run_until(fit_and_validate, budget)


def _validate(model: Model, request: BagRequest, fold: int) -> FoldFit:
    """Predict the fold's validation rows, and refuse a prediction that no ensemble could use."""
    _, valid = request.samples_of(fold)
    start = time.monotonic()
    prediction = np.asarray(model.predict(valid.table), dtype=np.float64)
    seconds = time.monotonic() - start
    check_prediction(prediction, len(valid), request.setting.task)
    model.set_aside()
    return FoldFit(model, prediction, seconds)


def trains_folds_together(family: type[Model]) -> bool:
    """Return whether the family has a `fit_folds` of its own, which may train all folds at once."""
    return family.fit_folds.__func__ is not Model.fit_folds.__func__  # type: ignore[attr-defined]


def check_prediction(prediction: Prediction, n_rows: int, task: Task) -> None:
    """Raise ValueError unless a prediction has the task's shape and finite numbers."""
    expected = (n_rows, task.n_outputs)
    if prediction.shape != expected:
        raise ValueError(f"predict must return shape {expected}, got {prediction.shape}")
    if not np.isfinite(prediction).all():
        raise ValueError("predict must return finite numbers, got NaN or infinity")
