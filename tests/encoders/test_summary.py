import numpy as np
import pandas as pd
import pytest

from tabular_automl.artifacts.contract import require_plain, through_files
from tabular_automl.encoders import summary as module
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.inference import infer_schema
from tabular_automl.encoders.summary import TableSummary, read_column, summarize
from tests.conftest import make_table


def featurized(table):
    featurizer = Featurizer(infer_schema(table))
    featurizer.fit_transform(table)
    return featurizer


@pytest.fixture
def table():
    return make_table("binary", 300).drop(columns="y")


def test_counts_are_those_of_the_rows(table):
    columns = summarize(table, featurized(table)).columns
    assert set(columns) == {"size", "rooms", "city", "sold", "garden"}
    for name, column in columns.items():
        assert column.n_rows == 300
        assert column.n_missing == table[name].isna().sum()
        assert sum(column.counts) == table[name].notna().sum()
    rooms = table["rooms"].value_counts().sort_index()
    assert columns["rooms"].counts == tuple(rooms)
    assert columns["size"].low == table["size"].min()
    assert max(columns["size"].counts) < 60
    cities = table["city"].value_counts()
    assert dict(zip(columns["city"].levels, columns["city"].counts, strict=False)) == dict(cities)
    assert columns["city"].is_complete


def test_it_survives_files(table):
    summary = summarize(table, featurized(table))
    require_plain(summary.state(), "summary")
    assert TableSummary.from_state(through_files(summary.state())) == summary


def test_large_tables_are_sampled_but_their_range_is_not(table, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 50)
    table.loc[17, "size"] = 9999.0
    columns = summarize(table, featurized(table)).columns
    assert columns["size"].n_rows == 50
    assert columns["size"].high == 9999.0
    assert not columns["city"].is_complete


def test_more_categories_than_are_kept_are_one(monkeypatch):
    monkeypatch.setattr(module, "MAX_LEVELS", 3)
    table = pd.DataFrame({"a": list("aaaabbbccd") * 8})
    column = summarize(table, featurized(table)).columns["a"]
    assert column.levels == ("a", "b", "c")
    assert column.counts == (32, 24, 16, 8)
    assert not column.is_complete


def test_new_values_are_counted_in_the_bins_of_training(table):
    featurizer = featurized(table)
    columns = summarize(table, featurizer).columns
    kinds = {column.name: column.kind for column in featurizer.schema.used}
    other = table.iloc[:3].assign(city=["Genf", "Ur", None], rooms=[1, 5, 99])
    readings = {
        name: read_column(other[name], kinds[name], featurizer.encoders[name])
        for name in ("city", "rooms")
    }
    place = columns["city"].levels.index("Genf")
    expected = np.zeros(len(columns["city"].levels) + 1)
    expected[[place, -1]] = 1
    np.testing.assert_array_equal(columns["city"].count(readings["city"]), expected)
    np.testing.assert_array_equal(columns["rooms"].count(readings["rooms"]), [1, 0, 0, 0, 2])


def test_texts_are_known_by_their_lengths():
    rng = np.random.default_rng(0)
    words = np.array(
        ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "runs", "away"]
    )
    texts = [" ".join(rng.choice(words, rng.integers(4, 12))) for _ in range(200)]
    table = pd.DataFrame({"note": texts})
    column = summarize(table, featurized(table)).columns["note"]
    assert column.low == min(map(len, texts))
    assert column.high == max(map(len, texts))


def test_unreadable_cells_count_as_missing(table):
    featurizer = featurized(table)
    (size,) = [column for column in featurizer.schema.used if column.name == "size"]
    broken = pd.Series(["12", "huge", None], name="size")
    reading = read_column(broken, size.kind, featurizer.encoders["size"])
    assert reading.unreadable.tolist() == [False, True, False]
    assert reading.missing.tolist() == [False, True, True]
