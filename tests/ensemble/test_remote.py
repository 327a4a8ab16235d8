"""Fits whose folds are fitted on a cluster, beside the same fits on this machine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.cluster import Cluster
from tabular_automl.core.events import Event, SpecStarted
from tabular_automl.models.base import MODELS, Model, ModelSpec

Fit = Callable[..., Predictor]


@pytest.fixture
def fit(tmp_path: Path, binary_table: pd.DataFrame) -> Fit:
    """Return a function that fits a few specs, here or on a cluster."""

    def fit(cluster: str | None, reporter=None, time_limit=None, **config) -> Predictor:
        path = tmp_path / f"on-{(cluster or 'this').partition(':')[0]}"
        settings = {"n_folds": 4, "max_specs": 3, "n_jobs": 2} | config
        predictor = Predictor("y", path=path, verbosity=0, reporter=reporter)
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


def test_folds_trained_in_one_batch_are_trained_on_one_worker(
    fit: Fit, cluster_name: str, binary_table: pd.DataFrame
) -> None:
    specs = (ModelSpec.make("neural", n_epochs=2),)
    here, there = (fit(name, specs=specs, max_specs=1) for name in (None, cluster_name))
    rows = binary_table.drop(columns="y")
    np.testing.assert_allclose(here.predict_proba(rows), there.predict_proba(rows), atol=1e-3)


def test_a_worker_killed_in_the_middle_changes_nothing(
    fit: Fit, cluster_name: str, binary_table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, killed = threading.Event(), []
    run_as_ever = Cluster.run

    def pid_of(order, stop):
        return os.getpid()

    def run(cluster, *arguments, **options):
        if begun.is_set() and not killed:
            pid = run_as_ever(cluster, pid_of, [], None, Budget.unlimited())
            killed.append(pid)
            threading.Timer(0.05, os.kill, (pid, signal.SIGKILL)).start()  # while it fits
        return run_as_ever(cluster, *arguments, **options)

    def report(event: Event) -> None:
        if isinstance(event, SpecStarted) and event.key == "catboost":
            begun.set()

    monkeypatch.setattr(Cluster, "run", run)
    there = fit(cluster_name, report, specs=SPECS)
    assert killed
    assert_same(fit(None, specs=SPECS), there, binary_table)


def test_the_table_is_placed_once(fit: Fit, monkeypatch: pytest.MonkeyPatch, cluster_name) -> None:
    placed = []
    place = Cluster._handle

    def counted(cluster, value):
        if id(value) not in cluster._placed:
            placed.append(type(value).__name__)
        return place(cluster, value)

    monkeypatch.setattr(Cluster, "_handle", counted)
    fit(cluster_name, specs=SPECS)
    assert sorted(placed) == ["Folds", "Samples"]


def test_a_model_of_a_notebook_travels_and_one_that_hangs_is_ended(
    fit: Fit, cluster_name: str, binary_table: pd.DataFrame
) -> None:
    class Hanging(Model):
        interruptible = False

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
    assert board.loc["lightgbm", "weight"] > 0
