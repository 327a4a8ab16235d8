import time
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.errors import InvalidOptionError, OutOfTimeError
from tabular_automl.core.events import Note
from tabular_automl.core.parallel import Machine
from tabular_automl.core.params import Params as AnyParams
from tabular_automl.core.params import param
from tabular_automl.data.folds import make_folds
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.ensemble import refitting
from tabular_automl.ensemble.bagging import Bag, BagFit
from tabular_automl.ensemble.refitting import (
    _OF_A_FOLD,
    _OF_HOLDOUT,
    RefitRequest,
    as_refitted,
    lightened,
    middle_fold,
    refit_in_time,
    seconds_beside_refits,
    seconds_to_refit,
)
from tabular_automl.models.base import MODELS, FittedSpec, Model, ModelSpec, Setting
from tabular_automl.models.linear import Linear
from tabular_automl.models.trial import Trial

TASK = Task(ProblemType.REGRESSION)


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial.make(TASK)


def linear_bag(trial: Trial, key: str, n_models: int = 3) -> Bag:
    model = Linear(Linear.Params(), Setting(TASK, "squared_error", 0, 1))
    model.fit(trial.train, trial.valid, Budget.unlimited())
    return Bag(key, 1, (FittedSpec("linear", model),) * n_models)


def refit(trial, bags, *, budget=None, seconds=1e-3, **changes):
    """Return how many models each bag has then, and what was noted."""
    notes = []
    keys = [bag.key for bag in bags]
    options = {
        "samples": {1: trial.train},
        "order": keys,
        "needed": dict.fromkeys(keys, seconds),
        "n_bytes": 10**9,
        "on_error": "skip",
        "report": lambda note: notes.append(note.text),
    }
    request = RefitRequest(**options | changes)
    found = refit_in_time(bags, request, budget or Budget.unlimited())
    return [len(bag.models) for bag in found], notes


def with_fit(monkeypatch, fit):
    """Have every linear model of all rows fitted by ``fit``, given model and budget."""

    original = Linear.fit

    def fit_linear(model, train, valid, budget):
        fit(model, budget)
        return original(model, train, valid, budget)

    monkeypatch.setattr(Linear, "fit", fit_linear)


def test_each_bag_becomes_one_model_in_its_old_place(trial):
    assert refit(trial, [linear_bag(trial, "a"), linear_bag(trial, "b", 1)]) == ([1, 1], [])


def test_a_model_of_all_rows_is_set_aside_once_it_has_predicted(trial, monkeypatch):
    asked = []
    predict = Linear.predict
    monkeypatch.setattr(Linear, "predict", lambda *each: asked.append("predict") or predict(*each))
    monkeypatch.setattr(Linear, "set_aside", lambda model: asked.append("set aside"))
    refit(trial, [linear_bag(trial, "a")])
    assert asked[-2:] == ["predict", "set aside"]


def test_the_model_of_a_holdout_is_replaced_by_one_of_all_rows(trial):
    half = trial.train.take(np.arange(len(trial.train) // 2))
    bag = linear_bag(replace(trial, train=half), "a", 1)
    request = RefitRequest({1: trial.train}, ["a"], {"a": 1e-3}, 10**9, "raise", lambda event: None)
    (found,) = refit_in_time([bag], request, Budget.unlimited())
    of_all = Linear(bag.models[0].model.fitted_params(), bag.models[0].model.setting)
    of_all.fit(trial.train, None, Budget.unlimited())
    expected = of_all.predict(trial.test.table)
    np.testing.assert_allclose(found.predict(trial.test.table), expected)
    assert not np.allclose(bag.predict(trial.test.table), expected)


@pytest.mark.parametrize(
    ("options", "n_cores", "expected"),
    [
        ({"n_folds": 4}, 2, _OF_A_FOLD * 2.0 * 4 / 3),  # a fold takes 2 s, and has fewer rows
        ({"n_folds": 4}, 8, _OF_A_FOLD * 2.0 * 4 / 3 * 2**0.5),  # eight cores do not help as much
        ({"n_folds": 2}, 2, _OF_A_FOLD * 4.0 * 2),
        ({"n_folds": 1, "holdout_fraction": 0.5}, 2, _OF_HOLDOUT * 8.0 * 2),
        # in time order, the folds have 4/8, 5/8, 6/8 and 7/8 of the rows
        ({"n_folds": 4, "time": np.arange(80)}, 2, _OF_A_FOLD * 2.0 * 32 / 22),
    ],
)
def test_what_a_refit_takes_grows_with_the_rows_that_the_folds_left_out(
    trial, options, n_cores, expected
):
    folds = make_folds(TASK, np.arange(80.0), **options)
    bag = linear_bag(trial, "a", len(folds))
    fit = BagFit(ModelSpec.make("linear"), bag, np.empty(0), fit_seconds=8.0, predict_seconds=0.0)
    assert seconds_to_refit(fit, folds, Machine(n_cores, 10**9)) == pytest.approx(expected)


def test_a_bag_stays_where_time_is_short_for_it(trial):
    sizes, notes = refit(trial, [linear_bag(trial, "slow")], budget=Budget.start(5), seconds=50)
    assert sizes == [3]
    assert notes[0].startswith("slow is not fitted on all rows: it needs about 50.0 s, ")


def test_a_bag_stays_where_memory_is_short_for_it(trial):
    sizes, notes = refit(trial, [linear_bag(trial, "large")], n_bytes=10)
    assert sizes == [3]
    assert "large is not fitted on all rows: it needs 0.0 GB of memory" in notes[0]


def test_a_bag_stays_when_the_fit_was_asked_to_stop(trial):
    stopped = Budget.start(None, Stop(signal=2))
    note = "a is not fitted on all rows: interrupted"
    assert refit(trial, [linear_bag(trial, "a")], budget=stopped) == ([3], [note])


def test_a_bag_stays_whose_folds_had_nothing_to_learn(trial, monkeypatch):
    bag = linear_bag(trial, "a")
    fold_model = bag.models[0].model
    learned = {True: None, False: 10.0}  # one class in the folds' rows, two in all rows
    monkeypatch.setattr(Linear, "amount_learned", lambda model: learned[model is fold_model])
    sizes, notes = refit(trial, [bag])
    assert sizes == [3]
    assert notes == ["a is not fitted on all rows: its folds found nothing to learn"]


def test_a_bag_stays_when_its_model_comes_out_hurried(trial, monkeypatch):
    with_fit(monkeypatch, lambda model, budget: setattr(model, "hurried", True))
    sizes, notes = refit(trial, [linear_bag(trial, "a")], budget=Budget.start(60))
    assert sizes == [3]
    assert notes == ["a is not fitted on all rows: there was no time to learn as much on all rows"]


def test_a_bag_stays_when_its_model_took_nearly_all_the_time(trial, monkeypatch):
    bag = linear_bag(trial, "a")
    with_fit(monkeypatch, lambda model, budget: time.sleep(0.9 * budget.remaining()))
    assert refit(trial, [bag], budget=Budget.start(1.0))[0] == [3]


@pytest.mark.parametrize(("share", "n_models"), [(0.9, 3), (0.96, 1)])
def test_a_model_that_tells_that_it_learned_as_much_may_take_all_the_time(
    trial, monkeypatch, share, n_models
):
    bag = linear_bag(trial, "a")
    fold_model = bag.models[0].model
    monkeypatch.setattr(
        Linear, "amount_learned", lambda model: 10.0 if model is fold_model else 10.0 * share
    )
    with_fit(monkeypatch, lambda model, budget: time.sleep(0.9 * budget.remaining()))
    assert refit(trial, [bag], budget=Budget.start(1.0))[0] == [n_models]


def test_a_bag_of_little_weight_that_could_not_be_refitted_answers_with_one_model(trial):
    bags, notes = [linear_bag(trial, key) for key in "abcd"], []
    importance = {"a": 0.05, "b": 0.04, "c": 0.06, "d": 0.85}
    folds = make_folds(TASK, trial.train.y, n_folds=3)
    found = lightened(bags, importance, folds, notes.append)
    assert [len(bag.models) for bag in found] == [1, 1, 3, 3]  # c would make it .15 in all
    assert [note.text.partition(",")[0] for note in notes] == ["b", "a"]


def test_in_time_order_the_last_fold_answers_for_a_bag_of_little_weight(trial):
    bag = linear_bag(trial, "a")
    models = tuple(FittedSpec("linear", copy(each.model)) for each in bag.models)
    folds = make_folds(TASK, trial.train.y, n_folds=3, time=np.arange(len(trial.train)))
    (found,) = lightened([replace(bag, models=models)], {"a": 0.01}, folds, lambda note: None)
    assert found.models == models[-1:]


def test_a_failure_costs_nothing_but_the_refit(trial, monkeypatch):
    def fail(model, budget):
        raise RuntimeError("no luck")

    bags = [linear_bag(trial, "a")]
    with_fit(monkeypatch, fail)
    note = "a could not be fitted on all rows: RuntimeError: no luck"
    assert refit(trial, bags) == ([3], [note])
    with pytest.raises(RuntimeError, match="no luck"):
        refit(trial, bags, on_error="raise")


def test_a_model_that_predicts_no_numbers_is_not_taken(trial, monkeypatch):
    bags = [linear_bag(trial, "a")]
    monkeypatch.setattr(Linear, "predict", lambda model, table: np.full((len(table), 1), np.nan))
    sizes, notes = refit(trial, bags)
    assert sizes == [3]
    assert "predict must return finite numbers" in notes[0]


def test_a_bag_of_a_family_that_cannot_be_stopped_stays(trial, monkeypatch):
    monkeypatch.setattr(MODELS.get("linear"), "interruptible", False)
    bags = [linear_bag(trial, "a")]
    assert refit(trial, bags)[0] == [3]
    assert len(as_refitted(bags)[0].models) == 3


def test_a_bag_stays_of_which_a_fold_had_no_time_for_all_its_rows(trial):
    bag, drew = linear_bag(trial, "a"), linear_bag(trial, "a", 1)
    drew.models[0].model.n_drawn = 10
    bag = replace(bag, models=bag.models[:2] + drew.models)
    told = "a is not fitted on all rows: its folds had no time for all of theirs"
    assert refit(trial, [bag]) == ([3], [told])
    assert len(as_refitted([bag])[0].models) == 3


def test_a_bag_answers_as_fast_as_one_of_its_models(trial):
    assert len(as_refitted([linear_bag(trial, "a")])[0].models) == 1


def test_each_bag_gets_its_part_of_the_time_and_ample_for_what_it_needs(trial, monkeypatch):
    given = []
    bags = [linear_bag(trial, "a"), linear_bag(trial, "b"), linear_bag(trial, "c")]
    with_fit(monkeypatch, lambda model, budget: given.append(budget.remaining()))
    needed = {"a": 2.0, "b": 6.0, "c": 2.0}
    refit(trial, bags, order=["b", "a", "c"], needed=needed, budget=Budget.start(11))
    assert given == [
        pytest.approx(11, abs=1.5),
        pytest.approx(5, abs=1.5),
        pytest.approx(11, abs=1.5),
    ]


def test_fold_models_that_stay_so_far_are_saved_in_time(trial, monkeypatch):
    given = []
    bags = [linear_bag(trial, "a"), linear_bag(trial, "b")]
    with_fit(monkeypatch, lambda model, budget: given.append(budget.remaining()))
    monkeypatch.setattr(refitting, "seconds_to_save", lambda bag: {"a": 1.2, "b": 3.0}[bag.key])
    refit(trial, bags, needed={"a": 5.0, "b": 5.0}, budget=Budget.start(10))
    # Of a save's 4.2 s the plan's reserve has 0.2; what "a" took is over when "b" begins.
    assert given == [pytest.approx(10 - 4.0, abs=1.0), pytest.approx(10 - 2.8, abs=1.0)]


@pytest.mark.parametrize(
    ("refits", "others", "expected"),
    [
        ([], 0.0, 0.0),
        ([], 3.0, 3.0),  # nothing is replaced
        ([(5.0, 2.0)], 0.0, 2.0),  # it may fail at its end
        ([(5.0, 2.0), (5.0, 1.0)], 0.5, 1.5),  # of the first, nothing is saved by then
        ([(1.0, 9.0), (2.0, 1.0)], 0.0, 8.0),  # the save of the first is longer than what follows
    ],
)
def test_time_kept_for_saves_beside_refits(refits, others, expected):
    assert seconds_beside_refits(refits, others) == pytest.approx(expected)


class Chosen(Model):
    """A family whose folds choose what the test says."""

    interruptible = True

    @dataclass(frozen=True)
    class Params(AnyParams):
        n_rounds: int = param(100, 1, 10_000)
        rate: float | None = param(None, 1e-4, 1.0)
        extra: bool = param(False)

    def fit(self, train, valid, budget):
        raise NotImplementedError

    predict = state = restore = fit

    def fitted_params(self):
        return replace(self.params, **self.chosen)


def fold(**chosen):
    model = Chosen(Chosen.Params(), Setting(TASK, "squared_error", 0, 1))
    model.chosen = chosen
    return FittedSpec("chosen", model)


@pytest.mark.parametrize(
    ("folds", "middle"),
    [
        ([(100, 0.1), (300, 0.1), (260, 0.1)], 2),  # the median
        ([(100, 0.3), (1000, 0.01), (900, 0.02)], 2),  # of rounds times rate, not of either
        ([(100, 0.1), (300, 0.1)], 1),  # the larger of two
        ([(100, 0.1)] * 3, 1),  # any, where they agree
    ],
)
def test_a_refit_takes_the_choices_of_the_fold_in_the_middle(folds, middle):
    models = [fold(n_rounds=n_rounds, rate=rate) for n_rounds, rate in folds]
    assert middle_fold(models) is models[middle]


def test_a_fold_that_chose_nothing_counts_only_where_none_did():
    models = [fold(), fold(n_rounds=60, rate=0.2), fold()]
    assert middle_fold(models) is models[1]
    assert middle_fold([models[0], models[2]]) is models[2]


def test_a_refit_gives_one_model_for_each_bag(tmp_path, regression_table):
    config = FitConfig(max_specs=2, n_folds=4)
    small = Predictor("y", path=tmp_path / "small", verbosity=0)
    small.fit(regression_table, config=replace(config, refit=True))
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
    config = FitConfig(families=("linear", "lightgbm"))  # quick ones
    predictor.fit(regression_table, presets="deploy", config=config, time_limit=8)
    assert 1 in {len(bag.models) for bag in predictor._fitted().stack.bags}
    assert predictor.predict(regression_table).notna().all()


@pytest.mark.parametrize("refit", [True, False])
def test_latency_is_measured_on_what_will_answer(tmp_path, regression_table, monkeypatch, refit):
    seen = []

    def keys_within(pipeline, record, budget, *, max_ms, report):
        seen.extend(len(bag.models) for bag in pipeline.stack.bags)
        return pipeline.stack.weights.keys()

    monkeypatch.setattr("tabular_automl.deployment.pruning.keys_within", keys_within)
    config = FitConfig(refit=refit, max_specs=2, n_folds=4, max_latency_ms=1.0)
    Predictor("y", path=tmp_path / "p", verbosity=0).fit(regression_table, config=config)
    assert set(seen) == ({1} if refit else {4})


def test_bags_that_stay_are_said_to_be_slower_than_measured(
    tmp_path, regression_table, monkeypatch
):
    def out_of_time(*_):
        raise OutOfTimeError("none left")

    events = []
    monkeypatch.setattr(refitting, "_refit_within", out_of_time)
    config = FitConfig(refit=True, max_specs=1, n_folds=4, max_latency_ms=1000.0)
    Predictor("y", path=tmp_path / "p", reporter=events.append).fit(regression_table, config=config)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes == [
        "Fitting 1 of the ensemble's models once more, on all rows.",
        "lightgbm is not fitted on all rows: none left",
        "With the fold models that stay, a row may take longer than was measured for "
        "max_latency_ms.",
    ]


def test_a_finished_fit_is_resumed_with_a_refit(tmp_path, regression_table):
    fitted = Predictor("y", path=tmp_path / "p", verbosity=0)
    fitted.fit(regression_table, config=FitConfig(max_specs=2, n_folds=4))
    again = Predictor("y", path=tmp_path / "p", verbosity=0)
    config = FitConfig(max_specs=2, n_folds=4, refit=True)
    again.fit(regression_table, config=config, resume=True)
    assert {len(bag.models) for bag in again._fitted().stack.bags} == {1}
    assert again._fitted().stack.weights == fitted._fitted().stack.weights


def test_a_stack_of_layers_cannot_be_refitted():
    with pytest.raises(InvalidOptionError, match="n_layers must be 1 or None with refit=True"):
        FitConfig(refit=True, n_layers=2)
