"""What users rely on when they predict; numbers are those of the list of behaviours."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import (
    DataError,
    InvalidOptionError,
    LabelError,
    MismatchWarning,
    MissingColumnsError,
)
from tests.behaviours.conftest import QUICK
from tests.conftest import make_table


def outputs(predictor, table):
    """Return probabilities, or values for a regression, as an array."""
    if predictor.problem_type == "regression" or predictor.classes is None:
        return predictor.predict(table).to_numpy().reshape(-1, 1)
    return predictor.predict_proba(table).to_numpy()


def test_01_fit_works_with_defaults_on_any_mix_of_columns(predictor, new_rows, task):
    figures = predictor.evaluate(new_rows)
    if task == "regression":
        assert figures["r2"] > 0.5
    else:
        assert figures["accuracy"] > 0.6


def test_02_no_rows_give_an_empty_result_of_the_same_dtype(predictor, new_rows, task):
    nothing, some = predictor.predict(new_rows.iloc[:0]), predictor.predict(new_rows)
    assert len(nothing) == 0
    assert nothing.dtype == some.dtype
    if task != "regression":
        columns = predictor.predict_proba(new_rows).columns
        pd.testing.assert_index_equal(predictor.predict_proba(new_rows.iloc[:0]).columns, columns)


def test_03_the_index_is_kept(predictor, new_rows):
    shuffled = new_rows.sample(frac=1, random_state=0)
    pd.testing.assert_index_equal(predictor.predict(shuffled).index, shuffled.index)


@pytest.mark.parametrize("n_rows", [3, 40])
@pytest.mark.parametrize("name", ["repeated", "of two levels", "of days, backwards"])
def test_03_an_index_of_any_kind_is_kept(predictor, new_rows, task, n_rows, name):
    indices = {
        "repeated": pd.Index([5] * 40, name="id"),
        "of two levels": pd.MultiIndex.from_product([["b", "a"], range(20)], names=["k", None]),
        "of days, backwards": pd.date_range("2024-01-01", periods=40)[::-1],
    }
    rows = new_rows.head(n_rows)
    moved = rows.set_index(indices[name][:n_rows])
    predicted = predictor.predict(moved)
    pd.testing.assert_index_equal(predicted.index, moved.index)
    assert predicted.tolist() == predictor.predict(rows).tolist()
    if task != "regression":
        probabilities = predictor.predict_proba(moved)
        pd.testing.assert_index_equal(probabilities.index, moved.index)
        np.testing.assert_array_equal(probabilities, predictor.predict_proba(rows))


@pytest.mark.parametrize("task", ["binary", "multiclass"], indirect=False)
def test_04_probability_columns_are_the_sorted_labels_and_rows_sum_to_one(fitted_on, task):
    table = make_table(task, n_rows=30, seed=3)
    probabilities = fitted_on(task).predict_proba(table)
    assert list(probabilities.columns) == sorted(table["y"].unique())
    assert ((probabilities >= 0) & (probabilities <= 1)).all(axis=None)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-9)


def test_05_predictions_are_never_missing(predictor, new_rows):
    empty = new_rows.copy()
    empty[["size", "city", "sold"]] = None
    assert np.isfinite(outputs(predictor, empty)).all()
    assert predictor.predict(empty).notna().all()


def test_06_predicting_twice_is_identical(predictor, new_rows):
    np.testing.assert_array_equal(outputs(predictor, new_rows), outputs(predictor, new_rows))


def test_07_one_row_predicts_as_in_a_batch(predictor, new_rows):
    batch = outputs(predictor, new_rows)
    alone = np.vstack([outputs(predictor, new_rows.iloc[[i]]) for i in range(8)])
    np.testing.assert_allclose(alone, batch[:8], rtol=1e-5, atol=1e-5)


def test_08_column_order_and_extra_columns_do_not_matter(predictor, new_rows):
    expected = outputs(predictor, new_rows)
    other = new_rows[new_rows.columns[::-1]].assign(extra="?", index=1)
    np.testing.assert_array_equal(outputs(predictor, other), expected)
    unused = new_rows.drop(columns=["y", "constant"])
    np.testing.assert_array_equal(outputs(predictor, unused), expected)


def test_09_missing_columns_are_all_listed(predictor, new_rows):
    with pytest.raises(MissingColumnsError, match=r"(?s)city.*rooms|rooms.*city"):
        predictor.predict(new_rows.drop(columns=["city", "rooms"]))


def test_10_predict_never_changes_the_callers_frame(predictor, new_rows):
    before = new_rows.copy(deep=True)
    predictor.predict(new_rows)
    pd.testing.assert_frame_equal(new_rows, before)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", [3, 8]),
        ("int8", [3, 8]),
        ("bool", [False, True]),
        ("object", ["a", "b"]),
        ("string", ["a", "b"]),
        ("category", ["small", "big"]),
        ("Int64", [3, 8]),
        ("boolean", [False, True]),
        ("float64", [0.0, 1.0]),
    ],
)
def test_11_labels_come_back_in_their_own_dtype(dtype, values, tmp_path):
    table = make_table("binary", n_rows=80)
    labels = pd.Series(np.where(table["y"] == "yes", values[1], values[0]), index=table.index)
    table["y"] = labels.astype(dtype)
    predictor = Predictor("y", problem_type="binary", path=tmp_path / "p", verbosity=0)
    predicted = predictor.fit(table, config=FitConfig(max_specs=1, n_folds=2)).predict(table)
    assert predicted.dtype == table["y"].dtype
    assert predicted.name == "y"
    assert set(predicted.unique()) <= set(values)


def test_12_unseen_categories_and_new_missing_values_are_fine(predictor, new_rows):
    strange = new_rows.copy()
    strange["city"] = "Atlantis"
    strange["rooms"] = np.nan
    strange["garden"] = pd.Series([None] * len(strange), index=strange.index, dtype=object)
    assert np.isfinite(outputs(predictor, strange)).all()


def test_13_values_that_can_no_longer_be_read_raise_with_column_and_value(predictor, new_rows):
    broken = new_rows.assign(size="enormous")
    with pytest.raises(DataError, match=r"size.*enormous"):
        predictor.predict(broken)


def test_13_values_that_can_no_longer_be_read_are_missing_by_choice(predictor, new_rows):
    broken = new_rows.assign(size="enormous")
    coerced = predictor.predict(broken, on_mismatch="coerce")
    pd.testing.assert_series_equal(coerced, predictor.predict(new_rows.assign(size=np.nan)))
    with pytest.warns(MismatchWarning, match=r"size.*enormous"):
        predictor.predict(broken, on_mismatch="warn")


def test_14_predict_proba_on_regression_raises(fitted_on):
    with pytest.raises(InvalidOptionError, match="regression"):
        fitted_on("regression").predict_proba(make_table("regression"))


def test_15_evaluate_equals_the_metric_of_the_predictions(predictor, new_rows, task):
    from sklearn import metrics

    figures, y = predictor.evaluate(new_rows), new_rows["y"]
    if task == "regression":
        expected = metrics.root_mean_squared_error(y, predictor.predict(new_rows))
        assert figures["root_mean_squared_error"] == pytest.approx(expected)
        return
    assert figures["accuracy"] == pytest.approx(
        metrics.accuracy_score(y, predictor.predict(new_rows))
    )
    probabilities = predictor.predict_proba(new_rows)
    expected = metrics.log_loss(y, probabilities, labels=list(probabilities.columns))
    assert figures["log_loss"] == pytest.approx(expected)


_ELSEWHERE = """
import json, sys
import pandas as pd
from tabular_automl import Predictor
table = pd.read_parquet(sys.argv[2])
print(json.dumps(Predictor.load(sys.argv[1], verbosity=0).predict(table).astype(str).tolist()))
"""


def test_16_a_moved_copy_predicts_equally_in_another_process(predictor, new_rows, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(predictor.path, moved)
    new_rows.to_parquet(tmp_path / "new.parquet")
    run = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(moved), str(tmp_path / "new.parquet")],
        capture_output=True, text=True, check=True, cwd=tmp_path,
        env={"CUDA_VISIBLE_DEVICES": "", "PATH": ""},
    )  # fmt: skip
    assert json.loads(run.stdout) == predictor.predict(new_rows).astype(str).tolist()


def test_16_load_gives_equal_probabilities(predictor, new_rows):
    loaded = Predictor.load(predictor.path, verbosity=0)
    np.testing.assert_allclose(
        outputs(loaded, new_rows), outputs(predictor, new_rows), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("n_rows", [3, 40])
def test_eight_threads_at_once_get_the_answers_of_one(predictor, new_rows, n_rows):
    rows = new_rows.head(n_rows)
    shared = Predictor.load(predictor.path, verbosity=0)  # has not made its form for few rows yet
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: outputs(shared, rows), range(40)))
    expected = outputs(Predictor.load(predictor.path, verbosity=0), rows)
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)


def test_21_unusable_labels_of_an_evaluation_raise_with_the_row(predictor, new_rows, task):
    broken = new_rows.astype({"y": object})
    broken.loc["row 3", "y"] = np.nan
    with pytest.raises(LabelError, match="row 3"):
        predictor.evaluate(broken)


def test_labels_that_were_not_in_training_are_named(fitted_on):
    with pytest.raises(LabelError, match="perhaps"):
        fitted_on("binary").evaluate(make_table("binary").assign(y="perhaps"))


def test_quick_configuration_is_reproducible_bit_for_bit(tmp_path, task):
    table = make_table(task)
    runs = [
        Predictor("y", path=tmp_path / str(n_jobs), verbosity=0).fit(
            table, config=FitConfig(**{**vars(QUICK), "n_jobs": n_jobs})
        )
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*(outputs(run, table) for run in runs))
