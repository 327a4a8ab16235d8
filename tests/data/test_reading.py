import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabular_automl.core.errors import DataError, InvalidOptionError, PathError
from tabular_automl.data.batches import read_batches
from tabular_automl.data.reading import read_table


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"n": [1, 2, 3], "x": [0.5, np.nan, 2.0], "s": ["none", "unknown", "ä"]})


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_a_pandas_frame_comes_back_as_it_is(frame):
    assert read_table(frame) is frame


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i4", ">u2"])
def test_numbers_of_foreign_byte_order_become_native_and_the_callers_stay(frame, dtype):
    frame["n"] = frame["n"].astype(dtype)
    table = read_table(frame)
    assert table["n"].dtype == np.dtype(dtype).newbyteorder("=")
    assert table["n"].tolist() == [1, 2, 3]
    assert frame["n"].dtype == np.dtype(dtype)
    assert np.shares_memory(table["x"].to_numpy(), frame["x"].to_numpy())


@pytest.mark.parametrize("text", ["code,n\n007,1\n", "code,n\n007,1,\n"])
@pytest.mark.parametrize("as_folder", [False, True])
def test_columns_as_text_keep_what_is_written(tmp_path, text, as_folder):
    path = write(tmp_path / "t.csv", text)
    table = read_table(tmp_path if as_folder else path, as_text=("code", "absent"))
    assert table.to_dict("list") == {"code": ["007"], "n": [1]}


@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zip"])
def test_csv_files_of_each_compression_are_read(tmp_path, frame, suffix):
    path = tmp_path / f"table{suffix}"
    frame.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_table(path), frame)
    pd.testing.assert_frame_equal(read_table(str(path)), frame)


@pytest.mark.parametrize("suffix", [".parquet", ".pq"])
def test_parquet_files_are_read(tmp_path, frame, suffix):
    frame.to_parquet(tmp_path / f"table{suffix}")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"table{suffix}"), frame)


def test_parquet_keeps_nullable_category_and_index(tmp_path):
    frame = pd.DataFrame(
        {"i": pd.array([1, None], dtype="Int64"), "c": pd.Categorical(["b", "a"], ["b", "a"])},
        index=pd.Index([7, 9], name="row"),
    )
    frame.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.parquet"), frame)


def test_parquet_below_a_folder_with_an_equals_sign_gets_no_extra_column(tmp_path, frame):
    (tmp_path / "year=2020").mkdir()
    frame.to_parquet(tmp_path / "year=2020" / "t.parquet")
    assert list(read_table(tmp_path / "year=2020" / "t.parquet")) == ["n", "x", "s"]


def test_tsv_files_are_read(tmp_path, frame):
    frame.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.tsv"), frame)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_in_a_csv_file_are_noticed(tmp_path, frame, separator):
    frame.to_csv(tmp_path / "t.csv", sep=separator, index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), frame)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_text_of_common_encodings_is_read(tmp_path, encoding):
    path = write(tmp_path / "t.csv", "naïve,b\nä,1\n", encoding)
    assert read_table(path).to_dict("list") == {"naïve": ["ä"], "b": [1]}


def test_a_latin_1_character_far_into_the_file_is_read(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n" + "x,1\n" * 200_000 + "é,1\n", "latin-1")
    assert read_table(path)["a"].iloc[-1] == "é"


def test_what_windows_writes_is_read(tmp_path):
    path = write(tmp_path / "t.csv", "Preis (€),b\n„1200 €“,1\n", "cp1252")
    assert read_table(path).to_dict("list") == {"Preis (€)": ["„1200 €“"], "b": [1]}
    path = write(tmp_path / "t.csv", "a,b\n\x81ä,1\n", "latin-1")  # no character of Windows'
    assert read_table(path)["a"].tolist() == ["\x81ä"]


def zipped(content):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("t.csv", content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("ending", "pack"),
    [
        ("csv", bytes),
        ("csv.gz", gzip.compress),
        ("CSV.GZ", gzip.compress),
        ("csv.bz2", bz2.compress),
        ("csv.xz", lzma.compress),
        ("csv.zip", zipped),
    ],
)
def test_one_damaged_byte_leaves_the_other_texts_as_they_are(tmp_path, ending, pack):
    path, text = tmp_path / f"t.{ending}", "Ort,b\n" + "Zürich,1\n" * 20
    path.write_bytes(pack(text.encode() + b"Gen\xe8ve,2\n"))
    assert read_table(path)["Ort"].tolist() == ["Zürich"] * 20 + ["Gen\ufffdve"]
    batches = pd.concat(read_batches(path, n_rows=7), ignore_index=True)
    pd.testing.assert_frame_equal(batches, read_table(path))


def test_an_unnamed_first_column_keeps_pandas_name(tmp_path):
    path = write(tmp_path / "t.csv", ",a,\n0,1,2\n1,3,4\n")
    assert list(read_table(path)) == ["Unnamed: 0", "a", "Unnamed: 2"]


def test_separators_at_the_end_of_rows_do_not_shift_columns(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1,2,\n3,4,\n")
    assert read_table(path).to_dict("list") == {"a": [1, 3], "b": [2, 4]}


def test_row_names_as_r_writes_them_become_the_index(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "a,b\nr1,1,2\nr2,3,4\n"))
    assert table.to_dict("list") == {"a": [1, 3], "b": [2, 4]}
    assert list(table.index) == ["r1", "r2"]


@pytest.mark.parametrize("rows", ["r1,5,3,NA\n", "r1,5,3,NA\nr2,6,4,NA\n"])
def test_row_names_stay_names_where_the_last_column_is_missing(tmp_path, rows):
    path = write(tmp_path / "t.csv", "a,b,c\n" + rows)
    for table in (read_table(path), next(read_batches(path))):
        assert table["a"].iloc[0] == 5
        assert table["b"].iloc[0] == 3
        assert table["c"].isna().all()
        assert table.index[0] == "r1"


@pytest.mark.parametrize("read", [read_table, lambda path: next(read_batches(path))])
@pytest.mark.parametrize("row", ["1,2,3,4", "1,2,3,"])
def test_rows_with_two_fields_too_many_are_refused(tmp_path, row, read):
    path = write(tmp_path / "t.csv", f"a,b\n{row}\n")
    with pytest.raises(PathError, match="2 fields more than its header of 2"):
        read(path)


@pytest.mark.parametrize("read", [read_table, lambda path: next(read_batches(path))])
def test_a_field_too_many_that_names_no_rows_is_refused(tmp_path, read):
    path = write(tmp_path / "t.csv", "rooms,price\n3,1,5\n3,2,5\n4,1,9\n")
    with pytest.raises(
        PathError, match=r"one field more than its header of 2, .*: 3 is there twice"
    ):
        read(path)


@pytest.mark.parametrize("read", [read_table, lambda path: next(read_batches(path))])
def test_a_name_that_only_begins_like_a_home_folder_is_read(tmp_path, monkeypatch, read):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "~old.csv", "a,b\n1,2\n")
    assert read("~old.csv")["b"].tolist() == [2]


def test_a_ragged_row_is_named(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1,2\n1,2,3\n")
    with pytest.raises(PathError, match=r"t\.csv.*Expected 2 fields in line 3, saw 3") as caught:
        read_table(path)
    assert isinstance(caught.value.__cause__, pd.errors.ParserError)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_duplicate_names_in_a_file_are_listed(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table([pa.array([1])] * 4, names=["a", "b", "a", "b"]), path)
    else:
        text = b"a,b,a,b\n1,2,3,4\n"
        path.write_bytes(gzip.compress(text) if suffix == ".csv.gz" else text)
    with pytest.raises(DataError, match="more than one column named 'a', 'b'"):
        read_table(path)


def test_duplicate_names_of_a_frame_are_listed():
    with pytest.raises(DataError, match="more than one column named 1;"):
        read_table(pd.DataFrame([[1, 2, 3]], columns=[1, 1, "1"]))


def test_a_folder_of_files_is_joined_by_name(tmp_path, frame):
    frame.iloc[:2].to_csv(tmp_path / "part-0.csv", index=False)
    frame[["s", "n", "x"]].iloc[2:].to_csv(tmp_path / "part-1.csv.gz", index=False)
    for mark in ("_SUCCESS", ".hidden"):
        (tmp_path / mark).touch()
    pd.testing.assert_frame_equal(read_table(tmp_path), frame)


@pytest.mark.parametrize(
    ("first", "then"),
    [("007", "A7"), ("True", "yes"), ("1", "True"), ("1e3", "x"), ("1.0", "2"), ("x", "y")],
)
def test_values_of_a_folder_are_read_as_those_of_one_file(tmp_path, first, then):
    (tmp_path / "parts").mkdir()
    rows = [f"{first},1\n,2\n", f"{then},3\n", ",4\n"]
    for number, text in enumerate(rows):
        write(tmp_path / "parts" / f"{number}.csv", f"code,n\n{text}")
    whole = write(tmp_path / "whole.csv", "code,n\n" + "".join(rows))
    pd.testing.assert_frame_equal(read_table(tmp_path / "parts"), read_table(whole))


def test_a_folder_of_parquet_files_is_joined(tmp_path, frame):
    frame.iloc[:1].to_parquet(tmp_path / "a.parquet")
    frame.iloc[1:].to_parquet(tmp_path / "b.pq")
    pd.testing.assert_frame_equal(read_table(tmp_path), frame)


def test_folders_that_are_no_table_are_refused(tmp_path, frame):
    with pytest.raises(PathError, match="must hold CSV or Parquet files, got none"):
        read_table(tmp_path)
    frame.to_csv(tmp_path / "a.csv")
    frame.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(PathError, match=r"files of one kind .* got 'a\.csv', 'b\.parquet'"):
        read_table(tmp_path)
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "more").mkdir()
    with pytest.raises(PathError, match=r"got 'a\.csv', 'more'"):
        read_table(tmp_path)


def test_files_of_a_folder_must_have_the_same_columns(tmp_path):
    write(tmp_path / "a.csv", "x,y\n1,2\n")
    write(tmp_path / "b.csv", "x,z\n1,2\n")
    with pytest.raises(DataError, match=r"got y, z in only one of 'a\.csv' and 'b\.csv'"):
        read_table(tmp_path)


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(PathError, match=r"must exist, got '.*nowhere\.csv'"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(PathError, match="must exist"):
        read_table("no\0where.csv")


def test_a_text_that_is_too_long_for_a_path_is_refused_as_such():
    with pytest.raises(PathError, match="not the text of a table") as caught:
        read_table("size,price\n" + "1,2\n" * 1_250)
    assert isinstance(caught.value.__cause__, OSError)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("method", ["stat", "iterdir"])
def test_what_the_system_forbids_to_look_at_is_named(tmp_path, monkeypatch, method):
    def forbidden(path, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, method, forbidden)
    with pytest.raises(PathError, match=r"Permission denied.*that you may read it"):
        read_table(tmp_path)


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.gz", "t.parquet.gz", ".csv"])
def test_unknown_suffixes_name_the_known_ones(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(PathError, match=r"must end in \.csv, \.tsv, \.parquet, \.pq.* got"):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.parquet", b"PAR1 this is none"),
        ("t.parquet", b""),
        ("t.csv.gz", b"no gzip"),
        ("t.csv.gz", gzip.compress(os.urandom(10_000))[:5000]),
        ("t.csv.zip", b"no zip"),
        ("t.csv.xz", b"no xz"),
        ("t.csv.bz2", b"no bz2"),
    ],
)
def test_damaged_files_are_named_with_their_cause(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PathError, match=rf"'.*{name}' could not be read as a table") as caught:
        read_table(tmp_path / name)
    assert caught.value.__cause__ is not None


def test_damage_inside_compressed_data_is_named(tmp_path):
    content = bytearray(gzip.compress(b"a,b\n" + b"1,2\n" * 5000))
    content[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "t.csv.gz").write_bytes(content)
    with pytest.raises(PathError, match="could not be read") as caught:
        read_table(tmp_path / "t.csv.gz")
    assert isinstance(caught.value.__cause__, (zlib.error, OSError, EOFError))


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_has_no_columns(tmp_path, content):
    with pytest.raises(DataError, match=r"t\.csv' must have columns, got an empty file"):
        read_table(write(tmp_path / "t.csv", content))


def test_no_rows_are_fine_for_predictions_only(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n")
    assert read_table(path, purpose="predict").shape == (0, 2)
    for purpose in ("train", "evaluate"):
        with pytest.raises(DataError, match="must have rows, got only the column names"):
            read_table(path, purpose=purpose)


def test_no_columns_are_never_fine():
    with pytest.raises(DataError, match="must have columns, got none"):
        read_table(pd.DataFrame(index=[0, 1]), purpose="predict")


def test_unknown_purposes_are_refused(frame):
    with pytest.raises(InvalidOptionError, match="Did you mean 'train'"):
        read_table(frame, purpose="trian")


ARROW = pa.table(
    {
        "i": pa.array([1, 2], pa.int32()),
        "f": pa.array([0.5, None]),
        "s": pa.array(["none", None]),
        "b": pa.array([True, False]),
        "d": pa.array([18262, None], pa.date32()),
        "t": pa.array([0, 1], pa.timestamp("ms")),
        "m": pa.array(["1.50", None]).cast(pa.decimal128(5, 2)),
        "c": pa.array(["u", "v"]).dictionary_encode(),
    }
)


@pytest.mark.parametrize("via", ["arrow", "polars", "lazy", "narwhals"])
def test_frames_of_other_libraries_keep_sensible_dtypes(via):
    source = {
        "arrow": lambda: ARROW,
        "polars": lambda: pl.from_arrow(ARROW),
        "lazy": lambda: pl.from_arrow(ARROW).lazy(),
        "narwhals": lambda: nw.from_native(pl.from_arrow(ARROW)),
    }[via]()
    table = read_table(source)
    assert list(table) == ARROW.column_names
    kinds = "".join(dtype.kind for dtype in table.dtypes)
    assert kinds == "ifObMMfO"
    assert table["i"].dtype == np.int32
    assert table["d"].iloc[0] == pd.Timestamp("2020-01-01")
    assert table["m"].iloc[0] == 1.5
    assert isinstance(table["c"].dtype, pd.CategoricalDtype)
    assert table["s"].iloc[0] == "none"
    assert pd.isna(table["s"].iloc[1])


def test_parquet_dates_are_dates(tmp_path):
    pq.write_table(ARROW, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["d"].dtype.kind == "M"


def test_duplicate_names_of_an_arrow_table_are_listed():
    with pytest.raises(DataError, match="more than one column named 'a'"):
        read_table(pa.table([pa.array([1])] * 2, names=["a", "a"]))


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (pd.Series([1]), r"Series; pass a table: series\.to_frame"),
        (pl.Series([1]), r"Series; pass a table: series\.to_frame"),
        (np.zeros((2, 2)), r"numpy\.ndarray; pass pandas\.DataFrame\(array, columns"),
        ({"a": [1]}, r"dict; pass pandas\.DataFrame\(dict\)"),
        ([1, 2], r"list; pass pandas\.DataFrame\(list\)"),
        (None, "NoneType; convert it to a pandas DataFrame"),
    ],
)
def test_other_types_are_refused_with_what_to_pass(source, match):
    with pytest.raises(DataError, match=match):
        read_table(source)


def test_narwhals_is_imported_only_for_frames_of_other_libraries():
    code = (
        "import sys, pandas as pd; from tabular_automl.data.reading import read_table;"
        "read_table(pd.DataFrame({'a': [1]})); sys.exit('narwhals' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("end", ["", ","])  # rows that end in a separator have a column more
def test_none_is_a_word_among_the_words_of_a_label_only(tmp_path, end):
    lines = ["kind,size,label", "None,1,None", "a,None,b", "b,3,", "a,4,NA", "a,5,c"]
    (tmp_path / "t.csv").write_text("\n".join([lines[0], *(line + end for line in lines[1:])]))
    table = read_table(tmp_path / "t.csv", label="label")
    assert table["label"].fillna("missing").tolist() == ["None", "b", "missing", "missing", "c"]
    assert table["kind"].isna().tolist() == [True, False, False, False, False]
    assert table["size"].isna().sum() == 1
    assert read_table(tmp_path / "t.csv")["label"].isna().sum() == 3
    assert read_table(tmp_path / "t.csv", label="size")["size"].sum() == 13
    assert read_table(tmp_path / "t.csv", label="absent").shape == (5, 3)


def test_none_among_true_and_false_is_missing(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n1,True\n2,None\n3,False\n")
    assert read_table(tmp_path / "t.csv", label="y")["y"].isna().tolist() == [False, True, False]


def test_none_is_a_word_in_a_folder_with_a_file_for_each_class(tmp_path):
    for name, word in (("a", "None"), ("b", "Apnea"), ("c", "")):
        (tmp_path / f"{name}.csv").write_text(f"x,y\n1,{word}\n2,{word}\n")
    labels = read_table(tmp_path, label="y")["y"].fillna("missing").tolist()
    assert labels == ["None", "None", "Apnea", "Apnea", "missing", "missing"]
    only = tmp_path / "a.csv"
    assert read_table(only, label="y")["y"].isna().all()
    assert read_table(only, label="y", purpose="evaluate")["y"].tolist() == ["None", "None"]


def test_a_label_that_is_no_name_of_a_column_is_left_to_the_fit(tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n1,2\n")
    assert read_table(tmp_path / "t.csv", label=["y"]).shape == (1, 2)


@pytest.mark.parametrize("values", [["73,171", "1,234"], ["2021-01-01", "2021-02-01"], ["5 EUR"]])
def test_none_among_numbers_and_dates_written_out_is_missing(tmp_path, values):
    lines = ["x;y", *(f"{i};{value}" for i, value in enumerate([*values, "None"]))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert read_table(tmp_path / "t.csv", label="y")["y"].isna().tolist()[-1]
