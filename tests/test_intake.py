"""Columns that steer a fit."""

import numpy as np
import pandas as pd
import pytest

from tabular_automl.encoders.inference import infer_schema
from tabular_automl.intake import read_roles


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
