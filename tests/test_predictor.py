"""The facade: bad input raises at once, and what is said is saved."""

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.artifacts.storage import read_save
from tabular_automl.core.errors import (
    DataError,
    InvalidOptionError,
    LabelError,
    NotFittedError,
    PathError,
)
from tabular_automl.core.events import EnsembleFinished, FitFinished, FitStarted, Note
from tabular_automl.deployment.fast_bags import FastBag
from tabular_automl.encoders.featurizer import Featurizer

QUICK = FitConfig(max_specs=1, n_folds=2, on_error="raise")


def predictor(tmp_path, label="y", **arguments):
    return Predictor(label, path=tmp_path / "predictor", verbosity=0, **arguments)


@pytest.mark.parametrize("limit", [0, -5, float("nan"), float("inf"), "60", True])
def test_a_time_limit_that_is_no_positive_number_raises(tmp_path, binary_table, limit):
    with pytest.raises(InvalidOptionError, match="time_limit must be a positive number"):
        predictor(tmp_path).fit(binary_table, time_limit=limit)


def test_an_absent_label_names_the_nearest_columns(tmp_path, binary_table):
    with pytest.raises(LabelError, match="Did you mean 'size'"):
        predictor(tmp_path, "sise").fit(binary_table)


def test_an_unknown_metric_raises_before_fit_and_names_the_nearest():
    with pytest.raises(InvalidOptionError, match="roc_auc"):
        Predictor("y", eval_metric="roc_acu")


def test_a_metric_of_another_task_raises(tmp_path, binary_table):
    with pytest.raises(InvalidOptionError, match="binary"):
        predictor(tmp_path, eval_metric="r2").fit(binary_table)


def test_an_unknown_problem_type_names_the_nearest():
    with pytest.raises(InvalidOptionError, match="Did you mean 'multiclass'"):
        Predictor("y", problem_type="multi_class")


def test_an_unknown_preset_raises(tmp_path, binary_table):
    with pytest.raises(InvalidOptionError, match="Unknown preset"):
        predictor(tmp_path).fit(binary_table, presets="beste")


@pytest.fixture
def no_features(monkeypatch):
    """Fail where a table is made into features, which takes long on a large one."""

    def fit_transform(self, *arguments):
        pytest.fail("the table was made into features before the mistake was told")

    monkeypatch.setattr(Featurizer, "fit_transform", fit_transform)


@pytest.mark.parametrize("field", ["families", "exclude"])
def test_an_unknown_family_raises_before_the_table_is_read(tmp_path, field):
    config = FitConfig(**{field: ("lightgmb",)})
    with pytest.raises(InvalidOptionError, match="Did you mean 'lightgbm'"):
        predictor(tmp_path).fit(tmp_path / "not there.csv", config=config)
    assert list(tmp_path.iterdir()) == []


def test_folds_of_the_users_own_are_used_as_they_are(tmp_path, regression_table):
    events = []
    fold = pd.Series(np.arange(240) % 3, dtype="Int64").mask(np.arange(240) < 30)
    made = Predictor("y", path=tmp_path / "p", reporter=events.append)
    fitted = made.fit(regression_table.assign(cv=fold), columns={"cv": "fold"}, config=QUICK)
    assert set(fitted.oof_predictions().index) == set(range(30, 240))
    (started,) = [event for event in events if isinstance(event, FitStarted)]
    assert "folds: 3 given by the column 'cv'; 30 rows train only" in started.summary
    fitted.predict(regression_table)  # the column is needed no more


def test_validation_rows_of_the_users_own(tmp_path, regression_table):
    table = regression_table.assign(part=pd.Series("valid", index=range(200, 240)))
    fitted = predictor(tmp_path).fit(table, columns={"part": "fold"}, config=QUICK)
    assert list(fitted.oof_predictions().index) == list(range(200, 240))
    more = replace(QUICK, max_specs=2)
    fitted.fit(table, columns={"part": "fold"}, config=more, resume=True)
    assert list(fitted.oof_predictions().index) == list(range(200, 240))
    assert (fitted.leaderboard()["status"] == "ok").sum() == 3


@pytest.mark.usefixtures("no_features")
@pytest.mark.parametrize("weight", [-1.0, np.nan, "heavy"])
def test_bad_weights_raise_before_the_long_work(tmp_path, binary_table, weight):
    table = binary_table.assign(w=pd.Series([weight] + [1.0] * 239, dtype=object))
    with pytest.raises(DataError, match="'w' must hold non-negative numbers"):
        predictor(tmp_path).fit(table, columns={"w": "weight"})


@pytest.mark.usefixtures("no_features")
def test_a_group_and_a_time_raise_before_the_long_work(tmp_path, binary_table):
    with pytest.raises(DataError, match="got the group column 'rooms' and the time column 'sold'"):
        predictor(tmp_path).fit(binary_table, columns={"rooms": "group", "sold": "time"})


@pytest.mark.usefixtures("no_features")
def test_folds_that_cannot_be_used_raise_before_the_long_work(tmp_path, binary_table):
    table = binary_table.assign(part="valid")
    with pytest.raises(DataError, match="10% of the rows to train on, got one in 240 of 240"):
        predictor(tmp_path).fit(table, columns={"part": "fold"})


@pytest.mark.parametrize("path", [5, ["model"], b"model"])
def test_a_path_that_is_none_raises(path):
    with pytest.raises(InvalidOptionError, match="path must be the path of a folder, got"):
        Predictor("y", path=path)
    with pytest.raises(InvalidOptionError, match="path must be the path of a folder, got"):
        Predictor.load(path)


@pytest.mark.parametrize("limit", [-1, 0, "60", float("nan")])
def test_importance_refuses_a_wrong_time_limit(binary_table, limit):
    with pytest.raises(InvalidOptionError, match="time_limit must be a positive number of seconds"):
        Predictor("y").feature_importance(binary_table, time_limit=limit)


@pytest.mark.parametrize("n_repeats", [0, -1, None, 2.0])
def test_importance_needs_a_shuffle(binary_table, n_repeats):
    with pytest.raises(InvalidOptionError, match="n_repeats must be an integer of at least 1"):
        Predictor("y").feature_importance(binary_table, n_repeats=n_repeats)


def test_columns_must_be_a_mapping_and_are_looked_at_before_any_work(tmp_path, binary_table):
    with pytest.raises(InvalidOptionError, match=r"columns must be a mapping .* got \['size'\]"):
        predictor(tmp_path).fit(binary_table, columns=["size"])
    assert not (tmp_path / "predictor").exists()


def test_one_class_raises(tmp_path, binary_table):
    with pytest.raises(LabelError, match="2 different values, got only 'same'"):
        predictor(tmp_path).fit(binary_table.assign(y="same"))


def test_a_label_of_missing_values_only_raises(tmp_path, binary_table):
    with pytest.raises(LabelError, match="only missing"):
        predictor(tmp_path).fit(binary_table.assign(y=None))


def test_an_empty_table_raises(tmp_path, binary_table):
    with pytest.raises(DataError, match=r"(?i)row"):
        predictor(tmp_path).fit(binary_table.iloc[:0])


def test_text_labels_for_a_regression_raise(tmp_path, binary_table):
    with pytest.raises(LabelError, match=r"yes|no"):
        predictor(tmp_path, problem_type="regression").fit(binary_table)


def test_an_existing_path_raises_and_overwrite_replaces_it(tmp_path, binary_table):
    fitted = predictor(tmp_path).fit(binary_table, config=QUICK)
    with pytest.raises(PathError, match="already holds"):
        predictor(tmp_path).fit(binary_table, config=QUICK)
    again = predictor(tmp_path).fit(binary_table, config=QUICK, overwrite=True)
    assert again.path == fitted.path


def test_a_save_replaces_its_own_predictor_only_unless_told_otherwise(tmp_path, binary_table):
    fitted = predictor(tmp_path).fit(binary_table, config=QUICK)
    other = Predictor("y", path=tmp_path / "other", verbosity=0).fit(binary_table, config=QUICK)
    assert fitted.save() == fitted.save(fitted.path) == fitted.path
    assert fitted.save(tmp_path / "x" / ".." / "predictor")
    before = read_save(other.path)[1]
    with pytest.raises(PathError, match="already holds a saved predictor"):
        fitted.save(other.path)
    with pytest.raises(PathError, match="already holds a saved predictor"):
        fitted.refit(binary_table).save(fitted.path)
    assert read_save(other.path)[1] == before
    fitted.save(other.path, overwrite=True)
    assert read_save(other.path)[1] != before


def test_settings_and_hyperparameters_can_be_read_back(tmp_path, binary_table):
    config = FitConfig(max_specs=1, n_folds=2, seed=3)
    fitted = predictor(tmp_path).fit(binary_table, time_limit=60, presets="fast", config=config)
    expected = {"max_specs": 1, "n_folds": 2}
    n_leaves = fitted.model_params("lightgbm")["num_leaves"]
    assert n_leaves > 1
    for known in (
        fitted,
        Predictor.load(fitted.path, verbosity=0),
        fitted.refit(binary_table),
        fitted.clone_for_deployment(tmp_path / "clone"),
    ):
        assert known.settings == {
            "presets": "fast", "time_limit": 60, "seed": 3, "config": expected,
        }  # fmt: skip
        assert known.model_params("lightgbm")["num_leaves"] == n_leaves
    fitted.settings["config"]["n_folds"] = 7
    assert fitted.settings["config"] == expected
    with pytest.raises(InvalidOptionError, match=r"Unknown model of the ensemble .*'lightgbm'"):
        fitted.model_params("lightgmb")


def test_an_unreadable_file_raises(tmp_path):
    with pytest.raises(PathError, match=r"nothing\.csv"):
        predictor(tmp_path).fit(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [({"sise": "numeric"}, "size"), ({"size": "numbers"}, "numeric")],
)
def test_an_override_of_an_unknown_column_or_kind_raises(tmp_path, binary_table, columns, expected):
    with pytest.raises(InvalidOptionError, match=expected):
        predictor(tmp_path).fit(binary_table, columns=columns)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "evaluate", "feature_importance"])
def test_methods_need_a_fitted_predictor(method, binary_table):
    with pytest.raises(NotFittedError, match="call fit"):
        getattr(Predictor("y"), method)(binary_table)


def test_a_failed_check_leaves_nothing_behind(tmp_path, binary_table):
    with pytest.raises(LabelError, match="Unknown label"):
        predictor(tmp_path, "z").fit(binary_table)
    assert not (tmp_path / "predictor").exists()


def test_rows_without_a_label_are_dropped_and_counted(tmp_path, binary_table):
    notes = []
    table = binary_table.copy()
    table.loc[[3, 5], "y"] = None
    fitted = Predictor(
        "y", path=tmp_path / "p", reporter=lambda e: notes.append(getattr(e, "text", ""))
    ).fit(table, config=QUICK)
    assert any("2 of 240 rows have no label" in note for note in notes)
    assert len(fitted.oof_predictions()) == 238


def test_events_tell_the_plan_the_ensemble_and_the_end(tmp_path, regression_table):
    events = []
    Predictor("y", path=tmp_path / "p", reporter=events.append).fit(regression_table, config=QUICK)
    kinds = [type(event) for event in events]
    for kind in (FitStarted, EnsembleFinished, FitFinished):
        assert kinds.count(kind) == 1
    assert kinds[-1] is FitFinished


@pytest.mark.slow
def test_verbosity_zero_prints_nothing(tmp_path, multiclass_table, capfd):
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        predictor(tmp_path).fit(multiclass_table, time_limit=8)
    assert out.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_few_rows_are_answered_by_a_form_made_once_for_each_fit(tmp_path, regression_table):
    fitted = predictor(tmp_path).fit(regression_table, config=QUICK)
    whole = fitted.predict(regression_table)
    few = fitted.predict(regression_table.head(3))
    np.testing.assert_allclose(few, whole.head(3), rtol=1e-7)
    form = fitted._few_rows.form_of(fitted._pipeline, 3)
    assert isinstance(form.stack.bags[0], FastBag)
    assert fitted.predict(regression_table.head(3)).equals(few)
    assert fitted._few_rows.form_of(fitted._pipeline, 3) is form
    again = pickle.loads(pickle.dumps(fitted))
    assert again.predict(regression_table.head(3)).equals(few)
    refitted = fitted.refit(regression_table)
    np.testing.assert_allclose(
        refitted.predict(regression_table.head(3)),
        refitted.predict(regression_table).head(3),
        rtol=1e-7,
    )


def test_a_tiny_limit_still_gives_a_predictor(tmp_path, binary_table):
    fitted = predictor(tmp_path).fit(binary_table, time_limit=0.5)
    assert fitted.predict(binary_table).isin(["yes", "no"]).all()
    assert Predictor.load(fitted.path, verbosity=0).predict(binary_table).notna().all()


def test_a_table_without_usable_features_predicts_the_base_rate_and_says_so(tmp_path):
    events = []
    table = pd.DataFrame({"x": [1] * 40, "y": [0, 0, 0, 1] * 10})
    fitted = Predictor("y", path=tmp_path / "p", reporter=events.append).fit(table, config=QUICK)
    np.testing.assert_allclose(fitted.predict_proba(table)[1], 0.25, atol=0.03)
    assert any(isinstance(e, Note) and "base rate" in e.text for e in events)


def test_fit_reads_csv_and_parquet_files(tmp_path, regression_table):
    regression_table.to_csv(tmp_path / "train.csv.gz", index=False)
    regression_table.to_parquet(tmp_path / "train.parquet")
    for name in ("train.csv.gz", "train.parquet"):
        fitted = Predictor("y", path=tmp_path / f"of {name}", verbosity=0)
        fitted.fit(tmp_path / name, config=QUICK)
        assert fitted.evaluate(tmp_path / name)["r2"] > 0.5


def test_roles_steer_the_fit_and_are_no_features(tmp_path, regression_table):
    events = []
    table = regression_table.assign(w=1.0, patient=np.arange(240) // 8)
    fitted = Predictor("y", path=tmp_path / "p", reporter=events.append).fit(
        table, columns={"w": "weight", "patient": "group"}, config=QUICK
    )
    assert not {"w", "patient"} & {column.name for column in fitted.schema.used}
    (started,) = [event for event in events if isinstance(event, FitStarted)]
    assert "group" in started.summary


def test_time_order_validates_on_later_rows_only(tmp_path, regression_table):
    table = regression_table.assign(day=np.arange(240))
    fitted = predictor(tmp_path).fit(table, columns={"day": "time"}, config=QUICK)
    validated = fitted.oof_predictions().index
    assert 0 < len(validated) < 240
    assert validated.min() > 0
    assert validated.max() == 239


def test_two_weight_columns_raise(tmp_path, regression_table):
    with pytest.raises(DataError, match="Only one column can have the role 'weight'"):
        predictor(tmp_path).fit(
            regression_table, columns={"size": "weight", "rooms": "weight"}, config=QUICK
        )


def test_a_negative_weight_names_the_row(tmp_path, regression_table):
    table = regression_table.assign(w=1.0)
    table.loc[4, "w"] = -2.0
    with pytest.raises(DataError, match=r"'w'.*-2.0 in row 4"):
        predictor(tmp_path).fit(table, columns={"w": "weight"}, config=QUICK)


def test_the_users_own_function_is_a_metric(tmp_path, regression_table):
    def closeness(y_true, y_pred):
        return -float(np.mean(np.abs(np.asarray(y_true) - np.asarray(y_pred))))

    fitted = predictor(tmp_path, eval_metric=closeness).fit(regression_table, config=QUICK)
    assert fitted.metric.name == "closeness"
    expected = closeness(regression_table["y"], fitted.predict(regression_table))
    assert fitted.evaluate(regression_table)["closeness"] == pytest.approx(expected)


def test_imbalance_is_handled_in_the_metrics_sense(tmp_path, table_of):
    table = table_of("regression", n_rows=400)
    table["y"] = np.where(table["y"] > table["y"].quantile(0.93), "rare", "usual")
    config = FitConfig(max_specs=1, n_folds=4)
    plain = predictor(tmp_path / "a", eval_metric="accuracy").fit(table, config=config)
    balanced = predictor(tmp_path / "b", eval_metric="balanced_accuracy").fit(table, config=config)
    n_plain, n_balanced = (
        int((fitted.predict(table) == "rare").sum()) for fitted in (plain, balanced)
    )
    assert n_balanced >= n_plain
    assert balanced.evaluate(table)["balanced_accuracy"] > 0.8


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("rmse", "regression"), ("accuracy", "multiclass"), (None, "multiclass")],
)
@pytest.mark.parametrize("gap", [False, True], ids=["whole", "one missing"])
def test_a_metric_settles_what_whole_numbers_mean(
    tmp_path, regression_table, metric, expected, gap
):
    y = np.arange(240) % 6
    table = regression_table.assign(y=np.where(np.arange(240) == 7, np.nan, y) if gap else y)
    fitted = predictor(tmp_path, eval_metric=metric).fit(table, config=QUICK)
    assert fitted.plan
    assert (fitted.classes is None) == (expected == "regression")


def test_fitting_again_without_a_path_takes_a_new_folder(tmp_path, monkeypatch, binary_table):
    monkeypatch.chdir(tmp_path)
    twice = Predictor("y", verbosity=0)
    first = twice.fit(binary_table, config=QUICK).path
    assert twice.fit(binary_table, config=QUICK).path != first


def test_fits_at_the_same_time_without_a_path_take_folders_of_their_own(
    tmp_path, monkeypatch, binary_table
):
    class SameSecond(datetime):
        @classmethod
        def now(cls):
            return cls(2026, 1, 1)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tabular_automl.predictor.datetime", SameSecond)

    def fit(_):
        return Predictor("y", verbosity=0).fit(binary_table, config=QUICK).path

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(fit, range(2))
    assert first != second


def test_a_label_that_names_several_columns_raises(tmp_path, binary_table):
    table = binary_table.copy()
    table.columns = pd.MultiIndex.from_tuples([("y", str(name)) for name in table.columns])
    with pytest.raises(LabelError, match="must name one column, got 'y'"):
        predictor(tmp_path).fit(table, time_limit=5)


@pytest.mark.parametrize("method", ["evaluate", "leaderboard", "feature_importance"])
def test_a_table_without_rows_cannot_be_scored(tmp_path, binary_table, method):
    fitted = predictor(tmp_path).fit(binary_table, config=QUICK)
    with pytest.raises(DataError, match="must have rows"):
        getattr(fitted, method)(binary_table.head(0))


def test_a_tuple_is_a_fine_label(tmp_path, regression_table):
    table = regression_table.rename(columns={"y": "z"})
    table.columns = pd.MultiIndex.from_tuples([("a", name) for name in table.columns])
    table.columns = table.columns.to_flat_index()
    fitted = Predictor(("a", "z"), path=tmp_path / "p", verbosity=0).fit(table, config=QUICK)
    loaded = Predictor.load(fitted.path, verbosity=0)
    assert loaded.evaluate(table) == pytest.approx(fitted.evaluate(table))


def test_the_first_level_stands_for_a_label_that_has_no_other(tmp_path, binary_table):
    table = binary_table.copy()
    names = [("y", "") if name == "y" else ("x", name) for name in table.columns]
    table.columns = pd.MultiIndex.from_tuples(names)
    fitted = predictor(tmp_path).fit(table, config=QUICK)
    assert fitted.label == ("y", "")
    loaded = Predictor.load(fitted.path, verbosity=0)
    assert loaded.validate(table).findings == ()
    broken = table.astype({("x", "size"): object})
    broken.loc[3, ("x", "size")] = "huge"
    assert loaded.evaluate(broken, on_mismatch="coerce")["roc_auc"] > 0.8
    assert fitted.fit(table, config=QUICK, overwrite=True).label == ("y", "")


def test_a_path_may_begin_at_home(tmp_path, monkeypatch, binary_table):
    monkeypatch.setenv("HOME", str(tmp_path))
    fitted = Predictor("y", path="~/p", verbosity=0).fit(binary_table, config=QUICK)
    assert fitted.path == tmp_path / "p"
    assert Predictor.load("~/p", verbosity=0).path == tmp_path / "p"
    assert fitted.save("~/copy") == tmp_path / "copy"


def test_a_path_that_cannot_be_looked_into_is_refused_in_a_sentence(tmp_path, binary_table):
    path = tmp_path / ("x" * 5_000)
    with pytest.raises(PathError, match="could not be looked into"):
        Predictor.load(path)
    with pytest.raises(PathError, match="could not be looked into"):
        Predictor("y", path=path, verbosity=0).fit(binary_table, resume=True)


def test_labels_that_hardly_repeat_raise(tmp_path, binary_table):
    table = binary_table.assign(y=[f"customer {i}" for i in range(240)])
    with pytest.raises(LabelError, match="must hold classes that repeat"):
        predictor(tmp_path).fit(table)
