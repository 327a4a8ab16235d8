"""Prediction of files larger than memory, batch by batch, to a file that is whole or not there.

Finished batches lie as numbered parts in a folder beside the output, together with what they
were made from. A run that was interrupted starts behind the last part; parts of another source, of
another predictor or of other settings are removed.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tabular_automl.artifacts.syncing import lock_file, sync_file, sync_folder, write_synced
from tabular_automl.core.errors import (
    DataError,
    InvalidOptionError,
    MissingColumnsError,
    PathError,
    must_be,
    unknown_name,
)
from tabular_automl.data.batches import read_batches
from tabular_automl.data.reading import FORMATS, files_of, format_of, looking_at, path_of

if TYPE_CHECKING:
    import pyarrow as pa

_ENDINGS = (".csv", ".csv.gz", ".parquet")
_MOST_EXACT = 2**53  # from here on, floats leave whole numbers out

Score = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class StreamOptions:
    """How a file is predicted.

    Attributes
    ----------
    keep : tuple of column names
        Columns of the source to copy, in front.
    as_text : tuple of column names
        Columns of a CSV file whose values stay as they are written.
    copied : tuple of column names
        More such columns, which no model reads; where whole numbers are all that a batch has in
        one of them, it is one of numbers.
    batch_rows : int or None
        Rows that are in memory at a time; None: by the number of columns.
    made_by : str
        Tells the predictor and the kind of prediction apart from others.
    """

    keep: tuple[Hashable, ...] = ()
    as_text: tuple[Hashable, ...] = ()
    copied: tuple[Hashable, ...] = ()
    batch_rows: int | None = None
    made_by: str = ""


def predict_stream(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    score: Score,
    options: StreamOptions,
) -> int:
    """Write the predictions of a file's rows, in its order, and return their number.

    Parameters
    ----------
    source : path
        A CSV or Parquet file, or a folder of such files of one kind.
    out : path
        Ends in ``.csv``, ``.csv.gz`` or ``.parquet``; replaced when it exists.
    score : callable
        From a batch to its predictions, as many rows.
    options : StreamOptions

    Raises
    ------
    PathError
        When the source cannot be read, or the output not be written or is being written by another
        call; parts stay for the next run.
    MissingColumnsError
        When a column to keep is absent.
    """
    import pyarrow as pa

    source, out = path_of(source), path_of(out)
    _check(source, out, options)
    files = files_of(source) if source.is_dir() else [source]
    parts = _Parts(out, _signature(files, options))
    # Texts of a Parquet file are meant as texts.
    copied = () if FORMATS[format_of(files[0])] is None else options.copied
    as_text = (*options.as_text, *copied)
    batches = read_batches(source, n_rows=options.batch_rows, as_text=as_text)
    try:
        with parts.locked():
            parts.open()
            try:
                for number, batch in enumerate(batches):
                    if number >= parts.n_done:
                        kept = kept_columns(batch, options.keep, copied)
                        parts.write(number, with_kept(score(batch), kept))
            except (DataError, InvalidOptionError):  # once mended, parts of what was are no use
                parts.remove()
                raise
            finally:
                if not parts.n_done:
                    parts.remove()
            return parts.join()
    except PathError:  # of the source, which says so itself
        raise
    except pa.ArrowException as error:  # such as a kept number that no float equals
        raise PathError(
            f"{str(out)!r} could not be put together: {error}; leave the column out of keep, or "
            "give all rows at once with batch_rows."
        ) from error
    except OSError as error:
        raise PathError(
            f"{str(out)!r} could not be written: {error}; what is done lies in "
            f"{str(parts.folder)!r}, and the same call goes on from there."
        ) from error


def _check(source: Path, out: Path, options: StreamOptions) -> None:
    n_rows = options.batch_rows
    whole = isinstance(n_rows, int) and not isinstance(n_rows, bool)
    if n_rows is not None and not (whole and n_rows > 0):
        raise InvalidOptionError(must_be("batch_rows", "a positive whole number or None", n_rows))
    if not out.name.lower().endswith(_ENDINGS):
        raise PathError(must_be("out", f"a path that ends in {', '.join(_ENDINGS)}", str(out)))
    with looking_at(source):
        exists = source.exists()
    if not exists:
        raise PathError(f"The table's path must exist, got {str(source)!r}; check the spelling.")
    if out.is_dir():
        raise PathError(f"{str(out)!r} is a folder; choose the path of a file.")
    if not out.parent.is_dir():
        raise PathError(f"The folder of {str(out)!r} must exist; make it first.")
    inside = source.is_dir() and source.resolve() in out.resolve().parents
    if source.resolve() == out.resolve() or inside:
        raise PathError(f"out must be another place than the source, got {str(out)!r} for both.")


def _signature(files: Sequence[Path], options: StreamOptions) -> dict[str, Any]:
    """Return what parts depend on: files by name, size and time of change, and the settings."""
    stats = [(str(path.resolve()), path.stat()) for path in files]
    described = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    signature: dict[str, Any] = json.loads(json.dumps(asdict(options), default=repr))
    return signature | {"files": described}


def kept_columns(
    table: pd.DataFrame, keep: Sequence[Hashable], copied: Sequence[Hashable] = ()
) -> dict[str, pd.Series]:
    """Return columns of a table, or of its index, under their names in the output.

    Parameters
    ----------
    table : DataFrame
    keep : sequence of column names
    copied : sequence of column names
        Columns that were read as text, and are numbers where they hold whole numbers only.

    Raises
    ------
    MissingColumnsError
        When a column is absent.
    """
    labels = {name: level for level, name in enumerate(table.index.names) if name is not None}
    absent = [name for name in keep if name not in table.columns and name not in labels]
    if absent:
        raise MissingColumnsError(unknown_name("column to keep", absent[0], [*table, *labels]))
    kept: dict[str, pd.Series] = {}
    for name in keep:
        inside = name in table.columns
        values = table[name] if inside else table.index.get_level_values(labels[name])
        kept[str(name)] = _whole_where_whole(pd.Series(values.array), name in copied)
    return kept


def with_kept(scored: pd.DataFrame, kept: dict[str, pd.Series]) -> pd.DataFrame:
    """Return predictions behind the columns to copy."""
    scored = scored.reset_index(drop=True)
    names: list[str] = []
    for name in map(str, scored.columns):
        while name in kept or name in names:
            name += " predicted"
        names.append(name)
    scored.columns = pd.Index(names)
    for name in reversed(kept):
        scored.insert(0, name, kept[name])
    return scored


def _whole_where_whole(column: pd.Series, is_copied: bool) -> pd.Series:
    """Return whole numbers as such where a column holds them as texts or, with gaps, as floats."""
    present = column.dropna()
    is_float = len(present) < len(column) and pd.api.types.is_float_dtype(column.dtype)
    whole = _of_texts(present) if is_copied else _of_floats(present) if is_float else None
    return column if whole is None else whole.astype("Int64").reindex(column.index)


def _of_texts(texts: pd.Series) -> pd.Series | None:
    """Return whole numbers that are written as Python writes them: no 007, no 1e5."""
    try:
        numbers = texts.astype("int64")
    except (ValueError, OverflowError):
        return None
    return numbers if (numbers.astype(str) == texts).all() else None


def _of_floats(numbers: pd.Series) -> pd.Series | None:
    """Return floats that are whole numbers, and small enough to be no other ones."""
    values = numbers.to_numpy(dtype=np.float64)
    exact = (values == np.floor(values)) & (np.abs(values) < _MOST_EXACT)
    return numbers.astype("int64") if exact.all() else None


class _Parts:
    """The finished batches of an output, on disk."""

    def __init__(self, out: Path, signature: dict[str, Any]) -> None:
        self._out = out
        self._text = json.dumps(signature, sort_keys=True).encode()
        self.folder = out.with_name(f".parts-{out.name}")
        self.n_done = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep others from writing to it; a killed process holds no lock."""
        if os.name != "posix":  # folders cannot be opened there
            self.folder.mkdir(exist_ok=True)
            yield
            return
        descriptor = self._open_locked()
        try:
            yield
        finally:
            os.close(descriptor)

    def _open_locked(self) -> int:
        """Make and lock the folder, and again where who held it has removed it meanwhile."""
        while True:
            self.folder.mkdir(exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                lock_file(descriptor)
                if os.path.samestat(os.fstat(descriptor), os.stat(self.folder)):
                    return descriptor
            except FileNotFoundError:
                pass
            except BlockingIOError as error:
                os.close(descriptor)
                raise PathError(
                    f"Another call is writing to {str(self._out)!r}; wait for it or choose another "
                    "out."
                ) from error
            os.close(descriptor)

    def open(self) -> None:
        """Find how many parts of an interrupted run the folder holds.

        Parts of another run are removed, and those from the first on that cannot be read, such as
        one cut short.
        """
        told = self.folder / "source.json"
        if not told.is_file() or told.read_bytes() != self._text:
            told.unlink(missing_ok=True)  # first: without it, what is left counts for nothing
            for path in self.folder.iterdir():
                path.unlink()
            write_synced(told, self._text)
        while _is_sound(self._path(self.n_done)):
            self.n_done += 1
        for path in self.folder.glob("*.arrow"):
            if int(path.stem) >= self.n_done:
                path.unlink()

    def write(self, number: int, table: pd.DataFrame) -> None:
        """Add a part, whole or not at all, whatever happens to the machine."""
        import pyarrow as pa
        import pyarrow.feather as feather

        partial = self._path(number).with_suffix(".partial")
        feather.write_feather(pa.Table.from_pandas(table, preserve_index=False), str(partial))
        sync_file(partial)
        partial.replace(self._path(number))
        self.n_done = number + 1

    def join(self) -> int:
        """Write all parts to the output, remove them, and return the number of rows."""
        partial = self._out.with_name(f".partial-{os.getpid()}-{self._out.name}")
        try:
            n_rows = self._write_all(partial)
            sync_file(partial)
            partial.replace(self._out)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(self._out.parent)  # before the parts go
        self.remove()
        return n_rows

    def remove(self) -> None:
        """Remove the folder with all its parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_all(self, path: Path) -> int:
        """Write the parts one after the other in the format of the output."""
        import pyarrow.feather as feather
        import pyarrow.parquet as pq

        schema, n_rows = self._common_schema(), 0
        tables = (feather.read_table(self._path(i), memory_map=False) for i in range(self.n_done))
        if path.name.lower().endswith(".parquet"):
            with pq.ParquetWriter(path, schema) as writer:
                for table in tables:
                    writer.write_table(table.cast(schema))
                    n_rows += table.num_rows
            return n_rows
        compressed = path.name.lower().endswith(".gz")
        opened = gzip.open if compressed else open
        with opened(path, "wt", encoding="utf-8", newline="") as file:
            for number, table in enumerate(tables):
                # A whole number next to a missing one stays a whole number.
                frame = table.cast(schema).to_pandas(integer_object_nulls=True)
                frame.to_csv(file, index=False, header=not number)
                n_rows += len(frame)
        return n_rows

    def _common_schema(self) -> pa.Schema:
        """Return a schema that holds every part: a kept column may be empty in one of them."""
        import pyarrow as pa
        from pyarrow import ipc

        schemas = []
        for number in range(self.n_done):
            with pa.OSFile(str(self._path(number))) as file:
                schemas.append(ipc.open_file(file).schema.remove_metadata())
        names = schemas[0].names
        return pa.schema([_common_field(name, [s.field(name) for s in schemas]) for name in names])

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.arrow"


def _is_sound(path: Path) -> bool:
    """Return whether a part is there and can be read to its end."""
    import pyarrow as pa
    import pyarrow.feather as feather

    try:
        feather.read_table(path, memory_map=False)
    except (OSError, pa.ArrowException):
        return False
    return True


def _common_field(name: str, fields: Sequence[pa.Field]) -> pa.Field:
    """Return a field whose type holds the values of all; text where nothing else does."""
    import pyarrow as pa

    try:
        unified = pa.unify_schemas([pa.schema([f]) for f in fields], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.field(name, pa.string())
    return unified.field(0)
