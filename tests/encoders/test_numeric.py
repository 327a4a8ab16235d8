import datetime
import decimal

import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.errors import DataError
from tabular_automl.data.number_texts import decimal_mark, parse_number
from tabular_automl.encoders.numeric import NumericEncoder


def column(values, **options):
    return pd.Series(values, name="x", **options)


def test_durations_are_read_one_by_one_too():
    waits = pd.Series(pd.to_timedelta([2, 3, 90, None], unit="min"), name="x")
    encoder = NumericEncoder().fit(waits)
    np.testing.assert_array_equal(encoder.read(waits.astype(object)), encoder.read(waits))


def restored(encoder):
    other = NumericEncoder()
    other.restore(encoder.state())
    return other


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12),
        ("1,234", 1234),
        ("1,234,567.5", 1234567.5),
        ("1 234", 1234),
        ("1'234.5", 1234.5),
        ("$5", 5),
        ("-$5", -5),
        ("$-5", -5),
        ("5 €", 5),
        ("12%", 12),
        ("12.5 %", 12.5),
        ("1e3", 1000),
        ("(5)", -5),
        ("\u22125", -5),
        (".5", 0.5),
        ("1,23", None),
        ("abc", None),
        ("1.2.3", None),
        ("10-20", None),
        ("< 5", None),
        ("nan", None),
        ("(5", None),
        ("1_23", None),
        ("1_000", None),
    ],
)
def test_numbers_are_read_as_people_write_them(text, expected):
    assert parse_number(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("56,7", 56.7),
        ("1.234,5", 1234.5),
        ("1.234", 1234),
        ("-1.234.567", -1234567),
        ("12.34", 12.34),
        ("1234", 1234),
        ("1e3", 1000),
    ],
)
def test_a_point_groups_digits_where_the_decimal_mark_is_a_comma(text, expected):
    assert parse_number(text, ",") == expected


def test_decimal_comma_is_chosen_when_it_reads_more_values():
    assert decimal_mark(["1,5", "2,25", "1.234,5"]) == ","
    assert decimal_mark(["1,234", "5,678"]) == "."
    assert decimal_mark(["1.5", "2"]) == "."
    assert decimal_mark(["0,125", "1,250"]) == ","  # no group of digits comes after a 0
    assert decimal_mark(["€0,125", "€1,250"]) == ","
    assert decimal_mark(["10,125", "1,250"]) == "."
    encoder = NumericEncoder().fit(column(["1,5", "2,25", "1.234,5", "7"]))
    assert encoder.read(column(["1.000,25"]))[0] == 1000.25


@pytest.mark.parametrize(
    ("texts", "odd", "mark"),
    [
        (["1.251", "2.5", "0.125"], "3,5", "."),
        (["350,000", "999", "120,500"] * 8, "12,50", "."),
        (["350,000", "999", "120,500"] * 8, "0,50", "."),
        (["1,500", "999", "120,500"] * 8, "0,500", ","),
        (["1,251", "2,5", "0,125"], "3.5", ","),
        (["12.345", "999.000", "850"], "1.234.567", ","),
        (["12.345", "99.25", "850.5"], "1.234.567", "."),
        (["1,234,567", "12,345"], "3,5", "."),
        (["1,09,900", "99,900"], "3,5", "."),
    ],
)
def test_one_odd_text_does_not_turn_the_decimal_mark_of_the_others(texts, odd, mark):
    assert decimal_mark([*texts, odd]) == decimal_mark([odd, *texts]) == mark


def test_cells_that_are_numbers_have_no_decimal_mark():
    cells = [1.251, "3,5", decimal.Decimal("0.125"), np.float64(1.5), 7, None, "1.251"]
    encoder = NumericEncoder().fit(column(cells, dtype=object))
    assert encoder.mark == ","
    read = encoder.read(column(cells, dtype=object))
    np.testing.assert_array_equal(read, [1.251, 3.5, 0.125, 1.5, 7, np.nan, 1251])
    assert encoder.read(column([1.251]))[0] == 1.251
    mistyped = NumericEncoder().fit(column([1.251, 2.5, "3,5", "2.5", "1.5"], dtype=object))
    assert mistyped.mark == "."
    assert mistyped.junk == {"3,5"}


def test_booleans_beside_a_missing_cell_are_numbers():
    encoder = NumericEncoder().fit(column([0, 1, 1, 0]))
    for values in ([True, False, None], ["True", "False", ""]):
        read = encoder.read(column(values, dtype=object))
        np.testing.assert_array_equal(read, [1, 0, np.nan])
        assert not encoder.unreadable(column(values, dtype=object)).any()
    assert NumericEncoder.claims(column(["True", "False"] * 9)) is None


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, 2, None], dtype="Int64"),
        pd.Series([1.0, 2.0, None]),
        pd.Series([1, 2, None], dtype="float[pyarrow]"),
        pd.Series(["1", " 2 ", ""]),
        pd.Series(["1", "2", "NA"], dtype="category"),
        pd.Series([1, "2", None], dtype=object),
        pd.Series([1, 2, pd.NA], dtype=object),
    ],
)
def test_every_storage_of_the_same_numbers_reads_alike(values):
    encoder = NumericEncoder().fit(column([1.0, 2.0, np.nan]))
    np.testing.assert_array_equal(encoder.read(values), [1, 2, np.nan])


def test_durations_are_seconds():
    durations = column([pd.Timedelta("1min"), pd.NaT, pd.Timedelta("2h")])
    assert NumericEncoder.claims(durations.dropna()) is not None
    np.testing.assert_array_equal(
        NumericEncoder().fit(durations).read(durations), [60, np.nan, 7200]
    )


def test_large_offsets_keep_their_order_and_resolution():
    values = 1_700_000_000_000 + np.arange(1000)
    table = NumericEncoder().fit(column(values)).transform(column(values))
    assert (np.diff(table.numeric[:, 0]) > 0).all()


def test_values_that_float32_holds_are_left_as_they_are():
    values = [0, 5, 123456, -7]
    table = NumericEncoder().fit(column(values)).transform(column(values))
    assert table.numeric[:, 0].tolist() == values


def test_infinities_become_the_extremes_of_training():
    encoder = NumericEncoder().fit(column([1.0, 5.0, np.inf, -np.inf]))
    table = encoder.transform(column([np.inf, -np.inf, 3.0]))
    assert table.numeric[:, 0].tolist() == [5, 1, 3]


@pytest.mark.parametrize(
    "values", [[1e300, -1e300, 5.0], [1e-300, 2e-300, 3e-300], [1e38, 3e38, 0]]
)
def test_huge_and_tiny_values_stay_finite_and_ordered(values):
    table = NumericEncoder().fit(column(values)).transform(column(values))
    features = table.numeric[:, 0]
    assert np.isfinite(features).all()
    assert np.array_equal(np.argsort(features), np.argsort(values))


def test_missing_indicator_appears_where_it_informs():
    often = column([1.0, 2.0, np.nan, 4.0] * 10)
    seldom = column([1.0] * 999 + [np.nan])
    assert NumericEncoder().fit(often).transform(often).names == ("x", "x:missing")
    assert NumericEncoder().fit(seldom).transform(seldom).names == ("x",)


def test_unreadable_values_raise_with_column_and_first_values():
    encoder = NumericEncoder().fit(column([1, 2, 3]))
    bad = column(["1", "ten", "eleven", None])
    with pytest.raises(DataError, match=r"'x' must hold numbers.*'ten' in row 1, 'elev"):
        encoder.transform(bad)
    assert encoder.unreadable(bad).tolist() == [False, True, True, False]


def test_a_column_with_junk_in_training_reads_junk_as_missing_ever_after():
    values = column(["1", "2", "3", "about 5"])
    encoder = restored(NumericEncoder().fit(values))
    new = column(["about 5", "about 6", "7"])
    np.testing.assert_array_equal(encoder.read(new), [np.nan, np.nan, 7])
    assert not encoder.unreadable(new).any()


def test_state_round_trip_gives_equal_features():
    values = column(["$1,000", "NA", "(5)", "1e300", "junk"] * 5)
    encoder = NumericEncoder().fit(values)
    expected, got = encoder.transform(values), restored(encoder).transform(values)
    assert expected.names == got.names
    np.testing.assert_array_equal(expected.numeric, got.numeric)


def test_no_rows_and_all_missing_are_fine():
    encoder = NumericEncoder().fit(column([np.nan, np.nan]))
    assert encoder.transform(column([], dtype=object)).numeric.shape == (0, 1)
    assert np.isnan(encoder.transform(column([None, None])).numeric).all()


@pytest.mark.parametrize(
    ("values", "claimed"),
    [
        (["1", "2", "?"], True),
        (["1,234", "$5", "12%"], True),
        (["a", "b", "1"], False),
        (["001", "002", "003"], False),
        ([True, False], False),
        ([datetime.date(2020, 1, 1)], False),
        ([[1], [2]], False),
    ],
)
def test_claims_numbers_only(values, claimed):
    assert (NumericEncoder.claims(column(values)) is not None) == claimed
