"""The parts of the benchmarks that a wrong number could hide in; no system is run."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, mean_pinball_loss, roc_auc_score

from benchmarks import multimodal, run, table
from benchmarks.datasets import DataSet, held_out_rows, read_split
from benchmarks.errors import error_of
from benchmarks.job import Job
from benchmarks.systems import BASELINES, SYSTEMS
from benchmarks.systems.cleaning import Cleaner


def test_split_keeps_the_share_of_each_class_and_every_class_in_training():
    codes = np.repeat([0, 1, 2, 3], [100, 20, 2, 1])
    rows = held_out_rows(len(codes), codes, seed=0)
    assert np.bincount(codes[rows], minlength=4).tolist() == [20, 4, 1, 0]
    assert len(set(rows)) == len(rows)


def test_split_depends_on_the_seed_alone():
    first = held_out_rows(50, None, seed=3)
    assert first.tolist() == held_out_rows(50, None, seed=3).tolist()
    assert first.tolist() != held_out_rows(50, None, seed=4).tolist()
    assert len(first) == 10


def test_rows_without_a_label_are_left_out_before_splitting(tmp_path):
    frame = pd.DataFrame({"x": range(20), "y": [None, "a", "b", "a"] * 5})
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    train, test = read_split(tmp_path, DataSet("t", "t.csv.gz", "y", "binary", "roc_auc"), 0)
    assert len(train) + len(test) == 15
    assert not set(train["x"]) & set(test["x"])
    assert train["y"].notna().all()


def test_errors_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(3), 60).round(1) + 0.01
    proba = pd.DataFrame(values / values.sum(axis=1, keepdims=True), columns=["a", "b", "c"])
    y = pd.Series(rng.choice(["a", "b", "c"], 60))
    expected = log_loss(y, proba.to_numpy(), labels=["a", "b", "c"])
    assert error_of("log_loss", y, proba) == pytest.approx(expected)
    two = pd.DataFrame({0: 1 - proba["a"], 1: proba["a"]})
    truth = pd.Series((y == "a").astype(int))
    expected = 1 - roc_auc_score(truth, two[1])
    assert error_of("roc_auc", truth, two) == pytest.approx(expected)
    numbers = error_of("root_mean_squared_error", pd.Series([1.0, 3.0]), np.array([1.0, 1.0]))
    assert numbers == pytest.approx(np.sqrt(2))
    values, told = pd.Series(rng.normal(size=60)), rng.normal(size=60)
    expected = mean_pinball_loss(values, told, alpha=0.9)
    assert error_of("pinball_0.9", values, told) == pytest.approx(expected)


def test_unknown_metric_is_named():
    with pytest.raises(ValueError, match="got 'accuracy'"):
        error_of("accuracy", pd.Series([0]), pd.DataFrame({0: [1.0]}))


def test_cleaner_reads_text_numbers_and_dates_and_forgets_unseen_categories():
    frame = pd.DataFrame(
        {"n": ["1", "2", None], "d": ["2020-01-01", "2020-01-02", None], "c": ["u", "v", "u"]}
    )
    cleaner = Cleaner(max_categories=1).fit(frame)
    cleaned = cleaner.transform(frame)
    assert cleaned["c0"].tolist()[:2] == [1.0, 2.0]
    assert cleaned["c1"].diff().tolist()[1] == 1.0
    assert cleaned["c2"].isna().tolist() == [False, True, False]
    assert cleaner.category_names == ["c2"]
    assert cleaner.transform(frame.assign(c="w"))["c2"].isna().all()


def test_job_comes_back_from_json():
    data = DataSet("t", "t.csv", "y", "binary", "roc_auc")
    job = Job("fit", "m:C", "data", data, 0, 60.0, None, 2, "folder", "result")
    assert Job.from_json(job.to_json()) == job


ROWS = [
    ("a", "ours", "60", 0.10, ""),
    ("a", "lightgbm", "", 0.20, ""),
    ("a", "catboost", "", 0.40, ""),
    ("b", "ours", "60", 3.0, ""),
    ("b", "lightgbm", "", 2.0, ""),
    ("b", "catboost", "", 4.0, ""),
    ("c", "ours", "60", None, "fit ended with 1: boom"),
    ("c", "lightgbm", "", 1.0, ""),
    ("c", "catboost", "", 1.0, ""),
]


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.csv"
    for name, system, limit, error, failure in ROWS:
        row = {"set": name, "system": system, "time_limit": limit, "seed": 0, "error": error}
        row |= {"metric": "log_loss", "failure": failure, "fit_seconds": 1.5, "peak_mb": 10.0}
        run.append_row(path, row)
    return path


def test_gain_counts_wins_losses_and_failures(results):
    errors = table.error_table(table.read_results([results]))
    assert list(errors.columns) == ["ours@60s", "lightgbm", "catboost"]
    assert table.gains(errors, "ours@60s").round(3).tolist() == [0.5, -0.333, -1.0]


def test_small_sets_get_seeds_of_their_own(tmp_path):
    (tmp_path / "index.csv").write_text(
        "file,label,problem_type,eval_metric,rows\n"
        "small.csv,y,binary,roc_auc,1999\nlarge.csv,y,binary,roc_auc,2000\n"
    )
    told = [str(tmp_path), "--systems", "catboost", "--out", "o.csv", "--small-seeds", "0,1"]
    planned = run.planned(run.parse(told))
    assert [(data.name, seed) for data, seed, _ in planned] == [
        ("small", 0),
        ("small", 1),
        ("large", 0),
    ]


def test_another_metric_is_of_the_regression_sets(tmp_path):
    (tmp_path / "index.csv").write_text(
        "file,label,problem_type,eval_metric\n"
        "a.csv,y,binary,roc_auc\nb.csv,y,regression,root_mean_squared_error\n"
    )
    out = tmp_path / "o.csv"
    told = [str(tmp_path), "--systems", "ours", "--out", str(out), "--metric", "pinball_0.9"]
    options = run.parse(told)
    planned = run.planned(options)
    assert [(data.name, data.eval_metric) for data, *_ in planned] == [("b", "pinball_0.9")]
    run.append_row(out, {"set": "b", "metric": "root_mean_squared_error"})
    with pytest.raises(SystemExit, match="name another file"):
        run.check_metrics(options)


@pytest.mark.parametrize("more", [["--metric", "rmse"], ["--metric", "pinball_0.9"]])
def test_a_metric_that_is_not_learned_is_refused(more, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run.parse([str(tmp_path), "--systems", "catboost", "--out", "o.csv", *more])
    assert "quantile" in capsys.readouterr().err


def test_a_file_with_other_columns_is_not_added_to(tmp_path):
    path = tmp_path / "old.csv"
    path.write_text("set,system\na,ours\n")
    with pytest.raises(ValueError, match="name another file"):
        run.append_row(path, {"set": "b", "system": "ours"})
    assert path.read_text() == "set,system\na,ours\n"


def test_optimism_is_averaged_over_sets(results):
    told = table.read_results([results])
    assert "did not say" in table.optimism_text(told, "ours@60s")
    told["own_error"] = told["error"] / np.where(told["set"] == "a", 1.2, 1.0)
    text = table.optimism_text(told, "ours@60s")
    assert "+10.0% off what it expected, on average over 2 sets" in text


def test_seed_that_failed_fails_the_whole_set(results):
    run.append_row(results, {"set": "a", "system": "ours", "time_limit": "60", "seed": 1})
    errors = table.error_table(table.read_results([results]))
    assert np.isnan(errors.loc["a", "ours@60s"])


def test_report_has_every_set_and_says_who_failed(results, capsys):
    table.main([str(results)])
    text = capsys.readouterr().out
    assert "| a | log_loss | **0.1** | 0.2 | 0.4 | +50.0% |" in text
    assert "| c | log_loss | failed | **1** | **1** | -100.0% |" in text
    assert "ours@60s beats the best of the others on 1 of 3 sets" in text


def test_bootstrap_interval_holds_the_mean_and_shrinks_to_a_constant():
    low, high = table.bootstrap_interval(np.array([0.0, 0.1, 0.2, 0.3]))
    assert low < 0.15 < high
    assert table.bootstrap_interval(np.full(5, 0.2)) == pytest.approx((0.2, 0.2))


def test_rows_that_are_there_are_not_run_again(results, tmp_path, monkeypatch):
    (tmp_path / "index.csv").write_text(
        "file,label,problem_type,eval_metric\na.csv,y,multiclass,log_loss\nd.csv,y,binary,roc_auc\n"
    )
    ran = []

    def pretend(data, seed, name, options):
        ran.append((data.name, name))
        return {"set": data.name, "system": name, "seed": seed, "failure": "pretended"}

    monkeypatch.setattr(run, "run_one", pretend)
    run.main(
        [str(tmp_path), "--systems", "ours,lightgbm", "--time-limit", "60", "--out", str(results)]
    )
    assert ran == [("d", "ours"), ("d", "lightgbm")]


def test_a_library_without_its_environment_names_the_command_that_makes_it(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    words = [str(tmp_path), "--time-limit", "60", "--out", str(tmp_path / "out.csv"), "--systems"]
    with pytest.raises(SystemExit):
        run.parse([*words, "ours,flaml"])
    assert "make it: make peers" in capsys.readouterr().err
    assert run.parse([*words, "ours"]).pythons == {"ours": sys.executable}
    elsewhere = run.parse([*words, "flaml", "--python", "flaml=python3.12"])
    assert elsewhere.pythons == {"flaml": "python3.12"}
    python = tmp_path / ".venv-flaml" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert run.parse([*words, "flaml"]).pythons == {"flaml": str(python)}


@pytest.mark.parametrize(
    ("systems", "message"),
    [("ours,nobody", "unknown system 'nobody'"), ("flaml", "needs a --time-limit")],
)
def test_systems_that_cannot_be_run_are_refused_before_any_work(tmp_path, systems, message):
    with pytest.raises(ValueError, match=message):
        run.interpreters_of(systems.split(","), None)
    with pytest.raises(SystemExit, match="unknown system 'nobody'"):
        multimodal.main([str(tmp_path), "--systems", "nobody"])


def test_the_preset_is_noted_for_ours_alone(tmp_path):
    words = [str(tmp_path), "--preset", "fast", "--time-limit", "60", "--out", "x.csv"]
    options = run.parse([*words, "--systems", "ours"])
    assert run.key_of("a", "ours", options, 0) == ("a", "ours", "60", "fast", "0")
    assert run.key_of("a", "flaml", options, 0) == ("a", "flaml", "60", "", "0")


def test_only_systems_that_the_project_can_run_itself_are_compared_by_default(tmp_path):
    systems = run.parse([str(tmp_path), "--out", str(tmp_path / "out.csv")]).systems
    assert systems == ["ours", *BASELINES]
    assert not any(SYSTEMS[name].environment for name in systems)
