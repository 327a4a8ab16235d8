"""From whatever holds the user's table to a pandas DataFrame."""

from __future__ import annotations

import codecs
import lzma
import os
import stat
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from tabular_automl.core.errors import DataError, InvalidOptionError, PathError, unknown_name

Purpose = Literal["train", "evaluate", "predict"]
Frame: TypeAlias = Any  # a dataframe of any library that narwhals knows
Decoding: TypeAlias = Mapping[str, str]  # pandas' options
TableLike: TypeAlias = pd.DataFrame | str | os.PathLike[str] | Frame

FORMATS = {".csv": ",", ".tsv": "\t", ".parquet": None, ".pq": None}  # separator, if text
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zip": "zip", ".xz": "xz", ".zst": "zstd"}
_OTHER_SEPARATORS = (";", "\t", "|")
_ROWS_LOOKED_AT = 100  # to tell an empty last field from a missing value
_MOST_WITH_DIGITS = 0.5  # of texts that are words
_BLOCK = 1 << 20  # bytes
_NOT_OF_WINDOWS = b"\x81\x8d\x8f\x90\x9d"  # stand for nothing in its code page 1252
_MOST_SHOWN = 300  # characters of a path that cannot be one
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,  # pandas' parser errors, pyarrow's errors and undecodable text among them
    ImportError,  # a compression whose package is not installed
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)


def read_table(
    source: TableLike,
    *,
    purpose: Purpose = "train",
    as_text: Collection[Hashable] = (),
    label: Hashable = None,
) -> pd.DataFrame:
    """Return a table as a pandas DataFrame.

    Parameters
    ----------
    source : DataFrame, frame of another library, str or path-like
        A pandas DataFrame comes back as it is, columns of foreign byte order excepted. Frames of
        polars, pyarrow and all others that narwhals knows are converted. A path names a CSV file
        (``.csv``, ``.tsv``), compressed or not (``.csv.gz``), a Parquet file, or a folder of such
        files of one kind, which are joined in the order of their names. Text is read as UTF-8, or
        UTF-16 with its mark; where that fails, as UTF-8 with marks for the bytes that are none, if
        most others are, or else as Windows-1252 or Latin-1. A CSV file with one column for ``,``
        may be separated by ``;``, tabs or ``|``.
    purpose : {"train", "evaluate", "predict"}
        To predict, a table may have no rows.
    as_text : collection of column names
        Columns of text files whose values are not to be taken for numbers.
    label : column name, optional
        A column of text files in which "None" is a word, where the others are words too: pandas
        takes it for a missing value.

    Returns
    -------
    DataFrame
        Never to be changed: it may be the caller's own.

    Raises
    ------
    PathError
        When a path does not exist, is of no known kind, or cannot be read.
    DataError
        When there are no columns, no rows to learn from, or duplicate column names, and for a
        source of another type.
    """
    if purpose not in ("train", "evaluate", "predict"):
        known = ("train", "evaluate", "predict")
        raise InvalidOptionError(unknown_name("purpose", purpose, known))
    if isinstance(source, pd.DataFrame):
        table, name = source, "The table"
    elif isinstance(source, (str, os.PathLike)):
        path = path_of(source)
        table, name = _read_path(path, as_text), f"The table in {str(path)!r}"
    else:
        table, name = _read_frame(source), "The table"
    is_file = isinstance(source, (str, os.PathLike))
    may_have_none = is_file and isinstance(label, Hashable) and label in table.columns
    if may_have_none and _may_be_words(table[label], purpose):
        table = _with_none_as_word(table, path, label)
    _check_names(table.columns.tolist(), name)  # quicker to go through than an index
    if table.shape[1] == 0:
        raise DataError(f"{name} must have columns, got none.")
    if table.shape[0] == 0 and purpose != "predict":
        raise DataError(f"{name} must have rows, got only the column names.")
    return _in_native_order(table)


def path_of(source: str | os.PathLike[str]) -> Path:
    """Return a path with the home folder for "~"; what names no home, as "~old.csv", stays."""
    return Path(os.path.expanduser(source))


def _in_native_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose numbers have the machine's byte order; FITS files have the other."""
    foreign = {
        position: dtype.newbyteorder("=")
        for position, dtype in enumerate(table.dtypes.tolist())
        if isinstance(dtype, np.dtype) and not dtype.isnative
    }
    if not foreign:
        return table
    table = table.copy(deep=False)
    for position, dtype in foreign.items():
        table.isetitem(position, table.iloc[:, position].astype(dtype).array)
    return table


def _check_names(names: Iterable[Hashable], where: str) -> None:
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        listed = ", ".join(repr(name) for name in duplicates)
        raise DataError(
            f"{where} must have unique column names, got more than one column named {listed}; "
            "rename or drop them."
        )


def _read_path(path: Path, as_text: Collection[Hashable]) -> pd.DataFrame:
    with looking_at(path):
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    if is_folder:
        return _read_folder(path, as_text)
    return _read_file(path, as_text)


@contextmanager
def looking_at(path: Path) -> Iterator[None]:
    """Turn what the system says against a path into an error that says what to check."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # it holds "\0"
        raise PathError(
            f"The table's path must exist, got {str(path)!r}; check the spelling."
        ) from error
    except OSError as error:
        shown = str(path) if len(str(path)) <= _MOST_SHOWN else f"{str(path)[:_MOST_SHOWN]}…"
        raise PathError(
            f"The table's path must be one that can be opened, got {shown!r} ({error.strerror}); "
            "check that it is a path, not the text of a table, and that you may read it."
        ) from error


def _read_folder(folder: Path, as_text: Collection[Hashable]) -> pd.DataFrame:
    """Join the files of one kind in a folder; hidden files and names with ``_`` first are skipped.

    Spark and others leave marks such as ``_SUCCESS`` beside the data. A column is text where it is
    text in one of the files, as if all were one: "007" in one and "A7" in another are codes.
    """
    paths = files_of(folder)
    parts = [_read_file(path, as_text) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        _check_same_columns(paths[0], parts[0], path, part)
    if FORMATS[format_of(paths[0])] is not None:
        kinds = {name: [_kind(part[name]) for part in parts] for name in parts[0]}
        mixed = [name for name in kinds if _are_text(set(kinds[name]))]
        for position, path in enumerate(paths):
            if any(kinds[name][position] != "string" for name in mixed):
                parts[position] = _read_file(path, [*as_text, *mixed])
    return pd.concat(parts, ignore_index=True)


def _are_text(kinds: set[str]) -> bool:
    """Return whether a column of such kinds in some files would be text, read from one file."""
    return len(kinds - {"empty"}) > 1 or kinds == {"empty", "string"}


def _kind(column: pd.Series) -> str:
    """Return what the values of a text file's column were taken for: "number", "boolean", ..."""
    if column.dtype.kind not in "iuf":
        return str(pd.api.types.infer_dtype(column, skipna=True))
    return "number" if column.notna().any() else "empty"


def files_of(folder: Path) -> list[Path]:
    """Return the table's files in a folder, in the order of their names.

    Raises
    ------
    PathError
        When there are none, or files of several kinds, or the folder cannot be looked into.
    """
    with looking_at(folder):
        paths = sorted(entry for entry in folder.iterdir() if entry.name[0] not in "._")
        files = [path for path in paths if path.is_file()]
    if not paths:
        raise PathError(f"The folder {str(folder)!r} must hold CSV or Parquet files, got none.")
    kinds = {format_of(path) for path in files}
    if len(kinds) > 1 or len(files) < len(paths):
        shown = ", ".join(repr(path.name) for path in paths[:5])
        raise PathError(
            f"The folder {str(folder)!r} must hold files of one kind and nothing else, got "
            f"{shown}; read them one by one, or move the others away."
        )
    return paths


def _check_same_columns(
    first_path: Path, first: pd.DataFrame, path: Path, part: pd.DataFrame
) -> None:
    different = sorted(str(name) for name in set(first.columns) ^ set(part.columns))
    if different:
        raise DataError(
            f"The files of a folder must have the same columns, got {', '.join(different[:5])} in "
            f"only one of {first_path.name!r} and {path.name!r}."
        )


def format_of(path: Path) -> str:
    """Return the suffix that tells the format, compression aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in _COMPRESSIONS
    suffix = "".join(suffixes[-2:-1] if compressed else suffixes[-1:])
    is_text = FORMATS.get(suffix) is not None
    if suffix not in FORMATS or (compressed and not is_text):
        raise PathError(
            f"A table's file must end in {', '.join(FORMATS)}, text also compressed as "
            f"{', '.join(_COMPRESSIONS)}, got {path.name!r}."
        )
    return ".parquet" if suffix == ".pq" else suffix


def _read_file(path: Path, as_text: Collection[Hashable], **more: Any) -> pd.DataFrame:
    separator = FORMATS[format_of(path)]
    with naming_the_file(path):
        if separator is None:
            return _read_parquet(path)
        return _read_text(path, separator, as_text, **more)


@contextmanager
def naming_the_file(path: Path) -> Iterator[None]:
    """Turn what a reader raises into an error that names the file and says what to check."""
    try:
        yield
    except DataError:
        raise
    except pd.errors.EmptyDataError as error:
        raise DataError(
            f"The table in {str(path)!r} must have columns, got an empty file."
        ) from error
    except UNREADABLE as error:
        raise PathError(
            f"The file {str(path)!r} could not be read as a table: {error}. Check that it is "
            "complete and of the kind that its name says."
        ) from error


def _read_text(
    path: Path, separator: str, as_text: Collection[Hashable], **more: Any
) -> pd.DataFrame:
    try:
        return _read_decoded(path, separator, unicode_of(path), as_text, **more)
    except UnicodeDecodeError:
        return _read_decoded(path, separator, decoding_of_bytes(path), as_text, **more)


def unicode_of(path: Path) -> Decoding:
    """Return utf-16 for a file with its byte order mark, which spreadsheets write, else utf-8."""
    with path.open("rb") as file:
        is_wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    return {"encoding": "utf-16" if is_wide else "utf-8"}


def decoding_of_bytes(path: Path) -> Decoding:
    """Return how to read a file that is not utf-8 throughout.

    As utf-8 all the same, with marks for the bytes that are none, where more of what is not ASCII
    is; else as Windows writes the languages of Western Europe.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    n_others = n_marks = 0
    is_windows = True
    with _opened(path) as file:
        while block := file.read(_BLOCK):
            text = decoder.decode(block)
            n_others += len(text) - len(text.encode("ascii", "ignore"))
            n_marks += text.count("\ufffd")
            is_windows &= not any(byte in block for byte in _NOT_OF_WINDOWS)
    if n_others > 2 * n_marks:
        return {"encoding": "utf-8", "encoding_errors": "replace"}
    return {"encoding": "cp1252" if is_windows else "latin-1"}


def _opened(path: Path) -> IO[bytes]:
    """Open a file for what is packed in it."""
    suffix = path.suffix.lower()
    if suffix == ".xz":
        return lzma.open(path)
    if suffix == ".zip":
        archive = zipfile.ZipFile(path)
        return archive.open(archive.namelist()[0])
    import pyarrow as pa

    opened: IO[bytes] = pa.input_stream(str(path), compression=_COMPRESSIONS.get(suffix))
    return opened


def _read_decoded(
    path: Path, separator: str, decoding: Decoding, as_text: Collection[Hashable], **more: Any
) -> pd.DataFrame:
    separator, options = text_layout(path, separator, decoding)
    # pandas would take a whole number for the place of a column
    options["dtype"] = {name: "str" for name in as_text if isinstance(name, str)}
    options |= more
    table = pd.read_csv(path, sep=separator, **options)
    return _without_phantom_index(table, path, separator, options) if table.size else table


def _with_none_as_word(table: pd.DataFrame, path: Path, label: Hashable) -> pd.DataFrame:
    """Put "None" back into a column of words: pandas has taken it for a missing value."""
    paths = files_of(path) if path.is_dir() else [path]
    if FORMATS[format_of(paths[0])] is None:
        return table
    as_written = {"dtype": "str", "keep_default_na": False}
    said = pd.concat([_read_file(each, (), **as_written)[label] for each in paths])
    is_none = table[label].isna().to_numpy() & (said.str.strip() == "None").to_numpy()
    words = table[label].astype(object).mask(is_none, "None")
    table[label] = words.astype("str") if words.notna().all() else words
    return table


def _may_be_words(column: pd.Series, purpose: Purpose) -> bool:
    """Return whether a column has missing values, and texts only beside them, few with digits.

    What nothing is beside may be words where the classes are known already. Numbers and dates that
    are written out, such as "1,234", are none.
    """
    known = column.dropna()
    if len(known) == len(column) or not all(isinstance(each, str) for each in known):
        return False
    if not len(known):
        return purpose != "train"
    return bool(known.str.contains(r"\d").mean() < _MOST_WITH_DIGITS)


def text_layout(path: Path, separator: str, decoding: Decoding) -> tuple[str, dict[str, Any]]:
    """Return the separator of a text file, and how pandas is to read it.

    Raises
    ------
    DataError
        When two columns have one name.
    """
    options: dict[str, Any] = {
        **decoding,
        "compression": _COMPRESSIONS.get(path.suffix.lower()),
        "engine": "c",
        "low_memory": False,  # whole columns get one dtype
    }
    header = _read_header(path, separator, options)
    if len(header) == 1:
        for other in _OTHER_SEPARATORS:
            if other in header[0]:
                separator, header = other, _read_header(path, other, options)
                break
    # pandas would rename the second of two equal names, and nobody would see it
    _check_names((name for name in header if name), f"The table in {str(path)!r}")
    return separator, options


def _read_header(path: Path, separator: str, options: dict[str, Any]) -> list[str]:
    row = pd.read_csv(
        path, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False, **options
    )
    return [str(name) for name in row.iloc[0]]


def _without_phantom_index(
    table: pd.DataFrame, path: Path, separator: str, options: dict[str, Any]
) -> pd.DataFrame:
    """Read a table again whose rows end in a separator, which shifts all columns by one.

    Where rows have one field more than the header, pandas takes the first field as the index.
    That is right for the row names that R writes, and wrong where the last field is just empty.
    """
    last = table.iloc[:, -1]
    is_missing = table.index.nlevels == 1 and (last.isna() | (last == "")).all()
    if not is_missing or not ends_in_separator(path, separator, options):
        check_row_names(table)
        return table
    with warnings.catch_warnings():  # of the empty last field, which is what is to be dropped
        warnings.simplefilter("ignore", pd.errors.ParserWarning)
        return pd.read_csv(path, sep=separator, index_col=False, **options)


def check_row_names(table: pd.DataFrame) -> None:
    """Refuse a table whose rows have more fields than its header, but for R's names of the rows.

    Those are one field, and no two are equal.

    Raises
    ------
    ValueError
    """
    index = table.index
    if index.nlevels > 1:
        raise ValueError(
            f"its rows have {index.nlevels} fields more than its header of {table.shape[1]}"
        )
    if not index.is_unique:
        twice = index[index.duplicated()].tolist()[0]
        raise ValueError(
            f"its rows have one field more than its header of {table.shape[1]}, and it is no name "
            f"of the rows: {twice!r} is there twice; give every column a name, and put fields with "
            "a separator in them in quotes"
        )


def ends_in_separator(path: Path, separator: str, options: Mapping[str, Any]) -> bool:
    """Return whether the last field of the first rows is empty, rather than "NA" or the like."""
    layout = {**options, "nrows": _ROWS_LOOKED_AT, "dtype": str, "keep_default_na": False}
    head = pd.read_csv(path, sep=separator, **layout)
    return bool(head.size) and bool((head.iloc[:, -1] == "").all())


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    # ParquetFile, since read_table would add columns from folder names such as "year=2020"
    with pq.ParquetFile(path) as file:
        _check_names(file.schema_arrow.names, f"The table in {str(path)!r}")
        return frame_of_arrow(file.read(use_pandas_metadata=True))


def frame_of_arrow(table: Any) -> pd.DataFrame:
    """Convert a pyarrow table; dates become datetime64 and decimals floats, not Python objects."""
    import pyarrow as pa

    _check_names(table.column_names, "The table")
    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            column = table.column(position).cast(pa.float64())
            table = table.set_column(position, field.name, column)
    return table.to_pandas(date_as_object=False)


def _read_frame(source: Frame) -> pd.DataFrame:
    """Convert a frame of another library."""
    import narwhals as nw

    try:
        frame = nw.from_native(source, pass_through=True)
    except nw.exceptions.DuplicateError as error:
        _check_names(getattr(source, "column_names", ()), "The table")
        raise DataError(f"The table must have unique column names: {error}") from error
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, nw.DataFrame):
        return frame_of_arrow(_import_arrow(source))
    if frame.implementation.is_pandas_like():
        return frame.to_pandas()
    wide = [name for name, dtype in frame.schema.items() if dtype in (nw.Int128, nw.UInt128)]
    if wide:  # Arrow has no integers of that size
        frame = frame.with_columns(nw.col(*wide).cast(nw.Float64))
    return frame_of_arrow(frame.to_arrow())


def _import_arrow(source: object) -> Any:
    """Return the Arrow table that an object offers, record batches and readers among them."""
    import pyarrow as pa

    if not any(hasattr(source, f"__arrow_c_{form}__") for form in ("stream", "array")):
        raise DataError(_unsupported(source))
    try:
        return pa.table(source)
    except pa.ArrowInvalid as error:  # a single column, not a table
        raise DataError(_unsupported(source)) from error


def _unsupported(source: object) -> str:
    kind = type(source)
    advice = {
        "Series": "pass a table: series.to_frame() for one column, series.to_frame().T for one row",
        "ndarray": "pass pandas.DataFrame(array, columns=[...])",
        "dict": "pass pandas.DataFrame(dict)",
        "list": "pass pandas.DataFrame(list)",
        "bytes": "pass the path as str",
    }.get(kind.__name__, "convert it to a pandas DataFrame")
    return (
        "A table must be a DataFrame (pandas, polars, pyarrow, ...) or the path of a CSV or "
        f"Parquet file, got {kind.__module__}.{kind.__qualname__}; {advice}."
    )
