"""The compiled predictor answers as the ordinary one does, whatever the table and the models."""

import inspect
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import DataError, InvalidOptionError, MissingColumnsError
from tabular_automl.deployment import row_reader
from tabular_automl.deployment.compiled import CompiledPredictor, compile_pipeline
from tabular_automl.deployment.fast_bags import FEW_ROWS
from tests.deployment.conftest import PLAIN

TASKS = ("binary", "multiclass", "regression")


def one_by_one(compiled, rows):
    """Return the predictions of rows given as dictionaries, one at a time."""
    if compiled.classes is None:
        return np.array([[compiled.predict_one(row)] for row in rows])
    return np.array([list(compiled.predict_proba_one(row).values()) for row in rows])


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


@pytest.fixture(scope="module")
def rows(new_rows, rows_of):
    return {task: rows_of(new_rows(task)) for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
def test_rows_with_every_kind_of_column_and_model_get_equal_predictions(
    task, pipelines, new_rows, rows
):
    pipeline = pipelines(task)
    compiled = compile_pipeline(pipeline)
    assert_close(one_by_one(compiled, rows[task]), pipeline.predict(new_rows(task)))


@pytest.mark.parametrize("task", TASKS)
def test_every_family_but_the_base_rate_has_a_fast_path(task, pipelines):
    slow = compile_pipeline(pipelines(task)).slow_paths
    assert slow == {"prior": "the family 'prior' has no joined form"}


def test_a_stack_of_two_layers_gets_equal_predictions(pipelines, new_rows, rows):
    pipeline = pipelines("regression", n_layers=2)
    compiled = compile_pipeline(pipeline)
    expected = pipeline.predict(new_rows("regression"))
    assert_close(one_by_one(compiled, rows["regression"]), expected)
    assert "top" not in compiled.slow_paths


@pytest.mark.parametrize("n_rows", [0, 1, 30, 70])
def test_columns_of_many_rows_get_equal_predictions(n_rows, pipelines, new_rows):
    table = new_rows("multiclass").head(n_rows)
    pipeline = pipelines("multiclass")
    compiled = compile_pipeline(pipeline)
    arrays = {name: table[name].to_numpy() for name in table}
    lists = {name: table[name].to_list() for name in table}
    expected = pipeline.predict(table)
    for columns in (arrays, lists):
        assert_close(compiled.predict_proba_many(columns), expected)
        labels = compiled.predict_many(columns)
        assert labels.tolist() == pipeline.codec.labels(pipeline.decide(expected)).tolist()


def plain(value):
    """Return a value as a program without pandas has it."""
    if pd.isna(value):
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


@pytest.mark.parametrize("task", TASKS)
def test_no_pandas_is_in_the_path_of_few_rows_of_numbers_categories_and_dates(
    task, plain_pipelines, new_rows, monkeypatch
):
    pipeline = plain_pipelines(task)
    table = new_rows(task).head(FEW_ROWS)[list(PLAIN)]
    expected, compiled = pipeline.predict(table), compile_pipeline(pipeline)
    columns = {name: [plain(value) for value in table[name]] for name in table}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def refuse(*arguments, **options):
        raise AssertionError("pandas was asked")

    for called in ("DataFrame.__init__", "Series.__init__", "Index.__new__", "to_datetime"):
        monkeypatch.setattr(f"pandas.{called}", refuse)
    monkeypatch.setattr(row_reader, "_column", refuse)
    one, many = one_by_one(compiled, rows), compiled.predict_many(columns)
    some = compiled.predict_many({name: values[:1] for name, values in columns.items()})
    monkeypatch.undo()
    assert_close(one, expected)
    decided = pipeline.decide(expected).tolist()
    answers = decided if compiled.classes is None else [compiled.classes[i] for i in decided]
    assert many.tolist() == pytest.approx(answers)
    assert some.tolist() == pytest.approx(answers[:1])


def test_a_prediction_takes_one_thread_unless_more_are_allowed(predictor):
    assert inspect.signature(Predictor.compile).parameters["n_threads"].default == 1
    for bag in predictor.compile()._pipeline.stack.bags:
        assert {fitted.model.setting.n_threads for fitted in bag.models} == {1}


def test_series_are_taken_by_position(pipelines, new_rows):
    table = pd.concat([new_rows("multiclass")] * 2, ignore_index=True).head(100)
    pipeline = pipelines("multiclass")
    rng = np.random.default_rng(0)
    columns = {name: table[name].set_axis(rng.permutation(100)) for name in table}
    found = compile_pipeline(pipeline).predict_proba_many(columns)
    assert_close(found, pipeline.predict(table))


def test_eight_threads_at_once_get_the_same_answers(pipelines, rows):
    compiled = compile_pipeline(pipelines("binary"))
    expected = [compiled.predict_proba_one(row) for row in rows["binary"]]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(compiled.predict_proba_one, rows["binary"])) == expected


def test_the_predictor_itself_is_left_as_it_was(pipelines, new_rows):
    pipeline = pipelines("binary")
    threads = [f.model.setting.n_threads for bag in pipeline.stack.bags for f in bag.models]
    before = pipeline.predict(new_rows("binary"))
    compile_pipeline(pipeline, n_threads=3)
    after = [f.model.setting.n_threads for bag in pipeline.stack.bags for f in bag.models]
    assert after == threads
    np.testing.assert_array_equal(pipeline.predict(new_rows("binary")), before)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    size, city = rng.normal(size=150), rng.choice(["Bern", "Genf", "Basel"], 150)
    label = np.where(size + (city == "Bern") > 0.3, 7, 3)
    return pd.DataFrame({"size": size, "city": city, "y": label})


@pytest.fixture(scope="module")
def predictor(table, tmp_path_factory):
    config = FitConfig(max_specs=3, n_folds=2, families=("lightgbm", "linear", "extra_trees"))
    path = tmp_path_factory.mktemp("compiled") / "p"
    return Predictor("y", path=path, verbosity=0).fit(table, config=config)


@pytest.fixture(scope="module")
def compiled(predictor):
    return predictor.compile()


def test_labels_are_those_of_predict(predictor, compiled, table):
    assert isinstance(compiled, CompiledPredictor)
    features = table.drop(columns="y").head(20)
    labels = [compiled.predict_one(row) for row in features.to_dict("records")]
    assert labels == predictor.predict(features).tolist()
    assert type(labels[0]) is int
    proba = compiled.predict_proba_one({"size": 0.1, "city": "Bern"})
    assert list(proba) == [3, 7]
    assert sum(proba.values()) == pytest.approx(1.0)


def test_a_loaded_predictor_compiles_to_the_same_answers(predictor, compiled):
    loaded = Predictor.load(predictor.path, verbosity=0)
    row = {"size": 0.2, "city": "Genf"}
    assert loaded.compile().predict_proba_one(row) == compiled.predict_proba_one(row)


def test_missing_columns_are_named(compiled):
    with pytest.raises(MissingColumnsError, match="lacks 'city'"):
        compiled.predict_one({"size": 1.0})


def test_a_value_that_is_no_number_is_named(compiled):
    with pytest.raises(DataError, match="'size' must hold numbers"):
        compiled.predict_one({"size": "tall", "city": "Bern"})


def test_a_row_that_is_no_mapping_is_refused(compiled):
    with pytest.raises(DataError, match="row must be a mapping"):
        compiled.predict_one([1.0, "Bern"])


def test_columns_of_different_lengths_are_refused(compiled):
    with pytest.raises(DataError, match="must have one length, got 'size': 2, 'city': 1"):
        compiled.predict_many({"size": [1.0, 2.0], "city": ["Bern"]})


@pytest.mark.parametrize("n_threads", [0, 1.5, True])
def test_threads_must_be_a_positive_number(predictor, n_threads):
    with pytest.raises(InvalidOptionError, match="n_threads must be a positive whole number"):
        predictor.compile(n_threads=n_threads)


def test_a_regression_has_no_probabilities(pipelines):
    compiled = compile_pipeline(pipelines("regression"))
    with pytest.raises(InvalidOptionError, match="must be asked of a classification"):
        compiled.predict_proba_one({})


@pytest.mark.parametrize("value", [75.0, "Bern", None])
def test_columns_of_single_values_are_refused(compiled, value):
    with pytest.raises(DataError, match="Column 'size': values must be an array or list"):
        compiled.predict_many({"size": value, "city": ["Bern"]})
