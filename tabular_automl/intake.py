"""What a fit is asked, read: the target, the features beside it, and the columns that steer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.artifacts.journal import Journal
from tabular_automl.config import FitConfig
from tabular_automl.core.errors import (
    DataError,
    InvalidOptionError,
    LabelError,
    MissingColumnsError,
    unknown_name,
)
from tabular_automl.core.events import Note, Reporter
from tabular_automl.data.column_names import name_to_json
from tabular_automl.data.drawing import Draw
from tabular_automl.data.folds import Folds, given_folds, make_folds
from tabular_automl.data.labels import (
    as_numbers,
    factorize_labels,
    listed,
    read_numbers,
    unwrapped,
)
from tabular_automl.data.schema import Kind, Schema
from tabular_automl.data.task import (
    MOST_TEXT_CLASSES,
    ProblemType,
    TargetCodec,
    Task,
    infer_task,
)
from tabular_automl.encoders.date_formats import ISO, choose_formats, parse_texts
from tabular_automl.encoders.storage import (
    MISSING,
    Storage,
    distinct_cells,
    is_na_token,
    storage_of,
)
from tabular_automl.metrics.base import Metric
from tabular_automl.metrics.resolve import check_on_labels, resolve_metric

MetricLike = Any  # a name, a Metric or the user's own function
_OF_FOLDS = (Kind.GROUP, Kind.TIME, Kind.FOLD)  # roles of which one decides on the folds


@dataclass(frozen=True)
class FitRequest:
    """What the user asks for.

    Attributes
    ----------
    table : DataFrame
        With the label.
    label : hashable
    problem_type : str or None
    metric : str, Metric, callable or None
    columns : mapping
        Column to kind or role: the user's overrides.
    config : FitConfig
    journal : Journal or None
        Where finished work is kept, and found when the fit is resumed.
    anew : bool
        Whether work that the journal holds is replaced, and not continued.
    """

    table: pd.DataFrame = field(repr=False)
    label: Hashable
    problem_type: str | None
    metric: MetricLike
    columns: Mapping[Hashable, str]
    config: FitConfig
    journal: Journal | None = None
    anew: bool = False


_WORDS_FOR_MISSING = (
    "Were they a class of their own, such as 'NA'? pandas reads such cells of a file as missing: "
    "write another word there, or pass a table read with keep_default_na=False."
)


@dataclass(frozen=True)
class Target:
    """The label, read: features without it, and the target in the models' and the user's units."""

    features: pd.DataFrame
    codec: TargetCodec
    metric: Metric
    encoded: npt.NDArray[Any]
    in_user_units: npt.NDArray[Any]
    reason: str

    def of_rows(self, rows: npt.NDArray[np.intp]) -> Target:
        """Return the target of some of the rows, which knows the classes and bounds of all."""
        return replace(
            self,
            features=self.features.iloc[rows],
            encoded=self.encoded[rows],
            in_user_units=self.in_user_units[rows],
        )


@dataclass(frozen=True)
class Roles:
    """Columns that steer the fit.

    Attributes
    ----------
    weight : ndarray of shape (n_samples,) or None
        Of mean 1.
    group, time, fold : Series or None
        One of them at most.
    """

    weight: npt.NDArray[np.float64] | None
    group: pd.Series | None
    time: pd.Series | None
    fold: pd.Series | None

    def of_draw(self, draw: Draw) -> Roles:
        """Return the roles of rows that were drawn, which count as what they stand for."""
        columns = {
            role: None if column is None else column.iloc[draw.rows]
            for role, column in (("group", self.group), ("time", self.time), ("fold", self.fold))
        }
        return Roles(draw.weigh(self.weight), **columns)

    def split(
        self,
        task: Task,
        y: npt.NDArray[Any],
        *,
        n_folds: int,
        holdout_fraction: float | None = None,
        seed: int,
    ) -> Folds:
        """Return the user's own folds, at most ``n_folds``, or those made as `make_folds` does."""
        if self.fold is not None:
            return given_folds(self.fold, most=n_folds)
        return make_folds(
            task,
            y,
            n_folds=n_folds,
            holdout_fraction=holdout_fraction,
            groups=self.group,
            time=self.time,
            seed=seed,
        )


def read_target(request: FitRequest, report: Reporter) -> Target:
    """Separate the label from the features, and drop and count the rows that have none."""
    table, label = request.table, request.label
    name_to_json(label)  # a label that could not be saved is refused before any work
    if label not in table.columns:
        raise LabelError(unknown_name("label column", label, table.columns))
    if not isinstance(table[label], pd.Series):
        raise LabelError(
            f"The label must name one column, got {label!r}, which stands for "
            f"{table[label].shape[1]}; name one of them in full, as a tuple."
        )
    if label in request.columns:
        raise InvalidOptionError(
            f"columns must not name the label {label!r}; say with problem_type how to read it."
        )
    missing = unlabelled(table[label], request.problem_type)
    if missing.any():
        report(Note(_about_dropped(table[label], missing)))
        table = table.loc[~missing]
    if not len(table):
        raise LabelError(f"The label column {label!r} must hold values, got only missing ones.")
    y = table[label]
    n_none = int((y.astype(object) == "None").sum())
    if n_none:
        report(Note(f"'None' is taken for a class, of {n_none} rows: drop them if it is none."))
    task, reason = infer_task(y, request.problem_type or _settled_by_metric(request.metric, y))
    metric = resolve_metric(request.metric, task.problem_type)
    codec = TargetCodec.fit(y, task, metric.loss)
    encoded = codec.encode(y)
    if codec.mark != ".":
        report(Note(_about_mark([value for value in y.astype(object) if isinstance(value, str)])))
    in_user_units = encoded if task.is_classification else read_numbers(y)
    if task.is_classification:
        metric = metric.bind(codec.classes.to_numpy())
    check_on_labels(metric, task, in_user_units)
    features = table.drop(columns=[label])
    return Target(features, codec, metric, encoded, in_user_units, reason)


def unlabelled(y: pd.Series, problem_type: str | None = None) -> npt.NDArray[np.bool_]:
    """Return which rows have no label: a missing or blank one, or "?" and the like among numbers.

    Where labels are said to be classes, by the problem type or as a categorical column, every text
    is one. Of so few numbers that they may be classes, a word beside them may be one as well,
    unless a regression is asked for.
    """
    missing = y.isna().to_numpy()
    are_classes = isinstance(y.dtype, pd.CategoricalDtype)
    if problem_type is not None:
        are_classes = problem_type != ProblemType.REGRESSION
    if are_classes or pd.api.types.is_numeric_dtype(y.dtype):
        return missing
    codes, values = factorize_labels(y)
    texts = [value.strip() if isinstance(value, str) else None for value in values]
    is_sign = [text is not None and is_na_token(text) for text in texts]
    others = [value for value, sign in zip(values, is_sign, strict=True) if not sign]
    numbers = as_numbers(pd.Series(others, dtype=object))
    may_be_classes = problem_type is None and len(numbers) <= MOST_TEXT_CLASSES
    if may_be_classes or np.isnan(numbers).any():
        is_sign = [text == "" for text in texts]
    return missing | np.append(is_sign, False).astype(bool)[codes]


def unlabelled_later(codec: TargetCodec, y: pd.Series) -> npt.NDArray[np.bool_]:
    """Return which rows of a later table have no label, as `unlabelled` says; a class is one."""
    if not codec.task.is_classification:
        return unlabelled(y, ProblemType.REGRESSION)
    return unlabelled(y) & ~y.isin(codec.classes).to_numpy()


def _about_dropped(y: pd.Series, missing: npt.NDArray[np.bool_]) -> str:
    """Return how many rows have no label, what was taken for none, and what may be wrong there."""
    told = f"{int(missing.sum())} of {len(y)} rows have no label and were dropped."
    signs = sorted(set(y[missing].dropna()))
    if signs:
        told += f" Taken for none: {listed(signs)}; problem_type='multiclass' keeps it as a class."
    if y.isna().any() and pd.api.types.infer_dtype(y, skipna=True) == "string":
        told += f" {_WORDS_FOR_MISSING}"
    return told


def _about_mark(texts: list[str]) -> str:
    """Return what the user should know of numbers that are not written with a decimal point."""
    with_comma = next((text for text in texts if "," in text), None)
    if with_comma is not None:
        return f"The comma in labels such as {with_comma!r} is taken for a decimal mark."
    # None has two points where the one that told is a category without rows.
    with_points = next((text for text in texts if text.count(".") > 1), texts[0])
    return f"The points in labels such as {with_points!r} are taken for marks of thousands."


def _settled_by_metric(metric: MetricLike, y: pd.Series) -> ProblemType | None:
    """Return the problem type where the metric leaves one only; whole numbers could be either."""
    if not isinstance(metric, (str, Metric)) or not _are_whole(y):
        return None
    types = resolve_metric(metric, None).problem_types
    if types == (ProblemType.REGRESSION,):
        return ProblemType.REGRESSION
    if ProblemType.REGRESSION in types:
        return None
    return ProblemType.BINARY if y.nunique() == 2 else ProblemType.MULTICLASS


def _are_whole(y: pd.Series) -> bool:
    """Return whether labels are whole numbers; those with a missing one are stored as floats."""
    if not pd.api.types.is_float_dtype(y.dtype):
        return pd.api.types.is_integer_dtype(y.dtype)
    values = y.to_numpy(dtype=np.float64, na_value=np.nan)
    return bool((values == np.floor(values)).all())


def read_roles(
    schema: Schema,
    features: pd.DataFrame,
    roles: Sequence[Kind] = (Kind.WEIGHT, *_OF_FOLDS),
) -> Roles:
    """Read weight, group, time and fold columns, or those that are needed; at most one of each.

    Raises
    ------
    MissingColumnsError
        When the table lacks a column.
    DataError
        When two columns have the same role, or two roles decide on the folds, or weights are
        negative, missing or all zero.
    """
    found: dict[Kind, pd.Series | None] = dict.fromkeys((Kind.WEIGHT, *_OF_FOLDS))
    for role in roles:
        columns = schema.of_kind(role)
        if len(columns) > 1:
            names = ", ".join(repr(column.name) for column in columns)
            raise DataError(f"Only one column can have the role {role.value!r}, got {names}.")
        for column in columns:
            if column.name not in features.columns:
                raise MissingColumnsError(
                    f"The table must have the {role.value} column {column.name!r}, as training had."
                )
            found[role] = features[column.name]
    deciding = [(role, given) for role in _OF_FOLDS if (given := found[role]) is not None]
    if len(deciding) > 1:
        got = " and ".join(f"the {role.value} column {given.name!r}" for role, given in deciding)
        raise DataError(
            "Folds keep groups together, follow the time, or are those that the table gives, "
            f"got {got}; name one of them only."
        )
    weight, time = found[Kind.WEIGHT], found[Kind.TIME]
    return Roles(
        weight=None if weight is None else _read_weight(weight),
        group=found[Kind.GROUP],
        time=None if time is None else _read_time(time),
        fold=found[Kind.FOLD],
    )


def _read_time(column: pd.Series) -> pd.Series:
    """Return a time column whose texts are dates of one form, such as 31.01.2024, in seconds.

    Any other column stays as it is: where folds are made it is read, or refused.
    """
    if storage_of(column) not in (Storage.CELLS, Storage.LEVELS):
        return column
    codes, keys = distinct_cells(column)
    formats = choose_formats(keys)
    if len(formats) != 1 or formats[0] == ISO or (codes == MISSING).any():
        return column
    seconds = parse_texts(keys, formats)
    if np.isnan(seconds).any():
        return column
    return pd.Series(seconds[codes], index=column.index, name=column.name)


def read_weight(schema: Schema, table: pd.DataFrame) -> npt.NDArray[np.float64] | None:
    """Return the weights of rows to score, of mean 1; None where there is no such column.

    Raises
    ------
    DataError
        When weights are negative, missing or all zero.
    """
    columns = schema.of_kind(Kind.WEIGHT)
    if not columns or columns[0].name not in table.columns:
        return None
    return _read_weight(table[columns[0].name])


def _read_weight(column: pd.Series) -> npt.NDArray[np.float64]:
    """Return weights of mean 1."""
    numbers = pd.to_numeric(column, errors="coerce")
    weight = np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
    bad = ~np.isfinite(weight) | (weight < 0)
    if bad.any():
        row, value = unwrapped(column.index[bad][0]), column[bad].iloc[0]
        raise DataError(
            f"The weight column {column.name!r} must hold non-negative numbers, "
            f"got {value} in row {row!r}; correct it, or leave the row or the column out."
        )
    if not weight.sum() > 0:
        raise DataError(
            f"The weight column {column.name!r} must not be all zero; give some rows a weight."
        )
    return np.asarray(weight / weight.mean(), dtype=np.float64)
