"""What a layer is asked, what it tries and what it finds; the weights of an ensemble of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tabular_automl.core.budget import Budget
from tabular_automl.core.events import Reporter
from tabular_automl.core.parallel import Machine
from tabular_automl.data.folds import Folds
from tabular_automl.data.table import Samples
from tabular_automl.ensemble.bagging import CUT_SHORT, Bag, BagFit
from tabular_automl.ensemble.judge import Judge
from tabular_automl.ensemble.resuming import Workbook
from tabular_automl.ensemble.weights import select_weights
from tabular_automl.models.base import ModelSpec, Prediction, Setting


@dataclass(frozen=True)
class PlannedSpec:
    """A spec with its cost next to the others of its layer.

    Attributes
    ----------
    spec : ModelSpec
    cost : float
    after : str or None
        Key of a cheaper spec that reads the same columns: this one waits until the other has shown,
        beside a few more, that it is worth much to the ensemble.
    like : str or None
        Key of a spec that is much the same: where time is short, this one is not tried when the
        other has earned no weight, or had too little time.
    """

    spec: ModelSpec
    cost: float
    after: str | None = None
    like: str | None = None


@dataclass(frozen=True)
class Skipped:
    """A spec that gave no bag, with the cause."""

    key: str
    layer: int
    reason: str
    failed: bool = False


@dataclass(frozen=True)
class Candidate:
    """A finished bag, judged.

    Attributes
    ----------
    fit : BagFit
    prediction : ndarray of shape (n_validated, n_outputs)
        Out-of-fold predictions in the user's units.
    score : float
        Their score; greater is better.
    """

    fit: BagFit
    prediction: Prediction = field(repr=False)
    score: float

    @property
    def bag(self) -> Bag:
        """The bag itself."""
        return self.fit.bag

    @property
    def was_cut_short(self) -> bool:
        """Whether more time would have made the fit longer, or let it learn in smaller steps."""
        models = [fitted.model for fitted in self.bag.models]
        hurried = [model.hurried or model.n_drawn is not None for model in models]
        return (
            2 * sum(hurried) >= len(hurried)
            or self.fit.fit_seconds > CUT_SHORT * self.fit.given_seconds
        )

    def longer_spec(self) -> ModelSpec | None:
        """Return a spec that learns for longer, where most of the models used their rounds up."""
        longer = [fitted.model.longer_params() for fitted in self.bag.models]
        found = [params for params in longer if params is not None]
        return replace(self.fit.spec, params=found[0]) if 2 * len(found) > len(longer) else None


@dataclass(frozen=True)
class StackRequest:
    """What `fit_stack` works on; the same for every layer.

    Attributes
    ----------
    samples : Samples
    folds : Folds
    judge : Judge
    setting : Setting
    machine : Machine
    layers : tuple of tuple of PlannedSpec
    n_first : int
        Specs of a layer that have their turn first.
    first_pass : float
        Part of the layer's time for them; what is left goes to repeats of those that their share
        cut short, and then to the other specs.
    refit_seconds : float
        Kept at the end of the time for models of all rows, at most.
    patience : int or None
        Give up after so many specs in a row that did not improve the ensemble.
    on_error : str
        "skip" or "raise".
    report : Reporter
    late_layer : tuple of PlannedSpec
        Specs of one layer more, for the time that the others leave; it stays where it gains.
    workbook : Workbook or None
        Finished folds are told to it, and those that it recalls are not fitted again.
    """

    samples: Samples
    folds: Folds
    judge: Judge
    setting: Setting
    machine: Machine
    layers: tuple[tuple[PlannedSpec, ...], ...]
    n_first: int
    first_pass: float
    refit_seconds: float
    patience: int | None
    on_error: str
    report: Reporter
    late_layer: tuple[PlannedSpec, ...] = ()
    workbook: Workbook | None = None


def ensemble_weights(
    request: StackRequest,
    candidates: Sequence[Candidate],
    budget: Budget | None = None,
    *,
    guard: bool = True,
    prune: bool = True,
) -> npt.NDArray[np.float64]:
    """Return the weights of the best ensemble of the candidates, shape (n_candidates,).

    ``guard=False`` is quicker and trusts the rows more: good enough to watch progress by.
    ``prune=False`` keeps small weights.
    """
    judge, rows = request.judge, request.folds.validated
    return select_weights(
        [candidate.prediction for candidate in candidates],
        judge.y[rows],
        judge.metric,
        weight=None if judge.weight is None else judge.weight[rows],
        budget=budget or Budget.unlimited(),
        guard=guard,
        prune=prune,
    )
