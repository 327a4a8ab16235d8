"""Fits whose folds are fitted on a cluster, beside the same fits on this machine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.cluster import Cluster
from tabular_automl.core.errors import CrashedModelError
from tabular_automl.ensemble.fold_work import BagRequest
from tabular_automl.ensemble.remote import _Order
from tabular_automl.models.base import MODELS, Model, ModelSpec, Setting
from tabular_automl.models.lightgbm import LightGBM
from tabular_automl.models.trial import BINARY

Fit = Callable[..., Predictor]


@pytest.fixture
def fit(tmp_path: Path, binary_table: pd.DataFrame) -> Fit:
    """Return a function that fits a few specs, here or on a cluster."""

    def fit(cluster: str | None, time_limit=None, **config) -> Predictor:
        path = tmp_path / f"on-{(cluster or 'this').partition(':')[0]}"
        settings = {"n_folds": 4, "max_specs": 3, "n_jobs": 2} | config
        predictor = Predictor("y", path=path, verbosity=0)
        settings = FitConfig(cluster=cluster, **settings)
        return predictor.fit(binary_table, time_limit=time_limit, config=settings)

    return fit


def assert_same(first: Predictor, second: Predictor, table: pd.DataFrame) -> None:
    rows = table.drop(columns="y")
    pd.testing.assert_frame_equal(first.predict_proba(rows), second.predict_proba(rows))
    columns = ["model", "score", "weight"]
    pd.testing.assert_frame_equal(first.leaderboard()[columns], second.leaderboard()[columns])


SPECS = (
    ModelSpec.make("lightgbm", n_rounds=20),
    ModelSpec.make("catboost", n_rounds=20),
    ModelSpec.make("linear"),
)


def test_the_predictor_is_that_of_this_machine(
    fit: Fit, cluster_name: str, binary_table: pd.DataFrame
) -> None:
    here, there = fit(None, specs=SPECS), fit(cluster_name, specs=SPECS)
    assert len(there.leaderboard().query("weight > 0")) > 1
    assert_same(here, there, binary_table)


@pytest.mark.slow
def test_folds_trained_in_one_batch_are_one_job(
    fit: Fit, cluster_name: str, binary_table: pd.DataFrame, jobs: list[str]
) -> None:
    specs = (ModelSpec.make("neural", n_epochs=2),)
    here, there = (fit(name, specs=specs, max_specs=1) for name in (None, cluster_name))
    rows = binary_table.drop(columns="y")
    np.testing.assert_allclose(here.predict_proba(rows), there.predict_proba(rows), atol=1e-3)
    assert jobs == ["_fit_together_there"]


def test_a_family_that_cannot_do_that_is_not_asked(fit: Fit, cluster_name, jobs) -> None:
    fit(cluster_name, specs=SPECS[:1], max_specs=1)
    assert jobs == ["_fit_there"] * 4


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions that were called on workers."""
    called: list[str] = []
    run = Cluster.run

    def noted(cluster, function, *arguments, **options):
        called.append(function.__name__)
        return run(cluster, function, *arguments, **options)

    monkeypatch.setattr(Cluster, "run", noted)
    return called


def test_a_worker_that_dies_in_the_middle_changes_nothing(
    fit: Fit, cluster_name: str, binary_table: pd.DataFrame, tmp_path: Path
) -> None:
    died = tmp_path / "died"

    class Deadly(LightGBM):
        """Takes its process with it, the first time."""

        def fit(self, train, valid, budget):
            if threading.current_thread() is not threading.main_thread() and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().fit(train, valid, budget)

    MODELS.register("deadly", Deadly)
    try:
        specs = (SPECS[0], ModelSpec.make("deadly", n_rounds=20), SPECS[2])
        there = fit(cluster_name, specs=specs)
        assert died.exists()
        here = fit(None, specs=specs)
        assert_same(here, there, binary_table)
    finally:
        MODELS.unregister("deadly")


def test_a_worker_has_the_tolerance_that_there_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    for module in ("core.budget", "ensemble.remote"):
        clock = SimpleNamespace(monotonic=lambda: now[0])
        monkeypatch.setattr(f"tabular_automl.{module}.time", clock)
    request = BagRequest(SPECS[0], "key", 1, Setting(BINARY, "log_loss"), None, range(4))
    cluster = SimpleNamespace(bytes_each=lambda n_items: 7)
    budget = Budget.start(60).within(10)
    order = _Order.of(cluster, request, [2], budget, 3)
    assert (order.numbers, order.n_threads, order.n_bytes) == ((2,), 3, 7)
    now[0] = 5000.0  # the worker's clock is another one
    there = order.budget(Stop())
    assert there.remaining() == 10
    assert 10 + 1 < there.tolerant().remaining() < 10 + 10 + 1
    unlimited = _Order.of(cluster, request, [2], Budget.unlimited(), 3).budget(Stop())
    assert not unlimited.limited


def test_the_base_rate_is_fitted_here_when_nothing_works_there(
    fit: Fit, cluster_name: str, monkeypatch: pytest.MonkeyPatch, binary_table: pd.DataFrame
) -> None:
    def lost(*arguments, **options):
        raise CrashedModelError("its workers died")

    monkeypatch.setattr(Cluster, "run", lost)
    predictor = fit(cluster_name, specs=SPECS)
    assert predictor.leaderboard().set_index("model").loc["prior", "weight"] == 1.0
    assert "workers died" in predictor.leaderboard()["reason"].str.cat()


def test_a_model_of_a_notebook_travels_and_one_that_hangs_is_ended(
    fit: Fit, cluster_name: str, binary_table: pd.DataFrame
) -> None:
    class Hanging(Model):
        def fit(self, train, valid, budget):
            import time

            time.sleep(600)

        def predict(self, table):
            return np.full((len(table), 2), 0.5)

        def state(self):
            return State()

        def restore(self, state):
            pass

    MODELS.register("hanging", Hanging)
    try:
        specs = (ModelSpec.make("hanging"),)
        predictor = fit(cluster_name, families=("lightgbm",), specs=specs, time_limit=12)
    finally:
        MODELS.unregister("hanging")
    board = predictor.leaderboard().set_index("model")
    assert board.loc["hanging", "status"] == "skipped"
    assert "share of time" in board.loc["hanging", "reason"]
    assert board.loc["lightgbm", "status"] == "ok"  # its variants may have all the weight
