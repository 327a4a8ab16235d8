import numpy as np
import pytest

from tabular_automl.fitted import FitRecord
from tabular_automl.inspection.leaderboard import ScoredOnTest, leaderboard_table
from tabular_automl.metrics.resolve import resolve_metric


def row(model, score, *, weight=0.0, layer=1, status="ok", reason=""):
    seconds = None if score is None else 2.0
    return {
        "model": model, "layer": layer, "score": score, "weight": weight, "fit_seconds": seconds,
        "predict_seconds": seconds, "status": status, "reason": reason,
    }  # fmt: skip


@pytest.fixture
def record():
    rows = (
        row("good", -1.0, weight=0.7),
        row("best", -0.5, weight=0.3),
        row("unused", -0.9),
        row("broken", None, status="failed", reason="ValueError: no"),
    )
    nothing = np.empty((0, 1))
    metric = resolve_metric("rmse", None)
    return FitRecord(metric, "plan", rows, -0.4, np.empty(0, np.intp), nothing)


def test_the_ensemble_is_first_then_the_best_and_the_failed_last(record):
    board = leaderboard_table(record)
    assert board["model"].tolist() == ["ensemble", "best", "unused", "good", "broken"]
    assert board["score"].iloc[0] == -0.4


def test_the_ensembles_seconds_are_those_of_what_it_needs(record):
    ensemble = leaderboard_table(record).iloc[0]
    assert ensemble["fit_seconds"] == 6.0
    assert ensemble["predict_seconds"] == 4.0


def test_test_scores_are_shown_where_there_are_some(record):
    board = leaderboard_table(record, ScoredOnTest({"ensemble": -0.6, "best": -0.7}))
    scores = board.set_index("model")["score_test"]
    assert scores["ensemble"] == -0.6
    assert np.isnan(scores["unused"])


def test_a_failed_model_keeps_its_cause(record):
    assert leaderboard_table(record).iloc[-1][["status", "reason"]].tolist() == [
        "failed",
        "ValueError: no",
    ]
