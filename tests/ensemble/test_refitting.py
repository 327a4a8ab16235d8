from dataclasses import dataclass, replace

import numpy as np
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.core.params import Params, param
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.ensemble import refitting
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.ensemble.refitting import common_params, refit_in_time
from tabular_automl.models.base import MODELS, FittedSpec, Setting
from tabular_automl.models.linear import Linear
from tabular_automl.models.trial import Trial

TASK = Task(ProblemType.REGRESSION)


@dataclass(frozen=True)
class Chosen(Params):
    n_rounds: int = param(100, 1, 10_000)
    rate: float = param(0.1, 1e-4, 1.0)
    extra: bool = param(False)
    kind: str = param("a", choices=("a", "b"))
    limit: float | None = param(None, 0.0, 1.0)


def test_numbers_are_medians_and_the_rest_the_firsts():
    folds = [Chosen(n_rounds=n, rate=n / 1e4, extra=True, kind="b") for n in (100, 300, 260)]
    assert common_params(folds) == Chosen(n_rounds=260, rate=0.026, extra=True, kind="b")


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial.make(TASK)


def linear_bag(trial: Trial, key: str, n_models: int = 3) -> Bag:
    model = Linear(Linear.Params(), Setting(TASK, "squared_error", 0, 1))
    model.fit(trial.train, trial.valid, Budget.unlimited())
    return Bag(key, 1, (FittedSpec("linear", model),) * n_models)


def refit(trial, bags, *, budget=None, seconds=1e-3):
    notes = []
    keys = [bag.key for bag in bags]
    fit_seconds = dict.fromkeys(keys, seconds)
    found = refit_in_time(
        bags, keys, fit_seconds, trial.train, budget or Budget.unlimited(), notes.append
    )
    return [len(bag.models) for bag in found], [note.text for note in notes]


def test_each_bag_becomes_one_model_in_its_old_place(trial):
    assert refit(trial, [linear_bag(trial, "a"), linear_bag(trial, "b", 1)]) == ([1, 1], [])


def test_a_bag_stays_where_time_is_short_for_it(trial):
    sizes, notes = refit(trial, [linear_bag(trial, "slow")], budget=Budget.start(5), seconds=100)
    assert sizes == [3]
    assert notes == ["No time to fit these on all rows, their fold models stay: slow"]


def test_a_bag_stays_when_the_fit_was_asked_to_stop(trial):
    stopped = Budget.start(None, Stop(signal=2))
    assert refit(trial, [linear_bag(trial, "a")], budget=stopped)[0] == [3]


def test_a_bag_stays_when_its_model_comes_out_hurried(trial, monkeypatch):
    def hurried(bag, samples, budget):
        one = replace(bag, models=bag.models[:1])
        one.models[0].model.hurried = True
        return one

    monkeypatch.setattr(refitting, "refit_bag", hurried)
    assert refit(trial, [linear_bag(trial, "a")], budget=Budget.start(60))[0] == [3]


def test_a_bag_of_a_family_that_cannot_be_stopped_stays(trial, monkeypatch):
    monkeypatch.setattr(MODELS.get("linear"), "interruptible", False)
    assert refit(trial, [linear_bag(trial, "a")])[0] == [3]


def test_each_bag_gets_its_part_of_the_time(trial, monkeypatch):
    given = []

    def note_share(bag, samples, budget):
        given.append(budget.remaining())
        return replace(bag, models=bag.models[:1])

    monkeypatch.setattr(refitting, "refit_bag", note_share)
    bags = [linear_bag(trial, "a"), linear_bag(trial, "b")]
    refit_in_time(
        bags, ["b", "a"], {"a": 3.0, "b": 9.0}, trial.train, Budget.start(40), lambda note: None
    )
    assert given == [pytest.approx(30, abs=1), pytest.approx(40, abs=1)]


def test_the_preset_gives_one_model_for_each_bag(tmp_path, regression_table):
    config = FitConfig(max_specs=2, n_folds=4)
    small = Predictor("y", path=tmp_path / "small", verbosity=0)
    small.fit(regression_table, presets="deploy", config=config)
    bagged = Predictor("y", path=tmp_path / "bagged", verbosity=0)
    bagged.fit(regression_table, config=config)
    assert {len(bag.models) for bag in small._fitted().stack.bags} == {1}
    assert {len(bag.models) for bag in bagged._fitted().stack.bags} == {4}
    assert small._fitted().stack.weights == bagged._fitted().stack.weights
    loaded = Predictor.load(tmp_path / "small", verbosity=0)
    answers = small.predict(regression_table)
    np.testing.assert_allclose(loaded.predict(regression_table), answers, rtol=1e-6)
    assert np.corrcoef(answers, bagged.predict(regression_table))[0, 1] > 0.9


def test_the_preset_ends_with_a_predictor_under_a_time_limit(tmp_path, regression_table):
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
    predictor.fit(regression_table, presets="deploy", time_limit=8)
    assert predictor.predict(regression_table).notna().all()


def test_a_stack_of_layers_cannot_be_refitted():
    with pytest.raises(InvalidOptionError, match="n_layers must be 1 or None with refit=True"):
        FitConfig(refit=True, n_layers=2)
