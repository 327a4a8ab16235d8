"""A fold as data, and the work on one fold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.core.parallel import Machine
from tabular_automl.data.folds import Folds
from tabular_automl.ensemble.fold_work import BagRequest, FoldFit, fit_together, fold_work
from tabular_automl.models.base import ModelSpec, Setting
from tabular_automl.models.trial import BINARY, Trial


@pytest.fixture
def request_of():
    """Return a function that asks for a bag of two folds of a family."""
    trial = Trial.make(BINARY)
    rows = np.arange(len(trial.train))
    halves = rows[::2], rows[1::2]
    folds = Folds(halves, halves[::-1], "halves")

    def make(family, **params):
        spec = ModelSpec.make(family, **params)
        return BagRequest(spec, family, 1, Setting(BINARY, "log_loss", 5), trial.train, folds)

    return make


def test_a_fold_comes_back_from_its_data(request_of):
    request = request_of("lightgbm", n_rounds=5)
    with fold_work(request, Machine(1, 10**9), 1) as fit_fold:
        fit = fit_fold(request, 1, Budget.unlimited(), 1)
    fit = dataclasses.replace(fit, fit_seconds=1.5, given_seconds=2.5)
    fit.model.hurried, fit.model.converged_after, fit.model.n_drawn = True, 3.5, 20
    again = FoldFit.from_state(fit.state("lightgbm"))
    np.testing.assert_array_equal(again.prediction, fit.prediction)
    assert (again.fit_seconds, again.given_seconds) == (1.5, 2.5)
    assert again.predict_seconds == fit.predict_seconds
    assert again.model.hurried
    assert again.model.converged_after == 3.5
    assert again.model.n_drawn == 20
    assert len(again.model._booster._kept) < len(again.model._booster.raw)  # it is set aside
    _, valid = request.samples_of(1)
    np.testing.assert_array_equal(again.model.predict(valid.table), fit.prediction)


def test_each_fold_has_rows_and_a_seed_of_its_own(request_of):
    request = request_of("linear")
    train, valid = request.samples_of(0)
    assert not set(train.table.rows) & set(valid.table.rows)
    seeds = {request.setting_of(fold, n_threads=3).seed for fold in range(2)}
    assert len(seeds) == 2
    assert request.setting_of(0, n_threads=3).n_threads == 3


def test_folds_are_trained_together_where_the_family_knows_how(request_of):
    fits = fit_together(request_of("neural", n_epochs=1), [0, 1], Budget.start(60), 1)
    assert len(fits) == 2
    assert all(fit.given_seconds <= 30 for fit in fits)
    assert fit_together(request_of("linear"), [0, 1], Budget.unlimited(), 1) is None
