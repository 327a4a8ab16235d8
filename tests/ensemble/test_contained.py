import os
import sys

import numpy as np
import pytest

from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.errors import OutOfTimeError
from tabular_automl.core.parallel import Machine
from tabular_automl.ensemble.contained import Containment
from tabular_automl.models.base import MODELS, ModelSpec, Setting
from tabular_automl.models.trial import BINARY, Trial

TRIAL = Trial.make(BINARY)
ROWS = np.arange(100), np.arange(100, 140)
MACHINE = Machine(1, 10**10)


def test_a_contained_fit_equals_one_without():
    spec, setting = ModelSpec.make("linear"), Setting(BINARY, "log_loss", seed=3)
    here = MODELS.get(spec.family)(spec.params, setting)
    train, valid = (TRIAL.train.take(rows) for rows in ROWS)
    here.fit(train, valid, Budget.unlimited())
    with Containment.of(TRIAL.train, MACHINE, 1) as containment:
        there = containment.fit(spec, setting, ROWS, Budget.unlimited())
    assert np.array_equal(there.prediction, here.predict(valid.table))
    assert np.array_equal(
        there.fitted.model.predict(TRIAL.test.table), here.predict(TRIAL.test.table)
    )


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Containment.of(TRIAL.train, MACHINE, 1):
        assert len(os.listdir(tmp_path)) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        (Budget.start(0.0), "ended at its share of time"),
        (Budget.start(None, Stop(signal=2)), "interrupted"),
    ],
)
def test_the_end_of_the_budget_ends_the_process(budget, reason):
    setting = Setting(BINARY, "log_loss")
    with (
        Containment.of(TRIAL.train, MACHINE, 1) as containment,
        pytest.raises(OutOfTimeError, match=reason),
    ):
        containment.fit(ModelSpec.make("linear"), setting, ROWS, budget)


def test_a_child_imports_nothing_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise ImportError('not the installed one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    with Containment.of(TRIAL.train, MACHINE, 1) as containment:
        spec, setting = ModelSpec.make("linear"), Setting(BINARY, "log_loss")
        fit = containment.fit(spec, setting, ROWS, Budget.unlimited())
    assert fit.prediction.shape == (40, 2)
