"""Smaller ensembles answer sooner, and cost what the table says."""

import time
from dataclasses import dataclass, replace
from functools import partial
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.config import resolve_config
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import ArtifactError, InvalidOptionError, NotFittedError
from tabular_automl.core.events import Note
from tabular_automl.deployment import pruning, refit
from tabular_automl.deployment.spare_answers import answered_by
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.ensemble.calibration import Temperature
from tabular_automl.ensemble.held_out import HeldOut
from tabular_automl.ensemble.stack import FittedStack
from tabular_automl.fitted import FitRecord
from tabular_automl.metrics.base import METRICS
from tabular_automl.metrics.resolve import make_metric, resolve_metric
from tabular_automl.saving import load_saved, saved_state

FAMILIES = ("lightgbm", "linear", "extra_trees", "catboost")


@pytest.fixture(scope="module")
def predictor(curved_table, tmp_path_factory):
    config = FitConfig(max_specs=4, n_folds=2, n_layers=1, families=FAMILIES)
    path = tmp_path_factory.mktemp("pruned") / "p"
    return Predictor("y", path=path, verbosity=0).fit(curved_table, config=config)


@pytest.fixture
def fixed_clock(monkeypatch):
    """Let every bag take one millisecond, so that nothing depends on the machine."""
    monkeypatch.setattr(pruning, "_cost_of_bags", lambda pipeline, features: _Ones())

    def measured(pipeline, rows):
        return float(len(pipeline.stack.bags))

    monkeypatch.setattr(pruning, "_measured", measured)


class _Ones(dict):
    def __missing__(self, key):
        return 1.0


def test_the_report_goes_from_all_models_to_one(predictor, fixed_clock):
    report = predictor.latency_report()
    n_models = len(predictor.compile()._pipeline.stack.bags)
    assert n_models >= 2
    assert report["n_models"].tolist() == list(range(n_models, 0, -1))
    assert report["milliseconds"].tolist() == report["n_models"].tolist()
    assert report["dropped"][0] == ""
    assert set(report["dropped"][1:]) < set(predictor.leaderboard()["model"])


def test_scores_of_the_report_are_out_of_fold(predictor, fixed_clock):
    report = predictor.latency_report()
    assert report["score"][0] == pytest.approx(predictor._record.score, rel=1e-5)
    last = report.iloc[-1]
    board = predictor.leaderboard().set_index("model")
    kept = set(board.index[board["weight"] > 0]) - {*report["dropped"], "ensemble"}
    assert last["score"] == pytest.approx(board.loc[kept.pop(), "score"], rel=1e-5)


def test_the_front_holds_what_nothing_beats(predictor, fixed_clock):
    report = predictor.latency_report()
    for _, row in report.iterrows():
        faster = report["milliseconds"] <= row["milliseconds"]
        better = report["score"] >= row["score"]
        strictly = (report["milliseconds"] < row["milliseconds"]) | (report["score"] > row["score"])
        assert row["on_front"] == (not (faster & better & strictly).any())


def test_a_latency_limit_drops_models_until_it_is_met(predictor, curved_table, fixed_clock):
    stack = predictor.compile(max_latency_ms=1.0)._pipeline.stack
    assert len(stack.bags) == 1
    assert sum(stack.weights.values()) == pytest.approx(1.0)
    row = curved_table.drop(columns="y").iloc[0].to_dict()
    pruned = predictor.compile(max_latency_ms=1.0).predict_one(row)
    assert pruned == pytest.approx(curved_table["y"].iloc[0], abs=1.5)
    full = predictor.compile(max_latency_ms=100.0).predict_one(row)
    assert full == predictor.compile().predict_one(row)


def test_a_limit_that_no_ensemble_meets_names_the_fastest(predictor, fixed_clock):
    with pytest.raises(InvalidOptionError, match="must be at least 1, what the fastest ensemble"):
        predictor.compile(max_latency_ms=0.5)


@pytest.mark.parametrize("limit", [0, -1.0, "fast", True, float("nan")])
def test_a_limit_must_be_a_positive_number(predictor, limit):
    with pytest.raises(InvalidOptionError, match="max_latency_ms must be a positive number"):
        predictor.compile(max_latency_ms=limit)


@pytest.fixture
def limited(curved_table, tmp_path, fixed_clock):
    """Return what fits as `predictor` was, with a limit on the latency."""

    def fit(limit, events=None):
        config = FitConfig(
            max_specs=4, n_folds=2, n_layers=1, families=FAMILIES, max_latency_ms=limit
        )
        reporter = None if events is None else events.append
        predictor = Predictor("y", path=tmp_path / "p", verbosity=0, reporter=reporter)
        return predictor.fit(curved_table, config=config)

    return fit


def test_a_fit_with_a_latency_limit_weighs_what_meets_it_anew(predictor, limited, curved_table):
    small = limited(1.0)
    assert list(small._pipeline.stack.weights.values()) == [1.0]
    board = small.leaderboard().set_index("model")
    assert set(board.index[board["weight"] > 0]) == small._pipeline.stack.weights.keys()
    # The score is that of the small ensemble, not of the one it was chosen from.
    assert small._record.score < predictor._record.score
    rmse = np.sqrt(np.mean((small.oof_predictions() - curved_table["y"]) ** 2))
    assert -small._record.score == pytest.approx(rmse)


@pytest.mark.slow
def test_a_fit_whose_latency_limit_is_met_anyway_is_as_it_would_be(
    predictor, limited, curved_table
):
    same = limited(100.0)
    assert same._pipeline.stack.weights == predictor._pipeline.stack.weights
    pd.testing.assert_series_equal(same.predict(curved_table), predictor.predict(curved_table))


def test_a_fit_that_cannot_meet_its_latency_limit_takes_the_fastest_and_says_so(limited):
    events = []
    assert len(limited(0.5, events)._pipeline.stack.weights) == 1
    told = [event.text for event in events if isinstance(event, Note)]
    assert any("within 0.5 ms here; the one chosen takes 1 ms" in text for text in told)


def test_choosing_ends_with_the_budget(predictor, fixed_clock):
    steps = pruning.prune(predictor._fitted(), predictor._fit_record(), Budget.start(0.0))
    assert len(steps) == 1
    assert all(bag.joined is None for bag in steps[0].pipeline.stack.bags)
    steps = pruning.prune(predictor._fitted(), predictor._fit_record(), Budget.start(60.0))
    assert len(steps) > 1
    assert all(bag.joined is not None for bag in steps[0].pipeline.stack.bags)


def test_without_predictions_of_single_models_the_lightest_go_first(
    predictor, tmp_path, fixed_clock
):
    clone = predictor.clone_for_deployment(tmp_path / "clone")
    report = Predictor.load(clone.path, verbosity=0).latency_report()
    assert report["score"].isna().all()
    weights = predictor._pipeline.stack.weights
    assert report["dropped"][1] == min(weights, key=weights.get)


def test_a_loaded_predictor_reports_the_same(predictor, fixed_clock):
    loaded = Predictor.load(predictor.path, verbosity=0)
    pd.testing.assert_frame_equal(loaded.latency_report(), predictor.latency_report())


def test_latencies_are_measured_in_milliseconds(predictor):
    report = predictor.latency_report()
    assert (report["milliseconds"] > 0).all()
    assert np.isfinite(report["score"]).all()


@dataclass(frozen=True)
class Stack:
    """Bags that were weighed, as far as dropping them needs it."""

    weights: dict
    spares: tuple = ()

    @property
    def bags(self):
        return [Bag(key, 1, ("one model",)) for key in self.weights]

    def weighed(self, weights):
        return Stack(weights)


@dataclass(frozen=True)
class Ensemble:
    """A pipeline whose score follows from the bags that are left."""

    stack: Stack
    scores: dict
    temperature: None = None

    def without(self, key):
        left = {k: 1.0 for k in self.stack.weights if k != key}
        return replace(self, stack=replace(self.stack, weights=left))


@pytest.fixture
def dropped_from(monkeypatch):
    """Return what drops bags of an ensemble whose scores and milliseconds are given."""

    def dropped(scores, milliseconds, share, *, base_rate=-np.inf, metric="roc_auc", spares=""):
        monkeypatch.setattr(pruning, "without_bag", Ensemble.without)
        monkeypatch.setattr(pruning, "_cost_out_of_fold", lambda *_: milliseconds)
        monkeypatch.setattr(pruning, "_score_of_base_rate", lambda *_: base_rate)
        monkeypatch.setattr(
            pruning, "_scorer", lambda *_: lambda p: p.scores["".join(sorted(p.stack.weights))]
        )
        kept_beside = tuple(Bag(key, 1, ("one model",)) for key in spares)
        asked = dict.fromkeys(milliseconds.keys() - set(spares), 1.0)
        whole = Ensemble(Stack(asked, kept_beside), scores)
        none = np.empty(0)
        held_out = HeldOut(none, None, {})
        record = FitRecord(METRICS.get(metric), "", (), 0.0, none, none, held_out)
        notes = []
        kept = pruning.keep_worthy(whole, record, Budget.unlimited(), share, notes.append)
        return "".join(sorted(kept.stack.weights)), [note.text for note in notes]

    return dropped


def test_what_is_worth_next_to_nothing_goes_under_a_deadline(predictor, monkeypatch):
    pipeline, record = predictor._fitted(), predictor._fit_record()
    monkeypatch.setattr(pruning, "_NEGLIGIBLE", 100.0)
    notes = []
    choose = partial(
        pruning.keys_fast_enough, pipeline, record, max_error_cost=None, max_ms=None,
        report=notes.append,
    )  # fmt: skip
    everything = tuple(pipeline.stack.weights)
    assert len(record.held_out.y) < pruning._ENOUGH_TO_TELL
    assert choose(Budget.start(60)) == everything  # too few rows to tell
    monkeypatch.setattr(pruning, "_ENOUGH_TO_TELL", 100)
    assert choose(Budget.unlimited()) == everything
    assert not notes
    assert len(choose(Budget.start(60))) == 1
    assert "models 1 stay" in notes[0].text


def test_what_is_slow_for_its_worth_goes_while_the_error_allows_it(dropped_from):
    scores = {"abc": 0.90, "ab": 0.899, "ac": 0.899, "bc": 0.87, "a": 0.898, "b": 0.5, "c": 0.5}
    kept, notes = dropped_from(scores, {"a": 1.0, "b": 2.0, "c": 7.0}, 0.03)
    assert kept == "a"
    assert notes == [
        "Of 3 models 1 stay: they predict 10.0 times as fast, with roc_auc 0.898 out of fold "
        "instead of roc_auc 0.9, before the weights are chosen anew."
    ]


def test_a_model_that_is_worth_more_than_may_be_lost_does_not_end_the_choice(dropped_from):
    # Without a, most is saved for what is lost, but too much is lost.
    scores = {"abc": 0.90, "ab": 0.8, "ac": 0.8985, "bc": 0.897, "a": 0.5, "c": 0.5}
    assert dropped_from(scores, {"a": 50.0, "b": 3.0, "c": 1.0}, 0.02)[0] == "ac"


def test_where_little_is_gained_over_the_base_rate_little_may_be_lost(dropped_from):
    scores = {"ab": 0.55, "a": 0.547, "b": 0.5492}
    costs = {"a": 1.0, "b": 100.0}
    assert dropped_from(scores, costs, 0.02) == ("a", [ANY])
    assert dropped_from(scores, costs, 0.02, base_rate=0.5) == ("b", [ANY])
    assert dropped_from(scores, costs, 0.01, base_rate=0.5) == ("ab", [])


def test_of_models_that_are_worth_nothing_the_slow_one_goes(dropped_from):
    scores = {"ab": 0.9, "a": 0.9, "b": 0.9}
    assert dropped_from(scores, {"a": 1.0, "b": 100.0}, 0.01)[0] == "a"
    assert dropped_from(scores, {"a": 100.0, "b": 1.0}, 0.01)[0] == "b"


def test_a_loss_grows_from_its_optimum(dropped_from):
    scores = {"ab": -2.0, "a": -2.05, "b": -2.03}
    costs, metric = {"a": 1.0, "b": 1.0}, "root_mean_squared_error"
    kept, notes = dropped_from(scores, costs, 0.02, metric=metric)
    assert kept == "b"
    assert "with root_mean_squared_error 2.03 out of fold" in notes[0]
    assert dropped_from(scores, costs, 0.01, metric=metric)[0] == "ab"


def test_a_quick_spare_answers_for_all_where_its_error_allows_it(dropped_from):
    scores = {"ab": 0.90, "a": 0.895, "b": 0.5, "s": 0.88, "t": 0.86}
    costs = {"a": 10.0, "b": 10.0, "s": 4.0, "t": 1.0}
    assert dropped_from(scores, costs, 0.1, spares="st")[0] == "a"
    kept, notes = dropped_from(scores, costs, 0.3, spares="st")
    assert kept == "s"
    assert notes == [
        "s answers for 2 models: 5.0 times as fast, with roc_auc 0.88 out of fold "
        "instead of roc_auc 0.9."
    ]
    assert dropped_from(scores, costs, 0.5, spares="st")[0] == "t"
    # Times are measured once: what seems a little quicker may not be.
    assert dropped_from(scores, {**costs, "s": 6.0, "t": 7.0}, 0.5, spares="st")[0] == "a"


def test_a_score_that_is_not_known_is_not_good_enough(dropped_from):
    scores = {"ab": 0.9, "a": float("nan"), "b": 0.9}
    assert dropped_from(scores, {"a": 1.0, "b": 100.0}, 0.5)[0] == "b"


@pytest.mark.parametrize("score", [float("nan"), float("-inf")])
def test_without_known_scores_all_models_stay(dropped_from, score):
    scores = dict.fromkeys(["ab", "a", "b"], score)
    assert dropped_from(scores, {"a": 1.0, "b": 9.0}, 0.5) == ("ab", [])


@pytest.mark.parametrize(
    ("metric", "y", "n_outputs", "score"),
    [
        ("roc_auc", [0, 0, 1, 1], 2, 0.5),
        ("accuracy", [0, 1, 1, 1], 2, 0.75),
        ("log_loss", [0, 1, 2, 2], 3, -1.5 * np.log(2)),
        ("root_mean_squared_error", [0.0, 2.0], 1, -1.0),
        ("mean_absolute_error", [0.0, 0.0, 9.0], 1, -3.0),  # the median
        ("pinball_0.9", [0.0] * 8 + [10.0, 20.0], 1, -1.7),  # halfway between the last two
        ("spearmanr", [0.0, 2.0], 1, 0.0),
    ],
)
def test_the_base_rate_scores_as_one_answer_for_all(metric, y, n_outputs, score):
    held_out = HeldOut(np.array(y), None, {"a": np.zeros((len(y), n_outputs))})
    found = pruning._score_of_base_rate(held_out, resolve_metric(metric, None))
    assert found == pytest.approx(score)


def test_a_metric_that_cannot_judge_the_base_rate_bounds_nothing():
    held_out = HeldOut(np.array([0.0, 2.0]), None, {"a": np.zeros((2, 1))})
    plug_in = replace(METRICS.get("rmse"), function=lambda y, prediction, weight: float("nan"))
    assert pruning._score_of_base_rate(held_out, plug_in) == -np.inf

    def never(y, prediction):
        raise ZeroDivisionError("one answer for all")

    own = make_metric(never, needs="value")
    assert pruning._score_of_base_rate(held_out, own) == -np.inf


def test_the_base_rate_heeds_weights():
    held_out = HeldOut(np.array([0.0, 3.0]), np.array([2.0, 1.0]), {"a": np.zeros((2, 1))})
    score = pruning._score_of_base_rate(held_out, METRICS.get("root_mean_squared_error"))
    assert score == pytest.approx(-np.sqrt((2 * 1.0 + 4.0) / 3))


def test_the_choice_ends_with_the_budget(predictor):
    kept = pruning.keep_worthy(
        predictor._fitted(), predictor._fit_record(), Budget.start(0.0), 100.0, print
    )
    assert kept is predictor._fitted()


def test_a_slow_metric_is_not_asked_beyond_the_budget(predictor):
    asked = []

    def slow(y, prediction, weight):
        asked.append(len(y))
        time.sleep(0.2)
        return float(np.mean((y - prediction) ** 2))

    metric = replace(METRICS.get("mean_squared_error"), function=slow)
    record = replace(predictor._fit_record(), metric=metric)
    budget = Budget.start(0.5)
    pruning.keep_worthy(predictor._fitted(), record, budget, 100.0, print)
    assert len(asked) == 2  # the whole ensemble, and the base rate


def test_a_pruned_predictor_has_what_is_left_and_is_saved_as_such(
    predictor, curved_table, tmp_path
):
    whole = predictor.leaderboard().set_index("model")
    notes = []
    told = predictor._copy(predictor._fitted(), predictor._fit_record())
    told._reporter = notes.append
    smaller = told.prune(max_error_cost=100.0)
    assert "models 1 stay: they predict" in notes[0].text
    board = smaller.leaderboard().set_index("model")
    (kept,) = board.index[board["weight"] > 0]
    assert list(smaller._fitted().stack.weights) == [kept]
    assert board.loc[kept, "weight"] == 1.0
    assert board.loc["ensemble", "score"] == pytest.approx(whole.loc[kept, "score"], rel=1e-5)
    loaded = Predictor.load(smaller.save(tmp_path / "smaller"))
    assert loaded.predict(curved_table).equals(smaller.predict(curved_table))
    with pytest.raises(NotFittedError):
        loaded.oof_predictions()
    assert loaded.disk_usage().sum() < predictor.disk_usage().sum()
    assert len(loaded.predict_interval(curved_table)) == len(curved_table)
    assert list(predictor._fitted().stack.weights) != [kept]


def test_what_is_left_after_pruning_is_weighed_anew(predictor):
    pipeline, record = predictor._fitted(), predictor._fit_record()
    lopsided = dict.fromkeys(pipeline.stack.weights, 0.01)
    worst = min((row for row in record.models if row["weight"] > 0), key=lambda row: row["score"])
    lopsided[worst["model"]] = 1.0 - 0.01 * (len(lopsided) - 1)
    poor = replace(pipeline, stack=replace(pipeline.stack, weights=lopsided))
    found = pruning._weighed_anew(poor, record.held_out, record.metric)
    assert sum(found.stack.weights.values()) == pytest.approx(1.0)
    score = pruning._scorer(record.held_out, record.metric)
    assert score(found) > score(poor)
    assert pruning._weighed_anew(found, record.held_out, record.metric) is found


def test_pruning_for_nothing_loses_nothing(predictor, monkeypatch):
    monkeypatch.setattr(pruning, "_least_worth", lambda *_: None)
    smaller = predictor.prune(max_error_cost=1e-9)
    assert smaller.leaderboard().equals(predictor.leaderboard())
    assert smaller.oof_predictions().equals(predictor.oof_predictions())


def test_a_clone_for_deployment_cannot_be_pruned(predictor, tmp_path):
    clone = predictor.clone_for_deployment(tmp_path / "clone")
    with pytest.raises(NotFittedError, match="prune needs a predictor that keeps"):
        clone.prune()
    with pytest.raises(InvalidOptionError, match="max_error_cost must be a positive share"):
        predictor.prune(0.0)


def test_a_metric_that_was_not_saved_is_asked_for(curved_table, tmp_path):
    def own(y_true, y_pred):
        return -float(np.abs(y_true - y_pred).mean())

    config = FitConfig(max_specs=2, n_folds=2, families=FAMILIES)
    metric = make_metric(own, needs="value")
    fitted = Predictor("y", path=tmp_path / "p", verbosity=0, eval_metric=metric)
    fitted.fit(curved_table, config=config)
    assert len(fitted.prune(100.0)._fitted().stack.weights) == 1
    with pytest.raises(InvalidOptionError, match="own"):
        Predictor.load(tmp_path / "p", verbosity=0).prune(100.0)


def test_no_model_goes_where_none_may(predictor, monkeypatch):
    monkeypatch.setattr(pruning, "keep_worthy", lambda *_: pytest.fail("asked what is worthy"))
    choose = partial(
        pruning.keys_fast_enough, predictor._fitted(), predictor._fit_record(), Budget.start(60),
        max_ms=None, report=print,
    )  # fmt: skip
    assert choose(max_error_cost=0) == tuple(predictor._fitted().stack.weights)
    assert FitConfig(max_error_cost=0).max_error_cost == 0


def test_each_model_of_a_bag_takes_its_time(predictor):
    record = predictor._fit_record()
    # A bag of an earlier fit may have a row of the plan as well, which left it out.
    missed = [{**row, "predict_seconds": None, "status": "left out"} for row in record.models]
    record = replace(record, models=(*record.models, *missed))
    cost = pruning._cost_out_of_fold(predictor._fitted(), record)
    board = predictor.leaderboard().set_index("model")
    assert cost == {key: 2e3 * board.loc[key, "predict_seconds"] for key in cost}
    assert cost.keys() == predictor._fitted().stack.weights.keys()


def test_a_fit_that_may_lose_all_keeps_one_model(curved_table, tmp_path):
    config = FitConfig(max_specs=4, n_folds=2, families=FAMILIES)
    path = tmp_path / "p"
    whole = Predictor("y", path=path, verbosity=0).fit(curved_table, config=config)
    assert len(whole._fitted().stack.weights) > 1
    events, few = [], replace(config, max_error_cost=100.0)
    small = Predictor("y", path=path, reporter=events.append)
    small.fit(curved_table, config=few, resume=True)
    assert list(small._fitted().stack.weights.values()) == [1.0]
    assert any("models 1 stay: they predict" in e.text for e in events if isinstance(e, Note))
    rmse = np.sqrt(np.mean((small.oof_predictions() - curved_table["y"]) ** 2))
    assert -small._fit_record().score == pytest.approx(rmse)


@pytest.mark.slow
def test_both_limits_hold_together(curved_table, tmp_path, fixed_clock):
    limits = {"max_latency_ms": 1.0, "max_error_cost": 1e-9}
    config = FitConfig(max_specs=4, n_folds=2, families=FAMILIES, **limits)
    small = Predictor("y", path=tmp_path / "p", verbosity=0).fit(curved_table, config=config)
    assert len(small._fitted().stack.weights) == 1


def test_deploy_keeps_what_is_worth_its_time_in_one_model_each(binary_table, tmp_path):
    config = FitConfig(max_specs=3, n_folds=2)
    assert resolve_config("deploy", config).max_error_cost == 0.05
    predictor = Predictor("y", eval_metric="accuracy", path=tmp_path / "p", verbosity=0)
    predictor.fit(binary_table, presets="deploy", config=config)
    assert {len(bag.models) for bag in predictor._fitted().stack.bags} == {1}
    assert predictor.evaluate(binary_table)["accuracy"] > 0.6


@pytest.fixture(scope="module")
def with_spare(predictor):
    """Return a predictor whose ensemble is one model, another one being kept beside it."""
    pipeline, record = predictor._fitted(), predictor._fit_record()
    asked, spare = pipeline.stack.bags[:2]
    stack = FittedStack((asked,), {}, {asked.key: 1.0}, (spare,))
    rows = [
        {**row, "weight": float(row["model"] == asked.key), "predict_seconds": seconds}
        for row in record.models
        for seconds in [0.001 if row["model"] == spare.key else 1.0]
    ]
    return predictor._copy(replace(pipeline, stack=stack), replace(record, models=tuple(rows)))


def test_a_spare_is_saved_refitted_and_left_out_of_a_clone(with_spare, curved_table, tmp_path):
    (spare,) = with_spare._fitted().stack.spares
    saved = Predictor.load(with_spare.save(tmp_path / "saved"), untrusted=True, verbosity=0)
    assert saved.predict(curved_table).equals(with_spare.predict(curved_table))
    assert saved.disk_usage()[f"{spare.key} (spare)"] > 0
    alone = saved.prune(100.0)
    assert list(alone._fitted().stack.weights) == [spare.key]
    board = alone.leaderboard().set_index("model")
    assert board.loc[spare.key, "weight"] == 1.0
    assert board.loc["ensemble", "score"] == pytest.approx(board.loc[spare.key, "score"], rel=1e-5)
    assert len(alone.predict_interval(curved_table)) == len(curved_table)
    (refitted,) = saved.refit(curved_table)._fitted().stack.spares
    assert (refitted.key, len(refitted.models)) == (spare.key, 1)
    clone = saved.clone_for_deployment(tmp_path / "clone")
    assert clone._fitted().stack.spares == ()
    assert clone.predict(curved_table).equals(with_spare.predict(curved_table))


def test_a_row_may_be_answered_by_a_spare(with_spare, curved_table, monkeypatch):
    (asked,), (spare,) = with_spare._fitted().stack.bags, with_spare._fitted().stack.spares

    def measured(pipeline, rows):
        return 0.5 if spare.key in pipeline.stack.weights else 1.0

    monkeypatch.setattr(pruning, "_measured", measured)
    report = with_spare.latency_report()
    assert report["spare"].tolist() == ["", spare.key]
    assert report["n_models"].tolist() == [1, 1]
    assert report["milliseconds"].tolist() == [1.0, 0.5]
    board = with_spare.leaderboard().set_index("model")
    assert report["score"][1] == pytest.approx(board.loc[spare.key, "score"], rel=1e-5)
    assert with_spare.compile(max_latency_ms=1.0).models == [asked.key]
    compiled = with_spare.compile(max_latency_ms=0.7)
    assert compiled.models == [spare.key]
    row = curved_table.drop(columns="y").iloc[0].to_dict()
    alone = with_spare.prune(100.0).predict(curved_table.iloc[:1])
    assert compiled.predict_one(row) == pytest.approx(float(alone.iloc[0]), rel=1e-6)


def test_a_spare_of_which_nothing_is_known_is_refused(with_spare):
    state = saved_state("y", with_spare._fitted(), with_spare._fit_record())
    (asked,) = with_spare._fitted().stack.weights
    held_out = with_spare._fit_record().held_out
    only = replace(held_out, predictions={asked: held_out.predictions[asked]})
    forged = replace(state, children={**state.children, "held_out": only.state()})
    with pytest.raises(ArtifactError, match="spares"):
        load_saved(forged, n_threads=1)


def test_what_takes_the_place_of_an_ensemble_is_calibrated_anew():
    rng = np.random.default_rng(0)
    said = rng.random(4_000)
    y = (rng.random(4_000) < said).astype(np.int64)
    timid = 0.5 + 0.4 * (said - 0.5)
    held_out = HeldOut(y, None, {"s": np.column_stack([1.0 - timid, timid])})

    @dataclass(frozen=True)
    class Calibrated:
        stack: Stack
        temperature: Temperature

    spare = Bag("s", 1, ("one model",))
    before = Calibrated(Stack({"a": 1.0}, (spare,)), Temperature())
    assert answered_by(spare, before, held_out).temperature.power > 1.5
    never = replace(before, temperature=None)
    assert answered_by(spare, never, held_out).temperature is None


def test_a_spare_that_cannot_be_refitted_does_not_end_the_refit(
    with_spare, curved_table, monkeypatch
):
    (spare,) = with_spare._fitted().stack.spares
    refit_bag = refit.refit_bag

    def refit_all_but_the_spare(bag, samples, budget):
        if bag.key == spare.key:
            raise MemoryError
        return refit_bag(bag, samples, budget)

    monkeypatch.setattr(refit, "refit_bag", refit_all_but_the_spare)
    assert with_spare.refit(curved_table)._fitted().stack.spares == ()


def test_a_spare_of_which_no_time_is_known_is_refused(with_spare):
    state = saved_state("y", with_spare._fitted(), with_spare._fit_record())
    (spare,) = with_spare._fitted().stack.spares
    rows = [row for row in state.meta["models"] if row["model"] != spare.key]
    with pytest.raises(ArtifactError, match="and times"):
        load_saved(replace(state, meta={**state.meta, "models": rows}), n_threads=1)


def test_a_spare_that_is_quick_enough_and_better_is_taken(with_spare):
    pipeline = with_spare._fitted()
    whole = pruning.Step(pipeline, "", 3.0, 0.9)
    one = pruning.Step(pipeline, "a", 1.0, 0.7)
    better = pruning.Step(pipeline, "", 0.5, 0.8, "s")
    worse = pruning.Step(pipeline, "", 0.2, 0.6, "t")
    steps = [whole, one, better, worse]
    found = [pruning._best_within(steps, limit) for limit in (5.0, 2.0, 0.4, 0.1)]
    assert found == [whole, better, worse, None]
    unknown = replace(one, score=float("nan"))
    assert pruning._best_within([unknown, better], 2.0) is unknown
