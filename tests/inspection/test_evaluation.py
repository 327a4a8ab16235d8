import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import DataError, LabelError
from tabular_automl.inspection.evaluation import read_labels


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    table = pd.DataFrame({"x": np.arange(80.0), "y": np.repeat([0, 1], 40)})
    path = tmp_path_factory.mktemp("evaluation") / "p"
    predictor = Predictor("y", eval_metric="f1", path=path, verbosity=0)
    return predictor.fit(table, config=FitConfig(max_specs=1, n_folds=2))


def test_the_optimised_metric_comes_first_and_none_twice(fitted):
    figures = fitted.evaluate(pd.DataFrame({"x": [1.0, 70.0], "y": [0, 1]}))
    assert next(iter(figures)) == "f1"
    assert len(figures) == len(set(figures))


def test_label_metrics_judge_what_predict_returns(fitted):
    table = pd.DataFrame({"x": np.arange(80.0), "y": np.repeat([0, 1], 40)})
    accuracy = float((fitted.predict(table) == table["y"]).mean())
    assert fitted.evaluate(table)["accuracy"] == pytest.approx(accuracy)


def test_labels_not_seen_in_training_raise(fitted):
    with pytest.raises(LabelError, match="7"):
        read_labels(fitted._fitted(), pd.Series([0, 7], name="y"))


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    table = weighted_rows(seed=0)
    path = tmp_path_factory.mktemp("weighted") / "p"
    config = FitConfig(max_specs=1, n_folds=2)
    return Predictor("y", path=path, verbosity=0).fit(table, columns={"w": "weight"}, config=config)


def weighted_rows(seed):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"x": rng.normal(size=80), "w": rng.choice([0.0, 1.0, 50.0], 80)})
    return table.assign(y=3 * table["x"] + rng.normal(size=80))


def test_rows_count_by_their_weight_where_the_data_has_it(weighted):
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    rows = weighted_rows(seed=1)
    y, predicted = rows["y"], weighted.predict(rows)
    figures = weighted.evaluate(rows)
    rmse = root_mean_squared_error(y, predicted, sample_weight=rows["w"])
    assert figures["root_mean_squared_error"] == pytest.approx(rmse)
    mae = mean_absolute_error(y, predicted, sample_weight=rows["w"])
    assert figures["mean_absolute_error"] == pytest.approx(mae)
    board = weighted.leaderboard(rows).set_index("model")
    assert board.loc["ensemble", "score_test"] == pytest.approx(-rmse)
    bare = rows.drop(columns="w")
    plain = root_mean_squared_error(y, predicted)
    assert weighted.evaluate(bare)["root_mean_squared_error"] == pytest.approx(plain)
    assert plain != pytest.approx(rmse)


def test_importance_counts_rows_by_their_weight(weighted):
    rows = weighted_rows(seed=1)
    ours = weighted.feature_importance(rows, n_repeats=2)
    heavy = weighted.feature_importance(rows[rows["w"] > 0], n_repeats=2)
    pd.testing.assert_frame_equal(ours, heavy)
    assert not ours.equals(weighted.feature_importance(rows.drop(columns="w"), n_repeats=2))


def test_weights_that_cannot_be_used_are_named(weighted):
    rows = weighted_rows(seed=1)
    rows.loc[5, "w"] = np.nan
    with pytest.raises(DataError, match=r"'w' must hold non-negative numbers, got nan in row 5"):
        weighted.evaluate(rows)
