"""What an ONNX model takes: an input for each column that the predictor uses.

Numbers come in as float64, times as seconds since 1970 in float64, both NaN where missing;
categories as text, empty where missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tabular_automl.core.errors import ExportError
from tabular_automl.data.column_names import positions_of
from tabular_automl.encoders.base import ColumnEncoder
from tabular_automl.encoders.category import CategoryEncoder
from tabular_automl.encoders.datetime import DatetimeEncoder
from tabular_automl.encoders.feature_parts import FeaturePart
from tabular_automl.encoders.featurizer import Featurizer
from tabular_automl.encoders.numeric import NumericEncoder
from tabular_automl.encoders.storage import distinct_cells


@dataclass(frozen=True)
class Input:
    """What an input takes, in words for the user, and its dtype."""

    kind: str
    dtype: Any


INPUTS: dict[type[ColumnEncoder], Input] = {
    NumericEncoder: Input("number", np.float64),
    DatetimeEncoder: Input("seconds since 1970", np.float64),
    CategoryEncoder: Input("text", object),
}


def exported_parts(featurizer: Featurizer) -> list[FeaturePart]:
    """Return the columns that features come from, after checking that each can be converted.

    Raises
    ------
    ExportError
        Names the column.
    """
    paired = {name for pair in featurizer.pairs for name in pair}
    parts = [
        part
        for part in featurizer.parts
        if len(part.numeric) or len(part.codes) or part.name in paired
    ]
    kinds = {column.name: column.kind.value for column in featurizer.schema.used}
    names: set[str] = set()
    for part in parts:
        reason = _why_not(part, kinds[part.name], names)
        if reason:
            raise ExportError(
                f"Column {part.name!r} must be one that ONNX can read, got {reason}; fit with "
                f"columns={{{part.name!r}: 'ignored'}} to leave it out, or serve the predictor "
                "with compile()."
            )
        names.add(str(part.name))
    if not parts:
        raise ExportError(
            "An ONNX model must have an input, got a predictor that reads no column; "
            "fit it on a table with usable columns."
        )
    return parts


def _why_not(part: FeaturePart, kind: str, names: set[str]) -> str:
    """Return why a column cannot be converted, nothing when it can."""
    encoder: Any = part.encoder
    name = str(part.name)
    if not name or name in names:
        return f"{name!r} as its name in text, which is empty or another column's"
    if type(encoder) not in INPUTS:
        return f"one of kind {kind!r}, which is not converted"
    if not isinstance(encoder, CategoryEncoder):
        return ""
    own = 1 if encoder.is_binary or encoder.is_counted else 0
    if (part.numeric >= own).any():
        return "categories that seldom repeat and are read letter by letter"
    return ""


def input_kinds(parts: Sequence[FeaturePart]) -> dict[str, str]:
    """Return what each input takes, by its name: numbers, seconds since 1970, or text."""
    return {str(part.name): INPUTS[type(part.encoder)].kind for part in parts}


def input_values(parts: Sequence[FeaturePart], table: pd.DataFrame) -> dict[str, Any]:
    """Return what the inputs take for the rows of a table, by their names."""
    positions = positions_of(table.columns)
    values: dict[str, Any] = {}
    for part in parts:
        column = table.iloc[:, positions[part.name]]
        if isinstance(part.encoder, (NumericEncoder, DatetimeEncoder)):
            values[str(part.name)] = part.encoder.read(column)
        else:
            codes, keys = distinct_cells(column)
            values[str(part.name)] = np.array([*keys, ""], dtype=object)[codes]
    return values
