"""What the plan looks at of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tabular_automl.data.folds import Folds
from tabular_automl.data.schema import Kind

MOST_FOLDS = 8  # unless more are asked for


@dataclass(frozen=True)
class Shape:
    """What the plan looks at of a table.

    Attributes
    ----------
    n_samples, n_features : int
    in_time_order : bool
        Whether validation must come after training, so that some rows are never validated.
    given : Folds or None
        The user's own.
    raw_kinds : frozenset of Kind
        Of the columns that models can read untouched, such as texts and images.
    least_seconds : mapping of str to float
        What `Model.least_seconds` says of the families that read them, by name.
    n_numbers : int
        Numeric features of three and more values.
    n_groups : int or None
        Groups of rows that stay together, where there are some.
    n_rarest : int or None
        Rows of the rarer of two classes.
    """

    n_samples: int
    n_features: int
    in_time_order: bool = False
    given: Folds | None = None
    raw_kinds: frozenset[Kind] = frozenset()
    least_seconds: Mapping[str, float] = field(default_factory=dict)
    n_numbers: int = 2
    n_groups: int | None = None
    n_rarest: int | None = None

    @property
    def each_validated(self) -> bool:
        """Whether each row is predicted out of fold, where there is no holdout."""
        partial = self.given is not None and len(self.given.validated) < self.n_samples
        return not (self.in_time_order or partial)
