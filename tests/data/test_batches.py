"""Batches of a file are the file, cut."""

import pandas as pd
import pytest

from tabular_automl.core.errors import PathError
from tabular_automl.data.batches import read_batches
from tabular_automl.data.reading import read_table


def joined(path, **options):
    batches = list(read_batches(path, **options))
    assert all(len(batch) <= options["n_rows"] for batch in batches)
    return pd.concat(batches, ignore_index=True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_text_is_read_as_read_table_reads_it(encoding, separator, tmp_path):
    table = pd.DataFrame({"n": range(25), "word": ["plain"] * 20 + ["größer", "é", "x", "y", None]})
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False, sep=separator, encoding=encoding)
    pd.testing.assert_frame_equal(joined(path, n_rows=7), read_table(path))


def test_latin_1_that_begins_late_repeats_and_loses_no_row(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{i},plain\n" for i in range(30_000)]  # more than pandas decodes at once
    rows[5] += "\n"
    rows[-2] = "29998,é\n"
    path.write_text("n,word\n" + "".join(rows), encoding="latin-1")
    assert path.stat().st_size > 300_000
    pd.testing.assert_frame_equal(joined(path, n_rows=1000), read_table(path))


def test_rows_that_end_in_a_separator_are_not_shifted(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i * i},\n" for i in range(9)))
    table = joined(path, n_rows=4)
    assert table["b"].tolist() == [i * i for i in range(9)]


def test_columns_as_text_keep_what_is_written(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("code,n\n" + "01,1\n" * 5 + "x,2\n")
    table = joined(path, n_rows=3, as_text=("code",))
    assert table["code"].tolist() == ["01"] * 5 + ["x"]
    assert table["n"].tolist() == [1] * 5 + [2]


def test_a_wide_table_comes_in_smaller_batches(tmp_path):
    path = tmp_path / "t.parquet"
    wide = pd.DataFrame({f"c{i}": range(1500) for i in range(2000)})
    wide.to_parquet(path)
    assert [len(batch) for batch in read_batches(path)] == [1000, 500]


def test_a_file_that_is_no_table_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(PathError, match=r"t\.parquet' could not be read as a table"):
        list(read_batches(path))


def labels_of(path, **options):
    return [label for batch in read_batches(path, **options) for label in batch.index]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_are_counted_on_from_batch_to_batch(suffix, tmp_path):
    path, table = tmp_path / f"t{suffix}", pd.DataFrame({"n": range(25)})
    table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, index=False)
    assert labels_of(path, n_rows=10) == list(range(25))


INDICES = {
    "a range cut from another": pd.RangeIndex(100, 150, 2, name="id"),
    "words": pd.Index([f"row {number}" for number in range(25)]),
    "a range that repeats": pd.Index([*range(10), *range(15)]),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_a_parquet_files_own_index_is_that_of_the_whole_file(index, tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"n": range(25)}, index=index).to_parquet(path)
    assert labels_of(path, n_rows=10) == read_table(path).index.tolist()
    assert {batch.index.name for batch in read_batches(path, n_rows=10)} == {index.name}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_of_a_folder_are_counted_as_read_table_counts_them(suffix, tmp_path):
    for name in "ab":
        path, table = tmp_path / f"{name}{suffix}", pd.DataFrame({"n": range(7)})
        table.to_parquet(path) if suffix == ".parquet" else table.to_csv(path, index=False)
    assert labels_of(tmp_path, n_rows=3) == read_table(tmp_path).index.tolist() == list(range(14))
