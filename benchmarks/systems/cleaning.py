"""What a careful person does to a table before a gradient-boosted tree library gets it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Self

import pandas as pd

_ENOUGH = 0.95  # share of a text column that must read as numbers or dates


class Cleaner:
    """Numbers and dates become floats, everything else a category; columns get plain names.

    Parameters
    ----------
    max_categories : int, optional
        Keep the most frequent ones only; others count as missing.
    """

    def __init__(self, max_categories: int | None = None) -> None:
        self.max_categories = max_categories
        self.kinds: dict[Hashable, str] = {}
        self.categories: dict[Hashable, list[str]] = {}

    def fit(self, frame: pd.DataFrame) -> Self:
        """Decide on each column's kind, and remember the categories."""
        for name in frame.columns:
            self.kinds[name] = _kind(frame[name])
            if self.kinds[name] == "category":
                counts = _text(frame[name]).value_counts()
                self.categories[name] = list(counts.index[: self.max_categories])
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the cleaned columns, named c0, c1, ..."""
        columns = {f"c{i}": self._clean(frame[name]) for i, name in enumerate(self.kinds)}
        return pd.DataFrame(columns, index=frame.index)

    @property
    def category_names(self) -> list[str]:
        """Names of the category columns after `transform`."""
        return [f"c{i}" for i, kind in enumerate(self.kinds.values()) if kind == "category"]

    def _clean(self, column: pd.Series) -> pd.Series:
        name = column.name
        if self.kinds[name] == "number":
            return pd.to_numeric(column, errors="coerce").astype(float)
        if self.kinds[name] == "date":
            since = _dates(column) - pd.Timestamp(0, tz="UTC")
            return since.dt.total_seconds() / 86_400
        known = self.categories[name]
        values = _text(column)
        values = values.where(values.isin(known))
        return pd.Series(pd.Categorical(values, categories=known), index=column.index)


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(column):
        return "date"
    known = column.dropna()
    if len(known) and pd.to_numeric(known, errors="coerce").notna().mean() > _ENOUGH:
        return "number"
    if len(known) and _dates(known).notna().mean() > _ENOUGH:
        return "date"
    return "category"


def _dates(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_datetime64_any_dtype(column):
        column = column.astype(str)
    return pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)


def _text(column: pd.Series) -> pd.Series:
    return column.astype(object).map(str, na_action="ignore")
