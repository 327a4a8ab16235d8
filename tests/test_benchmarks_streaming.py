"""The made-up tables, and that a streamed file is told to be in order only when it is."""

import pandas as pd
import pyarrow.parquet as pq

from benchmarks import made, streaming


def test_made_rows_have_thirty_columns_and_both_classes():
    rows = made.made_rows(2_000, seed=0)
    assert rows.shape == (2_000, 31)
    assert 0.3 < (rows[made.LABEL] == "yes").mean() < 0.7
    pd.testing.assert_frame_equal(rows, made.made_rows(2_000, seed=0))
    assert not rows.equals(made.made_rows(2_000, seed=1))


def test_a_file_is_written_by_chunks_that_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(made, "CHUNK_ROWS", 400)
    made.write_made(tmp_path / "rows.parquet", 1_000, seed=0)
    table = pq.read_table(tmp_path / "rows.parquet").to_pandas()
    assert len(table) == 1_000
    assert not table["number_0"].duplicated().any()


def test_the_order_of_the_output_is_compared(tmp_path):
    rows = made.made_rows(300, seed=0)
    rows.to_parquet(tmp_path / "rows.parquet")
    rows.to_parquet(tmp_path / "out.parquet")
    assert streaming.is_in_order(tmp_path)
    rows.iloc[::-1].to_parquet(tmp_path / "out.parquet")
    assert not streaming.is_in_order(tmp_path)
