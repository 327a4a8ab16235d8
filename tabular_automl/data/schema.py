"""What the table is: the kind of each column, with the reason for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Semantic types of a column, and the roles a column may be given instead."""

    NUMERIC = "numeric"
    CATEGORY = "category"
    DATETIME = "datetime"
    TEXT = "text"
    IMAGE = "image"
    IDENTIFIER = "identifier"
    IGNORED = "ignored"
    # roles: columns that steer the fit and are no features
    WEIGHT = "weight"
    GROUP = "group"
    TIME = "time"
    FOLD = "fold"


ROLES = frozenset({Kind.WEIGHT, Kind.GROUP, Kind.TIME, Kind.FOLD})
UNUSED = frozenset({Kind.IDENTIFIER, Kind.IGNORED}) | ROLES


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes
    ----------
    name : object
        The column's label, exactly as in the table (any hashable).
    kind : Kind
    reason : str
        Why it has this kind, one clause for the user.
    encoder : str or None
        Registry name of the encoder that turns it into features; None for unused columns.
    """

    name: Any
    kind: Kind
    reason: str
    encoder: str | None = None

    @property
    def is_used(self) -> bool:
        """Whether the column becomes features."""
        return self.kind not in UNUSED


@dataclass(frozen=True)
class Schema:
    """All columns of a table but the label, in the table's order."""

    columns: tuple[Column, ...]

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def used(self) -> tuple[Column, ...]:
        """The columns that become features."""
        return tuple(column for column in self.columns if column.is_used)

    def of_kind(self, kind: Kind) -> tuple[Column, ...]:
        """Return the columns of one kind."""
        return tuple(column for column in self.columns if column.kind is kind)
