import uuid
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from tabular_automl.core.errors import DataError, InvalidOptionError
from tabular_automl.data.schema import Kind
from tabular_automl.encoders.base import ENCODERS
from tabular_automl.encoders.category import CategoryEncoder
from tabular_automl.encoders.inference import infer_schema
from vision_ext.encoder import ImageEncoder

N = 200
RNG = np.random.default_rng(0)
WORDS = ["red", "green", "blue", "big", "small", "fast", "slow", "old", "new", "round", "flat"]
WORDS += ["hot", "cold"]
FILMS = [f"{first} {second}" for first in WORDS for second in WORDS[1:]]
SENTENCES = [" ".join(RNG.choice(WORDS, 9)) for _ in range(N)]

COLUMNS = {
    "float": (RNG.normal(size=N), "numeric"),
    "integer": (RNG.integers(0, 50, N), "numeric"),
    "few integers": (RNG.integers(0, 3, N), "numeric"),
    "different integers": (RNG.choice(10**6, N, replace=False), "numeric"),
    "rank": (RNG.permutation(N), "numeric"),
    "year": (RNG.integers(1990, 2020, N), "numeric"),
    "amounts": ([f"${i * 37:,}.50" for i in range(N)], "numeric"),
    "measured": (["?", "-", *(str(i / 7) for i in range(N - 2))], "numeric"),
    "total charges": ([" ", *(str(i / 8) for i in range(N - 1))], "numeric"),
    "boolean": (RNG.random(N) < 0.5, "category"),
    "two values": (RNG.choice(["yes", "no"], N), "category"),
    "one value or nothing": (RNG.choice(["yes", None], N), "category"),
    "zones": (RNG.choice([f"zone {i}" for i in range(40)], N), "category"),
    "padded codes": ([f"{i % 12:03d}" for i in range(N)], "category"),
    "age group": (RNG.choice(["18-29", "30-44", "> 60"], N), "category"),
    "mixed": ([1, "a", 2.5, None] * (N // 4), "category"),
    "lists": ([[i % 5, 2] for i in range(N)], "category"),
    "dicts": ([{"a": i % 7} for i in range(N)], "category"),
    "ordered": (pd.Categorical(["lo", "hi"] * (N // 2), ["lo", "hi"], ordered=True), "category"),
    "iso date": (pd.date_range("2020", periods=N).astype(str), "datetime"),
    "us date": (pd.date_range("2020", periods=N).strftime("%m/%d/%Y"), "datetime"),
    "stamp": (pd.date_range("2020", periods=N, tz="Europe/Paris"), "datetime"),
    "yyyymmdd": (pd.date_range("2020", periods=N).strftime("%Y%m%d").astype(int), "datetime"),
    "date objects": (pd.date_range("2021", periods=N).date, "datetime"),
    "time of day": ([f"{i % 24:02d}:{i % 60:02d}" for i in range(N)], "datetime"),
    "review": (SENTENCES, "text"),
    "film": (
        [f"{a} {b}" for a in WORDS for b in WORDS[:-1]] + [f"x {i}" for i in range(N - 156)],
        "text",
    ),
    "constant": (["same"] * N, "ignored"),
    "constant number": ([3.0] * N, "ignored"),
    "empty": ([None] * N, "ignored"),
    "blank": (["", " "] * (N // 2), "ignored"),
    "Unnamed: 0": (np.arange(N), "identifier"),
    "row": (np.arange(5, N + 5)[::-1], "identifier"),
    "userId": (RNG.choice(10**9, N, replace=False), "identifier"),
    "respondent_id": (RNG.choice(10**9, N, replace=False).astype(float), "identifier"),
    "customer": ([f"{i * 7919 % 9973}-VHV{i % 7}" for i in range(N)], "identifier"),
    "guid": ([str(uuid.UUID(int=int(i))) for i in RNG.integers(0, 2**62, N)], "identifier"),
    "text numbers id": ([str(100_000 + i) for i in range(N)], "identifier"),
    "picture": ([f"photos/{i}.jpg" for i in range(N)], "ignored"),  # none of them is there
    "picture bytes": ([b"\x89PNG" + bytes([i % 256, i // 256]) for i in range(N)], "image"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_kind_is_inferred_from_what_the_column_holds(name):
    values, kind = COLUMNS[name]
    (column,) = infer_schema(pd.DataFrame({name: values}))
    assert column.kind.value == kind, column.reason
    assert column.reason
    assert (column.encoder is not None) == column.is_used


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "int32", "float32", "double[pyarrow]"])
def test_numbers_of_any_dtype_are_numeric(dtype):
    values = pd.array([3, 1, 4, 1, 5] * 20, dtype=dtype)
    (column,) = infer_schema(pd.DataFrame({"x": values}))
    assert column.kind is Kind.NUMERIC


@pytest.mark.parametrize("dtype", ["string", "object", "category", "string[pyarrow]"])
def test_words_of_any_dtype_are_categories(dtype):
    values = pd.array(["a", "b", None, "c"] * 20, dtype=dtype)
    (column,) = infer_schema(pd.DataFrame({"x": values}))
    assert column.kind is Kind.CATEGORY


def test_repeated_columns_name_their_twin():
    table = pd.DataFrame({"a": [1, 2, 3, 1], "b": ["x", "y", "z", None]})
    table["c"], table["d"], table["e"] = table["a"].astype(float), table["b"], [1, 2, 3, 2]
    reasons = {column.name: column.reason for column in infer_schema(table)}
    assert "equal to column 'a'" in reasons["c"]
    assert "equal to column 'b'" in reasons["d"]
    assert "equal" not in reasons["e"]


def test_sparse_columns_that_differ_in_one_row_are_no_twins():
    block = np.zeros((1000, 30), dtype=int)
    block[np.arange(30) * 7 + 1, np.arange(30)] = 1
    block[:, 5] = block[:, 4]
    schema = infer_schema(pd.DataFrame(block))
    assert [column.name for column in schema.of_kind(Kind.IGNORED)] == [5]


def test_a_column_named_by_a_missing_value_is_no_twin_of_itself():
    values = np.arange(1000) % 7
    other = values.copy()
    other[1] += 1  # not among the rows that are looked at first
    schema = infer_schema(pd.DataFrame({"a": values, np.nan: other}))
    assert [column.kind for column in schema] == [Kind.NUMERIC, Kind.NUMERIC]


def test_tiny_tables_have_no_identifiers_by_chance():
    schema = infer_schema(pd.DataFrame({"x": range(10), "y": [f"a{i}" for i in range(10)]}))
    assert not schema.of_kind(Kind.IDENTIFIER)


def test_overrides_win_over_every_rule():
    table = pd.DataFrame(
        {"id": range(100), "same": ["1"] * 100, "w": np.ones(100), "x": range(100)}
    )
    overrides = {"id": "numeric", "same": "category", "w": "weight", "x": "ignored"}
    kinds = {c.name: (c.kind.value, c.encoder) for c in infer_schema(table, overrides)}
    assert kinds == {
        "id": ("numeric", "numeric"),
        "same": ("category", "category"),
        "w": ("weight", None),
        "x": ("ignored", None),
    }


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"prise": "numeric"}, "Unknown column 'prise'.*'price'"),
        ({"price": "numerical"}, "'price'.*Unknown kind 'numerical'.*'numeric'"),
        ({"price": 3}, "Unknown kind 3"),
    ],
)
def test_unknown_overrides_raise_with_the_nearest_names(overrides, match):
    with pytest.raises(InvalidOptionError, match=match):
        infer_schema(pd.DataFrame({"price": [1, 2]}), overrides)


@pytest.fixture
def without_vision(monkeypatch):
    """Hide the image plug-in, as where its extra is not installed."""
    monkeypatch.setattr(ImageEncoder, "claims", classmethod(lambda cls, sample: None))
    monkeypatch.setattr("tabular_automl.encoders.inference.is_installed", lambda module: False)


def test_images_without_their_extra_are_ignored_and_the_reason_names_it(without_vision):
    (column,) = infer_schema(pd.DataFrame({"photo": [f"photos/{i}.jpg" for i in range(N)]}))
    assert column.kind.value == "ignored"
    assert "vision" in column.reason


@pytest.mark.parametrize("place", ["https://example.org/", "elsewhere/", ""])
def test_paths_of_images_that_are_not_there_are_ignored_and_the_reason_says_so(place):
    (column,) = infer_schema(pd.DataFrame({"photo": [f"{place}{i}.jpg" for i in range(N)]}))
    assert column.kind is Kind.IGNORED
    assert (
        column.reason == "paths of images, none of which can be opened from the working directory"
    )


def test_one_image_that_is_there_makes_a_column_of_images(tmp_path):
    (tmp_path / "7.jpg").write_bytes(b"")
    (column,) = infer_schema(pd.DataFrame({"photo": [f"{tmp_path}/{i}.jpg" for i in range(N)]}))
    assert column.kind is Kind.IMAGE


@pytest.mark.parametrize("kind", ["numeric", "datetime"])
def test_override_that_cannot_hold_names_column_and_values(kind):
    table = pd.DataFrame({"town": ["Bern", "Genf", None]})
    with pytest.raises(DataError, match=f"'town' must be readable as {kind}.*'Bern', 'Genf'"):
        infer_schema(table, {"town": kind})


@pytest.mark.parametrize("junk_first", [False, True])
def test_blank_cells_are_no_junk_wherever_they_stand(junk_first):
    values = [str(number) for number in range(93)] + [" "] * 6
    values = ["abc", *values] if junk_first else [*values, "abc"]
    (column,) = infer_schema(pd.DataFrame({"x": pd.Series(values, dtype=object)}), {"x": "numeric"})
    assert column.kind is Kind.NUMERIC


def test_two_columns_of_one_name_raise():
    with pytest.raises(DataError, match="unique, got 'a' more than once"):
        infer_schema(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_column_order_does_not_matter():
    table = pd.DataFrame({name: values for name, (values, _) in COLUMNS.items()})
    forward = {c.name: c.kind for c in infer_schema(table)}
    backward = {c.name: c.kind for c in infer_schema(table[table.columns[::-1]])}
    assert {n: k for n, k in forward.items() if n not in ("blank", "empty")} == {
        n: k for n, k in backward.items() if n not in ("blank", "empty")
    }


class PlateEncoder(CategoryEncoder):
    kind: ClassVar[Kind] = Kind.CATEGORY
    priority: ClassVar[int] = 0

    @classmethod
    def claims(cls, sample):
        return "number plates" if str(sample.name) == "plate" else None


def test_plug_in_encoder_comes_before_the_built_in_ones():
    ENCODERS.register("plates", PlateEncoder)
    try:
        table = pd.DataFrame({"plate": [f"ZH{i}" for i in range(100)], "x": ["a", "b"] * 50})
        plate, other = infer_schema(table)
    finally:
        ENCODERS.unregister("plates")
    assert (plate.encoder, plate.reason) == ("plates", "number plates")
    assert other.encoder == "category"


def test_plug_in_that_cannot_be_imported_is_skipped_with_a_warning(monkeypatch):
    monkeypatch.setitem(ENCODERS._targets, "broken", "no_such_module_here:Encoder")
    with pytest.warns(UserWarning, match="'broken' could not be loaded"):
        (column,) = infer_schema(pd.DataFrame({"x": [1.5, 2.5]}))
    assert column.kind is Kind.NUMERIC


class RaisingEncoder(CategoryEncoder):
    priority: ClassVar[int] = 0

    @classmethod
    def claims(cls, sample):
        return {}[str(sample.name)]


@pytest.mark.parametrize("overrides", [{}, {"x": "category"}], ids=["inferred", "given"])
def test_an_encoder_that_fails_to_say_what_it_claims_is_skipped_with_a_warning(overrides):
    ENCODERS.register("raising", RaisingEncoder)
    try:
        with pytest.warns(UserWarning, match="Skipped: .*'raising'.* column 'x'.*KeyError: 'x'"):
            (column,) = infer_schema(pd.DataFrame({"x": ["a", "b"] * 20}), overrides)
    finally:
        ENCODERS.unregister("raising")
    assert column.encoder == "category"


class WithoutKind(CategoryEncoder):
    kind = None


@pytest.mark.parametrize("thing", [dict, CategoryEncoder(), "category", WithoutKind])
def test_what_is_no_encoder_is_skipped_with_a_warning(thing):
    ENCODERS.register("thing", thing)
    try:
        with pytest.warns(UserWarning, match="Skipped: The column encoder 'thing' must be"):
            (column,) = infer_schema(pd.DataFrame({"x": ["a", "b"] * 20}))
    finally:
        ENCODERS.unregister("thing")
    assert column.encoder == "category"


def test_no_rows_and_no_columns_are_fine():
    assert len(infer_schema(pd.DataFrame())) == 0
    (column,) = infer_schema(pd.DataFrame({"x": []}))
    assert column.kind is Kind.IGNORED


@pytest.mark.parametrize("name", ["week", "quarter", "period", "hour"])
def test_a_counter_of_time_is_no_identifier(name):
    time, counter = infer_schema(pd.DataFrame({name: range(1, 151), "n": range(150)}))
    assert time.kind is Kind.NUMERIC
    assert counter.kind is Kind.IDENTIFIER


@pytest.mark.parametrize(
    ("n_times", "n_words", "kind"), [(10, 4, "category"), (4, 4, "text"), (10, 12, "text")]
)
def test_short_texts_that_come_back_among_many_rows_are_categories(n_times, n_words, kind):
    rng = np.random.default_rng(0)
    names = [f"{' '.join(rng.choice(WORDS, n_words - 1))} {number}" for number in range(1_500)]
    table = pd.DataFrame({"name": rng.permutation(np.repeat(names, n_times))})
    assert infer_schema(table).columns[0].kind == kind
