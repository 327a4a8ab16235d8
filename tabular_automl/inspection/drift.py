"""How new data departs from the training data, column by column."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.core.errors import InvalidOptionError, MismatchWarning, must_be
from tabular_automl.data.column_names import positions_of
from tabular_automl.data.schema import Column, Kind
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.storage import named_cells
from tabular_automl.encoders.summary import ColumnSummary, Reading, TableSummary, read_column

NOTABLE_PSI = 0.1
LARGE_PSI = 0.25
_FALSE_ALARMS = 0.01  # of tables that come from the same source, over all columns
_NOTABLE_MISSING = 0.05
_SHOWN_LEVELS = 5
_COMPARED_LEVELS = 50

OnMismatch = Literal["raise", "warn", "coerce"]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


class Severity(StrEnum):
    """What a finding means for a prediction."""

    ERROR = "error"  # predict raises, unless told otherwise
    WARNING = "warning"  # predictions may be worse than in training
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One way in which new data departs from the training data.

    Attributes
    ----------
    column : hashable
    problem : str
        "missing column", "new column", "unreadable values", "dtype", "new categories",
        "out of range", "missing values" or "drift".
    severity : Severity
    text : str
        A sentence with the first rows and values.
    """

    column: Hashable
    problem: str
    severity: Severity
    text: str


@dataclass(frozen=True)
class ValidationReport:
    """What `Predictor.validate` found; printed, it is a list of sentences.

    Attributes
    ----------
    findings : tuple of Finding
        The gravest first.
    columns : DataFrame
        One row for each column that the models use: ``kind``, ``dtype_train``, ``dtype_new``,
        ``missing_train``, ``missing_new`` (rates) and ``psi``, the population stability index.
    n_rows : int
        Rows of the new data.
    """

    findings: tuple[Finding, ...]
    columns: pd.DataFrame = field(repr=False)
    n_rows: int

    @property
    def can_predict(self) -> bool:
        """Whether predict takes the data as it is."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)

    @property
    def ok(self) -> bool:
        """Whether there are neither errors nor warnings."""
        return all(finding.severity is Severity.NOTE for finding in self.findings)

    def to_frame(self) -> pd.DataFrame:
        """Return the findings as a table of column, problem, severity and text."""
        rows = [[f.column, f.problem, f.severity.value, f.text] for f in self.findings]
        return pd.DataFrame(rows, columns=["column", "problem", "severity", "text"])

    def __str__(self) -> str:
        if not self.findings:
            return f"{self.n_rows} rows, all as in training."
        lines = [f"  {finding.severity.value}: {finding.text}" for finding in self.findings]
        return "\n".join([f"{self.n_rows} rows, {len(lines)} finding(s):", *lines])


def validate_table(
    featurizer: Featurizer,
    summary: TableSummary | None,
    table: pd.DataFrame,
    *,
    expected: Iterable[Hashable] = (),
) -> ValidationReport:
    """Compare a table with the training table.

    Parameters
    ----------
    featurizer : Featurizer
    summary : TableSummary or None
        Without one, columns and readable values are checked, distributions are not.
    table : DataFrame of shape (n_samples, n_columns)
    expected : iterable of hashable
        Columns that are not new although the schema lacks them: the label.
    """
    positions = positions_of(table.columns)
    findings = list(_of_columns(featurizer, positions, {*expected}))
    rows = {}
    for column, encoder in zip(featurizer.schema.used, featurizer.encoders.values(), strict=True):
        if column.name not in positions:
            continue
        values = table.iloc[:, positions[column.name]]
        reading = read_column(values, column.kind, encoder)
        if reading.unreadable.any():
            findings.append(_unreadable(column, values, reading.unreadable))
        before = None if summary is None else summary.columns.get(column.name)
        comparison = _Comparison(column, values, reading, before, len(featurizer.encoders))
        findings += comparison.findings()
        rows[column.name] = comparison.row()
    order = list(Severity)
    findings.sort(key=lambda finding: order.index(finding.severity))
    return ValidationReport(tuple(findings), _as_frame(rows), len(table))


def made_to_fit(
    featurizer: Featurizer, table: pd.DataFrame, on_mismatch: OnMismatch
) -> pd.DataFrame:
    """Return the rows to predict; with "warn" and "coerce", what does not fit is missing in them.

    With "raise" they come back as they are: the featurizer raises.
    """
    check_on_mismatch(on_mismatch)
    if on_mismatch == "raise":
        return table
    table, findings = conform(featurizer, table)
    if findings and on_mismatch == "warn":
        told = " ".join(finding.text for finding in findings)
        # the level is that of the caller of Predictor.predict, evaluate and so on
        warnings.warn(f"{told} Taken as missing.", MismatchWarning, stacklevel=3)
    return table


def check_on_mismatch(value: object) -> None:
    """Raise unless ``value`` says what to do with data that departs from that of training.

    Raises
    ------
    InvalidOptionError
    """
    if value not in ("raise", "warn", "coerce"):
        raise InvalidOptionError(must_be("on_mismatch", "'raise', 'warn' or 'coerce'", value))


def conform(
    featurizer: Featurizer, table: pd.DataFrame
) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Return the table with absent columns and unreadable cells as missing, and what was changed.

    The caller's table stays as it is.
    """
    absent = featurizer.missing_columns(table)
    positions = positions_of(table.columns)
    findings = [_absent(name) for name in absent]
    replaced: dict[int, pd.Series] = {}
    for column, encoder in zip(featurizer.schema.used, featurizer.encoders.values(), strict=True):
        if column.name in absent:
            continue
        place = positions[column.name]
        values = table.iloc[:, place]
        unreadable = encoder.unreadable(values)
        if unreadable.any():
            findings.append(_unreadable(column, values, unreadable))
            replaced[place] = values.astype(object).mask(unreadable, None)
    if not findings:
        return table, ()
    parts = [replaced.get(i, table.iloc[:, i]) for i in range(table.shape[1])]
    parts += [pd.Series(None, index=table.index, dtype=object) for _ in absent]
    names = pd.Index([*table.columns, *absent], tupleize_cols=False, dtype=object)
    return pd.concat(parts, axis=1, keys=range(len(parts))).set_axis(names, axis=1), tuple(findings)


def population_stability(before: Counts, after: Counts) -> float:
    """Return the population stability index of two histograms over the same bins [1]_.

    The sum of (q - p) log(q / p) over the bins' shares; half a row is added to every bin, so that
    empty ones stay finite. By custom, from 0.1 on it is notable and from 0.25 on large.

    References
    ----------
    .. [1] Siddiqi, "Credit Risk Scorecards", Wiley, 2006.
    """
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (before, after))
    return float(np.sum((q - p) * np.log(q / p)))


def chance_stability(before: Counts, after: Counts, probability: float) -> float:
    """Return the index that two samples of one source exceed with the given probability [1]_.

    Times n m / (n + m), the index of n and m rows follows a chi-squared distribution.

    References
    ----------
    .. [1] Yurdakul, "Statistical properties of population stability index", 2018.
    """
    from scipy.stats import chi2

    freedom = max(1, int(((before + after) > 0).sum()) - 1)
    sizes = 1.0 / max(1, int(before.sum())) + 1.0 / max(1, int(after.sum()))
    return float(sizes * chi2.isf(probability, freedom))


@dataclass(frozen=True)
class _Comparison:
    """One column of the new data beside what training held of it."""

    column: Column
    values: pd.Series
    reading: Reading
    before: ColumnSummary | None
    n_columns: int

    def findings(self) -> Iterator[Finding]:
        """Yield what differs."""
        before = self.before
        if before is None:
            return
        dtype = str(self.values.dtype)
        if dtype != before.dtype:
            text = f"has dtype {dtype!r}, {before.dtype!r} in training"
            yield self._finding("dtype", Severity.NOTE, text)
        if not len(self.values):
            return
        yield from self._range(before)
        yield from self._levels(before)
        yield from self._missing(before)
        yield from self._drift(before)

    def row(self) -> dict[str, Any]:
        """Return the column's figures."""
        before, n_rows = self.before, len(self.values)
        known = before is not None and before.n_rows
        return {
            "kind": self.column.kind.value,
            "dtype_train": before.dtype if before else None,
            "dtype_new": str(self.values.dtype),
            "missing_train": before.n_missing / before.n_rows if before and known else np.nan,
            "missing_new": self.reading.missing.mean() if n_rows else np.nan,
            "psi": np.nan if before is None else self._psi(before),
        }

    def _histograms(self, before: ColumnSummary) -> tuple[Counts, Counts]:
        """Return the rows in each bin, before and now; rare categories are one bin."""
        old, new = np.array(before.counts, dtype=np.int64), before.count(self.reading)
        if len(old) <= _COMPARED_LEVELS:
            return old, new
        old, new = (
            np.append(counts[: _COMPARED_LEVELS - 1], counts[_COMPARED_LEVELS - 1 :].sum())
            for counts in (old, new)
        )
        return old, new

    def _psi(self, before: ColumnSummary) -> float:
        old, new = self._histograms(before)
        comparable = len(old) > 1 and old.sum() and new.sum()
        return population_stability(old, new) if comparable else np.nan

    def _range(self, before: ColumnSummary) -> Iterator[Finding]:
        numbers = self.reading.numbers
        if numbers is None:
            return
        outside = (numbers < before.low) | (numbers > before.high)
        if outside.any():
            low, high = (self._shown(bound) for bound in (before.low, before.high))
            is_text = self.column.kind is Kind.TEXT
            what, unit = ("has texts of lengths", " characters") if is_text else ("is", "")
            text = (
                f"{what} outside the training range of {low} to {high}{unit} in {_rows(outside)}, "
                f"such as {named_cells(self.values, outside)}"
            )
            reach = before.high - before.low
            far = (numbers < before.low - reach) | (numbers > before.high + reach)
            severity = Severity.WARNING if far.any() else self._range_severity(before, outside)
            yield self._finding("out of range", severity, text)

    def _range_severity(self, before: ColumnSummary, outside: Bools) -> Severity:
        """Return a note where so many rows may lie outside by chance.

        Of n rows and m earlier ones of one source in random order, k of the n lie beyond all m at
        one end with a probability of at most (n / (n + m)) ** k.
        """
        count, share = int(outside.sum()), len(outside) / (len(outside) + before.n_rows)
        by_chance = (count + 1) * share**count > _FALSE_ALARMS / self.n_columns
        return Severity.NOTE if by_chance else Severity.WARNING

    def _level_severity(self, before: ColumnSummary, count: int) -> Severity:
        """Return a note where so many rows may be of new categories by chance.

        Of the next row, the chance of a new category is the share of rows whose category came once
        (Good, "The population frequencies of species", Biometrika, 1953).
        """
        from scipy.stats import poisson

        once = 1 + sum(n_rows == 1 for n_rows in before.counts)
        expected = len(self.values) * once / (before.n_rows + 1)
        by_chance = poisson.sf(count - 1, expected) > _FALSE_ALARMS / self.n_columns
        return Severity.NOTE if by_chance else Severity.WARNING

    def _shown(self, bound: float) -> str:
        if self.column.kind is not Kind.DATETIME or not np.isfinite(bound):
            return f"{bound:.15g}"
        return str(np.datetime64("1970-01-01T00:00:00") + np.timedelta64(int(bound), "s"))

    def _levels(self, before: ColumnSummary) -> Iterator[Finding]:
        codes, keys = self.reading.codes, self.reading.keys
        if codes is None or not before.is_complete:
            return
        known = set(before.levels)
        is_new = np.array([*(key not in known for key in keys), False], dtype=bool)
        if is_new.any():
            new = [repr(key[:40]) for key in keys if key not in known]
            more = f" and {len(new) - _SHOWN_LEVELS} more" if len(new) > _SHOWN_LEVELS else ""
            where = is_new[codes]
            text = (
                f"has categories that training did not: {', '.join(new[:_SHOWN_LEVELS])}{more}, "
                f"in {_rows(where)}, such as {named_cells(self.values, where)}"
            )
            severity = self._level_severity(before, int(where.sum()))
            yield self._finding("new categories", severity, text)

    def _missing(self, before: ColumnSummary) -> Iterator[Finding]:
        missing = self.reading.missing
        old, new = before.n_missing / max(1, before.n_rows), float(missing.mean())
        if old == new:
            return
        text = f"is missing in {new:.1%} of the rows, {old:.1%} in training"
        shares = np.array([[n_missing, n_rows - n_missing] for n_missing, n_rows in (
            (before.n_missing, before.n_rows), (int(missing.sum()), len(missing)))])  # fmt: skip
        chance = chance_stability(shares[0], shares[1], _FALSE_ALARMS / self.n_columns)
        by_chance = population_stability(shares[0], shares[1]) <= chance
        if abs(new - old) > _NOTABLE_MISSING and not by_chance:
            yield self._finding("missing values", Severity.WARNING, text)
        elif old == 0.0:
            cells = named_cells(self.values, missing)
            yield self._finding("missing values", Severity.NOTE, f"{text}, such as {cells}")

    def _drift(self, before: ColumnSummary) -> Iterator[Finding]:
        psi = self._psi(before)
        old, new = self._histograms(before)
        chance = chance_stability(old, new, _FALSE_ALARMS / self.n_columns)
        if psi > max(NOTABLE_PSI, chance):
            size = "large" if psi > LARGE_PSI else "notable"
            text = (
                f"is distributed otherwise than in training: population stability index {psi:.2f} "
                f"({size}; {chance:.2f} could be chance)"
            )
            yield self._finding("drift", Severity.WARNING, text)

    def _finding(self, problem: str, severity: Severity, text: str) -> Finding:
        name = self.column.name
        return Finding(name, problem, severity, f"Column {name!r} {text}.")


def _of_columns(
    featurizer: Featurizer, positions: dict[Hashable, int], expected: set[Hashable]
) -> Iterator[Finding]:
    """Yield the columns that are absent, and those that are new."""
    for column in featurizer.schema.used:
        if column.name not in positions:
            yield _absent(column.name)
    known = {column.name for column in featurizer.schema} | expected
    for name in positions:
        if name not in known:
            text = f"Column {name!r} was not in the training data; it is not used."
            yield Finding(name, "new column", Severity.NOTE, text)


def _absent(name: Hashable) -> Finding:
    text = f"Column {name!r} of the training data is absent."
    return Finding(name, "missing column", Severity.ERROR, text)


def _unreadable(column: Column, values: pd.Series, where: Bools) -> Finding:
    text = (
        f"Column {column.name!r} has values that cannot be read as {column.kind.value} in "
        f"{_rows(where)}: {named_cells(values, where)}."
    )
    return Finding(column.name, "unreadable values", Severity.ERROR, text)


def _rows(where: Bools) -> str:
    count = int(where.sum())
    return "1 row" if count == 1 else f"{count} rows"


def _as_frame(rows: dict[Hashable, dict[str, Any]]) -> pd.DataFrame:
    names = ["kind", "dtype_train", "dtype_new", "missing_train", "missing_new", "psi"]
    index = pd.Index(list(rows), tupleize_cols=False, dtype=object, name="column")
    return pd.DataFrame(list(rows.values()), index=index, columns=names)
