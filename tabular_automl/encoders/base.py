"""The contract of a column encoder, and its registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
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
        Among encoders that claim a column, the one with the highest priority gets it. Built-in
        encoders have negative ones, so a plug-in comes before them unless it says otherwise.
    keeps_raw : bool
        Whether the untouched column goes into `FeatureTable.raw` too, for models that read it.
    junk : frozenset of str
        After fit, the texts of cells that could not be read. They count as missing, and so does
        whatever cannot be read later in a column that had some: `transform` raises for columns
        that were clean in training.
    """

    kind: ClassVar[Kind]
    priority: ClassVar[int] = 0
    keeps_raw: ClassVar[bool] = False
    junk: frozenset[str] = frozenset()

    @classmethod
    @abstractmethod
    def claims(cls, sample: pd.Series) -> str | None:
        """Return why this column is of the encoder's kind, or None when it is not.

        ``sample`` holds up to some thousand non-missing rows of the column, in the table's dtype
        and under the column's name. The reason is one clause that the user reads.
        """

    @classmethod
    def keeps_claim(cls, column: pd.Series) -> bool:
        """Return whether a column is of the encoder's kind as a whole, as its sample was.

        Asked where the column has more rows than the sample; override it where these can tell more,
        such as how often a value comes back.
        """
        return True

    @abstractmethod
    def fit(self, column: pd.Series) -> Self:
        """Learn from the whole training column.

        Values that cannot be read count as missing here; see `junk`.
        """

    def fit_transform(self, column: pd.Series) -> FeatureTable:
        """Return the features of the training column; override where both share work."""
        return self.fit(column).transform(column)

    @abstractmethod
    def transform(self, column: pd.Series) -> FeatureTable:
        """Return the column's features; the same features for any rows, 0 rows included.

        Their names start with ``str(column.name)``, and are the same for every call.

        Raises
        ------
        DataError
            When values can no longer be read as the column's kind; names the column and the first
            bad values.
        """

    def unreadable(self, column: pd.Series) -> npt.NDArray[np.bool_]:
        """Return which rows `transform` would raise for, shape (n_samples,); by default none."""
        return np.zeros(len(column), dtype=bool)

    def is_crowding(self, n_samples: int) -> bool:
        """Return whether its features would hide those of other columns in so few training rows.

        They are left out then, where other columns have features and a family that may take part
        in the fit reads the untouched column.
        """
        return False

    @property
    def topics(self) -> range:
        """Which of its numeric features, side by side, are topics of texts; by default none.

        They are found without the target, and left out where they tell nothing of it.
        """
        return range(0)

    def forget_topics(self) -> None:
        """Become an encoder without its topics, whose other features move up.

        Only asked of encoders that have `topics`.
        """
        raise NotImplementedError(f"{type(self).__name__} has topics and must be able to forget.")

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
