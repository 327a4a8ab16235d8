"""The parts of the latency benchmark that a wrong number could hide in; nothing is fitted."""

import pandas as pd
import pytest

from benchmarks import latency
from benchmarks.datasets import DataSet


class Compiled:
    """Answers a row by its "x", and remembers what it was asked."""

    def __init__(self, classes=None):
        self.classes = classes
        self.asked = []

    def predict_one(self, row):
        self.asked.append(row)
        return row["x"]

    def predict_proba_one(self, row):
        return {"no": 1 - row["x"], "yes": row["x"]}

    def predict_many(self, columns):
        return columns["x"]

    def predict_proba_many(self, columns):
        return [[1 - x, x] for x in columns["x"]]


class Ordinary:
    """Is off by a hundredth, and by one in a hundred."""

    def predict(self, frame):
        return frame["x"] * 1.01

    def predict_proba(self, frame):
        return pd.DataFrame({"no": 1 - frame["x"] - 0.01, "yes": frame["x"] + 0.01})


def frames_of(values):
    frames = [pd.DataFrame({"x": [value]}) for value in values]
    return frames, [{"x": value} for value in values]


def test_every_row_is_timed_and_the_first_ones_are_asked_twice():
    compiled = Compiled()
    rows = [{"x": i} for i in range(20)]
    times = latency.milliseconds(compiled.predict_one, rows)
    assert len(times) == 20
    assert min(times) > 0
    assert [row["x"] for row in compiled.asked] == [*range(latency.N_WARM_UPS), *range(20)]


def test_differences_of_large_values_are_relative():
    frames, rows = frames_of([0.5, 1000.0])
    largest = latency.largest_difference(Ordinary(), Compiled(), frames, rows)
    assert largest == pytest.approx(10 / 1010)


def test_differences_of_probabilities_are_absolute():
    frames, rows = frames_of([0.2, 0.7])
    largest = latency.largest_difference(Ordinary(), Compiled(["no", "yes"]), frames, rows)
    assert largest == pytest.approx(0.01)


def test_predictions_carry_the_classes_as_columns():
    columns = {"x": [0.25, 0.5]}
    assert latency.predictions_of(Compiled(), columns) == [0.25, 0.5]
    assert list(latency.predictions_of(Compiled([0, 1]), columns)) == [0, 1]


class Worse(Compiled):
    """Answers a row by three times its "x"."""

    def predict_many(self, columns):
        return [3 * x for x in columns["x"]]


def test_what_a_change_costs_is_a_share_of_the_error_before():
    data = DataSet("pets", "pets.csv", "y", "regression", "root_mean_squared_error")
    test = pd.DataFrame({"x": [1.0, 2.0], "y": [2.5, 5.0]})
    assert latency.error_cost(Worse(), Compiled(), test, data) == pytest.approx(0.5 / 1.5 - 1)
    exact = test.assign(y=test["x"])
    assert latency.error_cost(Worse(), Compiled(), exact, data) == 0.0  # no share of nothing


class Plain(Compiled):
    """A predictor whose refit answers three times as much."""

    def predict(self, frame):
        return frame["x"]

    def refit(self, train):
        assert list(train["x"]) == [7.0]
        return Refitted()

    def compile(self, max_latency_ms=None):
        return Compiled()


class Refitted(Plain):
    def compile(self, max_latency_ms=None):
        return PrunedOrWhole(max_latency_ms)


class PrunedOrWhole(Worse):
    def __init__(self, max_latency_ms):
        super().__init__()
        self.models = ("a",) if max_latency_ms else ("a", "b")


def test_a_refitted_predictor_is_held_against_the_one_with_all_fold_models(tmp_path):
    data = DataSet("pets", "pets.csv", "y", "regression", "root_mean_squared_error")
    task = latency.Task("measure", str(tmp_path), vars(data), "model", 60, 1.0, 1)
    test = pd.DataFrame({"x": [1.0, 2.0], "y": [2.5, 5.0]})
    train, rows = pd.DataFrame({"x": [7.0], "y": [7.0]}), [{"x": 1.0}]
    figures = latency.refitted_figures(Plain(), Compiled(), (train, test), rows, task)
    assert figures["refit_error_cost"] == pytest.approx(0.5 / 1.5 - 1)
    assert figures["refit_pruned_error_cost"] == pytest.approx(0.5 / 1.5 - 1)
    assert figures["refit_n_pruned"] == 1
    assert figures["refit_rows_per_second"] > 0
    assert figures.keys() <= set(latency.FIELDS)


def test_a_peer_is_told_with_its_version_and_its_failure(monkeypatch, tmp_path):
    figures = {"version": "peer 1", "single_row_ms": 12.5, "load_seconds": 0.5, "failure": ""}
    monkeypatch.setattr(latency, "run_peer", lambda data, seed, name, options: figures)
    monkeypatch.setattr(latency, "interpreters_of", lambda systems, limit: {systems[0]: "python"})
    data = DataSet("pets", "pets.csv", "y", "binary", "roc_auc")
    told = latency.peer_figures(data, latency.parse([str(tmp_path), "--peer", "other"]))
    assert told["peer"] == "other (peer 1)"
    assert (told["peer_ms"], told["peer_failure"]) == (12.5, "")
    assert told.keys() <= set(latency.FIELDS)


def test_the_folder_must_be_named():
    with pytest.raises(SystemExit, match="2"):
        latency.parse([])
    assert latency.parse(["sets"]).out.name.endswith("-latency.csv")
