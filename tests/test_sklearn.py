"""The scikit-learn facade beside other estimators, with tables and arrays of every sort."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tabular_automl import AutoMLClassifier, AutoMLRegressor, FitConfig, Predictor
from tabular_automl.core.errors import (
    DataError,
    InterruptedFitWarning,
    InvalidOptionError,
    LabelError,
)
from tabular_automl.data.schema import Kind
from tests.conftest import make_table

LINEAR = FitConfig(families=("linear",), max_specs=1, n_folds=2, n_layers=1, on_error="raise")


def features_and_labels(task, n_rows=120):
    table = make_table(task, n_rows=n_rows)
    return table.drop(columns=["y"]), table["y"]


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_classifier_learns_from_columns_of_every_kind(task):
    X, y = features_and_labels(task)
    model = AutoMLClassifier(config=LINEAR).fit(X, y)
    assert list(model.classes_) == sorted(set(y))
    assert list(model.feature_names_in_) == list(X.columns)
    assert model.score(X, y) > 0.6
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (120, len(model.classes_))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)


def test_a_regressor_learns_from_columns_of_every_kind():
    X, y = features_and_labels("regression")
    assert AutoMLRegressor(config=LINEAR).fit(X, y).score(X, y) > 0.5


@pytest.mark.parametrize("convert", [pl.from_pandas, pa.Table.from_pandas])
def test_frames_of_other_libraries_predict_as_pandas_does(convert):
    X, y = features_and_labels("binary")
    model = AutoMLClassifier(config=LINEAR).fit(convert(X), y)
    assert model.n_features_in_ == X.shape[1]
    np.testing.assert_array_equal(model.predict(convert(X)), model.predict(X))


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes"]),
        np.array(["no", "yes"], dtype=object),
        np.array([False, True]),
        np.array([-1, 1], dtype=np.int8),
        np.array([0.0, 1.0], dtype=np.float32),
        pd.Series(["no", "yes"], dtype="category"),
        pd.Series([3, 4], dtype="Int64"),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_classes_are_in_numpys_order_and_come_back_in_their_dtype(labels):
    X, y = features_and_labels("binary")
    codes = (y == "yes").to_numpy().astype(int)
    given = labels.take(codes)
    model = AutoMLClassifier(config=LINEAR).fit(X, given)
    np.testing.assert_array_equal(model.classes_, np.asarray(labels))
    predicted = model.predict(X)
    assert predicted.dtype == model.classes_.dtype
    assert np.mean(predicted == np.asarray(given)) > 0.7


def test_a_clone_has_the_settings_and_not_the_fit():
    X, y = features_and_labels("binary")
    model = AutoMLClassifier(config=LINEAR, random_state=3, eval_metric="accuracy").fit(X, y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError, match="not fitted"):
        copy.predict(X)


def test_the_end_of_a_pipeline_takes_weights_and_frames():
    X, y = features_and_labels("regression")
    scaled = make_column_transformer(
        (StandardScaler(), ["size", "rooms"]), remainder="passthrough"
    ).set_output(transform="pandas")
    pipeline = make_pipeline(scaled, AutoMLRegressor(config=LINEAR))
    weight = np.linspace(0.1, 2, len(y))
    plain = pipeline.fit(X, y).predict(X)
    weighted = pipeline.fit(X, y, automlregressor__sample_weight=weight).predict(X)
    assert pipeline.score(X, y) > 0.5
    assert not np.allclose(plain, weighted)
    assert "remainder__city" in pipeline[-1].feature_names_in_


def test_cross_validation_of_a_table_and_of_an_array():
    X, y = features_and_labels("binary")
    assert cross_val_score(AutoMLClassifier(config=LINEAR), X, y, cv=3).mean() > 0.6
    array = X[["size", "rooms"]].to_numpy()
    scores = cross_val_score(
        AutoMLClassifier(config=LINEAR), array, y, cv=3, scoring="neg_log_loss"
    )
    assert np.isfinite(scores).all()


def test_groups_and_weights_are_routed():
    X, y = features_and_labels("binary")
    seen = []

    class Recording(AutoMLClassifier):
        def fit(self, X, y, sample_weight=None, groups=None):
            seen.append((sample_weight, groups))
            return super().fit(X, y, sample_weight, groups)

    with config_context(enable_metadata_routing=True):
        model = Recording(config=LINEAR).set_fit_request(sample_weight=True, groups=True)
        model.set_score_request(sample_weight=True)
        params = {"sample_weight": np.arange(1.0, 121.0), "groups": np.arange(120) // 6}
        done = cross_validate(
            make_pipeline(FunctionTransformer(), model), X, y, cv=GroupKFold(2), params=params,
            error_score="raise",
        )  # fmt: skip
    assert np.isfinite(done["test_score"]).all()
    assert len(seen) == 2
    (weight, groups), (_, others) = seen
    np.testing.assert_array_equal((weight - 1) // 6, groups)
    assert not set(groups) & set(others)


def test_rows_of_a_group_are_validated_together():
    X, y = features_and_labels("binary")
    groups = np.arange(120) // 30
    model = AutoMLClassifier(config=LINEAR).fit(X, y, groups=groups)
    assert len(model.predictor_.schema.of_kind(Kind.GROUP)) == 1
    with pytest.raises(DataError, match="group"):
        AutoMLClassifier(config=LINEAR).fit(X, y, groups=np.zeros(120))


def test_rows_of_weight_zero_are_as_absent():
    X, y = features_and_labels("binary")
    weight = np.r_[np.ones(80), np.zeros(40)]
    weighted = AutoMLClassifier(config=LINEAR).fit(X, y, sample_weight=weight)
    shorter = AutoMLClassifier(config=LINEAR).fit(X[:80], y[:80])
    np.testing.assert_allclose(weighted.predict_proba(X), shorter.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("metric", ["f1", "precision", "recall", "average_precision"])
def test_two_classes_are_judged_by_metrics_of_two(metric):
    X, y = features_and_labels("binary")
    model = AutoMLClassifier(config=LINEAR, eval_metric=metric).fit(X, y)
    assert model.predictor_.metric.name == metric
    assert list(model.classes_) == list(model.predictor_.classes)


def test_a_grid_search_sets_and_keeps_the_best():
    X, y = features_and_labels("binary")
    search = GridSearchCV(
        AutoMLClassifier(config=LINEAR), {"eval_metric": ["accuracy", "log_loss"]}, cv=2
    ).fit(X, y)
    assert search.best_params_["eval_metric"] in {"accuracy", "log_loss"}
    assert search.best_estimator_.predictor_.metric.name == search.best_params_["eval_metric"]


def test_ctrl_c_ends_a_search_and_keeps_what_was_finished(monkeypatch):
    X, y = features_and_labels("binary")
    fit, fits = Predictor.fit, []

    def interrupted(self, *arguments, **options):
        fits.append(self)
        fit(self, *arguments, **options)
        self.interrupted = True
        warnings.warn("The predictor is saved", InterruptedFitWarning, stacklevel=2)
        return self

    monkeypatch.setattr(Predictor, "fit", interrupted)
    model = AutoMLClassifier(config=LINEAR)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InterruptedFitWarning)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
        assert model.score(X, y) > 0.6
        with pytest.raises(KeyboardInterrupt):
            GridSearchCV(model, {"eval_metric": ["accuracy", "log_loss"]}, cv=2).fit(X, y)
    assert len(fits) == 2


def test_seeds_of_each_form_make_a_fit_repeatable():
    X, y = features_and_labels("regression")
    config = FitConfig(families=("lightgbm",), max_specs=1, n_folds=2, n_layers=1)
    same = [
        AutoMLRegressor(config=config, random_state=state).fit(X, y).predict(X)
        for state in (np.random.RandomState(5), np.random.RandomState(5))
    ]
    np.testing.assert_array_equal(*same)
    other = AutoMLRegressor(config=config, random_state=6).fit(X, y).predict(X)
    assert not np.array_equal(same[0], other)


def test_an_estimator_leaves_no_files_and_saves_where_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = features_and_labels("binary")
    model = AutoMLClassifier(config=LINEAR).fit(X, y)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidOptionError, match="path must be given"):
        model.predictor_.save()
    model.predictor_.save(tmp_path / "kept")
    loaded = Predictor.load(tmp_path / "kept", verbosity=0)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@pytest.mark.parametrize("family", ["lightgbm", "catboost", "random_forest", "neighbors"])
def test_a_fitted_estimator_travels_to_another_process(family):
    X, y = features_and_labels("binary", n_rows=60)
    config = FitConfig(families=(family,), max_specs=1, n_folds=2, n_layers=1, on_error="raise")
    model = AutoMLClassifier(config=config).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_the_users_columns_may_have_the_names_used_inside():
    X, y = features_and_labels("binary")
    X = X.rename(columns={"size": "y", "rooms": "weight", "garden": "group"})
    model = AutoMLClassifier(config=LINEAR)
    model.fit(X, y, sample_weight=np.ones(120), groups=np.arange(120) // 4)
    used = {column.name for column in model.predictor_.schema.used}
    assert used == {"y", "weight", "group", "city", "sold"}


def test_other_columns_than_in_training_raise_as_scikit_learn_says():
    X, y = features_and_labels("binary")
    model = AutoMLClassifier(config=LINEAR).fit(X, y)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X[X.columns[::-1]])


def test_a_blank_text_is_a_class_as_scikit_learn_has_it():
    X, _ = features_and_labels("binary")
    model = AutoMLClassifier(config=LINEAR).fit(X, ["yes", "no", ""] * (len(X) // 3))
    assert model.classes_.tolist() == ["", "no", "yes"]
    assert model.predict_proba(X).shape == (len(X), 3)


def test_an_array_goes_by_the_positions_of_a_table_and_the_other_way_round():
    X, y = features_and_labels("binary")
    X = X.select_dtypes("number")
    for learned, asked in [(X, X.to_numpy()), (X.to_numpy(), X)]:
        model = AutoMLClassifier(config=LINEAR).fit(learned, y)
        with pytest.warns(UserWarning, match="feature names"):
            answers = model.predict_proba(asked)
        np.testing.assert_array_equal(answers, model.predict_proba(learned))


def test_labels_of_one_class_and_missing_labels_raise():
    X, _ = features_and_labels("binary")
    with pytest.raises(LabelError, match="at least 2 classes"):
        AutoMLClassifier(config=LINEAR).fit(X, np.ones(120))
    with pytest.raises(LabelError, match="y is None"):
        AutoMLClassifier(config=LINEAR).fit(X, None)
    with pytest.raises(ValueError, match="y contains NaN"):
        AutoMLRegressor(config=LINEAR).fit(X, np.r_[np.nan, np.arange(119)])


def test_after_a_fit_that_failed_nothing_is_fitted():
    X, _ = features_and_labels("binary")
    model = AutoMLClassifier(config=LINEAR)
    with pytest.raises(LabelError, match="at least 2 classes"):
        model.fit(X, np.ones(120))
    with pytest.raises(NotFittedError, match="not fitted"):
        model.predict(X)
