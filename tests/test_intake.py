"""Columns that steer a fit."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import InvalidOptionError, MissingColumnsError
from tabular_automl.data.schema import Kind
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.encoders.inference import infer_schema
from tabular_automl.intake import FitRequest, Roles, read_roles, read_target

REGRESSION = Task(ProblemType.REGRESSION)


def time_of(values, **options):
    days = pd.Series(values, **options)
    table = pd.DataFrame({"day": days, "x": range(len(days))})
    return read_roles(infer_schema(table, {"day": "time"}), table).time


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y", "%d/%m/%Y", "%d-%m-%y", "%d %b %Y", "%d.%m.%Y %H:%M", "%Y%m%d", "%Y-%m-%d"]
)
@pytest.mark.parametrize("first", [0, 20])  # the 5th, which may be a month, and the 25th
def test_texts_of_dates_are_put_in_the_order_of_time(form, first):
    days = pd.date_range("2023-11-05", periods=120)
    days = days[[first, *np.random.default_rng(0).permutation(120)]]
    time = time_of(days.strftime(form), dtype=object)
    folds = pd.Series(pd.to_datetime(time, format="ISO8601") if time.dtype == object else time)
    assert folds.argsort(kind="stable").tolist() == days.argsort(kind="stable").tolist()


@pytest.mark.parametrize(
    "values", [["soon", "later"] * 3, ["31.01.2024", "", "01.02.2024"], [3, 1, 2], ["3", "1", "2"]]
)
def test_other_columns_of_time_stay_as_they_are(values):
    assert time_of(values).tolist() == values


def test_a_time_column_keeps_its_name_and_rows():
    time = time_of(["05.01.2024", "13.02.2024"], index=[7, 9])
    assert time.name == "day"
    assert time.index.tolist() == [7, 9]


def test_a_role_that_the_table_lacks_is_named():
    table = pd.DataFrame({"w": [1.0, 2.0], "day": [1, 2], "x": [1, 2]})
    schema = infer_schema(table, {"w": "weight", "day": "time"})
    with pytest.raises(MissingColumnsError, match="weight column 'w', as training had"):
        read_roles(schema, table.drop(columns="w"))
    without = read_roles(schema, table.drop(columns="day"), (Kind.WEIGHT,))
    assert without.time is None
    assert without.weight is not None


@pytest.mark.parametrize(("most", "n_folds"), [(8, 5), (3, 3)])
def test_folds_of_ones_own_go_before_those_that_are_made(most, n_folds):
    values = np.arange(60) % 5
    fold = pd.Series(values, name="cv")
    roles = Roles(weight=None, group=None, time=None, fold=fold)
    folds = roles.split(REGRESSION, np.zeros(60), n_folds=most, seed=0)
    assert len(folds) == n_folds
    for rows in folds.valid:
        assert set(np.delete(values, rows)).isdisjoint(values[rows])


def test_rows_of_a_group_stay_together_in_the_folds_that_are_made():
    group = pd.Series(np.arange(60) // 4, name="client")
    roles = Roles(weight=None, group=group, time=None, fold=None)
    folds = roles.split(REGRESSION, np.zeros(60), n_folds=3, seed=0)
    for train, valid in zip(folds.train, folds.valid, strict=True):
        assert set(group[train]).isdisjoint(group[valid])


def test_the_label_has_a_problem_type_and_no_kind(tmp_path):
    table = pd.DataFrame({"x": range(20), "y": [0, 1] * 10})
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
    with pytest.raises(InvalidOptionError, match="must not name the label 'y'; say with problem_t"):
        predictor.fit(table, columns={"y": "category"})


def target_of(labels, problem_type=None):
    """Return the target of labels, and the texts of the notes on it."""
    table, notes = pd.DataFrame({"y": labels, "x": range(len(labels))}), []
    request = FitRequest(table, "y", problem_type, None, {}, FitConfig())
    return read_target(request, lambda event: notes.append(event.text)), notes


def test_numbers_with_points_for_thousands_only_are_read_and_told():
    texts = [f"{n}.{100 + n}.000" for n in range(1, 40)] + ["450.000"]
    target, notes = target_of(texts)
    assert target.in_user_units[0] == 1_101_000
    assert target.in_user_units[-1] == 450_000
    told = "The points in labels such as '1.101.000' are taken for marks of thousands."
    assert notes == [told]


@pytest.mark.parametrize("blank", ["", "  "])
def test_blank_labels_are_none(blank):
    target, notes = target_of(["yes", "no", blank] * 10)
    assert target.codec.classes.tolist() == ["no", "yes"]
    assert target.features["x"].tolist() == [n for n in range(30) if n % 3 < 2]
    assert notes[0].startswith("10 of 30 rows have no label and were dropped.")


@pytest.mark.parametrize("sign", ["?", "-", "n/a", "unknown"])
@pytest.mark.parametrize("write", [str, float], ids=["texts", "a mixed column"])
def test_a_sign_for_no_label_among_many_numbers_is_none(sign, write):
    labels = pd.Series([write(n / 2) for n in range(60)] + [sign], dtype=object)
    target, notes = target_of(labels)
    assert target.codec.task == REGRESSION
    np.testing.assert_array_equal(target.in_user_units, np.arange(60) / 2)
    told = f"1 of 61 rows have no label and were dropped. Taken for none: {sign!r}; problem_type="
    assert notes[0].startswith(told)
    assert "keep_default_na" not in notes[0]


def test_a_word_beside_few_numbers_is_a_class():
    target, notes = target_of(["0", "1", "unknown"] * 10)
    assert target.codec.classes.tolist() == ["0", "1", "unknown"]
    assert not notes


def test_what_is_said_to_be_a_class_is_one():
    labels = [str(n) for n in range(30)] * 4 + ["unknown", ""] * 4
    target, notes = target_of(labels, "multiclass")
    assert len(target.codec.classes) == 32
    assert not notes
    target, _ = target_of(pd.Series(["a", "b", ""] * 5, dtype="category"))
    assert target.codec.classes.tolist() == ["", "a", "b"]


def test_few_numbers_have_no_words_among_them_where_a_regression_is_asked_for():
    target, _ = target_of(["1", "2", "?"] * 10, "regression")
    assert target.in_user_units.tolist() == [1.0, 2.0] * 10


def test_a_category_without_rows_may_be_what_tells_the_mark():
    labels = pd.Categorical(["450.000", "380.500"] * 15, ["450.000", "380.500", "1.250.000"])
    target, notes = target_of(pd.Series(labels), "regression")
    assert target.in_user_units[0] == 450_000
    assert notes == ["The points in labels such as '450.000' are taken for marks of thousands."]
