"""Predictors that a run keeps are pruned, and asked for the rows they have not seen."""

import csv
import dataclasses
from pathlib import Path

import pytest

from benchmarks import pruning, run
from benchmarks.datasets import read_index, read_split
from tabular_automl import FitConfig, Predictor

QUICK = FitConfig(max_specs=2, n_folds=2, families=("lightgbm", "linear"))


@pytest.fixture
def folder(tmp_path, regression_table):
    regression_table.to_csv(tmp_path / "rooms.csv", index=False)
    (tmp_path / "index.csv").write_text(
        "file,label,problem_type,eval_metric\nrooms.csv,y,regression,root_mean_squared_error\n"
    )
    return tmp_path


def test_what_a_system_saved_is_kept_where_it_is_looked_for(folder, monkeypatch):
    arguments = [str(folder), "--systems", "ours", "--time-limit", "9", "--out", "none.csv"]
    options = run.parse([*arguments, "--keep", str(folder / "kept")])

    def pretend(job, python, kill_after):
        job.model_folder.mkdir(exist_ok=True)
        (job.model_folder / job.stage).touch()
        return run.Outcome({}, 0.0, "")

    monkeypatch.setattr(run, "run_stage", pretend)
    (data,) = read_index(folder)
    run.run_one(data, 3, "ours", options)
    kept = run.kept_folder(folder / "kept", "rooms", 3, "ours")
    assert (kept / "fit").exists()
    run.run_one(data, 4, "ours", dataclasses.replace(options, keep=None))
    assert [path.name for path in (folder / "kept").iterdir()] == [kept.name]


def test_each_cost_has_a_row_beside_the_predictor_as_it_is(folder, capsys):
    (data,) = read_index(folder)
    path = run.kept_folder(folder / "kept", "rooms", 0, "ours")
    train, _ = read_split(folder, data, 0)
    Predictor("y", path=path, verbosity=0).fit(train, config=QUICK)
    out: Path = folder / "results" / "pruning.csv"
    pruning.main([str(folder), str(folder / "kept"), "--costs", "0.01,100", "--out", str(out)])
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["max_error_cost"]) for row in rows] == [0.0, 0.01, 100.0]
    assert [row["n_models"] for row in rows][-1] == "1"
    assert all(float(row["error"]) > 0 and float(row["rows_per_second"]) > 0 for row in rows)
    assert "rooms 0: 0.01: x" in capsys.readouterr().out


def test_the_fastest_that_is_as_accurate_as_the_peer_counts(tmp_path):
    speeds = {0.10: 100.0, 0.11: 400.0, 0.20: 9_000.0}
    rows = [{"error": error, "rows_per_second": speed} for error, speed in speeds.items()]
    assert pruning.at_same_accuracy(rows, 50.0, 0.12, 200.0) == 4.0 * 50.0 / 200.0
    assert pruning.at_same_accuracy(rows, 50.0, 0.05, 200.0) == 0.0
    path = tmp_path / "results.csv"
    path.write_text(
        "set,system,seed,error,rows_per_second,failure\n"
        "a,peer,0,0.1,50,\na,ours,0,0.2,60,\nb,peer,0,,,killed\n"
    )
    assert pruning.read_figures(path, "peer") == {("a", 0): (0.1, 50.0)}
