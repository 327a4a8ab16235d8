"""Whether an exported model answers as the predictor does, and on which rows to find out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.core.errors import ExportError
from tabular_automl.core.imports import import_optional
from tabular_automl.data.schema import Kind
from tabular_automl.encoders.summary import ColumnSummary
from tabular_automl.fitted import FittedPipeline

MAX_ROWS = 1000
TOLERANCE = 1e-4
_MOST_OTHER_LABELS = 0.01  # of the rows: two classes may be as good as equally probable
_MISSING_SHARE = 0.05  # of the cells of drawn rows, at least
_UNSEEN = "a category that training did not have"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Parity:
    """How far an exported model is from the predictor.

    Attributes
    ----------
    n_rows : int
    largest_difference : float
        Of a probability; of a value in standard deviations of the training labels.
    n_other_labels : int
        Rows with another class; only where two classes are as good as equally probable.
    rows_from : str
    versions : mapping of str to str
    """

    n_rows: int
    largest_difference: float
    n_other_labels: int
    rows_from: str
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, the tolerance included."""
        return {**asdict(self), "tolerance": TOLERANCE}


@dataclass(frozen=True)
class Answer:
    """What the predictor, or the exported model, says of some rows.

    Attributes
    ----------
    numbers : ndarray of shape (n_rows, n_outputs)
        Probabilities, or values.
    labels : ndarray of shape (n_rows,)
        The values again for a regression.
    """

    numbers: Array
    labels: Array


def run_model(content: bytes, inputs: Mapping[str, Any], names: Mapping[str, str]) -> Answer:
    """Return what onnxruntime makes of an exported model and its inputs.

    Raises
    ------
    MissingDependencyError
        When onnxruntime is not installed.
    """
    purpose = "Checking an exported model"
    runtime = import_optional("onnxruntime", extra="onnx", purpose=purpose)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = dict(zip(names, session.run(list(names.values()), dict(inputs)), strict=True))
    labels = found["prediction"]
    return Answer(found.get("probabilities", labels[:, None]), labels)


def compare(pipeline: FittedPipeline, expected: Answer, actual: Answer) -> tuple[float, int]:
    """Return the largest difference, and in how many rows the labels differ.

    Raises
    ------
    ExportError
        When the difference is beyond `TOLERANCE`, or more labels differ than ties can explain.
    """
    off = np.abs(_scaled(pipeline, actual.numbers) - _scaled(pipeline, expected.numbers))
    off[np.isnan(off)] = np.inf
    largest = float(off.max(initial=0.0))
    if largest > TOLERANCE:
        row = int(off.max(axis=1).argmax())
        raise ExportError(
            f"The exported model must answer within {TOLERANCE:g} of the predictor, got a "
            f"difference of {largest:.2g} in row {row}; nothing was written, so serve the "
            "predictor with compile()."
        )
    if not pipeline.task.is_classification:
        return largest, 0
    n_others = int(np.count_nonzero(actual.labels != expected.labels))
    if n_others > max(1, _MOST_OTHER_LABELS * len(expected.labels)):
        raise ExportError(
            f"The exported model must decide as the predictor does, got another label in "
            f"{n_others} of {len(expected.labels)} rows; nothing was written, so serve the "
            "predictor with compile()."
        )
    return largest, n_others


def _scaled(pipeline: FittedPipeline, numbers: Array) -> Array:
    """Return probabilities as they are, values in standard deviations of the label."""
    codec = pipeline.codec
    if codec.task.is_classification:
        return numbers
    return (np.log1p(numbers) if codec.log else numbers) / codec.scale


def drawn_rows(pipeline: FittedPipeline, names: Sequence[Hashable]) -> pd.DataFrame:
    """Return rows like those of training, drawn column by column, some of their cells missing.

    Raises
    ------
    ExportError
        When the predictor does not remember what its training columns held.
    """
    if pipeline.summary is None:
        raise ExportError(
            "Rows to compare on must be given, got a predictor that remembers none; pass data=..."
        )
    rng = np.random.default_rng(0)
    columns = pipeline.summary.columns
    used = pipeline.featurizer.schema.used
    kinds = {column.name: column.kind for column in used}
    drawn = {name: _drawn_column(columns[name], kinds[name], rng) for name in names}
    unread = {column.name: None for column in used if column.name not in drawn}
    return pd.DataFrame({**drawn, **unread}, index=pd.RangeIndex(MAX_ROWS))


def _drawn_column(column: ColumnSummary, kind: Kind, rng: np.random.Generator) -> Array:
    share = max(_MISSING_SHARE, column.n_missing / max(1, column.n_rows))
    missing = rng.random(MAX_ROWS) < share
    if column.levels:
        known = np.array([*column.levels, _UNSEEN], dtype=object)
        cells = rng.choice(known, MAX_ROWS)
        cells[missing] = None
        return cells
    numbers = _drawn_numbers(column, rng)
    numbers[missing] = np.nan
    if kind is not Kind.DATETIME:
        return numbers
    days = np.full(MAX_ROWS, "NaT", dtype="datetime64[s]")  # in nanoseconds there is no year 9999
    known = ~np.isnan(numbers)
    days[known] = np.round(numbers[known]).astype(np.int64).astype("datetime64[s]")
    return days


def _drawn_numbers(column: ColumnSummary, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw from the bins' borders, where a small set of numbers has its values, and between."""
    borders = [column.low, *column.edges, column.high]
    points = np.unique([border for border in borders if np.isfinite(border)])
    if not len(points):
        return np.full(MAX_ROWS, np.nan)
    chosen = rng.choice(points, MAX_ROWS)
    between = np.interp(rng.random(MAX_ROWS) * len(points), np.arange(len(points)), points)
    return np.where(rng.random(MAX_ROWS) < 0.5, chosen, between)
