"""Input of every kind: lines 17 to 23 of the list of behaviours."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tabular_automl import FitConfig, Predictor
from tabular_automl.core.errors import DataError, LabelError
from tabular_automl.core.events import Note
from tabular_automl.data.schema import Kind

LINEAR = FitConfig(families=("linear",), max_specs=1, n_folds=2, n_layers=1, on_error="raise")
N_ROWS = 60
SIGNAL = np.random.default_rng(0).normal(size=N_ROWS)
WHOLE = (10 * SIGNAL).round().astype(int)
WORDS = np.where(SIGNAL > 0, "above", "below")
DAYS = pd.Series(pd.Timestamp("2020-02-01") + pd.to_timedelta(WHOLE, "D"))


def fit(tmp_path, table, label="y", **arguments):
    config = arguments.pop("config", LINEAR)
    predictor = Predictor(label, path=tmp_path / "p", verbosity=0, **arguments)
    return predictor.fit(table, config=config)


def beside_label(column):
    return pd.DataFrame({"x": pd.Series(column).array, "y": WORDS})


def kind_of(predictor, name="x"):
    (column,) = [column for column in predictor.schema if column.name == name]
    return column.kind


def with_gaps(column):
    column = pd.Series(column).copy()
    column.iloc[::7] = None
    return column


DTYPES = {
    "int8": (pd.Series(WHOLE, dtype="int8"), "numeric"),
    "float16": (pd.Series(SIGNAL, dtype="float16"), "numeric"),
    "Int64 with NA": (with_gaps(pd.Series(WHOLE, dtype="Int64")), "numeric"),
    "Float32 with NA": (with_gaps(pd.Series(SIGNAL, dtype="Float32")), "numeric"),
    "arrow integers": (with_gaps(pd.Series(WHOLE, dtype="int64[pyarrow]")), "numeric"),
    "arrow doubles": (pd.Series(SIGNAL, dtype="double[pyarrow]"), "numeric"),
    "Decimal": (pd.Series([decimal.Decimal(int(v)) / 4 for v in WHOLE]), "numeric"),
    "sparse": (pd.Series(pd.arrays.SparseArray(np.maximum(WHOLE, 0))), "numeric"),
    "timedelta": (with_gaps(pd.Series(pd.to_timedelta(WHOLE, "h"))), "numeric"),
    "bool": (pd.Series(SIGNAL > 0), "category"),
    "boolean with NA": (with_gaps(pd.Series(SIGNAL > 0, dtype="boolean")), "category"),
    "booleans as objects": (with_gaps(pd.Series(SIGNAL > 0, dtype=object)), "category"),
    "str": (with_gaps(pd.Series(WORDS, dtype="str")), "category"),
    "python strings": (with_gaps(pd.Series(WORDS, dtype=pd.StringDtype("python"))), "category"),
    "arrow strings": (with_gaps(pd.Series(WORDS, dtype=pd.ArrowDtype(pa.string()))), "category"),
    "strings as objects": (with_gaps(pd.Series(WORDS, dtype=object)), "category"),
    "category": (with_gaps(pd.Series(WORDS, dtype="category")), "category"),
    "category of numbers": (pd.Series(WHOLE, dtype="category"), "category"),
    "intervals": (pd.Series(pd.cut(SIGNAL, 4)), "category"),
    "datetime64[s]": (DAYS.astype("datetime64[s]"), "datetime"),
    "with time zone": (with_gaps(DAYS.dt.tz_localize("Europe/Zurich")), "datetime"),
    "arrow timestamps": (DAYS.astype(pd.ArrowDtype(pa.timestamp("us"))), "datetime"),
    "arrow dates": (pd.Series(DAYS.dt.date, dtype=pd.ArrowDtype(pa.date32())), "datetime"),
    "Python dates": (pd.Series(DAYS.dt.date, dtype=object), "datetime"),
    "period": (with_gaps(DAYS.dt.to_period("D")), "datetime"),
}


@pytest.mark.parametrize("name", DTYPES)
def test_17_pandas_columns_of_every_dtype_are_read(tmp_path, name):
    column, kind = DTYPES[name]
    table = beside_label(column)
    predictor = fit(tmp_path, table)
    assert kind_of(predictor) == kind
    assert (predictor.predict(table) == WORDS).mean() > 0.8
    loaded = Predictor.load(predictor.path, verbosity=0)
    pd.testing.assert_frame_equal(loaded.predict_proba(table), predictor.predict_proba(table))


FRAME = pl.DataFrame(
    {
        "number": SIGNAL,
        "whole": pl.Series(WHOLE, dtype=pl.Int16),
        "wide": pl.Series(WHOLE.tolist(), dtype=pl.Int128),
        "gaps": [None if row % 5 == 0 else int(v) for row, v in enumerate(WHOLE)],
        "flag": [None if row % 5 == 0 else bool(v > 0) for row, v in enumerate(WHOLE)],
        "word": pl.Series(np.roll(WORDS, 1), dtype=pl.Categorical),
        "level": pl.Series(np.roll(WORDS, 2), dtype=pl.Enum(["below", "above"])),
        "day": DAYS.dt.date.tolist(),
        "moment": pl.Series(DAYS.tolist()).dt.replace_time_zone("Europe/Zurich"),
        "price": [decimal.Decimal(int(v)) / 4 for v in np.roll(WHOLE, 3)],
        "span": [datetime.timedelta(hours=int(v)) for v in np.roll(WHOLE, 4)],
        "nothing": [None] * N_ROWS,
        "y": WORDS,
    }
)
KINDS = {
    "number": "numeric",
    "whole": "numeric",
    "flag": "category",
    "word": "category",
    "level": "category",
    "day": "datetime",
    "price": "numeric",
    "span": "numeric",
    "nothing": "ignored",
}


@pytest.mark.parametrize(
    "convert",
    [
        lambda frame: frame,
        lambda frame: frame.lazy(),
        lambda frame: frame.drop("wide").to_arrow(),
        lambda frame: frame.drop("wide").to_arrow().to_batches()[0],
        lambda frame: frame.drop("wide").to_arrow().to_reader(),
    ],
    ids=["polars", "lazy", "arrow table", "record batch", "batch reader"],
)
def test_17_polars_and_arrow_tables_fit_predict_and_evaluate(tmp_path, convert):
    predictor = fit(tmp_path, convert(FRAME))
    assert {name: kind_of(predictor, name).value for name in KINDS} == KINDS
    predicted = predictor.predict(convert(FRAME))
    assert isinstance(predicted, pd.Series)
    assert (predicted == WORDS).mean() > 0.8
    assert predictor.evaluate(convert(FRAME))["accuracy"] == (predicted == WORDS).mean()


def test_17_csv_and_parquet_files_predict_as_the_table_does(tmp_path):
    table = FRAME.drop("wide", "span", "moment").to_pandas()
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    predictor = fit(tmp_path, tmp_path / "t.csv")
    expected = predictor.predict_proba(table)
    for name in ("t.csv", "t.parquet"):
        pd.testing.assert_frame_equal(predictor.predict_proba(tmp_path / name), expected)


def test_17_files_are_read_by_what_training_held(tmp_path):
    price = 5_000 + 1_500 * SIGNAL
    table = pd.DataFrame(
        {
            "price": [f"{v:,.1f}".translate(str.maketrans(",.", ".,")) for v in price],
            "code": np.where(SIGNAL > 0.5, "007", np.where(SIGNAL > -0.5, "7", "A")),
            "size": WHOLE,
            "y": np.where(SIGNAL > 0, "01", "1"),
        }
    )
    predictor = fit(tmp_path, table, config=FitConfig(families=("lightgbm",), max_specs=1))
    new = pd.DataFrame({"price": ["1.000", "9.000"], "code": "007", "size": [0, 1], "y": "01"})
    new.to_csv(tmp_path / "new.csv", index=False)
    pd.testing.assert_series_equal(predictor.predict(tmp_path / "new.csv"), predictor.predict(new))
    pd.testing.assert_frame_equal(
        predictor.predict_proba(tmp_path / "new.csv"), predictor.predict_proba(new)
    )
    assert predictor.evaluate(tmp_path / "new.csv") == predictor.evaluate(new)
    pd.testing.assert_frame_equal(
        predictor.leaderboard(tmp_path / "new.csv"), predictor.leaderboard(new)
    )
    assert str(predictor.validate(tmp_path / "new.csv")) == str(predictor.validate(new))
    predictor.refit(tmp_path / "new.csv")


def test_17_a_file_like_that_of_training_departs_in_no_dtype(tmp_path):
    table = pd.DataFrame({"zip": WHOLE % 9, "garden": SIGNAL > 0.3, "word": WORDS, "y": WORDS})
    table.to_csv(tmp_path / "t.csv", index=False)
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
    predictor.fit(tmp_path / "t.csv", config=LINEAR, columns={"zip": "category"})
    assert predictor.validate(tmp_path / "t.csv").findings == ()


@pytest.mark.parametrize("dtype", [">f8", ">i4"])
def test_17_numbers_of_foreign_byte_order_are_features_and_labels(tmp_path, dtype):
    foreign = (10 * SIGNAL).astype(dtype)
    table = pd.DataFrame({"x": foreign, "y": foreign})
    predictor = fit(tmp_path, table, problem_type="regression")
    native = table.astype(foreign.dtype.newbyteorder("="))
    pd.testing.assert_series_equal(predictor.predict(table), predictor.predict(native))


ODD_NAMES = [
    0,
    1.5,
    True,
    "",
    " ",
    float("nan"),
    "日本 ü 🎉",
    '{"a": [1,"b"],:}',
    "a\nb\t<x>",
    ("a", 1),
    pd.Timestamp("2020-01-01"),
    datetime.date(2020, 1, 2),
    *("weight", "group", "time", "index", "row", "fold", "label", "bag0", "0:missing"),
]


@pytest.mark.parametrize("family", ["linear", "lightgbm"])
def test_18_columns_of_any_name_are_learnt_from_and_saved(tmp_path, family):
    rng = np.random.default_rng(1)
    names = pd.Index([*ODD_NAMES, "y"], tupleize_cols=False, dtype=object)
    table = pd.DataFrame(rng.normal(size=(N_ROWS, len(names))), columns=names)
    table = table.mask(rng.random(table.shape) < 0.1)
    table["y"] = WORDS
    config = FitConfig(families=(family,), max_specs=1, n_folds=2, n_layers=1, on_error="raise")
    predictor = fit(tmp_path, table, config=config)
    assert len(predictor.schema.used) == len(ODD_NAMES)
    loaded = Predictor.load(predictor.path, verbosity=0)
    reordered = table[table.columns[::-1]]
    pd.testing.assert_frame_equal(loaded.predict_proba(reordered), predictor.predict_proba(table))


@pytest.mark.parametrize("label", [3, "", ("a", "b"), datetime.date(2020, 1, 1), float("nan")])
def test_18_a_label_of_any_name(tmp_path, label):
    table = pd.DataFrame([SIGNAL, WORDS]).T
    table.columns = pd.Index(["x", label], tupleize_cols=False, dtype=object)
    predictor = fit(tmp_path, table.astype({"x": float}), label)
    loaded = Predictor.load(predictor.path, verbosity=0)
    assert loaded.evaluate(table)["accuracy"] > 0.9


def test_18_duplicate_names_raise_in_fit_and_predict(tmp_path):
    table = beside_label(SIGNAL).assign(z=1.0)
    twice = table.set_axis(["x", "y", "x"], axis=1)
    with pytest.raises(DataError, match="more than one column named 'x'"):
        fit(tmp_path, twice)
    with pytest.raises(DataError, match="more than one column named 'x'"):
        fit(tmp_path, table).predict(twice)


VALUES = {
    "digit groups": ([f"{1000 * v + 20_000:,}" for v in WHOLE], "numeric"),
    "spaces": ([f" {v} " for v in WHOLE], "numeric"),
    "currency": ([f"$ {v + 50}.50" for v in WHOLE], "numeric"),
    "decimal comma": ([f"{v + 50},5" for v in WHOLE], "numeric"),
    "gaps in words": ([v if v % 6 else "n/a" for v in WHOLE], "numeric"),
    "booleans as text": (np.where(SIGNAL > 0, "True", "False"), "category"),
    "yes and no": (np.where(SIGNAL > 0, "Y", "N"), "category"),
    "iso dates": (DAYS.dt.strftime("%Y-%m-%d"), "datetime"),
    "dotted dates": (DAYS.dt.strftime("%d.%m.%Y"), "datetime"),
    "American dates": (DAYS.dt.strftime("%m/%d/%Y"), "datetime"),
    "dates as integers": (DAYS.dt.strftime("%Y%m%d").astype(int), "datetime"),
    "mixed": ([str(v) if v % 2 else int(v) for v in WHOLE], "numeric"),
    "numbers and words": ([str(v) if v > 0 else "low" for v in WHOLE], "category"),
    "infinities": (np.where(np.arange(N_ROWS) % 9 == 0, np.inf * SIGNAL, SIGNAL), "numeric"),
    "huge": (1e300 * SIGNAL, "numeric"),
    "tiny": (1e-300 * SIGNAL, "numeric"),
    "far from zero": (1e12 + SIGNAL, "numeric"),
    "largest floats": (np.where(SIGNAL > 0, 1.7e308, -1.7e308), "numeric"),
    "lists": ([[int(v > 0)] for v in WHOLE], "category"),
}


@pytest.mark.parametrize("name", VALUES)
def test_19_odd_values_are_read_for_what_they_say(tmp_path, name):
    values, kind = VALUES[name]
    table = beside_label(pd.Series(list(values), dtype=None if kind == "numeric" else object))
    predictor = fit(tmp_path, table)
    assert kind_of(predictor) == kind
    assert (predictor.predict(table) == WORDS).mean() > 0.8


def test_19_constant_repeated_and_identifying_columns_are_left_out_and_said(tmp_path):
    table = beside_label(SIGNAL).assign(
        same=SIGNAL, one=1, nothing=None, id=[f"u-{row:06d}" for row in range(N_ROWS)]
    )
    predictor = fit(tmp_path, table)
    assert [column.name for column in predictor.schema.used] == ["x"]
    assert all(column.reason for column in predictor.schema)
    assert kind_of(predictor, "id") is Kind.IDENTIFIER


@pytest.mark.parametrize("y", [["a", "b"], [0.1, 0.2], ["a", "b", "c"]])
def test_20_a_row_for_each_class_is_enough(tmp_path, y):
    table = pd.DataFrame({"x": np.arange(len(y)), "y": y})
    assert fit(tmp_path, table).predict(table).notna().all()


def test_20_one_class_only_raises(tmp_path):
    with pytest.raises(LabelError, match="at least 2 different values, got only 'a'"):
        fit(tmp_path, beside_label(SIGNAL).assign(y="a"))


def test_20_hundreds_of_classes(tmp_path):
    y = np.arange(1530) % 510
    table = pd.DataFrame({"x": y + np.random.default_rng(0).normal(0, 0.05, 1530), "y": y})
    table["y"] = "class " + table["y"].astype(str)
    config = FitConfig(families=("neighbors",), max_specs=1, n_folds=2, n_layers=1)
    predictor = fit(tmp_path, table, config=config)
    assert predictor.predict_proba(table).shape == (1530, 510)
    assert (predictor.predict(table) == table["y"]).mean() > 0.5


def test_20_more_columns_than_rows(tmp_path):
    block = np.random.default_rng(0).normal(size=(40, 300))
    table = pd.DataFrame(block).add_prefix("x").assign(y=np.where(block[:, 0] > 0, "a", "b"))
    assert np.isfinite(fit(tmp_path, table).predict_proba(table)).all(axis=None)


@pytest.mark.parametrize("y", [list("ab") * 5, np.arange(10) / 7])
def test_20_ten_rows(tmp_path, y):
    table = pd.DataFrame({"x": np.arange(10.0), "z": list("pq") * 5, "y": y})
    assert fit(tmp_path, table).predict(table).notna().all()


@pytest.mark.parametrize(
    "others", [{}, {"a": 1}, {"a": None}, {"a": [f"id-{i}" for i in range(100)]}]
)
def test_20_without_a_usable_feature_the_base_rate_is_predicted_and_said(tmp_path, others):
    notes = []
    table = pd.DataFrame({"y": list("aaab") * 25}).assign(**others)
    predictor = Predictor("y", path=tmp_path / "p", reporter=notes.append).fit(table, config=LINEAR)
    np.testing.assert_allclose(predictor.predict_proba(table)["b"], 0.25, atol=0.03)
    assert any("base rate" in note.text for note in notes if isinstance(note, Note))


def test_20_severe_imbalance(tmp_path):
    y = np.where(np.arange(1500) < 3, "rare", "usual")
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=1500), "y": y})
    probabilities = fit(tmp_path, table).predict_proba(table)
    assert 0 < probabilities["rare"].mean() < 0.05


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_20_skewed_and_extreme_targets_are_predicted_within_their_range(tmp_path, scale):
    rng = np.random.default_rng(0)
    y = scale * np.exp(3 * rng.normal(size=200)) / 1e5
    table = pd.DataFrame({"x": np.log(y / scale), "z": rng.normal(size=200), "y": y})
    predictor = fit(tmp_path, table)
    predicted = predictor.predict(table)
    assert predicted.between(0, 1.05 * y.max()).all()
    assert np.corrcoef(predicted / scale, y / scale)[0, 1] > 0.2
    assert predictor.evaluate(table)["r2"] > 0


def test_20_rows_without_a_label_are_dropped_and_their_number_is_said(tmp_path):
    notes = []
    table = beside_label(SIGNAL)
    table.loc[:4, "y"] = None
    Predictor("y", path=tmp_path / "p", reporter=notes.append).fit(table, config=LINEAR)
    texts = [note.text for note in notes if isinstance(note, Note)]
    assert any("5 of 60 rows have no label and were dropped" in text for text in texts)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_21_a_missing_or_infinite_label_of_an_evaluation_raises_with_its_row(tmp_path, bad):
    table = pd.DataFrame({"x": SIGNAL, "y": SIGNAL}, index=[f"row {i}" for i in range(N_ROWS)])
    predictor = fit(tmp_path, table)
    table.loc["row 7", "y"] = bad
    with pytest.raises(LabelError, match="row 7"):
        predictor.evaluate(table)


def test_22_sample_weights_decide_between_rows_that_disagree(tmp_path):
    table = pd.DataFrame({"x": [0.0, 1.0] * 60, "y": [0.0] * 60 + [10.0] * 60})
    table["y"] += np.arange(120) / 1000
    table["w"] = [9.0] * 60 + [1.0] * 60
    weighted = Predictor("y", path=tmp_path / "w", verbosity=0).fit(
        table, columns={"w": "weight"}, config=LINEAR
    )
    plain = fit(tmp_path, table.drop(columns="w"))
    assert weighted.predict(table).mean() < 3 < plain.predict(table).mean()


def test_22_a_negative_weight_is_named_with_its_row(tmp_path):
    table = pd.DataFrame({"x": SIGNAL, "y": WORDS, "w": 1.0}, index=np.arange(N_ROWS) + 100)
    table.loc[105, "w"] = -1.0
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0)
    with pytest.raises(DataError, match=r"got -1.0 in row 105;"):
        predictor.fit(table, config=LINEAR, columns={"w": "weight"})


def test_23_rows_of_a_group_are_validated_together(tmp_path):
    """A feature that gives each group's label away is worth nothing on other groups."""
    group = np.arange(120) // 4
    label = np.random.default_rng(3).normal(size=30)[group]
    table = pd.DataFrame({"x": group.astype(float), "g": group, "y": label})
    config = FitConfig(families=("neighbors",), max_specs=1, n_folds=3, n_layers=1)
    leaky = fit(tmp_path / "a", table.drop(columns="g"), config=config)
    honest = Predictor("y", path=tmp_path / "b", verbosity=0).fit(
        table, columns={"g": "group"}, config=config
    )
    errors = [-p.leaderboard()["score"].max() for p in (leaky, honest)]
    assert errors[0] < 0.5 * errors[1]


def test_23_time_ordered_validation_looks_back_only(tmp_path):
    table = pd.DataFrame({"x": SIGNAL, "day": DAYS.sort_values().to_numpy(), "y": SIGNAL + 1})
    predictor = Predictor("y", path=tmp_path / "p", verbosity=0).fit(
        table, columns={"day": "time"}, config=LINEAR
    )
    validated = predictor.oof_predictions().index
    assert validated.min() > 0
    assert validated.max() == N_ROWS - 1


def test_17_a_class_called_none_in_a_csv_file_is_a_class(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=90).round(3)
    label = np.select([x < -0.4, x < 0.4], ["Apnea", "None"], "Insomnia")
    path = tmp_path / "t.csv"
    pd.DataFrame({"x": x, "y": label}).to_csv(path, index=False)
    notes = []
    predictor = Predictor("y", path=tmp_path / "p", reporter=notes.append)
    predictor.fit(path, config=LINEAR)
    assert any("'None' is taken for a class" in n.text for n in notes if isinstance(n, Note))
    assert predictor.problem_type == "multiclass"
    loaded = Predictor.load(tmp_path / "p", verbosity=0)
    assert "None" in set(loaded.predict(path))
    expected = predictor.evaluate(pd.DataFrame({"x": x, "y": label}))
    assert loaded.evaluate(path) == pytest.approx(expected)


def test_17_words_that_pandas_takes_for_missing_labels_are_asked_about(tmp_path):
    notes = []
    table = pd.DataFrame({"x": np.arange(60.0), "y": ["a", "b", None] * 20})
    predictor = Predictor("y", path=tmp_path / "p", reporter=notes.append)
    predictor.fit(table, config=LINEAR)
    texts = [note.text for note in notes if isinstance(note, Note)]
    assert any("20 of 60 rows" in text and "such as 'NA'" in text for text in texts)
