import numpy as np
import pandas as pd
import pytest

from tabular_automl.data.schema import Kind
from tabular_automl.encoders.category import CategoryEncoder
from tabular_automl.encoders.inference import infer_schema
from tabular_automl.encoders.storage import distinct_cells


def column(values, **options):
    return pd.Series(values, name="x", **options)


def codes(encoder, values, **options):
    return encoder.transform(column(values, **options)).codes[:, 0].tolist()


def test_levels_go_by_decreasing_frequency():
    encoder = CategoryEncoder().fit(column(["b"] * 3 + ["a"] * 5 + ["c"] * 2))
    assert encoder.levels == ["a", "b", "c"]
    assert codes(encoder, ["a", "b", "c", "unseen", None, "  "]) == [2, 3, 4, 1, 0, 0]


def test_ordered_dtype_keeps_its_order():
    dtype = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    encoder = CategoryEncoder().fit(column(["high"] * 3 + ["low", "mid"], dtype=dtype))
    assert encoder.levels == ["low", "mid", "high"]


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, 2, 3]),
        pd.Series([1.0, 2.0, 3.0]),
        pd.Series(["1", "2", "3"]),
        pd.Series(["1.0", "2.0", "3.0"]),
        pd.Series([1, 2, 3], dtype="Int64"),
        pd.Series([1, 2, 3], dtype="category"),
        pd.Series([1, "2", 3.0], dtype=object),
        pd.Series([1, 2, 3], dtype="int64[pyarrow]"),
    ],
)
@pytest.mark.parametrize(
    "trained_on", [[1, 2, 3], ["1", "2", "3"], [1.0, 2.0, 3.0], ["1.0", "2.0", "3.0"]]
)
def test_levels_match_whatever_type_they_come_in(values, trained_on):
    encoder = CategoryEncoder().fit(column(trained_on))
    assert encoder.transform(values.rename("x")).codes[:, 0].tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    "spelling", [[True, False], ["True", "False"], ["true", "false"], [1, 0], ["1", "0"]]
)
@pytest.mark.parametrize(
    "trained_on", [[True, False, False], ["true", "false", "false"], [1, 0, 0]]
)
def test_booleans_match_however_they_are_spelt(spelling, trained_on):
    encoder = CategoryEncoder().fit(column(trained_on))
    assert encoder.transform(column(spelling)).numeric[:, 0].tolist() == [1, 0]


def test_two_values_make_one_feature_of_zeros_and_ones():
    encoder = CategoryEncoder().fit(column(["no"] * 60 + ["yes"] * 50))
    table = encoder.transform(column(["yes", "no", "maybe", None]))
    assert table.n_levels == ()
    np.testing.assert_array_equal(table.numeric[:, 0], [1, 0, np.nan, np.nan])


def test_two_values_with_missing_cells_keep_missing_as_a_level():
    encoder = CategoryEncoder().fit(column(["no", "yes", None] * 10))
    assert encoder.transform(column([None, "no"])).codes[:, 0].tolist() == [0, 2]


def test_rare_levels_are_other_in_large_tables_only():
    values = ["a"] * 200 + ["b"] * 200 + ["c"] * 200 + ["once"]
    assert "once" not in CategoryEncoder().fit(column(values)).levels
    assert CategoryEncoder().fit(column(["a", "a", "b", "once"])).levels == ["a", "b", "once"]


def test_many_levels_bring_the_count_of_each():
    values = [f"v{i:02d}" for i in range(40) for _ in range(i + 3)]
    encoder = CategoryEncoder().fit(column(values))
    table = encoder.transform(column(["v39", "v00", "unseen", None]))
    assert table.names == ("x:count", "x")
    expected = [np.log1p(42), np.log1p(3), np.log1p(1), np.nan]
    np.testing.assert_allclose(table.numeric[:, 0], expected, rtol=1e-6)


def test_values_that_seldom_repeat_are_known_by_their_parts():
    rng = np.random.default_rng(0)
    decks = rng.choice(list("ABCD"), 200)
    cabins = [f"{deck}{number}" for deck, number in zip(decks, range(100, 300), strict=True)]
    encoder = CategoryEncoder().fit(column(cabins))
    unseen = encoder.transform(column(["A999", "A998", "B997"]))
    topics = unseen.numeric[:, ["topic" in name for name in unseen.numeric_names]]
    same, other = np.linalg.norm(topics[0] - topics[1]), np.linalg.norm(topics[0] - topics[2])
    assert same < other
    again = CategoryEncoder()
    again.restore(encoder.state())
    np.testing.assert_array_equal(
        again.transform(column(cabins)).numeric[:9], encoder.transform(column(cabins)).numeric[:9]
    )


def test_levels_do_not_depend_on_row_order():
    values = column([1, True, "1", "x", 2.0, None, "x", 3] * 20, dtype=object)
    shuffled = values.sample(frac=1, random_state=0)
    assert CategoryEncoder().fit(values).levels == CategoryEncoder().fit(shuffled).levels


def test_state_round_trip_gives_equal_features():
    values = column([f"v{i % 50}" for i in range(500)] + [None, "rare"])
    encoder, other = CategoryEncoder().fit(values), CategoryEncoder()
    other.restore(encoder.state())
    expected, got = encoder.transform(values), other.transform(values)
    np.testing.assert_array_equal(expected.codes, got.codes)
    np.testing.assert_array_equal(expected.numeric, got.numeric)
    assert expected.n_levels == got.n_levels


def test_codes_stay_below_the_number_of_levels():
    encoder = CategoryEncoder().fit(column(["a", "b", "c"]))
    table = encoder.transform(column(["c", "z", None, 5, 2.5, [1]], dtype=object))
    assert table.codes.max() < table.n_levels[0]


def test_no_rows_give_the_same_features():
    encoder = CategoryEncoder().fit(column(["a", "b", "c"]))
    assert encoder.transform(column([], dtype=object)).codes.shape == (0, 1)


def test_codes_of_two_parts_are_no_numbers():
    pairs = ["1_2", "12", "1_23", "12_3"]
    assert infer_schema(pd.DataFrame({"x": pairs * 10})).used[0].kind is Kind.CATEGORY
    encoder = CategoryEncoder().fit(column(pairs * 10))
    assert sorted(codes(encoder, pairs)) == [2, 3, 4, 5]
    assert codes(CategoryEncoder().fit(column(["1_2", "3", "4"] * 10)), ["12"]) == [1]


def test_long_codes_are_not_taken_for_each_other():
    code = 40_000_000_000_000_000_001
    encoder = CategoryEncoder().fit(column([str(code), "7.0", "a"] * 5))
    assert codes(encoder, [str(code), str(code + 1), "7"]) == [2, 1, 3]
    wide = CategoryEncoder().fit(column([1.2345678901234568e16, 5.0, np.nan] * 5))
    assert codes(wide, [12345678901234567, 5, 12345678901290000]) == [2, 3, 1]


@pytest.mark.parametrize("written", ["{:05d}", "{}.0"])
def test_numbers_are_read_letter_by_letter_however_they_are_written(written):
    numbers = np.random.default_rng(0).integers(1_000, 9_999, 300)
    encoder = CategoryEncoder().fit(column(numbers))
    assert encoder.spelling is not None
    again = CategoryEncoder()
    again.restore(encoder.state())
    expected, texts = encoder.transform(column(numbers)), [written.format(n) for n in numbers]
    for found in (encoder.transform(column(texts)), again.transform(column(texts))):
        np.testing.assert_array_equal(found.codes, expected.codes)
        np.testing.assert_array_equal(found.numeric, expected.numeric)


def test_texts_that_differ_from_their_number_are_read_as_they_are():
    numbers = np.random.default_rng(0).integers(0, 999, 300)
    padded = column([f"{n:05d}" for n in numbers])
    encoder = CategoryEncoder().fit(padded)
    lengths = encoder.spelling.features(*distinct_cells(padded), "x")
    at = encoder.transform(padded).numeric_names.index("x:chars")
    found = encoder.transform(padded).numeric[:, at]
    assert len(np.unique(found)) == 1
    assert found[0] == lengths.numeric[0, lengths.numeric_names.index("x:chars")]
