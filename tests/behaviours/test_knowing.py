"""What users rely on to know what was built."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import NotFittedError
from tabular_automl.data.schema import Kind
from tests.conftest import make_table


def test_35_the_leaderboard_lists_each_model_once_with_scores_and_seconds(predictor, new_rows):
    board = predictor.leaderboard(new_rows)
    assert board["model"].is_unique
    assert board.iloc[0]["model"] == "ensemble"
    ran = board[board["status"] == "ok"]
    assert ran[["score", "fit_seconds", "predict_seconds"]].notna().all(axis=None)
    weighted = ran[ran["weight"] > 0]
    assert weighted["score_test"].notna().all()
    missed = board[board["status"] != "ok"]
    assert (missed["reason"].str.len() > 0).all()


def test_35_the_ensembles_test_score_is_what_evaluate_says(predictor, new_rows):
    board = predictor.leaderboard(new_rows).set_index("model")
    figure = predictor.evaluate(new_rows)[predictor.metric.name]
    sign = 1 if predictor.metric.greater_is_better else -1
    assert board.loc["ensemble", "score_test"] == pytest.approx(sign * figure)


def test_36_importance_is_by_original_column_with_spread(predictor, new_rows):
    importance = predictor.feature_importance(new_rows, n_repeats=3)
    assert set(importance.index) == {"size", "rooms", "city", "sold", "garden"}
    assert importance["importance"].is_monotonic_decreasing
    assert importance.index[0] in {"size", "city"}
    assert (importance["stddev"] >= 0).all()


def test_37_schema_with_reasons_and_plan_can_be_read_back(predictor):
    for known in (predictor, Predictor.load(predictor.path, verbosity=0)):
        kinds = {column.name: column.kind for column in known.schema}
        assert kinds["size"] is Kind.NUMERIC
        assert kinds["city"] is Kind.CATEGORY
        assert kinds["sold"] is Kind.DATETIME
        assert kinds["constant"] is Kind.IGNORED
        assert all(column.reason for column in known.schema)
        assert "lightgbm" in known.plan


def test_38_weights_are_not_negative_sum_to_one_and_zeros_are_not_kept(predictor):
    stack = predictor._fitted().stack
    assert sum(stack.weights.values()) == pytest.approx(1.0)
    assert all(weight > 0 for weight in stack.weights.values())
    assert {bag.key for bag in stack.bags} == set(stack.weights)


def test_39_refit_gives_one_model_for_each_bag_of_similar_quality(predictor, new_rows, task):
    refitted = predictor.refit(make_table(task))
    assert all(len(bag.models) == 1 for bag in refitted._fitted().stack.bags)
    name = "r2" if task == "regression" else "accuracy"
    assert refitted.evaluate(new_rows)[name] > predictor.evaluate(new_rows)[name] - 0.15


def test_39_disk_usage_names_every_bag(predictor):
    usage = predictor.disk_usage()
    assert {bag.key for bag in predictor._fitted().stack.bags} < set(usage.index)
    assert (usage > 0).all()


def test_39_a_clone_for_deployment_predicts_equally(predictor, new_rows, tmp_path):
    clone = Predictor.load(predictor.clone_for_deployment(tmp_path / "clone").path, verbosity=0)
    pd.testing.assert_series_equal(clone.predict(new_rows), predictor.predict(new_rows))
    with pytest.raises(NotFittedError, match="Out-of-fold"):
        clone.oof_predictions()


def test_26_out_of_fold_predictions_have_the_training_rows_order(fitted_on):
    table = make_table("regression")
    oof = fitted_on("regression").oof_predictions()
    assert list(oof.index) == list(range(len(table)))
    assert np.corrcoef(oof, table["y"])[0, 1] > 0.7


def test_28_a_failing_model_is_a_visible_row_with_its_cause(tmp_path):
    from tabular_automl.models.base import MODELS, ModelSpec
    from tabular_automl.models.prior import Prior

    class Broken(Prior):
        def fit(self, train, valid, budget):
            raise ArithmeticError("numbers went away")

    MODELS.register("broken", Broken)
    try:
        config = FitConfig(specs=(ModelSpec.make("broken"),), max_specs=2, n_folds=2)
        predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
        board = predictor.fit(make_table("binary"), config=config).leaderboard()
    finally:
        MODELS.unregister("broken")
    row = board.set_index("model").loc["broken"]
    assert row["status"] == "failed"
    assert "numbers went away" in row["reason"]


def test_39_a_stack_of_several_layers_saves_loads_and_is_refitted(tmp_path):
    config = FitConfig(max_specs=2, n_folds=2, n_layers=2, on_error="raise")
    table = make_table("regression")
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(table, config=config)
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    np.testing.assert_allclose(loaded.predict(table), predictor.predict(table), rtol=1e-6)
    assert any(predictor.leaderboard()["layer"] == 2)
    refitted = predictor.refit(table)
    assert all(len(bag.models) == 1 for bag in refitted._fitted().stack.bags)
    assert np.corrcoef(refitted.predict(table), predictor.predict(table))[0, 1] > 0.9
