"""A row as a dictionary gives the features that a frame of it gives."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.errors import DataError, MissingColumnsError
from tabular_automl.deployment.row_reader import RowReader, example_row
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.inference import infer_schema


def table_of_kinds(n_rows=200):
    rng = np.random.default_rng(0)
    day = pd.Timestamp("2021-03-01") + pd.to_timedelta(rng.integers(0, 900, n_rows), "D")
    words = ["red", "lamp", "old", "door", "for", "Genf", "2021"]
    return pd.DataFrame(
        {
            "number": np.where(rng.random(n_rows) < 0.2, np.nan, rng.normal(size=n_rows)),
            "large": 1.7e9 + rng.integers(0, 900, n_rows),
            "price": [f"{value:,.2f} EUR" for value in rng.lognormal(8, 1, n_rows)],
            "dirty": ["n/k" if i == 5 else str(i) for i in range(n_rows)],
            "level": rng.choice(["a", "b", "c", None], n_rows),
            "code": rng.choice([1, 2, 3, 40], n_rows),
            "flag": rng.random(n_rows) < 0.5,
            "zip": rng.integers(1_000, 9_999, n_rows),
            "many": [f"k{code}" for code in rng.integers(0, 80, n_rows)],
            "day": day,
            "iso": (day + pd.to_timedelta(rng.integers(0, 90_000, n_rows), "s")).astype(str),
            "us": day.strftime("%m/%d/%Y %H:%M"),
            "month": day.strftime("%B %Y"),
            "ymd": day.strftime("%Y%m%d").astype(int),
            "text": [" ".join(rng.choice(words, rng.integers(4, 12))) for _ in range(n_rows)],
            "title": [" ".join(rng.choice(words, 3)) for _ in range(n_rows)],
        }
    )


KINDS = {
    "text": "text",
    "title": "text",
    "code": "category",
    "zip": "category",
    "ymd": "datetime",
    "month": "datetime",
}


@pytest.fixture(scope="module")
def featurizer():
    table = table_of_kinds()
    featurizer = Featurizer(infer_schema(table, KINDS))
    featurizer.fit_transform(table)
    return featurizer


@pytest.fixture(scope="module")
def reader(featurizer):
    return RowReader(featurizer)


@pytest.fixture
def row():
    table = table_of_kinds()
    return {name: table[name].to_list()[3] for name in table}


def frame_of(row):
    """Return a frame of one row; pandas 2.2 takes a huge whole number as an object only."""
    huge = {name for name, value in row.items() if type(value) is int and abs(value) > 2**64}
    return pd.DataFrame(
        {
            name: pd.Series([value], dtype=object if name in huge else None)
            for name, value in row.items()
        }
    )


def assert_equal_features(reader, featurizer, row):
    """Compare with the features of a frame of one row, to the last bit."""
    one = reader.read(row)
    expected = featurizer.transform(frame_of(row))
    np.testing.assert_array_equal(one.numeric, expected.numeric)
    np.testing.assert_array_equal(one.codes, expected.codes)


def assert_refused_alike(name, reader, featurizer, row):
    """Expect of a row and of its frame the same sentence about a column."""
    with pytest.raises(DataError, match=f"Column '{name}' must hold") as refused:
        reader.read(row)
    with pytest.raises(DataError, match=f"Column '{name}' must hold") as expected:
        featurizer.transform(frame_of(row))
    assert str(refused.value) == str(expected.value)


def test_all_training_rows_read_as_the_frame_of_them_does(reader, featurizer):
    table = table_of_kinds()
    expected = featurizer.transform(table)
    for position, values in enumerate(table.astype(object).to_numpy().tolist()):
        one = reader.read(dict(zip(table.columns, values, strict=True)))
        np.testing.assert_array_equal(one.numeric[0], expected.numeric[position])
        np.testing.assert_array_equal(one.codes[0], expected.codes[position])


@pytest.mark.parametrize("dtype", [np.float32, "Float32"])
def test_categories_of_few_digits_are_the_same_in_any_number_of_rows(dtype):
    levels = pd.Series([0.1, 0.2, 0.3, 0.7] * 40, dtype=dtype)
    table = pd.DataFrame({"x": levels, "y": levels[::-1].to_numpy()})
    featurizer = Featurizer(infer_schema(table, {"x": "category", "y": "category"}))
    whole = featurizer.fit_transform(table)
    few = featurizer.transform(table.head(4))
    np.testing.assert_array_equal(few.codes, whole.codes[:4])
    reader = RowReader(featurizer)
    for row in range(4):
        one = reader.read({"x": np.float32(table["x"][row]), "y": np.float32(table["y"][row])})
        np.testing.assert_array_equal(one.codes, whole.codes[[row]])


DAY = datetime.datetime(2022, 2, 28, 23, 59, 59, 999_999)
ODD_NUMBERS = [np.float32(0.1), np.int16(3), np.bool_(True), 2**70, 10**400, decimal.Decimal("1.5")]
ODD_TIMES = ["2021-05-06 07:08:09+02:00", "20210506", DAY, "n/a", " 2021-05-06 "]
ODD_DAYS = [datetime.date(2020, 2, 29), "2021-05-06", None, pd.NaT, np.datetime64("NaT")]
VALUES = {
    "number": [1, True, "1e3", " 7 ", "", None, pd.NA, "n/a", -0.0, *ODD_NUMBERS],
    "large": [0, 1.7e9, np.float64(1.8e9), None, float("inf"), float("-inf")],
    "price": ["1,234.50 EUR", "(12.5)", "12%", 99, None, "-"],
    "dirty": ["n/k", "other words", "12", None],
    "level": ["a", " b ", "unseen", "", None, float("nan"), pd.NA, 1, np.str_("c")],
    "code": [1, 1.0, "1", "01", "40.0", 7, None, True, np.int64(40), np.float64(2.0)],
    "flag": [True, False, "true", "no", 1, 0, None, np.bool_(False)],
    "many": ["k1", "k999", None, pd.Timestamp("2020-01-01"), datetime.date(2020, 1, 1)],
    "day": [DAY, pd.Timestamp(DAY), pd.Timestamp("2020-01-01T10:00Z"), *ODD_DAYS],
    "iso": ["2021-05-06", "2021-05-06T07:08:09", "2021-05-06 07:08:09.25", None, *ODD_TIMES],
    "us": ["05/06/2021 07:08", "5/6/2021 7:08", "12/31/1999 23:59", None, DAY],
    "month": ["May 2021", "December 1999", None],
    "ymd": [20210506, "20210506", 20210506.0, None, np.int64(20200229)],
    "text": ["red lamp", "red red RED lamp's", "", "   ", None, "zzz", 12, "é" * 5_000],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in VALUES.items() for value in values]
)
def test_any_value_reads_as_in_a_frame(name, value, reader, featurizer, row):
    assert_equal_features(reader, featurizer, {**row, name: value})


def test_a_day_before_nanoseconds_reads_as_in_a_frame_or_is_refused_as_there(
    reader, featurizer, row
):
    row["iso"] = "1500-01-01"
    if int(pd.__version__.partition(".")[0]) >= 3:
        assert_equal_features(reader, featurizer, row)
    else:
        assert_refused_alike("iso", reader, featurizer, row)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("number", "tall"), ("number", datetime.date(2020, 1, 1)), ("large", "x")),
        *(("iso", "tomorrow"), ("iso", "2021-02-30"), ("us", "13/13/2021 07:08"), ("day", "soon")),
    ],
)
def test_what_a_frame_refuses_is_refused_with_its_sentence(name, value, reader, featurizer, row):
    assert_refused_alike(name, reader, featurizer, {**row, name: value})


def test_all_missing_columns_are_named(reader, row):
    del row["many"], row["day"]
    with pytest.raises(MissingColumnsError, match="lacks 'many', 'day'"):
        reader.read(row)


def test_the_example_row_can_be_read(reader, featurizer):
    example = example_row(featurizer)
    assert_equal_features(reader, featurizer, example)
    assert example["level"] is not None


def test_the_example_of_a_text_without_topics_has_words():
    table = table_of_kinds()
    featurizer = Featurizer(infer_schema(table, KINDS))
    featurizer.fit_transform(table)
    featurizer.forget_topics({"text", "title", "many"})
    example = example_row(featurizer)
    assert min(len(example[name].split()) for name in ("text", "title")) > 3
    assert_equal_features(RowReader(featurizer), featurizer, example)


def test_a_long_category_is_read_to_the_same_length():
    values = [f"{i % 90}{'ab' * (1_900 + 3 * (i % 90))}" for i in range(200)]
    table = pd.DataFrame({"sequence": values})
    featurizer = Featurizer(infer_schema(table, {"sequence": "category"}))
    features = featurizer.fit_transform(table)
    one = RowReader(featurizer).read({"sequence": values[80]})
    assert features.numeric.shape[1] > 1
    np.testing.assert_allclose(one.numeric[0], features.numeric[80], rtol=1e-5, atol=1e-5)
