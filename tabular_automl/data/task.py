"""What is predicted: the task, and the codec between the user's labels and the models' target."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.artifacts.state import State
from tabular_automl.core.errors import InvalidOptionError, LabelError, unknown_name
from tabular_automl.data.column_names import name_from_json, name_to_json
from tabular_automl.data.labels import (
    Floats,
    as_numbers,
    cells,
    check_dtype,
    column_words,
    dtype_from_json,
    dtype_to_json,
    factorize_labels,
    in_plain_dtype,
    listed,
    mark_of,
    missing_label,
    plain_value,
    read_numbers,
    unwrapped,
)
from tabular_automl.data.number_texts import MARKS

Array = npt.NDArray[Any]

MOST_TEXT_CLASSES = 20  # distinct numbers that may be classes, when they are written as texts
_MANY_CLASSES = 100  # more than this and hardly any repeated: an identifier or free text
_MARGIN = 0.05  # of the training range, how far beyond it a regression may predict


class ProblemType(StrEnum):
    """The kinds of task, by the names users write."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


@dataclass(frozen=True)
class Task:
    """What is predicted, as the models see it.

    Attributes
    ----------
    problem_type : ProblemType
    n_classes : int
        Number of classes; 0 for regression.
    """

    problem_type: ProblemType
    n_classes: int = 0

    @property
    def is_classification(self) -> bool:
        """Whether the target is a class."""
        return self.problem_type is not ProblemType.REGRESSION

    @property
    def n_outputs(self) -> int:
        """Columns of a model's prediction: one probability for each class, or one value."""
        return self.n_classes if self.is_classification else 1


def infer_task(y: pd.Series, problem_type: str | None = None) -> tuple[Task, str]:
    """Return the task and the reason for it, one clause for the user.

    Booleans, categories and text are classes, unless the text is numbers of many distinct values.
    Numbers with fractions are a regression. Whole numbers (also when stored as floats, as pandas
    does where labels are missing) are classes when

    - there are 2 of them; or up to 10, with at least 3 rows each on average; or
    - there are 11 to 20, with at least 20 rows on average and 5 rows of the rarest (counts and
      measurements have thinner tails); or
    - there are up to 1000, numbered without gaps from 0 or 1, and the rarest has at least 10 rows
      and half the average (nothing but codes is spread so evenly);

    and a regression otherwise.

    Parameters
    ----------
    y : Series of shape (n_samples,)
        Labels without missing ones.
    problem_type : str or None
        "binary", "multiclass" or "regression" where the user says so. "multiclass" with two
        classes becomes "binary".

    Raises
    ------
    LabelError
        When there are no labels, or of one value only; when they are dates; when numbers are
        infinite; when they are not what ``problem_type`` needs.
    InvalidOptionError
        When the problem type is not known.
    """
    asked = None if problem_type is None else _read_problem_type(problem_type)
    check_dtype(y)
    if not len(y):
        raise LabelError(f"{column_words(y)} must hold values, got no labelled row.")
    codes, values = factorize_labels(y)
    if len(values) < 2:
        raise LabelError(
            f"{column_words(y)} must hold at least 2 different values, got only {values[0]!r}; "
            "check the column, or add rows with other labels."
        )
    reason = "as asked"
    if asked is None:
        asked, reason = _infer(y, values, np.bincount(codes[codes >= 0]))
    if asked is ProblemType.REGRESSION:
        read_numbers(y)
        return Task(asked), reason
    if asked is ProblemType.BINARY and len(values) != 2:
        raise LabelError(
            f"{column_words(y)} must hold exactly 2 classes for problem_type='binary', got "
            f"{len(values)} ({listed(values)}); use problem_type='multiclass'."
        )
    if len(values) == 2:
        return Task(ProblemType.BINARY, 2), "the label has 2 classes"
    if len(values) > _MANY_CLASSES and len(values) > len(y) / 2:
        raise LabelError(
            f"{column_words(y)} must hold classes that repeat, got {len(values)} different values "
            f"in {len(y)} rows ({listed(values)}); choose another column, or use "
            "problem_type='regression' for numbers."
        )
    return Task(ProblemType.MULTICLASS, len(values)), reason


@dataclass(frozen=True, eq=False)
class TargetCodec:
    """Between the user's labels and the models' target; made by `fit`, never changed.

    Attributes
    ----------
    task : Task
    name : hashable
        The label column's name.
    dtype : dtype
        The labels' own dtype.
    classes : Index of shape (n_classes,)
        The classes in the order of their codes: sorted, or in the order of the categories for a
        categorical column. Of two, the second is the positive one. Empty for a regression.
    log : bool
        Whether the models learn log(1 + y).
    center, scale : float
        Mean and standard deviation of the regression target (after the logarithm).
    low, high : float
        Smallest and largest training value (after the logarithm).
    mark : {".", ","}
        The decimal mark of labels written as texts.

    Examples
    --------
    >>> y = pd.Series(["no", "yes", "no"], name="churn")
    >>> codec = TargetCodec.fit(y, Task(ProblemType.BINARY, 2), "log_loss")
    >>> codec.encode(y).tolist()
    [0, 1, 0]
    >>> codec.labels(np.array([1])).tolist()
    ['yes']
    """

    task: Task
    name: Hashable
    dtype: Any
    classes: pd.Index
    log: bool = False
    center: float = 0.0
    scale: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    mark: str = "."

    @classmethod
    def fit(cls, y: pd.Series, task: Task, loss: str) -> TargetCodec:
        """Learn the classes, or the scale, of training labels without missing ones.

        Parameters
        ----------
        y : Series of shape (n_samples,)
        task : Task
        loss : str
            With "squared_log_error" the models learn log(1 + y).

        Raises
        ------
        LabelError
            When a label cannot be used, such as -1 or less under a logarithm.
        """
        y = in_plain_dtype(y)
        if task.is_classification:
            return cls(task, y.name, y.dtype, _sorted_classes(y))
        log, mark = loss == "squared_log_error", mark_of(y)
        target = _log1p(y, mark) if log else read_numbers(y, mark)
        largest = float(np.abs(target).max()) or 1.0
        unit = target / largest  # so that squares of huge or tiny values stay in range
        center, scale = float(unit.mean()) * largest, float(unit.std()) * largest
        low, high = float(target.min()), float(target.max())
        if not scale > 0.0:
            scale = 1.0
        return cls(task, y.name, y.dtype, pd.Index([]), log, center, scale, low, high, mark)

    def encode(self, y: pd.Series) -> Array:
        """Return the models' target, shape (n_samples,).

        int64 class codes, or float64 values of mean 0 and standard deviation 1 over the training
        rows.

        Raises
        ------
        LabelError
            When a label is missing, infinite, not a number, or a class that was not in training.
        """
        y = in_plain_dtype(y)
        if self.task.is_classification:
            return self._encode_classes(y)
        return (self._numbers_of(y) - self.center) / self.scale

    def decode(self, prediction: Array) -> Floats:
        """Return regression predictions in the user's units, shape (n_samples,).

        Clipped to the training range and 5 % of it (in the models' scale) to either side, since
        models that extrapolate can be arbitrarily far off; zero is not crossed when no training
        label does.

        Parameters
        ----------
        prediction : ndarray of shape (n_samples, 1) or (n_samples,)
            On the scale of `encode`.
        """
        value = np.asarray(prediction, dtype=np.float64).reshape(-1) * self.scale + self.center
        value = value.clip(*self.bounds)
        return np.expm1(value) if self.log else value

    def covering(self, y: pd.Series) -> TargetCodec:
        """Return the codec whose predictions may also be as low and as high as these labels."""
        if self.task.is_classification:
            return self
        target = self._numbers_of(in_plain_dtype(y))
        low, high = float(target.min()), float(target.max())
        return replace(self, low=min(self.low, low), high=max(self.high, high))

    def in_range(self, values: Floats) -> Floats:
        """Clip values in the user's units to what `decode` may return."""
        low, high = np.expm1(self.bounds) if self.log else self.bounds
        return np.clip(values, low, high)

    def labels(self, codes: Array, index: pd.Index | None = None) -> pd.Series:
        """Return class codes as labels, in the label's dtype and under its name.

        Parameters
        ----------
        codes : ndarray of int, shape (n_samples,)
        index : Index of shape (n_samples,), optional
        """
        positions = np.asarray(codes, dtype=np.intp)
        if isinstance(self.dtype, pd.CategoricalDtype):
            places = self.dtype.categories.get_indexer(self.classes)
            values: Any = pd.Categorical.from_codes(places[positions], dtype=self.dtype)
            return pd.Series(values, index=index, name=self.name)
        values = self.classes.take(positions).array
        return pd.Series(values, index=index, name=self.name).astype(self.dtype)

    def values(self, numbers: Array, index: pd.Index | None = None) -> pd.Series:
        """Return decoded regression values under the label's name.

        float32 when the labels were; float64 otherwise, also for whole-number labels.
        """
        dtype = np.float32 if self.dtype == np.float32 else np.float64
        flat = np.asarray(numbers).reshape(-1).astype(dtype)
        return pd.Series(flat, index=index, name=self.name)

    def state(self) -> State:
        """Return everything as plain values."""
        meta = {
            "problem_type": self.task.problem_type.value,
            "n_classes": self.task.n_classes,
            "name": name_to_json(self.name),
            "dtype": dtype_to_json(self.dtype),
            "classes": [plain_value(value) for value in self.classes],
            "log": self.log,
            "center": self.center,
            "scale": self.scale,
            "low": self.low,
            "high": self.high,
            "mark": self.mark,
        }
        return State(meta=meta)

    @classmethod
    def from_state(cls, state: State) -> TargetCodec:
        """Return the codec that `state` came from."""
        meta = state.meta
        dtype = dtype_from_json(meta["dtype"])
        classes = _as_index(meta["classes"], dtype)
        state.require(classes.is_unique, "classes", "differ from each other")
        problem_type, mark = ProblemType(meta["problem_type"]), meta.get("mark", ".")
        state.require(mark in MARKS, "mark", f"be one of {' '.join(MARKS)}")
        return cls(
            Task(problem_type, state.integer("n_classes", len(classes), len(classes))),
            name_from_json(meta["name"]),
            dtype,
            classes,
            bool(meta["log"]),
            state.number("center"),
            state.number("scale", least=math.ulp(0.0)),
            state.number("low", least=-math.inf),
            state.number("high", most=math.inf),
            mark,
        )

    @cached_property
    def _code_of(self) -> dict[Any, int]:
        codes = {plain_value(value): code for code, value in enumerate(self.classes)}
        if self.has_mixed_classes:  # a text file has all of them as texts
            for code, value in enumerate(self.classes):
                codes.setdefault(str(value), code)
        return codes

    @property
    def has_mixed_classes(self) -> bool:
        """Whether some classes are texts and others not, such as 0 and "unknown"."""
        return len({isinstance(value, str) for value in self.classes}) > 1

    @property
    def bounds(self) -> tuple[float, float]:
        """How far decoded predictions may go, on the user's scale before `log` is undone."""
        margin = _MARGIN * self.high - _MARGIN * self.low  # the difference itself may overflow
        low, high = self.low - margin, self.high + margin
        return max(low, 0.0) if self.low >= 0 else low, min(high, 0.0) if self.high <= 0 else high

    def _numbers_of(self, y: pd.Series) -> Floats:
        """Return the labels of a regression, or the logarithms that the models learn."""
        return _log1p(y, self.mark) if self.log else read_numbers(y, self.mark)

    def _encode_classes(self, y: pd.Series) -> npt.NDArray[np.int64]:
        codes, values = factorize_labels(y)
        if (codes < 0).any():
            raise missing_label(y, codes < 0)
        # plain values compare exactly: 2**53 and 2**53 + 1 differ, 1 and 1.0 do not
        known = [self._code_of.get(unwrapped(value), -1) for value in values]
        encoded = np.array(known, dtype=np.int64)[codes]
        if (encoded < 0).any():
            unseen = [value for value, code in zip(values, known, strict=True) if code < 0]
            row = unwrapped(y.index[encoded < 0][0])
            raise LabelError(
                f"{column_words(y)} must hold classes of the training data "
                f"({listed(self.classes)}), got {listed(unseen)}, first in row {row!r}; "
                "correct or drop those rows."
            )
        return encoded


def _read_problem_type(name: str) -> ProblemType:
    try:
        return ProblemType(name)
    except ValueError:
        raise InvalidOptionError(unknown_name("problem type", name, list(ProblemType))) from None


def _infer(y: pd.Series, values: list[Any], counts: Array) -> tuple[ProblemType, str]:
    """Return the problem type that the distinct values and their row counts speak for."""
    several = ProblemType.MULTICLASS  # becomes binary where there are two
    if isinstance(y.dtype, pd.CategoricalDtype):
        return several, "the label is a categorical column"
    if all(isinstance(value, bool) for value in values):
        return several, "the label is boolean"
    is_text = any(isinstance(value, str) for value in values)
    distinct = as_numbers(pd.Series(values, dtype=object if is_text else None))
    if np.isnan(distinct).any():
        return several, f"the label is text with {len(values)} distinct values"
    finite = distinct[np.isfinite(distinct)]
    fractions = bool((finite != np.round(finite)).any())
    if is_text and len(values) <= MOST_TEXT_CLASSES and counts.mean() >= 2:
        return several, f"the label is text with {len(values)} distinct values"
    if fractions:
        return ProblemType.REGRESSION, "the label has numbers with fractions"
    if _are_codes(distinct, counts):
        return several, f"the label has {len(values)} distinct whole numbers, each of many rows"
    return (
        ProblemType.REGRESSION,
        f"the label has {len(values)} distinct whole numbers, too many or too unevenly repeated "
        "for classes",
    )


def _are_codes(values: Floats, counts: Array) -> bool:
    """Return whether whole numbers are classes, as the docstring of `infer_task` says."""
    n_values, average, rarest = len(values), counts.mean(), counts.min()
    if n_values <= 10:
        return n_values == 2 or bool(average >= 3)
    if n_values <= 20 and average >= 20 and rarest >= 5:
        return True
    first = values.min()
    without_gaps = first in (0, 1) and values.max() - first == n_values - 1
    return bool(n_values <= 1000 and without_gaps and rarest >= max(10, average / 2))


def _log1p(y: pd.Series, mark: str) -> Floats:
    numbers = read_numbers(y, mark)
    bad = numbers <= -1.0
    if bad.any():
        raise LabelError(
            f"{column_words(y)} must be above -1 for a metric of logarithmic errors, got "
            f"{cells(y, bad)}; choose another eval_metric, such as 'root_mean_squared_error'."
        )
    return np.log1p(numbers)


def _sorted_classes(y: pd.Series) -> pd.Index:
    """Return the distinct labels in the order of their codes."""
    if isinstance(y.dtype, pd.CategoricalDtype):
        for category in y.cat.categories:
            _check_class(y, category)
        codes = y.cat.codes.to_numpy()
        return pd.Index(y.cat.categories[np.unique(codes[codes >= 0])], name=None)
    values = factorize_labels(y)[1]
    for value in values:
        _check_class(y, value)
    try:
        ordered = sorted(values)
    except TypeError:  # text next to numbers: by type, then by value
        ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
    return _as_index(ordered, y.dtype)


def _check_class(y: pd.Series, value: object) -> None:
    plain = unwrapped(value)
    if isinstance(plain, float) and math.isinf(plain):
        raise LabelError(
            f"{column_words(y)} must hold finite numbers, got {plain!r}; drop those rows."
        )
    if not isinstance(plain, (str, bool, int, float)):
        raise LabelError(
            f"{column_words(y)} must hold text, numbers or booleans, got {plain!r} of type "
            f"{type(plain).__name__}; convert it with .astype(str)."
        )


def _as_index(values: list[Any], dtype: Any) -> pd.Index:
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = dtype.categories.dtype
    if dtype == np.float16:  # pandas has no index of them; they fit into float32 exactly
        dtype = np.dtype(np.float32)
    return pd.Index(values, dtype=dtype)
