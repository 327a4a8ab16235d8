"""What users rely on while fitting: lines 25 to 28 and 32 to 34 of the list of behaviours.

Deadlines, interruptions and resumed fits (24, 29 to 31) are under tests/faults; 27 is also in
test_predicting.py.
"""

import itertools
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import PathError
from tabular_automl.extend import Model, ModelSpec, State
from tabular_automl.models.base import MODELS
from tests.conftest import make_table

LINEAR = FitConfig(families=("linear",), max_specs=1, n_folds=3, n_layers=1, on_error="raise")


class Memory(Model):
    """Knows the rows that it was trained on by their first feature, and nothing of others."""

    interruptible = True

    def fit(self, train, valid, budget):
        self.known = np.column_stack([train.table.numeric[:, 0], train.y])
        return self

    def predict(self, table):
        known = dict(self.known.tolist())
        return np.array([[known.get(float(row), 0.0)] for row in table.numeric[:, 0]])

    def state(self):
        return State(arrays={"known": self.known})

    def restore(self, state):
        self.known = state.arrays["known"]


class Broken(Model):
    interruptible = True

    def fit(self, train, valid, budget):
        raise ZeroDivisionError("the cause of it")

    def predict(self, table):
        raise NotImplementedError

    def state(self):
        return State()

    def restore(self, state):
        pass


class Hungry(Broken):
    @classmethod
    def estimate_bytes(cls, params, table, task):
        return 10**15


@pytest.fixture(autouse=True)
def registered():
    families = {"memory": Memory, "broken": Broken, "hungry": Hungry}
    for name, family in families.items():
        MODELS.register(name, family)
    yield
    for name in families:
        MODELS.unregister(name)


def fit(tmp_path, table, **arguments):
    arguments = {"config": LINEAR, **arguments}
    return Predictor("y", path=tmp_path / "p", verbosity=0).fit(table, **arguments)


def own(family, **changes):
    """Return a configuration that fits a family of the test's own, then a linear model."""
    spec = ModelSpec(family, MODELS.get(family).Params(), family)
    return FitConfig(specs=(spec,), families=("linear",), n_folds=3, n_layers=1, **changes)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_25_a_limit_that_is_too_small_still_gives_a_predictor(tmp_path, task):
    table = make_table(task)
    predictor = fit(tmp_path, table, time_limit=0.01, config=FitConfig())
    loaded = Predictor.load(predictor.path, verbosity=0)
    assert loaded.predict(table).notna().all()


def test_a_clock_that_is_set_while_the_fit_runs_changes_nothing(tmp_path, monkeypatch):
    jumps, now = itertools.cycle([-7, 5, 400]), time.time
    monkeypatch.setattr(time, "time", lambda: now() + 86_400 * next(jumps))
    config = FitConfig(families=("lightgbm", "linear"), max_specs=2, n_folds=2, on_error="raise")
    started = time.monotonic()
    predictor = fit(tmp_path, make_table("binary"), config=config, time_limit=100)
    assert time.monotonic() - started < 60  # as without a limit: there are two specs
    board = predictor.leaderboard()
    assert not {"failed", "skipped"} & set(board["status"])
    assert {key.partition("_")[0] for key in board["model"]} == {"ensemble", "lightgbm", "linear"}
    assert not predictor.interrupted


def test_26_out_of_fold_predictions_are_in_the_order_of_the_training_rows(tmp_path):
    signal = np.random.default_rng(0).normal(size=90)
    index = np.random.default_rng(1).permutation(90)
    table = pd.DataFrame({"x": signal, "y": 3 * signal + 1}, index=index)
    predictor = fit(tmp_path, table)
    oof = predictor.oof_predictions()
    assert list(oof.index) == list(range(90))
    np.testing.assert_allclose(oof, table["y"], atol=0.5)


def test_26_no_row_is_predicted_by_a_model_that_saw_it(tmp_path):
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["x", "y"])
    config = own("memory", max_specs=1, on_error="raise")
    predictor = fit(tmp_path, table, config=config)
    assert predictor.leaderboard().set_index("model").loc["memory", "weight"] == 1.0
    np.testing.assert_allclose(predictor.oof_predictions(), table["y"].mean(), atol=1e-6)
    assert np.corrcoef(predictor.predict(table), table["y"])[0, 1] > 0.9


def test_27_another_seed_gives_other_predictions_and_the_same_seed_the_same(tmp_path):
    table = make_table("regression")
    config = {"max_specs": 1, "families": ("lightgbm",), "n_folds": 2}
    first, again, other = (
        fit(tmp_path / str(run), table, config=FitConfig(seed=seed, n_jobs=n_jobs, **config))
        for run, (seed, n_jobs) in enumerate([(1, 1), (1, 2), (2, 1)])
    )
    np.testing.assert_array_equal(first.predict(table), again.predict(table))
    np.testing.assert_array_equal(first.oof_predictions(), again.oof_predictions())
    assert not np.array_equal(first.predict(table), other.predict(table))


def test_27_the_plan_makes_the_same_folds_whatever_n_jobs(tmp_path):
    table = make_table("regression", n_rows=60)
    one, two = (
        fit(
            tmp_path / str(n_jobs),
            table,
            config=FitConfig(families=("lightgbm", "linear"), max_specs=2, n_jobs=n_jobs),
        )
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(one.predict(table), two.predict(table))


def test_28_a_failing_model_is_a_row_with_its_cause_and_the_fit_goes_on(tmp_path):
    predictor = fit(tmp_path, make_table("binary"), config=own("broken", max_specs=2))
    board = predictor.leaderboard().set_index("model")
    assert board.loc["broken", "status"] == "failed"
    assert "the cause of it" in board.loc["broken", "reason"]
    assert board.loc["linear", "weight"] == 1.0


def test_32_an_existing_path_raises_before_the_work_and_stays_as_it_is(tmp_path):
    table = make_table("binary")
    kept = fit(tmp_path, table).predict(table)
    with pytest.raises(PathError, match="already holds a saved predictor"):
        fit(tmp_path, table.assign(y="not even looked at"))
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    pd.testing.assert_series_equal(loaded.predict(table), kept)


def test_32_a_path_that_cannot_be_written_raises_before_the_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PathError, match="file"):
        fit(tmp_path / "file", make_table("binary").assign(y="not even looked at"))


def test_32_a_disk_without_room_raises_before_the_work(tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: full)
    with pytest.raises(PathError, match="must have 10 MB free, got 1"):
        fit(tmp_path, make_table("binary").assign(y="not even looked at"))


def test_32_a_disk_that_is_full_at_the_end_loses_neither_the_old_nor_the_work(
    tmp_path, monkeypatch
):
    table = make_table("binary")
    kept = fit(tmp_path, table).predict(table)

    def full(*_, **__):
        raise PathError("The artifact could not be written: No space left on device.")

    monkeypatch.setattr("tabular_automl.predictor.write_artifact", full)
    again = Predictor("y", path=tmp_path / "p", verbosity=0)
    with pytest.raises(PathError, match="No space left on device"):
        again.fit(table, config=replace(LINEAR, seed=1), overwrite=True)
    monkeypatch.undo()
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    pd.testing.assert_series_equal(loaded.predict(table), kept)

    def never(*_):
        raise AssertionError("a finished fold is fitted again")

    monkeypatch.setattr(MODELS.get("linear"), "fit", never)
    again.fit(table, config=replace(LINEAR, seed=1), resume=True)
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    pd.testing.assert_series_equal(loaded.predict(table), again.predict(table))


def test_33_a_model_that_would_not_fit_into_memory_is_skipped_with_the_reason(tmp_path):
    predictor = fit(tmp_path, make_table("binary"), config=own("hungry", max_specs=2))
    row = predictor.leaderboard().set_index("model").loc["hungry"]
    assert row["status"] == "skipped"
    assert "GB of memory" in row["reason"]


_QUIET = """
import sys
import pandas as pd
from tabular_automl import FitConfig, Predictor
specs = ("lightgbm", "catboost", "xgboost")
config = FitConfig(families=specs, max_specs=3, n_folds=2)
table = pd.read_parquet(sys.argv[1] + ".parquet")
predictor = Predictor("y", path=sys.argv[1], verbosity=0).fit(table, config=config)
predictor.evaluate(table)
board = predictor.leaderboard().query("status == 'ok'")
assert {key.partition("_")[0] for key in board["model"]} == {"ensemble", *specs}
"""


def test_34_quiet_means_silent_dependencies_included(tmp_path):
    make_table("binary", n_rows=60).to_parquet(tmp_path / "p.parquet")
    command = [sys.executable, "-c", _QUIET, str(tmp_path / "p")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")
