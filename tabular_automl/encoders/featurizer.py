"""All encoders of a table: from the user's columns to the feature table, and back to names."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence, Set
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import (
    AutoMLError,
    DataError,
    InvalidOptionError,
    MissingColumnsError,
    NotFittedError,
    must_be,
)
from tabular_automl.core.registry import PLUG_IN_ERRORS
from tabular_automl.data.column_names import (
    name_from_json,
    name_key,
    name_to_json,
    positions_of,
)
from tabular_automl.data.schema import Column, Kind, Schema
from tabular_automl.data.table import FeatureTable
from tabular_automl.encoders.base import ENCODERS, ColumnEncoder
from tabular_automl.encoders.category import CategoryEncoder
from tabular_automl.encoders.datetime import DatetimeEncoder
from tabular_automl.encoders.feature_parts import FeaturePart, PlainNumbers, Positions
from tabular_automl.encoders.fills import Fills
from tabular_automl.encoders.intervals import Instants, Pair, choose_pairs, interval_table
from tabular_automl.encoders.numeric import NumericEncoder
from tabular_automl.encoders.repeats import informative
from tabular_automl.encoders.storage import FEW_ROWS, is_narrow_float
from tabular_automl.encoders.topics_in_time import learn_in_time

OnError = Literal["raise", "coerce"]

# Up to this many rows, columns of plain numbers are cut out of the frame together.
BLOCK_ROWS = 256
_OWN_ENCODERS = "tabular_automl."  # modules whose errors are not an extension's


class Featurizer:
    """Turns tables of one schema into feature tables; what it learns, it learns without the target.

    Features are each column's own, then the days between each two date columns. Those that are
    constant in training, or equal to an earlier feature, are left out, and so are the topics of
    texts that `forget_topics` is told of.

    Parameters
    ----------
    schema : Schema
        The kind and the encoder of each column; the fitted attribute says "ignored" of columns that
        no feature was kept of.
    read_untouched : set of Kind, optional
        Kinds of columns that a model of the fit reads untouched, so that features which would
        crowd can be left out; by default, all kinds.

    Attributes
    ----------
    sources : dict of str to column name
        The column that each feature comes from, in the order of `FeatureTable.names`; the second
        column of the two for the days between them.
    fills : Fills
        What stands for missing numbers where training had none.
    without_topics : list of column names
        Those whose texts `fit_transform` had no time to find topics in.
    """

    def __init__(self, schema: Schema, read_untouched: Set[Kind] = frozenset(Kind)) -> None:
        self.schema = schema
        self._read_untouched = read_untouched
        self.sources: dict[str, Hashable] = {}
        self._parts: list[FeaturePart] | None = None
        self._pairs: list[Pair] = []
        self._numeric_names: tuple[str, ...] = ()
        self._code_names: tuple[str, ...] = ()
        self._n_levels: tuple[int, ...] = ()
        self._plain = PlainNumbers([])
        self.fills = Fills.nothing(0)
        self.without_topics: list[Hashable] = []

    def fit_transform(
        self,
        table: pd.DataFrame,
        budget: Budget | None = None,
        without_topics: Collection[Hashable] | None = None,
    ) -> FeatureTable:
        """Learn every encoder and return the features of the training table.

        Parameters
        ----------
        table : DataFrame of shape (n_samples, n_columns)
        budget : Budget, optional
            For the topics of texts, of all columns together; see `learn_in_time`.
        without_topics : collection of column names, optional
            Those of the fit that this one continues. The others take the time that they need then:
            ``budget`` does not count.
        """
        if budget is None or without_topics is not None:
            budget = Budget.unlimited()
        self.without_topics = []
        positions = self._positions(table)
        encoders, blocks = [], []
        instants: Instants = {}
        for column in self.schema.used:
            encoder = ENCODERS.get(str(column.encoder))()
            values = table.iloc[:, positions[column.name]]
            own = Budget.start(0) if column.name in (without_topics or ()) else budget
            block, too_slow = _learnt(encoder, values, own, instants)
            blocks.append(block)
            encoders.append(encoder)
            if too_slow:
                self.without_topics.append(column.name)
        self._arrange(encoders, blocks, instants, len(table))
        out = self._blank(table, positions)
        block_of = dict(zip(map(id, encoders), blocks, strict=True))
        for part in self._fitted():
            part.write(block_of[id(part.encoder)], out)
        self._write_intervals(instants, out)
        self.fills = Fills.fit(out.numeric)
        return out

    def forget_topics(self, columns: Set[Hashable]) -> npt.NDArray[np.intp]:
        """Leave out the topics of some columns' texts.

        Returns
        -------
        ndarray of int
            Where the numeric features that stay were before.
        """
        parts = self._fitted()
        kept_numeric = [part.numeric.tolist() for part in parts]
        gone: list[int] = []
        for i, part in enumerate(parts):
            topics = part.encoder.topics
            if part.name in columns and len(topics):
                gone += part.topics_at.tolist()
                others = (each for each in kept_numeric[i] if each not in topics)
                kept_numeric[i] = [_moved_up(each, topics) for each in others]
                part.encoder.forget_topics()
        kept = np.setdiff1d(np.arange(len(self._numeric_names)), gone)
        self._numeric_names = tuple(self._numeric_names[i] for i in kept)
        self.fills = Fills(self.fills.middles[kept])
        encoders = [part.encoder for part in parts]
        self._place(encoders, kept_numeric, [part.codes.tolist() for part in parts])
        return kept

    def transform(self, table: pd.DataFrame, *, on_error: OnError = "raise") -> FeatureTable:
        """Return the features of a table's rows.

        Parameters
        ----------
        table : DataFrame of shape (n_samples, n_columns)
            Columns in any order; those that training did not use are ignored.
        on_error : {"raise", "coerce"}
            What happens to values that cannot be read as their column's kind: an error that names
            them, or a missing value.

        Raises
        ------
        MissingColumnsError
            When used columns are absent; lists all of them.
        DataError
            When values cannot be read, or two columns have one used name.
        """
        if on_error not in ("raise", "coerce"):
            raise InvalidOptionError(must_be("on_error", "'raise' or 'coerce'", on_error))
        parts = self._fitted()
        positions = self._positions(table)
        out = self._blank(table, positions)
        if len(table) <= BLOCK_ROWS:
            parts = self._plain.write(table, positions, out.numeric, parts)
        if len(table) <= FEW_ROWS:
            parts = _write_categories(table, positions, out, parts)
        instants: Instants = {}
        for part in parts:
            column = table.iloc[:, positions[part.name]]
            part.write(_encoded(part.encoder, column, on_error, instants), out)
        self._write_intervals(instants, out)
        self.fills.write(out.numeric)
        return out

    @property
    def encoders(self) -> dict[Hashable, ColumnEncoder]:
        """The encoder of each used column, in the schema's order."""
        return {part.name: part.encoder for part in self._fitted()}

    @property
    def parts(self) -> list[FeaturePart]:
        """The fitted encoders, one for each used column."""
        return self._fitted()

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of date columns whose distance is a feature: the last ones."""
        return self._pairs

    def blank(self, n_rows: int, raw: Mapping[str, npt.NDArray[Any]] | None = None) -> FeatureTable:
        """Return a feature table to write into, untouched columns in place."""
        return FeatureTable(
            numeric=np.empty((n_rows, len(self._numeric_names)), dtype=np.float32),
            codes=np.empty((n_rows, len(self._code_names)), dtype=np.int32),
            numeric_names=self._numeric_names,
            code_names=self._code_names,
            n_levels=self._n_levels,
            raw=raw,
            raw_kinds={
                p.raw_name: p.encoder.kind for p in self._fitted() if p.raw_name is not None
            },
        )

    def missing_columns(self, table: pd.DataFrame) -> list[Hashable]:
        """Return the used columns that the table lacks, in the schema's order."""
        present = positions_of(table.columns)
        return [column.name for column in self.schema.used if column.name not in present]

    def state(self) -> State:
        """Return the schema and every encoder's state."""
        columns = [[name_to_json(c.name), c.kind.value, c.reason, c.encoder] for c in self.schema]
        parts = self._fitted()
        return State(
            meta={
                "columns": columns,
                "kept_numeric": [part.numeric.tolist() for part in parts],
                "kept_codes": [part.codes.tolist() for part in parts],
                "numeric_names": list(self._numeric_names),
                "code_names": list(self._code_names),
                "n_levels": list(self._n_levels),
                "pairs": [[name_to_json(name) for name in pair] for pair in self._pairs],
            },
            arrays=self.fills.arrays(),
            children={str(i): part.encoder.state() for i, part in enumerate(parts)},
        )

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Return the fitted featurizer that `state` came from."""
        meta = state.meta
        columns = (
            Column(name_from_json(name), Kind(kind), reason, encoder)
            for name, kind, reason, encoder in meta["columns"]
        )
        featurizer = cls(Schema(tuple(columns)))
        encoders = []
        for i, column in enumerate(featurizer.schema.used):
            encoder = ENCODERS.get(str(column.encoder))()
            encoder.restore(state.children[str(i)])
            encoders.append(encoder)
        featurizer._numeric_names = tuple(meta["numeric_names"])
        featurizer._code_names = tuple(meta["code_names"])
        featurizer._n_levels = tuple(int(n) for n in meta["n_levels"])
        featurizer._pairs = [
            (name_from_json(first), name_from_json(second)) for first, second in meta["pairs"]
        ]
        kept_numeric, kept_codes = meta["kept_numeric"], meta["kept_codes"]
        for name, kept in (("kept_numeric", kept_numeric), ("kept_codes", kept_codes)):
            positive = all(isinstance(i, int) and i >= 0 for part in kept for i in part)
            state.require(positive, name, "be positions of features")
        n_numeric = sum(map(len, kept_numeric)) + len(featurizer._pairs)
        n_codes = sum(map(len, kept_codes))
        named = (n_numeric, n_codes) == (len(meta["numeric_names"]), len(featurizer._n_levels))
        state.require(named, "numeric_names", f"name {n_numeric} numbers, {n_codes} categories")
        featurizer.fills = Fills.from_state(state, n_numeric)
        featurizer._place(encoders, kept_numeric, kept_codes)
        state.require(featurizer._is_consistent(), "kept_numeric", "be features of the encoders")
        return featurizer

    def _is_consistent(self) -> bool:
        """Return whether the encoders make the features that are kept, with as many levels."""
        n_levels: list[int] = []
        for part in self._fitted():
            if type(part.encoder) is NumericEncoder:  # quick, since tables may have thousands
                if part.numeric.max(initial=-1) > part.encoder.has_indicator or len(part.codes):
                    return False
                continue
            block = part.encoder.transform(pd.Series([], name=part.name, dtype=object))
            n_features = len(block.numeric_names), len(block.code_names)
            last = [int(kept.max(initial=-1)) for kept in (part.numeric, part.codes)]
            if last[0] >= n_features[0] or last[1] >= n_features[1]:
                return False
            n_levels += [block.n_levels[i] for i in part.codes]
        return tuple(n_levels) == self._n_levels

    def _fitted(self) -> list[FeaturePart]:
        if self._parts is None:
            raise NotFittedError("Featurizer must be fitted first; call fit_transform.")
        return self._parts

    def _positions(self, table: pd.DataFrame) -> Positions:
        """Return where each column stands, after checking that the used ones stand once."""
        positions = positions_of(table.columns)
        missing = [c.name for c in self.schema.used if c.name not in positions]
        if missing:
            raise MissingColumnsError(
                f"The table must have every column that training used, and lacks "
                f"{', '.join(map(repr, missing))}; add them (missing values are fine), or "
                "predict with on_mismatch='coerce'."
            )
        if len(positions) < table.shape[1]:
            self._check_unique(table)
        return positions

    def _check_unique(self, table: pd.DataFrame) -> None:
        repeated = set(table.columns[table.columns.duplicated()])
        clashing = [c.name for c in self.schema.used if c.name in repeated]
        if clashing:
            raise DataError(
                f"Column names must be unique, got {', '.join(map(repr, clashing[:5]))} more than "
                "once; rename or drop the repeated columns."
            )

    def _arrange(
        self,
        encoders: list[ColumnEncoder],
        blocks: list[FeatureTable],
        instants: Instants,
        n_rows: int,
    ) -> None:
        """Choose the features worth keeping and name them."""
        pairs = choose_pairs(instants)
        intervals = interval_table(instants, pairs, n_rows)
        *kept_numeric, kept_pairs = informative([b.numeric for b in [*blocks, intervals]])
        kept_codes = informative([block.codes for block in blocks])
        for i in self._crowding(encoders, blocks, n_rows):
            kept_numeric[i], kept_codes[i] = [], []
        self._pairs = [pairs[i] for i in kept_pairs]
        names = _unique_names([*blocks, intervals], [*kept_numeric, kept_pairs], [*kept_codes, []])
        self._numeric_names, self._code_names = names
        self._n_levels = tuple(
            block.n_levels[i] for block, kept in zip(blocks, kept_codes, strict=True) for i in kept
        )
        stay = self._telling(encoders, kept_numeric, kept_codes)
        self._place(
            [encoders[i] for i in stay],
            [kept_numeric[i] for i in stay],
            [kept_codes[i] for i in stay],
        )

    def _telling(
        self,
        encoders: Sequence[ColumnEncoder],
        kept_numeric: Sequence[Sequence[int]],
        kept_codes: Sequence[Sequence[int]],
    ) -> list[int]:
        """Return which columns have a say; the others count as ignored from now on."""
        paired = {name for pair in self._pairs for name in pair}
        stay, idle = [], set()
        for i, (column, encoder) in enumerate(zip(self.schema.used, encoders, strict=True)):
            kept = len(kept_numeric[i]) + len(kept_codes[i])
            if kept or encoder.keeps_raw or name_key(column.name) in paired:
                stay.append(i)
            else:
                idle.add(column)
        self.schema = Schema(tuple(_idle(c) if c in idle else c for c in self.schema))
        return stay

    def _crowding(
        self, encoders: Sequence[ColumnEncoder], blocks: Sequence[FeatureTable], n_rows: int
    ) -> list[int]:
        """Return the encoders whose features are left out, none when no others would be left."""
        crowding = [
            i
            for i, encoder in enumerate(encoders)
            if encoder.kind in self._read_untouched and encoder.is_crowding(n_rows)
        ]
        others = set(range(len(encoders))) - set(crowding)
        return crowding if any(blocks[i].n_features for i in others) else []

    def _place(
        self,
        encoders: list[ColumnEncoder],
        kept_numeric: Sequence[Sequence[int]],
        kept_codes: Sequence[Sequence[int]],
    ) -> None:
        """Give every kept feature its place in the two blocks."""
        parts, raw_names = [], set[str]()
        numeric_at = codes_at = 0
        used = self.schema.used
        for column, encoder, numeric, codes in zip(
            used, encoders, kept_numeric, kept_codes, strict=True
        ):
            kept = (np.array(numeric, dtype=np.intp), np.array(codes, dtype=np.intp))
            raw_name = _unused(str(column.name), raw_names) if encoder.keeps_raw else None
            parts.append(FeaturePart(column.name, encoder, *kept, numeric_at, codes_at, raw_name))
            numeric_at += len(numeric)
            codes_at += len(codes)
        self._parts = parts
        self._plain = PlainNumbers(parts)
        owners = [part.name for part in parts for _ in part.numeric]
        owners += [second for _, second in self._pairs]
        owners += [part.name for part in parts for _ in part.codes]
        names = self._numeric_names + self._code_names
        self.sources = dict(zip(names, owners, strict=True))

    def _write_intervals(self, instants: Instants, out: FeatureTable) -> None:
        """Fill the last columns of the numeric block."""
        if self._pairs:
            intervals = interval_table(instants, self._pairs, len(out))
            out.numeric[:, -len(self._pairs) :] = intervals.numeric

    def _blank(self, table: pd.DataFrame, positions: Positions) -> FeatureTable:
        """Return the feature table to write into, raw columns in place."""
        raw = {
            part.raw_name: table.iloc[:, positions[part.name]].to_numpy(dtype=object)
            for part in self._fitted()
            if part.raw_name is not None
        }
        return self.blank(len(table), raw)


def _idle(column: Column) -> Column:
    """Return a column as one that need not be there to predict."""
    reason = "what it tells is constant, or told by an earlier column"
    return Column(column.name, Kind.IGNORED, reason)


def _moved_up(feature: int, gone: range) -> int:
    """Return where a feature that is none of those gone is when they are."""
    return feature if feature < gone.start else feature - len(gone)


def _write_categories(
    table: pd.DataFrame, positions: Positions, out: FeatureTable, parts: list[FeaturePart]
) -> list[FeaturePart]:
    """Write the features of columns of categories, cut out together; return the parts left."""
    dtypes = table.dtypes.to_numpy()
    plain = [
        part
        for part in parts
        if _is_plain_category(part.encoder) and not is_narrow_float(dtypes[positions[part.name]])
    ]
    if len(plain) < 2:
        return parts
    cells = table.iloc[:, [positions[part.name] for part in plain]].to_numpy(dtype=object)
    for part, column in zip(plain, cells.T.tolist(), strict=True):
        encoder: Any = part.encoder
        codes, numbers = encoder.read_cells(column)
        if numbers is not None and len(part.numeric):
            out.numeric[:, part.numeric_at] = numbers
        if len(part.codes):
            out.codes[:, part.codes_at] = codes
    written = {id(part) for part in plain}
    return [part for part in parts if id(part) not in written]


def _is_plain_category(encoder: ColumnEncoder) -> bool:
    return type(encoder) is CategoryEncoder and encoder.spelling is None


def _learnt(
    encoder: ColumnEncoder, column: pd.Series, budget: Budget, instants: Instants
) -> tuple[FeatureTable, bool]:
    """Return what `learn_in_time` does, the times of a date column noted in passing."""
    if isinstance(encoder, DatetimeEncoder):
        return _transformed(encoder.fit(column), column, instants), False
    try:
        return learn_in_time(encoder, column, budget)
    except PLUG_IN_ERRORS as error:
        if isinstance(error, AutoMLError) or type(encoder).__module__.startswith(_OWN_ENCODERS):
            raise
        name = column.name
        raise DataError(
            f"The encoder {type(encoder).__name__} of an extension failed on column {name!r} "
            f"({type(error).__name__}: {error}); mend it, or leave the column out with "
            f"columns={{{name!r}: 'ignored'}}."
        ) from error


def _encoded(
    encoder: ColumnEncoder,
    column: pd.Series,
    on_error: OnError,
    instants: Instants,
) -> FeatureTable:
    try:
        return _transformed(encoder, column, instants)
    except DataError:
        if on_error == "raise":
            raise
        readable = column.astype(object).mask(encoder.unreadable(column), None)
        return _transformed(encoder, readable, instants)


def _transformed(encoder: ColumnEncoder, column: pd.Series, instants: Instants) -> FeatureTable:
    if not isinstance(encoder, DatetimeEncoder):
        return encoder.transform(column)
    seconds = encoder.read(column)
    instants[name_key(column.name)] = seconds
    return encoder.features(seconds, str(column.name))


def _unique_names(
    blocks: list[FeatureTable],
    kept_numeric: Sequence[Sequence[int]],
    kept_codes: Sequence[Sequence[int]],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the kept features, a number added where one comes twice."""
    taken: set[str] = set()
    numeric = [
        _unused(block.numeric_names[i], taken)
        for block, kept in zip(blocks, kept_numeric, strict=True)
        for i in kept
    ]
    codes = [
        _unused(block.code_names[i], taken)
        for block, kept in zip(blocks, kept_codes, strict=True)
        for i in kept
    ]
    return tuple(numeric), tuple(codes)


def _unused(name: str, taken: set[str]) -> str:
    """Return a name that is not taken yet, a number added where it is, and take it."""
    count, candidate = 1, name
    while candidate in taken:
        count += 1
        candidate = f"{name} ({count})"
    taken.add(candidate)
    return candidate
