"""Which rows a fit learns from, and that they stand for all of them."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.budget import Budget
from tabular_automl.core.parallel import Machine
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.inference import infer_schema
from tabular_automl.intake import FitRequest, read_target
from tabular_automl.learned_rows import LearnedRows


def learned(table, columns, max_rows):
    """Return the rows that a fit of the table, whose label is y, learns from."""
    config = FitConfig(max_rows=max_rows)
    request = FitRequest(table, "y", None, None, columns, config)
    target = read_target(request, lambda event: None)
    schema = infer_schema(target.features, columns)
    rows = LearnedRows.all_of(target, schema)
    machine = Machine(1, 10**9)
    return rows.in_time(lambda: Featurizer(schema), config, config, machine, Budget.unlimited())


@pytest.mark.parametrize("role", ["group", "time", "weight"])
def test_roles_are_those_of_the_drawn_rows(role):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=500), "role": rng.integers(1, 40, 500)})
    table["y"] = table["size"] * 3.0
    table.index += 1_000
    rows = learned(table, {"role": role}, max_rows=100)
    assert len(rows.drawn) == len(rows.target.encoded) == 100
    taken = table.iloc[rows.drawn]
    pd.testing.assert_frame_equal(rows.target.features, taken.drop(columns="y"))
    assert rows.target.in_user_units == pytest.approx(taken["y"].to_numpy())
    if role == "weight":
        assert rows.roles.weight == pytest.approx(taken["role"] / taken["role"].mean())
    else:
        pd.testing.assert_series_equal(getattr(rows.roles, role), taken["role"])
    bare = rows.without_features()
    assert bare.target.features.shape == (0, 2)
    assert len(bare.target.encoded) == 100


def test_all_rows_are_learned_from_where_as_many_are_asked_for():
    table = pd.DataFrame({"size": np.arange(50.0), "y": np.arange(50.0) ** 2})
    rows = learned(table, {}, max_rows=50)
    assert rows.drawn is None
    assert rows.note is None
    assert len(rows.target.encoded) == 50


def test_columns_that_are_constant_in_a_few_rows_count_as_features(monkeypatch):
    monkeypatch.setattr("tabular_automl.learned_rows._ROWS_TO_COUNT_FEATURES", 20)
    table = pd.DataFrame({f"flag_{i}": np.arange(4_000) % 400 == i for i in range(30)})
    table["y"] = np.arange(4_000.0)
    config = FitConfig()
    target = read_target(FitRequest(table, "y", None, None, {}, config), lambda event: None)
    schema = infer_schema(target.features, {})
    rows = LearnedRows.all_of(target, schema)
    assert rows._count_features(Featurizer(schema), seed=0) >= 30


def test_of_many_rows_some_are_learned_from_and_the_same_when_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr("tabular_automl.plan._LEAST_DRAWN", 400)
    monkeypatch.setattr("tabular_automl.plan._SECONDS_TO_MAKE_A_FEATURE", 1e9)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=2_000), "other": rng.normal(size=2_000)})
    table["y"] = 10 * table["size"]
    config = FitConfig(families=("linear",), n_folds=2, max_specs=1)
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
    predictor.fit(table, config=config, time_limit=60)
    assert "400 of 2,000 rows are drawn and learned from: for the features" in predictor.plan
    oof = predictor.oof_predictions()
    assert len(oof) == 400
    assert np.median(np.abs(oof.to_numpy() - table["y"].to_numpy()[oof.index])) < 0.1
    events = []
    again = Predictor("y", path=tmp_path / "p", reporter=events.append)
    again.fit(table, config=config, resume=True)  # in trials, where a first fit takes all rows
    assert any(getattr(event, "text", "").startswith("Continuing: 2 ") for event in events)
    pd.testing.assert_series_equal(again.oof_predictions(), oof)
    assert "as in the fit that is continued; overwrite=True" in again.plan


def test_drawn_rows_of_a_rare_class_are_weighed_as_all_rows_would(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=20_000)})
    table["y"] = np.where(rng.random(20_000) < 0.02, "yes", "no")
    config = FitConfig(families=("linear",), n_folds=2, max_specs=1, max_rows=1_000)
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(table, config=config)
    assert len(predictor.oof_predictions()) == 1_000
    assert predictor.predict_proba(table)["yes"].mean() == pytest.approx(0.02, abs=0.004)


def test_a_metric_that_heeds_no_weights_is_judged_on_rows_as_they_come(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=20_000)})
    table["y"] = np.where(rng.random(20_000) < 0.1, "yes", "no")
    seen = []

    def share_of_yes(y, prediction):
        seen.append(np.mean(np.asarray(y) == "yes"))
        return float(np.mean(np.asarray(y) == prediction))

    config = FitConfig(families=("linear",), n_folds=2, max_specs=1, max_rows=1_000)
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0, eval_metric=share_of_yes)
    predictor.fit(table, config=config)
    assert max(seen) < 0.2
    assert ", as asked." in predictor.plan


@pytest.mark.parametrize("n_folds", [1, 3])
def test_few_folds_of_the_users_stay_whole_where_rows_are_drawn(
    n_folds, tmp_path, regression_table
):
    fold = np.where(np.arange(240) < 30, np.arange(240) % n_folds, -1).astype(object)
    fold[fold == -1] = None
    table = regression_table.assign(fold=fold)
    config = FitConfig(families=("linear",), max_specs=1, max_rows=100, refit=False)
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
    predictor.fit(table, columns={"fold": "fold"}, config=config)
    assert predictor.oof_predictions().index.tolist() == list(range(30))
    assert "100 of 240 rows" in predictor.plan


def test_what_new_data_is_compared_with_is_all_rows_and_not_the_drawn_ones(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=20_000)})
    table["y"] = np.where(rng.random(20_000) < 0.02, "yes", "no")
    table.loc[table["y"] == "yes", "size"] += 5.0
    config = FitConfig(families=("linear",), n_folds=2, max_specs=1, max_rows=1_000)
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(table, config=config)
    assert predictor.validate(table.sample(5_000, random_state=1)).ok
