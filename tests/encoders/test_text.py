import numpy as np
import pandas as pd
import pytest

from tabular_automl.encoders.text import _MARKS, _WORD, TextEncoder, _words_and_marks

WORDS = [
    "good",
    "bad",
    "fine",
    "dress",
    "size",
    "colour",
    "small",
    "large",
    "soft",
    "cheap",
    "love",
]
WORDS += ["hate", "very", "not", "so", "fit"]


def texts(n_rows, seed=0, length=12):
    rng = np.random.default_rng(seed)
    return pd.Series([" ".join(rng.choice(WORDS, length)) for _ in range(n_rows)], name="x")


@pytest.mark.parametrize(
    ("values", "claimed"),
    [
        (texts(100).tolist(), True),
        (texts(100, length=3).tolist(), True),
        (["Braund, Mr. Owen", "Cumings, Mrs. John", "Heikkinen, Miss. Laina"], True),
        (["credit card", "cash", "mailed check or similar"] * 50, False),
        ([f"code{i}" for i in range(100)], False),
        (["a", "b"], False),
        ([1.5, 2.5], False),
    ],
)
def test_claims_texts_of_several_words(values, claimed):
    assert (TextEncoder.claims(pd.Series(values, name="x")) is not None) == claimed


def test_topics_separate_texts_about_different_things():
    rng = np.random.default_rng(0)
    about = [" ".join(rng.choice(["cat", "dog", "horse", "cow"], 8)) for _ in range(60)]
    other = [" ".join(rng.choice(["tax", "bond", "stock", "bank"], 8)) for _ in range(60)]
    table = TextEncoder().fit_transform(pd.Series(about + other, name="x"))
    topics = table.numeric[:, [name.startswith("x:topic") for name in table.names]]
    means = topics[:60].mean(axis=0), topics[60:].mean(axis=0)
    assert np.linalg.norm(means[0] - means[1]) > 0.5


def test_statistics_describe_how_the_text_is_written():
    encoder = TextEncoder().fit(texts(60))
    table = encoder.transform(pd.Series(["AB 12!?"], name="x"))
    features = dict(zip(table.names, table.numeric[0], strict=True))
    assert features["x:chars"] == 7
    assert features["x:words"] == 2
    for mark in ("digits", "capitals", "punctuation"):
        assert features[f"x:{mark}"] == pytest.approx(2 / 7)


def names_of_people(n_rows):
    titles = ("Mr.", "Mrs.", "Mr.", "Dr.")
    return pd.Series([f"Surname{i}, {titles[i % 4]} Owen" for i in range(n_rows)], name="x")


def test_a_state_from_before_there_were_words_is_read():
    column = names_of_people(80)
    state = TextEncoder().fit(column).state()
    del state.meta["words"]
    encoder = TextEncoder()
    encoder.restore(state)
    assert not any("'" in name for name in encoder.transform(column).names)


def test_frequent_words_of_short_texts_are_features():
    encoder = TextEncoder().fit(names_of_people(80))
    table = encoder.transform(pd.Series(["Brown, MRS. Mary Mrs", "Amrsy", None], name="x"))
    features = pd.DataFrame(table.numeric, columns=table.names)
    words = [name for name in table.names if "'" in name]
    assert words == ["x:'mr'", "x:'dr'", "x:'mrs'"]  # "owen" is in every row
    assert features["x:'mrs'"].tolist() == [1, 0, 0]
    assert not features[["x:'mr'", "x:'dr'"]].any(axis=None)


@pytest.mark.parametrize(
    ("column", "words"),
    [(texts(100), []), (texts(100, length=4), WORDS), (names_of_people(36), ["mr"])],
)
def test_words_of_long_texts_and_rare_ones_are_in_topics_only(column, words):
    assert set(TextEncoder().fit(column).words) == set(words)


def test_fit_transform_equals_transform_bit_for_bit():
    values = texts(200)
    encoder = TextEncoder()
    np.testing.assert_array_equal(
        encoder.fit_transform(values).numeric, encoder.transform(values).numeric
    )


@pytest.mark.parametrize("length", [4, 12])
def test_single_row_equals_its_row_in_a_batch(length):
    values = texts(100, length=length)
    encoder = TextEncoder().fit(values)
    np.testing.assert_array_equal(
        encoder.transform(values[7:8]).numeric, encoder.transform(values).numeric[7:8]
    )


def test_missing_and_unknown_words_give_empty_topics():
    encoder = TextEncoder().fit(texts(80))
    table = encoder.transform(pd.Series([None, "zzz qqq"], name="x"))
    topics = [name.startswith("x:topic") for name in table.names]
    assert (table.numeric[:, topics] == 0).all()


def test_missing_indicator_appears_where_it_informs():
    values = texts(80)
    values[::4] = None
    encoder = TextEncoder().fit(values)
    table = encoder.transform(values)
    assert table.names[-1] == "x:missing"
    np.testing.assert_array_equal(table.numeric[:, -1], values.isna())


def test_state_round_trip_gives_equal_features():
    values = texts(120, length=4)
    encoder, other = TextEncoder().fit(values), TextEncoder()
    other.restore(encoder.state())
    expected, got = encoder.transform(values), other.transform(values)
    assert expected.names == got.names
    np.testing.assert_array_equal(expected.numeric, got.numeric)


@pytest.mark.parametrize(
    "values", [[], [None, None], ["", " "], ["word"], ["! ?", "..."], ["x" * 100_000, "y z"]]
)
def test_degenerate_columns_are_fine(values):
    column = pd.Series(values, name="x", dtype=object)
    table = TextEncoder().fit_transform(column)
    assert len(table) == len(values)
    assert np.isfinite(table.numeric).all()


def test_many_texts_are_projected_in_parts(monkeypatch):
    encoder = TextEncoder().fit(texts(200))
    whole = encoder.transform(texts(150, seed=1)).numeric
    monkeypatch.setattr("tabular_automl.encoders.text._BLOCK", 40)
    np.testing.assert_array_equal(encoder.transform(texts(150, seed=1)).numeric, whole)


@pytest.mark.parametrize("seed", range(5))
def test_marks_of_plain_texts_are_counted_as_those_of_others(seed):
    rng = np.random.default_rng(seed)
    plain = ["".join(rng.choice(list(map(chr, range(1, 128))), 60)) for _ in range(40)]
    counts = [_words_and_marks(text) for text in plain]
    assert counts == [
        [len(_WORD.findall(text)), *(len(mark.findall(text)) for mark in _MARKS.values())]
        for text in plain
    ]
    assert _words_and_marks("Zürich, 8000!") == [2, 4, 1, 2]
