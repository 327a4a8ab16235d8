"""Smaller ensembles answer sooner, and cost what the table says."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.core.events import Note
from tabular_automl.deployment import pruning


@pytest.fixture(scope="module")
def predictor(curved_table, tmp_path_factory):
    families = ("lightgbm", "linear", "extra_trees", "catboost")
    config = FitConfig(max_specs=4, n_folds=2, n_layers=1, families=families)
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
        families = ("lightgbm", "linear", "extra_trees", "catboost")
        config = FitConfig(
            max_specs=4, n_folds=2, n_layers=1, families=families, max_latency_ms=limit
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
