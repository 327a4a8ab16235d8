"""Folds that are fitted on the workers of a cluster, by the same code as here.

A worker keeps the samples and the folds that were placed on it; a job brings the spec, and its
result is the fold as data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.cluster import Cluster
from tabular_automl.core.imports import import_installed
from tabular_automl.core.parallel import Machine
from tabular_automl.data.folds import Folds
from tabular_automl.data.table import Samples
from tabular_automl.ensemble.fold_work import (
    BagRequest,
    FitFold,
    FoldFit,
    fit_together,
    fold_work,
    trains_folds_together,
)
from tabular_automl.models.base import MODELS, ModelSpec, Setting

_ON_THE_WAY = 0.2  # seconds by which a worker gives up before it is given up here


@dataclass(frozen=True)
class _Order:
    """What a job is told beside samples and folds.

    The family travels as a class, since it may live in a notebook; times as seconds, since clocks
    differ.
    """

    family: type[Any]
    spec: ModelSpec
    key: str
    layer: int
    setting: Setting
    numbers: tuple[int, ...]
    seconds: float | None
    patience: float
    n_threads: int
    n_bytes: int

    @classmethod
    def of(
        cls,
        cluster: Cluster,
        request: BagRequest,
        numbers: Sequence[int],
        budget: Budget,
        n_threads: int,
    ) -> _Order:
        """Say which folds to fit in what is left of a budget."""
        return cls(
            family=MODELS.get(request.spec.family),
            spec=request.spec,
            key=request.key,
            layer=request.layer,
            setting=request.setting,
            numbers=tuple(numbers),
            seconds=budget.remaining() if budget.limited else None,
            patience=budget.tolerant().remaining() - _ON_THE_WAY,
            n_threads=n_threads,
            n_bytes=cluster.bytes_each(len(request.folds)),
        )

    def request(self, samples: Samples, folds: Folds) -> BagRequest:
        """Return the request as it was, on the worker; the worker then knows the family too."""
        MODELS.register(self.spec.family, self.family)
        import_installed(self.family.modules, len(samples))
        return BagRequest(self.spec, self.key, self.layer, self.setting, samples, folds)

    def budget(self, stop: Stop) -> Budget:
        """Return the time there is, from now on."""
        if self.seconds is None:
            return Budget.start(None, stop)
        now = time.monotonic()
        return Budget(now + self.seconds, now + max(self.seconds, self.patience), stop)


@contextmanager
def remote_work(cluster: Cluster) -> Iterator[FitFold]:
    """Return how a fold is fitted on a cluster; jobs that still run when it is left are ended."""

    def fit_fold(request: BagRequest, fold: int, budget: Budget, n_threads: int) -> FoldFit:
        order = partial(_Order.of, cluster, request, [fold], budget)
        placed = request.samples, request.folds
        return FoldFit.from_state(cluster.run(_fit_there, placed, order, budget, n_threads))

    try:
        yield fit_fold
    finally:
        cluster.end_calls()


def fit_together_remotely(
    cluster: Cluster, request: BagRequest, folds: Sequence[int], budget: Budget, n_threads: int
) -> list[FoldFit] | None:
    """Do what `fit_together` does, on one worker."""
    family = MODELS.get(request.spec.family)
    if not trains_folds_together(family):
        return None
    order = partial(_Order.of, cluster, request, folds, budget)
    placed = request.samples, request.folds
    states = cluster.run(_fit_together_there, placed, order, budget, n_threads)
    return None if states is None else [FoldFit.from_state(state) for state in states]


def _fit_there(samples: Samples, folds: Folds, order: _Order, stop: Stop) -> State:
    """Fit one fold on a worker."""
    budget = order.budget(stop)
    request = order.request(samples, folds)
    machine = Machine(order.n_threads, order.n_bytes)
    (fold,) = order.numbers
    with fold_work(request, machine, n_workers=1) as fit_fold:
        return fit_fold(request, fold, budget, order.n_threads).state(order.spec.family)


def _fit_together_there(
    samples: Samples, folds: Folds, order: _Order, stop: Stop
) -> list[State] | None:
    """Fit folds at once on a worker."""
    budget = order.budget(stop)
    request = order.request(samples, folds)
    fits = fit_together(request, order.numbers, budget, order.n_threads)
    return None if fits is None else [fit.state(order.spec.family) for fit in fits]
