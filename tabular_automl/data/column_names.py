"""Column names of any kind: as keys, and as plain data."""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from tabular_automl.core.errors import DataError


def name_key(name: Hashable) -> Hashable:
    """Return a name that finds itself in a dict; each NaN is equal to no other otherwise."""
    return np.nan if isinstance(name, float) and name != name else name


def positions_of(columns: pd.Index) -> dict[Hashable, int]:
    """Return where each name stands, the last place of names that come twice."""
    some_unnamed = columns.nlevels == 1 and columns.hasnans
    plain = columns.tolist()  # much quicker to go through than an index of texts
    names: Iterable[Hashable] = map(name_key, plain) if some_unnamed else plain
    return {name: position for position, name in enumerate(names)}


def name_to_json(name: Hashable) -> Any:
    """Return a column name as something json holds.

    Raises
    ------
    DataError
        When the name is neither text, number, date nor a tuple of these.
    """
    plain = name.item() if isinstance(name, np.generic) and name.dtype.kind in "biufU" else name
    if plain is None or isinstance(plain, (str, bool, int, float)):
        return plain
    if isinstance(plain, tuple):
        return {"tuple": [name_to_json(part) for part in plain]}
    if isinstance(plain, datetime.date) and not pd.isna(plain):
        kind = "timestamp" if isinstance(plain, datetime.datetime) else "date"
        return {kind: plain.isoformat()}
    raise DataError(
        f"A column name must be text, a number, a date or a tuple of these, got {plain!r}; "
        "rename the column."
    )


def name_from_json(value: Any) -> Hashable:
    """Return the column name that `name_to_json` was given."""
    if not isinstance(value, dict):
        return name_key(value)
    if "tuple" in value:
        return tuple(name_from_json(part) for part in value["tuple"])
    if "timestamp" in value:
        return pd.Timestamp(value["timestamp"])
    return datetime.date.fromisoformat(value["date"])
