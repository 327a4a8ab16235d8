import datetime

import numpy as np
import pandas as pd
import pytest

from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import DataError
from tabular_automl.encoders.datetime import DatetimeEncoder


def column(values, name="x", **options):
    return pd.Series(values, name=name, **options)


def first_instant(values, **options):
    encoder = DatetimeEncoder().fit(column(values, **options))
    return np.datetime64(int(encoder.read(column(values, **options))[0]), "s")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2024-01-31", "2023-02-01"], "2024-01-31"),
        (["2024/01/31", "2023/02/01"], "2024-01-31"),
        (["31/01/2024", "01/02/2024"], "2024-01-31"),
        (["01/31/2024", "02/01/2024"], "2024-01-31"),
        (["01/02/2024", "31/01/2024", "02/03/2024"], "2024-02-01"),
        (["01/02/2024", "01/31/2024", "02/03/2024"], "2024-01-02"),
        (["31.01.2024 10:30", "01.02.2024 00:00"], "2024-01-31T10:30"),
        (["25-11-23", "26-11-23", "03-12-23", "04-01-24"], "2023-11-25"),
        (["23-11-25", "23-11-26", "23-12-03", "24-01-04"], "2023-11-25"),
        (["1/31/2024 5:30 PM", "12/1/2023 12:00 AM"], "2024-01-31T17:30"),
        (["31 January 2024", "1 Feb 2024"], "2024-01-31"),
        (["Jan 31, 2024", "May 1, 2024"], "2024-01-31"),
        (["31-Jan-24", "01-Feb-24"], "2024-01-31"),
        (["2024-01-31T10:30:00Z", "2024-01-31T10:30:00+02:00"], "2024-01-31T10:30"),
        (["2024-01-31 10:30:15.25", "2024-01-31 10:30:16"], "2024-01-31T10:30:15"),
        (["Wed, 31 Jan 2024 10:30:00 GMT", "Thu, 01 Feb 2024 00:00:00 GMT"], "2024-01-31T10:30"),
        (["20240131", "20230201"], "2024-01-31"),
        (["2024-03", "2023-11"], "2024-03-01"),
        (["2009-06-15 17:26:21 UTC", "2010-01-05 16:52:16 UTC"], "2009-06-15T17:26:21"),
        (["2009-06-15 17:26:21.25 UTC", "2010-01-05 16:52:16 UTC"], "2009-06-15T17:26:21"),
        (["2024-01-31 10:30:15+00", "2024-02-01 10:30:16+00"], "2024-01-31T10:30:15"),
        (["2024-01-31 05:20:30 PM", "2024-02-01 05:20:30 AM"], "2024-01-31T17:20:30"),
        (["2024-01-31, 10:20", "2024-02-01, 11:20"], "2024-01-31T10:20"),
        (["2024-01-31 10:20:30,123", "2024-02-01 10:20:31,5"], "2024-01-31T10:20:30"),
        (["2024-1-31", "2024-10-1"], "2024-01-31"),
        (["10:30", "23:59"], "1970-01-01T10:30"),
        (["10:30 PM", "1:59 AM"], "1970-01-01T22:30"),
    ],
)
def test_common_formats_are_claimed_and_read(values, expected):
    assert DatetimeEncoder.claims(column(values)) is not None
    assert first_instant(values) == np.datetime64(expected)


@pytest.mark.parametrize(
    "values",
    [
        ["18-29", "30-44"],
        ["2015", "2016"],
        ["1.2.3", "192.168.1.1"],
        ["a", "b"],
        ["12-34-5678", "99-34-5678"],
        ["may", "jun"],
        [True, False],
        [],
    ],
)
def test_what_only_looks_like_dates_is_left_alone(values):
    assert DatetimeEncoder.claims(column(values, dtype=object)) is None


def test_nearly_all_cells_must_be_dates_whatever_the_first_one_is():
    day = datetime.date(2020, 1, 31)
    assert DatetimeEncoder.claims(column([day, *["red", "green"] * 20], dtype=object)) is None
    days = [day, "2020-02-01", datetime.datetime(2020, 3, 1, 12)] * 20
    assert DatetimeEncoder.claims(column([*days, "later"], dtype=object)) == "Python dates or times"


def test_first_days_of_months_are_told_from_days_of_january():
    months = [f"01/{month:02d}/2024" for month in range(1, 13)]
    assert first_instant(months[1:]) == np.datetime64("2024-02-01")


def test_days_of_nought_are_missing():
    days = column([*["2024-01-31", "2023-02-01"] * 5, *["0000-00-00"] * 4])
    assert DatetimeEncoder.claims(days) is not None
    encoder = DatetimeEncoder().fit(days)
    assert not encoder.junk
    assert np.isnan(encoder.read(days)).sum() == 4
    stamps = column(["0000-00-00 00:00:00", "2024-01-31 10:00:00"])
    assert np.isnan(encoder.fit(stamps).read(stamps)).tolist() == [True, False]


def test_whole_numbers_of_the_form_yyyymmdd_are_dates():
    values = column([20240131, 20230201, 20200615, 19991231, 20210101])
    assert DatetimeEncoder.claims(values) is not None
    assert DatetimeEncoder.claims(column([20240131, 20241399] * 3)) is None
    encoder = DatetimeEncoder().fit(values)
    np.testing.assert_array_equal(encoder.read(values), encoder.read(values.astype(float)))
    np.testing.assert_array_equal(encoder.read(values), encoder.read(values.astype(str)))


def test_epochs_need_a_name_that_says_so():
    seconds = [1_700_000_000, 1_700_003_600]
    assert DatetimeEncoder.claims(column(seconds, name="timestamp")) is not None
    assert DatetimeEncoder.claims(column(seconds, name="population")) is None
    encoder = DatetimeEncoder().fit(column(np.array(seconds) * 1000, name="created_at"))
    assert encoder.read(column([1_700_000_000_500]))[0] == 1_700_000_000.5


def test_dates_that_another_reader_took_for_numbers_are_read():
    encoder = DatetimeEncoder().fit(column([20240131.0, np.nan, 20230201.0, 20200615.0] * 3))
    expected = encoder.read(column([20240131.0, np.nan]))
    np.testing.assert_array_equal(encoder.read(column(["20240131.0", None])), expected)


def test_a_few_numbers_that_are_no_epoch_do_not_spoil_the_others():
    """Nor does it matter whether the first look at a long column met them."""
    seconds = np.linspace(1_600_000_000, 1_700_000_000, 3_000).round()
    seconds[[5, 1_700]] = -1, 0
    encoder = DatetimeEncoder().fit(column(seconds, name="created_at"))
    assert encoder.unit == "s"
    assert encoder.read(column([1_650_000_000.0]))[0] == 1_650_000_000


def test_an_epoch_is_read_whatever_its_name_when_it_is_said_to_be_a_time():
    encoder = DatetimeEncoder().fit(column([1_600_000_000_000, 1_650_000_000_000], name="seen"))
    assert encoder.unit == "ms"


@pytest.mark.parametrize(
    "values",
    [
        [datetime.date(2024, 1, 31), None],
        [datetime.datetime(2024, 1, 31), None],
        pd.to_datetime(["2024-01-31", None]),
        pd.to_datetime(["2024-01-31", None]).tz_localize("UTC"),
        pd.PeriodIndex(["2024-01-31", None], freq="D"),
        pd.array(["2024-01-31", None], dtype="string"),
        pd.Series(pd.to_datetime(["2024-01-31", None])).astype("timestamp[us][pyarrow]"),
        pd.Series(pd.to_datetime(["2024-01-31", None])).astype("date32[pyarrow]"),
    ],
)
def test_every_storage_of_the_same_day_reads_alike(values):
    encoder = DatetimeEncoder().fit(column(pd.date_range("2024-01-01", periods=40)))
    seconds = encoder.read(column(values))
    assert np.datetime64(int(seconds[0]), "s") == np.datetime64("2024-01-31")
    assert np.isnan(seconds[1])


def test_calendar_parts_agree_with_pandas():
    times = pd.date_range("1969-12-30", "2030-01-05", periods=1000)
    table = DatetimeEncoder().fit(column(times)).transform(column(times))
    features = dict(zip(table.names, table.numeric.T, strict=True))
    np.testing.assert_array_equal(features["x:weekday"], times.day_of_week)
    for part in ("year", "month", "day", "minute", "second"):
        np.testing.assert_array_equal(features[f"x:{part}"], getattr(times, part))
    np.testing.assert_array_equal(features["x:monthend"], times.is_month_end)
    np.testing.assert_array_equal(np.floor(features["x:hour"]), times.hour)


def test_constant_parts_are_left_out():
    days = column(pd.date_range("2024-01-01", periods=20))
    names = DatetimeEncoder().fit(days).transform(days).names
    assert {"x:elapsed", "x:day", "x:weekday"} <= set(names)
    assert not {"x:year", "x:month", "x:hour", "x:minute", "x:second"} & set(names)


def test_seconds_are_a_feature_where_they_vary():
    to_the_minute = column(pd.date_range("2024-01-01", periods=50, freq="37min"))
    assert "x:second" not in DatetimeEncoder().fit(to_the_minute).transform(to_the_minute).names
    texts = column(["2024-01-31 10:00:05", "2024-02-01 10:00:59.75", None] * 5)
    table = DatetimeEncoder().fit(texts).transform(texts)
    second = table.numeric[:, table.names.index("x:second")]
    np.testing.assert_array_equal(second[:3], [5.0, 59.0, np.nan])


def test_an_encoder_saved_before_there_were_seconds_keeps_its_features():
    times = column(pd.date_range("2024-01-01", periods=50, freq="31h17min19s"))
    new, old = DatetimeEncoder().fit(times), DatetimeEncoder()
    parts = [part for part in new.parts if part != "second"]
    old.restore(State(meta={**new.state().meta, "parts": parts}))
    table, before = new.transform(times), old.transform(times)
    kept = [name for name in table.names if name != "x:second"]
    assert list(before.names) == kept
    assert len(kept) < len(table.names)
    expected = table.numeric[:, [table.names.index(name) for name in kept]]
    np.testing.assert_array_equal(before.numeric, expected)


def test_unreadable_values_raise_with_column_and_first_values():
    encoder = DatetimeEncoder().fit(column(["2024-01-31", "2024-02-01"]))
    bad = column(["2024-03-01", "soon", None])
    with pytest.raises(DataError, match=r"'x' must hold dates or times.*'soon'"):
        encoder.transform(bad)
    assert encoder.unreadable(bad).tolist() == [False, True, False]


def test_dates_of_python_are_read_whatever_form_the_texts_of_training_had():
    encoder = DatetimeEncoder().fit(column(["31.01.2024", "13.02.2024"]))
    same = column([datetime.date(2024, 1, 31), pd.Timestamp("2024-02-13")], dtype=object)
    expected = encoder.read(column(["31.01.2024", "13.02.2024"]))
    np.testing.assert_array_equal(encoder.read(same), expected)


@pytest.mark.parametrize("junk", ["2024", "9999", "0000", "2024-01", "2024 1 5"])
def test_numbers_among_dates_of_another_form_are_no_dates(junk):
    encoder = DatetimeEncoder().fit(column(["31.01.2024", "13.02.2024"]))
    assert encoder.unreadable(column([junk])).tolist() == [True]


def test_a_day_among_times_of_day_is_none():
    encoder = DatetimeEncoder().fit(column(["10:30", "23:59"] * 5))
    assert encoder.unreadable(column(["2024-01-31"])).tolist() == [True]


def test_a_time_without_end_is_a_missing_one():
    times = column(np.append(np.linspace(1.6e9, 1.7e9, 500).round(), np.inf), name="created_at")
    known = DatetimeEncoder().fit(times.iloc[:-1])
    encoder = DatetimeEncoder().fit(times)
    assert encoder.parts == known.parts
    assert np.isnan(encoder.read(times)[-1])
    assert np.isfinite(encoder.read(times)[:-1]).all()


def test_a_column_with_junk_in_training_reads_junk_as_missing_ever_after():
    encoder = DatetimeEncoder().fit(column(["2024-01-31"] * 30 + ["soon"]))
    assert np.isnan(encoder.read(column(["later"]))).all()


def test_state_round_trip_gives_equal_features():
    values = column(["31/01/2024 10:00", "01/02/2024 11:30", None, "junk"] * 4)
    encoder, other = DatetimeEncoder().fit(values), DatetimeEncoder()
    other.restore(encoder.state())
    expected, got = encoder.transform(values), other.transform(values)
    assert expected.names == got.names
    np.testing.assert_array_equal(expected.numeric, got.numeric)


def test_no_rows_and_all_missing_are_fine():
    encoder = DatetimeEncoder().fit(column(["2024-01-31", "2024-02-01"]))
    width = len(encoder.transform(column(["2024-01-31"])).names)
    assert encoder.transform(column([], dtype=object)).numeric.shape == (0, width)
    assert np.isnan(encoder.transform(column([None, None])).numeric).all()
