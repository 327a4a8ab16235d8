"""Fingerprints of a table's content, column by column, to tell whether two tables are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

_N_NAMED = 3  # columns that a difference names


def fingerprint_table(table: pd.DataFrame) -> dict[str, Any]:
    """Return the number of rows and a sum of each column's dtype and values, in plain values.

    Row order and column order count; the index does not, since no model sees it.
    """
    columns = [[repr(name), _fingerprint(table[name])] for name in table.columns]
    return {"n_rows": len(table), "columns": columns}


def table_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between the tables of two fingerprints, one clause each."""
    if before == now:
        return []
    then, today = dict(before["columns"]), dict(now["columns"])
    found = [
        _name_columns("the table lacks", [name for name in then if name not in today]),
        _name_columns("the table adds", [name for name in today if name not in then]),
    ]
    if before["n_rows"] != now["n_rows"]:
        found.append(f"the table has {now['n_rows']} rows instead of {before['n_rows']}")
    else:
        changed = [name for name in then if name in today and then[name] != today[name]]
        found.append(_name_columns("other values, dtypes or row order in", changed))
    found = [clause for clause in found if clause]
    return found or ["the columns are in another order"]


def _name_columns(clause: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return f"{clause} {', '.join(names[:_N_NAMED])}{more}"


def _fingerprint(column: pd.Series) -> str:
    digest = hashlib.blake2b(str(column.dtype).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(_hash_values(column)).data)
    return digest.hexdigest()


def _hash_values(column: pd.Series) -> Any:
    try:
        return pd.util.hash_pandas_object(column, index=False).to_numpy()
    # Lists and other values without a hash of their own; halves of a character.
    except (TypeError, UnicodeEncodeError):
        return pd.util.hash_pandas_object(column.map(repr), index=False).to_numpy()
