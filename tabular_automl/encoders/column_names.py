"""Column names of any kind as plain data."""

from __future__ import annotations

import datetime
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from tabular_automl.core.errors import DataError


def name_to_json(name: Hashable) -> Any:
    """Return a column name as something json holds.

    Raises
    ------
    DataError
        When the name is neither text, number, date nor a tuple of these.
    """
    if isinstance(name, (np.generic)):
        name = name.item()
    if name is None or isinstance(name, (str, bool, int, float)):
        return name
    if isinstance(name, tuple):
        return {"tuple": [name_to_json(part) for part in name]}
    if isinstance(name, pd.Timestamp):
        return {"timestamp": name.isoformat()}
    if isinstance(name, datetime.date):
        return {"date": name.isoformat()}
    raise DataError(
        f"A column name must be text, a number, a date or a tuple of these, got {name!r}; "
        "rename the column."
    )


def name_from_json(value: Any) -> Hashable:
    """Return the column name that `name_to_json` was given."""
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(name_from_json(part) for part in value["tuple"])
    if "timestamp" in value:
        return pd.Timestamp(value["timestamp"])
    return datetime.date.fromisoformat(value["date"])
