"""Files larger than memory as tables of some rows each, in order."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Hashable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tabular_automl.core.errors import PathError
from tabular_automl.data.reading import (
    FORMATS,
    Decoding,
    check_row_names,
    decoding_of_bytes,
    ends_in_separator,
    files_of,
    format_of,
    frame_of_arrow,
    looking_at,
    naming_the_file,
    path_of,
    text_layout,
    unicode_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 50_000
_LEAST_ROWS = 1_000
_CELLS = 2_000_000  # of a batch


def read_batches(
    source: str | os.PathLike[str],
    *,
    n_rows: int | None = None,
    as_text: Collection[Hashable] = (),
) -> Iterator[pd.DataFrame]:
    """Yield a table of a file, or of the files of a folder, batch by batch.

    Parameters
    ----------
    source : path
        As of `read_table`.
    n_rows : int, optional
        Rows of a batch, the last of each file excepted; None: 50,000, fewer of a wide table.
    as_text : collection of column names
        Columns of text files whose values are not to be taken for numbers, since a batch that
        happens to hold none but numbers must read as the others do.

    Yields
    ------
    DataFrame
        At least one for each file, without rows where the file has none.

    Raises
    ------
    PathError
        When a path does not exist, is of no known kind, or cannot be read.
    """
    path = path_of(source)
    with looking_at(path):
        exists, is_folder = path.exists(), path.is_dir()
    if not exists:
        raise PathError(f"The table's path must exist, got {str(path)!r}; check the spelling.")
    if not is_folder:
        yield from _file_batches(path, n_rows, as_text)
        return
    done = 0
    for file in files_of(path):
        for batch in _file_batches(file, n_rows, as_text):
            batch.index = pd.RangeIndex(done, done + len(batch))  # as `read_table` counts them
            done += len(batch)
            yield batch


def _file_batches(
    path: Path, n_rows: int | None, as_text: Collection[Hashable]
) -> Iterator[pd.DataFrame]:
    separator = FORMATS[format_of(path)]
    with naming_the_file(path):
        if separator is None:
            yield from _parquet_batches(path, n_rows)
        else:
            yield from _text_batches(path, separator, n_rows, as_text)


def _parquet_batches(path: Path, n_rows: int | None) -> Iterator[pd.DataFrame]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Buffers are filled ahead for the whole file otherwise, however large it is.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        size, done = n_rows or _batch_rows(len(file.schema_arrow.names)), 0
        labels = _range_of(file.schema_arrow, file.metadata.num_rows)
        for batch in file.iter_batches(size, use_pandas_metadata=True):
            table = frame_of_arrow(pa.Table.from_batches([batch]))
            if isinstance(table.index, pd.RangeIndex):  # counted anew in each batch
                table.index = labels[done : done + len(table)]
            done += len(table)
            yield table
        if not file.metadata.num_rows:
            yield frame_of_arrow(file.schema_arrow.empty_table())


def _range_of(schema: pa.Schema, n_rows: int) -> pd.RangeIndex:
    """Return the labels of a file's rows where no column holds them, as the whole file has them."""
    told = ((schema.pandas_metadata or {}).get("index_columns") or [None])[0]
    if isinstance(told, dict):  # such as of a table that was cut from another
        labels = pd.RangeIndex(told["start"], told["stop"], told["step"], name=told["name"])
        if len(labels) == n_rows:
            return labels
    return pd.RangeIndex(n_rows)


def _text_batches(
    path: Path, separator: str, n_rows: int | None, as_text: Collection[Hashable]
) -> Iterator[pd.DataFrame]:
    """Yield a text file in Unicode, and from the first row that is not in another way."""
    done = 0
    for find in (unicode_of, decoding_of_bytes):
        try:
            batches = _decoded_batches(path, separator, find(path), n_rows, as_text)
            for batch in _without_first(done, batches):
                done += len(batch)
                yield batch
            return
        except UnicodeDecodeError:
            if find is decoding_of_bytes:
                raise


def _without_first(n_rows: int, batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Yield batches but for so many rows, which another reader has counted: lines may be blank."""
    for batch in batches:
        n_known = min(n_rows, len(batch))
        n_rows -= n_known
        if not n_known:
            yield batch
        elif n_known < len(batch):
            yield batch.iloc[n_known:]


def _decoded_batches(
    path: Path,
    separator: str,
    decoding: Decoding,
    n_rows: int | None,
    as_text: Collection[Hashable],
) -> Iterator[pd.DataFrame]:
    separator, options = text_layout(path, separator, decoding)
    head = pd.read_csv(path, sep=separator, nrows=_LEAST_ROWS, **options)
    is_missing = head.size and head.index.nlevels == 1 and head.iloc[:, -1].isna().all()
    if is_missing and ends_in_separator(path, separator, options):
        options["index_col"] = False  # rows may end in a separator, which shifts them otherwise
    else:
        check_row_names(head)
    kinds: dict[Any, Any] = {name: "str" for name in head.columns if name in as_text}
    size = n_rows or _batch_rows(head.shape[1])
    reader = pd.read_csv(path, sep=separator, dtype=kinds, chunksize=size, **options)
    with reader:
        while True:
            with warnings.catch_warnings():  # of the empty last field, which is to be dropped
                warnings.simplefilter("ignore", pd.errors.ParserWarning)
                batch = next(reader, None)
            if batch is None:
                return
            yield batch


def _batch_rows(n_columns: int) -> int:
    return min(MOST_ROWS, max(_LEAST_ROWS, _CELLS // max(1, n_columns)))
