from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor, pipeline
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.errors import DataError
from tabular_automl.ensemble import refitting
from tabular_automl.models.base import ModelSpec
from tabular_automl.models.lightgbm import LightGBM
from tabular_automl.pipeline import _as_chosen, _time_to_choose


@pytest.fixture
def seconds_to_weigh(monkeypatch):
    """Return what each weighing of an ensemble had left, as fits go on."""
    left, weigh = [], pipeline.ensemble_weights

    def noting(request, candidates, budget):
        left.append(budget.remaining())
        return weigh(request, candidates, budget)

    monkeypatch.setattr(pipeline, "ensemble_weights", noting)
    return left


def test_a_group_column_of_lists_is_refused_in_a_sentence(tmp_path):
    table = pd.DataFrame({"size": range(100), "g": [[i % 7] for i in range(100)], "y": range(100)})
    with pytest.raises(DataError, match="group column"):
        Predictor("y", path=tmp_path / "p", verbosity=0).fit(
            table, columns={"g": "group"}, config=FitConfig(max_specs=1)
        )


@pytest.mark.parametrize(("metric", "share"), [("f1", 0.6), ("log_loss", 1.0)])
def test_weighing_leaves_time_for_a_decision_rule(
    metric, share, tmp_path, monkeypatch, seconds_to_weigh
):
    monkeypatch.setattr(pipeline, "_time_to_choose", lambda *_: Budget.start(100.0))
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=200)})
    table["y"] = table["size"] + rng.normal(size=200) > 0.5
    config = FitConfig(families=("linear",), n_folds=2)
    Predictor("y", path=tmp_path / "p", verbosity=0, eval_metric=metric).fit(
        table, config=config, time_limit=20
    )
    assert seconds_to_weigh[0] == pytest.approx(100.0 * share, abs=1.0)


NEVER = Budget.start(0.0)  # the time for who interrupts


@dataclass
class Stack:
    weights: dict
    bags: tuple = ()


@dataclass
class Pipeline:
    stack: Stack


def test_an_ensemble_is_chosen_before_the_refit_begins():
    budget = Budget.start(60)
    chosen = _time_to_choose(budget.earlier(20), budget, NEVER, reserve=2.0, kept=0.5)
    assert chosen.deadline == pytest.approx(budget.deadline - 20 - 1.0)


@pytest.mark.parametrize("late", [0.0, 5.0, 100.0])
def test_layers_that_end_late_leave_time_to_choose_an_ensemble(late):
    budget = Budget.start(60)
    chosen = _time_to_choose(budget.within(-late), budget, NEVER, reserve=2.0, kept=0.5)
    assert chosen.remaining() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("limit", [3600.0, None])
def test_who_interrupts_a_fit_does_not_wait_for_what_is_left_of_its_limit(limit):
    stop = Stop()
    budget = Budget.start(limit, stop)
    once_stopped = budget.unstoppable().within(5.0)
    asked = partial(_time_to_choose, budget.unstoppable(), budget, once_stopped, 40.0)
    assert asked(0.5).remaining() > 1_000
    stop.signal = 2
    assert asked(0.5) is asked(0.1) is once_stopped


def test_without_a_limit_there_is_none_for_the_ensemble():
    unlimited = Budget.unlimited()
    chosen = _time_to_choose(unlimited.earlier(0.0), unlimited, NEVER, reserve=0.0, kept=0.5)
    assert not chosen.limited


def test_bags_that_may_stay_are_weighed_anew_with_time_however_long_the_choice_took():
    left = []

    def assemble(budget, allowed=None):
        left.append(budget.remaining())
        return Pipeline(Stack({"a": 0.5, "b": 0.5})), allowed

    def choose(stand_in, record, budget):
        left.append(budget.remaining())
        return ["a"]

    whole = Budget.start(60)
    time_left = partial(
        _time_to_choose, whole.within(0.0), whole, NEVER, 2.0
    )  # no time before the refit
    _, allowed = _as_chosen(assemble, choose, time_left, refit=False)
    assert allowed == frozenset("a")
    assert left == [pytest.approx(1.0, abs=0.1)] * 3


def test_weights_have_time_though_most_of_a_refits_time_went_to_models(
    tmp_path, regression_table, seconds_to_weigh
):
    config = FitConfig(refit=True, families=("linear", "lightgbm"))
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
    predictor.fit(regression_table, time_limit=8, config=config)
    assert seconds_to_weigh[0] > 0.0


def test_bags_that_never_are_one_model_are_as_slow_as_measured(
    tmp_path, regression_table, monkeypatch
):
    for module in (pipeline, refitting):
        monkeypatch.setattr(module, "can_be_refitted", lambda bag: False)
    events = []
    config = FitConfig(refit=True, max_specs=1, n_folds=2, max_latency_ms=1000.0)
    predictor = Predictor("y", path=tmp_path / "p", reporter=events.append)
    predictor.fit(regression_table, config=config)
    assert [len(bag.models) for bag in predictor._fitted().stack.bags] == [2]
    notes = [event.text for event in events if hasattr(event, "text")]
    assert not any("max_latency_ms" in note for note in notes)


@pytest.fixture
def rare_table():
    """600 rows, of which one in seven is rare and hardly any for certain."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    rare = rng.random(600) < 1 / (1 + np.exp(2.6 - 1.5 * x))
    label = np.where(rare, "rare", "usual")
    return pd.DataFrame({"x": x, "noise": rng.normal(size=600), "y": label})


def fitted_for(metric, table, path, **settings):
    config = FitConfig(max_specs=1, n_folds=3, families=("lightgbm",), **settings)
    return Predictor("y", eval_metric=metric, path=path, verbosity=0).fit(table, config=config)


def test_probabilities_are_calibrated_unless_told_otherwise(tmp_path, rare_table):
    calibrated = fitted_for("log_loss", rare_table, tmp_path / "a")._fitted()
    plain = fitted_for("log_loss", rare_table, tmp_path / "b", calibrate=False)._fitted()
    assert calibrated.temperature.power != 1.0
    assert plain.temperature is None
    expected = calibrated.temperature.apply(plain.predict(rare_table))
    np.testing.assert_allclose(calibrated.predict(rare_table), expected, rtol=1e-6)
    loaded = Predictor.load(tmp_path / "a", verbosity=0)._fitted()
    assert loaded.temperature == calibrated.temperature


def test_a_metric_that_cares_for_rare_classes_gets_a_rule_that_says_them_more_often(
    tmp_path, rare_table
):
    balanced = fitted_for("balanced_accuracy", rare_table, tmp_path / "a")
    accurate = fitted_for("accuracy", rare_table, tmp_path / "b")
    rule = balanced._fitted().rule
    assert rule.factors[0] > rule.factors[1]  # of "rare", which comes first
    assert accurate._fitted().rule.factors is None
    assert fitted_for("log_loss", rare_table, tmp_path / "c")._fitted().rule is None
    n_balanced, n_accurate = (
        int((each.predict(rare_table) == "rare").sum()) for each in (balanced, accurate)
    )
    assert n_balanced > 1.5 * n_accurate


def test_a_spec_that_replaces_one_and_fails_is_listed_once(tmp_path, regression_table):
    own = ModelSpec.make("lightgbm", "lightgbm", num_leaves=5)
    config = FitConfig(specs=(own,), families=("linear", "lightgbm"), max_specs=2, n_folds=2)
    failing = LightGBM.fit

    def fail(model, *arguments):
        if model.params.num_leaves == 5:
            raise ValueError("no trees today")
        return failing(model, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LightGBM, "fit", fail)
        predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
        board = predictor.fit(regression_table, config=config).leaderboard()
    rows = board[board["model"] == "lightgbm"]
    assert rows["status"].tolist() == ["failed"]
    assert "no trees today" in rows["reason"].iloc[0]


def test_the_problem_type_is_known_after_a_fit_and_asked_anew_by_the_next(
    tmp_path, regression_table, binary_table
):
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
    assert predictor.problem_type is None
    config = FitConfig(max_specs=1, n_folds=2, families=("linear",))
    assert predictor.fit(regression_table, config=config).problem_type == "regression"
    predictor.fit(binary_table, config=config, overwrite=True)
    assert predictor.problem_type == "binary"
