import datetime
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tabular_automl.core.errors import DataError, MissingColumnsError, NotFittedError
from tabular_automl.data.schema import Kind
from tabular_automl.deployment.row_reader import RowReader
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.inference import infer_schema


def fitted(table, overrides=None):
    featurizer = Featurizer(infer_schema(table, overrides))
    return featurizer, featurizer.fit_transform(table)


def assert_equal(left, right):
    assert left.names == right.names
    assert left.n_levels == right.n_levels
    # Topics are matrix products, whose last bit depends on how many rows there are.
    np.testing.assert_allclose(left.numeric, right.numeric, rtol=3e-7, atol=1e-7)
    np.testing.assert_array_equal(left.codes, right.codes)


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    n = 120
    words = ["red", "green", "blue", "big", "small", "fast", "slow", "old", "new"]
    return pd.DataFrame(
        {
            "number": rng.normal(size=n),
            "gappy": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "amount": [f"{v:,}" for v in rng.integers(0, 10_000, n)],
            "stamp": 1_700_000_000_000 + rng.integers(0, 10**6, n),
            "colour": rng.choice(["red", "green", None], n),
            "flag": rng.random(n) < 0.5,
            "day": pd.date_range("2023-01-01", periods=n, freq="31h"),
            "date": pd.date_range("2023-01-01", periods=n).strftime("%d/%m/%Y"),
            "review": [" ".join(rng.choice(words, 8)) for _ in range(n)],
            "index": range(n),
        }
    )


def test_transform_of_the_training_table_equals_fit_transform(table):
    featurizer, features = fitted(table)
    assert_equal(featurizer.transform(table), features)


def test_topics_of_texts_are_forgotten_and_all_else_stays(table):
    rng = np.random.default_rng(1)
    ticket = [f"{rng.choice(['pc', 'stn', 'ca'])} {rng.integers(0, 90)}" for _ in range(120)]
    table.insert(0, "ticket", ticket)
    table["title"] = [
        f"{first} {second}" for first, second in zip(ticket, table["review"], strict=False)
    ]
    featurizer, features = fitted(table)
    parts = {part.name: part for part in featurizer.parts}
    assert len(parts["ticket"].topics_at)
    assert len(parts["title"].topics_at)
    kept = featurizer.forget_topics({"ticket", "review", "number"})
    expected = features.of_numeric(kept)
    gone = set(features.names) - set(expected.names)
    assert gone == {name for name in features.names if name.startswith(("ticket:t", "review:t"))}
    with_more = table.head(7).assign(number=np.nan)
    for each in (featurizer, Featurizer.from_state(featurizer.state())):
        assert_equal(each.transform(table), expected)
        assert each.sources.keys() == set(expected.names)
        filled = each.transform(with_more).numeric[:, expected.names.index("number")]
        assert not np.isnan(filled).any()
    assert {part.name: len(part.topics_at) > 0 for part in featurizer.parts}["title"]


def test_a_number_missing_where_training_had_none_is_the_middle_of_them(table):
    featurizer, features = fitted(table)
    places = [features.names.index(name) for name in ("number", "gappy", "day:elapsed")]
    blank = table.head(2).assign(number=np.nan, gappy=np.nan, day=pd.NaT)
    middles = np.median(features.numeric[:, places], axis=0)
    assert np.isnan(middles[1])  # what is missing there was learned
    for each in (featurizer, Featurizer.from_state(featurizer.state())):
        found = each.transform(blank).numeric[:, places]
        np.testing.assert_array_equal(found, [middles, middles])


def test_artifacts_of_before_fill_nothing(table):
    featurizer, features = fitted(table)
    older = Featurizer.from_state(replace(featurizer.state(), arrays={}))
    place = features.names.index("number")
    assert np.isnan(older.transform(table.head(1).assign(number=np.nan)).numeric[0, place])


def test_state_round_trip_gives_equal_features(table):
    featurizer, features = fitted(table)
    again = Featurizer.from_state(featurizer.state())
    assert_equal(again.transform(table), features)
    assert again.schema == featurizer.schema
    assert again.sources == featurizer.sources


def test_single_rows_equal_their_row_in_a_batch(table):
    large = pd.concat([table] * 4, ignore_index=True)
    featurizer, _ = fitted(table)
    batch = featurizer.transform(large)
    for i in (0, 57, 119):
        row = featurizer.transform(large.iloc[[i]])
        np.testing.assert_array_equal(row.numeric, batch.numeric[[i]])
        np.testing.assert_array_equal(row.codes, batch.codes[[i]])


def test_column_order_and_extra_columns_do_not_matter(table):
    featurizer, features = fitted(table)
    mixed = table[table.columns[::-1]].assign(extra="x").drop(columns="index")
    assert_equal(featurizer.transform(mixed), features)


def test_row_order_does_not_matter(table):
    featurizer, features = fitted(table)
    order = np.random.default_rng(1).permutation(len(table))
    assert_equal(featurizer.transform(table.iloc[order]), features.take(order))


def test_the_callers_frame_is_not_changed(table):
    before = table.copy(deep=True)
    featurizer, _ = fitted(table)
    featurizer.transform(table)
    pd.testing.assert_frame_equal(table, before)


def test_missing_columns_are_all_listed(table):
    featurizer, _ = fitted(table)
    part = table.drop(columns=["colour", "number", "index"])
    assert featurizer.missing_columns(part) == ["number", "colour"]
    with pytest.raises(MissingColumnsError, match="lacks 'number', 'colour'"):
        featurizer.transform(part)


def test_no_rows_give_the_same_features(table):
    featurizer, features = fitted(table)
    empty = featurizer.transform(table.iloc[:0])
    assert len(empty) == 0
    assert empty.names == features.names
    untyped = featurizer.transform(pd.DataFrame(columns=table.columns))
    assert untyped.names == features.names


def test_unseen_and_missing_values_are_fine(table):
    featurizer, features = fitted(table)
    nothing = pd.DataFrame({name: [None] * 3 for name in table.columns})
    assert featurizer.transform(nothing).names == features.names
    unseen = table.assign(colour="violet", number=np.inf, gappy=-np.inf)
    codes = featurizer.transform(unseen).codes[:, 0]
    assert (codes == 1).all()
    assert not np.isinf(featurizer.transform(unseen).numeric).any()
    assert not np.isinf(featurizer.transform(unseen[:3]).numeric).any()


def test_unreadable_values_raise_or_become_missing(table):
    featurizer, features = fitted(table)
    bad = table.astype({"number": object, "date": object})
    bad.loc[[0, 1], "number"] = "lots"
    bad.loc[2, "date"] = "tomorrow"
    with pytest.raises(DataError, match=r"'number'.*'lots'"):
        featurizer.transform(bad)
    coerced = featurizer.transform(bad, on_error="coerce")
    at = features.names.index("number")
    np.testing.assert_array_equal(coerced.numeric[:2, at], featurizer.fills.middles[at])
    np.testing.assert_array_equal(coerced.numeric[3:], features.numeric[3:])


def test_sources_trace_every_feature_to_its_column(table):
    featurizer, features = fitted(table)
    assert tuple(featurizer.sources) == features.names
    assert set(featurizer.sources.values()) == set(table.columns) - {"index"}
    assert featurizer.sources["day:weekday"] == "day"


def test_days_between_two_dates_are_a_feature():
    start = pd.date_range("2024-01-01", periods=50, freq="37h")
    lengths = pd.to_timedelta(np.arange(50) % 7 * 6, unit="h")
    table = pd.DataFrame({"start": start, "end": (start + lengths).astype(str)})
    featurizer, features = fitted(table)
    days = features.numeric[:, features.names.index("end:since start")]
    np.testing.assert_array_equal(days, np.arange(50) % 7 / 4)
    assert featurizer.sources["end:since start"] == "end"
    assert_equal(Featurizer.from_state(featurizer.state()).transform(table), features)
    bad = table.assign(end="never")
    coerced = featurizer.transform(bad, on_error="coerce")
    np.testing.assert_array_equal(coerced.numeric[:, -1], np.full(50, 0.75))  # as in the middle


def test_equal_missing_indicators_are_kept_once():
    gaps = np.arange(60) % 3 == 0
    rng = np.random.default_rng(0)
    columns = {name: np.where(gaps, np.nan, rng.normal(size=60)) for name in "abc"}
    _, features = fitted(pd.DataFrame(columns))
    assert features.names == ("a", "a:missing", "b", "c")


@pytest.mark.parametrize(
    "names",
    [
        [0, 1, 2],
        ["a", "a:missing", "a:count"],
        [("x", 1), ("x", 2), ("y", 1)],
        ["1", 1, 1.5],
        ['{"k": 1}', "ünïcode", ""],
        [pd.Timestamp("2024-01-01"), datetime.date(2024, 1, 1), None],
    ],
)
def test_column_names_of_any_kind_survive(names):
    rng = np.random.default_rng(0)
    block = rng.normal(size=(60, 3))
    block[::4, 0] = np.nan
    table = pd.DataFrame(block, columns=pd.Index(names, tupleize_cols=False, dtype=object))
    featurizer, features = fitted(table)
    assert len(set(features.names)) == 4
    again = Featurizer.from_state(featurizer.state())
    assert_equal(again.transform(table), features)
    assert again.schema == featurizer.schema


def test_clashing_columns_raise_only_when_used(table):
    featurizer, _ = fitted(table)
    extra = table.assign(other=1)
    extra.columns = [*table.columns[:-1], "twice", "twice"]
    assert len(featurizer.transform(extra)) == len(table)
    clash = pd.concat([table, table[["number"]]], axis=1)
    with pytest.raises(DataError, match="unique, got 'number'"):
        featurizer.transform(clash)


def test_transform_before_fit_raises(table):
    with pytest.raises(NotFittedError, match="fitted first"):
        Featurizer(infer_schema(table)).transform(table)


def test_no_usable_column_gives_no_features():
    table = pd.DataFrame({"same": [1] * 5, "none": [None] * 5})
    featurizer, features = fitted(table)
    assert features.n_features == 0
    assert len(featurizer.transform(table.iloc[:2])) == 2


CELLS = {
    "numbers": st.one_of(st.none(), st.floats(width=64), st.integers(-(10**12), 10**12)),
    "texts": st.one_of(st.none(), st.text(max_size=12)),
    "codes": st.sampled_from(["a", "b", "c", "1", "1.0", "True", "", None]),
    "times": st.one_of(st.none(), st.datetimes()),
    "mixed": st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=3)
    ),
    "dates as text": st.one_of(st.none(), st.dates().map(str)),
    "numbers as text": st.one_of(st.none(), st.integers(0, 10**7).map("{:,}".format)),
}


@st.composite
def tables(draw):
    n_rows = draw(st.integers(1, 80))
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=5))
    columns = {}
    for i, kind in enumerate(kinds):
        few = draw(st.lists(CELLS[kind], min_size=1, max_size=8))
        picks = draw(st.lists(st.integers(0, len(few) - 1), min_size=n_rows, max_size=n_rows))
        columns[f"{kind} {i}"] = pd.Series([few[pick] for pick in picks], dtype=object)
    table = pd.DataFrame(columns)
    return table.infer_objects() if draw(st.booleans()) else table


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), seed=st.integers(0, 10))
def test_any_table_becomes_the_same_features_every_time(table, seed):
    featurizer, features = fitted(table)
    assert_equal(featurizer.transform(table), features)
    again = Featurizer.from_state(featurizer.state())
    assert_equal(again.transform(table), features)
    order = np.random.default_rng(seed).permutation(len(table))
    columns = np.random.default_rng(seed).permutation(table.shape[1])
    assert_equal(again.transform(table.iloc[order, columns]), features.take(order))
    assert not np.isinf(features.numeric).any()
    if features.codes.size:
        assert (features.codes < np.array(features.n_levels)).all()
    assert (features.codes >= 0).all()
    nothing = pd.DataFrame({name: [None] * 2 for name in table.columns})
    assert again.transform(nothing).names == features.names


def test_a_column_that_tells_nothing_new_need_not_be_there_to_predict():
    km = np.random.default_rng(0).integers(1_000, 9_000, 60).astype(float)
    table = pd.DataFrame({"km": km, "km_text": [f"{value:,.0f}" for value in km]})
    featurizer, features = fitted(table)
    assert features.names == ("km",)
    assert_equal(featurizer.transform(table[["km"]]), features)
    kinds = {column.name: column.kind for column in featurizer.schema}
    assert kinds == {"km": Kind.NUMERIC, "km_text": Kind.IGNORED}
    again = Featurizer.from_state(featurizer.state())
    assert_equal(again.transform(table[["km"]]), features)
    assert again.missing_columns(table[["km"]]) == []


def test_a_date_of_which_only_the_distance_to_another_tells_something_is_needed():
    days = pd.date_range("2024-01-01", periods=60)
    table = pd.DataFrame({"start": days, "end": days + pd.to_timedelta(np.arange(60) % 7, "D")})
    assert {column.name for column in fitted(table)[0].schema.used} == {"start", "end"}


def test_texts_in_columns_of_like_names_stay_apart(table):
    reviews = table["review"].to_numpy()
    both = pd.DataFrame({1: reviews, "1": reviews[::-1]})
    featurizer, features = fitted(both, {1: "text", "1": "text"})
    assert set(features.raw) == {"1", "1 (2)"}
    assert features.raw["1"].tolist() == reviews.tolist()
    assert features.raw["1 (2)"].tolist() == reviews[::-1].tolist()
    again = Featurizer.from_state(featurizer.state()).transform(both)
    assert again.raw["1 (2)"].tolist() == reviews[::-1].tolist()
    row = RowReader(featurizer).read({1: "one", "1": "other"})
    assert [row.raw[name][0] for name in ("1", "1 (2)")] == ["one", "other"]
