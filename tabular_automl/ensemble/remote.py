"""Folds that are fitted on the workers of a cluster, by the same code as here.

A worker keeps the samples and the folds that were placed on it once; a job brings the spec, and
its result is the fold as data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.cluster import Cluster
from tabular_automl.core.parallel import Machine
from tabular_automl.data.folds import Folds
from tabular_automl.data.table import Samples
from tabular_automl.ensemble.fold_work import BagRequest, FitFold, FoldFit, fit_together, fold_work
from tabular_automl.models.base import MODELS, ModelSpec, Setting


@dataclass(frozen=True)
class _Order:
    """What a job is told beside samples and folds.

    The family travels as a class, since it may live in a notebook; the time as seconds, since
    clocks differ.
    """

    family: type[Any]
    spec: ModelSpec
    key: str
    layer: int
    setting: Setting
    numbers: tuple[int, ...]
    seconds: float | None
    n_threads: int

    @classmethod
    def of(
        cls, request: BagRequest, numbers: Sequence[int], budget: Budget, n_threads: int
    ) -> _Order:
        """Say which folds to fit, in what is left of a budget."""
        return cls(
            family=MODELS.get(request.spec.family),
            spec=request.spec,
            key=request.key,
            layer=request.layer,
            setting=request.setting,
            numbers=tuple(numbers),
            seconds=budget.remaining() if budget.limited else None,
            n_threads=n_threads,
        )

    def request(self, samples: Samples, folds: Folds) -> BagRequest:
        """Return the request as it was, on the worker; the worker then knows the family too."""
        MODELS.register(self.spec.family, self.family)
        return BagRequest(self.spec, self.key, self.layer, self.setting, samples, folds)


@contextmanager
def remote_work(cluster: Cluster) -> Iterator[FitFold]:
    """Return how a fold is fitted on a cluster."""

    def fit_fold(request: BagRequest, fold: int, budget: Budget, n_threads: int) -> FoldFit:
        order = _Order.of(request, [fold], budget, n_threads)
        placed = request.samples, request.folds
        return FoldFit.from_state(cluster.run(_fit_there, placed, order, budget, n_threads))

    yield fit_fold


def fit_together_remotely(
    cluster: Cluster, request: BagRequest, folds: Sequence[int], budget: Budget, n_threads: int
) -> list[FoldFit] | None:
    """Do what `fit_together` does, on one worker."""
    order = _Order.of(request, folds, budget, n_threads)
    placed = request.samples, request.folds
    states = cluster.run(_fit_together_there, placed, order, budget, n_threads)
    return None if states is None else [FoldFit.from_state(state) for state in states]


def _fit_there(samples: Samples, folds: Folds, order: _Order, stop: Stop) -> State:
    """Fit one fold on a worker."""
    request = order.request(samples, folds)
    machine = Machine.detect(order.n_threads)
    (fold,) = order.numbers
    with fold_work(request, machine, n_workers=1) as fit_fold:
        fit = fit_fold(request, fold, Budget.start(order.seconds, stop), order.n_threads)
    return fit.state(order.spec.family)


def _fit_together_there(
    samples: Samples, folds: Folds, order: _Order, stop: Stop
) -> list[State] | None:
    """Fit folds at once on a worker."""
    request = order.request(samples, folds)
    budget = Budget.start(order.seconds, stop)
    fits = fit_together(request, order.numbers, budget, order.n_threads)
    return None if fits is None else [fit.state(order.spec.family) for fit in fits]
