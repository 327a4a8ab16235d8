"""The contract of a column encoder, and its registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import pandas as pd

from tabular_automl.artifacts.state import State
from tabular_automl.core.registry import Registry
from tabular_automl.data.schema import Kind
from tabular_automl.data.table import FeatureTable


class ColumnEncoder(ABC):
    """Turns one raw column into a block of features; never sees the target.

    Attributes
    ----------
    kind : Kind
        The kind of column it serves.
    priority : int
        Among encoders that claim a column, the one with the highest priority gets it.
    """

    kind: ClassVar[Kind]
    priority: ClassVar[int] = 0

    @classmethod
    @abstractmethod
    def claims(cls, sample: pd.Series) -> str | None:
        """Return why this column is of the encoder's kind, or None when it is not.

        ``sample`` holds up to some thousand rows of the column, in the table's dtype.
        """

    @abstractmethod
    def fit(self, column: pd.Series) -> Self:
        """Learn from the whole training column."""

    @abstractmethod
    def transform(self, column: pd.Series) -> FeatureTable:
        """Return the column's features; the same features for any rows, 0 rows included.

        Raises
        ------
        DataError
            When values can no longer be read as the column's kind; names the column and the first
            bad values.
        """

    @abstractmethod
    def state(self) -> State:
        """Return what `restore` needs."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Become the fitted encoder that `state` came from."""


ENCODERS: Registry[type[ColumnEncoder]] = Registry(
    "column encoder",
    "tabular_automl.encoders",
    {
        "numeric": "tabular_automl.encoders.numeric:NumericEncoder",
        "category": "tabular_automl.encoders.category:CategoryEncoder",
        "datetime": "tabular_automl.encoders.datetime:DatetimeEncoder",
        "text": "tabular_automl.encoders.text:TextEncoder",
    },
)
